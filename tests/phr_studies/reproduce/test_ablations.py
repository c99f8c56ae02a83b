from __future__ import annotations

import pytest

from phr.distil.presets import student_config
from phr_studies.reproduce.profiles import ABLATIONS, Ablation, Outcome, Verdict


def outcome(*solved: float) -> Outcome:
    """Fractions solved at n = 1, 4, 8, ..., the same for each of three seeds."""
    return Outcome(solved={n: (float(share),) * 3 for n, share in zip((1, 4, 8, 16), solved, strict=False)})


def verdict(name: str, **outcomes: Outcome) -> Verdict:
    """Whether the claim held; settings that are not named solved everything."""
    ablation = next(ablation for ablation in ABLATIONS if ablation.name.startswith(name))
    labels = [label for label, _ in ablation.settings]
    named = {next(label for label in labels if label.replace(" ", "_") == key): value for key, value in outcomes.items()}
    return ablation.judge({label: named.get(label, outcome(1, 1)) for label in labels})


def test_the_worst_commitment_above_1_counts() -> None:
    found = Outcome({1: (0.1, 0.2), 4: (0.9, 0.3), 8: (0.5, 0.7)})
    assert found.worst == (0.5, 0.3)
    assert found.head_one == (0.1, 0.2)


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.name)
def test_every_setting_is_one_that_the_student_knows(ablation: Ablation) -> None:
    configs = [student_config("PHR/FourRooms-v0", 16, **settings) for _, settings in ablation.settings]
    assert len(set(configs)) == len(configs) > 1
    assert ablation.claim.endswith(".")


def test_names_and_labels_are_all_different() -> None:
    pairs = [(ablation.name, label) for ablation in ABLATIONS for label, _ in ablation.settings]
    assert len(set(pairs)) == len(pairs)


def test_the_issue_s_ablations_are_there() -> None:
    varied = {name for ablation in ABLATIONS for _, settings in ablation.settings for name in settings}
    assert varied >= {"window_stride", "loss_weight", "pad", "sample_labels", "trunk_mode", "joint"}


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("end of an episode", "padded", "strict_cut"),
        ("labels", "greedy", "sampled"),
    ],
)
def test_a_claim_that_one_setting_does_better(name: str, better: str, worse: str) -> None:
    assert verdict(name, **{worse: outcome(1, 1, 0.5)}) == "held"
    assert verdict(name, **{better: outcome(1, 0.5)}) == "did not hold"
    assert verdict(name) == "not decided"


def test_without_windows_there_is_no_student_to_solve_anything() -> None:
    none = Outcome({1: (0.0,) * 3, 4: (0.0,) * 3}, n_windowless=3)
    assert none.windowless
    assert none.describe("strict cut") == "strict cut"
    assert verdict("end of an episode", strict_cut=none) == "held"
    some = Outcome({1: (0.0, 1.0, 1.0), 4: (0.0, 1.0, 1.0)}, n_windowless=1)
    assert not some.windowless
    assert some.describe("strict cut") == "strict cut, no window for 1 of 3 seeds"
    assert verdict("end of an episode", strict_cut=some) == "not decided"


def test_the_trunk_is_judged_by_head_1() -> None:
    assert verdict("trunk", shared=outcome(0.9, 1)) == "held"
    assert verdict("trunk", shared=outcome(1, 0.2)) == "not decided"
    assert verdict("trunk", anchored=outcome(0.9, 1)) == "did not hold"


def test_the_stride_helps_if_any_larger_one_does_better() -> None:
    assert verdict("window stride", **{"α_=_1": outcome(1, 0.5)}) == "held"
    assert verdict("window stride", **{"α_=_8": outcome(1, 0.5)}) == "not decided"
    losing = {f"α_=_{stride}": outcome(1, 0.5) for stride in (2, 4, 8)}
    assert verdict("window stride", **losing) == "did not hold"


@pytest.mark.parametrize(("name", "label"), [("loss weight λ, reg", "λ_=_10"), ("loss weight λ, joint", "joint,_λ_=_10")])
def test_the_weight_matters_if_any_two_differ(name: str, label: str) -> None:
    assert verdict(name, **{label: outcome(1, 0.5)}) == "held"
    assert verdict(name) == "did not hold"


def test_smoothing_helps_if_it_helps_both_losses() -> None:
    worse = {"squared,_ε_=_0": outcome(1, 0.5), "kl,_ε_=_0": outcome(1, 0.2)}
    assert verdict("teacher smoothing", **worse) == "held"
    assert verdict("teacher smoothing", **{"kl,_ε_=_0": outcome(1, 0.2)}) == "not decided"
    assert verdict("teacher smoothing", **{"kl,_ε_=_0.1": outcome(1, 0.2)}) == "did not hold"


def test_joint_training_should_lose_nothing() -> None:
    assert verdict("joint") == "held"
    assert verdict("joint", joint=outcome(1, 0.9)) == "did not hold"
