from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phr.acting.agent import HorizonAgent, VectorHorizonAgent
from phr.acting.commitment import Commitment, ConfidentCommitment, FixedCommitment, rule_lengths
from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.envs.split import SplitEnv
from phr.envs.vector import VectorSplit
from phr.errors import HorizonError, IncompatibleModelError, InvalidDataError, NonFiniteError, SettingError
from phr.observations import ObservationSpec
from phr.plan import CategoricalPlan, Planner
from tests.helpers import LEFT, RIGHT, TablePlanner, always_right, corridor
from tests.trained import corridor_student

HORIZON = 6
commitments = st.integers(1, HORIZON) | st.none() | st.just("auto") | st.builds(ConfidentCommitment, st.floats(0, 1))


def slippery() -> SplitEnv:
    """Random enough that every plan meets states it was not made for."""
    return corridor(max_steps=15, slip=0.3, random_start=True)


def random_planner(seed: int) -> TablePlanner:
    return TablePlanner.random(np.random.default_rng(seed), 5, HORIZON, 2)


def n_to_execute(planner: TablePlanner, obs: NDArray[Any], commitment: Any) -> int:
    """The same rule, spelled out."""
    if commitment is None:
        return HORIZON
    if isinstance(commitment, int):
        return commitment
    threshold = commitment.threshold if isinstance(commitment, ConfidentCommitment) else 0.9
    joint, n = np.float32(1), 0
    for confidence in planner.plan(obs[None]).confidence()[0]:
        joint *= confidence
        n += bool(joint >= threshold)
    return max(n, 1)


def slow_episode(planner: TablePlanner, env: SplitEnv, commitment: Any) -> tuple[list[int], int]:
    """Look, execute, look again, until the episode ends: actions taken, and looks."""
    actions: list[int] = []
    looks = 0
    while True:
        obs = env.observe()
        looks += 1
        for action in planner.plan(obs[None]).mode()[0, : n_to_execute(planner, obs, commitment)].tolist():
            actions.append(action)
            _, terminated, truncated, _ = env.advance(action)
            if terminated or truncated:
                return actions, looks


@given(st.integers(0, 10_000), commitments)
@settings(max_examples=80)
def test_an_agent_equals_a_slow_loop(seed: int, commitment: Any) -> None:
    planner, env = random_planner(seed), slippery()
    agent = HorizonAgent(planner, commitment)
    total = 0
    for episode in range(3):
        env.reset(seed + episode)
        expected, looks = slow_episode(planner, env, commitment)
        total += looks
        env.reset(seed + episode)
        agent.reset()
        taken, over = [], False
        while not over:
            obs = env.observe() if agent.needs_observation else None
            taken.append(agent.act(obs))
            over = any(env.advance(taken[-1])[1:3])
        assert taken == expected
        assert agent.evaluations == total


@given(st.integers(0, 10_000), commitments, st.integers(1, 5))
@settings(max_examples=40)
def test_many_environments_act_as_each_would_alone(seed: int, commitment: Any, n_envs: int) -> None:
    planner = random_planner(seed)
    vector = VectorSplit([slippery() for _ in range(n_envs)], "disabled", lambda index, _episode: seed + index)
    vector.reset()
    agent = VectorHorizonAgent(planner, commitment, n_envs=n_envs)
    taken: list[list[int]] = [[] for _ in range(n_envs)]
    running = np.ones(n_envs, bool)
    while running.any():
        looking = agent.needs_observation & running
        actions = agent.act(vector.observe(looking) if looking.any() else None, running)
        done = vector.advance(actions, running).done
        for index in np.flatnonzero(running).tolist():
            taken[index].append(int(actions[index]))
        running &= ~done
    looks = 0
    for index in range(n_envs):
        env = slippery()
        env.reset(seed + index)
        expected, n = slow_episode(planner, env, commitment)
        looks += n
        assert taken[index] == expected
    assert agent.evaluations == looks


