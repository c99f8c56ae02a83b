from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

import phr
from benchmarks.promise import HORIZON, Follow, Planned
from phr.distil import presets
from phr.distil.config import PHRConfig
from phr.distil.runs import Distillation
from phr.distil.search import (
    ATTEMPTS,
    SECONDS,
    _Attempt,
    _Budget,
    _expected_seconds,
    _ladder,
    _name,
    _once,
    _pays,
    _that_records,
)
from phr.errors import CorruptFileError, IncompatibleModelError, OutputDirectoryError, SettingError
from phr.evaluation import tune
from phr.evaluation.tune import Prospect, RandomPlanner
from phr.networks.trunks import TrunkConfig
from phr.plan import NetworkPlan
from phr.storage.model import Model, annotated, load_model
from tests.trained import CORRIDOR, corridor_student, corridor_teacher

gymnasium.register("TestShown-v0", "benchmarks.promise:Follow")
gymnasium.register("TestShortSighted-v0", "tests.distil.test_search:ShortSighted")
FEW: dict[str, Any] = {"n_updates": 150, "batch_size": 64, "n_episodes": 64, "learning_rate": 3e-3, "prefix": (0, 4)}
PLAIN: dict[str, Any] = {**FEW, "refine": 0}
QUICK: dict[str, Any] = {"horizon": 4, "env_id": CORRIDOR, **FEW}


class Shown(Planned):
    """The right action, known by name, so that a run can be resumed."""

    identity = "what is shown"

    def __init__(self) -> None:
        super().__init__((0.0,), 0)


def distilled(teacher: Any = None, **words: Any) -> tuple[Model, list[str]]:
    lines: list[str] = []
    known: dict[str, Any] = {"retain": 0.9, **QUICK, **words}
    return phr.distill(corridor_teacher() if teacher is None else teacher, **known, say=lines.append), lines


def job(start: TrunkConfig, **settings: Any) -> Distillation:
    return Distillation(Shown(), "TestShown-v0", PHRConfig(**settings), start=start)


def test_small_networks_come_first_then_longer_training_then_larger_ones() -> None:
    longer = {"n_episodes": 200, "record_steps": 4000, "n_updates": 600, "refine": 4, "refine_until": 0.9975}
    settings: dict[str, Any] = {"n_episodes": 100, "record_steps": 2000, "n_updates": 300, "refine": 2, "refine_until": 0.99}
    steps = [*_ladder(job(TrunkConfig(kind="mlp", width=256), **settings), {})]
    assert steps[:3] == [{"width": 64}, {"width": 128}, {}]
    assert [{**step, "refine_until": pytest.approx(0.9975)} for step in (longer, {**longer, "width": 512})] == steps[3:]
    hurried = [*_ladder(job(TrunkConfig(kind="mlp", width=256), **settings), {}, small_first=False)]
    assert hurried == steps[2:], "a small network that fails would cost all of a short budget"
    narrow = [*_ladder(job(TrunkConfig(kind="mlp", width=64), **settings), {})]
    assert narrow == [{}, steps[3], {**steps[3], "width": 128}], "nothing below what is the default"
    images = [*_ladder(job(TrunkConfig(kind="grid", width=256), **settings), {})]
    assert images == [{}, steps[3], {**steps[3], "width": 512}]


def test_no_attempt_changes_what_the_user_chose() -> None:
    made = job(TrunkConfig(kind="mlp", width=256), n_updates=300, width=100)
    steps = [*_ladder(made, {"width": 100, "n_updates": 300})]
    assert steps == [{}, {"n_episodes": 2 * made.config.n_episodes, "record_steps": 2 * made.config.record_steps}]


def test_what_a_distillation_takes_by_hand() -> None:
    config = PHRConfig(
        horizon=8, record_steps=1000, refine=2, refine_windows=100, refine_plans=4, refine_updates=50, n_updates=100
    )
    # A window has 1 to 4 plans in a row of 1 to 8 actions, and 8 of the teacher: 2.5 · 4.5 + 8.
    assert _expected_seconds(config, 0.01) == pytest.approx(0.01 * (1000 + 2 * 100 * 19.25) + 0.003 * 200)


