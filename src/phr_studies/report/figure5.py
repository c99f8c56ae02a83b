"""The paper's Fig. 5: the path that a policy walks on a grid, read from what it sees, and drawn on its map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.acting import CommitmentLike, HorizonAgent, commitment_in_words
from phr.envs import PlaneLayout, SplitEnv, layout_of
from phr.errors import InvalidDataError, UnsupportedEnvironmentError
from phr.experience import judge_episodes, reported_success
from phr.plan import Planner
from phr_studies.report.canvas import DARK, LIGHT, Artist, Axes, Figure, Theme, offsetbox, patches, save
from phr_studies.report.tables import counted, env_name, rule_name

Place = tuple[int, int, int]
"""Column, row and direction (0 right, 1 down, 2 left, 3 up)."""

_SYMBOLS = {"wall": "#", "lava": "~", "goal": "G"}


@dataclass(frozen=True)
class LearnedPath:
    """One episode on a grid."""

    env_id: str
    title: str
    """A few words about the policy; may be empty."""
    commitment: int | str
    map: tuple[str, ...]
    """What does not move, one string per row: `#` wall, `~` lava, `G` goal, `.` free."""
    places: tuple[Place, ...]
    """Where the agent stood before the first action and after each action."""
    actions: tuple[int, ...]
    looked: tuple[bool, ...]
    """Whether the policy was evaluated right before each action."""
    solved: bool | None
    """None where that is unknown (see `judge_episodes`)."""

    def __post_init__(self) -> None:
        n = len(self.actions)
        if n == 0 or len(self.looked) != n or len(self.places) != n + 1:
            raise InvalidDataError(
                "a path needs at least one action, a look flag for each and one place more than actions; "
                f"got {n} actions, {len(self.looked)} flags and {len(self.places)} places"
            )
        if not self.looked[0]:
            raise InvalidDataError("the first action of a path follows a look, but its flag is False")
        if len({len(row) for row in self.map}) != 1:
            raise InvalidDataError(f"the rows of a map need one length, got {[len(row) for row in self.map]}")
        height, width = len(self.map), len(self.map[0])
        for x, y, direction in self.places:
            if not (0 <= x < width and 0 <= y < height and 0 <= direction < 4):
                raise InvalidDataError(f"place ({x}, {y}, {direction}) lies outside a map of {width}x{height} cells")
            if self.map[y][x] == _SYMBOLS["wall"]:
                raise InvalidDataError(f"place ({x}, {y}) of the path lies inside a wall")

    @property
    def evaluations(self) -> int:
        """How often the policy looked."""
        return sum(self.looked)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; the map as rows of symbols."""
        return asdict(self)


def read_map(obs: NDArray[Any]) -> tuple[str, ...]:
    """The map in one full symbolic observation, shape `(planes, height, width)`, as `LearnedPath` keeps it."""
    planes, symbols = _planes(obs), np.full(obs.shape[1:], ".")
    for name, symbol in _SYMBOLS.items():
        symbols[obs[planes.object[name]] > 0] = symbol
    return tuple("".join(row) for row in symbols)


def read_place(obs: NDArray[Any]) -> Place:
    """Where the agent stands in one full symbolic observation, and which way it faces."""
    agent = _planes(obs).agent
    found = np.argwhere(obs[agent : agent + 4])
    if len(found) != 1:
        raise InvalidDataError(f"a grid observation shows exactly one agent, found {len(found)}")
    direction, y, x = found[0].tolist()
    return x, y, direction


def _planes(obs: NDArray[Any]) -> PlaneLayout:
    layout = layout_of(len(obs))
    if layout is None:
        raise InvalidDataError(f"a full grid observation has shape (planes, height, width), got {obs.shape}")
    return layout