def act_out(agent: HorizonAgent, env: SplitEnv, seed: int) -> int:
    """One episode; returns its length."""
    env.reset(seed)
    agent.reset()
    steps, over = 0, False
    while not over:
        over = any(env.advance(agent.act(env.observe() if agent.needs_observation else None))[1:3])
        steps += 1
    return steps


@given(st.integers(0, 10_000), st.integers(1, HORIZON))
def test_evaluations_are_the_rounded_up_quotients_of_length_and_commitment(seed: int, commitment: int) -> None:
    agent, env = HorizonAgent(random_planner(seed), commitment), slippery()
    lengths = [act_out(agent, env, seed + episode) for episode in range(4)]
    assert agent.evaluations == sum(math.ceil(length / commitment) for length in lengths)


def test_commitment_one_is_the_closed_loop_argmax() -> None:
    planner, env = random_planner(3), slippery()
    agent = HorizonAgent(planner, 1)
    for seed in range(20):
        env.reset(seed)
        agent.reset()
        over = False
        while not over:
            assert agent.needs_observation
            obs = env.observe()
            action = agent.act(obs)
            assert action == planner.plan(obs[None]).mode()[0, 0]
            over = any(env.advance(action)[1:3])


def one_hot(cell: int) -> NDArray[np.float32]:
    obs = np.zeros(5, np.float32)
    obs[cell] = 1
    return obs


def test_the_caller_looks_only_when_asked() -> None:
    agent = HorizonAgent(TablePlanner.of_actions([[LEFT, RIGHT, RIGHT]] * 5, 2), 3)
    asked = [agent.needs_observation]
    assert agent.act(one_hot(0)) == LEFT
    asked.append(agent.needs_observation)
    assert agent.act() == RIGHT
    assert agent.act(one_hot(4)) == RIGHT  # what is not needed is ignored
    asked.append(agent.needs_observation)
    assert asked == [True, False, True]
    assert agent.evaluations == 1
    with pytest.raises(InvalidDataError, match="the plan has run out: act needs an observation"):
        agent.act()


def test_a_reset_drops_the_rest_of_the_plan() -> None:
    agent = HorizonAgent(TablePlanner.of_actions([[LEFT] * 4] * 4 + [[RIGHT] * 4], 2))
    agent.act(one_hot(0))
    agent.reset()
    assert agent.needs_observation
    assert agent.act(one_hot(4)) == RIGHT
    assert agent.evaluations == 2


def test_a_reset_drops_the_plans_of_the_mask_alone() -> None:
    agent = VectorHorizonAgent(TablePlanner.of_actions([[0, 1, 2], [2, 1, 0]], 3), n_envs=3)
    look = np.eye(2, dtype=np.float32)
    assert agent.act(look[[0, 1, 0]]).tolist() == [0, 2, 0]
    agent.reset(np.array([True, False, False]))
    assert agent.needs_observation.tolist() == [True, False, False]
    assert agent.act(look[[1]]).tolist() == [2, 1, 1]
    assert agent.act().tolist() == [1, 0, 2]
    assert agent.needs_observation.tolist() == [False, True, True]
    agent.reset()
    assert agent.needs_observation.all()
    assert agent.evaluations == 4


def test_the_plans_of_those_who_wait_stay_as_they_are() -> None:
    agent = VectorHorizonAgent(TablePlanner.of_actions([[0, 1, 2]], 3), n_envs=2)
    look, first = np.ones((1, 1), np.float32), np.array([True, False])
    assert agent.act(look, first)[0] == 0
    assert agent.act(None, first)[0] == 1
    assert agent.act(look).tolist() == [2, 0]
    assert agent.act(look, first)[0] == 0
    assert agent.act().tolist() == [1, 1]


