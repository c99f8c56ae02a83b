"""Measure how much of a Pong teacher's return students keep, and their jitter.

    .venv/bin/python benchmarks/pong_table.py --teacher zoo:pong-teacher --students zoo:pong-student runs/pong-kl

Teacher, students and action repeat (the teacher's action n times) play greedily at commitment 1, 4, 8 and 16, up to their
horizon. There are two test sets of 30 games: one game after each number of idle frames, and games after idle frames and 20
to 60 random actions (the games of `phr evaluate MODEL --runs 1 --episodes 30 --random-prefix 20:60`). Both are repeated with
sticky actions. Prints Markdown tables; an interrupted call resumes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from phr.cli.display import ProgressBar
from phr.envs.atari import AtariSplitEnv
from phr.envs.registry import make_env, with_option
from phr.envs.vector import Start, VectorSplit, endless_starts
from phr.errors import SettingError, UsageError
from phr.evaluation.episodes import distinct_starts, make_vector, measure_jitter, play_episodes, run_randomness
from phr.files import write_text
from phr.plan import Planner
from phr.progress import Progress
from phr.storage.model import Model
from phr.teachers.references import resolve
from phr_studies.report.points import ACTION_REPEAT, TEACHER
from phr_studies.report.tables import Column, Table, number, percent, series_name, to_markdown
from phr_studies.reproduce.profiles import slug
from phr_studies.workbench import once
from phr_studies.worlds import RepeatPlanner

IDLE, UNSEEN = "idle frames", "random actions"
"""The two test sets."""
N_GAMES = 30


@dataclass(frozen=True)
class Arguments:
    """Play both test sets and print the share of the teacher's return kept."""

    teacher: str = "zoo:pong-teacher"
    """A run directory or zoo:NAME."""
    students: tuple[str, ...] = ("zoo:pong-student",)
    """Run directories or zoo:NAME, plain or refined, of any loss."""
    commitments: tuple[int, ...] = (1, 4, 8, 16)
    """Actions executed per look."""
    sticky: tuple[float, ...] = (0.0, 0.25)
    """Probabilities that a frame repeats the previous frame's action; one table each."""
    prefix: tuple[int, int] = (20, 60)
    """Minimum and maximum number of random actions of the second test set."""
    seed: int = 0
    """Seed of the second test set; `phr evaluate` with this seed plays the same games."""
    out: Path = Path("runs/pong-table")
    """Output directory: one file per policy, commitment, test set and stickiness, and pong-table.md."""


@dataclass(frozen=True)
class Row:
    """One policy at one commitment.

    Attributes:
        policy: Its name in the table.
        identity: Identifies its weights in the names of its result files.
        planner: The planner that acts.
        n: Actions executed per look.
    """

    policy: str
    identity: str
    planner: Planner
    n: int


def main(arguments: Arguments) -> int:
    """Play missing games, print and write the tables."""
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
    """Return the model of a reference; raise `UsageError` if the reference has no network."""
    model = resolve(reference).model
    if model is None:
        raise UsageError(f"{reference} has no network; give a run directory or zoo:NAME")
    return model


def check_pong(env_id: str) -> None:
    """Refuse a teacher of another game, which has no paddle directions."""
    env: Any = make_env(env_id)
    if not isinstance(env, AtariSplitEnv) or env.game != "pong":
        raise UsageError(f"the teacher's environment must be Pong, got {env_id!r}")


def rows_of(teacher: Model, arguments: Arguments) -> Iterator[Row]:
    """Yield teacher, students and action repeat, each at every commitment that it supports."""
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
    """Return a test set; the idle starts are enumerated without sticky actions, which begin after them."""
    env = make_env(with_option(env_id, "sticky", 0))
    if which == IDLE:
        return distinct_starts(env)
    return unseen_starts(env.n_actions, N_GAMES, arguments.prefix, seed=arguments.seed)


def unseen_starts(
    n_actions: int, n: int = 30, prefix: tuple[int, int] = (20, 60), *, seed: int = 0, run: int = 0
) -> list[Start]:
    """The starts that one run of `phr evaluate --episodes N --random-prefix LO:HI` plays, to be played side by side.

    A deterministic game has few starts (thirty in Atari), all of which training may have met. Random actions lead away from
    them, and they come from streams that no training draws from: 20 actions out of six are one way of 4e15. Starts without a
    prefix are refused: they are not determined without the ones before them.
    """
    low, high = prefix
    if not 1 <= low <= high:
        raise SettingError(f"starts off the known ones need a prefix of 1 <= low <= high actions, got {low}:{high}")
    first, rng = run_randomness(seed, run)
    return list(islice(endless_starts(n_actions, first, rng, prefix), n))


def result_name(row: Row, env_id: str, which: str, sticky: float, arguments: Arguments) -> str:
    """Return the file name of a result; it contains everything that the result depends on."""
    low, high = arguments.prefix
    starts = which if which == IDLE else f"{which} {low}to{high} seed{arguments.seed}"
    return slug(f"{row.identity} {env_id} n{row.n} {starts} sticky{sticky:g}.json")


@cache
def games(env_id: str) -> VectorSplit:
    """Return thirty emulators, created once for all policies."""
    return make_vector(env_id, N_GAMES)


def play(row: Row, env_id: str, starts: Any, sticky: float) -> dict[str, Any]:
    """Play a test set, all games at once."""
    vector = games(with_option(env_id, "sticky", sticky))
    env: Any = vector.envs[0]
    episodes = play_episodes(row.planner, vector, starts(), commitment=row.n)
    directions = env.action_effects()
    return {
        "returns": episodes.returns.tolist(),
        "lengths": episodes.lengths.tolist(),
        "return_mean": float(episodes.returns.mean()),
        "evaluations_per_episode": float(episodes.evaluations.mean()),
        **asdict(measure_jitter([directions[actions] for actions in episodes.actions])),
    }


def table_of(rows: Sequence[Row], found: dict[tuple[str, int, str, float], dict[str, float]], sticky: float) -> Table:
    """Return one row per policy and commitment; rates over both test sets."""
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
        "Changes: steps whose push on the paddle differs from the step before. Reversals: steps that push against the "
        "latest push."
    )
    title = f"Sticky actions {sticky:g}" if sticky else "Without sticky actions"
    return Table(title, columns, tuple(lines), note, grouped=True)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Arguments)))
