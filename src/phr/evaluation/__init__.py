"""What a policy achieves, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.evaluation.bound import TOLERATED_FRACTION as TOLERATED_FRACTION
    from phr.evaluation.bound import TimeBound as TimeBound
    from phr.evaluation.bound import is_enough_to_judge as is_enough_to_judge
    from phr.evaluation.bound import least_terms as least_terms
    from phr.evaluation.bound import measure_bound as measure_bound
    from phr.evaluation.episodes import make_vector as make_vector
    from phr.evaluation.episodes import play_episodes as play_episodes
    from phr.evaluation.evaluate import EvaluationSettings as EvaluationSettings
    from phr.evaluation.evaluate import check_fits as check_fits
    from phr.evaluation.evaluate import evaluate_planner as evaluate_planner
    from phr.evaluation.machine import describe_machine as describe_machine
    from phr.evaluation.starts import distinct_starts as distinct_starts
    from phr.evaluation.starts import play_all_starts as play_all_starts
    from phr.evaluation.statistics import frequency_averaged_score as frequency_averaged_score
    from phr.evaluation.statistics import two_level_bootstrap as two_level_bootstrap
    from phr.evaluation.statistics import two_level_ratio_bootstrap as two_level_ratio_bootstrap
    from phr.evaluation.timed import Limit as Limit
    from phr.evaluation.timed import RunOptions as RunOptions
    from phr.evaluation.timed import RunRecord as RunRecord
    from phr.evaluation.timed import timed_run as timed_run

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "bound": "TOLERATED_FRACTION TimeBound is_enough_to_judge least_terms measure_bound",
        "episodes": "make_vector play_episodes",
        "evaluate": "EvaluationSettings check_fits evaluate_planner",
        "machine": "describe_machine",
        "starts": "distinct_starts play_all_starts",
        "statistics": "frequency_averaged_score two_level_bootstrap two_level_ratio_bootstrap",
        "timed": "Limit RunOptions RunRecord timed_run",
    },
)