def test_only_those_whose_plan_has_run_out_are_evaluated_and_in_one_batch() -> None:
    planner = always_right(horizon=2)
    agent = VectorHorizonAgent(planner, n_envs=3)
    obs = np.stack([one_hot(0)] * 3)
    agent.act(obs)
    agent.reset(np.array([False, True, False]))
    agent.act(obs[:1])
    agent.act(obs[:2])
    assert planner.batch_sizes == [3, 1, 2]


@pytest.mark.parametrize("n_given", [0, 1, 3])
def test_observations_must_be_as_many_as_needed(n_given: int) -> None:
    agent = VectorHorizonAgent(always_right(), n_envs=2)
    with pytest.raises(InvalidDataError, match=f"2 environments need an observation, got {n_given}"):
        agent.act(np.stack([one_hot(0)] * n_given) if n_given else None)


def single(planner: Planner, commitment: int, **kwargs: Any) -> HorizonAgent:
    return HorizonAgent(planner, commitment, **kwargs)


def many(planner: Planner, commitment: int, **kwargs: Any) -> VectorHorizonAgent:
    return VectorHorizonAgent(planner, commitment, n_envs=2, **kwargs)


@pytest.mark.parametrize("make", [single, many])
@pytest.mark.parametrize("commitment", [0, -3, 3])
def test_a_commitment_outside_the_horizon_is_refused(make: Callable[..., Any], commitment: int) -> None:
    with pytest.raises(HorizonError, match=f"commitment must lie in 1..2 .*, got {commitment}"):
        make(always_right(horizon=2), commitment)


@pytest.mark.parametrize("make", [single, many])
def test_sampling_needs_an_rng(make: Callable[..., Any]) -> None:
    with pytest.raises(InvalidDataError, match="a sampling agent needs an rng"):
        make(always_right(), 1, deterministic=False)


def test_a_sampling_agent_follows_its_rng() -> None:
    unsure = TablePlanner(np.zeros((5, 8, 2)))

    def plans(seed: int, **kwargs: Any) -> list[list[int]]:
        agent = HorizonAgent(unsure, rng=np.random.default_rng(seed), **kwargs)
        return [agent.decide(one_hot(0)) for _ in range(5)]

    assert plans(1, deterministic=False) == plans(1, deterministic=False) != plans(2, deterministic=False)
    assert plans(1) == [[0] * 8] * 5  # an rng alone does not make it sample
    agent = VectorHorizonAgent(unsure, n_envs=50, deterministic=False, rng=np.random.default_rng(0))
    assert set(agent.act(np.stack([one_hot(0)] * 50)).tolist()) == {0, 1}


class EveryOther:
    """Runs one action, then two, then one, ..."""

    def __init__(self) -> None:
        self._n = 0

    def lengths(self, plan: Any) -> NDArray[np.int64]:
        self._n += 1
        return np.full(plan.batch_size, 1 + self._n % 2, np.int64)


def test_a_rule_of_ones_own_is_followed() -> None:
    rule: Commitment = EveryOther()
    agent = HorizonAgent(always_right(horizon=3), rule)
    assert [len(agent.decide(one_hot(0))) for _ in range(4)] == [2, 1, 2, 1]


class OneLess(FixedCommitment):
    """A rule of one's own that is also a number."""

    def lengths(self, plan: Any) -> NDArray[np.int64]:
        return super().lengths(plan) - 1


@pytest.mark.parametrize("make", [single, many])
@pytest.mark.parametrize(("rule", "looks"), [(OneLess(3), [1, 0, 1, 0]), (FixedCommitment(3), [1, 0, 0, 1])])
def test_both_agents_follow_a_rule_alike(make: Callable[..., Any], rule: Any, looks: list[int]) -> None:
    agent = make(always_right(horizon=3), rule)
    asked = []
    for _ in looks:
        asked.append(int(np.all(agent.needs_observation)))
        obs = one_hot(0) if make is single else np.stack([one_hot(0)] * 2)
        agent.act(obs if asked[-1] else None)
    assert asked == looks


