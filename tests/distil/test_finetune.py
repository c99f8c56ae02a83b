"""Training on return, on toys whose best plan is known and is not the teacher's."""

from __future__ import annotations

import json
import os
import signal
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import ActionSpace, Continuous, Discrete, MultiDiscrete
from phr.distil import finetune
from phr.distil.config import PHRConfig
from phr.distil.finetune import CLIP, Finetuning, clipped_loss, plan_log_probs, play_plans, sample_plan
from phr.distil.phr import PHR
from phr.distil.refine import Refinement
from phr.distil.runs import Distillation, record_teacher
from phr.envs.vector import Remarks, Start, VectorSplit
from phr.errors import SettingError
from phr.evaluation.episodes import make_vector
from phr.experience.logged import Logged, space_of
from phr.networks.policy import Links, build_network
from phr.plan import Planner
from phr.storage.driver import Trainable
from phr.storage.model import Model
from phr.storage.tensors import digest
from phr.teacher.a2c import gae_advantages
from tests.helpers import TablePlanner, always_right, noisy
from tests.points import DIAL_ACTIONS, DIALS
from tests.trained import CORRIDOR, TRUNK, corridor_experience, phr_config

FORK, TARGET = f"{__name__}:make_fork", f"{__name__}:make_target"
SAFE, LEFT, RIGHT = 0, 1, 2
SAFE_REWARD = 0.8


class ForkEnv(gymnasium.Env[np.int64, np.int64]):
    """Two steps. The first is safe, or leads to one of two doors; chance decides which, and the second has to open it.

    Reward 1 for the right door, 0.8 on the safe side whatever the second step is. An agent that looks at every step collects
    1, a plan of two steps that walks to the doors 0.5, and the best plan 0.8.
    """

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Discrete(4), spaces.Discrete(3)
        self._state = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = 0
        return np.int64(0), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        if self._state == 0:
            self._state = 3 if action == SAFE else int(self.np_random.integers(LEFT, RIGHT + 1))
            return np.int64(self._state), 0.0, False, False, {}
        reward = SAFE_REWARD if self._state == 3 else float(action == self._state)
        return np.int64(self._state), reward, True, False, {}


def make_fork() -> gymnasium.Env[Any, Any]:
    """A module:factory."""
    return ForkEnv()


class LotteryEnv(gymnasium.Env[np.int64, np.int64]):
    """One step. Every action of every state wins or loses by chance, and is worth 0."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Discrete(16), spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        return np.int64(self.np_random.integers(16)), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        return np.int64(0), float(self.np_random.normal(size=3)[action]), True, False, {}


def make_lottery() -> gymnasium.Env[Any, Any]:
    """A module:factory."""
    return LotteryEnv()


class TargetEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Four steps, each costs the squared distance of two numbers from what is best: 0.4 and −0.4."""

    BEST = np.array([0.4, -0.4], np.float32)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self._t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self._t += 1
        return np.full(1, self._t / 4, np.float32), -float(np.square(action - self.BEST).sum()), self._t == 4, False, {}


def make_target() -> gymnasium.Env[Any, Any]:
    """A module:factory."""
    return TargetEnv()


class NearTargetEnv(TargetEnv):
    """What is best lies two standard deviations of the exploration from what the teacher does."""

    BEST = 2 * finetune.SPREAD * np.array([1, -1], np.float32)


def make_near_target() -> gymnasium.Env[Any, Any]:
    """A module:factory."""
    return NearTargetEnv()


def looks_at_the_door() -> TablePlanner:
    """The best policy of an agent that looks at every step."""
    return TablePlanner.of_actions([[LEFT], [LEFT], [RIGHT], [SAFE]], 3)


class StandsStill:
    """A planner whose actions are all 0."""

    horizon, n_actions, action_space = 1, 2, Continuous.between(-np.ones(2, np.float32), np.ones(2, np.float32))

    def plan(self, obs: NDArray[Any]) -> Any:
        return self.action_space.certain(np.zeros((len(obs), 1, 2), np.float32))


class Hesitant:
    """Leaves both dials where they are."""

    horizon, n_actions, action_space = 1, 5, DIAL_ACTIONS

    def plan(self, obs: NDArray[Any]) -> Any:
        return self.action_space.certain(np.tile([[[1, 0]]], (len(obs), 1, 1)))


