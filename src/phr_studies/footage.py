"""What an episode looked like to a person, and when the policy looked: the raw material of a film."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting import CommitmentLike, HorizonAgent
from phr.envs import FullViewEnv, PartialViewEnv, SplitEnv, Start, make_env
from phr.errors import InvalidDataError, UnsupportedEnvironmentError
from phr.protocols import Planner

_GRID_PACE, _UNKNOWN_PACE, _ATARI_FRAMES = 4.0, 15.0, 60.0
"""Steps a second: slow enough to follow on grids; where nothing is known; frames a second of the console."""


@dataclass(frozen=True, eq=False)
class Footage:
    """The beginning of one episode, in pictures.

    Attributes:
        frames: What was to be seen before each step and after the last one, RGB, shape `(steps + 1, height, width, 3)`.
        looked: For each step, whether the policy was evaluated right before it, shape `(steps,)`.
        rewards: Of each step, shape `(steps,)`.
        commitment: Actions executed per look, or `"auto"`.
        steps_per_second: The pace at which a person would watch it.
        ended: The last step ended the episode.

    Raises:
        InvalidDataError: If the arrays do not fit each other, or the first step followed no look.
    """

    frames: NDArray[np.uint8]
    looked: NDArray[np.bool_]
    rewards: NDArray[np.float64]
    commitment: int | str
    steps_per_second: float
    ended: bool

    def __post_init__(self) -> None:
        n = len(self.looked)
        if not n or len(self.rewards) != n or self.frames.shape[0] != n + 1 or self.frames.shape[3:] != (3,):
            raise InvalidDataError(
                f"footage needs a look flag and a reward for each step and one RGB frame more than steps; got {n} flags, "
                f"{len(self.rewards)} rewards and frames of shape {self.frames.shape}"
            )
        if not self.looked[0]:
            raise InvalidDataError("the first step of an episode follows a look, but its flag says it does not")


def make_filmed_env(env_id: str) -> SplitEnv:
    """Make an environment that can be filmed.

    Raises:
        UnsupportedEnvironmentError: If it draws no pictures.
        UsageError: As for `make_env`.
    """
    try:
        env = make_env(env_id, render_mode="rgb_array")
    except UnsupportedEnvironmentError as error:  # a factory of the user's that takes no such argument
        raise UnsupportedEnvironmentError(f"{env_id} cannot be filmed: {error}") from error
    if env.gym_env.render_mode != "rgb_array":
        raise UnsupportedEnvironmentError(f"{env_id} cannot be filmed: it has no render mode rgb_array")
    if isinstance(env, FullViewEnv):
        core: Any = env.gym_env.unwrapped
        core.highlight = False  # MiniGrid marks the agent's own view, which is not what the policy sees
    return env


def shoot(
    planner: Planner, env: SplitEnv, start: Start, commitment: CommitmentLike | None = None, *, max_steps: int = 400
) -> Footage:
    """Film one greedy episode, or its beginning.

    The pictures are taken for the record; the agent sees only the observations it asks for.

    Args:
        planner: Who acts.
        env: From `make_filmed_env`.
        start: How the episode begins; decides the film, as the policy is greedy.
        commitment: Actions executed per look; None is the whole horizon.
        max_steps: Stop here if the episode goes on.

    Raises:
        HorizonError: If the commitment is outside 1 .. horizon.
        UnsupportedEnvironmentError: If the environment draws nothing.
    """
    agent = HorizonAgent(planner, commitment)
    start.enter(env)
    frames, looked, rewards = [_picture(env)], list[bool](), list[float]()
    ended = False
    while not ended and len(looked) < max_steps:
        looked.append(agent.needs_observation)
        reward, terminated, truncated, _ = env.advance(agent.act(env.observe() if looked[-1] else None))
        rewards.append(reward)
        frames.append(_picture(env))
        ended = terminated or truncated
    return Footage(
        frames=np.stack(frames),
        looked=np.array(looked),
        rewards=np.array(rewards),
        commitment=planner.horizon if commitment is None else commitment,
        steps_per_second=_pace(env),
        ended=ended,
    )


def _picture(env: SplitEnv) -> NDArray[np.uint8]:
    picture: Any = env.gym_env.render()
    if not isinstance(picture, np.ndarray):
        raise UnsupportedEnvironmentError(f"{env.env_id} cannot be filmed: it renders {type(picture).__name__}, not pixels")
    return np.array(picture, np.uint8)


def _pace(env: SplitEnv) -> float:
    if isinstance(env, FullViewEnv | PartialViewEnv):
        return _GRID_PACE
    if env.family == "atari":
        settings: Any = getattr(env, "settings", None)
        return _ATARI_FRAMES / float(np.mean(settings.frame_skip))
    return float(env.gym_env.metadata.get("render_fps", _UNKNOWN_PACE))