@pytest.mark.parametrize("make", [single, many])
def test_a_fixed_rule_beyond_the_horizon_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(HorizonError, match=r"commitment must lie in 1..3 .*, got 5"):
        make(always_right(horizon=3), FixedCommitment(5))


@pytest.mark.parametrize("make", [single, many])
@pytest.mark.parametrize("length", [0, 4, -1, 1.0, True, [1, 2], "1", None])
def test_every_answer_of_a_rule_is_checked(make: Callable[..., Any], length: Any) -> None:
    class Changing:
        def __init__(self) -> None:
            self.answers = iter([1, length])

        def lengths(self, plan: Any) -> Any:
            answer: Any = [next(self.answers)] * plan.batch_size
            return [answer, [1]] if isinstance(answer[0], list) else np.array(answer)  # the first is ragged

    agent = make(always_right(horizon=3), Changing())
    obs = one_hot(0) if make is single else np.stack([one_hot(0)] * 2)
    agent.act(obs)
    with pytest.raises(HorizonError, match="the commitment rule Changing returned wrong lengths: expected [12] "):
        agent.act(obs)


class Checked(TablePlanner):
    """Its plans are known to be sound."""

    checks_plans = True


def test_lengths_are_checked_only_where_a_rule_or_a_planner_may_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def noted(rule: Commitment, plan: Any, horizon: int) -> NDArray[np.int64]:
        asked.append(rule)
        return rule_lengths(rule, plan, horizon)

    class Own(ConfidentCommitment):
        """A subclass may return anything."""

    monkeypatch.setattr("phr.acting.agent.rule_lengths", noted)
    rng, rule, own = np.random.default_rng(0), ConfidentCommitment(0.5), Own(0.5)
    checked, unchecked = Checked.random(rng, 5, HORIZON, 2), random_planner(0)
    for state in range(5):
        obs = one_hot(state)
        assert len(HorizonAgent(checked, rule).decide(obs)) == n_to_execute(checked, obs, rule)
    assert asked == []
    HorizonAgent(unchecked, rule).decide(one_hot(0))
    VectorHorizonAgent(checked, own, n_envs=1).act(one_hot(0)[None])
    assert asked == [rule, own]


class Typed:
    """Plans these actions, whatever their number type."""

    def __init__(self, actions: NDArray[Any], space: ActionSpace) -> None:
        self.horizon, self.n_actions, self.action_space, self.actions = actions.shape[1], space.n_outputs, space, actions
        self.batch_size = len(actions)

    def plan(self, obs: NDArray[Any]) -> Any:
        return self

    def mode(self) -> NDArray[Any]:
        return self.actions

    def sample(self, rng: np.random.Generator) -> NDArray[Any]:
        return self.actions

    def confidence(self) -> NDArray[np.float32]:
        return np.ones(self.actions.shape[:2], np.float32)


BOX = Continuous((-1.0, -1.0), (1.0, 1.0), (2,))


@pytest.mark.parametrize(
    ("actions", "space"),
    [
        (np.array([[1, 2]]), Discrete(3)),
        (np.array([[1, 2]], np.int32), Discrete(3)),
        (np.array([[[1, 0], [0, 1]]], np.uint8), MultiDiscrete((2, 2))),
        (np.array([[[1, 0], [0, 1]]], np.float64), BOX),
        (np.array([[[1, 0], [0, 1]]], np.float32), BOX),
    ],
)
def test_actions_are_what_a_space_samples(actions: NDArray[Any], space: ActionSpace) -> None:
    planner: Any = Typed(actions, space)
    agent, stored = HorizonAgent(planner), actions.copy()
    for expected in actions[0]:
        action = agent.act(one_hot(0))
        assert isinstance(action, np.int64 if isinstance(space, Discrete) else np.ndarray)
        assert (action.dtype, action.shape) == (space.dtype, space.shape)
        assert np.array_equal(action, expected)
        if space.shape:
            assert action.flags.owndata
            action += 1  # the caller's own: neither the plan nor the next action changes
    assert np.array_equal(planner.actions, stored)
    many_actions = VectorHorizonAgent(planner, n_envs=1).act(one_hot(0)[None])
    assert many_actions.dtype == space.dtype
    assert np.array_equal(many_actions[0], actions[0, 0])


