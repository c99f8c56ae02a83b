"""Stable-Baselines3's `predict` loop with the weights of a model of phr's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from phr.envs import make_env
from phr.errors import UnsupportedEnvironmentError
from phr.learning import A2CConfig
from phr.networks import PlanNetwork
from phr_studies.bench.contestants import Arena, Contestant, Measured
from phr_studies.bench.sb3 import copy_weights, make_a2c, make_env_for_sb3, make_vec_env_for_sb3

_PILOT_STEPS = 100


@dataclass
class PredictRecord:
    """What a run of the `predict` loop yielded.

    Attributes:
        steps: Steps taken; each is one evaluation.
        episodes: Whole episodes.
        lengths: Their steps.
        score: Sum of all rewards.
        seconds_wall: Predicting, stepping and resetting.
    """

    steps: int
    episodes: int
    lengths: list[int]
    score: float
    seconds_wall: float

    @property
    def score_per_second(self) -> float:
        """Score / seconds."""
        return self.score / self.seconds_wall


class PredictLoop:
    """Evaluation as Stable-Baselines3's users write it: `model.predict(obs, deterministic=True)` and a step, in a loop.

    A grid is stepped without a vector environment, the quicker way; a game needs one, for its frame stack.

    Args:
        env_id: A grid or an Atari game.
        network: Whose head 1 acts.

    Raises:
        UnsupportedEnvironmentError: In any other environment.
    """

    def __init__(self, env_id: str, network: PlanNetwork) -> None:
        self.env_id = env_id
        self._is_atari = make_env(env_id).family == "atari"
        self.env: Any = make_vec_env_for_sb3(env_id, 1, "DummyVecEnv", 0) if self._is_atari else make_env_for_sb3(env_id)
        self.model = make_a2c(A2CConfig(n_envs=1, trunk=network.config.trunk), network.config, self.env)
        copy_weights(network, self.model)

    def run(self, steps: int, *, seed: int) -> PredictRecord:
        """Act for a number of steps; later episodes go on with the environment's own generator.

        Args:
            steps: How many.
            seed: Of the first reset.
        """
        return self._run_vector(steps, seed) if self._is_atari else self._run_single(steps, seed)

    def _run_single(self, steps: int, seed: int) -> PredictRecord:
        env, predict = self.env, self.model.predict
        lengths, score, length = list[int](), 0.0, 0
        begin = time.perf_counter()
        obs, _ = env.reset(seed=seed)
        for left in range(steps, 0, -1):
            action, _ = predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = env.step(action)
            score += reward
            length += 1
            if terminated or truncated:
                lengths.append(length)
                length = 0
                if left > 1:
                    obs, _ = env.reset()
        return PredictRecord(steps, len(lengths), lengths, float(score), time.perf_counter() - begin)

    def _run_vector(self, steps: int, seed: int) -> PredictRecord:
        env, predict = self.env, self.model.predict
        lengths, score, length = list[int](), 0.0, 0
        env.seed(seed)
        begin = time.perf_counter()
        obs = env.reset()
        for _ in range(steps):
            action, _ = predict(obs, deterministic=True)
            obs, rewards, dones, _ = env.step(action)
            score += rewards[0]
            length += 1
            if dones[0]:
                lengths.append(length)
                length = 0
        return PredictRecord(steps, len(lengths), lengths, float(score), time.perf_counter() - begin)

    def play(self, seed: int) -> tuple[list[int], float]:
        """One episode of a grid from this seed: its actions and its return.

        Raises:
            UnsupportedEnvironmentError: In Atari.
        """
        if self._is_atari:
            raise UnsupportedEnvironmentError(f"{self.env_id}: single episodes are played on grids")
        actions, total, done = list[int](), 0.0, False
        obs, _ = self.env.reset(seed=seed)
        while not done:
            action, _ = self.model.predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = self.env.step(action)
            actions.append(int(action))
            total += float(reward)
            done = terminated or truncated
        return actions, total

    def close(self) -> None:
        """Close its environment."""
        self.env.close()


def predict_peer(arena: Arena) -> Contestant:
    """The `predict` loop as one of the loops that are run side by side, with the weights of the arena's model.

    Raises:
        UnsupportedEnvironmentError: If this is neither a grid nor an Atari game.
    """
    loop = PredictLoop(arena.env_id, arena.model.network)
    pilot = [loop.run(_PILOT_STEPS, seed=arena.seed) for _ in range(2)][-1]
    n_steps = max(1, round(_PILOT_STEPS * arena.seconds_per_run / pilot.seconds_wall))

    def one_round(index: int) -> Measured:
        record = loop.run(n_steps, seed=arena.seed + index)
        return {"seconds_wall": record.seconds_wall, "steps": float(record.steps), "score": record.score}

    return Contestant("Stable-Baselines3 predict, n = 1", one_round)
