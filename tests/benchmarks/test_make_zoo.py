"""The commands on the zoo's cards."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from benchmarks.make_zoo import commands, unusual
from phr.cli import main
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


same_processor = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="another type of processor rounds differently"
)


@same_processor
@pytest.mark.nightly
@pytest.mark.parametrize("family", ["crossing", "four-rooms"])
def test_a_grid_student_has_the_hash_of_its_card(family: str, tmp_path: Path) -> None:
    """By the very command on the card, from the zoo's teacher."""
    card = (zoo_directory() / f"{family}-student" / "README.md").read_text()
    (line,) = (line for line in card.splitlines() if line.startswith("phr distill "))
    words = shlex.split(line)[1:]
    assert words[:2] == ["distill", f"runs/{family}-teacher"]
    words[1], words[words.index("--out") + 1] = f"zoo:{family}-teacher", str(tmp_path / "student")
    assert main([*words, "--curve-episodes", "0"]) == 0
    assert f"`{sha256_of(tmp_path / 'student' / 'model.safetensors')}`" in card


@same_processor
@pytest.mark.nightly
@pytest.mark.parametrize("family", ["crossing", "four-rooms"])
def test_a_grid_teacher_has_the_hash_of_its_card(family: str, tmp_path: Path) -> None:
    card = (zoo_directory() / f"{family}-teacher" / "README.md").read_text()
    (line,) = (line for line in card.splitlines() if line.startswith("phr train "))
    words = shlex.split(line)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "teacher")
    assert main(words) == 0
    assert f"`{sha256_of(tmp_path / 'teacher' / 'model.safetensors')}`" in card


@same_processor
@pytest.mark.nightly
@pytest.mark.parametrize("name", list(REFERENCES))
def test_a_reference_has_the_hash_of_its_card(name: str, tmp_path: Path) -> None:
    distil_reference(REFERENCES[name], tmp_path / name)
    card = (zoo_directory() / name / "README.md").read_text()
    assert f"`{sha256_of(tmp_path / name / 'model.safetensors')}`" in card
