from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from phr.errors import InvalidDataError, MissingExtraError
from phr_studies.report.tables import Column, Table, interval, is_good, number, percent, times, to_markdown, to_rich
from phr_studies.reproduce.content import ablation_table, results_table, timing_warnings
from phr_studies.reproduce.results import AblationRow
from tests.phr_studies.report.samples import CROSSING, ROOMS, fake_points


def shown(table: Table, *, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(to_rich(table))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.96052, "0.9605"),
        (1.0, "1.000"),
        (14.2143, "14.21"),
        (9.9999, "10.00"),
        (123.456, "123.5"),
        (1234.5, "1,234"),
        (-20.4567, "−20.46"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.999999, "99.99 %"),
        (0.0000001, "0.01 %"),
        (0.5, "50 %"),
        (0.4847, "48.5 %"),
        (0.9952, "99.52 %"),
        (1.02, "102 %"),
    ],
)
def test_a_hundred_percent_means_all_of_it(fraction: float | None, text: str) -> None:
    assert percent(fraction) == text


def test_other_numbers() -> None:
    assert number(14.0, 2) == "14.00"
    assert interval((0.9601, 0.9608)) == "0.9601 … 0.9608"
    assert interval(None) == times(None) == "–"
    assert (times(2.314), times(12.34)) == ("2.31×", "12.3×")


def test_the_results_table_says_what_the_points_say() -> None:
    table = results_table(CROSSING, fake_points(), {(CROSSING, "kl"): 0.8421})
    rows = {(row[0], row[1]): row for row in table.rows}
    headings = [column.heading for column in table.columns]
    assert len(table.rows) == len(fake_points())
    row = dict(zip(headings, rows["cross-entropy", "4"], strict=True))
    assert row["success"] == "100 %"
    assert row["return"] == "0.9600"
    assert row["evals / episode"] == "4.00"
    assert row["s / 100k steps"] == "11.75"
    assert row["speed-up"] == f"{38 / 11.75:.2f}×"
    assert row["of bound"] == "87 %"
    assert [rows["KL", n][-1] for n in ("4", "8", "16")] == ["0.8421", "", ""]
    assert "10.46 … 11.10" not in rows["optimum", "4"]


def test_the_best_score_is_strong_and_the_optimum_does_not_compete() -> None:
    table = results_table(CROSSING, fake_points())
    (best,) = table.strong
    assert table.rows[best][:2] == ("cross-entropy", "16")


def test_a_table_shows_one_environment() -> None:
    points = [*fake_points(ROOMS), *fake_points(CROSSING)]
    assert results_table(CROSSING, points) == results_table(CROSSING, fake_points(CROSSING))
    with pytest.raises(InvalidDataError, match="Pong"):
        results_table("Pong", fake_points())


def test_the_headings_and_the_note_say_which_interval_is_shown() -> None:
    points = fake_points()
    few = [replace(point, n_runs=2) if point.series != "optimum" else point for point in points]
    for shown, heading, words in (
        (points, "95 %", "95 % bootstrap"),
        (few, "min … max", "lowest to highest run"),
        ([*points[:3], *few[3:]], "interval", "lowest to highest run"),
    ):
        table = results_table(CROSSING, shown)
        assert [column.heading for column in table.columns if column.kind == "interval"] == [heading] * 3
        assert words in table.note


def test_groups_begin_where_the_policy_changes() -> None:
    table = results_table(CROSSING, fake_points())
    begins = [table.rows[index][0] for index in range(len(table.rows)) if table.begins_group(index)]
    assert begins == ["cross-entropy", "squared", "KL", "action repeat", "optimum"]


def test_markdown_has_every_cell_and_escapes_bars() -> None:
    table = Table(
        "A | B",
        (Column("x|y"), Column("n", "number"), Column("hash", "code")),
        (("a|b", "1", "ff"), ("c", "–", "")),
        "A note.",
        strong=frozenset({1}),
    )
    assert to_markdown(table).splitlines() == [
        "### A | B",
        "",
        "| x|y | n | hash |",
        "| --- | ---: | --- |",
        "| a\\|b | 1 | `ff` |",
        "| **c** | **–** |  |",
        "",
        "A note.",
    ]


def test_the_terminal_shows_brackets_as_they_are_and_hides_intervals() -> None:
    table = Table("t", (Column("[red]x"), Column("95 %", "interval")), (("[bold]y[/bold]", "1 … 2"),), "n [b]")
    assert "[red]x" in shown(table)
    assert "[bold]y[/bold]" in shown(table)
    assert "1 … 2" not in shown(table)


def test_the_results_fit_a_terminal_of_100_columns() -> None:
    text = shown(results_table(CROSSING, fake_points()), width=100)
    assert "cross-entropy" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    rows = [line for line in text.splitlines() if line.lstrip().startswith("cross-entropy")]
    assert len(rows) == 3
    assert all("×" in row and "87 %" in row for row in rows)


def test_tables_are_checked_at_birth() -> None:
    with pytest.raises(InvalidDataError, match="2 cells for 1"):
        Table("t", (Column("x"),), (("a", "b"),))
    with pytest.raises(InvalidDataError, match=r"\[3\] of 1"):
        Table("t", (Column("x"),), (("a",),), strong=frozenset({3}))


def test_ablations_give_every_result_a_column() -> None:
    rows = [
        AblationRow(name="cut", setting="strict", claim="t ≤ m−n+1", results={"success": (0.25, 0.5)}, verdict="held"),
        AblationRow(name="cut", setting="padded", claim="", results={"length": (14.2, 14.2), "success": ()}),
        AblationRow(name="cut", setting="none", claim="", results={"success": ()}, missing="no window"),
        AblationRow(name="loss", setting="CE", claim="best", results={"length": (14.0,)}, verdict="did not hold"),
    ]
    table = ablation_table(rows, note="Two seeds.")
    assert [column.heading for column in table.columns[3:]] == ["success", "length", "held?"]
    assert table.rows[0][3:] == ("0.3750 (0.2500 … 0.5000)", "–", "held")
    assert table.rows[1][3:] == ("–", "14.20", "")
    assert table.rows[2][3:] == ("no window", "no window", "")
    assert table.rows[3][-1] == "did not hold"
    assert table.note == "Two seeds."
    with pytest.raises(InvalidDataError, match="at least one"):
        ablation_table([])


def test_verdicts_are_good_or_bad_news() -> None:
    words = ["yes", "held", "no", "did not hold", "not decided", "", "–"]
    assert [is_good(word) for word in words] == [True, True, False, False, None, None, None]


def test_without_rich_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(MissingExtraError, match=r"need rich; pip install 'phr\[train\]'"):
        to_rich(Table("t", (Column("x"),), (("a",),)))


def test_rows_whose_times_cannot_be_trusted_are_marked() -> None:
    points = fake_points()
    first = points[0]
    fast, busy = replace(first, bound_fraction=1.06), replace(first, n_busy=3)
    for changed, mark, words in (
        (fast, "106 %†", "† 1 row of times faster than possible"),
        (busy, "‡", "‡ In 3 timed runs"),
    ):
        table = results_table(first.env_id, [changed, *points[1:]])
        at = [column.heading for column in table.columns].index("of bound")
        assert table.rows[0][at].endswith(mark)
        assert words in table.note
    sound = results_table(first.env_id, points)
    assert "†" not in sound.note + "".join(row[-2] for row in sound.rows)
    assert not timing_warnings(points)