def trace_path(
    planner: Planner, env: SplitEnv, seed: int, commitment: CommitmentLike | None = None, *, title: str = ""
) -> LearnedPath:
    """Play one greedy episode on a grid in full view and note where every action led.

    The observations that tell the places are built for the record; the agent sees only those it asks for.
    """
    if not env.shows_whole_grid:
        raise UnsupportedEnvironmentError(f"{env.env_id}: a path can be drawn only of a MiniGrid environment in full view")
    agent = HorizonAgent(planner, commitment)
    env.reset(seed)
    obs = env.observe()
    map_, places, actions, looked = read_map(obs), [read_place(obs)], [], []
    rewards: list[float] = []
    terminated, truncated, info = False, False, dict[str, Any]()
    while not (terminated or truncated):
        looked.append(agent.needs_observation)
        actions.append(int(agent.act(obs if looked[-1] else None)))
        reward, terminated, truncated, info = env.advance(actions[-1])
        rewards.append(reward)
        places.append(read_place(obs := env.observe()))
    judged = judge_episodes(
        [reported_success(env, info, terminated=terminated, last_reward=rewards[-1])],
        terminated=[terminated],
        last_rewards=rewards[-1:],
        returns=[sum(rewards)],
        reward_range=(min(rewards), max(rewards)),
    )
    return LearnedPath(
        env_id=env.env_id,
        title=title,
        commitment=commitment_in_words(commitment, planner),
        map=map_,
        places=tuple(places),
        actions=tuple(actions),
        looked=tuple(looked),
        solved=judged.success[0],
    )


_CELL_INCHES = 0.5
_MARGIN, _HEAD, _FOOT = 0.12, 0.62, 0.62
"""Inches beside, above and below the map."""
_WALL, _LAVA, _GOAL, _GRID = "#39424e", "#f0a35e", "#8fd6a0", "#1c212722"
_PLAIN, _LOOKED, _START, _RIBBON = "#1c2127", "#b8060c", "#0072b2", "#0072b230"
_FREE = {LIGHT: "#f7f8fa", DARK: "#d3dae1"}
"""The map is light on dark pages too, only less glaring."""
_LARGEST, _ROOM_POINTS, _LINE_EMS = 10.5, 31.0, 1.3
_MOST_NUMBERS = 6
_WORD_EMS = {False: 0.64, True: 0.7, ",": 0.36}
"""Widths of a plain digit, a bold digit and a comma, in font sizes."""
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))

Label = tuple[int, bool]
"""The number of an action, and whether the policy was evaluated right before it."""
Word = tuple[str, bool]
"""A piece of a cell's text, and whether it is red and bold."""


def cell_labels(path: LearnedPath) -> dict[tuple[int, int], tuple[Label, ...]]:
    """Which actions landed in which cell (column, row), in order; actions that turn or bump land where they began."""
    cells: dict[tuple[int, int], list[Label]] = {}
    for number, ((x, y, _), looked) in enumerate(zip(path.places[1:], path.looked, strict=True), start=1):
        cells.setdefault((x, y), []).append((number, looked))
    return {cell: tuple(labels) for cell, labels in cells.items()}


def label_lines(labels: Sequence[Label], per_line: int) -> list[list[Word]]:
    """The text of one cell as lines of words; of more than six numbers, the first are shown and the others counted."""
    shown = labels if len(labels) <= _MOST_NUMBERS else labels[: _MOST_NUMBERS - 1]
    items = [(str(number), looked) for number, looked in shown]
    if len(shown) < len(labels):
        items.append((f"+{len(labels) - len(shown)}", False))
    lines = [items[first : first + per_line] for first in range(0, len(items), per_line)]
    separated = [[word for item in line for word in (item, (",", False))] for line in lines]
    separated[-1].pop()
    return separated


def fit_labels(labels: Sequence[Label]) -> tuple[list[list[Word]], float]:
    """Wrap the numbers of one cell so that they may be written as large as possible; lines and font size in points."""
    layouts = []
    for per_line in (3, 2, 1):
        lines = label_lines(labels, per_line)
        widest = max(sum(_WORD_EMS["," if text == "," else looked] * len(text) for text, looked in line) for line in lines)
        layouts.append((lines, min(_LARGEST, _ROOM_POINTS / widest, _ROOM_POINTS / (_LINE_EMS * len(lines)))))
    # One line reads better than two that are hardly larger.
    return max(layouts, key=lambda layout: layout[1] * (1.15 if len(layout[0]) == 1 else 1.0))


def figure5(path: LearnedPath, file: Path) -> Path:
    """Draw a learned path on its map, and return the PNG (the SVG and the dark twin lie beside it).

    A number is the action that landed in a cell; actions taken right after an evaluation are red and bold.
    """
    return save(file, partial(_draw, path))


