"""Gymnasium's checker, its complaints gathered."""

from __future__ import annotations

import warnings

import pytest

from phr_studies.doctor.describe import check

ROOM = "tests.phr_studies.doctor.small_worlds"


@pytest.fixture(autouse=True)
def nothing_reaches_the_terminal() -> None:
    warnings.simplefilter("error")


def test_a_sound_environment() -> None:
    found = check(f"{ROOM}:Coins")
    assert (found.error, found.warnings) == (None, ())


def test_warnings_are_gathered_once_each() -> None:
    said = check("CartPole-v1").warnings
    assert len(said) == len(set(said)) == 2
    assert not any("\x1b" in text or text.startswith("WARN") for text in said)
    assert all("infinity" in text for text in said)


@pytest.mark.parametrize(("name", "error"), [("Wide", "not within the obs"), ("Unseeded", "not equivalent")])
def test_the_error_that_stopped_it(name: str, error: str) -> None:
    found = check(f"{ROOM}:{name}")
    assert found.error is not None
    assert error in found.error


def test_continuous_actions_are_checked_too() -> None:
    (text,) = check("Pendulum-v1").warnings
    assert "symmetric and normalized" in text


def test_an_error_while_closing_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def close(_env: object) -> None:
        raise RuntimeError("device busy")

    monkeypatch.setattr(f"{ROOM}.Coins.close", close)
    assert check(f"{ROOM}:Coins").error == "close() raised RuntimeError: device busy"
