"""Films: what a policy did, with a mark on every frame where the network was evaluated.

A frame's border and the word below it are red where the policy looked, grey where it acted blindly. One GIF, no sound, no
script: it moves in every browser and on every page of a repository.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting import CommitmentLike, HorizonAgent, commitment_in_words
from phr.envs import SplitEnv, Start, make_env
from phr.errors import InvalidDataError, MissingExtraError, UnsupportedEnvironmentError
from phr.files import read_json, write_bytes
from phr.plan import Planner
from phr_studies.report.page import PageFigure
from phr_studies.report.tables import counted, number, rule_name
from phr_studies.workbench import once


@dataclass(frozen=True, eq=False)
class Footage:
    """The beginning of one episode, in pictures."""

    frames: NDArray[np.uint8]
    """What was to be seen before each step and after the last one, RGB, shape `(steps + 1, height, width, 3)`."""
    looked: NDArray[np.bool_]
    """Whether the policy was evaluated right before each step."""
    rewards: NDArray[np.float64]
    commitment: int | str
    steps_per_second: float
    """The pace at which a person would watch it."""
    ended: bool

    def __post_init__(self) -> None:
        n = len(self.looked)
        if not n or len(self.rewards) != n or self.frames.shape[0] != n + 1 or self.frames.shape[3:] != (3,):
            raise InvalidDataError(
                f"footage needs a look flag and a reward for each step and one RGB frame more than steps; got {n} flags, "
                f"{len(self.rewards)} rewards and frames of shape {self.frames.shape}"
            )
        if not self.looked[0]:
            raise InvalidDataError("the first step of an episode follows a look, but its flag is False")


def make_filmed_env(env_id: str) -> SplitEnv:
    """Make an environment that can be filmed."""
    try:
        env = make_env(env_id, render_mode="rgb_array")
    except UnsupportedEnvironmentError as error:  # a factory of the user's that takes no such argument
        raise UnsupportedEnvironmentError(f"{env_id} cannot be filmed: {error}") from error
    if env.gym_env.render_mode != "rgb_array":
        raise UnsupportedEnvironmentError(f"{env_id} cannot be filmed: it has no render mode rgb_array")
    return env


def shoot(
    planner: Planner, env: SplitEnv, start: Start, commitment: CommitmentLike | None = None, *, max_steps: int = 400
) -> Footage:
    """Film one greedy episode, or its beginning, in an environment from `make_filmed_env`.

    The pictures are taken for the record; the agent sees only the observations it asks for.
    """
    agent = HorizonAgent(planner, commitment)
    start.enter(env)
    frames, looked, rewards = [_picture(env)], list[bool](), list[float]()
    ended = False
    while not ended and len(looked) < max_steps:
        looked.append(agent.needs_observation)
        reward, terminated, truncated, _ = env.advance(agent.act(env.observe() if looked[-1] else None))
        rewards.append(reward)
        frames.append(_picture(env))
        ended = terminated or truncated
    return Footage(
        frames=np.stack(frames),
        looked=np.array(looked),
        rewards=np.array(rewards),
        commitment=commitment_in_words(commitment, planner),
        steps_per_second=env.steps_per_second,
        ended=ended,
    )


def _picture(env: SplitEnv) -> NDArray[np.uint8]:
    picture: Any = env.gym_env.render()
    if not isinstance(picture, np.ndarray):
        raise UnsupportedEnvironmentError(f"{env.env_id} cannot be filmed: it renders {type(picture).__name__}, not pixels")
    return np.array(picture, np.uint8)


try:
    from PIL import Image, ImageDraw, ImageFont
except ModuleNotFoundError as error:
    raise MissingExtraError(f"films need {error.name}; pip install 'phr[train]'") from error

MAX_BYTES = 1_500_000
"""A film that would be larger is cut short."""

_PAPER, _INK, _FAINT, _LOOKED, _BLIND = "#161a20", "#e8ebef", "#97a1ac", "#e5252c", "#4a545f"
_NARROW, _WIDE = 240, 420
"""Pixels: narrower pictures are doubled (or more), wider ones shrunk."""
_BORDER, _STRIP, _PIP, _SIZE = 8, 26, 5, 13
_LAST_FRAME_SECONDS = 2.0
_PALETTE_FRAMES = 24


@dataclass(frozen=True, kw_only=True)
class Film:
    """What a film shows: steps and looks in it, the sum of its rewards, and whether the episode ends with it."""

    commitment: int | str
    n_steps: int
    n_looks: int
    score: float
    ended: bool

    def caption(self) -> str:
        """One sentence."""
        which = "a whole episode" if self.ended else "the beginning of an episode"
        rule, looks = rule_name(self.commitment), counted(self.n_looks, "evaluation")
        return (
            f"{rule}: {which}, {counted(self.n_steps, 'step')}, {looks}, "
            f"score {number(self.score)}. Red border: the network was evaluated for this step."
        )


def write_film(footage: Footage, path: Path, *, max_bytes: int = MAX_BYTES) -> Film:
    """Write footage as a GIF, one frame per step; equal footage gives equal bytes.

    The film is cut short until it is no larger than `max_bytes`; two frames are left in any case.
    """
    n_steps = len(footage.looked)
    data = _encode(footage, n_steps)
    while len(data) > max_bytes and n_steps > 1:
        n_steps = max(1, min(n_steps - 1, int(0.97 * n_steps * max_bytes / len(data))))
        data = _encode(footage, n_steps)
    write_bytes(path, data)
    return Film(
        commitment=footage.commitment,
        n_steps=n_steps,
        n_looks=int(footage.looked[:n_steps].sum()),
        score=float(footage.rewards[:n_steps].sum()),
        ended=footage.ended and n_steps == len(footage.looked),
    )


def _encode(footage: Footage, n_steps: int) -> bytes:
    frames = [draw_frame(footage, step) for step in range(n_steps + 1)]
    palette = _common_palette(frames)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    milliseconds = round(1000 / footage.steps_per_second)
    file = io.BytesIO()
    indexed[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=[milliseconds] * n_steps + [round(1000 * _LAST_FRAME_SECONDS)],
        loop=0,
        optimize=True,  # also leaves out what stays as it was
    )
    return file.getvalue()


def _common_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """One palette for the whole film, so that no colour flickers; taken from frames spread over it."""
    chosen = [frames[at] for at in np.unique(np.linspace(0, len(frames) - 1, _PALETTE_FRAMES).astype(int))]
    width, height = frames[0].size
    together = Image.new("RGB", (width, height * len(chosen)))
    for row, frame in enumerate(chosen):
        together.paste(frame, (0, row * height))
    return together.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def draw_frame(footage: Footage, step: int) -> Image.Image:
    """The picture before a step with its marks: above it the counters, below it whether the policy looked, and the past.

    The last picture has no step after it, so its mark is neither.
    """
    picture = fit(footage.frames[step])
    is_last = step == len(footage.looked)
    looked = not is_last and bool(footage.looked[step])
    width, height = picture.width + 2 * _BORDER, picture.height + 2 * _BORDER
    frame = Image.new("RGB", (width, height + 2 * _STRIP), _PAPER)
    draw = ImageDraw.Draw(frame)
    draw.rectangle((0, _STRIP, width - 1, _STRIP + height - 1), fill=_LOOKED if looked else _PAPER if is_last else _BLIND)
    frame.paste(picture, (_BORDER, _STRIP + _BORDER))
    done = min(step + 1, len(footage.looked))
    n_looks = int(footage.looked[:done].sum())
    middle_of_head, middle_of_foot = _STRIP // 2, _STRIP + height + _STRIP // 2
    font = ImageFont.load_default(size=_SIZE)
    draw.text((_BORDER, middle_of_head), rule_name(footage.commitment), _INK, font, anchor="lm")
    counters = f"step {done}   evaluations {n_looks}"
    draw.text((width - _BORDER, middle_of_head), counters, _INK, font, anchor="rm")
    word, color = ("looked", _LOOKED) if looked else ("", _FAINT) if is_last else ("blind", _FAINT)
    draw.text((_BORDER, middle_of_foot), word, color, font, anchor="lm")
    _draw_past(draw, footage.looked[:done], (width - _BORDER, middle_of_foot), room=width // 2)
    return frame


def _draw_past(draw: ImageDraw.ImageDraw, looked: NDArray[np.bool_], right: tuple[int, int], *, room: int) -> None:
    """A mark for each of the latest steps, the newest on the right: tall and red where the policy looked."""
    x, y = right
    for back, flag in enumerate(looked[::-1][: room // _PIP].tolist()):
        half, end = (6, x - back * _PIP) if flag else (2, x - back * _PIP)
        draw.rectangle((end - _PIP + 2, y - half, end - 1, y + half), fill=_LOOKED if flag else _BLIND)


def fit(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture of a size to look at: small ones magnified by a whole number, large ones shrunk."""
    picture = Image.fromarray(pixels)
    if picture.width < _NARROW:
        factor = -(-_NARROW // picture.width)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    if picture.width > _WIDE:
        return picture.resize((_WIDE, round(picture.height * _WIDE / picture.width)), Image.Resampling.BOX)
    return picture


SHOWN_SEED = 0
"""Of the episode that every film shows; figure 5 walks from the same start."""


def film_card(file: Path) -> Path:
    """What a film shows, in plain values; written after the film, so that it is there only for a whole one."""
    return file.with_suffix(".json")


def film(planner: Planner, env_id: str, n: int, file: Path) -> Film:
    """Film a policy at commitment n."""
    with closing(make_filmed_env(env_id)) as env:
        return write_film(shoot(planner, env, Start(SHOWN_SEED), n), file)


def film_once(planner: Callable[[], Planner], env_id: str, n: int, file: Path) -> None:
    """`film`, unless that was done before; the planner is asked for only if there is something to film."""
    if not file.exists():
        film_card(file).unlink(missing_ok=True)
    once(film_card(file), lambda: asdict(film(planner(), env_id, n, file)))


def film_figure(file: Path, whose: str = "") -> PageFigure:
    """A film that `film_once` wrote with its caption, for the page; `whose` precedes the caption."""
    return PageFigure(file, whose + read_json(film_card(file), Film).caption())