def _draw(path: LearnedPath, theme: Theme) -> Figure:
    rows, columns = len(path.map), len(path.map[0])
    width = max(columns * _CELL_INCHES, 4.0) + 2 * _MARGIN
    height = rows * _CELL_INCHES + _HEAD + _FOOT
    figure = Figure(figsize=(width, height))
    left = (width - columns * _CELL_INCHES) / 2
    box = (left / width, _FOOT / height, columns * _CELL_INCHES / width, rows * _CELL_INCHES / height)
    axes = figure.add_axes(box)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.axis("off")
    _draw_cells(axes, path, _FREE[theme])
    _draw_ribbon(axes, path)
    _draw_start(axes, path)
    for (x, y), labels in cell_labels(path).items():
        _write_labels(axes, x, y, labels, beside_arrow=(x, y) == path.places[0][:2])
    _write_words(figure, path, theme, _MARGIN / width, height)
    return figure


def _draw_cells(axes: Axes, path: LearnedPath, free: str) -> None:
    colors = dict(zip(_SYMBOLS.values(), (_WALL, _LAVA, _GOAL), strict=True))
    for y, row in enumerate(path.map):
        for x, symbol in enumerate(row):
            color = colors.get(symbol, free)
            edge = _WALL if color == _WALL else _GRID
            axes.add_patch(patches.Rectangle((x, y), 1, 1, facecolor=color, edgecolor=edge, linewidth=0.7, zorder=1))


def _draw_ribbon(axes: Axes, path: LearnedPath) -> None:
    """A pale band under the numbers, along the cells that were entered."""
    x, y = zip(*((x + 0.5, y + 0.5) for x, y, _ in path.places), strict=True)
    axes.plot(x, y, color=_RIBBON, linewidth=20, solid_capstyle="round", solid_joinstyle="round", zorder=2)


def _draw_start(axes: Axes, path: LearnedPath) -> None:
    """A triangle that points where the agent faces at first; in the corner where numbers share its cell."""
    x, y, direction = path.places[0]
    shared = (x, y) in cell_labels(path)
    center_x, center_y, size = (x + 0.24, y + 0.24, 0.17) if shared else (x + 0.5, y + 0.5, 0.3)
    (dx, dy), (side_x, side_y) = _STEPS[direction], _STEPS[(direction + 1) % 4]
    corners = [
        (center_x + size * dx, center_y + size * dy),
        (center_x + size * (0.85 * side_x - 0.75 * dx), center_y + size * (0.85 * side_y - 0.75 * dy)),
        (center_x - size * (0.85 * side_x + 0.75 * dx), center_y - size * (0.85 * side_y + 0.75 * dy)),
    ]
    axes.add_patch(patches.Polygon(corners, facecolor=_START, edgecolor="none", zorder=4))


def _write_labels(axes: Axes, x: int, y: int, labels: Sequence[Label], *, beside_arrow: bool) -> None:
    lines, size = fit_labels(labels)
    packed: list[Artist] = []
    for line in lines:
        words: list[Artist] = [_word(text, looked, size) for text, looked in line]
        packed.append(offsetbox.HPacker(children=words, pad=0, sep=0.4, align="baseline"))
    everything = offsetbox.VPacker(children=packed, pad=0, sep=1.5, align="center")
    place = (x + 0.56, y + 0.62) if beside_arrow else (x + 0.5, y + 0.5)
    axes.add_artist(offsetbox.AnnotationBbox(everything, place, frameon=False, pad=0, zorder=5))


def _word(text: str, looked: bool, size: float) -> offsetbox.TextArea:
    weight, color = ("bold", _LOOKED) if looked else ("normal", _PLAIN)
    return offsetbox.TextArea(text, textprops={"color": color, "fontweight": weight, "fontsize": size})


def _write_words(figure: Figure, path: LearnedPath, theme: Theme, left: float, height: float) -> None:
    title = path.title or env_name(path.env_id)
    ending = {True: "goal reached", False: "goal not reached", None: "success unknown"}[path.solved]
    looks = counted(path.evaluations, "evaluation")
    result = f"{rule_name(path.commitment)}: {len(path.actions)} actions, {looks}, {ending}"
    figure.text(
        left, 1 - 0.1 / height, title, color=theme.ink, fontsize=min(11, 400 / len(title)), fontweight="bold", va="top"
    )
    figure.text(left, 1 - 0.35 / height, result, color=theme.faint, fontsize=9, va="top")
    legend = [
        ("numbers: the action that landed there", theme.faint, "normal"),
        ("red and bold: taken right after an evaluation", theme.alert, "bold"),
    ]
    for line, (text, color, weight) in enumerate(legend):
        y = (_FOOT - 0.12 - 0.21 * line) / height
        figure.text(left, y, text, color=color, fontsize=8.5, fontweight=weight, va="top")
