from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phr.actions import Continuous
from phr.errors import CorruptFileError
from phr.experience.archive import load_experience, save_experience
from phr.experience.trajectory import Experience, Origin
from phr.files import sha256_of
from tests.experience.builders import experience, trajectory


def assert_equal(left: Experience, right: Experience) -> None:
    assert left.env_id == right.env_id
    assert left.origin == right.origin
    for one, other in zip(left.trajectories, right.trajectories, strict=True):
        for name in ("obs", "actions", "teacher_logits", "rewards"):
            assert getattr(one, name).dtype == getattr(other, name).dtype
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("terminated", "truncated", "is_success"):
            assert getattr(one, name) is getattr(other, name)


def test_continuous_actions_are_read_as_they_were_executed(tmp_path: Path) -> None:
    """A log may hold what was asked for; a student is compared with what was done."""
    space, asked = Continuous((-1.0,), (1.0,), (1,)), np.array([[3.0], [0.5], [-9.0]], np.float32)
    logged = replace(
        trajectory([0.0, 0.0, 0.0], terminated=True, truncated=False, is_success=None, first=0),
        actions=asked,
        teacher_logits=asked,
    )
    save_experience(Experience("Pendulum-v1", (logged,), None, space), tmp_path / "log.npz")
    (read,) = load_experience(tmp_path / "log.npz").trajectories
    assert read.actions.tolist() == [[1.0], [0.5], [-1.0]]
    assert read.teacher_logits.tolist() == asked.tolist()


episodes = st.builds(
    trajectory,
    st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=5),
    terminated=st.just(True),
    truncated=st.booleans(),
    is_success=st.sampled_from([None, False, True]),
    first=st.integers(0, 100),
)


origins = st.none() | st.builds(
    Origin,
    teacher=st.sampled_from(["", "zoo:π", "oracle"]),
    teacher_id=st.text("0123456789abcdef", max_size=64),
    seed=st.integers(0, 2**40),
    prefix=st.tuples(st.integers(0, 9), st.integers(9, 99)),
    sampled=st.booleans(),
    versions=st.just({"phr": "0.1.0"}),
)


@given(trajectories=st.lists(episodes, min_size=1, max_size=4), origin=origins)
@settings(max_examples=25)
def test_experience_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, trajectories: list[Any], origin: Origin | None
) -> None:
    path = tmp_path_factory.mktemp("experience") / "teacher.npz"
    saved = replace(experience(*trajectories), origin=origin)
    save_experience(saved, path)
    assert_equal(load_experience(path), saved)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A saved experience of two episodes."""
    path = tmp_path / "teacher.npz"
    save_experience(experience(trajectory([0.0, 1.0]), trajectory([0.0] * 50, truncated=True)), path)
    return path


def describe_again(path: Path) -> None:
    """Make the JSON agree with a changed file, as somebody who means harm would."""
    description = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**description, "sha256": sha256_of(path)}))


def test_its_description_says_what_it_is(path: Path) -> None:
    description = json.loads(path.with_suffix(".json").read_text())
    assert description["env_id"] == "made-up"
    assert (description["n_trajectories"], description["n_steps"]) == (2, 52)
    assert (description["obs_shape"], description["n_actions"]) == ([2], 3)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["teacher.json", "teacher.npz"]


def test_a_missing_file_is_named(path: Path) -> None:
    path.unlink()
    with pytest.raises(CorruptFileError, match="teacher.npz is missing"):
        load_experience(path)
    with pytest.raises(CorruptFileError, match="other.npz is missing; recorded episodes are FILE.npz with"):
        load_experience(path.with_name("other.npz"))


def test_a_missing_description_is_named(path: Path) -> None:
    path.with_suffix(".json").unlink()
    with pytest.raises(CorruptFileError, match="teacher.json is missing"):
        load_experience(path)


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match="teacher.npz was truncated or edited"):
        load_experience(path)
    describe_again(path)
    with pytest.raises(CorruptFileError, match="teacher.npz is not a readable .npz"):
        load_experience(path)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_bit_is_found(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="truncated or edited"):
        load_experience(path)


@pytest.mark.parametrize("name", ["format", "env_id", "origin", "sha256"])
def test_a_description_that_lacks_an_entry_is_refused(path: Path, name: str) -> None:
    description = json.loads(path.with_suffix(".json").read_text())
    del description[name]
    path.with_suffix(".json").write_text(json.dumps(description))
    with pytest.raises(
        CorruptFileError,
        match="does not describe phr experience"
        if name == "format"
        else f"was edited: Object missing required field `{name}`",
    ):
        load_experience(path)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("env_id", 3, "was edited: .*env_id"),
        ("format", "phr-experience-1", "does not describe phr experience"),
        ("origin", {"teacher": "oracle"}, "was edited: .*missing.* at `origin`"),
        ("origin", {"teacher": "oracle", "prefix": [0, 1]}, "was edited: .*missing.* at `origin`"),
        ("origin", "oracle", "was edited: .*origin"),
    ],
)
def test_experience_that_does_not_say_whose_it_is_is_refused(path: Path, entry: str, value: Any, message: str) -> None:
    description = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**description, entry: value}))
    with pytest.raises(CorruptFileError, match=message):
        load_experience(path)


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with np.load(path) as data:
        arrays = dict(data)
    np.savez(path, **change(arrays))
    describe_again(path)


@pytest.mark.parametrize("name", ["obs", "teacher_logits", "lengths", "is_success"])
def test_a_missing_array_is_named(path: Path, name: str) -> None:
    rewrite(path, lambda arrays: {key: value for key, value in arrays.items() if key != name})
    with pytest.raises(CorruptFileError, match=f"teacher.npz lacks {name}"):
        load_experience(path)


class Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("a pickle was executed",)


def test_a_pickle_is_never_executed(path: Path) -> None:
    rewrite(path, lambda arrays: {**arrays, "obs": np.array([Trap()], object)})
    with pytest.raises(CorruptFileError, match="not a readable .npz"):
        load_experience(path)


def test_a_single_array_is_no_experience(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    describe_again(path)
    with pytest.raises(CorruptFileError, match="not a readable .npz"):
        load_experience(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lengths", np.array([2.0, 50.0])),
        ("lengths", np.array([2, 51])),
        ("lengths", np.array([-2, 54])),
        ("lengths", np.array(52)),
        ("lengths", np.array(["2", "50"])),
        ("terminated", np.array([True])),
        ("actions", np.zeros(51, np.int64)),
        ("obs", np.array(3.0)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(path: Path, name: str, value: Any) -> None:
    with np.load(path) as data:
        arrays = {key: data[key] for key in data.files}
    np.savez_compressed(path, **{**arrays, name: value})
    describe_again(path)
    with pytest.raises(CorruptFileError, match="the lengths of its episodes are not those of its arrays"):
        load_experience(path)
