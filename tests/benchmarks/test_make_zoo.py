"""The commands on the zoo's cards."""

from __future__ import annotations

import pytest

from benchmarks.make_zoo import commands, unusual
from phr.storage.model import load_model
from phr.teachers.references import zoo_directory


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("crossing-student", " --batch-size 256 --refine 0 --refine-updates 1000"),
        ("four-rooms-student", " --batch-size 256 --refine 0 --refine-updates 1000"),
        ("pong-student", " --n-episodes 90 --refine 8"),
    ],
)
def test_a_card_says_what_is_not_the_default(name: str, options: str) -> None:
    model = load_model(zoo_directory() / name)
    assert "".join(unusual(model)) == options
    line = commands(model, "runs/")[-2]
    assert line == f"phr distill runs/teacher --horizon 16{options} --seed 0 --out runs/student"
    assert line in (zoo_directory() / name / "README.md").read_text().replace(
        f"runs/{name.rpartition('-')[0]}/", "runs/"
    ).replace(f"runs/{name.rpartition('-')[0]}-", "runs/")
