"""Minari datasets that lead elsewhere, claim more than they hold, or broke: one line each."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from phr.errors import CorruptFileError
from phr.experience.logged import load_logged
from tests.experience.test_logged import write_dataset

h5py: Any = pytest.importorskip("h5py")
NAME = "minari:corridor/right-v0"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The arrays of a whole dataset."""
    seen = spaces.Box(0, 9, (2,), np.float32)
    write_dataset(tmp_path, monkeypatch, seen, spaces.Discrete(2), np.ones((5, 2)), [1, 1, 1, 1])
    return next(tmp_path.rglob("*.hdf5"))


def refused(message: str) -> None:
    with pytest.raises(CorruptFileError, match=message) as caught:
        load_logged(NAME)
    assert "\n" not in str(caught.value)


def put(name: str, value: Any) -> Callable[[Any, Path], None]:
    """Put something in the place of an array of the first episode."""

    def change(file: Any, _folder: Path) -> None:
        del file["episode_0"][name]
        if value is not None:
            file["episode_0"][name] = value

    return change


def elsewhere(make: Callable[[Any, Path], Any]) -> Callable[[Any, Path], None]:
    """Let the observations of the first episode lie in another file."""

    def change(file: Any, folder: Path) -> None:
        with h5py.File(folder / "other.h5", "w") as other:
            other["d"] = np.full((5, 2), 42, np.float32)
        (folder / "raw.bin").write_bytes(b"SECRET" * 10)
        del file["episode_0"]["observations"]
        make(file["episode_0"], folder)

    return change


def _external_link(group: Any, folder: Path) -> None:
    group["observations"] = h5py.ExternalLink(str(folder / "other.h5"), "/d")


def _raw(group: Any, folder: Path) -> None:
    group.create_dataset("observations", (5, 2), "f4", external=[(str(folder / "raw.bin"), 0, 40)])


def _virtual(group: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((5, 2), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "d", (5, 2))
    group.create_virtual_dataset("observations", layout)


def _bomb(group: Any, _folder: Path) -> None:
    chunks = {"chunks": (1, 1_000_000), "compression": "gzip"}
    group.create_dataset("observations", shape=(5, 40_000_000), dtype="f4", **chunks)


HOSTILE: dict[str, tuple[Callable[[Any, Path], None], str]] = {
    "external link": (elsewhere(_external_link), "episode_0/observations is a link, which phr does not follow"),
    "soft link": (put("observations", h5py.SoftLink("/episode_1/observations")), "is a link, which phr does not follow"),
    "raw bytes of a file": (elsewhere(_raw), "lie in another file, which phr does not open"),
    "virtual": (elsewhere(_virtual), "lie in another file, which phr does not open"),
    "more than it holds": (elsewhere(_bomb), "observations claims 800,000,000 bytes and holds 0"),
    "other shape": (put("observations", np.zeros((5, 3), np.float32)), "cannot be read"),
    "few observations": (put("observations", np.zeros((3, 2), np.float32)), "4 steps with 3 observations"),
    "few actions": (put("actions", np.zeros(3, np.int64)), "cannot be read: ValueError"),
    "other actions": (put("actions", np.array([0, 1, 7, 1])), "actions lie in 0..7, but there are 2 logits"),
    "actions below": (put("actions", np.array([0, 1, -1, 1])), "actions lie in -1..1, but there are 2 logits"),
    "halves": (put("actions", np.array([0.5] * 4)), "needs whole-numbered actions"),
    "no end": (put("terminations", np.zeros(0, bool)), "cannot be read: IndexError"),
    "no rewards": (put("rewards", None), "cannot be read: KeyError"),
    "a NaN": (
        put("observations", np.array([[0, 0], [0, np.nan]] + [[0, 0]] * 3, np.float32)),
        "obs contains NaN or Inf at step 1 of 4",
    ),
    "no episode": (lambda file, _folder: file.pop("episode_0"), "it claims 2 episodes and holds 1"),
    "a loop": (lambda file, _folder: file["episode_0"].__setitem__("infos/again", file["episode_0"]), "lies within itself"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused(file: Path, tmp_path: Path, case: str) -> None:
    change, message = HOSTILE[case]
    assert load_logged(NAME).experience.trajectories[0].length == 4
    with h5py.File(file, "a") as opened:
        change(opened, tmp_path)
    tracemalloc.start()
    try:
        refused(message)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_space": None}, "must contain observation_space and action_space; phr does not make"),
        ({"data_format": "parquet"}, "phr reads Minari's format hdf5, this one is 'parquet'"),
        ({"total_episodes": 10**9}, "it claims 1000000000 episodes and holds 2"),
        ({"action_space": "[" * 100_000}, "cannot be read: RecursionError"),
    ],
)
def test_a_hostile_description_is_refused(file: Path, changes: dict[str, Any], message: str) -> None:
    path = file.with_name("metadata.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(message)


def test_spaces_are_not_asked_of_an_environment(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minari would make it, from whatever entry point the description names."""
    (tmp_path / "stranger_entry.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = file.with_name("metadata.json")
    said = json.loads(path.read_text())
    del said["observation_space"]
    path.write_text(json.dumps({**said, "env_spec": json.dumps({"id": "X-v0", "entry_point": "stranger_entry:make"})}))
    refused("must contain observation_space and action_space")
    assert not (tmp_path / "executed").exists()
