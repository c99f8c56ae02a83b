"""On what a figure was measured."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from phr.manifest import library_versions


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_machine(threads: int) -> dict[str, Any]:
    """CPU, inference threads and library versions."""
    versions = library_versions("torch", "numpy", "gymnasium", "minigrid", "onnxruntime", "ale-py")
    return {"cpu": cpu_name(), "threads": threads, "versions": versions}
