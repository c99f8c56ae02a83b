"""Measure the processor time of a decision in an Atari game, compared with Gymnasium's preprocessing.

.venv/bin/python benchmarks/atari_costs.py --env-id PongDeterministic-v4
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import tyro
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from phr.envs.atari import AtariSplitEnv, AtariVector
from phr.envs.registry import make_env


@dataclass(frozen=True)
class Arguments:
    """Measure all variants in turn, and print the median of the rounds."""

    env_id: str = "PongDeterministic-v4"
    """An Atari id."""
    rounds: int = 9
    """Number of rounds; each measures every variant once, so that all run at the same machine speed."""
    decisions: int = 400
    """Decisions per variant and round; fewer than a game."""


def main(arguments: Arguments) -> None:
    """Print microseconds of one thread per decision."""
    ours: Any = make_env(arguments.env_id)
    if not isinstance(ours, AtariSplitEnv):
        raise SystemExit(f"--env-id must be an Atari id, got {arguments.env_id!r}")
    plain = gymnasium.make(f"ALE/{_pascal(ours.game)}-v5", frameskip=1, repeat_action_probability=ours.settings.sticky)
    field = FrameStackObservation(AtariPreprocessing(plain), 4)
    vector = AtariVector(ours, range(8), lambda _game, _round: None, 1)
    vector.reset()

    def step_vector(batch: Any) -> None:
        vector.send(batch)
        vector.receive()

    bare, out = ours.bare(), np.empty((4, 84, 84), np.uint8)
    actions = np.random.default_rng(0).integers(ours.n_actions, size=arguments.decisions).tolist()

    def look_every(commitment: int) -> Callable[[], None]:
        def play() -> None:
            for index, action in enumerate(actions):
                ours.advance(action)
                if index % commitment == commitment - 1:
                    ours.observe(out)

        return play

    ways: dict[str, tuple[Callable[[], Any], Callable[[], None], int]] = {
        "emulator alone": (ours.reset, lambda: _each(bare.step, actions), 1),
        "advance, never looking": (ours.reset, look_every(10**9), 1),
        "advance, a look every 16": (ours.reset, look_every(16), 1),
        "advance, a look every 8": (ours.reset, look_every(8), 1),
        "advance, a look every 4": (ours.reset, look_every(4), 1),
        "advance and observe": (ours.reset, look_every(1), 1),
        "AtariPreprocessing + FrameStackObservation": (field.reset, lambda: _each(field.step, actions), 1),
        "AtariVectorEnv, 8 games": (
            lambda: None,
            lambda: _each(step_vector, [np.full(8, action) for action in actions[: len(actions) // 8]]),
            1,
        ),
        "reset": (lambda: None, lambda: _each(lambda _: ours.reset(), range(20)), arguments.decisions // 20),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, (prepare, play, scale) in ways.items():
            prepare()
            begin = time.process_time()
            play()
            seconds[name].append(scale * (time.process_time() - begin) / arguments.decisions)
    for name, values in seconds.items():
        print(f"{name:<44} {1e6 * np.median(values):8.1f} µs  (least {1e6 * min(values):.1f})")


def _each(call: Callable[[Any], Any], items: Any) -> None:
    for item in items:
        call(item)


def _pascal(game: str) -> str:
    return game.title().replace("_", "")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
