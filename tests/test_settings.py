"""Whatever a setting is given, it is accepted or refused in one line that names it."""

from __future__ import annotations

import dataclasses
import fractions
import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phr
from phr.acting.commitment import resolve_commitment
from phr.distil.config import PHRConfig
from phr.errors import HorizonError, SettingError
from phr.evaluation.timed import RunOptions
from phr.networks.trunks import TrunkConfig
from phr.settings import Fraction, check_settings, check_whole
from phr.teacher.a2c import A2CConfig
from tests.trained import CORRIDOR, corridor_teacher

KINDS: dict[type[Any], dict[str, Any]] = {A2CConfig: {}, PHRConfig: {"horizon": 4}}
FIELDS = [(kind, entry.name) for kind in KINDS for entry in dataclasses.fields(kind)]

odd_numbers = [10**400, 10**5000, 2**53 + 1, -(2**60), np.int64(3), np.float32(0.5), np.bool_(True)]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(max_size=8), st.binary(max_size=4),
    st.fractions(), st.decimals(), st.sampled_from(odd_numbers),
    st.sampled_from(["", "grid", "squared", "rmsprop", "shared", "auto", "float32"]),
)  # fmt: skip
junk = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.tuples(scalars, scalars),
    st.tuples(scalars),
    st.dictionaries(st.text(max_size=3), scalars, max_size=2),
    st.builds(np.full, st.integers(0, 3), st.floats()),
    st.sampled_from([TrunkConfig(kind="mlp"), object(), int, math.sqrt]),
)


def made(kind: type[Any], **values: Any) -> Any:
    return kind(**{**KINDS[kind], **values})


@given(field=st.sampled_from(FIELDS), value=junk)
@settings(max_examples=250)
def test_any_value_is_accepted_or_refused_in_one_line(field: tuple[type[Any], str], value: Any) -> None:
    kind, name = field
    try:
        config = made(kind, **{name: value})
    except (SettingError, HorizonError) as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 400
        assert name in line
    else:
        assert hash(config) == hash(dataclasses.replace(config))  # as every other
        assert isinstance(config.seed, int)


