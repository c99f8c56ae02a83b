from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from phr.errors import BoundError, MissingExtraError, SettingError, UnknownModelError
from phr.files import read_json
from phr_studies.bench import run
from phr_studies.bench.run import SECTIONS, Request, Section, bench
from phr_studies.report.tables import Column, Table
from tests.phr_studies.bench.exported import corridor_reference


def a_section(name: str, measure: Callable[[], dict[str, Any]], warnings: tuple[str, ...] = ()) -> Section:
    def tables(values: Mapping[str, Any]) -> list[Table]:
        return [Table(f"Table of {name}", (Column("value"),), ((str(values["value"]),),))]

    return Section(name, f"Heading of {name}", {"rounds": 1}, measure, tables, lambda _values: list(warnings))


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return dict(out=tmp_path / "out", models=(corridor_reference(tmp_path),), **more)


def use(monkeypatch: pytest.MonkeyPatch, *sections: Section) -> None:
    made = {section.name: (lambda _request, section=section: section) for section in sections}
    monkeypatch.setattr(run, "SECTIONS", made)


def test_results_are_on_the_disk_after_every_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> dict[str, Any]:
        assert read_json(tmp_path / "out" / "bench.json")["sections"]["first"]["values"] == {"value": 1}
        raise KeyboardInterrupt

    use(monkeypatch, a_section("first", lambda: {"value": 1}), a_section("second", interrupted))
    with pytest.raises(KeyboardInterrupt):
        bench(**settings(tmp_path, json=tmp_path / "copy.json"))
    assert list(read_json(tmp_path / "copy.json")["sections"]) == ["first"]
    page = (tmp_path / "out" / "bench.md").read_text()
    assert "Table of first" in page
    assert "second" not in page


def test_what_a_section_lacks_is_noted_and_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> dict[str, Any]:
        raise MissingExtraError("no such package; pip install it")

    use(monkeypatch, a_section("first", lacking), a_section("second", lambda: {"value": 2}))
    said: list[str] = []
    shown: list[str] = []
    result = bench(**settings(tmp_path), say=said.append, on_section=lambda heading, _tables: shown.append(heading))
    assert result.values["sections"]["first"]["missing"] == "no such package; pip install it"
    assert result.values["sections"]["second"]["values"] == {"value": 2}
    assert shown == ["Heading of second"]
    assert "Heading of first: left out, no such package; pip install it" in said
    assert result.warnings == []


def test_a_bound_that_cannot_be_measured_costs_its_section_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> dict[str, Any]:
        raise BoundError("an episode ended elsewhere")

    use(monkeypatch, a_section("first", lacking), a_section("second", lambda: {"value": 2}))
    sections = bench(**settings(tmp_path)).values["sections"]
    assert sections["first"]["missing"] == "an episode ended elsewhere"
    assert sections["second"]["values"] == {"value": 2}


def test_a_run_faster_than_its_bound_is_a_warning_beside_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = "Some-v0 at commitment 4: 1.20 of the bound"
    use(monkeypatch, a_section("first", lambda: {"value": 1}, (warning,)))
    result = bench(**settings(tmp_path))
    assert result.warnings == [warning]
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["warnings"] == [warning]
    assert (tmp_path / "out" / "bench.md").read_text().rstrip().endswith(f"Warning: faster than possible: {warning}.")


def test_only_the_sections_asked_for_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, a_section("loops", lambda: {"value": 1}), a_section("grids", lambda: {"value": 2}))
    result = bench(**settings(tmp_path, sections=("grids",)))
    assert list(result.values["sections"]) == ["grids"]
    assert result.values["machine"]["threads"] == 1


def test_a_quick_bench_leaves_out_what_takes_minutes_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, a_section("grids", lambda: {"value": 1}), a_section("slow", lambda: {"value": 2}))
    monkeypatch.setattr(run, "TAKES_MINUTES", {"slow"})
    quick = bench(**settings(tmp_path, quick=True))
    assert list(quick.values["sections"]) == ["grids"]
    named = bench(**settings(tmp_path, quick=True, sections=("slow",)))
    assert list(named.values["sections"]) == ["slow"]
    whole = bench(**settings(tmp_path))
    assert list(whole.values["sections"]) == ["grids", "slow"]


def test_a_busy_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, a_section("first", lambda: {"value": 1}))
    said: list[str] = []
    monkeypatch.setattr("phr_studies.workbench.busy_share", lambda: lambda: 0.5)
    assert bench(**settings(tmp_path), say=said.append).values["busy"] == 0.5
    assert any("other programs keep 50% of this machine's cores busy" in line for line in said)


def test_wrong_words_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no section 'loop'; choose from loops, grids"):
        bench(out=tmp_path, sections=("loop",))
    with pytest.raises(UnknownModelError):
        bench(out=tmp_path, models=(str(tmp_path / "nowhere"),))
    with pytest.raises(SettingError, match="rate must be positive"):
        bench(**settings(tmp_path, hz=(0.0,)))


@pytest.mark.parametrize("quick", [True, False])
def test_every_section_can_be_made_from_a_request(quick: bool) -> None:
    for name, make in SECTIONS.items():
        section = make(Request(models=("zoo:crossing-student",), hz=(30.0,), quick=quick))
        assert section.name == name
        assert section.settings == json.loads(json.dumps(section.settings))
    assert "repeat_action" in SECTIONS["loops"](Request(models=("any",))).settings["peers"]
    assert SECTIONS["latency"](Request(models=("any",), hz=(30.0,))).settings["hz"] == [30.0]
