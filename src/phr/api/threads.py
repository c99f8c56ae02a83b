"""How many threads a call may use."""

from __future__ import annotations

import torch

from phr.errors import SettingError


def use_threads(threads: int) -> None:
    """Compute with this many threads from here on.

    Raises:
        SettingError: If it is below 1.
    """
    if threads < 1:
        raise SettingError(f"threads must be >= 1, got {threads}")
    torch.set_num_threads(threads)
