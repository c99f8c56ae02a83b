"""Predictions against observations, on files whose correlation is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.doctor_rank import Arguments, main, ranks, read, spearman
from phr.errors import UsageError


def write(folder: Path, name: str, predicted: list[float | None], observed: dict[int, float]) -> tuple[Path, Path]:
    curve = {"horizons": [1, 2, 4], "errors": [0.0, 0.01], "shares": [predicted, predicted]}
    rules = [{"commitment": n, "share": share} for n, share in observed.items()]
    doctor, tune = folder / f"{name}-doctor.json", folder / f"{name}-tune.json"
    doctor.write_text(json.dumps({"env_id": name, "curve": curve, "horizon": 2}))
    tune.write_text(json.dumps({"env_id": name, "candidates": [*rules, {"commitment": {"threshold": 0.5}, "share": 0.1}]}))
    return doctor, tune


def test_ranks_and_their_correlation() -> None:
    assert ranks([0.3, 0.1, 0.3, 0.2]).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert spearman([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(1 - 6 * 4 / (4 * 15))  # 1 − 6 Σd² / n(n² − 1)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    rng = np.random.default_rng(0)
    values = rng.random((2, 9))
    assert spearman(values[0], values[1]) == pytest.approx(spearman(np.exp(values[0]), values[1]))


def test_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [
        write(tmp_path, "A-v0", [1.0, 0.9, 0.5], {1: 1.0, 2: 0.8, 3: 0.7, 4: 0.6}),
        write(tmp_path, "B-v0", [1.0, 0.8, 0.6], {1: 1.0, 2: 0.7, 4: 0.65}),
        write(tmp_path, "C-v0", [1.0, 0.7, None], {1: 1.0, 2: 0.995, 4: 0.99}),
    ]
    doctor, tune = zip(*pairs, strict=True)
    assert main(Arguments(doctor=doctor, tune=tune)) == 0
    out = capsys.readouterr().out
    assert "| C-v0 | 100 % / 100 % / 100 % | 70 % / 70 % / 99.5 % | – / – / 99 % | 2 | 4 |" in out
    assert "| 0 % | – (3) | −0.50 (3) | – (2) |" in out
    assert [read(*pair).longest for pair in pairs] == [1, 1, 4]


def test_files_of_different_worlds_are_refused(tmp_path: Path) -> None:
    a, b = (write(tmp_path, name, [1.0, 1.0, 1.0], {1: 1.0}) for name in ("A-v0", "B-v0"))
    with pytest.raises(UsageError, match="is of A-v0, .* of B-v0"):
        read(a[0], b[1])
    with pytest.raises(UsageError, match="has 1 files and --tune 2"):
        main(Arguments(doctor=a[:1], tune=(a[1], b[1])))
    a[0].write_text(json.dumps({"env_id": "A-v0", "curve": None}))
    with pytest.raises(UsageError, match="contains no curve"):
        read(*a)
