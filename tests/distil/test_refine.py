from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phr.distil.config import PHRConfig
from phr.distil.refine import Refinement, RefinementRound, affordable_rounds
from phr.distil.runs import Distillation, record_teacher
from phr.envs.vector import Remarks, Start
from phr.errors import HorizonError, IncompatibleModelError, SettingError
from phr.evaluation.episodes import make_vector, play_episodes
from phr.experience.logged import space_of
from phr.networks.policy import TorchPlanner, build_network
from phr.networks.trunks import TrunkConfig
from phr.plan import CategoricalPlan, Planner
from phr.storage.driver import Trainable
from tests.distil.mud import CODE, MUD, N, best_actions, teacher
from tests.helpers import LEFT, RIGHT, TablePlanner, always_right
from tests.trained import CORRIDOR, TRUNK, phr_config

ONE_STEP = "tests.distil.test_refine:make_one_step"


def make_one_step() -> Any:
    """An environment whose episodes end with their first step."""
    from tests.helpers import make_corridor

    return make_corridor(n_cells=2, max_steps=1)


def config(**settings: Any) -> PHRConfig:
    known = {"refine": 2, "refine_windows": 100, "refine_updates": 8, "n_updates": 4, "n_episodes": 32, "prefix": (0, 0)}
    return phr_config(**{**known, **settings})


def refinement(
    env_id: str = MUD,
    planner: Planner | None = None,
    said: list[str] | None = None,
    trunk: TrunkConfig = TRUNK,
    **settings: Any,
) -> Refinement:
    planner, chosen = planner or teacher(), config(**settings)
    experience, _ = record_teacher(planner, env_id, chosen)
    start = build_network(experience.obs_shape, planner.n_actions, 1, trunk, seed=chosen.seed)
    say = (said if said is not None else []).append
    return Refinement(start, experience, chosen, planner, env_id, space_of(experience), say, Remarks())


def ended(training: Refinement) -> Refinement:
    while not training.done:
        training.update()
    return training


def stubborn(training: Refinement, action: int) -> Refinement:
    """In place of the distillation: a student that knows one action."""
    head = training.network.plan_head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[action :: training.network.config.n_actions] = 1.0
    training.n_updates = training.config.refine_updates
    return training


def weights(training: Refinement) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def right_states(training: Refinement) -> list[bool]:
    """For each state of the mud whether the student plans the shortest way."""
    planner = TorchPlanner(training.network, "float32")
    plans = planner.plan(np.eye(2 * N, dtype=np.float32)).mode().tolist()
    return [plan[: len(best)] == best[:4] for plan, best in ((plans[s], best_actions(s)) for s in range(2 * N))]


def test_a_refinement_is_trainable() -> None:
    assert isinstance(refinement(), Trainable)


def test_refinement_teaches_the_ways_back_that_the_teacher_never_walks() -> None:
    """Off the path the optimum is known too, and the teacher's own episodes hold nothing of it."""
    plain = right_states(ended(refinement(refine=0, n_updates=300)))
    training = ended(stubborn(refinement(refine_updates=150, n_updates=150), action=0))
    refined = right_states(training)
    led_to = set(training.windows.batch(torch.arange(len(training.windows)))[0].argmax(1).tolist())
    mud = [state for state in led_to if state >= N]
    assert plain[:N] == refined[:N] == [True] * N
    assert {N + cell for cell in range(N) if CODE[cell] != 0} <= set(mud)
    assert all(refined[state] for state in mud)
    assert not any(plain[state] for state in mud)


def test_every_window_asks_for_the_only_shortest_way() -> None:
    training = ended(stubborn(refinement(), action=0))
    obs, logits, actions, valid = training.windows.batch(torch.arange(len(training.windows)))
    states = obs.argmax(1).tolist()
    for row, state in enumerate(states):
        n = int(valid[row].sum())
        assert actions[row, :n].tolist() == best_actions(state)[:4][:n]
        assert n == min(4, len(best_actions(state))) or n < 4  # the step limit may cut earlier
        assert logits[row, :n].argmax(-1).tolist() == actions[row, :n].tolist()
    rows = {(state, *row) for state, row in zip(states, torch.cat([actions, valid], 1).tolist(), strict=True)}
    assert len(rows) == len(states)  # none twice


