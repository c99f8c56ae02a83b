"""Stage 2: policy horizon regression (PHR) teaches a student to predict the teacher's next `horizon` actions from one look.

All of Algorithm 1, in the order of the paper: stage 1 trains the teacher (`phr.teacher.a2c`); stage 2 cuts its episodes into
windows (`phr.distil.windows`), compares the student's plans with them (`phr.distil.losses`) and descends the loss (here).

Source: Wagner et al. 2021 (arXiv:2106.10075), Algorithm 1 (stage 2), corrected as docs/method.md describes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import torch
from msgspec import Meta
from torch import Tensor, nn

from phr.actions import Continuous
from phr.distil.config import PHRConfig
from phr.distil.losses import check_loss, least_loss, n_outputs_for, plan_loss, step_losses
from phr.distil.windows import Drawn, WindowData, Windows, each_once, joined, regressed, smoothing_of
from phr.envs.split import SplitEnv
from phr.errors import IncompatibleModelError, NonFiniteError
from phr.experience.trajectory import Experience
from phr.files import AtLeastOne, AtLeastZero, as_kind
from phr.networks.policy import PlanNetwork, extend_teacher
from phr.networks.trunks import channels_last, compute_dtype, computing_in
from phr.progress import Progress
from phr.seeding import Streams, rng_from_state, rng_state
from phr.storage.tensors import network_tensors, optimizer_tensors, restore_network, restore_optimizer
from phr.teacher.a2c import A2CConfig, RolloutCollector, rollout_loss

_MEASURED = 50
"""Gradient steps after which it is known how long one takes."""
_REPETITIVE = 0.75
"""Of a batch with a smaller part of different observations, as on a grid with one map, each is evaluated once."""


class PHR:
    """A distillation in progress; `update` advances it by one gradient step.

    The student begins with trunk and head 1 of `start`, the teacher's network or a fresh one. The outputs of the teacher are
    recorded numbers, so no gradient reaches it: the semi-gradient of Eq. 10. `IncompatibleModelError` if the experience does
    not fit the network.

    `until` is when to be done, by `time.monotonic`: the last phase is shortened where it would take longer. `decided` holds
    what was lowered so, also in checkpoints, so that a resumed run does not decide again.
    """

    def __init__(self, start: PlanNetwork, experience: Experience, config: PHRConfig, *, until: float = math.inf) -> None:
        self.space = start.config.actions  # with the units that the network was built for
        expected, found = (start.config.obs_shape, self.space), (experience.obs_shape, experience.action_space)
        if expected != found:
            raise IncompatibleModelError(
                f"the network reads observations {expected[0]} and has {expected[1]}, "
                f"the experience has {found[0]} and {found[1]}"
            )
        check_loss(config.loss, self.space)
        if start.config.n_actions != n_outputs_for(config.loss, self.space):
            raise IncompatibleModelError(
                f"the loss {config.loss} needs {n_outputs_for(config.loss, self.space)} numbers for an action, the network "
                f"to start from outputs {start.config.n_actions}; choose the loss that it was trained with"
            )
        self.config, self.n_updates, self._latest_loss, mode = config, 0, float("nan"), config.trunk_mode
        own, keeps_first, causal = mode == "own", mode != "anchored", bool(config.causal)
        # Scaled logits are less certain, but scaled continuous actions are other actions.
        scale = 1.0 if isinstance(self.space, Continuous) else config.copy_scale
        smoothed: dict[str, Any] = {"label_smoothing": smoothing_of(config, self.space), "keeps_first": keeps_first}
        self.network = extend_teacher(start, config.horizon, separate_first=own, copy_scale=scale, causal=causal, **smoothed)
        self.network.value_head.requires_grad_(config.joint)
        if mode == "frozen":
            self.network.trunk.requires_grad_(False)
        if self.network.first_trunk is not None:
            self.network.first_trunk.requires_grad_(False)
        self.data = WindowData(experience, config)
        self._repetitive = False
        if not self.done:
            obs, *_ = self.data.batch(self.data.draw(Streams(config.seed).rng("student-repeats"), config.batch_size))
            self._repetitive = len(each_once(obs)[0]) < _REPETITIVE * len(obs)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), config.learning_rate, fused=True)
        self._dtype = compute_dtype(config.precision, convolutions=self.network.config.trunk.kind != "mlp")
        self.rng = Streams(config.seed).rng("student-batches")
        self.until, self.decided = until, dict[str, dict[str, int]]()
        self._timed, self._timed_seconds = 0, 0.0

    def close(self) -> None:
        """Close environments, of which plain distillation has none."""

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trained parameters; the heads' do not decay, because head 1 may have to stay as it is."""
        trained = [p for p in self.network.parameters() if p.requires_grad]
        decaying = {id(p) for p in self.network.trunk.parameters() if p.ndim > 1}
        return [
            {"params": [p for p in trained if id(p) in decaying], "weight_decay": self.config.weight_decay},
            {"params": [p for p in trained if id(p) not in decaying], "weight_decay": 0.0},
        ]

    @property
    def done(self) -> bool:
        """Whether all updates are done; a horizon of 1 without head 1 has none."""
        untouched = self.config.horizon == 1 and self.config.trunk_mode != "anchored"
        return untouched or self.n_updates >= self.config.total_updates

    def progress(self) -> Progress:
        """Return the updates done so far, and the latest loss."""
        stage, note = f"distilling, horizon {self.config.horizon}, {self.config.loss}", f"loss {self._latest_loss:.4g}"
        return Progress(stage, self.n_updates, self.config.total_updates, "updates", note if self.n_updates else "")

    def _sources(self) -> list[tuple[Windows, int]]:
        """Return from where a batch is drawn, and how many windows of each."""
        return [(self.data, self.config.batch_size)]

    def _draw(self) -> Drawn:
        return [(windows, windows.draw(self.rng, n, self.config.priority)) for windows, n in self._sources()]

    def _note(self, drawn: Drawn, per_step: Tensor, counted: Tensor) -> None:
        """Note by how much the loss of each drawn window is above the least possible, in the mean of its counted steps."""
        least = least_loss(self.config.loss, self.space, self.network.config.label_smoothing)
        above = torch.where(counted, per_step - least, 0.0).sum(1) / counted.sum(1)
        sizes = [len(rows) for _, rows in drawn]
        for (windows, rows), lack in zip(drawn, above.clamp(min=0.0).split(sizes), strict=True):
            windows.lack[rows] = lack

    def computing(self) -> torch.autocast:
        """Return the context in which layers compute in the number type of `precision`."""
        return computing_in(self._dtype)

    def loss(self, network: PlanNetwork | None = None) -> Tensor:
        """Return λ times the plan loss of one random batch; of another network with the same layers, if one is given."""
        network = self.network if network is None else network
        drawn = self._draw()
        obs, teacher_logits, teacher_actions, valid = joined(drawn)
        obs, which = each_once(obs) if self._repetitive else (obs, None)
        with self.computing():
            plan_logits = network.heads(obs if network.config.channels_last else channels_last(obs)).float()
        plan_logits = network.following(plan_logits if which is None else plan_logits[which], teacher_actions)
        counted, smoothing = regressed(valid, self.config), network.config.label_smoothing
        compared = self.config.loss, plan_logits, teacher_logits, teacher_actions, self.space
        per_step = step_losses(*compared, smoothing=smoothing)
        if self.config.priority:
            self._note(drawn, per_step.detach(), counted)
        return self.config.loss_weight * plan_loss(per_step, counted)

    def _learning_rate(self) -> float:
        begin, length = self.config.phase(self.n_updates)
        done, rise = self.n_updates - begin, self.config.warmup
        progress = done / length
        if progress < rise:
            return self.config.learning_rate * (done + 1) / (rise * length + 1)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))

    def update(self) -> dict[str, float]:
        """Take one gradient step on the plan loss; see `step`."""
        if not math.isfinite(self.until):
            return self.step(self.loss())
        begun = time.monotonic()
        values = self.step(self.loss())
        self._timed, self._timed_seconds = self._timed + 1, self._timed_seconds + time.monotonic() - begun
        self._fit()
        return values

    @property
    def update_seconds(self) -> float | None:
        """Mean time of a gradient step where `until` is set; None before some are measured."""
        return self._timed_seconds / self._timed if self._timed >= _MEASURED else None

    def _fit(self) -> None:
        """Shorten the last phase, soon after its begin, to what can be done in time; to a tenth at the least."""
        begin, length = self.config.phase(self.n_updates)
        each = self.update_seconds
        if "training" in self.decided or each is None or begin + length < self.config.total_updates:
            return
        done = self.n_updates - begin
        affordable = done + int((self.until - time.monotonic()) / each)
        shorter = max(affordable, length // 10, done + 1)
        self.decide("training", {"n_updates": shorter} if shorter < length else {})

    def decide(self, what: str, lowered: dict[str, int]) -> None:
        """Lower settings, once."""
        self.decided[what] = lowered
        self.config = replace(self.config, **lowered)  # type: ignore[arg-type]

    def step(self, plan: Tensor, further: Tensor | None = None) -> dict[str, float]:
        """Take one AdamW step on what `loss` returned and a further loss; return the plan loss and the gradient norm.

        `NonFiniteError` if the loss or the gradient is not finite; the parameters are left as they were.
        """
        loss = plan if further is None else plan + further
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm))
        if not math.isfinite(norm) or not torch.isfinite(loss):
            raise NonFiniteError(
                f"loss {loss.item():.3g}, gradient norm {norm:.3g} at update {self.n_updates}; lower learning_rate"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.step()
        self.n_updates += 1
        self._latest_loss = plan.item()
        return {"loss/plan": self._latest_loss, "grad_norm": norm}

    def averages(self) -> dict[str, float]:
        """Return nothing: the loss is in every row of metrics."""
        return {}

    def agreement(self, data: Windows | None = None) -> list[float | None]:
        """Return, for each head, the fraction of valid steps whose most likely action is the teacher's; None where none is.

        By default of the teacher's episodes, over at most 4096 windows, evenly spaced. Continuous actions agree where every
        number is within a twentieth of its range (`actions.CLOSE`).
        """
        return self.compare(data)[0]

    def compare(self, data: Windows | None = None) -> tuple[list[float | None], float]:
        """Return the `agreement`, and the fraction of plans that agree in all their valid steps."""
        data = self.data if data is None else data
        rows = torch.linspace(0, len(data) - 1, min(4096, len(data))).long()
        agree, counted, whole = torch.zeros(self.config.horizon), torch.zeros(self.config.horizon), 0
        with torch.inference_mode():
            for part in rows.split(512):
                obs, _, actions, valid = data.batch(part)
                planned = self.space.plan(self.network(obs).numpy()).mode()
                same = torch.from_numpy(self.space.agree(planned, actions.numpy()))
                agree += (same & valid).sum(0)
                counted += valid.sum(0)
                whole += int((same | ~valid).all(1).sum())
        heads = [float(part) if n else None for part, n in zip(agree / counted, counted, strict=True)]
        return heads, whole / len(rows)

    def _noted(self) -> dict[str, Windows]:
        """Return the windows that are learnt from, by name."""
        return {"teacher": self.data}

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue bit for bit."""
        tensors = network_tensors(self.network) | optimizer_tensors(self.optimizer)
        if self.config.priority:
            tensors |= {f"lack.{name}": windows.lack for name, windows in self._noted().items()}
        timed = {"decided": {**self.decided}, "timed": [self._timed, self._timed_seconds]}
        return tensors, {"n_updates": self.n_updates, "rng": rng_state(self.rng), **timed}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken; `IncompatibleModelError` for that of another network or version."""
        if "decided" not in state:
            raise IncompatibleModelError("this checkpoint is of an earlier version; distil into another folder")
        restore_network(self.network, tensors)
        as_kind(state, _Distilled, "its state")
        restore_optimizer(self.optimizer, tensors, has_begun=state["n_updates"] > 0)
        if self.config.priority:
            for name, windows in self._noted().items():
                lack = tensors[f"lack.{name}"]
                if lack.shape == windows.lack.shape:  # else other episodes were recorded, of which nothing is known yet
                    windows.lack.copy_(lack)
        self.n_updates = state["n_updates"]
        self.rng = rng_from_state(state["rng"])
        self._timed, self._timed_seconds = state["timed"]
        for what, lowered in state["decided"].items():
            self.decide(what, lowered)


class _Distilled(TypedDict):
    """The state of a distillation in its checkpoint."""

    n_updates: AtLeastZero
    rng: dict[str, Any]
    timed: tuple[AtLeastZero, Annotated[float, Meta(ge=0)]]
    decided: dict[str, dict[str, AtLeastOne]]


class JointTraining(PHR):
    """A distillation whose updates descend ∇J_PG + λ∇J_PHR, with the optimizer and the schedule of the student's config.

    `stage_1` has the settings of rollouts, discounts and losses; the entropy bonus has its weight at the end of stage 1.
    """

    def __init__(
        self, start: PlanNetwork, experience: Experience, config: PHRConfig, make: Callable[[], SplitEnv], stage_1: A2CConfig
    ) -> None:
        super().__init__(start, experience, config)
        self._stage_1 = stage_1
        self._collector = RolloutCollector(make, stage_1)

    def close(self) -> None:
        """Close the environments."""
        self._collector.close()

    def progress(self) -> Progress:
        """Return the environment steps taken so far, and the recent returns."""
        done, total = (n * self._stage_1.rollout_size for n in (self.n_updates, self.config.n_updates))
        return Progress(f"joint training, horizon {self.config.horizon}", done, total, "timesteps", self._collector.note())

    def averages(self) -> dict[str, float]:
        """Return mean return and length of recent episodes."""
        return self._collector.averages()

    def update(self) -> dict[str, float]:
        """Collect one rollout, draw one batch of windows, and take one gradient step on both losses (`PHR.step`)."""
        act = torch.inference_mode()(self._policy_and_value)
        rollout = self._collector.collect(act)
        logits, values = self._policy_and_value(rollout.obs[:-1].flatten(0, 1))
        following = act(rollout.following_obs())[1]
        ent_coef = self._stage_1.ent_coef * self._stage_1.ent_coef_end
        loss, parts = rollout_loss(rollout, logits, values, following, self._stage_1, ent_coef)
        return self.step(self.loss(), loss) | parts

    def _policy_and_value(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        with self.computing():
            logits, values = self.network.policy_and_value(obs)
        return logits.float(), values.float()

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `restore` needs to continue bit for bit."""
        tensors, state = super().checkpoint()
        return tensors, {**state, "collector": self._collector.state()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go back to where `checkpoint` was taken."""
        super().restore(tensors, state)
        self._collector.restore(state["collector"])
