"""Folders of RL Baselines3 Zoo: which policy, environment, wrappers and statistics belong together.

A run is `ALGO/ENV_1/` with `ENV.zip` and a folder `ENV/` of `args.yml`, `config.yml` and `vecnormalize.pkl`; repositories of
the Hugging Face hub have all of it side by side, and call the statistics `vec_normalize.pkl`. The YAML is read as data: what
a tag names is neither imported nor built.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml

from phr.envs.registry import option_names, package_of, successor_of
from phr.errors import CorruptFileError, IncompatibleModelError, UnknownModelError, UsageError
from phr.experience.untrusted import read_npz
from phr.files import read_model_file, without_twins

ARGS, CONFIG, KWARGS, EVALUATIONS = "args.yml", "config.yml", "env_kwargs.yml", "evaluations.npz"
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
_BEST = "best_model.zip"
_OTHER_ZIPS = ("train_eval_metrics.zip",)
_LARGEST = 1 << 20
_LONGEST = 500
"""Characters of a setting that is written as Python."""

_ATARI = "stable_baselines3.common.atari_wrappers.AtariWrapper"
_WRAPPERS: dict[str, str] = {
    "sb3_contrib.common.wrappers.TimeFeatureWrapper": "time-feature",
    "sb3_contrib.common.wrappers.time_feature.TimeFeatureWrapper": "time-feature",
    "utils.wrappers.TimeFeatureWrapper": "time-feature",
    "rl_zoo3.wrappers.TimeFeatureWrapper": "time-feature",
}
"""Wrappers as the zoo's settings name them → options of an id."""


@dataclass(frozen=True)
class Recorded:
    """The last evaluation in a run's training: mean, standard deviation and number of returns."""

    mean: float
    deviation: float
    n: int

    def doubt(self, mean: float | None) -> str | None:
        """Return a warning where a mean return is far below: by three deviations, and by a quarter; None elsewhere."""
        far = max(3 * self.deviation, abs(self.mean) / 4)
        if mean is None or mean >= self.mean - far:
            return None
        was = f"{self.mean:.6g} ± {self.deviation:.3g} in {self.n} episodes at the end of its training"
        return f"the policy returns {mean:.6g}, and {was} ({EVALUATIONS}): environment, wrappers or statistics may be others"


@dataclass(frozen=True)
class TrainingRun:
    """What a folder states about one policy.

    `env_id` has the options that its wrappers stand for, empty where the folder names no environment. It comes from a file,
    so it may name code. `notices` and `warnings` are lines for the user.
    """

    file: Path
    env_id: str
    statistics: Path | None
    recorded: Recorded | None
    notices: tuple[str, ...]
    warnings: tuple[str, ...]
    normalizes: bool | None
    """Whether the settings ask for normalised observations, None where there are none."""


def is_training_run(path: Path) -> bool:
    """Return whether a folder is one of the zoo's: it holds `args.yml` here or one level below, or a `.zip`."""
    return path.is_dir() and (bool(_policies(path)) or bool(_with_args(path)))


def read_run(path: Path, *, env_id: str | None = None) -> TrainingRun:
    """Return what belongs to a policy: of a run's folder, its inner folder, or a `.zip`, also one that lies alone.

    `env_id` is the one that the user gave: then the folder's environment is not read, and what it would add is a notice.
    UnknownModelError if there is no policy, or several; IncompatibleModelError for wrappers that phr does not know.
    """
    folder, inner = (path.parent if path.is_file() else path), None
    if not path.is_file() and not _policies(folder) and (folder / ARGS).is_file():
        folder, inner = folder.parent, folder  # the inner folder was named
    settings = inner or _settings_folder(folder, path if path.is_file() else None)
    args, config = ({} if settings is None else _mapping(settings / name) for name in (ARGS, CONFIG))
    name = str(args.get("env") or "")
    file = path if path.is_file() else _policy(folder, name)
    notices, warnings = list[str](), list[str]()
    if not path.is_file() and file.name != _BEST and (folder / _BEST).is_file():
        notices.append(f"{folder} also holds {_BEST}, the best policy of its training; name that file to take it instead")
    places = [folder] if settings is None else [settings, folder]
    statistics = next((place / each for place in places for each in STATISTICS if (place / each).is_file()), None)
    if statistics is not None and settings is None and len(_policies(folder)) > 1:  # whose they are is unknown
        cure = f"--normalize {shlex.quote(str(statistics))}"
        warnings.append(f"{statistics} lies beside {file} and is not used; if it belongs to it: {cure}")
        statistics = None
    normalizes = _normalizes(config.get("normalize"), str(settings))
    made = "" if env_id is None else env_id
    if env_id is None:
        options, more = _options(args, config, settings)
        made = _checked_id(name, settings) + ("?" + "&".join(options) if options else "") if name else ""
        notices += more
    elif name and (missing := _missing(args, config, settings, env_id)):
        notices.append(f"{settings} was made with {', '.join(missing)}, which --env-id leaves out")
    return TrainingRun(
        file=file,
        env_id=made,
        statistics=None if normalizes is False else statistics,
        recorded=_recorded(folder / EVALUATIONS),
        notices=tuple(notices),
        warnings=tuple(warnings),
        normalizes=normalizes,
    )


