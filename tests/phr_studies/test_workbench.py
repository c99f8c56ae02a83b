from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from phr.errors import CorruptFileError, NoSuccessError, OutputDirectoryError
from phr.files import read_json
from phr.interruption import deferred_interrupt
from phr.progress import Progress
from phr.storage.model import load_model
from phr_studies import workbench
from phr_studies.reproduce.jobs import TeacherJob
from phr_studies.workbench import Job, Relay, Workbench, once, run_jobs
from tests.trained import CORRIDOR

MADE = "tests.helpers:make_corridor"
"""Another process does not know what was registered in this one."""

SETTINGS = {"study": "test", "profile": {"seeds": [0, 1]}}


def silent(_line: str) -> None:
    pass


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_study_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    bench = Workbench(tmp_path / "study", SETTINGS)
    assert read_json(tmp_path / "study" / "settings.json") == SETTINGS
    Workbench(tmp_path / "study", SETTINGS)
    bench.finish()
    Workbench(tmp_path / "study", SETTINGS)
    assert names_in(tmp_path / "study") == ["COMPLETE", "settings.json"]


def test_another_study_is_refused_and_left_alone(tmp_path: Path) -> None:
    Workbench(tmp_path, SETTINGS)
    with pytest.raises(OutputDirectoryError, match="holds another study; choose another folder, or remove it"):
        Workbench(tmp_path, {**SETTINGS, "profile": {"seeds": [0]}})
    assert read_json(tmp_path / "settings.json") == SETTINGS


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputDirectoryError, match="is not empty and is not the folder of a phr study"):
        Workbench(tmp_path, SETTINGS)
    assert names_in(tmp_path) == ["thesis.tex"]


def test_broken_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(CorruptFileError, match="settings.json is not readable JSON"):
        Workbench(tmp_path, SETTINGS)


def test_a_value_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return {"lengths": (1, 2)}

    path = tmp_path / "starts" / "a.json"
    assert once(path, make) == once(path, make) == {"lengths": [1, 2]}
    assert made == [1]


def test_a_value_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "a.json", fail)
    assert names_in(tmp_path) == []


@dataclass(frozen=True)
class Numbered:
    """What pieces of work for another process share: done where a file is called by their number."""

    number: int
    directory: Path

    @property
    def name(self) -> str:
        return f"job {self.number}"

    @property
    def is_done(self) -> bool:
        return (self.directory / str(self.number)).exists()


class WritesItsNumber(Numbered):
    """Ends at once, with an error where the number is negative."""

    def __call__(self, relay: Relay) -> None:
        if self.number < 0:
            raise NoSuccessError(f"job {self.number} found no success")
        relay.named(self.name)(Progress("", 1, 1, "numbers"))
        (self.directory / str(self.number)).write_text(str(os.getpid()))


def test_jobs_run_in_other_processes_and_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "available_cores", lambda: 1)  # a second process would only import everything again
    teacher = TeacherJob(env_id=MADE, seed=0, directory=tmp_path / "teacher", total_timesteps=1280)
    jobs: list[Job] = [WritesItsNumber(7, tmp_path), teacher]
    said: list[str] = []
    reports: list[Progress] = []
    run_jobs(jobs, what="working", say=said.append, on_progress=reports.append)
    assert int((tmp_path / "7").read_text()) != os.getpid()
    assert load_model(tmp_path / "teacher").env_id == MADE
    assert said[0] == "working: 2 to do"
    assert [line.split("]")[0] for line in said[1:]] == ["  [1/2", "  [2/2"]
    assert {line.split("] ")[1] for line in said[1:]} == {"job 7", teacher.name}
    assert {(report.stage, report.done) for report in reports} >= {("job 7", 1), (teacher.name, 1280)}


def test_the_error_of_a_job_comes_through(tmp_path: Path) -> None:
    with pytest.raises(NoSuccessError, match="^job -1 found no success$"):
        run_jobs([WritesItsNumber(-1, tmp_path)], what="writing", say=silent)


class NapsUntilInterrupted(Numbered):
    """Leaves a sign when it begins and when it is stopped."""

    def __call__(self, relay: Relay) -> None:
        try:
            (self.directory / f"begun-{self.number}").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            (self.directory / f"stopped-{self.number}").touch()
            raise


NAP = """
import sys
from pathlib import Path
from phr.interruption import running
from phr_studies import workbench
from tests.phr_studies.test_workbench import NapsUntilInterrupted

workbench.available_cores = lambda: 2
try:
    jobs = [NapsUntilInterrupted(n, Path(sys.argv[1])) for n in range(5)]
    with running([]):
        workbench.run_jobs(jobs, what="napping", say=lambda _line: None)
except KeyboardInterrupt:
    sys.exit(130)
"""