def test_windows_of_all_rounds_add_up_and_some_are_held_out() -> None:
    training = ended(refinement(env_id=CORRIDOR, planner=always_right(), refine=3, n_updates=1, refine_updates=1))
    assert [report["round"] for report in training.reports] == [1, 2, 3]
    assert sum(report["windows"] for report in training.reports) == len(training.windows)
    assert all(report["held_out"] > 0 for report in training.reports)
    assert all(len(report[when]) == 4 for report in training.reports for when in ("before", "after"))


def test_agreement_is_measured_on_windows_held_out() -> None:
    training = refinement(refine=1)
    while not training.reports:
        assert training.update() == {} or training.n_updates <= 8
    held_out, network = training.held_out, training.network
    obs, _, actions, valid = held_out.batch(torch.arange(len(held_out)))
    agree, counted = np.zeros(4), np.zeros(4)
    for row in range(len(held_out)):
        plan = network(obs[row : row + 1])[0].argmax(-1)
        for step in range(int(valid[row].sum())):
            agree[step] += int(plan[step] == actions[row, step])
            counted[step] += 1
    assert training.reports[0]["before"] == pytest.approx(agree / counted)
    ended(training)
    assert training.reports[0]["after"] == training.agreement(held_out)


def test_metrics_tell_agreement_with_the_first_and_the_last_step_of_a_round() -> None:
    training, rows = refinement(), dict[int, dict[str, float]]()
    while not training.done:
        values = training.update()
        if values:
            rows[training.n_updates] = values
    with_round = {update: values for update, values in rows.items() if "refine/round" in values}
    assert {update: values["refine/round"] for update, values in with_round.items()} == {9: 1, 16: 1, 17: 2, 20: 2}
    report = training.reports[0]
    assert [rows[9][f"refine/agreement_before/head_{k}"] for k in (1, 2, 3, 4)] == report["before"]
    assert [rows[16][f"refine/agreement_after/head_{k}"] for k in (1, 2, 3, 4)] == report["after"]
    assert all({"loss/plan", "grad_norm"} <= values.keys() for values in rows.values())


def test_each_round_is_said_before_and_after() -> None:
    said: list[str] = []
    training = ended(refinement(said=said))
    assert len(said) == 4
    new = training.reports[1]["windows"]
    assert said[2].startswith(f"refinement, round 2 of 2: {new} new windows where the student's plans led; agreement")
    assert said[3].startswith("refinement, round 2 of 2, trained: ")


def test_progress_tells_what_is_being_done() -> None:
    training, told = refinement(), []
    while not training.done:
        training.update()
        told.append(training.progress())
    assert {(progress.unit, progress.total) for progress in told} == {("updates", 20), ("windows", 100)}
    assert told[-1].done == 20
    assert any(progress.stage == "refinement, round 2 of 2: playing the student" for progress in told)


