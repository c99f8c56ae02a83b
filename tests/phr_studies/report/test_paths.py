from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phr.envs.registry import make_env
from phr.envs.split import Advance, SplitEnv
from phr.errors import CorruptFileError, HorizonError, InvalidDataError, UnsupportedEnvironmentError
from phr.files import as_kind
from phr.plan import CategoricalPlan
from phr.teachers.oracle import OraclePlanner
from phr_studies.report import figure5
from phr_studies.report.canvas import LIGHT
from phr_studies.report.figure5 import LearnedPath, read_map, read_place, trace_path
from tests.phr_studies.report.samples import CROSSING, ROOMS, paper_path


class SpinningPlanner:
    """Turns left for ever, and counts what it is shown."""

    horizon, n_actions = 4, 7

    def __init__(self) -> None:
        self.seen: list[NDArray[Any]] = []

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        self.seen.append(obs[0])
        return CategoricalPlan.from_actions(np.zeros((len(obs), self.horizon), np.int64), self.n_actions)


@pytest.mark.parametrize("commitment", [1, 4, 8, 16])
def test_the_four_rooms_take_23_actions_and_ceil_of_23_over_n_looks(commitment: int) -> None:
    path = trace_path(OraclePlanner(3, 16), make_env(ROOMS), 0, commitment)
    assert path.solved
    assert len(path.actions) == 23
    assert path.evaluations == -(-23 // commitment)
    assert [index for index, looked in enumerate(path.looked) if looked] == list(range(0, 23, commitment))
    assert path.places[0] == (1, 1, 0)
    assert path.places[-1][:2] == (11, 11)


def test_places_agree_with_the_simulator() -> None:
    env, path = make_env(CROSSING), trace_path(OraclePlanner(7, 16), make_env(CROSSING), 5, 4)
    core: Any = env.gym_env.unwrapped
    env.reset(5)
    for place, action in zip(path.places, [*path.actions, None], strict=True):
        assert place == (*(int(v) for v in core.agent_pos), core.agent_dir)
        if action is not None:
            env.advance(action)
    for y in range(9):
        for x in range(9):
            cell = core.grid.get(x, y)
            kind = None if cell is None else cell.type
            assert path.map[y][x] == {"wall": "#", "goal": "G"}.get(str(kind), ".")


def test_the_planner_sees_no_more_than_it_asks_for() -> None:
    planner = SpinningPlanner()
    path = trace_path(planner, make_env(CROSSING), 0, title="spinning")
    assert not path.solved
    assert path.commitment == 4
    assert len(planner.seen) == path.evaluations == -(-len(path.actions) // 4)
    assert {place[:2] for place in path.places} == {(1, 1)}


def contrary(env_id: str) -> SplitEnv:
    """A grid that reports of success the opposite of what its rewards say."""
    env = make_env(env_id)
    advance = env.advance

    def reporting(action: Any) -> Advance:
        reward, terminated, truncated, info = advance(action)
        return reward, terminated, truncated, {**info, "is_success": reward <= 0}

    env.advance = reporting  # type: ignore[method-assign]
    return env


def test_the_environments_word_on_success_counts() -> None:
    assert not trace_path(OraclePlanner(3, 16), contrary(ROOMS), 0).solved
    assert trace_path(SpinningPlanner(), contrary(CROSSING), 0).solved


def test_what_cannot_be_traced_is_refused() -> None:
    with pytest.raises(UnsupportedEnvironmentError, match="CartPole"):
        trace_path(SpinningPlanner(), make_env("CartPole-v1"), 0)
    with pytest.raises(UnsupportedEnvironmentError, match="full view"):
        trace_path(SpinningPlanner(), make_env(CROSSING, view="partial"), 0)
    with pytest.raises(HorizonError, match="5"):
        trace_path(SpinningPlanner(), make_env(CROSSING), 0, 5)


def test_reading_an_observation_without_an_agent() -> None:
    env = make_env(CROSSING)
    env.reset(0)
    assert read_place(env.observe()) == (1, 1, 0)
    assert [len(row) for row in read_map(env.observe())] == [9] * 9
    with pytest.raises(InvalidDataError, match=r"a full grid observation has shape \(planes, height, width\)"):
        read_map(np.zeros((2, 3, 3)))
    with pytest.raises(InvalidDataError, match="found 0"):
        read_place(np.zeros_like(env.observe()))


def test_json_and_back() -> None:
    path = paper_path()
    written = json.loads(json.dumps(path.to_json()))
    assert written["map"][7] == "#.....#G#"
    assert as_kind(written, LearnedPath, "path.json") == path


def test_lava_is_read() -> None:
    env = make_env("MiniGrid-LavaGapS5-v0")
    env.reset(0)
    assert sum(row.count("~") for row in read_map(env.observe())) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": ()}, "0 actions"),
        ({"looked": (True,) * 15}, "15 flags"),
        ({"looked": (False,) * 16}, "first action"),
        ({"places": ((1, 1, 0),) * 16}, "16 places"),
        ({"places": ((9, 1, 0),) * 17}, "outside"),
        ({"places": ((1, 1, 4),) * 17}, "outside"),
        ({"places": ((0, 0, 0),) * 17}, "inside a wall"),
        ({"map": ("###", "##")}, "one length"),
        ({"map": ()}, "one length"),
    ],
)
def test_paths_are_checked_at_birth(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDataError, match=message):
        replace(paper_path(), **change)


@pytest.mark.parametrize(
    "change",
    [{"map": None}, {"places": [[1, 2]]}, {"actions": ["left"]}, {"looked": [1] * 16}, {"places": [[9, 1, 0]] * 17}],
)
def test_edited_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptFileError, match=r"path\.json was edited: "):
        as_kind({**paper_path().to_json(), **change}, LearnedPath, "path.json")
    with pytest.raises(CorruptFileError, match="env_id"):
        as_kind({}, LearnedPath, "path.json")


@pytest.mark.parametrize(
    ("commitment", "words"), [(4, "n = 4: 16 actions"), ("confidence 0.9", "confidence 0.9: 16 actions")]
)
def test_a_path_names_its_rule(commitment: int | str, words: str) -> None:
    drawn = figure5._draw(replace(paper_path(), commitment=commitment), LIGHT)
    assert any(text.get_text().startswith(words) for text in drawn.texts)
