"""Do limits of the confidence save more looks than the best fixed n? One row for each file of `phr tune --json`.

    phr tune MODEL --teacher T --json TUNE.json
    .venv/bin/python benchmarks/rules.py TUNE.json …

For each environment: the rule of each kind with the fewest looks per step whose observed share of the teacher's return
is at least what was asked for, in the calibration's episodes or, where the rule was tested, in fresh ones. A fixed n
*dominates* if it needs fewer looks and keeps at least the same share.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from phr_studies.report.tables import NOTHING, Column, Table, percent, to_markdown

Rule = dict[str, Any]


@dataclass(frozen=True)
class Arguments:
    """Files to compare."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """What `phr tune --json` wrote."""


def best(rules: list[Rule], retain: float) -> Rule | None:
    """The rule with the fewest looks per step among those that keep this share; None if none does."""
    enough = [rule for rule in rules if (rule["share"] or 0.0) >= retain]
    return min(enough, key=lambda rule: float(rule["looks_per_step"]), default=None)


def compare(tuned: dict[str, Any]) -> dict[str, Any]:
    """One row: the best rule of each kind, and which needs fewer looks."""
    fixed: list[Rule] = []
    limits: list[Rule] = []
    for rule in tuned["candidates"]:
        (fixed if isinstance(rule["commitment"], int) else limits).append(rule)
    kinds = best(fixed, tuned["retain"]), best(limits, tuned["retain"])
    row: dict[str, Any] = {"environment": tuned["env_id"], "horizon": tuned["horizon"], "asked": percent(tuned["retain"])}
    for name, rule in zip(("fixed", "limit"), kinds, strict=True):
        row[name] = (
            NOTHING if rule is None else f"{rule['rule']}: {1 / rule['looks_per_step']:.2f}×, {percent(rule['share'])}"
        )
    row["fewer"] = verdict(*kinds)
    return row


def verdict(fixed: Rule | None, limit: Rule | None) -> str:
    """Which of two rules needs fewer looks, and whether a fixed n dominates."""
    if fixed is None or limit is None:
        return NOTHING if fixed is limit else "fixed n" if limit is None else "confidence"
    if fixed["looks_per_step"] == limit["looks_per_step"]:
        return "equal"
    if limit["looks_per_step"] < fixed["looks_per_step"]:
        return "confidence"
    return "fixed n, dominates" if fixed["share"] >= limit["share"] else "fixed n"


def main(arguments: Arguments) -> None:
    """Print the table and how often confidence needs fewer looks."""
    rows = [compare(json.loads(path.read_text())) for path in arguments.files]
    headings = "environment", "horizon", "asked", "best fixed n: looks saved, share", "best confidence limit", "fewer looks"
    cells = tuple(tuple(str(cell) for cell in row.values()) for row in rows)
    print(to_markdown(Table("", tuple(Column(heading) for heading in headings), cells)))
    print(f"\nconfidence needs fewer looks in {sum(row['fewer'] == 'confidence' for row in rows)} of {len(rows)}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
