"""The acting loop: look once, act `commitment` times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from phr.acting.commitment import AnyCommitment, ConfidentCommitment, FixedCommitment, resolve_commitment, rule_lengths
from phr.actions import action_space_of, one_by_one
from phr.errors import InvalidDataError, NonFiniteError, SettingError
from phr.observations import ObservationSpec, as_array
from phr.plan import ActionArray, IntArray, Memory, NetworkPlan, Plan, Planner, ask, memory_of, remembers
from phr.settings import check_whole


class _Acting:
    """What both agents share."""

    def __init__(self, planner: Planner, commitment: AnyCommitment, deterministic: bool, rng: Generator | None) -> None:
        given: Any = planner
        if not isinstance(given, Planner):
            inner = isinstance(getattr(planner, "planner", None), Planner)
            cure = "pass its .planner" if inner else "expected plan(obs), horizon and n_actions, as in phr.plan"
            raise SettingError(f"an agent acts by a planner, and a {type(planner).__name__} is none; {cure}")
        self.planner = planner
        spec: ObservationSpec | None = getattr(planner, "obs_spec", None)
        self._obs_dtype = None if spec is None else spec.dtype
        own = getattr(planner, "commitment", None) if commitment is None else commitment
        self.commitment = resolve_commitment(own, planner.horizon)
        self.evaluations = 0
        if not deterministic and not isinstance(rng, np.random.Generator):
            raise InvalidDataError(f"a sampling agent needs an rng: pass rng=numpy.random.default_rng(seed), got {rng!r}")
        self._rng = None if deterministic else rng
        is_one = type(self.commitment) is FixedCommitment and self.commitment.n == 1
        if not deterministic and not is_one and getattr(planner, "is_causal", False):
            # Its outputs are about the steps after its most likely actions, so drawing each step alone would mix plans.
            raise SettingError("a causal plan cannot be sampled beyond its first action; sample with commitment 1")
        self._space = action_space_of(planner)
        self._dtype = self._space.dtype
        self._planned_shape = (planner.horizon, *self._space.shape)
        self._is_checked = getattr(planner, "checks_plans", False) is True
        self._look = planner.plan if self._is_checked else self._checked_plan
        self._memory: Memory | None = None
        # A number needs no arrays: a microsecond or two, where a whole look may take thirty. A subclass may differ.
        self._n_committed = self.commitment.n if type(self.commitment) is FixedCommitment else None
        trusted = self._is_checked and type(self.commitment) is ConfidentCommitment
        self._lengths = self.commitment.lengths if trusted else self._checked_lengths

    def _checked_plan(self, obs: NDArray[Any]) -> Plan:
        """Evaluate a planner that does not check its plans."""
        return self._sound(ask(self.planner, obs))

    def _sound(self, plan: Any) -> Plan:
        """Return a plan, if it is one without NaN."""
        name = type(self.planner).__name__
        if not isinstance(plan, Plan):
            raise InvalidDataError(f"{name}.plan must return a plan (see phr.plan), got a {type(plan).__name__}")
        if isinstance(plan, NetworkPlan) and np.isnan(plan.outputs).any():
            raise NonFiniteError(f"the plan of {name} contains NaN")
        return plan

    def _checked_lengths(self, plan: Plan) -> IntArray:
        return rule_lengths(self.commitment, plan, self.planner.horizon)

    def _choose(self, plan: Plan, n_observations: int) -> ActionArray:
        """The plan's actions, shape `(n_observations, horizon, *action_shape)`, in the number type of the action space."""
        actions = plan.mode() if self._rng is None else plan.sample(self._rng)
        if self._is_checked and actions.dtype is self._dtype:
            return actions
        actions = np.asarray(actions)
        if actions.shape[1:] != self._planned_shape or len(actions) != n_observations:
            raise InvalidDataError(
                f"the planner {type(self.planner).__name__} must plan actions of shape "
                f"{(n_observations, *self._planned_shape)} (observations, horizon, action), got {actions.shape}"
            )
        if not np.can_cast(actions.dtype, self._dtype, "same_kind"):
            raise InvalidDataError(f"planned actions must be {self._dtype} ({self._space}), got {actions.dtype}")
        actions = actions.astype(self._dtype, copy=False)
        if not self._is_checked:
            self._space.check(actions.reshape(-1, *self._space.shape))
        return actions


_ONLY = np.zeros(1, np.int64)
"""The lane of an agent that acts in one environment."""


