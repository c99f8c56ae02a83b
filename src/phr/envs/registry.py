"""From an environment's name to an environment that can be acted in."""

from __future__ import annotations

import copy
import difflib
import importlib
from typing import Any, Literal, get_args

import gymnasium

from phr.envs.split import ObservingEnv, SplitEnv
from phr.errors import MissingExtraError, UnknownEnvironmentError, UnsupportedEnvironmentError

View = Literal["full", "partial"]
_VIEW_QUERY = "?view="

_EXTRAS = {"ale_py": "atari", "Box2D": "box2d", "box2d": "box2d", "mujoco": "mujoco", "minigrid": "train"}


def make_env(env_id: str, view: View = "full", **kwargs: Any) -> SplitEnv:
    """Make an environment by name.

    Args:
        env_id: A Gymnasium id, or `package.module:factory` naming a function that returns a Gymnasium environment. A
            MiniGrid id may end in `?view=partial`.
        view: For MiniGrid without observation wrappers: the whole grid, or the agent's own view.
        **kwargs: Passed on to the environment (render_mode, ...).

    Returns:
        The environment with its step split in two; MiniGrid gets the fast way, any other observes at each step.

    Raises:
        UnknownEnvironmentError: If there is no such id or factory; near misses are named.
        UnsupportedEnvironmentError: If phr cannot act in it.
        MissingExtraError: If it needs a package that is not installed.
    """
    name, _, query = env_id.partition(_VIEW_QUERY)
    if query:
        if query not in get_args(View):
            raise UnknownEnvironmentError(f"{env_id}: there is no view {query!r}; choose one of {', '.join(get_args(View))}")
        view = query  # type: ignore[assignment]  # checked above
    env = _call_factory(name, kwargs) if _is_factory(name) else _make_registered(name, kwargs)
    return split_env(env, env_id, view)


def split_env(env: gymnasium.Env[Any, Any], env_id: str, view: View = "full") -> SplitEnv:
    """Split the step of a Gymnasium environment that was made elsewhere.

    Raises:
        UnsupportedEnvironmentError: If phr cannot act in it.
    """
    if _shows_plain_minigrid(env):
        from phr.envs.minigrid_split import FullViewEnv, PartialViewEnv

        return FullViewEnv(env, env_id) if view == "full" else PartialViewEnv(env, env_id)
    return ObservingEnv(env, env_id)


def _is_factory(env_id: str) -> bool:
    module, colon, name = env_id.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _call_factory(env_id: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    module, _, name = env_id.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UnknownEnvironmentError(f"{env_id}: cannot import {error.name!r}; is its folder on PYTHONPATH?") from error
    except AttributeError as error:
        raise UnknownEnvironmentError(f"{env_id}: module {module!r} has no {name!r}") from error
    env = factory(**kwargs)
    if not isinstance(env, gymnasium.Env):
        raise UnsupportedEnvironmentError(f"{env_id} returned a {type(env).__name__}, not a gymnasium.Env")
    return env


def _make_registered(env_id: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    _import_family(env_id)
    try:
        spec = copy.deepcopy(gymnasium.spec(env_id))
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise UnknownEnvironmentError(_unknown_message(env_id)) from error
    spec.order_enforce = False
    spec.disable_env_checker = True
    try:
        return gymnasium.make(spec, **kwargs)
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise MissingExtraError(f"{env_id} needs a package that is not installed ({error}); {_pip_line(error)}") from error
    except (TypeError, OSError) as error:
        raise UnsupportedEnvironmentError(f"{env_id} cannot be made with {kwargs}: {error}") from error


def _import_family(env_id: str) -> None:
    """Import the package that registers this id; Gymnasium has no plug-in entry point any more."""
    family = {"MiniGrid": "minigrid", "BabyAI": "minigrid", "ALE": "ale_py"}.get(env_id.partition("-")[0].partition("/")[0])
    if family is None:
        return
    try:
        module = importlib.import_module(family)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{env_id} needs the package {family}; {_pip_line(error)}") from error
    if family == "ale_py":
        gymnasium.register_envs(module)


def _pip_line(error: Exception) -> str:
    name = getattr(error, "name", None) or ""
    extra = _EXTRAS.get(
        name, next((extra for word, extra in _EXTRAS.items() if word.lower() in str(error).lower()), "train")
    )
    return f"pip install 'phr[{extra}]'"


def _unknown_message(env_id: str) -> str:
    near = difflib.get_close_matches(env_id, list(gymnasium.registry), n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"there is no environment {env_id!r}{hint}"


def _shows_plain_minigrid(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether this is MiniGrid, and no wrapper touches what it shows (time limits and reward wrappers do not)."""
    core: Any = env.unwrapped
    if not any(base.__module__ == "minigrid.minigrid_env" for base in type(core).__mro__):
        return False
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.ObservationWrapper):
            return False
        layer = layer.env
    return env.observation_space is core.observation_space
