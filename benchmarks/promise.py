"""Is `phr tune`'s promise kept, and what does stopping early save? Two toys whose curves are known.

    .venv/bin/python benchmarks/promise.py

Each repetition tunes from nothing, with a seed of its own. A promise is broken if the rule that it certifies keeps less than
was asked for; by definition that may happen in 1 − confidence of the repetitions. Fixed batch: the same rules, one after
another, each with the same number of episodes; the number with which the boldest good rule is certified as often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import gymnasium
import numpy as np
import tyro
from gymnasium import spaces
from numpy.typing import NDArray

from phr.actions import Discrete
from phr.evaluation.certify import certain_after, log_evidence
from phr.evaluation.episodes import make_vector
from phr.evaluation.tune import TuneSettings, tune_planner
from phr.evaluation.tuning import Tuning
from phr.plan import CategoricalPlan
from phr_studies.report.tables import Column, Table, to_markdown

N_ACTIONS, HORIZON, LENGTH = 4, 8, 16
ERRORS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3)
"""Probability that the student's k-th planned action is wrong."""


class Follow(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Name the action that is shown; the next ones are shown too. Each right action is worth 1 / LENGTH.

    With `noise` a wrong action costs as much, and every reward is disturbed by normal noise, which a seed does not repeat.
    """

    n_made: ClassVar[int] = 0

    def __init__(self, noise: float = 0.0) -> None:
        self.observation_space = spaces.Box(0, N_ACTIONS - 1, (HORIZON,), np.float32)
        self.action_space = spaces.Discrete(N_ACTIONS)
        self.noise, self._chance = noise, np.random.default_rng(Follow.n_made)
        Follow.n_made += 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._shown, self._at = self.np_random.integers(N_ACTIONS, size=LENGTH + HORIZON), 0
        return self._look(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        right = int(action) == self._shown[self._at]
        reward = float(right) / LENGTH
        if self.noise:
            reward += (right - 1) / LENGTH + self._chance.normal(0, self.noise / math.sqrt(LENGTH))
        self._at += 1
        return self._look(), float(reward), self._at == LENGTH, False, {}

    def _look(self) -> NDArray[np.float32]:
        ahead: NDArray[np.float32] = self._shown[self._at : self._at + HORIZON].astype(np.float32)
        return ahead


class Planned:
    """Plans what is shown; its k-th action is wrong with the probability `errors[k]`."""

    def __init__(self, errors: tuple[float, ...], seed: int) -> None:
        self.errors, self.horizon, self.n_actions = errors, len(errors), N_ACTIONS
        self.action_space, self._rng = Discrete(N_ACTIONS), np.random.default_rng(seed)

    def plan(self, obs: NDArray[Any]) -> CategoricalPlan:
        shown = np.asarray(obs)[:, : self.horizon].astype(np.int64)
        wrong = self._rng.random(shown.shape) < np.array(self.errors)
        other = self._rng.integers(1, N_ACTIONS, size=shown.shape)
        return CategoricalPlan.from_actions((shown + wrong * other) % N_ACTIONS, N_ACTIONS)


@dataclass(frozen=True)
class Toy:
    """A world, what is asked for, and the true share of every n."""

    name: str
    env_id: str
    retain: float
    worth_of_error: float
    noise: float

    @property
    def best(self) -> int:
        """The boldest n that keeps what is asked for."""
        return max(n for n in range(1, HORIZON + 1) if self.share(n) >= self.retain)

    def differences(self, n: int, episodes: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """What so many episodes give over what is asked for, as `phr tune` takes them, without playing them."""
        right = (rng.random((episodes, LENGTH)) >= np.array([ERRORS[step % n] for step in range(LENGTH)])).mean(axis=1)
        if not self.noise:
            return np.asarray(right - self.retain)
        mine, theirs = (worth + rng.normal(0, self.noise, episodes) for worth in (2 * right - 1, np.ones(episodes)))
        kept: NDArray[np.float64] = mine - self.retain * theirs + (1 - self.retain) / 2
        return kept

    def share(self, n: int) -> float:
        """Of the teacher's return that plans of n actions keep."""
        errors = [ERRORS[step % n] for step in range(LENGTH)]
        return 1 - self.worth_of_error * float(np.mean(errors))


# Without noise a random policy is worth 1/4, and zero is 0: an error costs its step. With noise the teacher is worth 1, a
# random policy 1/4 − 3/4, which is the zero: an error costs two of 1.5.
TOYS = (
    Toy("bounded", "Follow-v0", 0.952, 1.0, 0.0),
    Toy("unbounded", "NoisyFollow-v0", 0.935, 2 / 1.5, 0.1),
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    repetitions: int = 200
    confidence: float = 0.95
    max_episodes: int = 2000


def tuned(toy: Toy, arguments: Arguments, seed: int) -> Tuning:
    """One repetition."""
    settings = TuneSettings(
        retain=toy.retain,
        confidence=arguments.confidence,
        max_episodes=arguments.max_episodes,
        return_range=(0.0, 1.0) if toy.name == "bounded" else None,
        seed=seed,
    )
    with make_vector(toy.env_id, 32) as vector:
        return tune_planner(
            Planned(ERRORS, seed), Planned(ERRORS[:1], seed), vector, settings, model="student", teacher_name="teacher",
            is_timed=False,
        )  # fmt: skip


def compared(toy: Toy, arguments: Arguments) -> tuple[float, int]:
    """Mean episodes of one rule's test that may stop early, and of a fixed batch that certifies the best rule as often.

    All n are tested in turn, until one fails. The batch is judged once, by the bettors' wealth at its end where returns are
    bounded, else by a z-test.
    """
    delta, most, n_times = 1 - arguments.confidence, arguments.max_episodes, arguments.repetitions
    bounded, worst, rng = not toy.noise, toy.retain, np.random.default_rng(0)
    if not bounded:  # the worst and best of a calibration
        blind = 2 * rng.binomial(LENGTH, 1 / N_ACTIONS, 100) / LENGTH - 1 + rng.normal(0, toy.noise, 100)
        worst = toy.retain * (1 + rng.normal(0, toy.noise, 100)).max() - (1 - toy.retain) / 2 - blind.min()
    drawn = {n: [toy.differences(n, most, rng) for _ in range(n_times)] for n in range(1, toy.best + 2)}
    used: list[int] = []
    power = 0
    for index in range(n_times):
        for n, each in drawn.items():
            after = certain_after(each[index], worst, delta, bounded=bounded)
            used.append(after or _given_up(each[index]))
            if after is None:
                break
            power += n == toy.best

    def certified(differences: NDArray[np.float64]) -> bool:
        if bounded:
            return bool(log_evidence(differences, worst)[-1] >= -math.log(delta))
        z = differences.mean() / (differences.std(ddof=1) / math.sqrt(len(differences)))
        return bool(z >= NormalDist().inv_cdf(1 - delta))

    for batch in range(10, most, 10):
        if sum(all(certified(drawn[n][i][:batch]) for n in range(1, toy.best + 1)) for i in range(n_times)) >= power:
            return float(np.mean(used)), batch
    return float(np.mean(used)), most


def _given_up(differences: NDArray[np.float64]) -> int:
    """Episodes after which `phr tune` gives a rule up."""
    n = np.arange(1, len(differences) + 1)
    mean = np.cumsum(differences) / n
    deviation = np.sqrt(np.maximum(np.cumsum(differences**2) / n - mean**2, 0))
    hopeless = (mean < -2 * deviation / np.sqrt(n)) & (n % 32 == 0)
    return int(hopeless.argmax()) + 1 if hopeless.any() else len(differences)


def main(arguments: Arguments, toys: tuple[Toy, ...] = TOYS) -> int:
    """Print the table; 1 if a promise is broken too often."""
    for name, noise in (("Follow-v0", 0.0), ("NoisyFollow-v0", 0.1)):
        if name not in gymnasium.registry:
            gymnasium.register(name, f"{__name__}:Follow", kwargs={"noise": noise})
    rows, failed = [], False
    for toy in toys:
        found = [tuned(toy, arguments, seed) for seed in range(arguments.repetitions)]
        chosen = [each.choice.commitment for each in found if each.choice is not None]
        lengths = [n if isinstance(n, int) else HORIZON for n in chosen]
        broken = sum(toy.share(n) < toy.retain for n in lengths)
        rate, least = broken / len(found), 1 - arguments.confidence
        failed |= rate > least + 2 * math.sqrt(least * (1 - least) / len(found))
        anytime, batch = compared(toy, arguments)
        rows.append(
            (
                toy.name,
                f"{toy.retain:g}",
                ", ".join(f"{toy.share(n):.3f}" for n in range(1, HORIZON + 1)),
                f"{broken} of {len(found)}",
                f"{lengths.count(toy.best)} of {len(found)}",
                f"{anytime:.0f}",
                f"{batch}",
                f"{anytime / batch:.2f}",
            )
        )
        failed |= anytime > 0.6 * batch
    names = ("toy", "asked", "true share at n = 1 …", "broken", "best n chosen", "episodes a rule", "fixed batch", "ratio")
    print(f"{arguments.repetitions} repetitions, confidence {arguments.confidence:g}\n")
    print(to_markdown(Table("", tuple(Column(name) for name in names), tuple(rows))))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Arguments, description=__doc__)))