def test_the_seed_decides_every_weight() -> None:
    first, again, other = (weights(ended(refinement(seed=seed, refine=1))) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


def test_the_rounds_change_nothing_of_what_comes_before_them() -> None:
    plain, refined = refinement(refine=0, n_updates=8), refinement()
    for _ in range(8):
        assert plain.update()["loss/plan"] > 0
        refined.update()
    rates = [t.optimizer.param_groups[0]["lr"] for t in (plain, refined)]
    assert same(weights(plain), weights(refined))
    assert rates[0] == rates[1]


@pytest.mark.parametrize("priority", [0.0, 0.7])
@pytest.mark.parametrize("n_calls", [0, 4, 9, 11, 22])
def test_an_interrupted_refinement_goes_on_bit_for_bit(n_calls: int, priority: float) -> None:
    """Interrupted before, at the end of, and after the distillation, while a round is played, and while it is trained on."""
    straight = refinement(priority=priority)
    for _ in range(n_calls):
        straight.update()
    tensors, state = straight.checkpoint()
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    said: list[str] = []
    resumed = refinement(said=said, priority=priority)
    resumed.restore(tensors, state)
    assert resumed.n_updates == straight.n_updates
    rows = []
    for training in (straight, resumed):
        found = []
        while not training.done:
            if values := training.update():
                found.append((training.n_updates, values))
        rows.append(found)
    assert rows[0] == rows[1]
    assert same(weights(straight), weights(resumed))
    assert straight.reports == resumed.reports
    assert not any("does not continue exactly" in line for line in said)


def test_an_environment_that_does_not_repeat_itself_is_told() -> None:
    straight = refinement()
    while straight.n_updates < 10:
        straight.update()
    tensors, state = straight.checkpoint()
    state["reports"][0]["sha256"] = "another"
    said: list[str] = []
    resumed = refinement(said=said)
    resumed.restore(tensors, state)
    resumed.update()
    while resumed.n_updates == 10:
        resumed.update()
    assert said == [
        "refinement, round 1 of 2: playing it again led to other states; tests.distil.mud:make_mud is not determined by "
        "its seed, so this run does not continue exactly"
    ]


def test_episodes_that_end_badly_are_kept() -> None:
    """The student never arrives, and the teacher has too little time to: no episode is a success, every window counts."""
    hurried = refinement(env_id="tests.distil.test_refine:make_hurried", refine=1, planner=always_right())
    training = stubborn(hurried, LEFT)
    while not training.reports:
        training.update()
    assert len(training.windows) > 0
    _, _, actions, valid = training.windows.batch(torch.arange(len(training.windows)))
    assert (actions[valid] == RIGHT).all()


def make_hurried() -> Any:
    """The corridor, with just the time that the shortest way takes."""
    from tests.helpers import make_corridor

    return make_corridor(max_steps=4)


def test_where_no_plan_ends_within_an_episode_refinement_is_skipped() -> None:
    training = ended(refinement(ONE_STEP, TablePlanner.of_actions([[RIGHT]] * 2, 2), refine_windows=4))
    assert training.skipped.startswith(
        f"refinement was skipped: 0 plans of the student ended within an episode of {ONE_STEP}"
    )
    assert (training.n_updates, training.reports) == (
        12,
        [],
    )  # 8 before the first round, and all of the distillation after it
    assert (training.progress().done, training.progress().total) == (12, 12)


@pytest.mark.parametrize("n_updates", [8, 15, 16, 17])
def test_a_skipped_refinement_goes_on_bit_for_bit(n_updates: int) -> None:
    def begun() -> Refinement:
        teacher = TablePlanner.of_actions([[RIGHT]] * 2, 2)
        return refinement(ONE_STEP, teacher, refine=3, refine_windows=4, n_updates=12)

    straight = begun()
    while straight.n_updates < n_updates:
        straight.update()
    tensors, state = straight.checkpoint()
    resumed = begun()
    resumed.restore({name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state)))
    assert same(weights(ended(straight)), weights(ended(resumed)))
    assert straight.n_updates == resumed.n_updates == 20


def test_a_checkpoint_of_the_earlier_order_is_refused() -> None:
    tensors, state = refinement().checkpoint()
    del state["decided"]
    with pytest.raises(IncompatibleModelError, match="of an earlier version"):
        refinement().restore(tensors, state)


def test_hopeless_rounds_are_given_up_early() -> None:
    """Of a thousand plans none ended within an episode: the other fifteen thousand are not played."""
    training = refinement(ONE_STEP, TablePlanner.of_actions([[RIGHT]] * 2, 2), refine_windows=2000)
    n_turns = 0
    while not training.done:
        n_turns += training.update() == {}
    assert n_turns == 1024 // 64


@pytest.mark.parametrize("horizon", [1, 8])
def test_a_skipped_refinement_is_said_at_the_end_and_noted(horizon: int, tmp_path: Path) -> None:
    said: list[str] = []
    planner = TablePlanner.of_actions([[RIGHT]] * 2, 2)
    for resume in (False, True):
        said.clear()
        model = Distillation(planner, ONE_STEP, config(horizon=horizon), start=TRUNK).run(
            tmp_path, say=said.append, resume=resume
        )
        assert said[-1].startswith("warning: refinement was skipped: 0 plans of the student ended within an episode")
        assert said[-1] == f"warning: {model.manifest.notes['warnings'][-1]}"
        assert model.manifest.notes["refinement"] == []


