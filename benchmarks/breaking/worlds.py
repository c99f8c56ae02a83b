"""Environments that are broken in sixty ways, and every command in each of them, alone and as one of 64."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from benchmarks.breaking.forks import told
from benchmarks.breaking.kills import DISTILL, trained

ID = "benchmarks.breaking.worlds:make"
SECONDS = 40.0

Fault = Callable[["Broken", str, Any], Any]
"""What becomes of a value that a call returns, or an error instead of it."""


def _raise(kind: type[BaseException], *args: Any) -> Fault:
    def fault(_env: Broken, _call: str, _value: Any) -> Any:
        raise kind(*args)

    return fault


def _obs(change: Callable[[Any], Any]) -> Fault:
    def fault(_env: Broken, _call: str, value: Any) -> Any:
        return change(value[0]), *value[1:]

    return fault


def _at(place: int, change: Any) -> Fault:
    def fault(_env: Broken, call: str, value: Any) -> Any:
        if call == "reset":
            return value
        values = list(value)
        values[place] = change(values[place]) if callable(change) else change
        return tuple(values)

    return fault


def _hang(_env: Broken, _call: str, _value: Any) -> Any:
    time.sleep(3600)


def _whole(change: Callable[[Any], Any]) -> Fault:
    return lambda _env, _call, value: change(value)


class OddError(Exception):
    """An error whose own text fails."""

    def __str__(self) -> str:
        raise ValueError("no text")


FAULTS: dict[str, Fault] = {
    "raises": _raise(RuntimeError, "broken"),
    "raises without text": _raise(ValueError),
    "exits": _raise(SystemExit, 0),
    "exits with a text": _raise(SystemExit, "bye"),
    "raises lines": _raise(OSError, "two\nlines\x1b[2J"),
    "raises an odd error": _raise(OddError),
    "assertion": _raise(AssertionError),
    "stops": _raise(StopIteration),
    "no memory": _raise(MemoryError),
    "recursion": _raise(RecursionError, "too deep"),
    "keys": _raise(KeyError, "x"),
    "not implemented": _raise(NotImplementedError),
    "generator": _raise(GeneratorExit),
    "broken pipe": _raise(BrokenPipeError, 32, "x"),
    "hangs": _hang,
    "returns nothing": _whole(lambda _value: None),
    "returns a list": _whole(list),
    "returns too little": _whole(lambda v: v[:1]),
    "returns too much": _whole(lambda value: (*value, 0)),
    "returns the observation": _whole(lambda value: value[0]),
    "returns an iterator": _whole(iter),
    "returns a dict": _whole(lambda value: {"obs": value[0]}),
    "observation None": _obs(lambda _obs: None),
    "observation NaN": _obs(lambda obs: obs * np.nan),
    "observation infinite": _obs(lambda obs: obs + np.inf),
    "observation too long": _obs(lambda obs: np.append(obs, 0)),
    "observation too short": _obs(lambda obs: obs[:-1]),
    "observation in a row": _obs(lambda obs: obs[None]),
    "observation a number": _obs(lambda obs: obs[0]),
    "observation text": _obs(lambda _obs: "obs"),
    "observation objects": _obs(lambda obs: obs.astype(object)),
    "observation complex": _obs(lambda obs: obs.astype(complex)),
    "observation texts": _obs(lambda obs: obs.astype("U8")),
    "observation a dict": _obs(lambda obs: {"obs": obs}),
    "observation huge": _obs(lambda obs: obs.astype(np.float64) * 0 + 1e300),
    "observation ragged": _obs(lambda _obs: [[1], [2, 3]]),
    "observation empty": _obs(lambda _obs: np.zeros(0, np.float32)),
    "observation far outside": _obs(lambda obs: obs * 0 + 1e9),
    "reward None": _at(1, None),
    "reward NaN": _at(1, np.nan),
    "reward infinite": _at(1, -np.inf),
    "reward text": _at(1, "1"),
    "reward an array": _at(1, np.zeros(3)),
    "reward complex": _at(1, 1j),
    "reward huge": _at(1, 10**400),
    "reward a list": _at(1, [1]),
    "reward an object": _at(1, object()),
    "reward an array of one": _at(1, np.ones(1)),
    "terminated None": _at(2, None),
    "terminated text": _at(2, "False"),
    "terminated a number": _at(2, 2),
    "terminated NaN": _at(2, np.nan),
    "terminated an array": _at(2, np.zeros(2, bool)),
    "truncated None": _at(3, None),
    "truncated text": _at(3, "no"),
    "info None": _at(4, None),
    "info a list": _at(4, []),
    "info text": _at(4, "info"),
    "info with another success": _at(4, {"is_success": "perhaps"}),
    "info with a success of NaN": _at(4, {"is_success": np.nan}),
    "swapped": _whole(lambda value: value if len(value) == 2 else (value[1], value[0], *value[2:])),
}
MAY_PASS = {
    "returns a list",
    "reward an array of one",
    "observation far outside",
    "info with another success",
    "info with a success of NaN",
}
"""What may be taken as it is meant (a success that is neither yes nor no is unknown); all others have to be refused."""

OF_STEPS = ("reward", "terminated", "truncated", "info", "swapped")
"""Beginnings of faults that no reset has."""

_made = count()


class Broken(gymnasium.Env[Any, Any]):
    """CartPole that breaks at a step of an episode, -1 for its reset, in one of several copies."""

    def __init__(self) -> None:
        fault, step, copy = os.environ["PHR_BROKEN"].split("/")
        self._env = gymnasium.make("CartPole-v1").unwrapped
        self.observation_space, self.action_space = self._env.observation_space, self._env.action_space
        self._fault, self._step, self._n = FAULTS[fault], int(step), 0
        self._is_mine = next(_made) >= int(copy)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin; it breaks here if the step is -1."""
        super().reset(seed=seed)
        self._n, found = 0, self._env.reset(seed=seed)
        return self._fault(self, "reset", found) if self._is_mine and self._step < 0 else found

    def step(self, action: Any) -> Any:
        """Go on; it breaks at its step."""
        obs, reward, terminated, _, info = self._env.step(action)
        self._n += 1
        found = obs, reward, terminated, self._n >= 30, info
        return self._fault(self, "step", found) if self._is_mine and self._n == self._step + 1 else found


