"""From an environment's name to an environment that can be acted in."""

from __future__ import annotations

import copy
import difflib
import importlib
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import unquote

import gymnasium
from gymnasium.envs.registration import find_highest_version, get_env_id, parse_env_id
from gymnasium.spaces import Discrete
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from phr.envs.contract import is_patched, unknown_wrapper
from phr.envs.layers import LAYERS, add_layers, keyword_arguments
from phr.envs.noise import OPTION as ACTION_NOISE
from phr.envs.noise import disturb
from phr.envs.split import ObservingEnv, SplitEnv
from phr.errors import (
    FOREIGN_ERRORS,
    MissingExtraError,
    PhrError,
    UnknownEnvironmentError,
    UnsupportedEnvironmentError,
    UsageError,
    error_text,
    printable,
)


def is_factory(reference: str) -> bool:
    """Whether a reference looks like `package.module:name`."""
    module, colon, name = reference.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def imports_code(env_id: str) -> bool:
    """Whether making this environment imports a module that the id names: `module:factory`, `module:Id-v0`, a wrapper."""
    return ":" in env_id.partition("?")[0] or "wrapper" in option_names(env_id)


def env_id_of_file(found: str, chosen: str | None, name: str) -> str:
    """Return the id that the user chose, else the one found in the file `name`; UsageError if that would import code."""
    if chosen is None and imports_code(found):
        trust = f"if you trust it, add --env-id {shlex.quote(found)}"
        raise UsageError(f"{name} asks for the environment {found}, which is code; {trust}")
    return found if chosen is None else chosen


def import_named(reference: str, unknown: type[UsageError]) -> ModuleType:
    """Import the module of `package.module:name`; raise `unknown` if that fails."""
    module = reference.partition(":")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise unknown(f"{reference}: cannot import {error.name!r}; is its folder on PYTHONPATH?") from error
    except FOREIGN_ERRORS as error:  # the module is the user's own: anything may happen in it
        raise unknown(f"{reference}: importing {module!r} failed with {error_text(error)}") from error


def find_factory(reference: str, unknown: type[UsageError]) -> Any:
    """Return what `package.module:name` names; raise `unknown` if there is no such thing."""
    module, _, name = reference.partition(":")
    found = import_named(reference, unknown)
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise unknown(f"{reference}: module {module!r} has no {name!r}") from error


View = Literal["full", "partial"]
_OLD_ATARI_FLAVOUR = re.compile(r"(Deterministic|NoFrameskip)-v\d+$")
_OLD_ATARI_NAME = re.compile(rf"[A-Za-z0-9]+{_OLD_ATARI_FLAVOUR.pattern}|[A-Z][A-Za-z0-9]*-v[04]")
"""Atari ids before `ALE/`; the bare ones look like many others, so they are tried only where an id is unknown."""
_EXTRAS = {"ale_py": "atari", "box2d": "box2d", "mujoco": "mujoco"}
"""Word of an import error → the extra that installs what is missing, else `train`."""


def make_env(env_id: str, view: View | None = None, **kwargs: Any) -> SplitEnv:
    """Make an environment by name.

    MiniGrid's and Atari's own environments take a fast path; any other builds an observation at each step.

    Args:
        env_id: A Gymnasium id, also with the module that registers it, `module:Id-v0`; or `package.module:factory` naming
            a function that returns a Gymnasium environment. Any id may end in options: `?action-noise=0.1` executes a random
            action with this probability, `kwargs.NAME=VALUE` is passed on to the environment, `time-feature`,
            `action-masks`, `append-zeros=N`, `frame-stack=N` and `wrapper=module:function` are put around it in their order
            (`phr.envs.layers`). A MiniGrid id may have `view=partial`, an Atari id options like `sticky=0.25&noop_max=0`
            (`AtariSettings`).
        view: For MiniGrid: 'full' is the whole grid, for environments on the fast path only; 'partial' is the agent's own
            view. By default the whole grid on the fast path, else the environment's own observation.
        **kwargs: Passed on to the environment (render_mode, ...).

    UnknownEnvironmentError if there is no such id or factory; UnsupportedEnvironmentError if phr cannot act in it, or it has
    no such option; SettingError for an option's value; MissingExtraError if it needs a package that is not installed.
    """
    options = _options_of(env_id)
    if view is not None:
        options.setdefault("view", view)
    if (chosen := options.get("view", "full")) not in get_args(View):
        raise UnknownEnvironmentError(f"{env_id}: there is no view {chosen!r}; choose one of {', '.join(get_args(View))}")
    env = make_gym_env(env_id, **kwargs)
    try:
        return split_env(env, env_id, options)
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            env.close()
        raise


