"""Gymnasium's checker, its complaints gathered with what to do about them."""

from __future__ import annotations

import warnings

import pytest

from phr_studies.doctor.checker import check

ROOM = "tests.phr_studies.doctor.small_worlds"


@pytest.fixture(autouse=True)
def nothing_reaches_the_terminal() -> None:
    warnings.simplefilter("error")


def test_a_sound_environment() -> None:
    found = check(f"{ROOM}:Coins")
    assert (found.error, found.warnings) == (None, ())


def test_warnings_are_gathered_once_each_with_a_fix() -> None:
    found = check(f"{ROOM}:Wide")
    assert found.error is not None
    assert "np.asarray(obs" in found.error.fix
    said = [each.says for each in check("CartPole-v1").warnings]
    assert len(said) == len(set(said)) == 2
    assert not any("\x1b" in text or text.startswith("WARN") for text in said)


def test_an_error_is_told_with_its_cure() -> None:
    found = check(f"{ROOM}:Unseeded")
    assert found.error is not None
    assert "self.np_random" in found.error.fix


def test_harmless_bounds_are_called_so() -> None:
    found = check("CartPole-v1")
    assert found.error is None
    assert {each.fix.partition(":")[0] for each in found.warnings} == {"harmless here"}


def test_continuous_actions_are_checked_too() -> None:
    (finding,) = check("Pendulum-v1").warnings
    assert "RescaleAction" in finding.fix
