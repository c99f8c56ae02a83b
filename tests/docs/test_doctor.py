"""The page's blocks, run one after another in one folder, as a reader would."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from phr.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def test_every_block_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = []
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if kind == "python":
            exec(compile(text.replace('-teacher")', '-teacher", episodes=1)'), "page", "exec"), {"__name__": "page"})
        for line in text.splitlines() if kind == "sh" else ():
            assert main([*shlex.split(line)[1:], "--episodes", "1"]) == 0, line
        ran.append(kind)
    assert ran == ["sh", "python"]
    assert (tmp_path / "doctor.json").exists()
    assert capsys.readouterr().out.count("a horizon worth asking for: about 16") == 2