def make() -> Broken:
    """The factory that commands are given; what breaks is in the environment variable PHR_BROKEN."""
    return Broken()


def commands(teacher: str, student: str) -> dict[str, list[str]]:
    """Every command that acts, in such an environment."""
    where, few = ["--env-id", ID], ["--n-envs", "64"]
    return {
        "train": ["train", *where, "--total-timesteps", "2048", "--n-envs", "64", "--out", "made"],
        "distill": ["distill", teacher, *where, *DISTILL[:-4], "--out", "made", *few, "--curve-episodes", "4"],
        "evaluate": ["evaluate", student, *where, "--episodes", "3", "--runs", "1"],
        "tune": ["tune", student, "--teacher", teacher, *where, *few, "--max-episodes", "25", "--calibration", "25"],
        "export": ["export", student, *where, "--out", "made.onnx", "--int8"],
        "report": ["report", student, *where, "--out", "made"],
        "doctor": ["doctor", ID, "--teacher", teacher, "--episodes", "2", "--steps", "40"],
    }


def _may_pass(command: str, fault: str, at: int) -> bool:
    """Whether a command may end well: `doctor` describes what it finds, `export` compares on what it met until then."""
    return fault in MAY_PASS or command == "doctor" or (command == "export" and at >= 0)


def tried(folder: Path, *, alone: bool, every: int = 1, match: str = "") -> Iterator[tuple[str, str, int, str]]:
    """Run every command in every environment; yield command, fault, exit code and what was wrong.

    Faults are those whose name contains `match`.
    Alone, every copy breaks; else those from the 18th on, of 64 that are open side by side.
    """
    os.environ["COLUMNS"] = "80"
    teacher, student = trained(folder)
    cases = [(fault, at) for fault in FAULTS for at in (-1, 3) if at >= 0 or not fault.startswith(OF_STEPS)]
    for fault, at in [case for case in cases if match in case[0]][::every]:
        os.environ["PHR_BROKEN"] = f"{fault}/{at}/{0 if alone else 17}"
        for name, words in commands(str(teacher), str(student)).items():
            place = folder / "work"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            found = told([*words, "--step-timeout", "2"] if fault == "hangs" else words, place, seconds=SECONDS)
            wrong = found.wrong
            if not wrong and found.code == 0 and alone and not _may_pass(name, fault, at):
                wrong = "it was taken for sound"
            if not wrong and found.code == 0 and ID not in found.out and name in ("doctor", "evaluate"):
                wrong = f"the environment has no name: {found.out[-300:]!r}"
            if not wrong and found.code and ID not in found.err.splitlines()[-1]:
                wrong = f"the environment has no name: {found.err.splitlines()[-1][:300]!r}"
            yield name, f"{fault}, step {at}", found.code, wrong