def test_the_defaults_are_of_their_fields_types() -> None:
    for kind, name in FIELDS:
        config = made(kind)
        entry = next(entry for entry in dataclasses.fields(kind) if entry.name == name)
        if entry.default is not dataclasses.MISSING and name not in KINDS[kind]:
            assert getattr(config, name) == entry.default
            assert type(getattr(config, name)) is type(entry.default), name


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"n_episodes": 2e1}, 20),
        ({"n_episodes": np.int32(20)}, 20),
        ({"n_episodes": fractions.Fraction(20)}, 20),
        ({"learning_rate": 1}, 1.0),
        ({"learning_rate": np.float64(0.5)}, 0.5),
        ({"pad": np.bool_(False)}, False),
        ({"prefix": [2, 5.0]}, (2, 5)),
        ({"width": 64.0}, 64),
        ({"width": None}, None),
        ({"seed": 2**53}, 2**53),
    ],
)
def test_numbers_become_their_fields_type(given: dict[str, Any], stored: Any) -> None:
    [name] = given
    found = getattr(PHRConfig(horizon=4, **given), name)
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (PHRConfig, {"n_episodes": "20"}, "n_episodes must be a whole number, got '20'"),
        (PHRConfig, {"n_episodes": 20.5}, "n_episodes must be a whole number, got 20.5"),
        (PHRConfig, {"n_episodes": True}, "n_episodes must be a whole number, got True"),
        (PHRConfig, {"n_episodes": None}, "n_episodes must be a whole number, got None"),
        (PHRConfig, {"n_episodes": math.nan}, "n_episodes must be finite, got nan"),
        (PHRConfig, {"n_episodes": 10**30}, f"n_episodes must be at most 9,007,199,254,740,992, got {10**30}"),
        (PHRConfig, {"n_episodes": 10**5000}, "n_episodes must be at most 9,007,199,254,740,992, got <int>"),
        (PHRConfig, {"learning_rate": "1e-3"}, "learning_rate must be a number, got '1e-3'"),
        (PHRConfig, {"learning_rate": False}, "learning_rate must be a number, got False"),
        (PHRConfig, {"learning_rate": 10**400}, f"learning_rate must be finite, got {'1' + '0' * 79}..."),
        (PHRConfig, {"learning_rate": np.ones((2, 2))}, "learning_rate must be a number, got array([[1., 1.], [1., 1.]])"),
        (PHRConfig, {"joint": "yes"}, "joint must be True or False, got 'yes'"),
        (PHRConfig, {"pad": 1}, "pad must be True or False, got 1"),
        (PHRConfig, {"loss": "huber"}, "loss must be one of 'squared', 'squared_logits', 'kl', 'forward_kl', "
            "'cross_entropy', 'gaussian'; got 'huber'"),
        (PHRConfig, {"trunk_mode": ["shared"]}, "trunk_mode must be one of 'shared', 'anchored', 'frozen', 'own'; "
            "got ['shared']"),
        (PHRConfig, {"prefix": 5}, "prefix must hold 2 values, got 5"),
        (PHRConfig, {"prefix": (1, 2, 3)}, "prefix must hold 2 values, got (1, 2, 3)"),
        (PHRConfig, {"prefix": "12"}, "prefix must hold 2 values, got '12'"),
        (PHRConfig, {"prefix": (1, "2")}, "prefix must hold 2 values, each of which must be a whole number, got (1, '2')"),
        (PHRConfig, {"prefix": (3, 2)}, "prefix needs 0 <= low <= high, got 3:2"),
        (PHRConfig, {"width": 0}, "width must lie in [1, 8192], got 0"),
        (PHRConfig, {"width": 8193}, "width must lie in [1, 8192], got 8193"),
        (PHRConfig, {"refine": -1}, "refine must be >= 0, got -1"),
        (PHRConfig, {"refine_share": 0.0}, "refine_share must lie in (0, 1], got 0.0"),
        (PHRConfig, {"warmup": 1}, "warmup must lie in [0, 1), got 1"),
        (PHRConfig, {"seed": 0.5}, "seed must be a whole number, got 0.5"),
        (A2CConfig, {"trunk": "grid"}, "trunk must be a TrunkConfig, got 'grid'"),
        (A2CConfig, {"gamma": 1.5}, "gamma must lie in [0, 1], got 1.5"),
        (A2CConfig, {"optimizer_eps": 0}, "optimizer_eps must be positive, got 0"),
        (A2CConfig, {"precision": None}, "precision must be one of 'auto', 'float32', 'bfloat16'; got None"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_rule(kind: type[Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        made(kind, **given)
    assert str(caught.value) == message


@pytest.mark.parametrize("horizon", [0, -1, "4", None, True, math.nan, 2.5])
def test_a_wrong_horizon_is_a_horizon_error(horizon: Any) -> None:
    with pytest.raises(HorizonError, match="^the horizon must "):
        PHRConfig(horizon=horizon)


@dataclasses.dataclass(frozen=True)
class Mixed:
    """A setting of several types."""

    keep: Literal["auto", "all"] | Fraction | None = "auto"
    prefix: tuple[int, int] = (0, 0)
    seed: int = 0


@pytest.mark.parametrize("value", ["all", 0.5, 1, None])
def test_a_setting_may_have_several_types(value: Any) -> None:
    mixed = Mixed(keep=value)
    check_settings(mixed)
    assert mixed.keep == value


@pytest.mark.parametrize("value", ["none", 1.5, [0.5]])
def test_a_value_that_fits_none_of_several_types_is_told_all_rules(value: Any) -> None:
    rule = "lie in [0, 1]" if value == 1.5 else "be a number"
    with pytest.raises(SettingError) as caught:
        check_settings(Mixed(keep=value))
    assert str(caught.value) == f"keep must be one of 'auto', 'all' or {rule}; got {value!r}"


@pytest.mark.parametrize("name", ["fresh", "world", "action_space", "given", "joint_config"])
def test_distill_knows_the_fields_of_its_config_alone(name: str) -> None:
    word: Any = {name: None}
    with pytest.raises(SettingError, match=f"^there is no setting '{name}'"):
        phr.distill(corridor_teacher(), horizon=2, **word)


@pytest.mark.parametrize("start", [None, "teacher"])
@pytest.mark.parametrize("name", ["env", "network", "make"])
def test_train_teacher_knows_the_fields_of_its_config_alone(name: str, start: str | None) -> None:
    word: Any = {name: None}
    with pytest.raises(SettingError, match=f"^there is no setting '{name}'"):
        phr.train_teacher(CORRIDOR, start=None if start is None else corridor_teacher(), **word)


def test_a_trunk_beside_start_is_refused() -> None:
    with pytest.raises(SettingError, match="trunk must be left out where start is given"):
        phr.train_teacher(CORRIDOR, start=corridor_teacher(), trunk=TrunkConfig(kind="mlp"), total_timesteps=64)


@pytest.mark.parametrize(
    "settings",
    [{"n_episodes": "many"}, {"width": "wide"}, {"refine": "once"}, {"loss": 3}, {"joint": "yes"}, {"sample_labels": 2}],
    ids=str,
)
def test_the_front_door_refuses_wrong_types_in_one_line(settings: dict[str, Any]) -> None:
    [name] = settings
    with pytest.raises(SettingError, match=f"^{name} must "):
        phr.distill(corridor_teacher(), horizon=2, **settings)
    with pytest.raises(SettingError, match="^n_envs must be a whole number, got '4'$"):
        phr.train_teacher(CORRIDOR, n_envs="4")


@pytest.mark.parametrize("value", [-(10**400), pytest.param(-(10**5000), id="vast"), 0, np.int64(0), 1.0, True, "1"])
def test_a_number_that_is_too_small_or_none_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(SettingError, match=r"^n must be .*>= 1, got ") as caught:
        check_whole("n", value, 1)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("made", [lambda vast: resolve_commitment(vast, 4), lambda vast: RunOptions((vast, 1))])
def test_a_vast_commitment_or_prefix_is_refused_in_one_line(made: Any) -> None:
    for vast in (10**400, 10**5000):
        with pytest.raises((SettingError, HorizonError)) as caught:
            made(vast)
        assert len(str(caught.value)) < 200
