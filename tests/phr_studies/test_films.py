from __future__ import annotations

import runpy
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phr.errors import CorruptFileError, MissingExtraError
from phr.files import as_kind
from phr_studies import films as film_module
from phr_studies.films import Film, Footage, draw_frame, fit, write_film

RED = (229, 37, 44)


def footage(n: int = 8, every: int = 4, *, size: tuple[int, int] = (210, 160), noisy: bool = False) -> Footage:
    """A dot that moves to the right, looked at every few steps; noise cannot be compressed."""
    frames = np.zeros((n + 1, *size, 3), np.uint8)
    for step in range(n + 1):
        frames[step, 10:14, 2 * step : 2 * step + 4] = 255
    if noisy:
        frames = np.random.default_rng(0).integers(256, size=frames.shape).astype(np.uint8)
    looked = np.arange(n) % every == 0
    return Footage(frames, looked, np.arange(n, dtype=np.float64), every, 15.0, ended=True)


def frames_of(path: Path) -> list[Any]:
    film: Any = Image.open(path)
    frames = []
    for index in range(film.n_frames):
        film.seek(index)
        frames.append((film.convert("RGB"), film.info["duration"]))
    return frames


def border(frame: Any) -> tuple[int, int, int]:
    """The colour in the middle of the left edge."""
    color: tuple[int, int, int] = frame.getpixel((2, frame.height // 2))
    return color


def is_red(color: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(color, RED)).max() < 25)


def test_every_look_is_marked_and_nothing_else(tmp_path: Path) -> None:
    shown = footage(n=10, every=4)
    film = write_film(shown, tmp_path / "film.gif")
    frames = frames_of(tmp_path / "film.gif")
    assert [is_red(border(frame)) for frame, _ in frames] == [*shown.looked.tolist(), False]
    assert [duration for _, duration in frames] == [60] * 10 + [2000]  # a GIF counts in hundredths of a second
    assert film == Film(commitment=4, n_steps=10, n_looks=3, score=45.0, ended=True)
    assert film.caption().startswith("n = 4: a whole episode, 10 steps, 3 evaluations, score 45.00.")
    by_rule = replace(film, commitment="confidence 0.9")
    assert by_rule.caption().startswith("confidence 0.9: a whole episode, 10 steps")
    assert as_kind(asdict(film), Film, "film.json") == film
    with pytest.raises(CorruptFileError, match="film.json was edited: .*n_steps"):
        as_kind({"commitment": 4}, Film, "film.json")


def test_the_game_is_in_the_middle_of_the_frame() -> None:
    shown = footage()
    frame = draw_frame(shown, 3)
    picture = np.asarray(frame)[26 + 8 : -26 - 8, 8:-8]
    assert np.array_equal(picture, shown.frames[3].repeat(2, axis=0).repeat(2, axis=1))


def test_small_pictures_are_magnified_and_large_ones_shrunk() -> None:
    sizes = {(210, 160): (320, 420), (96, 96): (288, 288), (288, 288): (288, 288), (400, 600): (420, 280)}
    for (height, width), expected in sizes.items():
        assert fit(np.zeros((height, width, 3), np.uint8)).size == expected


def test_a_film_that_would_be_too_large_is_cut_short(tmp_path: Path) -> None:
    shown = footage(n=12, size=(64, 64), noisy=True)
    whole = write_film(shown, tmp_path / "whole.gif")
    limit = (tmp_path / "whole.gif").stat().st_size // 2
    cut = write_film(shown, tmp_path / "cut.gif", max_bytes=limit)
    assert (tmp_path / "cut.gif").stat().st_size <= limit
    assert 3 <= cut.n_steps < whole.n_steps == 12
    assert (cut.ended, cut.score) == (False, sum(range(cut.n_steps)))
    assert cut.caption().startswith("n = 4: the beginning of an episode, ")
    assert write_film(shown, tmp_path / "least.gif", max_bytes=1).n_steps == 1


def test_equal_footage_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_film(footage(), tmp_path / f"{name}.gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_without_pillow_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"films need PIL; pip install 'phr\[train\]'"):
        runpy.run_path(film_module.__file__)
