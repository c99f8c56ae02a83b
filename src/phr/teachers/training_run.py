"""Folders of RL Baselines3 Zoo: which policy, environment, wrappers and statistics belong together.

A run is `ALGO/ENV_1/` with `ENV.zip` and a folder `ENV/` of `args.yml`, `config.yml` and `vecnormalize.pkl`; repositories of
the Hugging Face hub have all of it side by side, and call the statistics `vec_normalize.pkl`. The YAML is read as data: what
a tag names is neither imported nor built.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from phr.envs.registry import package_of, successor_of
from phr.errors import CorruptFileError, IncompatibleModelError, UnknownModelError, UsageError
from phr.experience.untrusted import read_npz
from phr.files import read_model_file

ARGS, CONFIG, KWARGS, EVALUATIONS = "args.yml", "config.yml", "env_kwargs.yml", "evaluations.npz"
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
_BEST = "best_model.zip"
_OTHER_ZIPS = ("train_eval_metrics.zip",)
_LARGEST = 1 << 20

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

    `env_id` has the options that its wrappers stand for, empty where the folder names no environment; `notices` are lines
    for the user.
    """

    file: Path
    env_id: str
    statistics: Path | None
    recorded: Recorded | None
    notices: tuple[str, ...]
    normalizes: bool | None
    """Whether the settings ask for normalised observations, None where there are none."""


def is_training_run(path: Path) -> bool:
    """Return whether a folder is one of the zoo's: it holds `args.yml` here or one level below, or a `.zip`."""
    return path.is_dir() and (_settings_folder(path, None) is not None or bool(_policies(path)))


def read_run(path: Path, *, env_id: str | None = None) -> TrainingRun | None:
    """Return what belongs to a policy: of a run's folder, its inner folder, or a `.zip` in it; None for a lonely `.zip`.

    `env_id` is the one that the user gave: then the folder's environment and wrappers are not read. UnknownModelError if
    there is no policy, or several; IncompatibleModelError for wrappers that phr does not know.
    """
    folder, inner = (path.parent if path.is_file() else path), None
    if not path.is_file() and not _policies(folder) and (folder / ARGS).is_file():
        folder, inner = folder.parent, folder  # the inner folder was named
    settings = inner or _settings_folder(folder, path.stem if path.is_file() else None)
    if settings is None and path.is_file():
        return None
    args = {} if settings is None else _mapping(settings / ARGS)
    name = str(args.get("env") or "")
    file = path if path.is_file() else _policy(folder, name)
    config = {} if settings is None else _mapping(settings / CONFIG)
    places = [folder] if settings is None else [settings, folder]
    statistics = next((place / each for place in places for each in STATISTICS if (place / each).is_file()), None)
    normalizes = _normalizes(config.get("normalize"), str(settings))
    notices = []
    if not path.is_file() and file.name != _BEST and (folder / _BEST).is_file():
        notices.append(f"{folder} also holds {_BEST}, the best policy of its training; name that file to take it instead")
    if statistics is not None:
        if normalizes is False:
            statistics = None
        else:
            notices.append(f"observations are normalised with {statistics}")
    made, more = (env_id, []) if env_id is not None else _environment(name, args, config, settings)
    return TrainingRun(
        file=file,
        env_id=made,
        statistics=statistics,
        recorded=_recorded(folder / EVALUATIONS),
        notices=(*notices, *more),
        normalizes=normalizes,
    )


def _settings_folder(folder: Path, name: str | None) -> Path | None:
    """Return the folder of `args.yml`: this one or the only one below; that of a policy's name first."""
    below = [folder / name] if name is not None else []
    below += [folder, *sorted(each for each in folder.iterdir() if each.is_dir())]
    return next((each for each in below if (each / ARGS).is_file()), None)


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


def _environment(name: str, args: dict[str, Any], config: dict[str, Any], settings: Path | None) -> tuple[str, list[str]]:
    """Return the id of a run's environment with options for its wrappers, and notices; empty if it names none."""
    if not name:
        return "", []
    options, notices = [], list[str]()
    further_kwargs = _mapping(settings / KWARGS) if settings is not None else {}
    kwargs = _as_mapping(args.get("env_kwargs"), str(settings)) | further_kwargs
    for key, value in kwargs.items():
        if not isinstance(value, str | int | float | bool | None):
            raise IncompatibleModelError(
                f"{settings}: env_kwargs holds {key}={value!r}; make the environment in module:factory"
            )
        options.append(f"kwargs.{key}={value}")
    stack = config.get("frame_stack") or 1
    wrappers = config.get("env_wrapper") or []
    wrappers = wrappers if isinstance(wrappers, list) else [wrappers]
    names = [str(next(iter(each))) if isinstance(each, dict) and len(each) == 1 else str(each) for each in wrappers]
    if names == [_ATARI] and stack == 4:
        notices.append("its Atari wrapper and four frames are phr's own; a lost life does not end the episode")
        options.append("fire=life")
        names, stack = [], 1
    for wrapper in names:
        if wrapper not in _WRAPPERS:
            how = f"phr knows {', '.join(sorted({each.rpartition('.')[2] for each in [*_WRAPPERS, _ATARI]}))}"
            fix = "give --env-id with --wrapper module:function, which puts it around the environment"
            raise IncompatibleModelError(
                f"{settings}: the policy was trained with the wrapper {wrapper}; {how}. For others {fix}"
            )
        options.append(_WRAPPERS[wrapper])
    if further := config.get("vec_env_wrapper"):
        raise IncompatibleModelError(
            f"{settings}: the policy was trained with the wrapper {further}, which phr does not read"
        )
    if stack != 1:
        options.append(f"frame-stack={stack}")
    if (newer := successor_of(name)) is not None and newer.differs:
        raise IncompatibleModelError(
            f"{name} is {newer.env_id} today, whose observations differ: {newer.differs}. Add --env-id with one like its own"
        )
    if (package := package_of(name)) is not None:
        newer_id = f"--env-id {package}:{name}, or its newer version"
        raise UsageError(f"{name} is registered by the package {package}; install it, then add {newer_id}")
    return name + ("?" + "&".join(options) if options else ""), notices


def _normalizes(value: Any, where: str) -> bool | None:
    """Return whether observations are normalised; None where the settings do not say."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return bool(value.get("norm_obs", True))
    try:  # as text: dict(norm_obs=True, norm_reward=False) or {'norm_obs': True}
        tree = ast.parse(str(value), mode="eval").body
        is_call = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "dict" and not tree.args
        given: Any = (
            {each.arg: ast.literal_eval(each.value) for each in tree.keywords} if is_call else ast.literal_eval(tree)  # type: ignore[attr-defined]
        )
        return bool(given.get("norm_obs", True))
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise CorruptFileError(f"{where}: its setting normalize cannot be read: {str(value)[:80]!r}") from error


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


class _Plain(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Reads every tag as the data below it."""


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


def _as_mapping(found: Any, where: str) -> dict[str, Any]:
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    if isinstance(found, list) and all(
        isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in found
    ):
        found = dict(found)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CorruptFileError(f"{where} holds no settings of RL Baselines3 Zoo")
    return found