def test_episodes_shorter_than_the_horizon_are_refined_as_far_as_they_go() -> None:
    """Two steps an episode, plans of eight: those cut after one step leave the teacher one."""
    env_id = "tests.distil.test_refine:make_two_steps"
    training = ended(refinement(env_id, always_right(), horizon=8, refine=1, refine_windows=20))
    assert training.skipped == ""
    _, _, _, valid = training.windows.batch(torch.arange(len(training.windows)))
    assert valid[:, 0].all()
    assert not valid[:, 1:].any()


def make_two_steps() -> Any:
    """The corridor, cut off after two steps."""
    from tests.helpers import make_corridor

    return make_corridor(max_steps=2)


@pytest.mark.parametrize(("n_envs", "n_windows"), [(1, 60), (3, 60), (8, 60), (None, 400)])
def test_windows_held_out_are_never_trained_on(n_envs: int | None, n_windows: int) -> None:
    """In a world that never shows the same twice every window is known by what it shows."""
    env_id = "tests.helpers:make_noisy"
    training = refinement(
        env_id, TablePlanner.random(np.random.default_rng(0), 3, 1, 3), n_envs=n_envs, refine_windows=n_windows, horizon=2
    )
    held_out: set[bytes] = set()
    trained: set[bytes] = set()
    n_rounds = 0

    def rows(obs: Tensor) -> set[bytes]:
        return {row.tobytes() for row in obs.numpy()}

    batch = training.windows.batch

    def seen(chosen: Tensor) -> Any:
        found = batch(chosen)
        trained.update(rows(found[0]))
        return found

    training.windows.batch = seen  # type: ignore[method-assign, assignment]
    while not training.done:
        if len(training.reports) > n_rounds:
            n_rounds += 1
            aside = training.held_out
            assert len(aside) == training.reports[-1]["held_out"] > 0
            held_out |= rows(aside.batch(torch.arange(len(aside)))[0])
        training.update()
    assert n_rounds == 2
    kept = rows(batch(torch.arange(len(training.windows)))[0])
    assert trained <= kept
    assert len(kept) + len(held_out) == 2 * n_windows
    assert not held_out & (kept | trained)
    share = len(held_out) / (2 * n_windows)
    assert 0.05 < share < 0.35


