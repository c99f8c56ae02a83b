"""What a policy achieves, and how fast."""

from phr.evaluation.baselines import frequency_averaged_score
from phr.evaluation.bound import TOLERATED_FRACTION, TimeBound, is_enough_to_judge, least_terms, measure_bound
from phr.evaluation.episodes import Jitter, distinct_starts, make_vector, play_all_starts, play_episodes
from phr.evaluation.evaluate import EvaluationSettings, check_fits, describe_machine, evaluate_planner
from phr.evaluation.evaluate import percentile_interval, sums_of_means
from phr.evaluation.timed import Limit, RunOptions, RunRecord, timed_run

__all__ = [
    "TOLERATED_FRACTION",
    "EvaluationSettings",
    "Jitter",
    "Limit",
    "RunOptions",
    "RunRecord",
    "TimeBound",
    "check_fits",
]
__all__ += ["describe_machine", "distinct_starts", "evaluate_planner", "frequency_averaged_score", "is_enough_to_judge"]
__all__ += ["least_terms", "make_vector"]
__all__ += ["measure_bound", "percentile_interval", "play_all_starts", "play_episodes", "sums_of_means", "timed_run"]