@pytest.mark.parametrize(
    ("costs", "left", "goes_on"),
    [
        ([8.0], 60.0, True),
        ([8.0], 59.0, False),
        ([8.0, 7.9], 60.0, True),
        ([8.0, 7.9, 7.8], 60.0, False),  # two in a row that gain less than a twentieth
        ([8.0, 7.9, 7.0], 60.0, True),
        ([8.0, 7.0, 7.0, 7.0], 60.0, False),
        ([float("inf")] * 3, 60.0, True),  # small networks that promise nothing
        ([float("inf"), 8.0, 8.0, 8.0], 60.0, False),
    ],
)
def test_it_goes_on_while_it_pays(costs: list[float], left: float, goes_on: bool) -> None:
    assert _pays(costs, 60.0, left) is goes_on


@pytest.mark.parametrize(("looks", "whole", "is_enough"), [(0.29, False, True), (0.3, False, False), (0.5, True, True)])
def test_it_ends_where_little_more_can_be_gained(looks: float, whole: bool, is_enough: bool) -> None:
    class Prospected(Prospect):
        keeps_whole_plans = property(lambda _self: whole)
        looks_per_step = property(lambda _self: looks)

    attempt = _Attempt(corridor_student(), Prospected.__new__(Prospected), {}, 1.0)
    assert attempt.nearly_best is is_enough


def test_one_command_ends_with_a_certificate_that_is_obeyed(tmp_path: Path) -> None:
    model, lines = distilled(out=tmp_path / "student")
    assert model.manifest.commitment == 4
    assert model.planner.commitment == 4
    tuned = model.manifest.notes["tuned"]
    assert tuned["verdict"].startswith("certified: ≥ 90 % of the teacher's return with 95 % confidence, n = 4, 4.0 × fewer")
    assert lines[-1].startswith("default settings: 4.0 × fewer looks seem possible")
    (attempt,) = model.manifest.notes["attempts"]
    assert attempt["settings"] == {}
    assert attempt["looks_per_step"] == 0.25
    loaded = load_model(tmp_path / "student", CORRIDOR)
    assert (loaded.sha256, loaded.manifest.commitment) == (model.sha256, 4)
    assert loaded.manifest.notes["tuned"]["verdict"] == tuned["verdict"]
    assert loaded.sha256 == load_model(tmp_path / "student" / ATTEMPTS / "default", CORRIDOR).sha256
    assert (tmp_path / "student" / "metrics.jsonl").stat().st_size > 0
    resumed, said = distilled(out=tmp_path / "student", resume=True)
    assert resumed.manifest == loaded.manifest
    assert f"{tmp_path / 'student'} holds this run, finished: nothing was done" in said
    with pytest.raises(OutputDirectoryError, match="holds a finished run; add --resume"):
        distilled(out=tmp_path / "student")
    with pytest.raises(OutputDirectoryError, match=r"retain is 0\.9 there and 0\.8 here"):
        distilled(out=tmp_path / "student", retain=0.8, resume=True)