@pytest.mark.parametrize("make", [HorizonAgent, lambda planner: VectorHorizonAgent(planner, n_envs=1)])
def test_planned_actions_of_another_kind_are_refused(make: Callable[..., Any]) -> None:
    agent = make(Typed(np.array([[0.7, 1.2]]), Discrete(3)))
    obs = one_hot(0) if isinstance(agent, HorizonAgent) else one_hot(0)[None]
    with pytest.raises(InvalidDataError, match=r"planned actions must be int64 \(3 actions\), got float64"):
        agent.act(obs)


class Planned:
    """Three steps, five actions; plans whatever it is given."""

    horizon, n_actions = 3, 5

    def __init__(self, plan: Callable[[int], Any]) -> None:
        self._plan = plan

    def plan(self, obs: NDArray[Any]) -> Any:
        return self._plan(len(obs))


def certain(*actions: int, n_actions: int = 5) -> Callable[[int], Any]:
    return lambda n: CategoricalPlan.from_actions(np.tile(actions, (n, 1)), n_actions)


def of_logits(value: float) -> Callable[[int], Any]:
    return lambda n: CategoricalPlan(np.full((n, 3, 5), value, np.float32))


@pytest.mark.parametrize("make", [single, many])
@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        (certain(1), InvalidDataError, r"must plan actions of shape \([12], 3\)"),  # numpy would repeat it
        (certain(1, 2), InvalidDataError, "the planner Planned must plan actions of shape"),
        (certain(1, 2, 3, 4), InvalidDataError, "the planner Planned must plan actions of shape"),
        (lambda _n: certain(1, 2, 3)(3), InvalidDataError, r"\([12], 3\) .* got \(3, 3\)"),
        (certain(1, -1, 3), InvalidDataError, r"whole numbers in 0..4, got -1..3"),  # numpy would take the last
        (certain(1, 5, 3), InvalidDataError, r"whole numbers in 0..4, got 1..5"),
        (certain(1, 7, 3, n_actions=9), InvalidDataError, "actions lie in 1..7"),
        (of_logits(np.nan), NonFiniteError, "the plan of Planned contains NaN"),
        (lambda _n: None, InvalidDataError, "Planned.plan must return a plan .* got a NoneType"),
        (lambda n: np.ones((n, 3), int), InvalidDataError, "Planned.plan must return a plan .* got a ndarray"),
        (lambda _n: [][0], IncompatibleModelError, "^Planned.plan raised IndexError: list index out of range$"),
    ],
)
def test_every_plan_of_a_planner_of_the_users_is_checked(
    make: Callable[..., Any], plan: Callable[[int], Any], error: type[Exception], message: str
) -> None:
    agent = make(Planned(plan), 1)
    with pytest.raises(error, match=message):
        agent.act(np.zeros(2) if make is single else np.zeros((2, 2)))


@pytest.mark.parametrize("make", [single, many])
def test_plans_are_checked_also_where_the_planner_states_its_observations(make: Callable[..., Any]) -> None:
    planner: Any = Planned(of_logits(np.nan))
    planner.obs_spec = ObservationSpec((2,), np.dtype(np.float64))
    with pytest.raises(NonFiniteError, match="the plan of Planned contains NaN"):
        make(planner, 1).act(np.zeros(2) if make is single else np.zeros((2, 2)))


