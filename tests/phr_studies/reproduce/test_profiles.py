from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phr.errors import CorruptFileError, SettingError
from phr.files import write_json
from phr_studies.reproduce.profiles import (
    CROSSING,
    FOUR_ROOMS,
    PAPER,
    PONG,
    PROFILES,
    QUICK,
    ZOO_TEACHERS,
    Profile,
    StudyLayout,
    find_profile,
    slug,
)
from phr_studies.workbench import SETTINGS


def test_quick_is_both_grids_with_one_student_per_loss() -> None:
    assert find_profile("quick") is QUICK
    assert set(QUICK.env_ids) == {CROSSING, FOUR_ROOMS}
    assert set(QUICK.losses) == {"squared", "kl", "cross_entropy"}
    assert (QUICK.horizons, QUICK.steps, QUICK.runs, QUICK.ablations) == ((1, 4, 8, 16), 20_000, 2, False)
    assert QUICK.student_horizons == (16,)
    assert [QUICK.student_horizon(n) for n in QUICK.horizons] == [16] * 4


def test_paper_is_a_student_for_every_n_five_seeds_and_the_ablations() -> None:
    assert find_profile("paper") is PAPER
    assert set(PAPER.env_ids) == {CROSSING, FOUR_ROOMS, PONG}
    assert PAPER.from_zoo == (PONG,)
    assert find_profile("paper", from_scratch=True) == replace(PAPER, from_zoo=())
    assert find_profile("quick", from_scratch=True) == QUICK
    assert (PAPER.horizons, PAPER.steps * PAPER.runs, len(PAPER.seeds)) == ((1, 4, 8, 16), 100_000, 5)
    assert PAPER.ablations
    assert PAPER.student_horizons == (4, 8, 16)
    assert [PAPER.student_horizon(n) for n in PAPER.horizons] == [1, 4, 8, 16]


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(SettingError, match="there is no profile 'fast'; choose one of quick, paper"):
        find_profile("fast")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_told_in_plain_values_that_tell_it_from_others(name: str, tmp_path: Path) -> None:
    profile = PROFILES[name]
    told = profile.to_json()
    assert json.loads(json.dumps(told)) == told
    write_json(tmp_path / SETTINGS, {"profile": told})
    assert Profile.of_study(tmp_path) == profile
    assert set(profile.from_zoo) <= set(ZOO_TEACHERS)
    changes: list[dict[str, Any]] = [
        {"steps": 1}, {"seeds": (9,)}, {"losses": ("kl",)}, {"student_updates": 1},
        {"from_zoo": ("else",)}, {"one_student": not profile.one_student}
    ]  # fmt: skip
    for change in changes:
        assert replace(profile, **change).to_json() != told


def test_a_profile_of_another_phr_is_refused(tmp_path: Path) -> None:
    for told in ({}, {**QUICK.to_json(), "more": 1}, None):
        write_json(tmp_path / SETTINGS, {"profile": told})
        with pytest.raises(CorruptFileError, match="this study is of another phr"):
            Profile.of_study(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"horizons": []}, {"horizons": [0]}, {"horizons": [1.5]}, {"seeds": [-1]}, {"seeds": "0"}, {"losses": ["none"]},
        {"runs": 0}, {"steps": True}, {"env_ids": [1]}, {"from_zoo": {}}, {"name": None}, {"student_updates": 0},
    ],
)  # fmt: skip
def test_an_edited_profile_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / SETTINGS, {"profile": {**QUICK.to_json(), **change}})
    with pytest.raises(CorruptFileError, match=f"was edited: .*{next(iter(change))}"):
        Profile.of_study(tmp_path)


def test_slugs_are_file_names() -> None:
    assert slug("MiniGrid-SimpleCrossingS9N1-v0") == "MiniGrid-SimpleCrossingS9N1-v0"
    assert slug("PHR/FourRooms-v0") == "PHR-FourRooms-v0"
    assert slug("my.module:make env") == "my.module-make-env"


def test_every_piece_of_a_study_has_a_file_of_its_own() -> None:
    layout = StudyLayout(Path("study"))
    files = []
    for env_id in PAPER.env_ids:
        for seed in PAPER.seeds:
            files.append(layout.teacher(env_id, seed))
            for loss in PAPER.losses:
                files += [layout.student(env_id, loss, n, seed) for n in PAPER.student_horizons]
                files += [layout.starts(env_id, f"{loss}-s{seed}", n) for n in PAPER.horizons]
                files += [layout.timed(env_id, loss, n, seed, number) for n in PAPER.horizons for number in range(2)]
        files += [layout.starts(env_id, "optimum"), layout.starts(env_id, "random")]
        files += [layout.walked(env_id, n) for n in PAPER.horizons]
        files += [layout.film(env_id, n) for n in PAPER.horizons]
        files += [layout.figure(f"{kind}-{env_id}") for kind in ("curve", "path")]
    assert len(set(files)) == len(files)
    assert all(file.is_relative_to("study") for file in files)
