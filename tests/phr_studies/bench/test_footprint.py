from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phr.errors import MissingExtraError
from phr_studies.bench.footprint import RUNTIME, TORCH, FootprintSettings, installed_sizes, measure, summary, tables
from phr_studies.report.tables import to_markdown
from tests.phr_studies.bench.exported import corridor_reference


def test_the_runtime_brings_numpy_and_onnxruntime_and_no_torch() -> None:
    sizes = installed_sizes(("phr",))
    assert {"phr", "numpy", "onnxruntime", "safetensors", "protobuf", "flatbuffers"} <= set(sizes)
    assert not {"torch", "gymnasium", "sympy", "onnx"} & set(sizes)
    numpy_itself = sum(path.stat().st_size for path in Path(np.__file__).parent.rglob("*.so"))
    assert sizes["numpy"] > numpy_itself > 0
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


def test_torch_brings_what_it_needs_and_a_package_is_counted_once() -> None:
    sizes = installed_sizes(("torch", "sympy"))
    assert {"torch", "sympy", "mpmath", "jinja2", "markupsafe"} <= set(sizes)
    assert sizes["torch"] > 10 * sizes["sympy"]


def test_an_absent_package_has_no_size() -> None:
    with pytest.raises(MissingExtraError, match="pip install nothing-of-this-name"):
        installed_sizes(("nothing-of-this-name",))


def test_sizes_are_those_of_the_files_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "tiny-1.dist-info"
    info.mkdir()
    (tmp_path / "tiny.py").write_bytes(b"x" * 100)
    (info / "METADATA").write_bytes(b"Metadata-Version: 2.1\nName: tiny\nVersion: 1\nRequires-Dist: numpy; extra == 'all'\n")
    (info / "RECORD").write_bytes(b"tiny.py,,100\ngone.py,,50\ntiny-1.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_sizes(("tiny",)) == {"tiny": 100 + (info / "METADATA").stat().st_size}


def test_a_process_is_compared_with_torch_within_the_rounds() -> None:
    def one(seconds: float) -> dict[str, float]:
        return {"seconds_import": seconds, "seconds_load": seconds, "seconds_first_plan": 0.1, "megabytes_peak": 50.0}

    found = summary(RUNTIME, [one(1.0), one(2.0)], [one(4.0), one(8.0)])
    assert found["seconds_import_and_load"]["rounds"] == [2.0, 4.0]
    assert found["torch_ratio"]["rounds"] == [4.0, 4.0]


@pytest.mark.slow
def test_fresh_processes_say_what_they_needed(tmp_path: Path) -> None:
    values = measure(FootprintSettings(model=corridor_reference(tmp_path), rounds=1))
    runtime, torch, numpy = values["processes"]
    # Torch maps far more memory than all the rest, whatever else the machine does; the parent's own peak is not counted in.
    assert torch["megabytes_peak"]["median"] > runtime["megabytes_peak"]["median"] > numpy["megabytes_peak"]["median"] > 5
    assert [each["name"] for each in values["installed"]] == [RUNTIME, TORCH]
    assert "onnxruntime" in to_markdown(tables(values)[0])
