from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import phr
from phr.cli import main
from phr.errors import OutputDirectoryError
from phr.storage.model import annotated, load_model
from phr_studies.report.tables import NOTHING
from tests.phr_studies.alley import ALLEY
from tests.phr_studies.report.test_page import outline
from tests.phr_studies.small import Study
from tests.trained import CORRIDOR, corridor_student, saved

pytestmark = pytest.mark.usefixtures("small_pictures")


def test_the_page_of_a_student_on_a_grid(study: Study, tmp_path: Path) -> None:
    folder = study.layout.student(ALLEY, "cross_entropy", 4, 0)
    page = phr.make_report(folder, out=tmp_path, env_id=ALLEY)
    assert page == tmp_path / "report.html"
    html = page.read_text(encoding="utf-8")
    told = outline(html).text
    for words in (
        "Results",
        "10 of 10",
        "Card",
        "Learned paths",
        "Films",
        "cross-entropy",
        ALLEY,
        load_model(folder).sha256,
    ):
        assert words in told
    assert "n = 4: 4 actions, 1 evaluation." in told
    assert "n = 1: a whole episode, 4 steps, 4 evaluations, score 0.8200." in told
    assert html.count("data:image/gif;base64,") == 2
    assert {path.name for path in (tmp_path / "films").iterdir()} == {"n1.gif", "n4.gif"}
    assert all((tmp_path / "figures" / f"{name}.png").exists() for name in ("curve", "agreement"))
    before = page.read_bytes()
    assert phr.make_report(folder, out=tmp_path, env_id=ALLEY).read_bytes() == before


def test_a_teacher_is_shown_at_1_alone(study: Study, tmp_path: Path) -> None:
    page = phr.make_report(study.layout.teacher(ALLEY, 0), out=tmp_path, env_id=ALLEY).read_text(encoding="utf-8")
    assert "looks at every step" in page
    assert not (tmp_path / "figures" / "agreement.png").exists()
    assert page.count("data:image/gif;base64,") == 1


def test_without_pictures_there_is_a_page_all_the_same(tmp_path: Path) -> None:
    folder = saved(corridor_student(), tmp_path / "student")
    assert main(["report", str(folder)]) == 0
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert re.search(r"There is none: Corridor-v0 cannot be filmed", page)
    assert CORRIDOR in page
    assert "Learned paths" not in page
    assert load_model(folder).env_id == CORRIDOR, "the model is as it was"


def test_refinement_is_drawn_and_told_in_a_line(tmp_path: Path) -> None:
    student = corridor_student()
    heads = [0.9] * student.horizon
    rounds = [{"windows": 1200, "before": [0.5] * student.horizon, "after": heads}] * 2
    notes = {"agreement_per_head": heads, "refinement": rounds}
    folder = saved(replace(student, manifest=replace(student.manifest, notes=notes)), tmp_path / "student")
    told = outline(phr.make_report(folder).read_text(encoding="utf-8")).text
    assert "2 rounds, 2,400 windows" in told
    assert "Own states: kept back from the last round of refinement" in told
    assert "90 % of first actions, 90 % of last ones" in told


def test_the_page_of_the_zoo_lies_with_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(corridor_student(), tmp_path / "zoo" / "mine")
    monkeypatch.setenv("PHR_ZOO", str(tmp_path / "zoo"))
    monkeypatch.chdir(tmp_path)
    assert phr.make_report("zoo:mine") == Path("runs/report-mine/report.html")
    files = {path.name for path in (tmp_path / "zoo" / "mine").iterdir()}
    assert files == {"model.safetensors", "manifest.json", "COMPLETE"}, "the zoo is as it was"


def test_a_studys_page_stays_in_its_folder(study: Study, tmp_path: Path) -> None:
    assert main(["report", str(study.root), "--out", str(tmp_path)]) == 2


def test_curve_calibration_and_the_certified_rule_are_told(tmp_path: Path) -> None:
    model = corridor_student()
    notes = {
        **model.manifest.notes,
        "curve": {"shares": {"1": 1.0, "4": 0.985}, "episodes": 9, "zero": 0, "zero_is": "0", "teacher_return": 1.0},
        "calibration": {"reliability": [[0.4, 0.5, 10], [0.95, 0.97, 300]], "error": 0.021},
        "tuned": {"verdict": "certified: ≥ 99 %", "chosen": {}},
        "refinement": [{"round": 1, "windows": 7, "before": [1.0] * 4}],
    }
    folder = saved(replace(model, manifest=replace(model.manifest, notes=notes)), tmp_path / "student")
    told = outline(phr.make_report(folder).read_text(encoding="utf-8")).text
    for words in ("n = 4: 98.5 %", "of the teacher's return", "off the share of right plans", "certified: ≥ 99 %"):
        assert words in told
    assert (folder / "report" / "figures" / "reliability.png").exists()


@pytest.mark.parametrize("at", ["report", "report/figures", "report/films"])
def test_a_page_is_not_written_through_a_link(tmp_path: Path, at: str) -> None:
    folder, outside = saved(corridor_student(), tmp_path / "student"), tmp_path / "outside"
    outside.mkdir()
    (folder / at).parent.mkdir(exist_ok=True)
    (folder / at).symlink_to(outside)
    with pytest.raises(OutputDirectoryError, match=f"{at} is a link to a place outside"):
        phr.make_report(folder, env_id=CORRIDOR)
    assert not [*outside.iterdir()]


def test_agreement_that_was_not_measured_is_left_out(tmp_path: Path) -> None:
    model = annotated(corridor_student(), {"agreement_per_head": [1.0, 0.5, None, None]})
    folder = saved(model, tmp_path / "student")
    page = phr.make_report(folder, env_id=CORRIDOR).read_text(encoding="utf-8")
    assert "100 % of first actions, unknown of last ones" in outline(page).text.replace(NOTHING, "unknown")