def _with_args(folder: Path) -> list[Path]:
    """Return this folder if it holds `args.yml`, else the folders in it that do."""
    if (folder / ARGS).is_file():
        return [folder]
    return sorted(each for each in folder.iterdir() if (each / ARGS).is_file())


def _settings_folder(folder: Path, file: Path | None) -> Path | None:
    """Return the folder of a policy's settings: this one, or the only one below that is named after its environment."""
    found = _with_args(folder)
    if found == [folder]:
        return folder
    named = [each for each in found if each.name == _mapping(each / ARGS).get("env")]
    if len(named) != 1 or (file is not None and file.stem != named[0].name and not _OF_A_RUN.match(file.name)):
        return None
    return named[0]


_OF_A_RUN = re.compile(r"best_model\.zip|rl_model_\d+_steps\.zip")
"""Policies of a run beside its last one."""


def _policies(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("*.zip") if each.is_file() and each.name not in _OTHER_ZIPS)


def _policy(folder: Path, env: str) -> Path:
    """Return the policy of a folder: the last one of its training, named after the environment, else the only one."""
    found = _policies(folder)
    if not found:
        raise UnknownModelError(f"{folder} holds no .zip of a policy")
    last = [each for each in found if each.stem == env] or [each for each in found if each.name != _BEST]
    if len(last) > 1:
        raise UnknownModelError(f"{folder} holds several policies; name one of {', '.join(str(each) for each in last)}")
    return (last or found)[0]


def _checked_id(name: str, settings: Path | None) -> str:
    """Return the id that the settings name, if it is made here under its own name."""
    if not re.fullmatch(r"[\w.:/-]+", name):
        raise CorruptFileError(f"{settings} names the environment {name!r:.80}, which is not an id")
    if (newer := successor_of(name)) is not None and newer.differs:
        differ = f"whose observations differ: {newer.differs}. Add --env-id with one like its own"
        raise IncompatibleModelError(f"{name} is {newer.env_id} today, {differ}")
    if (package := package_of(name)) is not None:
        newer_id = f"--env-id {shlex.quote(f'{package}:{name}')}, or its newer version"
        raise UsageError(f"{name} is registered by the package {package}; install it, then add {newer_id}")
    return name


def _missing(args: dict[str, Any], config: dict[str, Any], settings: Path | None, env_id: str) -> list[str]:
    """Return what the settings put around the environment and the user's id does not."""
    try:
        options, _ = _options(args, config, settings)
    except IncompatibleModelError:  # what phr does not know is in the user's own layers, if anywhere
        return [] if "wrapper" in option_names(env_id) else ["a wrapper that phr does not know"]
    return [option for option in options if unquote(option.partition("=")[0]) not in option_names(env_id)]


def _options(args: dict[str, Any], config: dict[str, Any], settings: Path | None) -> tuple[list[str], list[str]]:
    """Return the options of an id that a run's arguments and wrappers stand for, and notices."""
    options, notices = [], list[str]()
    further = _mapping(settings / KWARGS) if settings is not None else {}
    for key, value in (_as_mapping(args.get("env_kwargs"), str(settings)) | further).items():
        if not isinstance(value, str | int | float | bool | None):
            raise IncompatibleModelError(f"{settings}: env_kwargs holds a {type(value).__name__}; make it in module:factory")
        options.append(f"kwargs.{quote(key, safe='')}={quote(str(value), safe='')}")
    stack, given = config.get("frame_stack"), config.get("env_wrapper")
    stack = 1 if stack is None else stack
    if type(stack) is not int or stack < 1:
        raise CorruptFileError(f"{settings}: frame_stack must be a whole number, got a {type(stack).__name__}")
    wrappers = [
        _wrapper(each, settings) for each in (given if isinstance(given, list) else [] if given is None else [given])
    ]
    if wrappers == [_ATARI] and stack == 4:
        notices.append("its Atari wrapper and four frames are phr's own; a lost life does not end the episode")
        return [*options, "fire=life"], notices
    for wrapper in wrappers:
        if wrapper not in _WRAPPERS:
            how = f"phr knows {', '.join(sorted({each.rpartition('.')[2] for each in [*_WRAPPERS, _ATARI]}))}"
            fix = "give --env-id with --wrapper module:function, which puts it around the environment"
            raise IncompatibleModelError(f"{settings}: the policy was trained with {wrapper:.80}; {how}. For others {fix}")
        options.append(_WRAPPERS[wrapper])
    if config.get("vec_env_wrapper"):
        raise IncompatibleModelError(f"{settings}: the policy was trained with a vec_env_wrapper, which phr does not read")
    if stack != 1:
        options.append(f"frame-stack={stack}")
    return options, notices


