"""What an id puts around an environment: `?time-feature`, `?append-zeros=84`, `?frame-stack=4`, `?wrapper=module:function`.

The observations are those that Stable-Baselines3's and sb3-contrib's wrappers make, so that policies trained with them fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.errors import (
    FOREIGN_ERRORS,
    BrokenEnvironmentError,
    PhrError,
    SettingError,
    UnsupportedEnvironmentError,
    error_text,
)

_LIMIT = 1000
"""Steps of an episode whose environment states no limit, as in sb3-contrib."""
_MOST = 1 << 16


class _Changed(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Changes every array of an observation, and its space with it: a Box, or the entries of a Dict of these."""

    begins_with_zeros = False
    """Whether zeros may stand where the space has other numbers."""

    def __init__(self, env: gymnasium.Env[Any, Any], option: str, only: str | None = None) -> None:
        super().__init__(env)
        space, self._only = env.observation_space, only
        parts: dict[Any, spaces.Space[Any]] = dict(space.spaces) if isinstance(space, spaces.Dict) else {None: space}
        changed = {key: self._new(key, part, option) if self._is_mine(key) else part for key, part in parts.items()}
        self.observation_space = spaces.Dict(list(changed.items())) if isinstance(space, spaces.Dict) else changed[None]

    def _is_mine(self, key: str | None) -> bool:
        return key is None or self._only in (None, key)

    def _new(self, key: str | None, part: spaces.Space[Any], option: str) -> spaces.Box:
        if not isinstance(part, spaces.Box) or not part.shape:
            where = "its observation" if key is None else f"its entry {key!r}"
            raise UnsupportedEnvironmentError(f"{option} needs arrays, {where} is {part}")
        low, high = (self.change(key, side, beginning=True) for side in (part.low, part.high))
        if self.begins_with_zeros:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        return spaces.Box(np.minimum(low, high), np.maximum(low, high), dtype=np.dtype(part.dtype).type)

    def observation(self, observation: Any) -> Any:
        """Return the changed observation."""
        if not isinstance(observation, dict):
            return self.change(None, np.asarray(observation))
        return {key: self.change(key, np.asarray(part)) if self._is_mine(key) else part for key, part in observation.items()}

    def change(self, key: str | None, part: NDArray[Any], *, beginning: bool = False) -> NDArray[Any]:
        """Return one array changed; `beginning` where it is a bound of the space."""
        raise NotImplementedError


class TimeFeature(_Changed):
    """Appends the fraction of the steps that are left, as sb3-contrib's TimeFeatureWrapper; of a Dict to `observation`."""

    def __init__(self, env: gymnasium.Env[Any, Any], value: str) -> None:
        _no_value("time-feature", value)
        self._n_steps, spec = 0, env.spec
        self._limit = (None if spec is None else spec.max_episode_steps) or _LIMIT
        super().__init__(env, "time-feature", "observation")
        for side, bound in (("low", 0.0), ("high", 1.0)):
            space = self.observation_space
            box = space["observation"] if isinstance(space, spaces.Dict) else space
            getattr(box, side)[..., -1] = bound

    def reset(self, **kwargs: Any) -> Any:
        """Start an episode."""
        self._n_steps = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        """Move by one action."""
        self._n_steps += 1
        return super().step(action)

    def forget_steps(self) -> None:
        """Count from here, after a prefix."""
        self._n_steps = 0

    def change(self, key: str | None, part: NDArray[Any], *, beginning: bool = False) -> NDArray[Any]:
        """Return the array with one number more."""
        if part.ndim != 1:
            raise UnsupportedEnvironmentError(f"time-feature needs vectors, the observation has shape {part.shape}")
        return np.append(part, np.array(1 - self._n_steps / self._limit, part.dtype))


class AppendZeros(_Changed):
    """Appends so many zeros: numbers that an older version of the environment showed, and which were always 0 there."""

    def __init__(self, env: gymnasium.Env[Any, Any], value: str) -> None:
        self._n = _count("append-zeros", value)
        super().__init__(env, "append-zeros")

    def change(self, key: str | None, part: NDArray[Any], *, beginning: bool = False) -> NDArray[Any]:
        """Return the array with the zeros."""
        if part.ndim != 1:
            raise UnsupportedEnvironmentError(f"append-zeros needs vectors, the observation has shape {part.shape}")
        return np.append(part, np.zeros(self._n, part.dtype))


