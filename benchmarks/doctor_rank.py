"""Does `phr doctor` predict what `phr tune` finds? Shares of the teacher's return over several worlds.

    phr doctor ENV_ID --teacher T --json DOCTOR.json
    phr tune MODEL --teacher T --json TUNE.json
    .venv/bin/python benchmarks/doctor_rank.py --doctor DOCTOR.json … --tune TUNE.json …

The files of both options are paired in their order. For each n: Spearman's rank correlation over the worlds in which both
shares are known, for plans without errors, for those with errors, and for these against the same errors at n = 1, by which
the doctor advises. A correlation is unknown (–) with fewer than three worlds, or where all shares of one side are equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from phr.errors import UsageError
from phr_studies.report.tables import NOTHING, Column, Table, percent, to_markdown

ENOUGH = 0.99


@dataclass(frozen=True)
class Arguments:
    """Paired files."""

    doctor: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE")]
    """What `phr doctor --json` wrote."""
    tune: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE")]
    """What `phr tune --json` wrote, in the same order."""


@dataclass(frozen=True)
class World:
    """One environment: shares by n."""

    name: str
    errors: tuple[float, ...]
    predicted: tuple[dict[int, float], ...]
    """For each error."""
    observed: dict[int, float]
    horizon: int

    @property
    def longest(self) -> int:
        """The longest observed n that keeps 99 % of the share at n = 1, as do all shorter ones."""
        least = ENOUGH * self.observed[1]
        return max(takewhile(lambda n: self.observed[n] >= least, sorted(self.observed)))

    def pair(self, index: int, n: int) -> tuple[float, float] | None:
        """The share predicted with an error, and observed; after the last error, that against its own at n = 1."""
        shares = self.predicted[min(index, len(self.errors) - 1)]
        if n not in shares or n not in self.observed:
            return None
        return shares[n] / (shares[1] if index == len(self.errors) else 1.0), self.observed[n]


def read(doctor: Path, tune: Path) -> World:
    """Pair two files; UsageError if they are of different worlds, or the doctor had no teacher."""
    found, tuned = json.loads(doctor.read_text()), json.loads(tune.read_text())
    if found["env_id"] != tuned["env_id"]:
        raise UsageError(f"{doctor} is of {found['env_id']}, {tune} of {tuned['env_id']}: give the files in the same order")
    curve = found["curve"]
    if curve is None:
        raise UsageError(f"{doctor} contains no curve: phr doctor needs --teacher")
    predicted = [
        {n: share for n, share in zip(curve["horizons"], row, strict=True) if share is not None} for row in curve["shares"]
    ]
    fixed = [each for each in tuned["candidates"] if isinstance(each["commitment"], int)]
    observed = {each["commitment"]: each["share"] for each in fixed}
    return World(found["env_id"], tuple(curve["errors"]), tuple(predicted), observed, found["horizon"])


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    each = np.asarray(values, float)
    mean: NDArray[np.float64] = (each[:, None] > each).sum(axis=1) + ((each[:, None] == each).sum(axis=1) + 1) / 2
    return mean


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None with fewer than three pairs, or where one side is constant."""
    mine, theirs = ranks(one), ranks(other)
    if len(mine) < 3 or not mine.std() or not theirs.std():
        return None
    return float(np.corrcoef(mine, theirs)[0, 1])


def main(arguments: Arguments) -> int:
    """Print both tables."""
    if len(arguments.doctor) != len(arguments.tune):
        raise UsageError(f"--doctor has {len(arguments.doctor)} files and --tune {len(arguments.tune)}: give pairs")
    worlds = [read(*pair) for pair in zip(arguments.doctor, arguments.tune, strict=True)]
    lengths = sorted({n for world in worlds for n in world.observed} & {n for world in worlds for n in world.predicted[0]})
    rows: list[tuple[str, ...]] = []
    for world in worlds:
        cells = [
            " / ".join(percent(shares.get(n)) for shares in (*world.predicted, world.observed))
            if n in world.observed
            else ""
            for n in lengths
        ]
        rows.append((world.name, *cells, str(world.horizon), str(world.longest)))
    errors = ", ".join(f"errors of {percent(error)}" for error in worlds[0].errors)
    print(f"Predicted with {errors} / tuned\n")
    _print(["world", *(f"n = {n}" for n in lengths), "advised n", "longest tuned n"], rows)
    rows = []
    kinds = [f"{percent(error)}" for error in worlds[0].errors]
    for index, kind in enumerate([*kinds, f"{kinds[-1]}, against n = 1"]):
        pairs = {n: [pair for world in worlds if (pair := world.pair(index, n)) is not None] for n in lengths}
        every = [pair for each in pairs.values() for pair in each]
        cells = [f"{_correlation(each)} ({len(each)})" for each in (*pairs.values(), every)]
        rows.append((kind, *cells, percent(float(np.mean([abs(a - b) for a, b in every])))))
    print("Spearman's rank correlation (worlds)\n")
    columns = ["errors", *(f"n = {n}" for n in lengths), "all n", "mean distance"]
    _print(columns, rows)
    return 0


def _print(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    print(to_markdown(Table("", tuple(Column(name) for name in columns), tuple(rows))))


def _correlation(pairs: Sequence[tuple[float, float]]) -> str:
    found = spearman([a for a, _ in pairs], [b for _, b in pairs])
    return NOTHING if found is None else f"{found:.2f}".replace("-", "−")


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments, description=__doc__)))
