"""The commands on the zoo's cards."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from benchmarks.make_zoo import commands, unusual
from phr.cli import main
from phr.cli.commands import parse
from phr.distil.presets import student_config
from phr.files import sha256_of
from phr.storage.model import load_model
from phr.teachers.references import zoo_directory
from phr_studies.bench.models import REFERENCES, distil_reference


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("crossing-student", " --batch-size 256 --refine 0"),
        ("four-rooms-student", " --batch-size 256 --refine 0"),
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


def on_card(name: str, command: str) -> list[str]:
    """The words of a command on a model's card."""
    card = (zoo_directory() / name / "README.md").read_text()
    (line,) = (line for line in card.splitlines() if line.startswith(f"phr {command} "))
    return shlex.split(line)[1:]


@pytest.mark.parametrize("name", ["crossing-student", "four-rooms-student", "pong-student"])
def test_a_card_names_a_command_that_is_accepted(name: str) -> None:
    command = parse(on_card(name, "distill"))
    env_id = load_model(zoo_directory() / name).env_id
    horizon = command.settings.pop("horizon")
    assert student_config(env_id, horizon, **command.settings, seed=command.seed).horizon == 16


same_processor = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="another type of processor rounds differently"
)


@same_processor
@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", [*REFERENCES, "crossing-student", "four-rooms-student", "crossing-teacher", "four-rooms-teacher"]
)
def test_a_model_of_the_grids_has_the_hash_of_its_card(name: str, tmp_path: Path) -> None:
    """By the very command on the card; students learn from the zoo's teacher."""
    family, _, kind = name.rpartition("-")
    if name in REFERENCES:
        distil_reference(REFERENCES[name], tmp_path / "made")
    else:
        words = on_card(name, {"student": "distill", "teacher": "train"}[kind])
        words[words.index("--out") + 1] = str(tmp_path / "made")
        if kind == "student":
            assert words[1] == f"runs/{family}-teacher"
            words = [words[0], f"zoo:{family}-teacher", *words[2:], "--curve-episodes", "0"]
        assert main(words) == 0
    made = sha256_of(tmp_path / "made" / "model.safetensors")
    assert f"`{made}`" in (zoo_directory() / name / "README.md").read_text()
