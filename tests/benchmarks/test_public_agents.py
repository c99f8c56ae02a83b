from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import public_agents
from benchmarks.public_agents import (
    Arguments,
    agents_below,
    is_as_published,
    is_broken,
    main,
    maker_returns,
    play,
    published,
    summary,
    table_of,
)
from phr.errors import UsageError
from phr.files import read_json
from phr.teachers.references import resolve
from tests.teachers.test_training_run import zoo_run

HELD: dict[str, Any] = {
    "name": "a2c/Pendulum-v1_1", "retain": 0.99, "horizon": 8, "env_id": "Pendulum-v1", "minutes": 3.0, "zero": -1200.0,
    "teacher": {"mean": -160.0, "std": 100.0}, "published": {"mean": -163.0, "std": 103.0}, "verdict": "certified: …",
    "kept": 1.0, "short": -10.0, "short_error": 3.0, "rule": "n = 8", "looks_saved": 8.0, "time_saved": 12.0,
}  # fmt: skip
FELL: dict[str, Any] = {
    **{key: value for key, value in HELD.items() if key not in ("rule", "looks_saved", "time_saved")},
    "verdict": "not certified: ≥ 99 % …; certified so far is n = 2 ≥ 97.9 %, 2,000 fresh episodes; --retain …",
    "maker": {"mean": -161.0, "std": 99.0},
}
REFUSED = {"name": "her/X_1", "refused": "no such environment"}


def test_each_agent_is_a_line_of_the_table() -> None:
    lines = table_of([HELD, FELL, REFUSED]).rows
    assert lines[0][5:] == ("n = 8", "8.00×", "12.0×", "1.000", "3.0")
    assert lines[1][4:] == ("−161.0 ± 99.00", "nothing; so far n = 2 ≥ 97.9 %", "–", "–", "1.000", "3.0")
    assert lines[2][5] == "not read: no such environment"


def test_the_paragraph_counts_what_it_names() -> None:
    broken = {**HELD, "short": 7.0, "looks_saved": 2.0, "minutes": 9.0}
    text = summary([HELD, HELD, broken, FELL, REFUSED])
    assert text.startswith("5 agents; 1 not read; 4 of 4 returns within two published deviations; 3 certified, median looks")
    assert "median looks saved 8.0×, policy time 12.0×; 1 certificates broken" in text
    assert text.endswith("longest 9.0 min.")
    assert is_broken(broken)
    assert not is_broken({**broken, "short": 5.0})
    assert not is_broken(FELL)
    assert summary([FELL]) == "1 agents, none certified."


@pytest.mark.parametrize(("mean", "same"), [(-163.0, True), (42.9, True), (43.1, False), (-369.1, False)])
def test_a_return_is_as_published_within_two_deviations(mean: float, same: bool) -> None:
    assert is_as_published({**HELD, "teacher": {"mean": mean, "std": 1.0}}) is same
    assert is_as_published({**HELD, "published": None})


def test_the_makers_own_loop_returns_what_ours_does(tmp_path: Path) -> None:
    run = zoo_run(tmp_path / "a2c", "Pendulum-v1")
    theirs: Any = maker_returns(run, "Pendulum-v1", 30)
    ours = play(resolve(str(run)).planner, "Pendulum-v1", range(30))
    assert abs(theirs["mean"] - ours.mean()) < 4 * np.hypot(theirs["std"], ours.std(ddof=1)) / np.sqrt(30)
    assert isinstance(maker_returns(run, "CartPole-v1", 1), str), "another environment is refused, not run"
    (tmp_path / "published.csv").write_text("algo,env_id,mean_reward,std_reward\na2c,Pendulum-v1,-163,103.2\n")
    assert published(tmp_path, "a2c/Pendulum-v1_1") == {"mean": -163.0, "std": 103.2}
    assert published(tmp_path, "ppo/Pendulum-v1_1") is None
    assert agents_below(tmp_path) == ["a2c/Pendulum-v1_1"]


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_run(tmp_path / "agents" / "a2c", "Pendulum-v1", normalise=False)
    asked: list[str] = []

    def measured(name: str, _: Arguments) -> dict[str, Any]:
        asked.append(name)
        return HELD

    monkeypatch.setattr(public_agents, "measure", measured)
    arguments = Arguments(agents=tmp_path / "agents", out=tmp_path / "out")
    assert (main(arguments), main(arguments)) == (0, 0)
    assert asked == ["a2c/Pendulum-v1_1"], "once"
    assert read_json(tmp_path / "out" / "agents" / "a2c-Pendulum-v1_1.json") == HELD
    assert "| a2c/Pendulum-v1_1 |" in (tmp_path / "out" / "public-agents.md").read_text()
    assert (tmp_path / "out" / "public-agents.png").stat().st_size > 5000
    with pytest.raises(UsageError, match="there is no agent below"):
        main(Arguments(agents=tmp_path / "out"))
