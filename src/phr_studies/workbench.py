"""A study's folder: every piece of work is a file, and what is there is not done again; jobs in other processes; threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing.managers import SyncManager
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from phr.errors import OutputDirectoryError
from phr.files import OWN_PREFIX, check_links, read_json, sweep, write_json, write_text
from phr.interruption import terminal_ignored
from phr.progress import OnProgress, Progress, available_cores, busy_share, silent
from phr.storage import record_command, sweep_locks

_SECONDS_BETWEEN = 0.25


class Relay:
    """Puts progress reports into a queue, a few a second, for the process that draws the bars; None drops everything."""

    def __init__(self, queue: Any = None) -> None:
        self._queue = queue

    def named(self, name: str) -> OnProgress:
        """A callback whose reports carry the name of a piece of work."""
        last = 0.0

        def report(progress: Progress) -> None:
            nonlocal last
            now = time.monotonic()
            if self._queue is not None and (now - last > _SECONDS_BETWEEN or progress.done >= progress.total):
                last = now
                self._queue.put(replace(progress, stage=name))

        return report


SETTINGS = "settings.json"
COMPLETE = "COMPLETE"


class Workbench:
    """Opens a folder, which the caller holds, for a study, or finds it again: one with equal settings is the same."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = directory
        path = directory / SETTINGS
        if path.exists():
            if read_json(path) != settings:
                raise OutputDirectoryError(f"{directory} holds another study; choose another folder, or remove it")
        elif any(not each.name.startswith(OWN_PREFIX) for each in directory.iterdir()):
            raise OutputDirectoryError(
                f"{directory} is not empty and is not the folder of a phr study; choose another folder"
            )
        else:
            write_json(path, settings)
        check_links(directory)
        sweep_locks(directory)
        sweep(directory, below=True)
        record_command(directory)

    @property
    def is_complete(self) -> bool:
        """Whether the study was marked as done."""
        return (self.directory / COMPLETE).exists()

    def reopen(self) -> None:
        """Take the mark away: something is to be done again."""
        (self.directory / COMPLETE).unlink(missing_ok=True)

    def finish(self) -> None:
        """Mark the study as done."""
        write_text(self.directory / COMPLETE, "")


@runtime_checkable
class Job(Protocol):
    """A piece of work for another process: picklable, and called only where it is not done yet."""

    @property
    def name(self) -> str:
        """For a person."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do; cheap to ask."""

    def __call__(self, relay: Relay) -> None:
        """Do it."""


def run_jobs(jobs: Sequence[Job], *, what: str, say: Callable[[str], None], on_progress: OnProgress = silent) -> None:
    """Run the jobs that are not done yet side by side, one process a core; nothing may be timed while they run.

    The first error of any job is raised; the others are cancelled, finished ones stay done.
    """
    jobs = [job for job in jobs if not job.is_done]
    if not jobs:
        return
    say(f"{what}: {len(jobs)} to do")
    context = multiprocessing.get_context("spawn")
    shared = SyncManager(ctx=context)
    with terminal_ignored():
        ensure_running()  # multiprocessing's own process, which a hangup would end
        shared.start(_become_a_worker)
    with shared as manager:
        queue, stop = manager.Queue(), manager.Event()
        drain = threading.Thread(target=_drain, args=(queue, on_progress), daemon=True)
        drain.start()
        before = set(multiprocessing.active_children())
        n_workers = min(len(jobs), available_cores())
        with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_become_a_worker) as pool:
            with terminal_ignored():  # inherited: an idle worker has nothing to interrupt, and would say so at length
                pending = {pool.submit(_work, job, Relay(queue), stop): job for job in jobs}
            try:
                for number, future in enumerate(as_completed(pending), start=1):
                    future.result()
                    say(f"  [{number}/{len(jobs)}] {pending[future].name}")
            except BaseException as error:
                stop.set()
                workers = [each for each in multiprocessing.active_children() if each not in before]
                _end(pool, workers, interrupt=isinstance(error, KeyboardInterrupt))
                raise
            finally:
                queue.put(None)
                drain.join()


def _end(pool: ProcessPoolExecutor, workers: Sequence[BaseProcess], *, interrupt: bool) -> None:
    """Wait until the workers have ended, which may write their checkpoints; a second signal kills them."""
    try:
        for worker in workers if interrupt else ():
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, signal.SIGINT)
        pool.shutdown(cancel_futures=True)
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()
        raise


def _become_a_worker() -> None:
    """Take signals from the parent alone, once each, and end when it does, however it ends."""
    if hasattr(os, "setsid"):
        os.setsid()  # the terminal's Ctrl-C reaches the parent, which passes it on
    parent = multiprocessing.parent_process()
    assert parent is not None, "workers are started by a process"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(job: Job, relay: Relay, stop: Any) -> None:
    """Do a job in a worker process, where Ctrl-C counts only meanwhile; nothing begins after a first error."""
    if stop.is_set():
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job(relay)
    except BaseException:
        stop.set()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _drain(queue: Any, on_progress: OnProgress) -> None:
    while (report := queue.get()) is not None:
        on_progress(report)


BUSY = 0.25
"""The share of a machine that other programs may keep busy while something is timed."""


def warn_if_busy(say: Callable[[str], None]) -> float | None:
    """Warn before something is timed on a busy machine; return the share that other programs keep busy, if it is known."""
    share = busy_share()
    time.sleep(1.0)
    busy = share()
    if busy is not None and busy > BUSY:
        say(f"warning: other programs keep {busy:.0%} of this machine's cores busy; the times will not be its own")
    return busy


def once(path: Path, make: Callable[[], Any]) -> Any:
    """The JSON value in a file, made and written where it is missing."""
    if not path.exists():
        write_json(path, make())
    return read_json(path)