def test_an_interrupted_search_goes_on_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "_look_seconds", lambda agents, *_: dict.fromkeys(agents, 1e-4))  # times would choose, too
    poor: dict[str, Any] = {"teacher": Shown(), "env_id": "TestShown-v0", "n_updates": 20, "refine": 0, "horizon": 2}
    whole, lines = distilled(out=tmp_path / "whole", **poor)
    attempts = [line for line in lines if "looks seem possible" in line or "no rule is likely" in line]
    assert len(attempts) >= 3
    assert len(whole.manifest.notes["attempts"]) == len(attempts)
    if "no rule is likely" in attempts[0]:
        assert whole.manifest.notes["attempts"][1]["settings"].get("width") != 128, "128 would promise nothing, too"
    begun = Distillation.run

    def interrupted(self: Distillation, directory: Path | None = None, **words: Any) -> Model:
        if directory is not None and directory.name == "longer":
            raise KeyboardInterrupt
        return begun(self, directory, **words)

    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distilled(out=tmp_path / "broken", **poor)
    assert not (tmp_path / "broken" / "COMPLETE").exists()
    with pytest.raises(OutputDirectoryError, match="add --resume"):
        distilled(out=tmp_path / "broken", **poor)
    resumed, _ = distilled(out=tmp_path / "broken", resume=True, **poor)
    assert resumed.sha256 == whole.sha256
    assert resumed.manifest.commitment == whole.manifest.commitment


def test_a_resumed_search_knows_how_long_the_attempts_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor: dict[str, Any] = {"teacher": Shown(), "env_id": "TestShown-v0", "n_updates": 2, "refine": 0, "horizon": 2}
    begun = Distillation.run

    def interrupted(self: Distillation, directory: Path | None = None, **words: Any) -> Model:
        if directory is not None and directory.name == "default":
            raise KeyboardInterrupt
        return begun(self, directory, **words)

    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distilled(out=tmp_path / "student", **poor)
    first = load_model(tmp_path / "student" / ATTEMPTS / "width-64", "TestShown-v0")
    assert 0 < first.manifest.notes[SECONDS] < 1e4
    annotated(first, {SECONDS: 1e6})
    resumed, _ = distilled(out=tmp_path / "student", resume=True, **poor)
    assert len(resumed.manifest.notes["attempts"]) == 1, "the budget allows no second"


def test_the_confidence_is_the_users_and_recorded_episodes_are_part_of_the_run(tmp_path: Path) -> None:
    phr.distill(corridor_teacher(), horizon=4, save_experience=tmp_path / "e.npz", curve_episodes=0, **FEW)
    model, _ = distilled(confidence=0.8, experience=tmp_path / "e.npz", out=tmp_path / "student")
    tuned = model.manifest.notes["tuned"]
    assert (tuned["confidence"], tuned["teacher_id"], tuned["env_id"]) == (0.8, corridor_teacher().sha256, CORRIDOR)
    assert "with 80 % confidence" in tuned["verdict"]
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert config["confidence"] == 0.8
    assert (
        config["experience"]
        == json.loads((tmp_path / "student" / ATTEMPTS / "default" / "config.json").read_text())["experience"]
    )


def test_longer_training_records_no_more_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "RECORDED_BYTES", 32 * 3000)  # an observation has 8 numbers
    _, longer, *_ = _ladder(job(TrunkConfig(kind="grid"), record_steps=2000), {})
    assert longer["record_steps"] == 3000
    _, longer, *_ = _ladder(job(TrunkConfig(kind="grid"), record_steps=5000), {})
    assert longer["record_steps"] == 5000


def test_without_a_certificate_every_step_is_looked_at() -> None:
    model, _ = distilled(Shown(), env_id="TestShown-v0", n_updates=1, refine=0, horizon=4, budget=1e-6, width=8)
    tuned = model.manifest.notes["tuned"]
    assert tuned["chosen"] is None
    assert tuned["verdict"].startswith("not certified: ≥ 90 %")
    assert model.manifest.commitment == 1
    assert len(model.manifest.notes["attempts"]) == 1, "the budget allows no second"


class Aimless:
    """A teacher that is random itself."""

    horizon, n_actions, identity = 1, 4, "aimless"

    def __init__(self) -> None:
        from phr.actions import Discrete

        self.action_space = Discrete(4)
        self._random = RandomPlanner(self.action_space, np.random.default_rng(0))

    def plan(self, obs: NDArray[Any]) -> NetworkPlan:
        return self._random.plan(obs)