def _wrapper(given: Any, settings: Path | None) -> str:
    """Return the name of a wrapper; IncompatibleModelError for one with arguments, which change what it does."""
    name, arguments = next(iter(given.items())) if isinstance(given, dict) and len(given) == 1 else (given, None)
    if not isinstance(name, str):
        raise CorruptFileError(f"{settings}: env_wrapper holds a {type(given).__name__}")
    if arguments:
        fix = "give --env-id with --wrapper module:function, which puts it around the environment"
        raise IncompatibleModelError(f"{settings}: the policy was trained with {name:.80} and arguments of its own; {fix}")
    return name


def _normalizes(value: Any, where: str) -> bool | None:
    """Return whether observations are normalised; None where the settings do not say it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return bool(value.get("norm_obs", True))
    unreadable = f"{where}: its setting normalize cannot be read"
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise CorruptFileError(f"{unreadable}: a {type(value).__name__}")
    try:  # as text: dict(norm_obs=True, norm_reward=False) or {'norm_obs': True}
        tree = ast.parse(value, mode="eval").body
        is_call = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "dict" and not tree.args
        words = [] if not isinstance(tree, ast.Call) else tree.keywords
        given: Any = {each.arg: ast.literal_eval(each.value) for each in words} if is_call else ast.literal_eval(tree)
        return bool(given.get("norm_obs", True))
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise CorruptFileError(f"{unreadable}: {value[:80]!r}") from error


def _recorded(path: Path) -> Recorded | None:
    """Return the last evaluation of a training, None if none was kept."""
    if not path.is_file():
        return None
    arrays = read_npz(path)
    results = arrays.get("results")
    if results is None or results.dtype.kind != "f" or results.ndim < 2 or not results.size:
        raise CorruptFileError(f"{path} was not written by Stable-Baselines3's EvalCallback")
    last = results[-1]
    return Recorded(float(last.mean()), float(last.std()), last.size)


_MERGED = "tag:yaml.org,2002:merge"
"""Of the key `<<`, whose entries those of the mapping itself replace."""


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Reads every tag as the data below it, and no mapping that has a key twice."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping."""
        if isinstance(node, yaml.MappingNode):
            named = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGED)
            without_twins((self.construct_object(key), None) for key in named)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _plain(loader: _Plain, _suffix: str, node: yaml.Node) -> Any:
    construct: dict[type[yaml.Node], Callable[..., Any]] = {
        yaml.MappingNode: loader.construct_mapping, yaml.SequenceNode: loader.construct_sequence,
    }  # fmt: skip
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return construct[type(node)](node, deep=True)


_Plain.add_multi_constructor("tag:yaml.org,2002:python/", _plain)
_Plain.add_multi_constructor("!", _plain)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, objects as the plain data that describes them; CorruptFileError if it is broken."""
    try:
        return yaml.load(read_model_file(path, _LARGEST).decode(), _Plain)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise CorruptFileError(f"{path} is not readable YAML: {' '.join(str(error).split())[:200]}") from error


def _mapping(path: Path) -> dict[str, Any]:
    """Return the entries of a mapping, or of an OrderedDict, which is written as its pairs; none of a missing file."""
    return _as_mapping(read_yaml(path), str(path)) if path.is_file() else {}


def _pairs(pairs: list[Any], where: str) -> dict[str, Any]:
    try:
        return without_twins((name, value) for name, value in pairs)
    except ValueError as error:
        raise CorruptFileError(f"{where}: {error}") from error


def _as_mapping(found: Any, where: str) -> dict[str, Any]:
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if isinstance(found, list) and all(
        isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in found
    ):
        found = _pairs(found, where)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CorruptFileError(f"{where} holds no settings of RL Baselines3 Zoo")
    return found