def config(**settings: Any) -> PHRConfig:
    known = {"horizon": 2, "n_updates": 100, "n_episodes": 64, "prefix": (0, 0), "finetune": 16_000}
    return phr_config(**{**known, **settings})


def run(env_id: str = FORK, teacher: Planner | None = None, directory: Path | None = None, **settings: Any) -> Model:
    resume = settings.pop("resume", False)
    job = Distillation(teacher or looks_at_the_door(), env_id, config(**settings), start=TRUNK, teacher_name="t")
    return job.run(directory, resume=resume)


def finetuning(
    env_id: str = FORK, teacher: Planner | None = None, said: list[str] | None = None, **settings: Any
) -> Finetuning:
    chosen, planner, remarks = (
        config(**{"n_updates": 4, "finetune": 700, "n_envs": 16, **settings}),
        teacher or looks_at_the_door(),
        Remarks(),
    )
    say = (said if said is not None else []).append
    experience, _ = record_teacher(planner, env_id, chosen)
    space = space_of(experience)
    actions = experience.action_space
    n_outputs = actions.n_outputs * (2 if chosen.loss == "gaussian" else 1)
    start = build_network(experience.obs_shape, n_outputs, 1, TRUNK, seed=0, action_space=actions)
    student = PHR(start, experience, chosen)
    if chosen.refine:
        student = Refinement(start, experience, chosen, planner, env_id, space, say, remarks)
    return Finetuning(student, env_id, space.dtype, say, remarks)


