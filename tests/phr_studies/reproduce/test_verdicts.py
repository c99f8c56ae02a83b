from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr_studies.reproduce.profiles import FEWEST_SEEDS, TOLERANCE, Verdict, alike, better, every, opposite, some

HIGH, LOW, WIDE = (1.0, 0.9, 0.95), (0.5, 0.6, 0.7), (0.4, 0.95, 0.8)
fractions = st.lists(st.floats(0, 1), min_size=FEWEST_SEEDS, max_size=5)


def test_a_setting_is_better_where_its_worst_seed_beats_the_others_best() -> None:
    assert better(HIGH, LOW) == "held"
    assert better(LOW, HIGH) == "did not hold"
    assert better(HIGH, WIDE) == better(WIDE, HIGH) == better(HIGH, HIGH) == "not decided"


def test_differences_within_the_tolerance_decide_nothing() -> None:
    just_above = (0.5 + TOLERANCE - 0.001,) * 3
    assert better(just_above, (0.5,) * 3) == "not decided"
    assert better((0.5 + TOLERANCE + 0.001,) * 3, (0.5,) * 3) == "held"


def test_two_seeds_decide_nothing() -> None:
    assert better((1.0, 1.0), (0.0, 0.0)) == "not decided"
    assert alike([(1.0, 1.0), (1.0, 1.0)]) == "not decided"


@given(fractions, fractions)
def test_better_is_decided_by_every_pair_of_seeds(first: list[float], second: list[float]) -> None:
    pairs = [one - other for one in first for other in second]
    assert (better(first, second) == "held") == all(one > max(second) + TOLERANCE for one in first)
    assert better(first, second) == opposite(better(second, first))
    if better(first, second) == "held":
        assert min(pairs) > 0


def test_settings_are_alike_seed_by_seed() -> None:
    assert alike([(1.0, 0.2, 0.6), (0.98, 0.22, 0.6)]) == "held", "the seeds differ, the settings do not"
    assert alike([HIGH, HIGH, LOW]) == "did not hold"
    assert alike([HIGH, WIDE]) == "not decided"


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=3))
def test_being_alike_knows_no_order(settings: list[tuple[float, ...]]) -> None:
    assert len({alike(order) for order in permutations(settings)}) == 1


@pytest.mark.parametrize(
    ("verdicts", "all_of_them", "one_of_them"),
    [
        (["held", "held"], "held", "held"),
        (["held", "not decided"], "not decided", "held"),
        (["held", "did not hold"], "did not hold", "held"),
        (["did not hold", "not decided"], "did not hold", "not decided"),
        (["did not hold", "did not hold"], "did not hold", "did not hold"),
    ],
)
def test_claims_are_joined(verdicts: list[Verdict], all_of_them: Verdict, one_of_them: Verdict) -> None:
    assert every(verdicts) == all_of_them
    assert some(verdicts) == one_of_them
