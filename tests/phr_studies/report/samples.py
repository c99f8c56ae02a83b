"""Made-up evaluations, points and paths, shaped like real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from phr_studies.report.figure5 import LearnedPath
from phr_studies.report.points import Point

CROSSING = "MiniGrid-SimpleCrossingS9N1-v0"
ROOMS = "PHR/FourRooms-v0"


def fake_evaluation(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """What `Evaluation.to_json` gives: three runs of uneven length, some of their episodes failed."""
    rng = np.random.default_rng(seed)
    runs = []
    for index in range(3):
        returns = rng.choice([0.96, 0.95, 0.0], size=5 + index, p=[0.6, 0.3, 0.1])
        lengths = rng.integers(13, 17, size=len(returns))
        runs.append(
            {
                "seed": index,
                "steps": int(lengths.sum()) + 3,
                "episodes": len(returns),
                "returns": returns.tolist(),
                "lengths": lengths.tolist(),
                "score": float(returns.sum()),
                "evaluations": 4 * len(returns),
                "seconds_wall": float(rng.uniform(0.5, 1.5)),
            }
        )
    shared = {"env_id": CROSSING, "commitment": 4, "success_rate": 0.9, "evaluations_per_episode": 4.0 + seed}
    return {**shared, "runs": runs, "bound": {"fraction": 0.8}, **changes}


def fake_points(env_id: str = CROSSING) -> list[Point]:
    """A teacher, three losses, the action-repeat baseline and the optimum."""
    points = [fake_point(env_id, "teacher", 1, seconds=38.0)]
    for series, kept in (("cross_entropy", 1.0), ("squared", 0.9), ("kl", 0.8), ("action repeat", 0.1)):
        points += [fake_point(env_id, series, n, seconds=3 + 35 / n, kept=kept) for n in (4, 8, 16)]
    return points + [fake_point(env_id, "optimum", n, seconds=3 + 35 / n, exact=True) for n in (1, 4, 8, 16)]


def fake_point(env_id: str, series: str, n: int, *, seconds: float, kept: float = 1.0, exact: bool = False) -> Point:
    score = 1e5 / seconds * 0.96 * kept / 14.2
    return Point(
        env_id=env_id,
        series=series,
        n=n,
        n_runs=1 if exact else 10,
        return_mean=0.96 * kept,
        return_interval=None if exact else (0.96 * kept - 0.001, 0.96 * kept + 0.001),
        length_mean=14.2 / kept,
        success_rate=kept,
        evaluations_per_episode=float(np.ceil(14.2 / n)),
        seconds_per_100k_steps=seconds,
        seconds_interval=None if exact else (0.97 * seconds, 1.03 * seconds),
        score_per_second=score,
        score_interval=None if exact else (0.97 * score, 1.03 * score),
        bound_fraction=0.87,
    )


def paper_path() -> LearnedPath:
    """The path of the paper's Fig. 5: commitment 4, 16 actions, one of them wasted."""
    walls, open_row = "#.....#.#", "#.......#"
    rows = ("#" * 9, *[walls] * 3, open_row, *[walls] * 2, "#.....#G#", "#" * 9)
    right, down = 0, 1
    places = [(1, 1, right), (2, 1, right), (3, 1, right), (3, 1, right), (3, 1, down)]
    places += [(3, 2, down), (3, 3, down), (3, 4, down), (3, 4, right)]
    places += [(4, 4, right), (5, 4, right), (6, 4, right), (7, 4, right), (7, 4, down)]
    places += [(7, 5, down), (7, 6, down), (7, 7, down)]
    return LearnedPath(
        env_id=CROSSING,
        title="",
        commitment=4,
        map=rows,
        places=tuple(places),
        actions=(2, 2, 6, 1, 2, 2, 2, 0, 2, 2, 2, 2, 1, 2, 2, 2),
        looked=tuple(index % 4 == 0 for index in range(16)),
        solved=True,
    )
