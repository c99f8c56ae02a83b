from __future__ import annotations

import pytest

from phr.learning.presets import student_config
from phr.studies.ablations import ABLATIONS, Ablation, Outcome


def outcome(*solved: float) -> Outcome:
    """Fractions solved at n = 1, 4, 8, ..."""
    return Outcome(solved={n: float(share) for n, share in zip((1, 4, 8, 16), solved, strict=False)})


def verdict(name: str, **outcomes: Outcome) -> bool | None:
    """Whether the claim held; settings that are not named solved everything."""
    ablation = next(ablation for ablation in ABLATIONS if ablation.name.startswith(name))
    labels = [label for label, _ in ablation.settings]
    named = {
        next(label for label in labels if label.replace(" ", "_").startswith(key)): value for key, value in outcomes.items()
    }
    return ablation.held({label: named.get(label, outcome(1, 1)) for label in labels})


def test_the_worst_commitment_above_1_counts() -> None:
    assert outcome(0.1, 0.9, 0.5).worst == 0.5
    assert outcome(0.1, 0.9, 0.5).head_one == 0.1


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
    assert verdict(name, **{worse: outcome(1, 1, 0.5)}) is True
    assert verdict(name, **{better: outcome(1, 0.5)}) is False
    assert verdict(name) is None


def test_the_trunk_is_judged_by_head_1() -> None:
    assert verdict("trunk", shared=outcome(0.9, 1)) is True
    assert verdict("trunk", shared=outcome(1, 0.2)) is None
    assert verdict("trunk", anchored=outcome(0.9, 1)) is False


def test_the_stride_helps_if_any_larger_one_does_better() -> None:
    assert verdict("window stride", **{"α_=_1": outcome(1, 0.5)}) is True
    assert verdict("window stride", **{"α_=_8": outcome(1, 0.5)}) is None
    losing = {f"α_=_{stride}": outcome(1, 0.5) for stride in (2, 4, 8)}
    assert verdict("window stride", **losing) is False


def test_the_weight_matters_if_any_two_differ() -> None:
    assert verdict("loss weight", **{"λ_=_10": outcome(1, 0.5)}) is True
    assert verdict("loss weight") is False


def test_joint_training_should_lose_nothing() -> None:
    assert verdict("joint") is True
    assert verdict("joint", joint=outcome(1, 0.9)) is False
