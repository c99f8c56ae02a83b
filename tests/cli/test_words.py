"""Whole numbers as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phr.cli.run import parse
from phr.cli.words import whole_number


@given(st.integers(-(10**17), 10**17))
def test_python_s_own_way_of_writing_is_read(number: int) -> None:
    assert whole_number(str(number)) == whole_number(f"{number:_}") == whole_number(f"{number:,}") == number


@given(st.integers(-999, 999), st.integers(0, 15))
def test_exponents_are_read_exactly(digits: int, exponent: int) -> None:
    assert whole_number(f"{digits}e{exponent}") == digits * 10**exponent
    assert whole_number(f"{digits / 100:.2f}E{exponent + 2}") == digits * 10**exponent


@pytest.mark.parametrize(
    "text", ["1.5", "1e-3", "2.55e1", "nan", "inf", "-inf", "1e18", "1e999999999", "x", "", "1e", "0x10", "1,00", "1,000.5"]
)
def test_anything_else_is_refused_in_python_s_words(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal for int"):
        whole_number(text)


def test_every_whole_number_of_a_command_is_read_so() -> None:
    words = ["--total-timesteps", "1e6", "--n-envs", "1_6", "--seed", "1e1", "--threads", "2e0"]
    train = vars(parse(["train", "--env-id", "CartPole-v1", "--out", "new", *words]))
    assert [train[name] for name in ("total_timesteps", "n_envs", "seed", "threads")] == [1_000_000, 16, 10, 2]
    evaluate = vars(parse(["evaluate", "oracle", "--commitment", "1e1", "--steps", "1e5"]))
    assert (evaluate["commitment"], evaluate["steps"]) == (10, 100_000)
    assert vars(parse(["evaluate", "oracle", "--commitment", "auto"]))["commitment"] == "auto"
    assert vars(parse(["distill", "oracle", "--horizon", "1e1", "--out", "new", "--refine", "3e0"]))["refine"] == 3
