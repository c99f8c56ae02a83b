from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import phr
from phr.cli import main
from phr.errors import OutputDirectoryError
from phr.files import read_json, sha256_of, write_text
from phr.storage.model import load_model
from phr_studies.report.page import ReportContent
from phr_studies.reproduce import content as content_module
from phr_studies.reproduce import jobs as jobs_module
from phr_studies.reproduce import study as reproduce_module
from phr_studies.reproduce.profiles import ABLATIONS, Ablation, Profile, StudyLayout
from phr_studies.reproduce.results import Results
from phr_studies.reproduce.study import Reproduction
from tests.evaluation.test_evaluate import BOUND_KEYS, KEYS, RUN_KEYS
from tests.phr_studies.alley import ALLEY, BEST_RETURN, LENGTH
from tests.phr_studies.small import PAPER_LIKE, TINY, Study, again, times


def test_the_report_is_written(study: Study) -> None:
    assert {"report.html", "tables.md", "COMPLETE", "settings.json"} <= {path.name for path in study.root.iterdir()}
    page = (study.root / "report.html").read_text(encoding="utf-8")
    for words in (
        "Figure 4",
        "Figure 5",
        "make_alley",
        "cross-entropy",
        f"phr reproduce --profile quick --out {study.root}",
    ):
        assert words in page
    figures = {path.name for path in (study.root / "figures").glob("*.png")}
    assert {"figure-4.png", *(f"figure-5-tests.phr_studies.alley-make_alley-n{n}.png" for n in (1, 4))} <= figures


def test_the_tables_are_printed_and_written(study: Study) -> None:
    tables = (study.root / "tables.md").read_text(encoding="utf-8")
    assert tables.count("\n### ") + tables.startswith("### ") == 2
    for row in ("| teacher | 1 | 1 of 1 | 4.000 | 1.00×", "| cross-entropy | 4 | 1 of 1 | 4.000 | 1.00× | 1.000 |"):
        assert row in tables
    assert "Every start once, make_alley" in study.said
    *_, last = [line for line in study.said.splitlines() if not line.startswith("warning: ")]  # of a busy machine
    assert last == f"written to {study.root / 'report.html'}"


def test_every_model_is_whole_and_acts(study: Study) -> None:
    layout = study.layout
    folders = [layout.teacher(ALLEY, 0), *(layout.student(ALLEY, loss, 4, 0) for loss in TINY.losses)]
    for folder in folders:
        assert load_model(folder).env_id == ALLEY
    student = load_model(folders[1])
    assert student.horizon == 4
    assert student.manifest.notes["loss"] == "cross_entropy"


def test_every_start_is_played_at_every_n(study: Study) -> None:
    layout = study.layout
    best = read_json(layout.starts(ALLEY, "optimum"))
    assert (best["n_starts"], best["n_solved"], best["length_mean"]) == (1, 1, LENGTH)
    assert best["return_mean"] == pytest.approx(BEST_RETURN)
    assert 0 < read_json(layout.starts(ALLEY, "random")) < BEST_RETURN
    for name, n, looks in (("teacher-s0", 1, 4), ("cross_entropy-s0", 1, 4), ("cross_entropy-s0", 4, 1)):
        found = read_json(layout.starts(ALLEY, name, n))
        assert (found["n_solved"], found["length_mean"], found["evaluations_per_episode"]) == (1, LENGTH, looks)


def test_every_series_is_timed(study: Study) -> None:
    names = {path.name for path in (study.root / "timed").rglob("*.json")}
    assert names == {f"{name}-s0-r0.json" for name in ("teacher-n1", "action-repeat-n4", "cross_entropy-n4", "squared-n4")}
    for path in (study.root / "timed").rglob("*.json"):
        told = json.loads(path.read_text())
        assert set(told) >= KEYS
        assert set(told["bound"]) >= BOUND_KEYS
        assert [set(run) >= RUN_KEYS and run["steps"] for run in told["runs"]] == [60]


def test_the_learned_path_is_written_down(study: Study) -> None:
    results = Results(TINY, study.layout)
    for n, looked in ((1, (True, True, True, True)), (4, (True, False, False, False))):
        path = results.path(ALLEY, n)
        assert path.solved
        assert path.actions == (2, 2, 2, 2)
        assert path.looked == looked


def test_scores_are_averaged_over_n(study: Study) -> None:
    results = Results(TINY, study.layout)
    points = results.points()
    assert {(point.series, point.n) for point in points} >= {("teacher", 1), ("squared", 4), ("optimum", 4)}
    assert results.scores(points)[ALLEY, "cross_entropy"] == pytest.approx(1)
    hopeless = [replace(point, return_mean=0.0) if point.series == "teacher" else point for point in points]
    assert results.scores(hopeless) == {}