def test_a_random_teacher_is_refused_before_anything_is_distilled(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleModelError, match="there is nothing to keep"):
        distilled(Aimless(), env_id="TestShown-v0", out=tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_bad_recorded_episodes_leave_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(CorruptFileError):
        distilled(experience=tmp_path / "bad.npz", out=tmp_path / "student")
    phr.distill(Shown(), horizon=2, env_id="TestShown-v0", save_experience=tmp_path / "e.npz", curve_episodes=0, **PLAIN)
    with pytest.raises(IncompatibleModelError):
        distilled(experience=tmp_path / "e.npz", out=tmp_path / "student")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"retain": 0.0}, "retain must be a number above 0 and at most 1, got 0.0"),
        ({"retain": 1.5}, "retain must be a number above 0 and at most 1, got 1.5"),
        ({"confidence": 0.5}, "confidence must be a number above 0.5 and below 1, got 0.5"),
        ({"confidence": 2.0}, "confidence must be a number above 0.5 and below 1, got 2.0"),
        ({"budget": -1.0}, "budget must be a positive number of minutes, got -1.0"),
        ({"budget": 0.0}, "budget must be a positive number of minutes, got 0.0"),
        ({"budget": float("nan")}, "budget must be a positive number of minutes, got nan"),
        ({"save_experience": "x.npz"}, "save_experience keeps those of one"),
    ],
)
def test_wrong_words(words: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        distilled(**words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"budget": 3.0}, "budget would have no effect without retain"),
        ({"confidence": 0.9}, "confidence would have no effect without retain"),
        ({"retain": 0.9, "curve_episodes": 10}, "curve_episodes would have no effect, as retain plays its own"),
        ({"refine": 0, "refine_windows": 100}, "refine_windows would have no effect, as refine is 0"),
        ({"finetune_gamma": 0.9}, "finetune_gamma would have no effect, as finetune is 0"),
    ],
)
def test_settings_without_effect_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        phr.distill(corridor_teacher(), horizon=2, env_id=CORRIDOR, **FEW, **words)


def test_recorded_episodes_alone_are_no_measure(tmp_path: Path) -> None:
    phr.distill(corridor_teacher(), horizon=2, env_id=CORRIDOR, save_experience=tmp_path / "e.npz", curve_episodes=0, **FEW)
    with pytest.raises(SettingError, match="recorded episodes alone have no teacher"):
        phr.distill(None, horizon=2, env_id=CORRIDOR, experience=tmp_path / "e.npz", retain=0.9)


def test_a_short_budget_records_less_and_says_what_was_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    for name, value in {"refine_updates": 60, "n_updates": 600, "refine_windows": 2000}.items():
        monkeypatch.setitem(presets._FRESH_NUMBERS, name, value)
    known: dict[str, Any] = {"retain": 0.9, "horizon": 2, "env_id": "TestShown-v0", "batch_size": 32, "n_episodes": 64}
    hurried = phr.distill(Shown(), **known, budget=1e-6, width=8, say=lines.append)
    lowered = hurried.manifest.notes["lowered"]
    assert (lowered["n_updates"], lowered["refine"]) == (60, 1), lines
    assert 64 <= lowered["refine_windows"] <= 3 * 64
    given = phr.distill(Shown(), **known, n_updates=300, refine=0, budget=1e-6, width=8)
    assert "lowered" not in given.manifest.notes, "what the user chose stays"


