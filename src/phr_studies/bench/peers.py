"""Other ways to play the same environment with the same weights, run beside phr's loop.

A peer is a function that takes an `Arena`, sets itself up and returns a `Contestant`; `LOOP_PEERS` lists them.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from phr.envs import SplitEnv
from phr.errors import MissingExtraError
from phr.storage import onnx_planner
from phr_studies.bench.rounds import Arena, Contestant, Peer, units_that_take

REPEATS = 4
_PILOT_LOOKS = 100


class GymView(gymnasium.Env[NDArray[Any], np.int64]):
    """A split environment as Gymnasium's wrappers know it: every step observes.

    Attributes:
        n_steps: Steps taken so far.

    Args:
        env: Stepped and looked at.
    """

    def __init__(self, env: SplitEnv) -> None:
        self._split = env
        self.n_steps = 0
        self.observation_space = env.observation_space
        self.action_space = gymnasium.spaces.Discrete(env.n_actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Start an episode."""
        self._split.reset(seed)
        return self._split.observe(), {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Move and look."""
        self.n_steps += 1
        reward, terminated, truncated, info = self._split.advance(int(action))
        return self._split.observe(), reward, terminated, truncated, info


def repeat_action(arena: Arena) -> Contestant:
    """Gymnasium's `RepeatAction`: the first action of the plan four times, over phr's own fast step and observation.

    Raises:
        MissingExtraError: If this Gymnasium is older than 1.3.
    """
    wrapper = getattr(gymnasium.wrappers, "RepeatAction", None)
    if wrapper is None:
        raise MissingExtraError("RepeatAction came with Gymnasium 1.3; pip install 'gymnasium>=1.3'")
    view, planner = GymView(arena.env), onnx_planner(arena.model)
    env = wrapper(view, REPEATS)

    def run(n_looks: int, seed: int) -> dict[str, float]:
        clock = time.perf_counter
        score, before = 0.0, view.n_steps
        begin = clock()
        obs, _ = env.reset(seed=seed)
        for _ in range(n_looks):
            action = int(planner.plan(obs[None]).outputs[0, 0].argmax())
            obs, reward, terminated, truncated, _ = env.step(action)
            score += float(reward)
            if terminated or truncated:
                obs, _ = env.reset()
        return {"seconds_wall": clock() - begin, "steps": view.n_steps - before, "score": score}

    looks = units_that_take(arena.seconds_per_run, lambda n: run(n, arena.seed)["seconds_wall"], _PILOT_LOOKS)
    return Contestant(f"RepeatAction, n = {REPEATS}", lambda index: run(looks, arena.seed + index))


def stable_baselines3_predict(arena: Arena) -> Contestant:
    """Stable-Baselines3's `predict` in a loop: the same weights, looking at every step, in the wrappers of its users.

    Raises:
        MissingExtraError: If it is not installed.
        UnsupportedEnvironmentError: If this is neither a grid seen whole nor an Atari game.
    """
    from phr_studies.bench.sb3 import predict_peer

    return predict_peer(arena)


LOOP_PEERS: tuple[Peer, ...] = (repeat_action, stable_baselines3_predict)
"""Who runs beside phr's loop in every environment."""
