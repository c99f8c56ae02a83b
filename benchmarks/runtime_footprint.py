"""Measure size, start-up, memory and time of the ONNX runtime in a fresh environment, compared with torch.

.venv/bin/python benchmarks/runtime_footprint.py --model zoo:crossing-student

Creates a virtual environment in a temporary directory (pip requires a package index), so it takes a minute.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import tyro

from phr import api

CHECKOUT = Path(__file__).resolve().parents[1]

MEASURE = """
import json, resource, sys, time
from pathlib import Path
begin, cpu = time.perf_counter(), time.process_time()
if sys.argv[1] == "onnx":
    from phr.acting.runtime import load_runtime
    planner = load_runtime(sys.argv[2])
    shape, dtype = planner.obs_shape, planner.obs_dtype
else:
    import torch
    torch.set_num_threads(1)
    from phr.storage.model import load_model
    model = load_model(Path(sys.argv[2]))
    planner, shape, dtype = model.planner, model.manifest.obs_shape, model.manifest.obs_dtype
ready, ready_cpu = time.perf_counter() - begin, time.process_time() - cpu
import numpy as np
obs = np.random.default_rng(0).integers(0, 2, (1, *shape)).astype(dtype)
for _ in range(100):
    planner.plan(obs)
looks = []
for _ in range(15):
    cpu = time.process_time()
    for _ in range(500):
        planner.plan(obs)
    looks.append((time.process_time() - cpu) / 500 * 1e6)
status = Path("/proc/self/status")
if status.exists():  # ru_maxrss would count what the parent had before this program was loaded
    peak = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": ready, "cpu_seconds": ready_cpu, "peak_mb": peak / 1e6, "look_us": min(looks)}))
"""


@dataclass(frozen=True)
class Arguments:
    """Print size, start-up time, memory and the time of a look (one network evaluation), for onnxruntime and for torch."""

    model: str = "zoo:crossing-student"
    """A run directory or zoo:NAME."""
    repeats: int = 5
    """Fresh interpreters per backend; the median is printed."""


def megabytes(folder: Path) -> float:
    """Return the size of all files below a directory, in 10^6 bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6


def size_here(*names: str) -> float:
    """Return the size of installed distributions of this interpreter, in 10^6 bytes."""
    chosen = {each.metadata["Name"].lower(): each for each in distributions()}
    files = [Path(str(file.locate())) for name in names for file in chosen[name].files or []]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def fresh(folder: Path) -> Path:
    """Create an environment with phr's base installation; return its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(CHECKOUT / "constraints.txt"), str(CHECKOUT)], check=True)
    subprocess.run([str(python), "-m", "pip", "uninstall", "-q", "-y", "pip", "setuptools"], check=False)
    return python


def measured(python: str, backend: str, model: Path, repeats: int) -> dict[str, float]:
    """Return medians over fresh interpreters, with one thread, outside the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or backend == "torch"}
    environment["OMP_NUM_THREADS"] = "1"
    command = [python, "-c", MEASURE, backend, str(model)]
    runs: list[dict[str, Any]] = []
    for _ in range(repeats + 1):  # the first one fills the disk cache and writes byte code
        ran = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True)
        runs.append(json.loads(ran.stdout))
    return {name: statistics.median(run[name] for run in runs[1:]) for name in runs[0]}


def main(arguments: Arguments) -> None:
    """Export, install, measure, print."""
    model = api.load(arguments.model)
    if model.directory is None:
        sys.exit(f"--model must be a run directory or zoo:NAME, got {arguments.model!r}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = api.export_onnx(model, folder / "model.onnx", int8=True)
        print(written)
        assert written.int8_path is not None
        python = str(fresh(folder / "venv"))
        sites = [path for path in (folder / "venv").rglob("site-packages") if path.is_dir()]
        print(f"installed: {sum(map(megabytes, sites)):.0f} MB; torch's own package: {size_here('torch'):.0f} MB")
        rows = {
            "onnx": measured(python, "onnx", written.path, arguments.repeats),
            "onnx, int8": measured(python, "onnx", written.int8_path, arguments.repeats),
            "torch": measured(sys.executable, "torch", model.directory.resolve(), arguments.repeats),
        }
    print(f"{'':<12} {'import and load':>16} {'of it CPU':>10} {'peak memory':>12} {'a look (CPU)':>13}")
    for backend, row in rows.items():
        print(
            f"{backend:<12} {row['seconds']:>14.2f} s {row['cpu_seconds']:>8.2f} s {row['peak_mb']:>9.0f} MB "
            f"{row['look_us']:>10.0f} µs"
        )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
