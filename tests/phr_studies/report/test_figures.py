from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phr.errors import InvalidDataError, MissingExtraError
from phr_studies.report import canvas
from phr_studies.report.canvas import DARK, LIGHT, agreement, curve, running_mean, series_of, series_styles, short_count
from phr_studies.report.figure4 import figure4, spread
from phr_studies.report.figure5 import cell_labels, figure5, fit_labels, label_lines
from phr_studies.report.tables import dark_variant, env_name, series_name
from tests.phr_studies.report.samples import CROSSING, ROOMS, fake_point, fake_points, paper_path


def text_of(labels: tuple[tuple[int, bool], ...]) -> str:
    return ",".join(f"*{number}*" if looked else str(number) for number, looked in labels)


def test_labels_are_those_of_the_papers_figure_5() -> None:
    labels = [text_of(cell) for cell in cell_labels(paper_path()).values()]
    assert labels == ["*1*", "2,3,4", "*5*", "6", "7,8", "*9*", "10", "11", "12,*13*", "14", "15", "16"]


def test_every_action_has_one_label() -> None:
    path = paper_path()
    numbers = [label[0] for cell in cell_labels(path).values() for label in cell]
    assert sorted(numbers) == list(range(1, len(path.actions) + 1))


def test_a_cell_that_is_visited_often_counts_what_it_cannot_show() -> None:
    labels = [(number, number == 9) for number in range(1, 21)]
    lines = label_lines(labels, 3)
    assert "".join(text for line in lines for text, _ in line) == "1,2,3,4,5,+15"
    assert label_lines(labels[:2], 3) == [[("1", False), (",", False), ("2", False)]]
    _, one = fit_labels(labels[:1])
    _, two = fit_labels(labels[:2])
    _, many = fit_labels(labels)
    assert one >= two > many > 4


def test_two_numbers_share_a_line_and_three_of_three_digits_do_not() -> None:
    assert len(fit_labels([(12, False), (13, True)])[0]) == 1
    assert len(fit_labels([(n, False) for n in (101, 102, 103)])[0]) > 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.floats(0.01, 0.09))
def test_spread_keeps_order_gap_and_bounds(values: list[float], gap: float) -> None:
    placed = spread(values, gap)
    by_value = [place for _, place in sorted(zip(values, placed, strict=True))]
    assert all(after - before >= gap - 1e-9 for before, after in pairwise(by_value))
    assert min(placed) >= -1e-9
    assert max(placed) <= 1 + 1e-9


