from __future__ import annotations

import pytest

from phr.errors import InvalidDataError, SettingError
from phr_studies.bench.rounds import Contestant, alternate, ratio, spread, summed_up


def test_contestants_take_turns_and_every_second_round_goes_backwards() -> None:
    order: list[str] = []

    def named(name: str) -> Contestant:
        def play(index: int) -> dict[str, float]:
            order.append(f"{name}{index}")
            return {"round": float(index)}

        return Contestant(name, play)

    measured = alternate([named("a"), named("b"), named("c")], 3)

    assert order == ["a0", "b0", "c0", "c1", "b1", "a1", "a2", "b2", "c2"]
    assert list(measured) == ["a", "b", "c"]
    assert all([each["round"] for each in rounds] == [0, 1, 2] for rounds in measured.values())


def test_no_rounds_and_equal_names_are_refused() -> None:
    one = Contestant("one", lambda _index: {})
    with pytest.raises(SettingError, match="at least one round, got 0"):
        alternate([one], 0)
    with pytest.raises(InvalidDataError, match="different names"):
        alternate([one, one], 1)


def test_a_spread_keeps_the_median_the_ends_and_the_order() -> None:
    assert spread([3.0, 1.0, 10.0, 2.0]) == {"median": 2.5, "low": 1.0, "high": 10.0, "rounds": [3.0, 1.0, 10.0, 2.0]}
    with pytest.raises(InvalidDataError, match="at least one round"):
        spread([])


def test_a_ratio_is_taken_within_each_round() -> None:
    slowing_down = [1.0, 2.0, 4.0]  # the machine, for both
    found = ratio(spread([3 * each for each in slowing_down]), spread(slowing_down))
    assert found is not None
    assert found["rounds"] == [3.0, 3.0, 3.0]
    # The medians' ratio would be 8 / 5; the rounds say otherwise.
    crossed = ratio(spread([8.0, 9.0, 1.0]), spread([2.0, 9.0, 5.0]))
    assert crossed is not None
    assert crossed["median"] == 1.0


def test_a_ratio_over_nothing_is_none_and_over_other_rounds_refused() -> None:
    assert ratio(spread([1.0, 1.0]), spread([1.0, 0.0])) is None
    with pytest.raises(InvalidDataError, match="got 2 and 1"):
        ratio(spread([1.0, 1.0]), spread([1.0]))


def test_rates_come_from_seconds_steps_and_score() -> None:
    rounds = [{"seconds_wall": 2.0, "steps": 1000, "score": 6.0}, {"seconds_wall": 1.0, "steps": 2000, "score": 5.0}]
    found = summed_up(rounds)
    assert found["seconds_per_100k_steps"]["rounds"] == [200.0, 50.0]
    assert found["score_per_second"]["rounds"] == [3.0, 5.0]