def test_a_finished_study_is_not_done_again(study: Study) -> None:
    def everything() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in study.root.rglob("*") if path.name != "settings.json"}

    before = everything()
    said: list[str] = []
    results = again(study.root, say=said.append)
    assert everything() == before
    assert said == ["all of it is done; remove report.html to have it drawn again"]
    assert results.points()


@pytest.mark.parametrize(
    "missing", ["timed/*/squared-n4-s0-r0.json", "starts/*/optimum.json", "paths/*/n4.json", "models/*/*-h4-s0/COMPLETE"]
)
def test_a_study_that_lost_a_piece_is_not_whole(study: Study, tmp_path: Path, missing: str) -> None:
    root = tmp_path / "study"
    shutil.copytree(study.root, root)
    lost = next(root.glob(missing))
    whole = Reproduction(TINY, StudyLayout(root), lambda _line: None)
    assert whole.is_whole()
    lost.unlink()
    assert not whole.is_whole()


def test_another_profile_is_refused_and_nothing_lost(study: Study) -> None:
    before = times(study.root)
    with pytest.raises(OutputDirectoryError, match="holds another study"):
        again(study.root, replace(TINY, steps=61))
    assert main(["reproduce", "--profile", "paper", "--out", str(study.root)]) == 2
    assert times(study.root) == before