class HorizonAgent(_Acting):
    """Acts in one environment; the caller owns the loop.

    ```python
    agent.reset()
    while running:
        obs = read_sensors() if agent.needs_observation else None
        move(agent.act(obs))
    ```

    `commitment` is the number of actions to execute per look, 1 .. planner.horizon (HorizonError outside); `"auto"` stops
    where the plan becomes unsure; None does what the planner's own `commitment` says, which `phr tune` writes, else executes
    the whole plan. `deterministic` takes each step's most likely action; otherwise actions are sampled, which needs an `rng`
    (InvalidDataError without).
    """

    def __init__(
        self, planner: Planner, commitment: AnyCommitment = None, *, deterministic: bool = True, rng: Generator | None = None
    ) -> None:
        super().__init__(planner, commitment, deterministic, rng)
        self._pending: list[Any] = []
        self._plan: Plan | None = None
        self._n_decided = 0
        if remembers(planner):
            self._memory = memory = memory_of(planner, 1)
            self._look = lambda obs: self._sound(memory.plan(obs, _ONLY))

    @property
    def needs_observation(self) -> bool:
        """Whether the next `act` will look."""
        return not self._pending

    def reset(self) -> None:
        """Drop the rest of the plan; call it whenever an episode ends."""
        self._pending.clear()
        if self._memory is not None:
            self._memory.forget(_ONLY)

    def decide(self, obs: Any) -> list[Any]:
        """Look once, and return the actions to execute before looking again: 1 .. horizon ints, or arrays of action shape.

        `obs` is one observation without a batch axis; `ObservationSpec.check` accepts or refuses it. HorizonError if a
        commitment rule returns anything but whole numbers in 1 .. horizon.
        """
        if not isinstance(obs, np.ndarray):
            obs = as_array(obs, self._obs_dtype)
        self.evaluations += 1
        self._plan = plan = self._look(obs[None])
        length = self._n_committed or int(self._lengths(plan)[0])
        return one_by_one(self._choose(plan, 1)[0, :length])

    def act(self, obs: Any = None, action_masks: Any = None) -> Any:
        """Return the next action, as `space.sample()` would: `np.int64`, or an array that is the caller's to change.

        `obs` is ignored unless `needs_observation`; then InvalidDataError if it is None, and the errors of `decide`.
        `action_masks` states which actions are legal now, 0 or 1 each, of MultiDiscrete actions those of all components in a
        row, as in sb3-contrib. Where the planned action is not, the likeliest legal one replaces it, and the rest of the
        plan, which is about other states, is dropped. SettingError for continuous actions; InvalidDataError for other masks,
        or where nothing is legal.
        """
        legal = None if action_masks is None else self._space.legal(action_masks)
        if not self._pending:
            if obs is None:
                raise InvalidDataError("the plan has run out: act needs an observation (see needs_observation)")
            self._pending = self.decide(obs)[::-1]
            self._n_decided = len(self._pending)
        if legal is None or self._space.is_legal(self._pending[-1], legal):
            action = self._pending.pop()
        else:
            action = self._likeliest(legal, self._n_decided - len(self._pending))
            self._pending.clear()
        return action.copy() if isinstance(action, np.ndarray) else np.int64(action)

    def _likeliest(self, legal: NDArray[np.bool_], step: int) -> Any:
        """The most likely legal action of a step of the present plan."""
        if not isinstance(self._plan, NetworkPlan):
            raise SettingError("masks need a plan with a network's outputs, which rank all actions")
        outputs = np.maximum(self._plan.outputs[0, step], np.finfo(np.float32).min)  # a policy's own masks are −∞
        return self._space.plan(np.where(legal, outputs, -np.inf).astype(np.float32)[None, None]).mode()[0, 0]


class VectorHorizonAgent(_Acting):
    """Acts in `n_envs` environments, each with a plan of its own; one batch evaluates those whose plan has run out.

    The other arguments and their errors are those of `HorizonAgent`.
    """

    def __init__(
        self,
        planner: Planner,
        commitment: AnyCommitment = None,
        *,
        n_envs: int,
        deterministic: bool = True,
        rng: Generator | None = None,
    ) -> None:
        super().__init__(planner, commitment, deterministic, rng)
        check_whole("n_envs", n_envs, 1)
        self.n_envs = n_envs
        self._actions = np.zeros((n_envs, planner.horizon, *self._space.shape), self._dtype)
        self._next, self._stop = np.zeros(n_envs, np.int64), np.zeros(n_envs, np.int64)
        self._memory = memory_of(planner, n_envs) if remembers(planner) else None

    @property
    def needs_observation(self) -> NDArray[np.bool_]:
        """Which environments must be looked at before the next `act`, shape `(n_envs,)`."""
        return self._next >= self._stop

    def reset(self, mask: Any = None) -> None:
        """Drop the plans of all environments, or of those whose episode ended."""
        ended = np.ones(self.n_envs, bool) if mask is None else self._checked(mask)
        self._stop[ended] = 0
        if self._memory is not None:
            self._memory.forget(np.flatnonzero(ended))

    def _checked(self, mask: Any) -> NDArray[np.bool_]:
        """Refuse a mask that numpy would take for indices, or broadcast."""
        found = np.asarray(mask)
        if found.dtype != bool or found.shape != (self.n_envs,):
            raise InvalidDataError(f"mask must be bool of shape ({self.n_envs},), got {found.dtype} of {found.shape}")
        return found

    def act(self, obs: Any = None, mask: Any = None) -> ActionArray:
        """The next action of every environment, shape `(n_envs, *action_shape)`; entries outside the mask mean nothing.

        `mask` selects those that act, bool, shape `(n_envs,)`, by default all; the plans of the others stay as they are.
        `obs` has one row for each of `needs_observation & mask`, in order, or is None if there is none. InvalidDataError
        for another number of rows or another mask.
        """
        acting = np.ones(self.n_envs, bool) if mask is None else self._checked(mask)
        looking = np.flatnonzero(self.needs_observation & acting)
        if obs is not None and not isinstance(obs, np.ndarray):
            obs = as_array(obs, self._obs_dtype)
        n_given = 0 if obs is None or not obs.ndim else len(obs)
        if n_given != len(looking):
            raise InvalidDataError(f"{len(looking)} environments need an observation, got {n_given}")
        if obs is not None and n_given:
            self.evaluations += n_given
            plan = self._look(obs) if self._memory is None else self._sound(self._memory.plan(obs, looking))
            self._actions[looking] = self._choose(plan, n_given)
            self._next[looking] = 0
            self._stop[looking] = self._n_committed or self._lengths(plan)
        actions = self._actions[np.arange(self.n_envs), np.minimum(self._next, self.planner.horizon - 1)]
        self._next += acting
        return actions
