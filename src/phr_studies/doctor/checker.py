"""Gymnasium's own checker, its warnings gathered, with what to do about the known ones."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.utils.env_checker import check_env

from phr.envs import make_gym_env

_FIXES = {
    r"dtype to be (\w+), actual type: (\w+)": r"return np.asarray(obs, \1), or wrap it in DtypeObservation",
    r"expecting a numpy array": "return np.asarray(obs, the space's dtype)",
    r"observation space (minimum|maximum) value is -?infinity": "harmless here: phr scales nothing by these bounds",
    r"symmetric and normalized space": "wrap it in gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)",
    r"not within the observation space": "return np.asarray(obs, the space's dtype) if another is shown; else widen the "
    "space's bounds, or clip what is shown",
    r"super\(\)\.reset\(seed=seed\)|`\.np_random`": "begin reset with super().reset(seed=seed) and draw all chance from "
    "self.np_random",
    r"non-deterministic|[Dd]eterministic step": "draw all chance from self.np_random, which reset(seed=...) seeds",
    r"default seed argument": "let reset take seed=None by default",
    r"not provide an? `(seed|options)`": "let reset take seed=None and options=None",
    r"[Ss]hare an object|share\s+an object": "return a copy (obs.copy()), not the array that the next step writes into",
    r"must be a float, int": "return float(reward)",
    r"`(terminated|truncated|done)` signal to be a boolean": "return bool(...)",
    r"should be an int or np\.int64": "return int(obs)",
    r"NaN value|inf value": "find the division by zero or the overflow in its reward",
}
"""What is said → what to do; the first that is found."""

_BESIDE_THE_POINT = "is different from the unwrapped version"
"""The checker minds wrappers; a user's own belong to the environment."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Finding:
    """One complaint.

    Attributes:
        says: What the checker says.
        fix: What to do about it; empty where nothing is known.
    """

    says: str
    fix: str


@dataclass(frozen=True)
class Check:
    """What the checker found.

    Attributes:
        error: What it stopped at, None where it came to its end.
        warnings: What it warned of, each once.
    """

    error: Finding | None
    warnings: tuple[Finding, ...]


def check(env_id: str) -> Check:
    """Run Gymnasium's `check_env` on a new environment, wrappers of the user's included; nothing is rendered.

    Raises:
        UsageError: If it cannot be made.
    """
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env: gymnasium.Env[Any, Any] = make_gym_env(env_id)
        level, gymnasium.logger.min_level = gymnasium.logger.min_level, gymnasium.logger.WARN
        try:
            check_env(env, skip_render_check=True, skip_close_check=True)
        except Exception as raised:  # the environment's own code, or an assertion about it
            error = _finding(f"{type(raised).__name__}: {raised}")
        finally:
            gymnasium.logger.min_level = level
            env.close()
    return Check(error, tuple(map(_finding, dict.fromkeys(_said(each) for each in caught if _counts(each)))))


def _said(warning: warnings.WarningMessage) -> str:
    return _COLOUR.sub("", str(warning.message))


def _counts(warning: warnings.WarningMessage) -> bool:
    """Whether a warning is about the environment itself, not about the packages that it is made of."""
    return not issubclass(warning.category, DeprecationWarning) and _BESIDE_THE_POINT not in _said(warning)


def _finding(text: str) -> Finding:
    says = " ".join(text.removeprefix("WARN: ").removeprefix("AssertionError: ").split())
    for pattern, fix in _FIXES.items():
        if found := re.search(pattern, says):
            return Finding(says, found.expand(fix) if "\\" in fix else fix)
    return Finding(says, "")
