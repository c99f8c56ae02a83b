"""Whole numbers as people write them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser
import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from phr.cli.commands import parse
from phr.cli.words import READERS, whole_number
from phr.distil.config import PHRConfig
from phr.teacher.a2c import A2CConfig


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
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a whole number; got "):
        whole_number(text)


def test_every_whole_number_of_a_command_is_read_so() -> None:
    words = ["--total-timesteps", "1e6", "--n-envs", "1_6", "--seed", "1e1", "--threads", "2e0"]
    train = vars(parse(["train", "--env-id", "CartPole-v1", "--out", "new", *words]))
    assert train["settings"] == {"total_timesteps": 1_000_000, "n_envs": 16}
    assert (train["seed"], train["threads"]) == (10, 2)
    evaluate = vars(parse(["evaluate", "oracle", "--commitment", "1e1", "--steps", "1e5"]))
    assert (evaluate["commitment"], evaluate["steps"]) == (10, 100_000)
    assert vars(parse(["evaluate", "oracle", "--commitment", "auto"]))["commitment"] == "auto"
    distill = vars(parse(["distill", "oracle", "--horizon", "1e1", "--out", "new", "--refine", "3e0"]))
    assert distill["settings"] == {"horizon": 10, "refine": 3}


SAID: dict[type[Any], str] = {int: "3", float: "0.25", bool: "no", tuple[int, int]: "2:5"}
MEANT: dict[type[Any], Any] = {int: 3, float: 0.25, bool: False, tuple[int, int]: (2, 5)}


def settings_of(config: type[Any]) -> list[tuple[str, str, Any, Any]]:
    """For every setting that one word can express: its name, its option, the word and the value."""
    found = []
    for entry in fields(config):
        kind = get_type_hints(config)[entry.name]
        kind = (
            next((each for each in get_args(kind) if each is not type(None)), kind) if type(None) in get_args(kind) else kind
        )
        option = f"--{entry.name.replace('_', '-')}"
        if get_origin(kind) is Literal:
            found += [(entry.name, option, each.replace("_", "-"), each) for each in get_args(kind)]
        elif kind is bool and entry.default is False:
            found.append((entry.name, option, "", True))
        elif kind in SAID:
            found.append((entry.name, option, SAID[kind], MEANT[kind]))
    return found


@pytest.mark.parametrize(("command", "config"), [("train", A2CConfig), ("distill", PHRConfig)])
def test_every_setting_is_an_option_of_its_own_name(command: str, config: type[Any]) -> None:
    needed = {"train": ["--env-id", "CartPole-v1", "--out", "new"], "distill": ["oracle", "--out", "new", "--horizon", "2"]}
    settings = settings_of(config)
    assert len({name for name, *_ in settings}) >= len(fields(config)) - 1  # all but the trunk, which is no single word
    for name, option, text, value in settings:
        words = [command, *needed[command], option, *([text] if text else [])]
        parsed: Any = parse(words)
        assert (parsed.seed if name == "seed" else parsed.settings[name]) == value


@pytest.mark.parametrize("command", ["train", "distill"])
def test_every_option_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    config: type[Any] = A2CConfig if command == "train" else PHRConfig
    for entry in docstring_parser.parse_from_object(config).params:
        if entry.arg_name not in ("seed", "trunk"):
            assert entry.description is not None
            assert " ".join(entry.description.split()[:4]) in shown, entry.arg_name


def test_a_prefix_is_called_as_evaluate_calls_it() -> None:
    parsed: Any = parse(["distill", "oracle", "--horizon", "2", "--out", "new", "--random-prefix", "3:4"])
    assert parsed.settings["prefix"] == (3, 4)


def test_what_is_left_out_is_the_presets_affair() -> None:
    parsed: Any = parse(["distill", "oracle", "--horizon", "2", "--out", "new"])
    assert parsed.settings == {"horizon": 2}
    zeros: Any = parse(["distill", "oracle", "--horizon", "2", "--out", "new", "--refine", "0", "--weight-decay", "0"])
    assert zeros.settings == {"horizon": 2, "refine": 0, "weight_decay": 0.0}


# Different words: typing would answer the second union with the first, whose order it cached.
@pytest.mark.parametrize(("word", "kind"), [("before", Literal["before"] | int), ("behind", int | Literal["behind"])])
def test_the_order_of_a_union_does_not_matter(capsys: pytest.CaptureFixture[str], word: str, kind: Any) -> None:
    def read(text: str) -> Any:
        return tyro.cli(kind, args=[text], registry=READERS)

    assert read(word) == word
    assert read("1e3") == 1000
    with pytest.raises(SystemExit):
        read("all")
    assert f"must be {word} or a whole number; got" in capsys.readouterr().err
