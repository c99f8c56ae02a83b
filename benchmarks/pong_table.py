"""What students keep of a Pong teacher, and how restlessly they act.

    .venv/bin/python benchmarks/pong_table.py --teacher zoo:pong-teacher --students zoo:pong-student runs/pong-kl

Teacher, students and action repeat (the teacher's action n times) play greedily, at commitment 1, 4, 8 and 16 as far as
their horizon goes, two test sets of 30 games: one after each number of idle frames, and one after idle frames and 20 to 60
random actions (the games of `phr evaluate MODEL --runs 1 --episodes 30 --random-prefix 20:60`). Both again with sticky
actions. Prints Markdown tables; an interrupted call goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from phr.cli.display import ProgressBar
from phr.envs.atari import AtariSplitEnv
from phr.envs.registry import make_env, with_option
from phr.envs.vector import Start, VectorSplit
from phr.errors import UsageError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.evaluation.jitter import measure_jitter, paddle_directions
from phr.evaluation.starts import distinct_starts, unseen_starts
from phr.files import write_text
from phr.progress import Progress
from phr.protocols import Planner
from phr.storage.model import Model
from phr.teachers.references import resolve
from phr_studies.report.points import ACTION_REPEAT, TEACHER
from phr_studies.report.tables import Column, Table, to_markdown
from phr_studies.report.text import number, percent, series_name
from phr_studies.reproduce.profiles import slug
from phr_studies.workbench import once
from phr_studies.worlds import RepeatPlanner

IDLE, UNSEEN = "idle frames", "random actions"
"""The two test sets."""
N_GAMES = 30


@dataclass(frozen=True)
class Arguments:
    """Play both test sets and print what was kept."""

    teacher: str = "zoo:pong-teacher"
    """A run directory or zoo:NAME."""
    students: tuple[str, ...] = ("zoo:pong-student",)
    """Run directories or zoo:NAME, plain or refined, of any loss."""
    commitments: tuple[int, ...] = (1, 4, 8, 16)
    """Actions executed per look."""
    sticky: tuple[float, ...] = (0.0, 0.25)
    """Probabilities that a frame repeats the action of the frame before it; a table for each."""
    prefix: tuple[int, int] = (20, 60)
    """Fewest and most random actions of the second test set."""
    seed: int = 0
    """Of the second test set; the evaluation's seed that plays the same games."""
    out: Path = Path("runs/pong-table")
    """Where results go: one file for each policy, commitment, test set and stickiness, and pong-table.md."""


@dataclass(frozen=True)
class Row:
    """One policy at one commitment.

    Attributes:
        policy: Its name in the table.
        identity: Tells its weights from others', in the name of its result files.
        planner: Who acts.
        n: Actions executed per look.
    """

    policy: str
    identity: str
    planner: Planner
    n: int


def main(arguments: Arguments) -> int:
    """Play what is missing, print, write."""
    torch.set_num_threads(1)
    teacher = find(arguments.teacher)
    env_id = teacher.env_id
    check_pong(env_id)
    rows = list(rows_of(teacher, arguments))
    cells = [(row, which, sticky) for sticky in arguments.sticky for row in rows for which in (IDLE, UNSEEN)]
    found: dict[tuple[str, int, str, float], dict[str, float]] = {}
    with ProgressBar() as bar:
        for index, (row, which, sticky) in enumerate(cells):
            bar(Progress("playing", index, len(cells), "test sets"))
            file = arguments.out / result_name(row, env_id, which, sticky, arguments)
            starts = partial(starts_of, which, env_id, arguments)
            found[row.policy, row.n, which, sticky] = once(file, partial(play, row, env_id, starts, sticky))
    tables = [table_of(rows, found, sticky) for sticky in arguments.sticky]
    text = "\n".join(to_markdown(table) for table in tables)
    write_text(arguments.out / "pong-table.md", text)
    print(text)
    return 0


def find(reference: str) -> Model:
    """The model that a reference stands for; a `UsageError` where it stands for none."""
    model = resolve(reference).model
    if model is None:
        raise UsageError(f"{reference} has no network; give a run directory or zoo:NAME")
    return model