SPACES: dict[str, tuple[ActionSpace, int]] = {
    "discrete": (Discrete(3), 3),
    "multi": (MultiDiscrete((3, 2)), 5),
    "continuous": (Continuous((-1.0, 0.0), (1.0, 8.0), (2,)), 2),
    "gaussian": (Continuous((-1.0, 0.0), (1.0, 8.0), (2,)), 4),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_plan_is_as_likely_as_its_executed_steps_together(name: str) -> None:
    space, n_outputs = SPACES[name]
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(6, 4, n_outputs)).astype(np.float32)
    actions, lengths = sample_plan(outputs, space, rng), np.array([4, 1, 2, 3, 4, 1])
    found = plan_log_probs(torch.from_numpy(outputs), torch.from_numpy(actions), torch.from_numpy(lengths), space)
    for row, length in enumerate(lengths):
        total = 0.0
        for step in range(length):
            out, action = torch.from_numpy(outputs[row, step]), actions[row, step]
            if isinstance(space, Continuous):
                spread = out[2:].exp() if n_outputs == 4 else torch.full((2,), finetune.SPREAD)
                unit = torch.from_numpy(space.bounds.unit)
                normal = torch.distributions.Normal(out[:2] / unit, spread)
                total += float(normal.log_prob(torch.from_numpy(action) / unit).sum())
            else:
                sizes = space.nvec if isinstance(space, MultiDiscrete) else (3,)
                for logits, chosen in zip(out.split(sizes), np.atleast_1d(action), strict=True):
                    total += float(
                        torch.distributions.Categorical(logits=logits / finetune.TEMPERATURE).log_prob(torch.tensor(chosen))
                    )
        assert float(found[row]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_plans_are_drawn_from_the_distribution_whose_probability_counts(name: str) -> None:
    """The mean of −log p over many draws is the distribution's entropy."""
    space, n_outputs = SPACES[name]
    outputs = np.repeat(np.random.default_rng(1).normal(size=(1, 2, n_outputs)).astype(np.float32), 20_000, axis=0)
    drawn, out = torch.from_numpy(sample_plan(outputs, space, np.random.default_rng(2))), torch.from_numpy(outputs)
    found = -plan_log_probs(out, drawn, torch.full((20_000,), 2), space).mean()
    if isinstance(space, Continuous):
        spread = out[0, :, 2:].exp() if n_outputs == 4 else torch.full((2, 2), finetune.SPREAD)
        entropy = torch.distributions.Normal(0.0, spread).entropy().sum()
    else:
        parts = out[0].split(space.nvec if isinstance(space, MultiDiscrete) else (3,), -1)
        entropy = sum(
            (torch.distributions.Categorical(logits=p / finetune.TEMPERATURE).entropy().sum() for p in parts),
            torch.zeros(()),
        )
    assert float(found) == pytest.approx(float(entropy), abs=0.03)


@pytest.mark.parametrize("name", ["discrete", "multi"])
def test_a_causal_plan_is_drawn_step_after_step(name: str) -> None:
    """The mean of −log p over many draws is the entropy of all plans, each with the product of its steps' probabilities."""
    space, n_outputs = SPACES[name]
    links, rng = Links(space, 2), np.random.default_rng(1)
    with torch.no_grad():
        links.weight.copy_(torch.from_numpy(rng.normal(0, 2, links.weight.shape)) * links.later)
        row = torch.from_numpy(rng.normal(size=(1, 2, n_outputs)).astype(np.float32))
        outputs = row.repeat(20_000, 1, 1)
        drawn = torch.from_numpy(sample_plan(outputs.numpy(), space, np.random.default_rng(2), links))
        lengths = torch.full((len(drawn),), 2)
        found = -plan_log_probs(links.following(outputs, drawn), drawn, lengths, space).mean()
        choices = [range(n) for n in (space.nvec if isinstance(space, MultiDiscrete) else (3,))] * 2
        plans = torch.tensor([*product(*choices)]).view(-1, 2, *space.shape)
        every = links.following(row.expand(len(plans), -1, -1), plans)
        log_probs = plan_log_probs(every, plans, torch.full((len(plans),), 2), space)
    assert float(log_probs.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(found) == pytest.approx(-float((log_probs.exp() * log_probs).sum()), abs=0.03)


def test_a_decision_is_what_its_steps_collect_one_by_one() -> None:
    """Every plan is executed again, alone; episodes of the noisy world end within many of them."""
    gamma, n_envs, horizon, n_turns = 0.9, 3, 4, 12
    vector = VectorSplit([noisy() for _ in range(n_envs)], "disabled", seeds=lambda env, episode: 100 * env + episode)
    vector.reset()
    outputs = torch.randn(n_envs, horizon, 3, generator=torch.Generator().manual_seed(0))
    played = play_plans(lambda _obs: outputs, vector, np.random.default_rng(0), n_turns=n_turns, gamma=gamma)
    assert (played.lengths < horizon).any()
    assert (played.terminated & ~played.truncated).any()
    assert (played.truncated & ~played.terminated).any()
    for index in range(n_envs):
        env, episode = noisy(), 0
        env.reset(100 * index)
        for turn in range(n_turns):
            np.testing.assert_array_equal(env.observe(), played.obs[turn, index].numpy())
            collected, k, over, cut = 0.0, 0, False, False
            while k < horizon and not (over or cut):
                reward, over, cut, _ = env.advance(int(played.actions[turn, index, k]))
                collected += gamma**k * float(np.float32(reward))
                k += 1
            assert (k, over, cut) == tuple(
                part[turn, index].item() for part in (played.lengths, played.terminated, played.truncated)
            )
            assert played.rewards[turn, index].item() == pytest.approx(collected, rel=1e-5)
            if not over:
                np.testing.assert_array_equal(env.observe(), played.reached[turn, index].numpy())
            if over or cut:
                episode += 1
                env.reset(100 * index + episode)
    expected = plan_log_probs(outputs, played.actions[0], played.lengths[0], Discrete(3))
    torch.testing.assert_close(played.log_probs[0], expected)


def test_advantages_discount_a_plan_by_its_length() -> None:
    rng, shape, gae_lambda = np.random.default_rng(0), (7, 3), 0.8
    rewards, values, following = rng.normal(size=(3, *shape))
    lengths, ended = rng.integers(1, 5, size=shape), rng.random((2, *shape)) < 0.2
    given = [torch.from_numpy(part.astype(np.float32)) for part in (rewards, values, following)]
    gamma = 0.9 ** torch.from_numpy(lengths)
    found = gae_advantages(*given, *map(torch.from_numpy, ended), gamma=gamma, gae_lambda=gae_lambda)
    for env in range(shape[1]):
        for t in range(shape[0]):
            total, weight = 0.0, 1.0
            for s in range(t, shape[0]):
                future = 0.0 if ended[0, s, env] else 0.9 ** lengths[s, env] * following[s, env]
                total += weight * (rewards[s, env] + future - values[s, env])
                weight *= 0.9 ** lengths[s, env] * gae_lambda
                if ended[:, s, env].any():
                    break
            assert float(found[t, env]) == pytest.approx(total, abs=1e-5)


def test_the_objective_is_clipped_where_it_would_reward_going_further() -> None:
    ratios, advantages = [0.5, 0.9, 1.1, 2.0] * 2, [1.0] * 4 + [-2.0] * 4
    pairs = zip(ratios, advantages, strict=True)
    expected = -np.mean([min(r * a, min(max(r, 1 - CLIP), 1 + CLIP) * a) for r, a in pairs])
    found = clipped_loss(torch.tensor(ratios).log(), torch.zeros(8), torch.tensor(advantages))
    assert float(found) == pytest.approx(expected)


def trained(*arguments: Any, **settings: Any) -> dict[str, Any]:
    """What a training on return reports."""
    training = finetuning(*arguments, **settings)
    advance(training)
    training.close()
    return training.report()


def test_the_best_plan_is_found_where_the_teachers_is_not() -> None:
    """Imitation walks to the doors and collects half; the best plan of two steps is on the safe side."""
    notes = trained(finetune=2000)
    assert notes["return_before"] == pytest.approx(0.5, abs=0.2)
    assert notes["return_after"] == pytest.approx(SAFE_REWARD)
    assert 2000 <= notes["timesteps"] < 2000 + 2 * 16 * finetune.N_TURNS


@pytest.mark.parametrize(("loss", "env"), [("squared", NearTargetEnv), ("gaussian", TargetEnv)])
def test_continuous_actions_reach_the_best_ones(loss: str, env: type[TargetEnv]) -> None:
    target = TARGET if env is TargetEnv else f"{__name__}:make_near_target"
    notes = trained(target, StandsStill(), loss=loss, finetune=5000)
    standing = float(np.square(env.BEST).sum()) * -4
    assert notes["return_before"] == pytest.approx(standing, rel=0.2)
    assert notes["return_after"] > (0.5 if env is NearTargetEnv else 0.25) * standing  # the plan loss holds it back


def test_several_choices_at_once_are_trained_too() -> None:
    """The teacher never turns the dials, so it collects nothing."""
    notes = trained(DIALS, Hesitant(), n_updates=20, n_envs=32, teacher_smoothing=0.3, finetune=8000)
    assert notes["return_before"] < 0.1
    assert notes["return_after"] > 0.9


def test_a_student_that_is_best_already_is_kept_as_it_is() -> None:
    settings: dict[str, Any] = {"horizon": 4, "n_updates": 150, "n_envs": 16}
    plain, tuned = (run(CORRIDOR, always_right(), finetune=steps, **settings) for steps in (0, 1000))
    assert tuned.manifest.notes["finetune"]["return_before"] == tuned.manifest.notes["finetune"]["return_after"] == 1.0
    assert digest(plain.network.state_dict()) == digest(tuned.network.state_dict())
    assert "finetune" not in plain.manifest.notes


@pytest.mark.parametrize(
    ("gains", "kept"), [([1.0, 0.0, -0.2, 0.4], 0.875), ([1.0, -1.0, 0.1, 0.1], 0.25), ([0.0] * 4, 0.25)]
)
def test_the_best_test_is_kept_if_fresh_episodes_agree(
    gains: list[float], kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test is not kept, and the best one only where it is clearly better than the distilled student."""
    said: list[str] = []
    training, weights = finetuning(said=said, finetune=1500), dict[float, str]()
    scores = iter([0.25, 0.5, 0.875, *[0.375] * 100])
    fresh = iter([np.full(128, 0.1), 0.1 + np.tile(gains, 32)])
    played: list[list[Start]] = []

    def scored(_planner: Planner, _vector: VectorSplit, starts: list[Start]) -> SimpleNamespace:
        played.append(starts)
        if len(starts) == finetune.FRESH_EPISODES:
            return SimpleNamespace(returns=next(fresh))
        weights[score := next(scores)] = digest(training.network.state_dict())
        return SimpleNamespace(returns=np.full(len(starts), score))

    monkeypatch.setattr(finetune, "play_episodes", scored)
    advance(training)
    assert max(training.tests) == 0.875
    assert training.tests[-1] == 0.375
    *tests, before, after = played
    assert before == after
    assert not {start.seed for start in after} & {start.seed for starts in tests for start in starts}
    assert digest(training.finish().network.state_dict()) == weights[kept]
    assert len(set(weights.values())) == 4
    report = training.report()
    assert report["return_before"] == pytest.approx(0.1)
    assert report["return_after"] == pytest.approx(0.1 + (np.mean(gains) if kept == 0.875 else 0.0))
    assert ("the distilled student is kept" in said[-1]) == (kept == 0.25)
    training.close()


@pytest.mark.parametrize("seed", [12, 13, 25])
def test_luck_in_the_tests_replaces_no_student(seed: int) -> None:
    teacher = TablePlanner.random(np.random.default_rng(0), 16, 1, 3)
    unsure: dict[str, Any] = {"n_updates": 1, "teacher_smoothing": 0.6, "finetune_weight": 0.0}
    training = finetuning(f"{__name__}:make_lottery", teacher, seed=seed, **unsure)
    advance(training)
    distilled = digest(training.student.network.state_dict())
    assert max(training.tests) > training.tests[0] + 0.1, "the best test looks like a gain"
    assert digest(training.finish().network.state_dict()) == distilled
    report = training.report()
    assert report["return_after"] == report["return_before"] == pytest.approx(0.0, abs=4 / np.sqrt(128))
    training.close()


def advance(training: Finetuning) -> list[tuple[int, int, dict[str, float]]]:
    rows = []
    while not training.done:
        values = training.update()
        if values:
            rows.append((training.n_updates, training.n_steps, values))
    return rows


def weights_of(training: Finetuning) -> dict[str, str]:
    networks = {"network": training.network, "best": training._best, "critic": training._critic}
    return {name: digest(network.state_dict()) for name, network in networks.items()}


class Drifting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Changes with every step of the process: no seed repeats it."""

    n = 0

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        Drifting.n += 1
        obs, *rest = super().step(action)
        return (obs + 1e-3 * Drifting.n).astype(np.float32), *rest


def make_drifting() -> gymnasium.Env[Any, Any]:
    """A module:factory."""
    from tests.helpers import make_noisy

    return Drifting(make_noisy())


NOISY = "tests.helpers:make_noisy"
RESUMED: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "fork": (FORK, looks_at_the_door, {}),
    "noisy": (NOISY, lambda: TablePlanner.random(np.random.default_rng(0), 3, 1, 3), {"n_envs": 5, "finetune": 600}),
    "target": (TARGET, StandsStill, {"loss": "squared", "n_envs": 5, "finetune": 600}),
    "priority": (FORK, looks_at_the_door, {"priority": 0.7}),
    "refined": (FORK, looks_at_the_door, {"refine": 2, "refine_windows": 40, "refine_updates": 3, "refine_until": 0.9}),
}


@pytest.mark.parametrize("n_calls", [2, 4, 5, 7])
@pytest.mark.parametrize("name", RESUMED)
def test_an_interrupted_run_continues_bit_for_bit(name: str, n_calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the distillation, before and after the first test, and between two updates on return."""
    for count in ("TEST_EPISODES", "FRESH_EPISODES"):
        monkeypatch.setattr(finetune, count, 8)
    env_id, teacher, settings = RESUMED[name]
    straight = finetuning(env_id, teacher(), **settings)
    if n_calls > 2:
        while not straight.student.done:
            straight.update()
        n_calls -= 4
    for _ in range(n_calls):
        straight.update()
    tensors, state = straight.checkpoint()
    tensors, state = {key: value.clone() for key, value in tensors.items()}, json.loads(json.dumps(state))
    said: list[str] = []
    resumed = finetuning(env_id, teacher(), said, **settings)
    resumed.restore(tensors, state)
    assert resumed.n_updates == straight.n_updates
    again = resumed.checkpoint()[1]
    assert again["finetune"] == state["finetune"]
    assert advance(straight) == advance(resumed)
    assert straight.tests == resumed.tests
    assert straight.report() == resumed.report()
    assert weights_of(straight) == weights_of(resumed)
    assert not any("exactly" in line for line in said)
    straight.close()
    resumed.close()


def test_the_rounds_of_refinement_are_played_again_before_the_training_on_return_continues() -> None:
    env_id, teacher, settings = RESUMED["refined"]
    straight = finetuning(env_id, teacher(), **settings)
    while straight.n_steps == 0:
        straight.update()
    resumed = finetuning(env_id, teacher(), **settings)
    resumed.restore(*straight.checkpoint())
    assert not resumed.student.done
    assert resumed.update() == {}
    assert isinstance(straight.student, Refinement)
    assert isinstance(resumed.student, Refinement)
    advance(resumed)
    assert len(resumed.student.windows) == len(straight.student.windows) > 0
    straight.close()
    resumed.close()


def test_an_environment_that_does_not_repeat_itself_is_reported() -> None:
    teacher = TablePlanner.random(np.random.default_rng(0), 3, 1, 3)
    training = finetuning(f"{__name__}:make_drifting", teacher, n_envs=4, finetune=400)
    while training.n_steps == 0:
        training.update()
    said: list[str] = []
    resumed = finetuning(f"{__name__}:make_drifting", teacher, said, n_envs=4, finetune=400)
    resumed.restore(*training.checkpoint())
    advance(resumed)
    assert len([line for line in said if "does not continue exactly" in line]) == 1
    training.close()
    resumed.close()


def test_an_interrupted_folder_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"n_updates": 6, "n_envs": 16, "finetune": 1500}
    run(directory=tmp_path / "straight", **settings)
    update = Finetuning.update

    def pressed(self: Finetuning) -> dict[str, float]:
        if self.n_updates == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuning, "update", pressed)
        with pytest.raises(KeyboardInterrupt):
            run(directory=tmp_path / "part", **settings)
    run(directory=tmp_path / "part", resume=True, **settings)
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "part" / file).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "part" / "metrics.jsonl").read_text().splitlines()]
    tuned = [row for row in rows if "finetune/policy_loss" in row]
    assert [row["update"] for row in tuned] == list(range(8, 8 + len(tuned)))
    assert sum("greedy_return" in row for row in rows) >= 4


def test_the_seed_decides_every_weight() -> None:
    found = []
    for seed in (1, 1, 2):
        training = finetuning(seed=seed)
        advance(training)
        found.append(weights_of(training))
        training.close()
    assert found[0] == found[1] != found[2]


def test_a_finetuning_is_trainable_and_shows_its_progress() -> None:
    training, shown = finetuning(), []
    assert isinstance(training, Trainable)
    while not training.done:
        training.update()
        shown.append(training.progress())
    assert shown[0].unit == "updates"
    assert (shown[-1].stage, shown[-1].unit) == ("training on return", "timesteps")
    assert shown[-1].done == shown[-1].total == 700
    assert shown[-1].note.startswith("greedy return 0.")
    training.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"joint": True, "trunk_mode": "shared"}, "leave out finetune or joint"),
        ({"trunk_mode": "own"}, "trunk_mode must be 'anchored', got 'own'"),
        ({"finetune": -1}, "finetune must be >= 0, got -1"),
        ({"finetune_weight": -1.0}, "finetune_weight must be >= 0"),
        ({"finetune_gamma": 1.5}, r"finetune_gamma must lie in \[0, 1\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingError, match=why):
        config(**settings)


def test_recorded_episodes_alone_are_refused() -> None:
    experience = corridor_experience()
    job = Distillation(
        None, CORRIDOR, config(), start=TRUNK, read_episodes=lambda: Logged("log", "log", experience, space_of(experience))
    )
    with pytest.raises(SettingError, match="training on return acts in an environment, and logged actions have none"):
        job.run()


def test_gradients_are_those_of_the_plans_and_leave_the_critic_alone() -> None:
    """The critic begins as the student, and no loss of one moves the other's weights."""
    training = finetuning()
    while not training.tests:
        training.update()
    obs = torch.eye(4)
    training._values(obs).sum().backward()
    assert all(p.grad is None for p in training.network.parameters())
    training.optimizer.zero_grad(set_to_none=True)
    training._heads(obs).sum().backward()
    assert all(p.grad is None for p in training._critic.parameters())
    training.close()


def test_the_environments_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[VectorSplit] = []
    closed: list[VectorSplit] = []
    close = VectorSplit.close

    def noted(*arguments: Any, **settings: Any) -> VectorSplit:
        assert len(opened) == len(closed)  # one vector at a time
        opened.append(make_vector(*arguments, **settings))
        return opened[-1]

    def noting(vector: VectorSplit) -> None:
        closed.append(vector)
        close(vector)

    monkeypatch.setattr(VectorSplit, "close", noting)
    for module in ("finetune", "refine", "runs"):
        monkeypatch.setattr(f"phr.distil.{module}.make_vector", noted)
    run(n_updates=4, finetune=1000, refine=1, refine_windows=20, refine_updates=2)
    assert len(opened) == len(closed) == 3