def make_gym_env(env_id: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Make the Gymnasium environment alone, also one that phr cannot act in; for arguments and errors see `make_env`."""
    name, pairs = env_id.partition("?")[0], _pairs(env_id)
    given = keyword_arguments({key: value for key, value in pairs if key.startswith("kwargs.")})
    env = _made(name, {**given, **kwargs})
    try:
        layers = [(key, value) for key, value in pairs if key in LAYERS or key == "wrapper"]
        return add_layers(env, env_id, layers, lambda reference: find_factory(reference, UnknownEnvironmentError))
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            env.close()
        raise


def _made(name: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """Make what an id without options names."""
    module, colon, registered = name.rpartition(":")
    if not colon:
        return _make_registered("", name, kwargs)
    found = import_named(name, UnknownEnvironmentError)
    if not is_factory(name) or (not hasattr(found, registered) and _with_version(registered) in gymnasium.registry):
        return _make_registered(f"{module}:", registered, kwargs)
    factory = find_factory(name, UnknownEnvironmentError)
    try:
        env = factory(**kwargs)
    except PhrError:
        raise
    except FOREIGN_ERRORS as error:  # the user's own code
        raise UnsupportedEnvironmentError(f"{name} made no environment: {error_text(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise UnsupportedEnvironmentError(f"{name} returned a {type(env).__name__}, not a gymnasium.Env")
    return env


def with_option(env_id: str, name: str, value: object) -> str:
    """Return the id with an option set to a value, or without one where that is empty."""
    pairs = _raw_pairs(env_id)
    changed = [(key, str(value) if key == name else text) for key, text in pairs]
    changed += [] if any(key == name for key, _ in pairs) else [(name, str(value))]
    return f"{env_id.partition('?')[0]}?" + "&".join(f"{key}={text}" if text else key for key, text in changed)


def _raw_pairs(env_id: Any) -> list[tuple[str, str]]:
    """Return the options of an id in their order, as they are written."""
    if not isinstance(env_id, str):
        said = " ".join(repr(env_id).split())
        raise UnknownEnvironmentError(f"env_id must be a Gymnasium id or 'module:factory', got {said}")
    _, _, query = env_id.partition("?")
    split = [entry.partition("=") for entry in query.split("&")] if query else []
    return [(key, value) for key, _, value in split]


def _pairs(env_id: Any) -> list[tuple[str, str]]:
    """Return the options of an id in their order; one that stands there twice is refused, but for wrappers."""
    pairs = [(unquote(key), unquote(value)) for key, value in _raw_pairs(env_id)]
    keys = [key for key, _ in pairs if key != "wrapper"]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UnknownEnvironmentError(f"{env_id}: the option {twice!r} stands there twice")
    return pairs


def option_names(env_id: str) -> set[str]:
    """Return the names of an id's options."""
    return {key for key, _ in _pairs(env_id)}


def _options_of(env_id: Any) -> dict[str, str]:
    """Return the options of an id that are neither the constructor's nor layers around it."""
    pairs = _pairs(env_id)
    return {key: value for key, value in pairs if key not in LAYERS and key != "wrapper" and not key.startswith("kwargs.")}


class Successor(NamedTuple):
    """What an id of an older version is called today."""

    env_id: str
    differs: str
    """How observations or actions differ, empty where they are the same."""
    remark: str = ""
    """What else differs, if anything is known."""


_PHYSICS = "its simulator is another version, so returns differ a little"
_CONTACTS = "contact forces, which it showed as zeros"
_SUCCESSORS: dict[str, Successor] = {
    "Pendulum-v0": Successor("Pendulum-v1", ""),
    "LunarLander-v2": Successor("LunarLander-v3", ""),
    "LunarLanderContinuous-v2": Successor("LunarLanderContinuous-v3", ""),
    "BipedalWalker-v2": Successor("BipedalWalker-v3", "the lidar's distances are others"),
    "BipedalWalkerHardcore-v2": Successor("BipedalWalkerHardcore-v3", "the lidar's distances are others"),
    "CarRacing-v0": Successor("CarRacing-v3", "the picture shows other colours"),
    "CarRacing-v2": Successor("CarRacing-v3", "", "the colours of some pictures are others"),
    "FrozenLake-v0": Successor("FrozenLake-v1", ""),
    "Taxi-v2": Successor("Taxi-v3", ""),
    "Blackjack-v0": Successor("Blackjack-v1", ""),
    "CliffWalking-v0": Successor("CliffWalking-v1", ""),
    **{
        f"{name}-v{old}": Successor(f"{name}-v4", "", _PHYSICS)
        for name in ("HalfCheetah", "Hopper", "Walker2d", "Swimmer", "InvertedPendulum", "InvertedDoublePendulum", "Reacher")
        for old in (1, 2, 3)
    },
    **{f"Ant-v{old}": Successor("Ant-v4?append-zeros=84", "", f"{_PHYSICS}; {_CONTACTS}, are zeros") for old in (2, 3)},
    **{f"Humanoid-v{old}": Successor("Humanoid-v4", f"it shows {_CONTACTS}") for old in (2, 3)},
    "Pusher-v2": Successor("Pusher-v5", "", _PHYSICS),
}
"""By the release notes of Gym and Gymnasium, and their pages of each environment (Farama Foundation)."""
_PACKAGES = (
    (r"\w*Bullet\w*-v\d", "pybullet_envs_gymnasium"),
    (r"Panda\w*-v\d", "panda_gym"),
    (r"(Fetch|Hand|AdroitHand|PointMaze|AntMaze|FrankaKitchen)\w*-v\d", "gymnasium_robotics"),
    (r"(procgen:)?procgen-\w*", "procgen"),
    (r"(highway|merge|roundabout|parking|intersection|racetrack)[\w-]*-v\d", "highway_env"),
)
"""Ids of this form, and the package that registers them."""


def package_of(env_id: str) -> str | None:
    """Return the package that is known to register an id, None where none is."""
    return next((package for pattern, package in _PACKAGES if re.fullmatch(pattern, env_id.partition("?")[0])), None)


def _is_made(name: str) -> bool:
    """Return whether an environment of this very name can be made: Gymnasium keeps some old names as errors."""
    spec = gymnasium.registry.get(name)
    entry = None if spec is None else spec.entry_point
    return entry is not None and getattr(entry, "__name__", "") != "_raise_mujoco_py_error"


def successor_of(env_id: str) -> Successor | None:
    """Return what an old id is called today, with the id's own options; None for an id that is made as it is."""
    plain, mark, query = env_id.partition("?")
    found = None if _is_made(plain) else _SUCCESSORS.get(plain)
    if found is None or not mark:
        return found
    return found._replace(env_id=f"{found.env_id}{'&' if '?' in found.env_id else '?'}{query}")


def present_id(env_id: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the id under which an environment is made today, with a notice where an old one's observations are the same."""
    found = successor_of(env_id) if isinstance(env_id, str) else None
    if found is None or found.differs:
        return env_id, ()
    more = f" ({found.remark})" if found.remark else ""
    return found.env_id, (f"{env_id} is made as {found.env_id}, its successor with the same observations{more}",)


def split_env(env: gymnasium.Env[Any, Any], env_id: str, options: Mapping[str, str] | None = None) -> SplitEnv:
    """Split the step of a Gymnasium environment that was made elsewhere; `options` are those of an id, see `make_env`."""
    given = dict(options or {})
    noise = given.pop(ACTION_NOISE, None)
    split = _undisturbed(env, env_id, given)
    return split if noise is None else disturb(split, noise)


def _undisturbed(env: gymnasium.Env[Any, Any], env_id: str, given: dict[str, str]) -> SplitEnv:
    reason = None
    is_grid = any(base.__module__ == "minigrid.minigrid_env" for base in type(env.unwrapped).__mro__)
    view = given.pop("view", None) if is_grid else None
    if type(env.unwrapped).__module__ == "ale_py.env" and (reason := _plain_atari_reason(env)) is None:
        from phr.envs.atari import AtariSettings, AtariSplitEnv

        core: Any = env.unwrapped
        return AtariSplitEnv(core, env_id, AtariSettings.of(core, given))
    if given:
        general = f"{ACTION_NOISE}, {', '.join(LAYERS)}, wrapper and kwargs.NAME"
        known = f"it has {'view, ' if is_grid else ''}{general}"
        raise UnsupportedEnvironmentError(f"{env_id}: it has no option {next(iter(given))!r}; {known}")
    if is_grid:
        from phr.envs.minigrid_split import FullViewEnv, PartialViewEnv, plain_reason

        if (reason := plain_reason(env)) is None:
            return PartialViewEnv(env, env_id) if view == "partial" else FullViewEnv(env, env_id)
        if view == "full":
            why = f"view 'full' needs the fast path of grids, but {reason}. Leave the view out to see what it shows"
            raise UnsupportedEnvironmentError(f"{env_id}: {why}")
    split = ObservingEnv(env, env_id)
    if reason is not None:
        split.stepping = f"plain path: {reason}"
    return split


def _make_registered(module: str, name: str, kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """Make a registered environment; `module` is the prefix of its name in messages."""
    _import_family(name)
    env_id = module + name
    if not module and (newer := successor_of(name)) is not None:
        how = f"whose observations differ: {newer.differs}" if newer.differs else "with the same observations"
        raise UnknownEnvironmentError(f"there is no environment {env_id!r} any more; its successor is {newer.env_id}, {how}")
    try:
        spec = copy.deepcopy(gymnasium.spec(_with_version(name)))
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        near = difflib.get_close_matches(name, list(gymnasium.registry), n=3, cutoff=0.6)
        package = package_of(name)
        hint = f"; did you mean {' or '.join(module + other for other in near)}?" if near else ""
        if package is not None and not module:
            cure = f"--env-id {shlex.quote(f'{package}:{name}')}"
            hint = f"; {package} registers such ids: install it, then {cure} or its newer version"
        raise UnknownEnvironmentError(f"there is no environment {env_id!r}{hint}") from error
    spec.order_enforce = False
    spec.disable_env_checker = True
    if "mujoco" in str(spec.entry_point):
        _warn_once_of_mujoco()
    try:
        return gymnasium.make(spec, **kwargs)
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise MissingExtraError(f"{env_id} needs a package that is not installed ({error}); {_pip_line(error)}") from error
    except PhrError:
        raise
    except FOREIGN_ERRORS as error:  # Gymnasium's own, or the environment's
        raise UnsupportedEnvironmentError(f"{env_id} cannot be made with {kwargs}: {error_text(error)}") from error


@cache
def _warn_once_of_mujoco() -> None:
    """Let MuJoCo print each kind of warning once a process: it repeats them for every environment, and with every number."""
    try:
        import mujoco
    except ImportError:  # Gymnasium says what is missing
        return
    seen = set[str]()

    def warn(message: str) -> None:
        kind = re.sub(r"[-+.\d]+(e[-+]?\d+)?", "#", message)  # times and numbers differ
        if kind not in seen:
            seen.add(kind)
            print(f"MuJoCo: {printable(message)}", file=sys.stderr)

    present = getattr(mujoco, "get_mju_user_warning", None)  # earlier versions have none
    if present is not None and present() is None:  # else a program has one of its own
        mujoco.set_mju_user_warning(warn)


def _with_version(name: str) -> str:
    """Return the id; for a name without version the latest one, as `gymnasium.make` does."""
    namespace, plain, version = parse_env_id(name)
    latest = find_highest_version(namespace, plain) if version is None else None
    return name if latest is None else get_env_id(namespace, plain, latest)


def _import_family(env_id: str) -> None:
    """Import the package that registers this id; Gymnasium has no plug-in entry point any more."""
    prefix = env_id.partition("-")[0].partition("/")[0]
    if prefix == "ALE" or (env_id not in gymnasium.registry and _OLD_ATARI_NAME.fullmatch(env_id)):
        package, needed = "ale_py", prefix == "ALE" or _OLD_ATARI_FLAVOUR.search(env_id) is not None
    elif prefix in ("MiniGrid", "BabyAI"):
        package, needed = "minigrid", True
    else:
        return
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if needed:
            raise MissingExtraError(f"{env_id} needs the package {package}; {_pip_line(error)}") from error
        return  # a bare name such as Own-v0 may be somebody else's
    if package == "ale_py":
        from phr.envs.atari import register_old_names

        register_old_names()


def _pip_line(error: Exception) -> str:
    extra = next((extra for word, extra in _EXTRAS.items() if word in str(error).lower()), "train")
    return f"pip install 'phr[{extra}]'"


def _plain_atari_reason(env: gymnasium.Env[Any, Any]) -> str | None:
    """Return why a game is stepped through Gymnasium; None where phr can drive its emulator directly."""
    core: Any = env.unwrapped
    reason = unknown_wrapper(env, {OrderEnforcing, PassiveEnvChecker}, "a game")
    if reason is None and is_patched(core):
        reason = "a method of AtariEnv was replaced"
    elif reason is None and (core._obs_type, core.sound_obs, core.continuous) != ("rgb", False, False):
        reason = "it does not show pictures alone, or its actions are continuous"
    elif reason is None and env.action_space != Discrete(len(core._action_set)):
        reason = "its action space was replaced"
    return reason
