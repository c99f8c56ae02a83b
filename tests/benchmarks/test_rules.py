"""Fixed n beside limits of the confidence, on files whose best rules are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rules import Arguments, compare, main


def tuned(*rules: tuple[Any, float, float | None], retain: float = 0.9) -> dict[str, Any]:
    candidates = [
        {"commitment": rule, "rule": str(rule), "looks_per_step": looks, "share": share} for rule, looks, share in rules
    ]
    return {"env_id": "A-v0", "horizon": 4, "retain": retain, "candidates": candidates}


LIMIT = {"threshold": 0.5}


@pytest.mark.parametrize(
    ("rules", "fewer"),
    [
        ([(1, 1.0, 1.0), (4, 0.25, 0.95), (LIMIT, 0.2, 0.91)], "confidence"),
        ([(1, 1.0, 1.0), (4, 0.25, 0.95), (LIMIT, 0.2, 0.89)], "fixed n"),
        ([(1, 1.0, 1.0), (4, 0.25, 0.95), (LIMIT, 0.3, 0.95)], "fixed n, dominates"),
        ([(1, 1.0, 1.0), (4, 0.25, 0.95), (LIMIT, 0.3, 0.96)], "fixed n"),
        ([(4, 0.25, 0.95), (LIMIT, 0.25, 0.95)], "equal"),
        ([(4, 0.25, 0.8), (LIMIT, 0.3, 0.95)], "confidence"),
        ([(4, 0.25, None), (LIMIT, 0.3, 0.1)], "–"),
    ],
)
def test_which_rule_needs_fewer_looks(rules: list[tuple[Any, float, float | None]], fewer: str) -> None:
    assert compare(tuned(*rules))["fewer"] == fewer


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(tuned((1, 1.0, 1.0), (4, 0.25, 0.95), (LIMIT, 0.2, 0.91))))
    main(Arguments((tmp_path / "a.json",)))
    printed = capsys.readouterr().out
    assert "4: 4.00×, 95 %" in printed
    assert ": 5.00×, 91 % | confidence |" in printed
    assert printed.endswith("confidence needs fewer looks in 1 of 1\n")