def check_pong(env_id: str) -> None:
    """Refuse a teacher of another game: the directions of a paddle mean nothing there."""
    env: Any = make_env(env_id)
    if not isinstance(env, AtariSplitEnv) or env.game != "pong":
        raise UsageError(f"{env_id} is not Pong")


def rows_of(teacher: Model, arguments: Arguments) -> Iterator[Row]:
    """Teacher, students, action repeat; each at every commitment that it can do."""
    identity = teacher.sha256[:12]
    yield Row(TEACHER, f"teacher-{identity}", teacher.planner, 1)
    for reference in arguments.students:
        student = find(reference)
        loss = f", {series_name(student.manifest.notes['loss'])}" if "loss" in student.manifest.notes else ""
        for n in arguments.commitments:
            if n <= student.horizon:
                yield Row(f"{reference}{loss}", student.sha256[:12], student.planner, n)
    for n in arguments.commitments:
        if n > 1:
            yield Row(ACTION_REPEAT, f"repeat-{identity}", RepeatPlanner(teacher.planner, n), n)


def starts_of(which: str, env_id: str, arguments: Arguments) -> list[Start]:
    """A test set; the idle starts are enumerated without sticky actions, which begin after them."""
    env = make_env(with_option(env_id, "sticky", 0))
    if which == IDLE:
        return distinct_starts(env)
    return unseen_starts(env.n_actions, N_GAMES, arguments.prefix, seed=arguments.seed)


def result_name(row: Row, env_id: str, which: str, sticky: float, arguments: Arguments) -> str:
    """The file of a result: everything that it depends on is in its name."""
    low, high = arguments.prefix
    starts = which if which == IDLE else f"{which} {low}to{high} seed{arguments.seed}"
    return slug(f"{row.identity} {env_id} n{row.n} {starts} sticky{sticky:g}.json")


@cache
def games(env_id: str) -> VectorSplit:
    """Thirty emulators, made once for all policies."""
    return make_vector(env_id, N_GAMES)


def play(row: Row, env_id: str, starts: Any, sticky: float) -> dict[str, Any]:
    """A test set, all games at once."""
    vector = games(with_option(env_id, "sticky", sticky))
    env: Any = vector.envs[0]
    episodes = play_episodes(row.planner, vector, starts(), commitment=row.n)
    directions = paddle_directions(env.action_names)
    return {
        "returns": episodes.returns.tolist(),
        "lengths": episodes.lengths.tolist(),
        "return_mean": float(episodes.returns.mean()),
        "evaluations_per_episode": float(episodes.evaluations.mean()),
        **asdict(measure_jitter([directions[actions] for actions in episodes.actions])),
    }


def table_of(rows: Sequence[Row], found: dict[tuple[str, int, str, float], dict[str, float]], sticky: float) -> Table:
    """One row for each policy and commitment; rates over both test sets."""
    columns = (
        Column("policy"),
        Column("n", "number"),
        *(Column(heading, "number") for which in (IDLE, UNSEEN) for heading in (f"return, {which}", "of the teacher's")),
        Column("evals / episode", "number"),
        Column("changes / 100 steps", "number"),
        Column("reversals / 100 steps", "number"),
    )
    lines = []
    for row in rows:
        both = [found[row.policy, row.n, which, sticky] for which in (IDLE, UNSEEN)]
        cells = [row.policy, str(row.n)]
        for which, reached in zip((IDLE, UNSEEN), both, strict=True):
            teachers = found[TEACHER, 1, which, sticky]["return_mean"]
            share = percent(reached["return_mean"] / teachers if teachers > 0 else None)
            cells += [number(reached["return_mean"], 2), share]
        cells.append(number(float(np.mean([one["evaluations_per_episode"] for one in both])), 1))
        cells += [number(100 * float(np.mean([one[key] for one in both])), 2) for key in ("changes", "reversals")]
        lines.append(tuple(cells))
    note = (
        f"Means of greedy games: one after each number of idle frames, {N_GAMES} after idle frames and random actions. "
        "Changes: steps that push the paddle otherwise than the step before. Reversals: steps that push against the latest "
        "push."
    )
    title = f"Sticky actions {sticky:g}" if sticky else "No sticky actions"
    return Table(title, columns, tuple(lines), note, grouped=True)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
