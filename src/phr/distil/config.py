"""Settings of stage 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from phr.distil.losses import PlanLoss
from phr.errors import HorizonError, SettingError
from phr.experience.success import Keep, check_keep
from phr.networks.trunks import Precision
from phr.settings import (
    Count,
    CountFromZero,
    Fraction,
    FractionBelowOne,
    NotNegative,
    Positive,
    Range,
    check_settings,
    no_type_check,
)

TrunkMode = Literal["shared", "anchored", "frozen", "own"]

Width = Annotated[int, Range(low=1.0, high=8192.0)]
"""At most sixteen times the Nature network."""
Share = Annotated[float, Range(above=0.0, high=1.0)]

LONGEST_HORIZON = 4096

SIDE_BY_SIDE = 64
"""Environments by default."""


@no_type_check
@dataclass(frozen=True, kw_only=True)
class PHRConfig:
    """Settings of stage 2."""

    horizon: Count = 8
    """n: actions predicted from one look."""
    loss: PlanLoss = "cross_entropy"
    """How a student row is compared with a teacher row; continuous actions with `squared` or `gaussian`."""
    teacher_smoothing: FractionBelowOne = 0.1
    """ε: a student is compared with (1 − ε)·p + ε/n_actions instead of the teacher's row p (`cross_entropy`: instead of its
    action alone); 0 is the paper. A trained teacher rules actions out by 12 nats and more; ε > 0 bounds what they can cost,
    and how large a student's logits grow. `squared_logits` and continuous actions ignore it."""
    window_stride: Count = 1
    """α: every α-th window of a trajectory is kept, the first always (implementation detail (i))."""
    loss_weight: Positive = 1.0
    """λ: scales the loss (Eq. 11)."""
    pad: bool = True
    """Keep windows that run past the end of an episode, masked; otherwise the paper's strict cut t ≤ m − n + 1."""
    trunk_mode: TrunkMode = "anchored"
    """`shared`: heads 2..n are regressed through the shared trunk, so head 1 drifts (the paper, Eq. 8). `anchored`: head 1
    is regressed too. `frozen`: only heads 2..n move. `own`: heads 2..n get a trunk of their own, head 1 keeps the
    teacher's."""
    width: Width | None = None
    """Units of the student's own trunk, which starts fresh: the layers of the network that the student would otherwise start
    from, with the channels of convolutions in proportion. Unset: the student starts from the teacher's network, if it has
    one."""
    causal: bool | None = None
    """Every head knows the actions planned before its own (phr.networks.policy.Links), so that a plan is one of several
    likely ones and not a mixture of them. Discrete actions alone, from a horizon of 2 on. Unset: students that start fresh
    are causal, those that start from a teacher's network are not."""
    priority: FractionBelowOne = 0.0
    """That part of a window's chance to be drawn is in proportion to how far its loss was above the least possible when it
    was last drawn: an update on plans that are right already is a wasted one. Discrete actions alone. Prioritized replay
    (Schaul et al. 2016), without its weights."""
    n_updates: Count = 2000
    """Gradient steps; with refinement those of its last round, which learns from the windows of all."""
    batch_size: Count = 256
    """Windows of one gradient step."""
    learning_rate: Positive = 3e-3
    """AdamW's highest; reached after a linear rise over the first `warmup` of the updates, then falling along a half cosine
    to zero."""
    weight_decay: NotNegative = 0.3
    """The trunk's weights shrink by this times the learning rate in every update (AdamW, Loshchilov & Hutter 2019), so that
    what no observation asks for fades away. 0 is Adam."""
    warmup: FractionBelowOne = 0.05
    """Fraction of the updates over which the rate rises."""
    copy_scale: Positive = 0.1
    """The later heads start as copies of head 1 with their logits scaled by this: the same most likely action, less sure of
    it. Full copies are confidently wrong, where a softmax is flat and a soft loss has hardly a gradient. Continuous actions
    are copied as they are."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    n_episodes: Count = 2000
    """Episodes of the teacher to record."""
    prefix: tuple[int, int] = (0, 32)
    """Fewest and most random actions before a recorded episode begins; they give the starts their variety."""
    prefix_share: Fraction = 1.0
    """Part of the episodes, recorded and refined, that begin with such actions at all."""
    record_steps: Count = 250_000
    """No more episodes are recorded than give about so many steps, judged by the first 128."""
    joint: bool = False
    """Train head 1 by A2C meanwhile: ∇J_PG + λ∇J_PHR, Eq. 12 with its sign corrected. Algorithm 1 regresses alone."""
    sample_labels: bool = False
    """Let the teacher sample while it is recorded, instead of taking its most likely action."""
    keep: Keep = "auto"
    """Which recorded episodes are learnt from. `auto`: the successes, or all where success is unknown. `all`. `successes`:
    an error where success is unknown. A number from 0 to 1: episodes whose return is not below that quantile."""
    n_envs: Count | None = None
    """Environments played side by side while the teacher is recorded and the student refined (default: 64, or as many as
    can be open at once)."""
    refine: CountFromZero = 0
    """Rounds of refinement (phr.distil.refine); 0 is none. In each the student is played, the teacher acts from the states
    that its plans led to, and the student is trained further."""
    refine_until: Fraction = 1.0
    """No further round is begun where so large a part of the student's plans is right in every action, in states that it has
    not learnt from, and the training ends. Below 1 no further round is begun either where that part is not larger than a
    round ago; 1 plays every round."""
    refine_windows: Count = 20_000
    """Windows that a round plays. An eighth of them, from episodes of their own, only measures agreement; of the rest, those
    that repeat an earlier one are left out."""
    refine_updates: Count = 1000
    """Gradient steps before each round of refinement; after each the learning rate rises and falls again."""
    refine_share: Share = 0.5
    """Part of a batch that is drawn from student states, of all rounds alike; the rest from the teacher's own episodes."""
    refine_plans: Count = 4
    """Most plans that the student executes in a row before the teacher acts; 1 .. this many, drawn evenly."""
    refine_noise: Fraction = 0.0
    """Probability that a step of such a plan takes a random action instead; variety, where nothing else is random."""
    finetune: CountFromZero = 0
    """Environment steps of training on return after that (phr.distil.finetune); 0 is none. Whole plans are sampled and
    executed; the best weights are kept if they are clearly better in fresh episodes."""
    finetune_weight: NotNegative = 0.1
    """Weight of the plan loss meanwhile, which keeps the student near its teacher."""
    finetune_gamma: Fraction = 0.99
    """Discount per step of the return."""
    precision: Precision = "auto"
    """What layers compute in; `auto` is bfloat16 for convolutions where the CPU multiplies it natively, else float32.
    Weights and losses stay float32."""
    seed: int = 0
    """Fixes starts and batches."""

    def __post_init__(self) -> None:
        check_keep(self.keep)
        check_settings(self)
        if self.horizon > LONGEST_HORIZON:
            raise HorizonError(f"horizon must lie in 1 .. {LONGEST_HORIZON:,}, got {self.horizon:,}")
        mode = self.trunk_mode
        if self.joint and mode != "shared":
            raise SettingError(f"in joint training A2C moves head 1: trunk_mode must be 'shared', got {mode!r}")
        if self.joint and self.horizon == 1:
            raise HorizonError("joint training regresses heads 2..n beside A2C, so it needs a horizon >= 2, got 1")
        if self.width is not None and mode != "anchored":
            raise SettingError(f"a student with a width learns head 1 too: trunk_mode must be 'anchored', got {mode!r}")
        if self.refine and self.joint:
            raise SettingError("refinement asks a teacher that stands still, joint training moves it; leave one of them out")
        if self.refine and self.sample_labels:
            raise SettingError("refinement asks the greedy teacher, sample_labels a sampling one; leave one of them out")
        if self.refine and self.horizon == 1 and mode != "anchored":
            raise HorizonError(f"with trunk_mode {mode!r} refinement needs a horizon >= 2, got 1")
        if self.causal and self.horizon == 1:
            raise HorizonError("in a causal plan a step knows those before it, so it needs a horizon >= 2, got 1")
        if self.finetune and self.joint:
            raise SettingError("joint training already trains head 1 on return; leave out finetune or joint")
        if self.finetune and mode != "anchored":
            raise SettingError(f"training on return moves every head: trunk_mode must be 'anchored', got {mode!r}")

    @property
    def total_updates(self) -> int:
        """Gradient steps before, between and after the rounds of refinement."""
        return self.refine * self.refine_updates + self.n_updates

    def phase(self, update: int) -> tuple[int, int]:
        """Return first update and length of an update's phase: before the first round, or one of those after a round."""
        before = min(update // self.refine_updates, self.refine)  # rounds
        return before * self.refine_updates, self.n_updates if before == self.refine else self.refine_updates
