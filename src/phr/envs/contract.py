"""Checks of everything that a Gymnasium environment returns or raises.

Gymnasium checks little by default, and numpy broadcasts, wraps and truncates silently. An error here is one line that names
the environment, the call, what was expected and what came.
"""

from __future__ import annotations

import copy
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from functools import partial, wraps
from math import isfinite
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from phr.errors import FOREIGN_ERRORS, BrokenEnvironmentError, NonFiniteError, PhrError, error_text

_running: tuple[float, CheckedEnv] | None = None
"""Since when, by `time.monotonic`, which environment has been called; only while a watch asks for it."""
_is_watched = False


@contextmanager
def watched(seconds: float, give_up: Callable[[str], None]) -> Iterator[None]:
    """Call `give_up`, in another thread, with one line as soon as a call of an environment takes longer than `seconds`.

    Nothing interrupts the call itself, which may hang in native code: `give_up` has to end the process.
    """
    global _is_watched
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(seconds / 10):
            if (running := _running) is not None and time.monotonic() - running[0] > seconds:
                give_up(running[1].overdue(seconds))
                return

    _is_watched = True
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        _is_watched = False
        stop.set()
        thread.join()


class CheckedEnv:
    """A Gymnasium environment whose `reset` and `step` follow Gymnasium's contract, or raise an error.

    Observations are checked where they are read (`phr.envs.flatten`), so that one that is not requested costs nothing.

    Attributes:
        last_call: `reset()` or `step()`, the call that returned the latest observation.
        as_sampled: Returns a copy of an action, as `env.action_space.sample()` gives them: an environment may keep or change
            what it is given, and call numpy's methods on it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str) -> None:
        self._env: Any = env  # whatever it returns is checked
        self._env_id = env_id
        self.as_sampled = _copier(getattr(env, "action_space", None))
        self.last_call = "reset()"
        self._seed: int | None = None
        self._n_steps = 0

    def reset(self, seed: int | None) -> Any:
        """Start an episode and return its first observation; BrokenEnvironmentError unless it returns `(obs, info)`."""
        self.last_call, self._seed, self._n_steps = "reset()", seed, 0
        try:
            result = self._called(partial(self._env.reset, seed=seed)) if _is_watched else self._env.reset(seed=seed)
        except PhrError:
            raise
        except FOREIGN_ERRORS as error:  # the user's own code
            if isinstance(error, TypeError) and (signature := _outdated_reset(self._env)) is not None:
                raise self._broken(
                    f"must accept the keyword arguments seed and options: expected reset(self, *, seed=None, options=None), "
                    f"got {signature}. Begin it with super().reset(seed=seed)."
                ) from error
            raise self._raised(error) from error
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._broken(
                f"must return (observation, info): expected a tuple of length 2, got {described(result)}. "
                "Return the observation and a dict, which may be empty."
            )
        self._check_info(result[1])
        return result[0]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a copy of the action and return Gymnasium's five values, as Python's own types.

        BrokenEnvironmentError if the environment raises or returns anything else, NonFiniteError for such a reward.
        """
        self.last_call = "step()"
        self._n_steps += 1
        copied = self.as_sampled(action)
        try:
            result = self._called(partial(self._env.step, copied)) if _is_watched else self._env.step(copied)
        except PhrError:
            raise
        except FOREIGN_ERRORS as error:  # the user's own code
            raise self._raised(error) from error
        if not isinstance(result, tuple) or len(result) != 5:
            raise self._broken(
                "must return (observation, reward, terminated, truncated, info): expected a tuple of length 5, "
                f"got {described(result)}. Gymnasium's API has two flags, terminated and truncated, in place of done."
            )
        obs, reward, terminated, truncated, info = result
        if type(reward) is not float:
            reward = self._number(reward)
        if not isfinite(reward):
            raise NonFiniteError(f"{self._env_id}: step() returned a reward that is NaN or infinite{self.where}")
        if type(terminated) is not bool:
            terminated = self._flag("terminated", terminated)
        if type(truncated) is not bool:
            truncated = self._flag("truncated", truncated)
        if type(info) is not dict:
            self._check_info(info)
        return obs, reward, terminated, truncated, info

    def _number(self, value: Any) -> float:
        """Convert a reward: a Python or numpy number, or an array without axes; an array of length 1 is refused."""
        array = as_array(value)
        if array is None or array.shape or array.dtype.kind not in "biuf":
            raise self._broken(f"returned a wrong reward: expected one real number, got {described(value)}. Return a float.")
        return float(array)

    def _flag(self, name: str, value: Any) -> bool:
        """Convert a flag: a boolean or the whole number 0 or 1, without axes."""
        array = as_array(value)
        if array is None or array.shape or array.dtype.kind not in "biu" or array not in (0, 1):
            raise self._broken(f"returned a wrong {name}: expected True or False, got {described(value)}. Return a bool.")
        return bool(array)

    def _check_info(self, info: Any) -> None:
        if not isinstance(info, dict):
            raise self._broken(f"returned a wrong info: expected a dict, got {described(info)}. Return {{}} if it is empty.")

    @property
    def where(self) -> str:
        """The step of the latest call and the seed of its episode, as the end of a message."""
        seed = [] if self._seed is None else [f"seed {self._seed}"]
        step = [f"step {self._n_steps:,} of an episode"] if self._n_steps else []
        return f" ({', '.join([*step, *seed])})" if step or seed else ""

    def overdue(self, seconds: float) -> str:
        """The line about a call that has not returned for so many seconds."""
        return f"{self._env_id}: {self.last_call} has not returned for {seconds:g} s{self.where}"

    def _called(self, call: Callable[[], Any]) -> Any:
        global _running
        _running = time.monotonic(), self
        try:
            return call()
        finally:
            _running = None

    def _raised(self, error: BaseException) -> BrokenEnvironmentError:
        return self._broken(f"raised {error_text(error)}")

    def _broken(self, what: str) -> BrokenEnvironmentError:
        return BrokenEnvironmentError(f"{self._env_id}: {self.last_call} {what}{self.where}")


