from __future__ import annotations

from pathlib import Path

import pytest

from phr.errors import UnknownModelError
from phr.networks.trunks import TrunkConfig
from phr.storage.model import Model, load_model
from phr_studies.bench import models
from phr_studies.bench.models import bench_model, find_references, reference_config, solved_starts, untrained
from tests.trained import corridor_student, saved


def test_the_zoo_is_asked_first_then_the_cache_and_what_is_missing_is_distilled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHR_ZOO", str(tmp_path / "zoo"))
    saved(corridor_student(), tmp_path / "zoo" / "crossing-reference-student")
    distilled: list[str] = []

    def distil(env_id: str, directory: Path, **_: object) -> Model:
        distilled.append(env_id)
        return load_model(saved(corridor_student(), directory))

    monkeypatch.setattr(models, "distil_reference", distil)
    said: list[str] = []
    cached = tmp_path / "cache" / "four-rooms-reference-student"

    first = find_references(tmp_path / "cache", said.append)
    assert first == ("zoo:crossing-reference-student", str(cached))
    assert distilled == ["PHR/FourRooms-v0"]
    assert len(said) == 1
    assert "four-rooms-reference-student" in said[0]
    assert find_references(tmp_path / "cache", said.append) == first
    assert (len(distilled), len(said)) == (1, 1)


def test_a_reference_student_is_distilled_from_the_oracle_into_the_reference_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = reference_config("PHR/FourRooms-v0").__class__(horizon=16, n_updates=2, batch_size=4, n_episodes=4)
    monkeypatch.setattr(models, "reference_config", lambda _env_id: quick)
    model = models.distil_reference("PHR/FourRooms-v0", tmp_path)
    assert (model.horizon, model.manifest.notes["teacher"]) == (16, "oracle")
    assert model.network.config.trunk == TrunkConfig(kind="grid", channels=(32, 64, 64), width=512)
    assert solved_starts(model, (1, 16)) == (0, 1)


def test_starts_are_counted_at_the_worst_commitment() -> None:
    assert solved_starts(corridor_student(), (1, 2, 4)) == (1, 1)


def test_an_untrained_model_is_the_same_every_time() -> None:
    one, two = (untrained("tests.helpers:make_corridor", horizon=3) for _ in range(2))
    assert one.sha256 == two.sha256
    assert one.manifest.notes["untrained"]
    assert bench_model("untrained:tests.helpers:make_corridor").horizon == 16


def test_what_has_no_network_cannot_be_benched() -> None:
    with pytest.raises(UnknownModelError, match="no network to bench"):
        bench_model("oracle")