def test_a_resumed_attempt_records_as_much_as_before(tmp_path: Path) -> None:
    made = job(TrunkConfig(kind="mlp"), record_steps=2000, n_episodes=500)

    def recorded(n: int, length: float, folder: Path | None = None, **given: int) -> tuple[int, int]:
        config = _that_records(made, n, length, folder, given).config
        return config.record_steps, config.n_episodes

    assert recorded(80, 10.0) == (800, 80)
    assert recorded(-3, 10.0) == recorded(0, 10.0) == (640, 64), "a few dozen in any case"
    assert recorded(10**6, 10.0) == recorded(200, 10.0) == (2000, 500), "never more than the settings say"
    assert recorded(50, 1000.0) == (2000, 500)
    assert recorded(50, 10.0, record_steps=2000) == recorded(50, 10.0, n_episodes=500) == (2000, 500), "the user's choice"
    (tmp_path / "config.json").write_text('{"settings": {"record_steps": 700, "n_episodes": 70}}')
    assert recorded(80, 10.0, tmp_path) == (700, 70)
    for edited in ("[]", "{}", '{"settings": 3}', '{"settings": {"record_steps": 700}}', '{"settings": {"n_episodes": 0}}'):
        (tmp_path / "config.json").write_text(edited)
        with pytest.raises(CorruptFileError, match="config.json was edited"):
            recorded(80, 10.0, tmp_path)


class ShortSighted(Follow):
    """Shows the next two right actions; the later ones cannot be known."""

    def _look(self) -> NDArray[np.float32]:
        return np.concatenate([super()._look()[:2], np.zeros(HORIZON - 2, np.float32)])


def test_a_shorter_horizon_follows_where_only_the_first_actions_hold() -> None:
    words: dict[str, Any] = {"env_id": "TestShortSighted-v0", "width": 64, "n_updates": 1500, "refine": 0, "n_episodes": 400}
    model, lines = distilled(Shown(), horizon=8, **words)
    notes = model.manifest.notes
    assert [attempt["settings"].get("horizon") for attempt in notes["attempts"]][:2] == [None, 4], lines
    assert notes["tuned"]["chosen"]["commitment"] == 2
    assert model.horizon in (4, 8)


def test_a_resumed_search_may_have_another_budget(tmp_path: Path) -> None:
    """Which attempts come first depends on the time that there is, so each has a folder of its own."""
    poor: dict[str, Any] = {"teacher": Shown(), "env_id": "TestShown-v0", "n_updates": 20, "refine": 0, "horizon": 2}

    def stop(_self: Any, *_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune.Prospect, "certify", stop)
        with pytest.raises(KeyboardInterrupt):
            distilled(out=tmp_path / "student", budget=1e-4, **poor)
    assert [each.name for each in (tmp_path / "student" / ATTEMPTS).iterdir()] == ["default"]
    resumed, _ = distilled(out=tmp_path / "student", resume=True, budget=30.0, **poor)
    assert resumed.manifest.notes["attempts"][0]["settings"] == {"width": 64}


def test_attempts_do_not_repeat_each_other() -> None:
    said: list[str] = []
    say = _once(said.append)
    for line in ("kept all", "width 64", "kept all", "width 128"):
        say(line)
    assert said == ["kept all", "width 64", "width 128"]


def test_a_budget_is_spent_once() -> None:
    slow = _Budget(600.0, time.monotonic(), 2000, per_episode=0.3)
    assert (slow.for_teacher, slow.fresh_episodes) == (40.0, 400)
    assert slow.for_judging == pytest.approx(600 / 7)
    assert slow.for_certificate == 240.0 == 2 * slow.fresh_episodes * slow.per_episode
    assert slow.left_for_distillation() == pytest.approx(254.3, abs=1)
    quick = _Budget(600.0, time.monotonic() - 100, 2000, per_episode=0.001)
    assert (quick.for_judging, quick.for_certificate, quick.fresh_episodes) == (3.0, 4.0, 2000)
    assert quick.left_for_distillation() == pytest.approx(490.0, abs=1)


def test_attempts_have_names_of_their_own() -> None:
    steps = [*_ladder(job(TrunkConfig(kind="mlp", width=256), refine=2), {})]
    names = [_name(step) for step in [*steps, *({**step, "horizon": 4} for step in steps)]]
    assert names[:5] == ["width-64", "width-128", "default", "longer", "longer-width-512"]
    assert len(set(names)) == len(names)
    assert names[7] == "horizon-4"
    assert _name({"record_steps": 4000}) == "longer"
