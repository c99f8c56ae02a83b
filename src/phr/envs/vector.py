"""Many split environments stepped as one, with an autoreset mode that is always spelled out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phr.actions import one_by_one
from phr.envs.split import SeedSchedule, SplitEnv, TrainingVector, VectorStep
from phr.errors import BrokenEnvironmentError, InvalidDataError, NonFiniteError, SettingError, UnsupportedEnvironmentError

_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Remarks:
    """What did not go as asked while environments were played, each with its first reason; printed beside the result.

    Attributes:
        n_prefixes_left_out: Episodes without their random prefix, because the environment refused one of its actions.
        n_abandoned: Episodes that were given up, because the environment refused an action of the student.
        shortage: Why fewer copies of the environment were open side by side than wanted; empty where there were enough.
    """

    n_prefixes_left_out: int = 0
    n_abandoned: int = 0
    shortage: str = ""
    _reasons: dict[str, str] = field(default_factory=dict)

    def prefix_left_out(self, error: BrokenEnvironmentError) -> None:
        """Count an episode that began without its prefix."""
        self.n_prefixes_left_out += 1
        self._reasons.setdefault("prefix", str(error))

    def abandoned(self, error: BrokenEnvironmentError) -> None:
        """Count an episode that was given up."""
        self.n_abandoned += 1
        self._reasons.setdefault("abandoned", str(error))

    def fewer_copies(self, env_id: str, n_opened: int, n_wanted: int, error: Exception) -> None:
        """Note that only `n_opened` of `n_wanted` environments could be opened; only the first note counts."""
        self.shortage = self.shortage or (
            f"{env_id}: only {n_opened} of {n_wanted} copies could be opened side by side ({error}); "
            f"n_envs={n_opened} asks for no more"
        )

    @classmethod
    def of(cls, parts: Sequence[Remarks]) -> Remarks:
        """Return the sum of several."""
        total = cls()
        for part in parts:
            total.n_prefixes_left_out += part.n_prefixes_left_out
            total.n_abandoned += part.n_abandoned
            total.shortage = total.shortage or part.shortage
            total._reasons = {**part._reasons, **total._reasons}
        return total

    def lines(self) -> list[str]:
        """Return one sentence for each kind of remark."""
        lines = [self.shortage] if self.shortage else []
        if self.n_prefixes_left_out:
            lines.append(
                f"{self.n_prefixes_left_out:,} episodes began without their random prefix, because the environment refused "
                f"one of its actions (the first: {self._reasons['prefix']}); prefix 0:0 plays none"
            )
        if self.n_abandoned:
            lines.append(
                f"{self.n_abandoned:,} episodes of refinement were abandoned, because the environment refused an action of "
                f"the student (the first: {self._reasons['abandoned']})"
            )
        return lines


PrefixSchedule = Callable[[int, int], Sequence[Any]]
"""(environment, episode) → actions played before that episode counts."""


@dataclass(frozen=True)
class Start:
    """How an episode begins: a seed, and actions that count neither as steps nor towards the environment's step limit.

    A prefix that would end the episode, or contains an action that the environment refuses, is left out as a whole. So seed
    and prefix alone decide the episode.
    """

    seed: int | None
    prefix: tuple[Any, ...] = ()

    def enter(self, env: SplitEnv) -> BrokenEnvironmentError | None:
        """Bring an environment to this start; for the value see `play_prefix`."""
        env.reset(self.seed)
        return self.play_prefix(env)

    def play_prefix(self, env: SplitEnv) -> BrokenEnvironmentError | None:
        """Play the prefix after a reset to the seed; return the error if the environment refused an action."""
        try:
            for action in self.prefix:
                _, terminated, truncated, _ = env.advance(action)
                if terminated or truncated:
                    env.reset(self.seed)
                    return None
        except BrokenEnvironmentError as error:
            env.reset(self.seed)
            return error
        if self.prefix:
            env.forget_steps()
        return None


class Autoreset(StrEnum):
    """What happens when an episode ends; the names are Gymnasium's.

    Raises:
        SettingError: If there is no such mode.
    """

    SAME_STEP = "same_step"
    """The episode's last `advance` resets at once; a truncated episode's last observation is kept aside."""
    DISABLED = "disabled"
    """The caller resets; advancing an ended episode is an error."""

    @classmethod
    def _missing_(cls, value: object) -> Autoreset:
        raise SettingError(f"autoreset must be one of {', '.join(repr(mode.value) for mode in cls)}; got {value!r}")


class VectorSplit:
    """A batch of environments of one kind.

    Args:
        envs: At least one; all with the same spaces.
        autoreset: What happens when an episode ends; there is no default on purpose.
        seeds: The seed of every episode. With a schedule that never returns None the state of all environments can be
            saved and restored exactly, by replaying the running episodes.
        prefixes: Uncounted actions at the beginning of every episode; none by default.
        remarks: Collects what did not go as asked; new ones by default.

    Raises:
        InvalidDataError: If there is no environment.
        UnsupportedEnvironmentError: If their spaces differ.
        SettingError: If the mode is unknown.
    """

    exact_resume = True
    """`restore` replays the running episodes, and raises an error if that does not repeat them."""

    def __init__(
        self,
        envs: Sequence[SplitEnv],
        autoreset: str | Autoreset,
        seeds: SeedSchedule = lambda _i, _k: None,
        prefixes: PrefixSchedule = lambda _i, _k: (),
        remarks: Remarks | None = None,
    ) -> None:
        if not envs:
            raise InvalidDataError("a vector of environments needs at least one")
        first = envs[0]
        for env in envs:
            if env.observation_space != first.observation_space or env.action_space != first.action_space:
                raise UnsupportedEnvironmentError(
                    f"environments of one vector must agree: {first.observation_space} with {first.action_space} "
                    f"against {env.observation_space} with {env.action_space}"
                )
        self.envs = tuple(envs)
        self.n_envs = len(envs)
        self.env_id = first.env_id
        self.observation_space = first.observation_space
        self.n_actions, self.action_space = first.n_actions, first.action_space
        self.autoreset = Autoreset(autoreset)
        self._seeds, self._prefixes = seeds, prefixes
        self.remarks = Remarks() if remarks is None else remarks
        self._episodes = [-1] * self.n_envs
        self._history: list[list[Any]] = [[] for _ in envs]
        self._ended = np.ones(self.n_envs, bool)
        self._sent: VectorStep | None = None

    @classmethod
    def open(
        cls,
        make: Callable[[], SplitEnv],
        n_envs: int,
        autoreset: str | Autoreset,
        seeds: SeedSchedule = lambda _i, _k: None,
        prefixes: PrefixSchedule = lambda _i, _k: (),
        remarks: Remarks | None = None,
    ) -> VectorSplit:
        """Make environments and put them side by side; all are closed again if an error is raised.

        Some simulators can be open only once, or a few times. If another copy fails to open, the open ones are used, and
        `remarks` records it.

        Args:
            make: Makes one environment.
            n_envs: How many are wanted, >= 1.
            autoreset: See `VectorSplit`, also for the other arguments and errors.
            seeds: Of every episode.
            prefixes: Of every episode.
            remarks: Collects what did not go as asked.
        """
        remarks = Remarks() if remarks is None else remarks
        with ExitStack() as opened:
            envs: list[SplitEnv] = []
            while len(envs) < n_envs:
                try:
                    envs.append(opened.enter_context(make()))
                except Exception as error:  # whatever the simulator raises
                    if not envs:
                        raise
                    remarks.fewer_copies(envs[0].env_id, len(envs), n_envs, error)
                    break
            vector = cls(envs, autoreset, seeds, prefixes, remarks)
            opened.pop_all()
        return vector

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Start an episode in every environment, or in those of the mask."""
        for index in range(self.n_envs) if mask is None else np.flatnonzero(mask):
            self._reset_one(int(index))

    def begin(self, index: int, start: Start) -> None:
        """Start an episode of the caller's choice in one environment."""
        self._episodes[index] += 1
        self._history[index] = []
        self._ended[index] = False
        if (refusal := start.enter(self.envs[index])) is not None:
            self.remarks.prefix_left_out(refusal)

    def _reset_one(self, index: int) -> None:
        episode = self._episodes[index] + 1
        start = Start(self._seeds(index, episode), tuple(self._prefixes(index, episode)))
        self.begin(index, start)

    def advance(
        self, actions: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, abandon_refused: bool = False
    ) -> VectorStep:
        """Move every environment (or those of the mask) by one action.

        Args:
            actions: Shape `(n_envs, *action_shape)`; entries outside the mask are ignored.
            mask: Which environments move; all by default.
            abandon_refused: Where an environment refuses its action, end the episode as truncated and note it in
                `remarks`, instead of raising; for actions that may be wrong.

        Raises:
            InvalidDataError: If an environment has no running episode.
            BrokenEnvironmentError: If an environment raises, or breaks its contract; the step is named.
            NonFiniteError: If a reward is not finite, or too large for float32.
        """
        rewards = np.zeros(self.n_envs, np.float32)
        terminated, truncated = np.zeros(self.n_envs, bool), np.zeros(self.n_envs, bool)
        final_obs: dict[int, NDArray[Any]] = {}
        infos: dict[int, dict[str, Any]] = {}
        listed = one_by_one(actions)
        for index in range(self.n_envs) if mask is None else np.flatnonzero(mask).tolist():
            if self._ended[index]:
                raise InvalidDataError(
                    f"environment {index} has no running episode; reset it (autoreset is {self.autoreset.value!r})"
                )
            action = listed[index]
            try:
                reward, ends, cut, info = self.envs[index].advance(action)
            except BrokenEnvironmentError as error:
                if not abandon_refused:
                    number = len(self._history[index]) + 1
                    raise BrokenEnvironmentError(f"{error} (step {number} of an episode)") from error
                self.remarks.abandoned(error)
                reward, ends, cut, info = 0.0, False, True, {}
            self._history[index].append(action)
            if not abs(reward) <= _LARGEST:
                raise NonFiniteError(f"{self.env_id}: step() returned the reward {reward:g}, which float32 does not hold")
            rewards[index] = reward
            if ends or cut:
                # A copy: some environments fill one and the same dict in every step, even of other instances.
                terminated[index], truncated[index], infos[index] = ends, cut, dict(info)
                self._ended[index] = True
                if self.autoreset is Autoreset.SAME_STEP:
                    if cut and not ends:
                        final_obs[index] = self.envs[index].observe()
                    self._reset_one(index)
        return VectorStep(rewards, terminated, truncated, final_obs, infos)

    def send(self, actions: NDArray[Any]) -> None:
        """Do what `advance` does; `receive` returns the result."""
        self._sent = self.advance(actions)

    def receive(self) -> VectorStep:
        """Return the result of the last `send`; InvalidDataError if nothing was sent."""
        sent, self._sent = self._sent, None
        if sent is None:
            raise InvalidDataError("receive() must follow send(): no actions were sent")
        return sent

    def observe(self, mask: NDArray[np.bool_] | None = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return observations `(n, *observation_shape)` of all environments, or of those in the mask; `out` if given."""
        chosen = range(self.n_envs) if mask is None else np.flatnonzero(mask).tolist()
        if out is None:
            out = np.empty((len(chosen), *self.observation_space.shape), self.observation_space.dtype)
        for row, index in zip(out, chosen, strict=True):
            self.envs[index].observe(row)
        return out

    def state(self) -> list[dict[str, Any]]:
        """Return the number of every environment's episode and the actions taken in it, as JSON values."""
        return [{"episode": e, "actions": list(a)} for e, a in zip(self._episodes, self._history, strict=True)]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Replay every running episode to where `state` stood.

        Raises:
            InvalidDataError: If the number of environments differs, or the replay ends early, because the environment is not
                determined by its seed.
        """
        if len(state) != self.n_envs:
            raise InvalidDataError(f"a state of {len(state)} environments does not fit {self.n_envs}")
        for index, entry in enumerate(state):
            self._episodes[index], self._history[index], self._ended[index] = entry["episode"], [], True
            if entry["episode"] >= 0:  # -1 was never reset
                self._replay(index, entry["actions"])

    def _replay(self, index: int, actions: list[int]) -> None:
        self._episodes[index] -= 1
        self._reset_one(index)
        for left, action in zip(reversed(range(len(actions))), actions, strict=True):
            _, ends, cut, _ = self.envs[index].advance(action)
            self._history[index].append(action)
            self._ended[index] = ends or cut
            # Only an ended episode that waits for its reset may end, and only with its last action.
            if self._ended[index] and (left or self.autoreset is Autoreset.SAME_STEP):
                raise InvalidDataError(
                    f"{self.env_id}: replaying an episode did not repeat it; exact resuming is impossible"
                )

    def close(self) -> None:
        """Close every environment, also where closing one of them fails."""
        with ExitStack() as opened:
            for env in reversed(self.envs):
                opened.callback(env.close)

    def __enter__(self) -> VectorSplit:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def make_training_vectors(
    make: Callable[[], SplitEnv], n_envs: int, seeds: SeedSchedule, prefixes: PrefixSchedule | None = None
) -> list[TrainingVector]:
    """Return the fastest vectors for training in an environment; an ended episode starts again at once.

    They are `SplitEnv.native_vectors` where there are any and no prefixes, else environments stepped one by one.

    Args:
        make: Makes one environment.
        n_envs: Environments of all vectors together, >= 1; they are numbered through.
        seeds: The seed of every episode.
        prefixes: Uncounted actions at the beginning of every episode.

    Raises:
        InvalidDataError: If `n_envs` is below 1.
        UnsupportedEnvironmentError: If so many cannot be open side by side.
    """
    with ExitStack() as opened:
        first = opened.enter_context(make())
        native = first.native_vectors(n_envs, seeds) if prefixes is None else None
        if native is not None:
            return list(native)
        envs = [first]
        while len(envs) < n_envs:
            try:
                envs.append(opened.enter_context(make()))
            except Exception as error:  # whatever the simulator raises
                raise UnsupportedEnvironmentError(
                    f"{first.env_id}: only {len(envs)} of n_envs={n_envs} copies could be opened side by side ({error}); "
                    "lower n_envs"
                ) from error
        vector = VectorSplit(envs, Autoreset.SAME_STEP, seeds, prefixes or (lambda _env, _episode: ()))
        opened.pop_all()
    return [vector]