def test_a_plan_of_one_row_is_not_given_to_every_environment() -> None:
    with pytest.raises(InvalidDataError, match=r"of shape \(2, 3\) .* got \(1, 3\)"):
        many(Planned(lambda _n: certain(1, 2, 3)(1)), 1).act(np.zeros((2, 2)))


def test_masked_actions_of_a_plan_may_be_impossible() -> None:
    """A logit of −inf rules an action out."""
    logits = np.full((1, 3, 5), -np.inf, np.float32)
    logits[..., 2] = 0
    assert single(Planned(lambda _n: CategoricalPlan(logits)), 1).act(np.zeros(2)) == 2


@pytest.mark.parametrize("mask", [np.array([1, 0]), [0, 0], np.array([True]), np.eye(2, dtype=bool), True, "x", np.zeros(2)])
def test_a_mask_is_one_bool_for_each_environment(mask: Any) -> None:
    agent = many(always_right(horizon=3), 2)
    with pytest.raises(InvalidDataError, match=r"^mask must be bool of shape \(2,\), got "):
        agent.act(np.stack([one_hot(0)] * 2), mask)
    with pytest.raises(InvalidDataError, match=r"^mask must be bool of shape \(2,\), got "):
        agent.reset(mask)


@pytest.mark.parametrize("mask", [[True, False], (True, False), np.array([True, False])])
def test_a_mask_may_be_a_list(mask: Any) -> None:
    agent = many(always_right(horizon=3), 2)
    agent.act(np.stack([one_hot(0)] * 2))
    agent.reset(mask)
    assert agent.needs_observation.tolist() == [True, False]


@pytest.mark.parametrize("n_envs", [0, -1, True])
def test_n_envs_is_a_whole_number(n_envs: Any) -> None:
    with pytest.raises(SettingError, match="^n_envs must be "):
        VectorHorizonAgent(always_right(), n_envs=n_envs)


class Ranked:
    """Plans for three steps, each with its own order of three actions; discrete, or two choices at once."""

    horizon = 3

    def __init__(self, space: ActionSpace) -> None:
        self.action_space, self.n_actions = space, space.n_outputs

    def plan(self, obs: NDArray[Any]) -> Any:
        rows = np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0]], np.float32)
        outputs = rows if self.n_actions == 3 else np.concatenate([rows, -rows[:, :2]], axis=1)
        return self.action_space.plan(np.repeat(outputs[None], len(obs), axis=0))


LOOK = np.zeros(1, np.float32)


def test_a_policys_own_masks_and_wrong_ones_lose_nothing() -> None:
    class Masked(Ranked):
        def plan(self, obs: NDArray[Any]) -> Any:
            return self.action_space.plan(np.repeat(np.array([[[0.0, -np.inf, -np.inf]] * 3], np.float32), len(obs), axis=0))

    assert HorizonAgent(Masked(Discrete(3))).act(LOOK, action_masks=[0, 1, 1]) == 1, "it thinks both impossible"
    agent = HorizonAgent(Ranked(Discrete(3)))
    for wrong in ([0, 0, 0], [1, 1]):
        with pytest.raises(InvalidDataError):
            agent.act(LOOK, action_masks=wrong)
    assert [agent.act(LOOK), agent.act(), agent.act()] == [0, 1, 2]
    sampling = HorizonAgent(Ranked(Discrete(3)), deterministic=False, rng=np.random.default_rng(0))
    for _ in range(50):
        sampling.reset()
        action = sampling.act(LOOK, action_masks=[0, 1, 1])
        assert action == 1 or not sampling.needs_observation, "what replaces an action is the likeliest, not drawn"