def watch_calls(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    """Let a watch, if there is one, see the calls of an environment that another program steps."""
    if not _is_watched:
        return
    checked = CheckedEnv(env, env_id)

    def seen(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def through(*args: Any, **kwargs: Any) -> Any:
            checked.last_call = f"{name}()"
            return checked._called(partial(call, *args, **kwargs))

        return through

    for name in ("reset", "step"):
        setattr(env, name, seen(name, getattr(env, name)))


def described(value: Any) -> str:
    """Describe a value in a message: dtype and shape of arrays, length of tuples, else its `repr`."""
    if isinstance(value, np.ndarray):
        return f"{'masked ' * bool(np.ma.is_masked(value))}{value.dtype} of shape {value.shape}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__} of length {len(value)}"
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a value of type {type(value).__name__}"


def as_array(value: Any) -> NDArray[Any] | None:
    """Return the value as an array, None where numpy refuses it (ragged lists, tensors on another device) or masks it."""
    try:
        return None if np.ma.is_masked(value) else np.asarray(value)
    except Exception:  # whatever an `__array__` of the user's raises
        return None


def _copier(space: spaces.Space[Any] | None) -> Callable[[Any], Any]:
    if isinstance(space, spaces.Discrete):
        scalar: Callable[[Any], Any] = space.dtype.type
        return scalar
    if isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        dtype = space.dtype
        return lambda action: np.array(action, dtype)
    return copy.deepcopy


def _outdated_reset(env: Any) -> str | None:
    """The signature of the layer whose `reset` cannot be called as Gymnasium calls it; None where every layer's can."""
    layer, options = env, dict[str, Any]()
    while True:
        signature = inspect.signature(layer.reset)
        try:
            signature.bind(seed=None, **options)
        except TypeError:
            return f"{type(layer).__name__}.reset{signature}"
        if not isinstance(layer, gymnasium.Wrapper):
            return None
        layer, options = layer.env, {"options": None}  # wrappers hand on both


_PACKAGES = ("ale_py", "gymnasium", "minigrid")


def unknown_wrapper(env: gymnasium.Env[Any, Any], known: Set[type], what: str) -> str | None:
    """Return why a wrapper may not leave `what` alone: its class is not `known`, or was patched; None where all do."""
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        kind = type(layer)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if kind not in known:
            return f"wrapper {name} is not on the list of those that leave {what} alone"
        if is_patched(layer):
            return f"a method of {name} was replaced"
        layer = layer.env
    kind, why = type(layer), "is not a gymnasium.Wrapper, but its `unwrapped` is another environment"
    return None if layer is env.unwrapped else f"{kind.__module__}.{kind.__qualname__} {why}"


def methods_of(kind: type) -> set[Any]:
    """Return the functions that a class itself defines."""
    return {value for value in vars(kind).values() if inspect.isfunction(value)}


def is_patched(layer: Any, *, own: set[Any] | None = None, stand_in: Any = None) -> bool:
    """Return whether a method is not the one that its package ships; those in `own` and the `stand_in` may be others."""
    kind = type(layer)
    if any(callable(getattr(kind, name, None)) and value is not stand_in for name, value in vars(layer).items()):
        return True
    found = (inspect.getattr_static(kind, name, None) for name in ("reset", "step", "gen_obs"))
    if not all(method is None or inspect.isfunction(method) for method in found):
        return True
    methods = {method for base in kind.__mro__ for method in methods_of(base)} - (own or set())
    return any(method.__globals__["__name__"].partition(".")[0] not in _PACKAGES for method in methods)