def test_several_windows_of_one_episode_are_held_out_together() -> None:
    """With one environment every eighth episode only measures, the second first."""
    training = refinement(CORRIDOR, always_right(), n_envs=1, refine=1, refine_windows=50, n_updates=1, refine_updates=1)
    sides: dict[int, set[bool]] = {}
    with pytest.MonkeyPatch.context() as patch:
        whole = RefinementRound._held_out

        def spied(played: RefinementRound, windows: Any) -> Any:
            aside = whole(played, windows)
            for episode, side in zip(windows.episodes.tolist(), aside.tolist(), strict=True):
                sides.setdefault(episode, set()).add(side)
            return aside

        patch.setattr(RefinementRound, "_held_out", spied)
        ended(training)
    assert max(sides) > 16
    assert all(found == {episode % 8 == 1} for episode, found in sides.items())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"refine": -1}, SettingError, "refine must be >= 0, got -1"),
        ({"refine_windows": 0}, SettingError, "refine_windows must be >= 1, got 0"),
        ({"refine_updates": 0}, SettingError, "refine_updates must be >= 1, got 0"),
        ({"refine_plans": 0}, SettingError, "refine_plans must be >= 1, got 0"),
        ({"refine_share": 0.0}, SettingError, r"refine_share must lie in \(0, 1\], got 0.0"),
        ({"refine": 1, "joint": True, "trunk_mode": "shared"}, SettingError, "joint training moves it; leave one of"),
        ({"refine": 1, "sample_labels": True}, SettingError, "sample_labels a sampling one; leave one of"),
        ({"refine": 1, "horizon": 1, "trunk_mode": "own"}, HorizonError, "needs a horizon >= 2, got 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PHRConfig(**{"horizon": 4, **settings})


class Idle:
    """Does nothing in Pong."""

    horizon, n_actions = 1, 6

    def plan(self, obs: Any) -> CategoricalPlan:
        return CategoricalPlan.from_actions(np.zeros((len(obs), 1), np.int64), 6)


class Balance:
    """A linear rule that balances CartPole's pole for all of its 500 steps."""

    horizon, n_actions = 1, 2

    def plan(self, obs: Any) -> CategoricalPlan:
        force = 20 * obs @ np.array([0.05, 0.2, 1.0, 0.5], np.float32)
        return CategoricalPlan(np.stack([-force, force], axis=1)[:, None])


@pytest.mark.nightly
def test_refinement_mends_open_loop_balancing() -> None:
    """CartPole falls out of the teacher's states within a plan; at horizon 8 a plain student loses much of the return."""
    starts = [Start(10_000 + index) for index in range(16)]

    def mean_return(rounds: int) -> float:
        chosen = PHRConfig(
            horizon=8,
            n_updates=300,
            batch_size=128,
            n_episodes=8,
            refine=rounds,
            refine_windows=2000,
            refine_updates=300,
        )
        model = Distillation(Balance(), "CartPole-v1", chosen, start=TrunkConfig(kind="mlp", width=64)).run()
        episodes = play_episodes(model.planner, make_vector("CartPole-v1", 16), starts)
        return float(episodes.returns.mean())

    assert mean_return(1) > mean_return(0) + 50


def test_a_round_may_be_smaller_than_the_number_of_environments() -> None:
    training = ended(refinement(refine=1, refine_windows=3))
    assert 1 <= training.reports[0]["windows"] + training.reports[0]["held_out"] <= 3


def test_heads_that_no_window_reaches_have_no_agreement() -> None:
    """Five cells, a plan ends in the second at the earliest: three steps of the teacher are left, of five."""
    said: list[str] = []
    training = ended(refinement(CORRIDOR, always_right(), said, horizon=5, refine=1, n_updates=100))
    assert training.reports[0]["before"][3:] == training.reports[0]["after"][3:] == [None, None]
    assert all(value is not None for value in training.reports[0]["after"][:3])
    assert said[1].endswith(" – – %")
    assert set(training._metrics("after")) == {
        *("refine/round", "refine/windows"), *(f"refine/agreement_after/head_{k}" for k in (1, 2, 3))
    }  # fmt: skip


def test_atari_is_refined_too() -> None:
    """Stacks of frames, bytes and ale-py's emulator; the start of the episode is in no window."""
    short = "PongDeterministic-v4?max_frames=400&noop_max=4"
    training = refinement(
        short,
        Idle(),
        trunk=TrunkConfig(kind="atari", channels=(2, 2, 2), width=8),
        refine=1, refine_windows=6, refine_updates=1, n_updates=1, n_episodes=1, batch_size=4,
    )  # fmt: skip
    ended(training)
    obs, _, actions, valid = training.windows.batch(torch.arange(len(training.windows)))
    assert (obs.dtype, obs.shape[1:]) == (torch.uint8, (4, 84, 84))
    assert len(training.windows) > 0
    assert (actions == 0).all()
    assert valid.any(dim=1).all()


def test_rounds_stop_where_unseen_plans_are_right() -> None:
    said: list[str] = []
    training = ended(refinement(said=said, n_updates=50, refine=3, refine_updates=150, refine_until=0.9))
    joint = [report["plans_before"] for report in training.reports]
    assert all(share < 0.9 for share in joint[:-1])
    assert training.is_enough == (joint[-1] >= 0.9)
    assert training.is_enough
    assert said[-1].endswith("which is enough")
    assert training.n_updates == 150 * len(joint), "the round that judged is not trained on"


@pytest.mark.parametrize(("rate", "seed"), [(1e-9, 0), (1e-9, 1), (3e-3, 0), (3e-3, 1)])
def test_rounds_stop_where_unseen_plans_get_no_better(rate: float, seed: int) -> None:
    said: list[str] = []
    settings: dict[str, Any] = {
        "refine": 6,
        "refine_windows": 300,
        "refine_updates": 30,
        "n_updates": 20,
        "refine_until": 0.999,
    }
    training = ended(refinement(said=said, learning_rate=rate, seed=seed, **settings))
    joint = [report["plans_before"] for report in training.reports]
    rises = [later > earlier for earlier, later in pairwise(joint)]
    assert all(rises[:-1])
    assert len(joint) == 6 or training.is_enough or False in rises
    if False in rises:
        assert any(line.endswith(", no more than a round ago, so this round is the last") for line in said)
    if rate < 1e-3:
        assert len(joint) < 6
    assert training.n_updates == 30 * len(joint) + (0 if training.is_enough else 20)
    assert training.done


def test_whole_plans_are_right_where_every_action_is() -> None:
    training = ended(refinement(refine=1))
    heads, plans = training.compare(training.held_out)
    n = len(training.held_out)
    assert n
    right = 0
    for row in range(n):
        obs, _, actions, valid = training.held_out.batch(torch.tensor([row]))
        with torch.inference_mode():
            planned = training.network(obs).argmax(-1)
        right += bool(((planned == actions) | ~valid).all())
    assert plans == right / n
    assert plans <= min(share for share in heads if share is not None)


def test_every_round_is_played_unless_told_otherwise() -> None:
    training = ended(refinement(n_updates=400, refine=2, refine_updates=8))
    assert len(training.reports) == 2
    assert not training.is_enough


def late(training: Refinement) -> Refinement:
    """One that should be done already."""
    training.until = time.monotonic() - 1
    return training


def test_without_time_one_short_round_is_played_and_little_is_learnt() -> None:
    said: list[str] = []
    settings: dict[str, Any] = {"refine": 3, "refine_windows": 3000, "refine_updates": 60, "n_updates": 600}
    training = ended(late(refinement(said=said, **settings)))
    n_windows = training.config.refine_windows
    assert 64 <= n_windows <= 64 * 4, "what was played before the time of a turn was known, or as many as environments"
    assert training.decided == {"refinement": {"refine": 1, "refine_windows": n_windows}, "training": {"n_updates": 60}}
    assert len(training.reports) == 1
    assert training.n_updates == 60 + 60
    assert said[0] == f"refinement has time for 1 round of {n_windows:,} windows, instead of 3 of 3,000"


def test_with_enough_time_nothing_is_lowered_or_changed() -> None:
    settings: dict[str, Any] = {"refine_updates": 60, "n_updates": 60}
    plain, timed = refinement(**settings), refinement(**settings)
    timed.until = time.monotonic() + 1e6
    assert same(weights(ended(plain)), weights(ended(timed)))
    assert (plain.config, timed.decided) == (timed.config, {"refinement": {}, "training": {}})


@pytest.mark.parametrize(("n_calls", "n_updates"), [(60 + 3, 60 + 1000), (100, 60 + 100)])
def test_what_was_lowered_stays_so_where_a_run_is_resumed(n_calls: int, n_updates: int) -> None:
    settings: dict[str, Any] = {"refine": 3, "refine_windows": 3000, "refine_updates": 60, "n_updates": 1000}
    straight = late(refinement(**settings))
    for _ in range(n_calls):
        straight.update()
    tensors, state = straight.checkpoint()
    resumed = refinement(**settings)
    resumed.until = math.inf if n_updates > 1000 else time.monotonic() - 2
    resumed.restore({name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state)))
    straight.until = resumed.until  # what was decided before stays
    assert same(weights(ended(straight)), weights(ended(resumed)))
    assert straight.decided == resumed.decided
    assert straight.config.refine == 1
    assert straight.n_updates == n_updates


@pytest.mark.parametrize(
    ("left", "per_window", "per_update", "fits"),
    [
        (1000.0, 0.01, 0.001, (8, 10_000)),  # all of it takes 800 + 45 seconds
        (800.0, 0.01, 0.001, (8, 9468)),  # (800 − 42.5) / .08
        (100.0, 0.01, 0.001, (3, 2333)),  # (100 − 30) / .03; four rounds would have fewer than 2,000 windows
        (400.0, 0.01, 0.01, (6, 3333)),  # half of the time is for playing; 125 seconds pass between six rounds
        (10.0, 0.01, 0.01, (1, 500)),
    ],
)
def test_rounds_and_windows_fit_into_the_time(
    left: float, per_window: float, per_update: float, fits: tuple[int, int]
) -> None:
    config = PHRConfig(refine=8, refine_windows=10_000, refine_updates=2500, n_updates=25_000)
    assert affordable_rounds(config, left, per_window, per_update) == fits
