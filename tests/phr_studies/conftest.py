"""A study of the alley, made once for all tests that look at it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import pytest

from phr.cli import main
from phr.distil import presets
from phr.networks.trunks import TrunkConfig
from phr_studies.report import canvas
from phr_studies.reproduce import study as reproduce_module
from phr_studies.reproduce.profiles import PROFILES
from tests.phr_studies.alley import ALLEY
from tests.phr_studies.small import TINY, Study, run_here


@contextlib.contextmanager
def quick_alley() -> Iterator[pytest.MonkeyPatch]:
    """Settings for the alley that take a tenth of a second a job, done in this process."""
    teacher = {"trunk": TrunkConfig(kind="mlp", width=32), "reward_scale": 10.0, "n_evaluations": 2, "eval_episodes": 1}
    student = {"n_episodes": 32, "batch_size": 32}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets._KNOWN, ALLEY, presets.Preset(teacher=teacher, student=lambda _horizon: student))
        patch.setattr(reproduce_module, "run_jobs", run_here)
        yield patch


@pytest.fixture(scope="module", autouse=True)
def _quickly() -> Iterator[None]:
    with quick_alley():
        yield


SMALL = 40
"""Dots per inch, where nobody looks at the pictures."""


@pytest.fixture(scope="module")
def small_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "DPI", SMALL)
        yield


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """What `phr reproduce` leaves behind; only to be looked at."""
    root, said = tmp_path_factory.mktemp("reproduce") / "study", io.StringIO()
    with quick_alley() as patch, contextlib.redirect_stdout(said):
        patch.setitem(PROFILES, "quick", TINY)
        patch.setattr(canvas, "DPI", SMALL)
        assert main(["reproduce", "--profile", "quick", "--out", str(root)]) == 0
    return Study(root, said.getvalue())