class FrameStack(_Changed):
    """Shows the last n observations at once, zeros before the first, as Stable-Baselines3's VecFrameStack."""

    begins_with_zeros = True

    def __init__(self, env: gymnasium.Env[Any, Any], value: str) -> None:
        self._n = _count("frame-stack", value)
        self._frames: dict[str | None, NDArray[Any]] = {}
        super().__init__(env, "frame-stack")

    def reset(self, **kwargs: Any) -> Any:
        """Start an episode."""
        self._frames = {}
        return super().reset(**kwargs)

    def change(self, key: str | None, part: NDArray[Any], *, beginning: bool = False) -> NDArray[Any]:
        """Return the last n arrays: along the channels of an image, else along the last axis."""
        is_image = part.dtype == np.uint8 and part.ndim == 3
        axis = 0 if is_image and int(np.argmin(part.shape)) == 0 else -1
        if beginning:
            return np.concatenate([part] * self._n, axis)
        before = self._frames.get(key)
        if before is None:
            before = np.zeros_like(np.concatenate([part] * self._n, axis))
        size = part.shape[axis]
        kept = before[size:] if axis == 0 else before[..., size:]
        self._frames[key] = stacked = np.concatenate([kept, part], axis)
        return stacked.copy()


MASKS, SHOWN = "action_masks", "observation"
"""Entries of an observation with masks: which actions are legal now, and what the environment shows (if that is no Dict)."""


class ActionMasks(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Shows beside each observation which actions are legal, 1 or 0: what the environment's `action_masks()` returns.

    The method is sb3-contrib's convention. Of MultiDiscrete actions the masks of all components stand in a row.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], value: str) -> None:
        _no_value("action-masks", value)
        super().__init__(env)
        space: Any = env.action_space
        if not env.has_wrapper_attr(MASKS) or not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            raise UnsupportedEnvironmentError(f"action-masks needs a method {MASKS}() and discrete actions; it has {space}")
        self._method: Callable[[], Any] = env.get_wrapper_attr(MASKS)
        n = int(space.n) if isinstance(space, spaces.Discrete) else int(space.nvec.sum())
        shown = env.observation_space
        parts = dict(shown.spaces) if isinstance(shown, spaces.Dict) else {SHOWN: shown}
        self.observation_space = spaces.Dict([*parts.items(), (MASKS, spaces.Box(0, 1, (n,), np.uint8))])
        self._is_dict, self._n = isinstance(shown, spaces.Dict), n

    def observation(self, observation: Any) -> Any:
        """Return the observation with the masks."""
        masks = np.asarray(self._method())
        if masks.shape != (self._n,) or not np.isin(masks, (0, 1)).all() or not masks.any():
            raise BrokenEnvironmentError(
                f"{MASKS}() must return {self._n} flags, one of them set, got {masks.tolist()!s:.80}"
            )
        return {**(observation if self._is_dict else {SHOWN: observation}), MASKS: masks.astype(np.uint8)}


LAYERS: dict[str, Callable[[gymnasium.Env[Any, Any], str], gymnasium.Env[Any, Any]]] = {
    "time-feature": TimeFeature,
    "append-zeros": AppendZeros,
    "action-masks": ActionMasks,
    "frame-stack": FrameStack,
}


def add_layers(
    env: gymnasium.Env[Any, Any], env_id: str, options: Sequence[tuple[str, str]], find: Callable[[str], Any]
) -> gymnasium.Env[Any, Any]:
    """Return the environment inside the layers of an id's options, in their order; `find` imports `module:function`."""
    for name, value in options:
        try:
            if name != "wrapper":
                env = LAYERS[name](env, value)
                continue
            made = find(value)(env)
        except PhrError as error:
            raise type(error)(f"{env_id}: {error}") from error
        except FOREIGN_ERRORS as error:  # the user's own code
            raise UnsupportedEnvironmentError(f"{env_id}: {value} made no environment: {error_text(error)}") from error
        if not isinstance(made, gymnasium.Env):
            raise UnsupportedEnvironmentError(f"{env_id}: {value} returned a {type(made).__name__}, not a gymnasium.Env")
        env = made
    return env


def keyword_arguments(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments that `kwargs.NAME=VALUE` gives an environment's constructor: numbers, true, false, none, text."""
    words = {"true": True, "false": False, "none": None, "null": None}

    def value(text: str) -> Any:
        if text.lower() in words:
            return words[text.lower()]
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    return {name.removeprefix("kwargs."): value(text) for name, text in options.items()}


def _count(option: str, value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= _MOST:
        raise SettingError(f"{option} must be a whole number from 1 to {_MOST}, got {value!r}")
    return int(value)


def _no_value(option: str, value: str) -> None:
    if value:
        raise SettingError(f"{option} has no value, got {value!r}")
