"""Uploads to a local server that answers as the hub does; no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import phr
from phr.errors import UnknownModelError, UsageError
from phr_studies.films import make_filmed_env, shoot
from phr_studies.push import PushError, push, write_mp4
from tests.hub_server import hub
from tests.trained import corridor_student, saved

pytest.importorskip("huggingface_hub")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    root = tmp_path / "hub"
    root.mkdir()
    with hub(root) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield root


def test_a_model_comes_back_as_it_was_pushed(served: Path, tmp_path: Path) -> None:
    saved(corridor_student(), tmp_path / "student")
    lines: list[str] = []
    url = push(tmp_path / "student", "hf:owner/corridor", license="mit", say=lines.append)
    assert url.endswith("/owner/corridor")
    files = {path.name for path in (served / "owner" / "corridor").iterdir()}
    assert {"README.md", "model.onnx", "model.safetensors", "manifest.json", "COMPLETE"} <= files
    assert any("no film" in line for line in lines) == ("replay.mp4" not in files)
    found = phr.load("hf:owner/corridor")
    assert found.sha256 == corridor_student().sha256
    assert any(line.startswith("uploaded as hf:owner/corridor@") for line in lines)
    push(tmp_path / "student", "hf:owner/corridor", license="mit")  # once more: the repository is there


def test_the_card_is_in_the_hubs_form(served: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    saved(corridor_student(), tmp_path / "student")
    push(tmp_path / "student", "hf:owner/corridor", license="apache-2.0")
    card = ModelCard.load(served / "owner" / "corridor" / "README.md")
    data = card.data.to_dict()
    assert (data["library_name"], data["license"]) == ("phr", "apache-2.0")
    assert {"reinforcement-learning", "policy-horizon-regression"} <= set(data["tags"])
    [result] = card.data.eval_results
    assert result.metric_type == "mean_reward"
    result_of_phr = phr.evaluate(tmp_path / "student", episodes=20, runs=1, bound=False)
    assert float(result.metric_value.split(" ")[0]) == pytest.approx(result_of_phr.return_mean, abs=0.005)
    assert 'phr.load("hf:owner/corridor")' in card.text


def test_what_cannot_be_pushed_is_one_line(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(corridor_student(), tmp_path / "student")
    for to in ("hf:owner/corridor@main", "hf:owner/corridor/file", "owner/corridor", "zoo:x"):
        with pytest.raises(UsageError, match="hf:OWNER/NAME"):
            push(tmp_path / "student", to, license="mit")
    with pytest.raises(UsageError, match="needs a licence: --license mit"):
        push(tmp_path / "student", "hf:owner/corridor", license=" ")
    with pytest.raises(UnknownModelError):
        push(tmp_path / "nothing", "hf:owner/corridor", license="mit")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PushError, match="hf:owner/corridor was not uploaded: ") as caught:
        push(tmp_path / "student", "hf:owner/corridor", license="mit")
    assert "\n" not in str(caught.value)
    assert not list(served.iterdir())


def test_a_film_has_a_frame_for_each_step(tmp_path: Path) -> None:
    import imageio_ffmpeg

    from phr.envs import Start

    student = phr.load_teacher("oracle", env_id="MiniGrid-Empty-5x5-v0")
    with make_filmed_env("MiniGrid-Empty-5x5-v0") as env:
        footage = shoot(student, env, Start(0), 1)
    write_mp4(footage, tmp_path / "film.mp4")
    n_frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))
    assert n_frames == len(footage.frames)
    assert seconds == pytest.approx(n_frames / footage.steps_per_second, rel=0.1)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "film.mp4"))
    size = next(reader)["size"]
    first = np.frombuffer(next(reader), np.uint8).reshape(size[1], size[0], 3)
    assert first.std() > 5  # something is to be seen