class SavesWhenInterrupted(Numbered):
    """As a training does: the second of two needs longer for its checkpoint."""

    def __call__(self, relay: Relay) -> None:
        with deferred_interrupt() as pressed:
            (self.directory / f"begun-{self.number}").touch()
            while not pressed:
                time.sleep(0.01)
            time.sleep(1.5 * self.number)
            (self.directory / f"saved-{self.number}").touch()


def test_every_worker_may_write_its_checkpoint(tmp_path: Path) -> None:
    with napping(
        tmp_path, NAP.replace("NapsUntilInterrupted", "SavesWhenInterrupted").replace("range(5)", "range(2)")
    ) as study:
        study.terminate()
        _, said = study.communicate()
    assert (study.returncode, said) == (130, "")
    assert names_in(tmp_path) == ["begun-0", "begun-1", "saved-0", "saved-1"]


def napping(folder: Path, code: str = NAP) -> subprocess.Popen[str]:
    """A study of five naps, two of which have begun."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(folder)]
    study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root, start_new_session=True)
    while len(names_in(folder)) < 2:
        assert study.poll() is None
        time.sleep(0.05)
    return study


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, True)]
)
def test_a_signal_stops_what_runs_and_begins_nothing_else(tmp_path: Path, number: signal.Signals, to_all: bool) -> None:
    """A terminal sends Ctrl-C to every process at once; none of them may say more than the command itself."""
    with napping(tmp_path) as study:
        (os.killpg if to_all else os.kill)(study.pid, number)
        _, said = study.communicate()
    assert (study.returncode, said) == (130, "")
    assert names_in(tmp_path) == ["begun-0", "begun-1", "stopped-0", "stopped-1"]


def test_no_worker_outlives_its_study(tmp_path: Path) -> None:
    with napping(tmp_path) as study:
        workers = [int(each) for each in Path(f"/proc/{study.pid}/task/{study.pid}/children").read_text().split()]
        study.kill()
    ends = time.monotonic() + 20
    while (left := [pid for pid in workers if _is_running(pid)]) and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(workers) >= 2
    assert not left


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_jobs_and_done_jobs_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "3").touch()
    monkeypatch.setattr(workbench, "ProcessPoolExecutor", None)
    said: list[str] = []
    run_jobs([], what="writing", say=said.append)
    run_jobs([WritesItsNumber(3, tmp_path)], what="writing", say=said.append)
    assert said == []


def test_a_study_that_is_taken_up_again_is_not_done(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, SETTINGS)
    found = [bench.is_complete]
    for change in (bench.finish, bench.reopen, bench.reopen):
        change()
        found.append(Workbench(tmp_path, SETTINGS).is_complete)
    assert found == [False, True, False, False]


def test_a_teacher_is_done_where_its_settings_are_the_same(tmp_path: Path) -> None:
    job = TeacherJob(env_id=CORRIDOR, seed=0, directory=tmp_path, total_timesteps=128)
    found = [job.is_done]
    job(Relay())
    found += [other.is_done for other in (job, replace(job, total_timesteps=256), replace(job, seed=1))]
    (tmp_path / "COMPLETE").unlink()
    found.append(job.is_done)
    assert found == [False, True, False, False, False]


def test_a_study_is_not_written_through_a_link(tmp_path: Path) -> None:
    study, outside = tmp_path / "study", tmp_path / "outside"
    for folder in (study, outside):
        folder.mkdir()
    Workbench(study, SETTINGS)
    (study / "films").symlink_to(outside)
    with pytest.raises(OutputDirectoryError, match="films is a link to a place outside"):
        Workbench(study, SETTINGS)


def test_a_killed_writers_locks_below_a_study_are_removed_and_held_ones_stay(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    Workbench(study, SETTINGS)
    left, held = study / "models" / "left", study / "models" / "held"
    for folder in (left, held):
        folder.mkdir(parents=True)
    (left / ".phr-lock").write_text('{"pid": 1}')
    holding = f"""
import sys, time
from pathlib import Path
from phr.storage import owned
with owned(Path({str(held)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        Workbench(study, SETTINGS)
        assert (held / ".phr-lock").exists()
        assert not (left / ".phr-lock").exists()
        other.kill()
    Workbench(study, SETTINGS)
    assert not (held / ".phr-lock").exists()
