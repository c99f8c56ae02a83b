"""What acting needs: seconds to import and load, peak memory, and megabytes to install; the runtime against torch."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phr
from phr.acting import seal
from phr.errors import MissingExtraError, PhrError
from phr.files import write_bytes
from phr.storage import Model, export_manifest, onnx_bytes, save_model
from phr_studies.bench.models import bench_model
from phr_studies.bench.rounds import Contestant, Measured, alternate, ends, median, ratio, spread
from phr_studies.report.tables import Column, Table
from phr_studies.report.text import number, times, whole

HEADING = "Import, memory, installed size"
RUNTIME, TORCH, NUMPY = "phr's runtime", "torch", "numpy alone, for comparison"

_BEGIN = """
import json, sys, time
begin = time.perf_counter()
"""
_RUNTIME = """
from phr.acting import load_runtime
imported = time.perf_counter()
planner = load_runtime(sys.argv[1])
assert "torch" not in sys.modules
"""
_TORCH = """
import torch
from pathlib import Path
from phr.storage import load_model
imported = time.perf_counter()
torch.set_num_threads(1)
planner = load_model(Path(sys.argv[1])).planner
"""
_PLAN = """
import numpy as np
loaded = time.perf_counter()
planner.plan(np.zeros((1, *json.loads(sys.argv[2])), sys.argv[3]))
"""
_NUMPY = """
import numpy as np
imported = loaded = time.perf_counter()
"""
_END = """
planned = time.perf_counter()
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
except OSError:
    try:
        import resource
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ModuleNotFoundError:
        peak = 0
print(json.dumps({
    "seconds_import": imported - begin, "seconds_load": loaded - imported, "seconds_first_plan": planned - loaded,
    "megabytes_peak": peak / 1e6,
}))
"""
# The kernel counts the parent's peak into a child's `ru_maxrss`, so VmHWM goes first.


@dataclass(frozen=True, kw_only=True)
class FootprintSettings:
    """Whose model is loaded, and in how many fresh processes of each kind; one more warms the disk's cache."""

    model: str
    rounds: int = 5


def measure(settings: FootprintSettings) -> dict[str, Any]:
    """Fresh processes in alternation, and the sizes of what pip would install for each."""
    model = bench_model(settings.model)
    with tempfile.TemporaryDirectory() as folder:
        onnx, run = Path(folder) / "student.onnx", Path(folder) / "student"
        write_bytes(onnx, seal(onnx_bytes(model), export_manifest(model)))
        save_model(run, model.network, model.manifest)
        kinds = {RUNTIME: (_RUNTIME + _PLAN, onnx), TORCH: (_TORCH + _PLAN, run), NUMPY: (_NUMPY, run)}
        contestants = [_contestant(name, _BEGIN + code + _END, path, model) for name, (code, path) in kinds.items()]
        rounds = alternate(contestants, settings.rounds)
    return {
        "model": settings.model,
        "processes": [summary(name, rounds[name], rounds[TORCH]) for name in kinds],
        "installed": [
            {"name": name, "megabytes": {each: size / 1e6 for each, size in installed_sizes(roots).items()}}
            for name, roots in ((RUNTIME, ("phr",)), (TORCH, ("torch",)))
        ],
    }


def _contestant(name: str, code: str, path: Path, model: Model) -> Contestant:
    words = [sys.executable, "-c", code, str(path), json.dumps(model.manifest.obs_shape), model.manifest.obs_dtype]

    def run() -> Measured:
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise PhrError(f"{name}: a fresh process failed: {ended.stderr.strip().splitlines()[-1]}")
        found: dict[str, float] = json.loads(ended.stdout)
        return found

    run()
    return Contestant(name, lambda _index: run())


def summary(name: str, rounds: Sequence[Measured], torch_rounds: Sequence[Measured]) -> dict[str, Any]:
    """Spreads over the processes, and how many times torch's they are."""
    parts = ("seconds_import", "seconds_load", "seconds_first_plan", "megabytes_peak")
    whole = [[each["seconds_import"] + each["seconds_load"] for each in side] for side in (rounds, torch_rounds)]
    ours, theirs = (spread(side) for side in whole)
    return {
        "name": name,
        **{part: spread([each[part] for each in rounds]) for part in parts},
        "seconds_import_and_load": ours,
        "torch_ratio": ratio(theirs, ours),
    }


def installed_sizes(roots: Sequence[str]) -> dict[str, int]:
    """Bytes on the disk of every distribution that pip installs for these, optional extras left out.

    Raises:
        MissingExtraError: If one is not installed.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    sizes: dict[str, int] = {}
    waiting = list(roots)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in sizes:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtraError(f"the size of {name} is unknown: it is not installed; pip install {name}") from error
        sizes[name] = _size_of_phr() if name == "phr" else _size(found)
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _size(found: importlib.metadata.Distribution) -> int:
    paths = {Path(str(entry.locate())).resolve() for entry in found.files or ()}
    return sum(path.stat().st_size for path in paths if path.is_file())


def _size_of_phr() -> int:
    """The files of both packages, wherever they lie: a checkout is installed by a pointer to it."""
    roots = (Path(phr.__file__).parent, Path(__file__).parents[1])
    files = (path for root in roots for path in root.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file() and "__pycache__" not in path.parts)


def tables(values: Mapping[str, Any]) -> list[Table]:
    """One row per kind of process."""
    totals = {each["name"]: sum(each["megabytes"].values()) for each in values["installed"]}

    def seconds(value: float | None) -> str:
        return number(value, 3)

    columns = (
        Column("process", cell=lambda each: each["name"]),
        Column("import, s", "number", median("seconds_import", seconds)),
        Column("load, s", "number", median("seconds_load", seconds)),
        Column("both, s", "number", median("seconds_import_and_load", seconds)),
        Column("lowest … highest", "interval", ends("seconds_import_and_load")),
        Column("torch's, times as long", "number", median("torch_ratio", times)),
        Column("peak memory, MB", "number", median("megabytes_peak", lambda value: whole(value or None))),
        Column("installed, MB", "number", lambda each: whole(totals.get(each["name"]))),
    )
    parts = [f"{each['name']}: {_largest(each['megabytes'])}" for each in values["installed"]]
    note = f"Fresh processes. Installed is all that pip brings along, in MB: {'; '.join(parts)}."
    return [Table.of("Footprint", values["processes"], columns, note)]


def _largest(megabytes: Mapping[str, float]) -> str:
    named = [f"{name} {number(size, 1)}" for name, size in list(megabytes.items())[:6]]
    rest = sum(list(megabytes.values())[6:])
    return ", ".join([*named, f"others {number(rest, 1)}"] if rest else named)