def test_a_planned_action_that_is_not_legal_is_replaced_and_ends_the_plan() -> None:
    agent = HorizonAgent(Ranked(Discrete(3)))
    assert agent.act(LOOK, action_masks=[1, 1, 1]) == 0
    assert agent.act(action_masks=[True, True, False]) == 1
    assert agent.act(action_masks=np.array([1, 1, 0])) == 0, "of step 3: 2 is not legal, 0 is the likeliest that is"
    assert agent.needs_observation
    assert agent.act(LOOK, action_masks=[0, 0, 1]) == 2
    assert agent.needs_observation, "the rest was planned for what the first action would have led to"
    with pytest.raises(InvalidDataError, match="needs an observation"):
        agent.act(action_masks=[1, 1, 1])
    assert agent.evaluations == 2
    assert [agent.act(LOOK), agent.act(), agent.act()] == [0, 1, 2], "masks are for one step"


def test_masks_of_several_choices_stand_in_a_row() -> None:
    agent = HorizonAgent(Ranked(MultiDiscrete((3, 2))))
    assert agent.act(LOOK, action_masks=[1, 1, 1, 1, 1]).tolist() == [0, 1]
    assert agent.act(action_masks=[1, 0, 1, 1, 0]).tolist() == [2, 0]
    assert agent.needs_observation
    with pytest.raises(InvalidDataError, match="leave nothing to choose"):
        agent.act(LOOK, action_masks=[1, 1, 1, 0, 0])


@given(masks=st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2).filter(any), min_size=30, max_size=30))
@settings(max_examples=20, deadline=None)
def test_with_masks_no_illegal_action_is_ever_taken(masks: list[list[int]]) -> None:
    planner, rng = random_planner(3), np.random.default_rng(0)
    for agent in (HorizonAgent(planner), HorizonAgent(planner, "auto"), HorizonAgent(planner, deterministic=False, rng=rng)):
        for mask in masks:
            assert mask[int(agent.act(np.eye(5, dtype=np.float32)[2] if agent.needs_observation else None, mask))]


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ([1, 1], r"action masks of 3 actions are 3 flags, 0 or 1, got \[1, 1\]"),
        ([1, 2, 0], "are 3 flags"),
        ([0.5, 1, 0], "are 3 flags"),
        (["a", "b", "c"], "are 3 flags"),
        ([[1, 1, 1]], "are 3 flags"),
        ([[1], 1, 1], "are 3 flags"),
        ([float("nan"), 1, 1], "are 3 flags"),
        ([0, 0, 0], "leave nothing to choose"),
    ],
)
def test_other_masks_are_refused(masks: Any, said: str) -> None:
    with pytest.raises(InvalidDataError, match=said):
        HorizonAgent(Ranked(Discrete(3))).act(LOOK, action_masks=masks)


def test_masks_are_for_discrete_actions_and_for_plans_that_rank_them() -> None:
    box = Continuous((-1.0,), (1.0,), (1,))

    class Flat(Ranked):
        def plan(self, obs: NDArray[Any]) -> Any:
            return box.plan(np.zeros((len(obs), 3, 1), np.float32))

    with pytest.raises(SettingError, match="action masks are for discrete actions, not for"):
        HorizonAgent(Flat(box)).act(LOOK, action_masks=[1])

    class Bare(Ranked):
        def plan(self, obs: NDArray[Any]) -> Any:
            found = super().plan(obs)

            class Alone:
                batch_size, horizon = found.batch_size, found.horizon
                mode, sample, confidence = found.mode, found.sample, found.confidence

            return Alone()

    agent = HorizonAgent(Bare(Discrete(3)))
    assert agent.act(LOOK, action_masks=[1, 1, 1]) == 0
    with pytest.raises(SettingError, match="masks need a plan with a network's outputs"):
        agent.act(action_masks=[1, 0, 1])


def test_an_agent_of_a_model_names_its_planner() -> None:
    model: Any = corridor_student()
    for make in (HorizonAgent, partial(VectorHorizonAgent, n_envs=2)):
        with pytest.raises(SettingError, match=r"a Model is none; pass its \.planner"):
            make(model)
        with pytest.raises(SettingError, match="a int is none; expected plan"):
            make(cast("Any", 3))
        make(model.planner)
