"""ale-py's native vector environment behind the face of `VectorSplit`: what training on Atari steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from phr.envs.atari import SIZE, STACK, AtariSplitEnv
from phr.envs.registry import make_env
from phr.envs.vector import Autoreset, SeedSchedule, VectorStep
from phr.errors import InvalidDataError, SettingError, UnsupportedEnvironmentError


class AtariVector:
    """Many games of one kind in ale-py's own threads; every frame is prepared, seen or not.

    It differs from a `VectorSplit` of `AtariSplitEnv` in three ways. Episodes begin with 0 .. noop_max − 1 idle frames
    instead of 1 .. noop_max. In the last observation of an episode the newest frame is the one before, in part. And its
    state cannot be saved: `restore` begins new episodes, so a resumed training is not, bit for bit, the uninterrupted one.

    Args:
        env_id: An Atari id, options included.
        n_envs: Games side by side.
        autoreset: Must be `SAME_STEP`; there is no default on purpose.
        seeds: (game, round) → seed of a game; the round counts calls of `reset` and `restore`, because the games reset
            themselves. None is a seed that nobody knows.
        n_threads: Threads that step the games.

    Raises:
        SettingError: If the mode is another one.
        UnsupportedEnvironmentError: If this is no Atari game with a fixed frame skip.
        InvalidDataError: If there is no game.
    """

    exact_resume = False
    """`restore` begins new episodes."""

    def __init__(
        self,
        env_id: str,
        n_envs: int,
        autoreset: str | Autoreset,
        seeds: SeedSchedule = lambda _i, _k: None,
        n_threads: int = 1,
    ) -> None:
        self.autoreset = Autoreset.parse(autoreset)
        if self.autoreset is not Autoreset.SAME_STEP:
            raise SettingError(f"the native Atari vector is used with autoreset 'same_step', not {self.autoreset.value!r}")
        if n_envs < 1:
            raise InvalidDataError("a vector of environments needs at least one")
        single = make_env(env_id)
        frame_skip = single.settings.frame_skip if isinstance(single, AtariSplitEnv) else None
        if not isinstance(single, AtariSplitEnv) or not isinstance(frame_skip, int):
            raise UnsupportedEnvironmentError(f"{env_id} is no Atari game with a fixed frame skip")
        self.env_id, self.n_envs = env_id, n_envs
        self.observation_space, self.n_actions = single.observation_space, single.n_actions
        settings = single.settings
        self._env: Any = AtariVectorEnv(  # every argument with a surprising default is spelled out
            single.game,
            n_envs,
            num_threads=n_threads,
            max_num_frames_per_episode=settings.max_frames,
            repeat_action_probability=settings.sticky,
            full_action_space=single.full_action_space,
            autoreset_mode=AutoresetMode.SAME_STEP,
            img_height=SIZE,
            img_width=SIZE,
            grayscale=True,
            stack_num=STACK,
            frameskip=frame_skip,
            maxpool=True,
            noop_max=settings.noop_max,
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=settings.fire_reset,
        )
        single.close()
        self._seeds, self._round = seeds, -1
        self._latest: NDArray[np.uint8] | None = None
        self._under_way = False
        self.n_noops = np.zeros(n_envs, np.int64)
        """Idle frames with which each running episode began."""

    def reset(self) -> None:
        """Start an episode in every game."""
        self._round += 1
        seeds = [self._seeds(index, self._round) for index in range(self.n_envs)]
        # The emulator's seeds have 31 bits, and −1 means none.
        native = np.array([-1 if seed is None else seed % 2**31 for seed in seeds])
        self._latest, info = self._env.reset(seed=native)
        self.n_noops = np.array(info["episode_frame_number"], np.int64)

    def advance(self, actions: NDArray[np.int64]) -> VectorStep:
        """Move every game by one action; one that ends starts again at once.

        Raises:
            InvalidDataError: If `reset` was never called.
        """
        self.send(actions)
        return self.receive()

    def send(self, actions: NDArray[np.int64]) -> None:
        """Begin to move every game by one action; the threads play while the caller does something else.

        Raises:
            InvalidDataError: If `reset` was never called, or the last step was not received.
        """
        if self._latest is None:
            raise InvalidDataError("reset the vector before it is advanced")
        if self._under_way:
            raise InvalidDataError("receive the last step before the next one is sent")
        self._env.send(actions)
        self._under_way = True

    def receive(self) -> VectorStep:
        """What the actions sent last led to.

        Raises:
            InvalidDataError: If none were sent.
        """
        if not self._under_way:
            raise InvalidDataError("send actions before their outcome is received")
        self._under_way = False
        self._latest, rewards, terminated, truncated, info = self._env.recv()
        done = terminated | truncated
        self.n_noops[done] = info["episode_frame_number"][done]
        return VectorStep(
            rewards=rewards.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            # One dense array for all games whenever any ended; only what was cut off has a value.
            final_obs={int(index): info["final_obs"][index] for index in np.flatnonzero(truncated & ~terminated)},
            infos={int(index): {} for index in np.flatnonzero(done)},
        )

    def observe(self, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Observations of all games, shape `(n_envs, 4, 84, 84)`; `out` where given.

        Raises:
            InvalidDataError: If `reset` was never called.
        """
        if self._latest is None:
            raise InvalidDataError("reset the vector before it is looked at")
        if out is None:
            return self._latest.copy()
        out[...] = self._latest
        return out

    def state(self) -> list[dict[str, Any]]:
        """How often each game was begun; the native emulators cannot be saved."""
        return [{"round": self._round}] * self.n_envs

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Begin new episodes, with seeds that the saved training had not used."""
        self._round = max(entry["round"] for entry in state)
        self.reset()

    def close(self) -> None:
        """Stop the threads."""
        self._env.close()
        self._env = None  # the threads end with the object
