"""Kinds of words that commands share, with the placeholders that `--help` shows for them."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from phr.errors import SettingError


def word(metavar: str, help: str | None = None) -> Any:  # tyro's own word for it
    """How an option looks in `--help`; defaults are told in its help text, in words, where they tell something."""
    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint="")


Count = Annotated[int, word("N")]
OptionalCount = Annotated[int | None, word("N")]
OptionalNumber = Annotated[float | None, word("X")]
EnvId = Annotated[str, word("ID")]
OptionalEnvId = Annotated[str | None, word("ID")]
Folder = Annotated[Path, word("DIR")]
OnnxFile = Annotated[Path, word("FILE.onnx")]
OptionalModel = Annotated[str | None, word("MODEL")]
OptionalFolder = Annotated[Path | None, word("DIR")]
OptionalFile = Annotated[Path | None, word("FILE")]
Teacher = Annotated[tyro.conf.Positional[str | None], word("TEACHER")]
Episodes = Annotated[str | None, word("FILE")]
Activation = Annotated[
    str | None, word("NAME", "Activation function of a Stable-Baselines3 .zip that does not tell it: tanh, relu, ...")
]
Normalize = Annotated[
    Path | None, word("FILE.npz", "Statistics of the observations that a .zip was trained with, from phr convert.")
]
PickleFile = Annotated[tyro.conf.Positional[Path], word("FILE.pkl")]
StatisticsFile = Annotated[Path, word("FILE.npz")]
ModelReference = Annotated[tyro.conf.Positional[str], word("MODEL")]
[POSITIONAL] = get_args(tyro.conf.Positional[str])[1:]
"""The mark of the kinds that stand without an option before them."""
Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
Seed = Annotated[int, word("S", "Fixes all that is random (default 0).")]
Threads = Annotated[int, word("N", "Threads to compute with (default 1).")]
Resume = Annotated[
    bool,
    tyro.conf.arg(
        help="Start where there is nothing, go on where there is a part, do nothing where all is done.",
        help_behavior_hint="",
    ),
]


WORDS = tyro.constructors.ConstructorRegistry()
"""How words become values where Python's own way is too strict."""

_MOST_DIGITS = 18


@WORDS.primitive_rule
def _whole_numbers(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def whole_number(text: str) -> int:
    """The number that a text says: `1000`, `1_000`, `1,000` or `1e3`.

    Raises:
        ValueError: In Python's words, if it is not whole or has more than 18 digits.
    """
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", text):
        text = text.replace(",", "")
    try:
        number = Decimal(text)
    except InvalidOperation:
        return int(text)
    # The exponent first: 1e999999999 is a whole number that no memory holds.
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS or number != number.to_integral_value():
        raise ValueError(f"invalid literal for int() with base 10: {text!r}")
    return int(number)


def prefix_range(text: str) -> tuple[int, int]:
    """The two numbers of LO:HI.

    Raises:
        SettingError: If the text is something else.
    """
    low, colon, high = text.partition(":")
    if not (colon and low.isdecimal() and high.isdecimal()):
        raise SettingError(f"--random-prefix is LO:HI, two whole numbers, got {text!r}")
    return int(low), int(high)