def test_spread_leaves_alone_what_is_apart_and_centres_what_is_not() -> None:
    assert spread([0.1, 0.9, 0.5], 0.1) == pytest.approx([0.1, 0.9, 0.5])
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pixels, where their number does not matter."""
    monkeypatch.setattr(canvas, "DPI", 40)


def opened(path: Path) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


@pytest.mark.usefixtures("_small")
def test_figure_4_is_as_wide_as_it_has_environments(tmp_path: Path) -> None:
    one = opened(figure4(fake_points(), tmp_path / "one.png"))
    two = opened(figure4([*fake_points(ROOMS), *fake_points(CROSSING)], tmp_path / "two.png"))
    assert two.width == pytest.approx(2 * one.width, abs=2)
    assert one.height == two.height
    assert (tmp_path / "two.svg").read_text().startswith("<?xml")
    dark = opened(dark_variant(tmp_path / "one.png"))
    assert dark.size == one.size
    assert dark.convert("RGB").getpixel((0, 0)) == tuple(bytes.fromhex(DARK.paper[1:]))
    assert one.convert("RGB").getpixel((0, 0)) == tuple(bytes.fromhex(LIGHT.paper[1:]))


@pytest.mark.usefixtures("_small")
def test_figure_4_draws_what_is_incomplete(tmp_path: Path) -> None:
    alone = [fake_point(CROSSING, "forward_kl", n, seconds=10.0, exact=True) for n in (4, 8)]
    negative = replace(alone[0], series="squared", score_per_second=-3.0)
    assert figure4([*alone, negative], tmp_path / "few.png").is_file()
    assert figure4([fake_points()[0]], tmp_path / "teacher.png").is_file()
    with pytest.raises(InvalidDataError, match="at least one point"):
        figure4([], tmp_path / "none.png")


def test_figure_5_marks_walls_goal_and_looks(tmp_path: Path) -> None:
    image = opened(figure5(paper_path(), tmp_path / "path.png")).convert("RGB")
    found = set((np.asarray(image, np.int64) @ [65536, 256, 1]).ravel().tolist())
    for color in ("#39424e", "#f7f8fa", "#8fd6a0", "#b8060c", "#0072b2"):
        assert int(color[1:], 16) in found, color
    assert image.width == pytest.approx(192 * (9 * 0.5 + 0.24), abs=2)


@pytest.mark.usefixtures("_small")
def test_figure_5_without_success_and_with_many_visits(tmp_path: Path) -> None:
    path = paper_path()
    spinning = replace(
        path,
        title="A policy with quite a long name that spins on the spot for ever",
        commitment="auto",
        places=((1, 1, 0),) * 101,
        actions=(0,) * 100,
        looked=(True,) * 100,
        solved=False,
    )
    assert figure5(spinning, tmp_path / "spin.png").is_file()


ROWS: list[dict[str, Any]] = [{"timesteps": 64 * i, "episode_return": float(np.tanh(i / 50))} for i in range(200)]


def test_curves_skip_what_is_missing(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        *ROWS,
        {"timesteps": 1},
        {"episode_return": 2.0},
        {"timesteps": 5, "episode_return": float("nan")},
    ]
    x, y = series_of(rows, "timesteps", "episode_return")
    assert len(x) == len(y) == 200
    values = {"episode_return": "sampled", "greedy_return": "greedy"}
    file = curve(rows, tmp_path / "c.png", values=values, references={"optimum": 0.96})
    assert opened(file).width > 900
    losses: list[dict[str, Any]] = [{"update": i, "loss/plan": 1 / (i + 1)} for i in range(60)]
    assert curve(losses, tmp_path / "l.png", values={"loss/plan": "loss"}, log=True).is_file()
    with pytest.raises(InvalidDataError, match="greedy_return"):
        curve(rows, tmp_path / "n.png", values={"greedy_return": "greedy"})
    with pytest.raises(InvalidDataError, match="0 rows"):
        curve([], tmp_path / "n.png", values=values)


def test_agreement_needs_one_share_for_each_action(tmp_path: Path) -> None:
    assert opened(agreement({"one": [1.0]}, tmp_path / "a.png")).width > 900, "a plan of one action too"
    unequal: list[dict[str, list[float]]] = [{}, {"a": []}, {"a": [1.0], "b": [1.0, 0.9]}]
    for lines in unequal:
        with pytest.raises(InvalidDataError, match="one share for each action"):
            agreement(lines, tmp_path / "n.png")


def test_the_running_mean_equals_a_slow_loop() -> None:
    values = np.random.default_rng(0).normal(size=30)
    for width in (0, 1, 4, 7, 100):
        half = max(width, 1) // 2
        slow = [values[max(i - half, 0) : i + half + 1].mean() for i in range(30)]
        assert running_mean(values, width) == pytest.approx(slow)


@pytest.mark.usefixtures("_small")
def test_equal_data_give_equal_bytes_and_settings_stay_as_they_were(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        figure4(fake_points(), folder / "four.png")
        figure5(paper_path(), folder / "five.png")
        curve(ROWS, folder / "curve.png", values={"episode_return": "return"})
        agreement({"a": [1.0, 0.97], "b": [0.8, 0.5]}, folder / "agreement.png")
        files.append({file.name: file.read_bytes() for file in sorted(folder.iterdir())})
    assert len(files[0]) == 12
    assert files[0] == files[1]
    assert dict(matplotlib.rcParams) == before
    assert b"dc:date" not in files[0]["four.svg"]


def test_names() -> None:
    assert [env_name(name) for name in (CROSSING, ROOMS)] == ["SimpleCrossingS9N1", "FourRooms"]
    assert env_name("my_package.envs:make_env") == "make_env"
    assert series_name("cross_entropy") == series_name("cross-entropy") == "cross-entropy"
    assert (series_name("kl"), series_name("action repeat")) == ("KL", "action repeat")
    assert short_count(1500.0) == "1.5k"
    assert short_count(2e6) == "2M"
    assert short_count(10.0) == "10"


def test_losses_keep_their_colours_whatever_else_is_drawn() -> None:
    alone = series_styles(["kl"], LIGHT)["kl"]
    among = series_styles(["teacher", "something new", "cross-entropy", "kl"], LIGHT)
    assert among["kl"] == alone
    assert len({style.color for style in among.values()}) == 4


def test_without_matplotlib_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"need matplotlib; pip install 'phr\[train\]'"):
        runpy.run_path(canvas.__file__)
