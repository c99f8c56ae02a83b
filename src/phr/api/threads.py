"""How many threads a call may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phr.errors import SettingError
from phr.numbers import check_whole

_MOST = 1024
"""OpenMP fails to start many more, and takes the process with it."""


@contextmanager
def threads_restored() -> Iterator[None]:
    """Restore torch's number of threads afterwards, also on errors; as a decorator, after every call."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_threads(threads: int) -> None:
    """Compute with this many threads from here on; every caller is decorated with `threads_restored`.

    Raises:
        SettingError: If it is not a whole number in 1 .. 1024.
    """
    check_whole("threads", threads, 1)
    if threads > _MOST:
        raise SettingError(f"threads must be <= {_MOST}, got {threads}")
    torch.set_num_threads(int(threads))
