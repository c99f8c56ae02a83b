"""What a policy achieves, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.evaluation.bound import (
        TOLERATED_FRACTION as TOLERATED_FRACTION,
        TimeBound as TimeBound,
        is_enough_to_judge as is_enough_to_judge,
        least_terms as least_terms,
        measure_bound as measure_bound,
    )
    from phr.evaluation.episodes import (
        make_vector as make_vector,
        play_episodes as play_episodes,
        distinct_starts as distinct_starts,
        play_all_starts as play_all_starts,
    )
    from phr.evaluation.evaluate import (
        EvaluationSettings as EvaluationSettings,
        check_fits as check_fits,
        evaluate_planner as evaluate_planner,
        describe_machine as describe_machine,
    )
    from phr.evaluation.summary import percentile_interval as percentile_interval, sums_of_means as sums_of_means
    from phr.evaluation.timed import Limit as Limit, RunOptions as RunOptions, RunRecord as RunRecord, timed_run as timed_run

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "bound": "TOLERATED_FRACTION TimeBound is_enough_to_judge least_terms measure_bound",
        "episodes": "make_vector play_episodes distinct_starts play_all_starts",
        "evaluate": "EvaluationSettings check_fits evaluate_planner describe_machine",
        "summary": "percentile_interval sums_of_means",
        "timed": "Limit RunOptions RunRecord timed_run",
    },
)