def left(root: Path, profile: Profile, at: str) -> Path:
    """A study whose user pressed Ctrl-C at the first line that begins so."""

    def press(line: str) -> None:
        if line.startswith(at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(root, profile, say=press)
    assert not (root / "COMPLETE").exists()
    return root


@pytest.fixture(scope="module")
def left_before_the_timing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return left(tmp_path_factory.mktemp("interrupted") / "study", TINY, "timing")


class TestTakenUpAgain:
    """An interrupted study goes on where it was."""

    @pytest.fixture
    def interrupted(self, left_before_the_timing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A copy to go on with; its figures are not drawn, for they take longest."""
        monkeypatch.setattr(reproduce_module, "write_report", lambda results, *_, **__: results.layout.root)
        return shutil.copytree(left_before_the_timing, tmp_path / "study")

    def test_what_was_done_stays_done(self, interrupted: Path) -> None:
        before = times(interrupted)
        assert {path.split("/")[0] for path in before} == {"models", "experience", "starts", "paths", "films"}
        again(interrupted)
        assert {path: when for path, when in times(interrupted).items() if not path.startswith("timed")} == before
        assert (interrupted / "COMPLETE").exists()

    def test_what_is_missing_is_done_again_and_comes_out_the_same(self, interrupted: Path) -> None:
        layout = StudyLayout(interrupted)
        folder, starts = layout.student(ALLEY, "squared", 4, 0), layout.starts(ALLEY, "squared-s0", 4)
        digest, found = sha256_of(folder / "model.safetensors"), read_json(starts)
        for path in (folder / "COMPLETE", folder / "model.safetensors", folder / "manifest.json", starts):
            path.unlink()
        before = times(interrupted)
        again(interrupted)
        assert sha256_of(folder / "model.safetensors") == digest
        assert read_json(starts) == found
        kept = {path: when for path, when in before.items() if "squared" not in path}
        assert {path: when for path, when in times(interrupted).items() if path in kept} == kept

    def test_a_folder_that_was_emptied_is_not_answered_from_memory(self, interrupted: Path) -> None:
        """In one Python session: planners of the old models must not play for the new ones."""
        layout = StudyLayout(interrupted)
        manifest = load_model(layout.teacher(ALLEY, 0)).manifest
        obs = np.zeros((1, *manifest.obs_shape), manifest.obs_dtype)
        old = reproduce_module._planner(layout.teacher(ALLEY, 0)).plan(obs)
        for path in sorted(interrupted.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        again(interrupted, replace(TINY, teacher_timesteps=128))
        new = reproduce_module._planner(layout.teacher(ALLEY, 0)).plan(obs)
        assert not np.array_equal(old.confidence(), new.confidence())


def _write_summary(content: ReportContent, file: Path) -> Path:
    """In the place of the whole page."""
    write_text(file, content.summary)
    return file


@pytest.fixture(scope="class")
def _summaries_alone() -> Iterator[None]:
    """Pages without figures, which take longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_module, "write_page", _write_summary)
        patch.setattr(content_module, "_sections", lambda *_: [])
        yield


TWO_SEEDS = replace(TINY, losses=("cross_entropy",), seeds=(0, 1))


@pytest.fixture(scope="class")
def left_at_the_second_seed(tmp_path_factory: pytest.TempPathFactory, _summaries_alone: None) -> Path:
    return left(tmp_path_factory.mktemp("half") / "study", TWO_SEEDS, "training seed 1, 2 of 2")


@pytest.mark.usefixtures("_summaries_alone")
class TestOneSeedAfterAnother:
    """A study of several seeds gives each a turn, so that there are figures long before the last is done."""

    @pytest.fixture
    def half(self, left_at_the_second_seed: Path, tmp_path: Path) -> Path:
        """A copy to go on with."""
        return shutil.copytree(left_at_the_second_seed, tmp_path / "study")

    def test_the_page_shows_the_seeds_that_are_done(self, half: Path) -> None:
        assert (half / "report.html").read_text(encoding="utf-8").startswith("Unfinished: 1 of 2 training seeds so far; ")
        assert "| teacher | 1 | 1 of 1 |" in (half / "tables.md").read_text(encoding="utf-8")
        (half / "report.html").unlink()
        phr.make_report(half, env_id=ALLEY)
        assert (half / "report.html").read_text(encoding="utf-8").startswith("Unfinished: 1 of 2 training seeds so far; ")

    def test_a_seed_that_is_done_needs_its_weights_no_more(self, half: Path) -> None:
        for path in (*half.rglob("*.safetensors"), *half.rglob("*.npz")):
            path.unlink()
        before = times(half)
        again(half, TWO_SEEDS)
        after = times(half)
        assert {path: after[path] for path in before} == before
        assert "| teacher | 1 | 2 of 2 |" in (half / "tables.md").read_text(encoding="utf-8")
        assert "Unfinished" not in (half / "report.html").read_text(encoding="utf-8")
        assert (half / "COMPLETE").exists()


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> tuple[Ablation, ...]:
    """The ablations of these names, which are now all that a study makes."""
    chosen, judged = tuple(ablation for ablation in ABLATIONS if ablation.name in names), Results.ablations
    monkeypatch.setattr(jobs_module, "ABLATIONS", chosen)
    monkeypatch.setattr(Results, "ablations", lambda results, env_id, _=(): judged(results, env_id, chosen))
    return chosen


@pytest.mark.usefixtures("_summaries_alone")
def test_a_study_like_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the ablations those with a recording of their own, and with a training of another kind."""
    chosen = only(monkeypatch, "labels", "joint training")
    check_a_study_like_the_papers(tmp_path, chosen, ("greedy", "regression alone"))


@pytest.mark.nightly
def test_a_study_like_the_papers_with_all_ablations_and_figures(tmp_path: Path) -> None:
    check_a_study_like_the_papers(tmp_path, ABLATIONS, ("greedy", "frozen", "regression alone"))


def check_a_study_like_the_papers(root: Path, ablations: tuple[Ablation, ...], solving: tuple[str, ...]) -> None:
    """Settings that are solving solve every start."""
    results = again(root, PAPER_LIKE)
    layout = StudyLayout(root)
    for seed in PAPER_LIKE.seeds:
        for n in (2, 4):
            student = load_model(layout.student(ALLEY, "cross_entropy", n, seed))
            assert student.horizon == n
            assert student.manifest.notes["seed"] == seed
    rows = results.ablations(ALLEY)
    assert [row.setting for row in rows] == [label for ablation in ablations for label, _ in ablation.settings]
    assert [row.claim for row in rows if row.claim] == [ablation.claim for ablation in ablations]
    assert set(rows[0].results) == {"solved, n = 1", "solved, n = 2", "solved, n = 4"}
    for setting in solving:
        row = next(row for row in rows if row.setting == setting)
        assert [row.results[f"solved, n = {n}"] for n in (1, 2, 4)] == [(1.0, 1.0)] * 3
    assert {row.verdict for row in rows if row.claim} == {"not decided"}, "two seeds decide nothing"
    tables = (root / "tables.md").read_text(encoding="utf-8")
    assert "Ablations, make_alley" in tables
    assert "mean over 2 training seeds" in tables
    assert all(ablation.claim in tables for ablation in ablations)
    point = next(point for point in results.points() if (point.series, point.n) == ("cross_entropy", 4))
    assert (point.n_runs, point.length_mean) == (2, LENGTH)


def test_a_strict_cut_without_a_window_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alley's episodes are shorter than 16 steps: the paper's cut leaves nothing, and the study goes on."""
    cut = only(monkeypatch, "end of an episode")
    monkeypatch.setattr(reproduce_module, "write_report", lambda results, *_, **__: results.layout.root)
    profile = replace(TINY, losses=("cross_entropy",), horizons=(1, 16), seeds=(0, 1, 2), ablations=True)
    padded, strict = again(tmp_path, profile).ablations(ALLEY, cut)
    assert padded.results["solved, n = 16"] == (1.0, 1.0, 1.0)
    assert padded.verdict == "held"
    assert (strict.setting, strict.missing, strict.results["solved, n = 16"]) == ("strict cut", "no window", ())
    layout = StudyLayout(tmp_path)
    folder = layout.ablation(ALLEY, cut[0].name, "strict cut", 0)
    assert "the strict cut leaves no window" in read_json(layout.no_window(folder))["no_window"]
    before = times(tmp_path)
    again(tmp_path, profile)
    assert times(tmp_path) == before
