"""Many split environments stepped as one, how their episodes begin, and lists of episodes played side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from phr.actions import ActionSpace, as_space, one_by_one
from phr.envs.split import SeedSchedule, SplitEnv, TrainingVector, VectorStep
from phr.errors import (
    FOREIGN_ERRORS,
    BrokenEnvironmentError,
    InvalidDataError,
    NonFiniteError,
    SettingError,
    UnsupportedEnvironmentError,
    first_line,
)

_LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Remarks:
    """What did not go as asked while environments were played; printed beside the result."""

    prefixes_left_out: list[str] = field(default_factory=list)
    """Why the environment refused an action of a random prefix; one for each episode that began without."""
    abandoned: list[str] = field(default_factory=list)
    """Why the environment refused an action of the student; one for each episode that was given up."""
    shortage: str = ""
    """Why fewer copies of the environment were open side by side than wanted; empty where there were enough."""

    @classmethod
    def of(cls, parts: Sequence[Remarks]) -> Remarks:
        """Return the sum of several."""
        left_out = [why for part in parts for why in part.prefixes_left_out]
        abandoned = [why for part in parts for why in part.abandoned]
        return cls(left_out, abandoned, next((part.shortage for part in parts if part.shortage), ""))

    def lines(self) -> list[str]:
        """Return one sentence for each kind of remark."""
        lines, refused = [self.shortage] if self.shortage else [], "because the environment refused"
        if why := self.prefixes_left_out:
            hint = f"{refused} one of its actions (the first: {why[0]}); prefix 0:0 plays none"
            lines.append(f"{len(why):,} episodes began without their random prefix, {hint}")
        if why := self.abandoned:
            hint = f"{refused} an action of the student (the first: {why[0]})"
            lines.append(f"{len(why):,} episodes of the student were abandoned, {hint}")
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
        ended, refusal = False, None
        try:
            ended = any(terminated or truncated for _, terminated, truncated, _ in map(env.advance, self.prefix))
        except BrokenEnvironmentError as error:
            refusal = error
        if ended or refusal is not None:
            env.reset(self.seed)
        elif self.prefix:
            env.forget_steps()
        return refusal


def random_prefix(
    actions: int | ActionSpace, rng: np.random.Generator, between: Sequence[int], share: float = 1.0
) -> tuple[Any, ...]:
    """Draw random actions, their number uniform in `between`, both ends included; with probability 1 − `share` none."""
    if share < 1.0 and rng.random() >= share:
        return ()
    low, high = between
    return tuple(as_space(actions).samples(rng, int(rng.integers(low, high + 1))))


def random_starts(
    seeds: Sequence[int],
    actions: int | ActionSpace,
    rng: np.random.Generator,
    *,
    prefix: Sequence[int] = (0, 0),
    share: float = 1.0,
) -> list[Start]:
    """Return one start per seed, about a `share` of them with a `random_prefix` of a length in `prefix`."""
    low, high = prefix
    if not 0 <= low <= high:
        raise SettingError(f"a prefix range needs 0 <= low <= high, got {low}:{high}")
    return [Start(seed, random_prefix(actions, rng, prefix, share)) for seed in seeds]


def endless_starts(
    actions: int | ActionSpace, seed: int, rng: np.random.Generator, prefix: Sequence[int]
) -> Iterator[Start]:
    """Yield the starts of one run without end; `seed` is that of the first.

    With prefixes every later one draws a seed, so that seed and prefix decide the episode; without them the environment's
    own generator goes on.
    """
    own: int | None = seed
    while True:
        yield Start(own, random_prefix(actions, rng, prefix) if prefix[1] else ())
        own = int(rng.integers(2**31)) if prefix[1] else None


Autoreset = Literal["same_step", "disabled"]
"""What happens when an episode ends: its last `advance` resets at once, and keeps a truncated episode's last observation; or
the caller resets, and advancing an ended episode is an error. The names are Gymnasium's."""


class VectorSplit:
    """A batch of at least one environment (else InvalidDataError), all with the same spaces (UnsupportedEnvironmentError).

    Args:
        envs: The environments.
        autoreset: `same_step` or `disabled`, else SettingError; there is no default on purpose.
        seeds: The seed of every episode. Only if it is never None can episodes be replayed to a saved `state`.
        prefixes: Uncounted actions at the beginning of every episode; none by default.
        remarks: Collects what did not go as asked; new ones by default.
    """

    exact_resume = True
    """Whether `restore` returns to the very step at which `state` was taken."""

    def __init__(
        self,
        envs: Sequence[SplitEnv],
        autoreset: Autoreset,
        seeds: SeedSchedule = lambda _i, _k: None,
        prefixes: PrefixSchedule = lambda _i, _k: (),
        remarks: Remarks | None = None,
    ) -> None:
        if autoreset not in get_args(Autoreset):
            raise SettingError(f"autoreset must be one of {', '.join(get_args(Autoreset))}, got {autoreset!r}")
        if not envs:
            raise InvalidDataError("a vector of environments needs at least one")
        first = envs[0]
        for env in envs:
            if env.observation_space != first.observation_space or env.action_space != first.action_space:
                spaces = [f"{each.observation_space} with {each.action_space}" for each in (first, env)]
                raise UnsupportedEnvironmentError(f"environments of one vector must agree: {' against '.join(spaces)}")
        self.envs, self.n_envs, self.env_id = tuple(envs), len(envs), first.env_id
        self.observation_space = first.observation_space
        self.n_actions, self.action_space = first.n_actions, first.action_space
        self.autoreset, self._seeds, self._prefixes = autoreset, seeds, prefixes
        self.remarks = Remarks() if remarks is None else remarks
        self._episodes = [-1] * self.n_envs
        self._history: list[list[Any]] = [[] for _ in envs]
        self._ended = np.ones(self.n_envs, bool)

    @classmethod
    def open(
        cls,
        make: Callable[[], SplitEnv],
        n_envs: int,
        seeds: SeedSchedule = lambda _i, _k: None,
        prefixes: PrefixSchedule = lambda _i, _k: (),
        remarks: Remarks | None = None,
    ) -> VectorSplit:
        """Make `n_envs` environments, to be reset by the caller; all are closed again if an error is raised.

        Some simulators can be open only a few times: then those that opened are used, and `remarks` records it.
        """
        remarks = Remarks() if remarks is None else remarks
        with ExitStack() as opened:
            envs: list[SplitEnv] = []
            while len(envs) < n_envs:
                try:
                    envs.append(opened.enter_context(make()))
                except FOREIGN_ERRORS as error:  # whatever the simulator raises
                    if not envs:
                        raise
                    opened_few = f"only {len(envs)} of {n_envs} copies could be opened side by side ({first_line(error)})"
                    wanted = f"{envs[0].env_id}: {opened_few}; n_envs={len(envs)} asks for no more"
                    remarks.shortage = remarks.shortage or wanted
                    break
            vector = cls(envs, "disabled", seeds, prefixes, remarks)
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
            self.remarks.prefixes_left_out.append(str(refusal))

    def _reset_one(self, index: int) -> None:
        episode = self._episodes[index] + 1
        self.begin(index, Start(self._seeds(index, episode), tuple(self._prefixes(index, episode))))

    def advance(
        self, actions: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, abandon_refused: bool = False
    ) -> VectorStep:
        """Move every environment, or those of the mask, by one action of `actions`, shape `(n_envs, *action_shape)`.

        InvalidDataError if an environment has no running episode; BrokenEnvironmentError, which names the step, if it raises
        or breaks its contract; NonFiniteError for a reward that float32 does not hold. With `abandon_refused` the episode
        ends as truncated instead of a refused action's error, and `remarks` records it.
        """
        rewards = np.zeros(self.n_envs, np.float32)
        terminated, truncated = np.zeros(self.n_envs, bool), np.zeros(self.n_envs, bool)
        final_obs, infos = dict[int, NDArray[Any]](), dict[int, dict[str, Any]]()
        listed = one_by_one(actions)
        for index in range(self.n_envs) if mask is None else np.flatnonzero(mask).tolist():
            if self._ended[index]:
                why = f"no running episode; reset it (autoreset is {self.autoreset!r})"
                raise InvalidDataError(f"environment {index} has {why}")
            action = listed[index]
            try:
                reward, ends, cut, info = self.envs[index].advance(action)
            except BrokenEnvironmentError as error:
                if not abandon_refused:
                    raise BrokenEnvironmentError(f"{error}, environment {index} of {self.n_envs}") from error
                self.remarks.abandoned.append(str(error))
                reward, ends, cut, info = 0.0, False, True, {}
            self._history[index].append(action)
            if not abs(reward) <= _LARGEST:
                raise NonFiniteError(f"{self.env_id}: step() returned the reward {reward:g}, which float32 does not hold")
            rewards[index] = reward
            if ends or cut:
                # A copy: some environments fill one and the same dict in every step, even of other instances.
                terminated[index], truncated[index], infos[index] = ends, cut, dict(info)
                self._ended[index] = True
                if self.autoreset == "same_step":
                    if cut and not ends:
                        final_obs[index] = self.envs[index].observe()
                    self._reset_one(index)
        return VectorStep(rewards, terminated, truncated, final_obs, infos)

    def send(self, actions: NDArray[Any]) -> None:
        """Do what `advance` does; `receive` returns the result."""
        self._sent = self.advance(actions)

    def receive(self) -> VectorStep:
        """Return the result of the last `send`."""
        return self._sent

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
        played = [np.asarray(actions).tolist() for actions in self._history]
        return [{"episode": e, "actions": a} for e, a in zip(self._episodes, played, strict=True)]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Replay every episode to a `state` in which all were running.

        InvalidDataError if it does not fit, or a replay ends the episode.
        """
        if len(state) != self.n_envs:
            raise InvalidDataError(f"a state of {len(state)} environments does not fit {self.n_envs}")
        for index, entry in enumerate(state):
            self._episodes[index] = entry["episode"] - 1
            self._reset_one(index)
            for action in one_by_one(np.array(entry["actions"], self.action_space.dtype)):
                _, ends, cut, _ = self.envs[index].advance(action)
                self._history[index].append(action)
                if ends or cut:
                    raise InvalidDataError(f"{self.env_id}: replaying an episode did not repeat it: it cannot be resumed")

    def close(self) -> None:
        """Close every environment, also where closing one of them fails."""
        with ExitStack() as opened:
            for env in reversed(self.envs):
                opened.callback(env.close)

    def __enter__(self) -> VectorSplit:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


PATIENCE = 200_000
"""Steps after which an episode is taken to be endless; Atari's longest have 108,000 frames."""


def endless(env_id: str) -> UnsupportedEnvironmentError:
    """Return the error for an environment whose episodes do not end."""
    fix = "give it a step limit, as gymnasium.wrappers.TimeLimit does, in a module:factory of your own"
    return UnsupportedEnvironmentError(f"{env_id}: no episode ended within {PATIENCE:,} steps; {fix}")


class Lanes:
    """Assigns the episodes of a list to environments, which it alone resets; one that finishes takes the next.

    Each is played to its end: stopping at the n-th that ends would favour short ones.
    """

    def __init__(self, vector: VectorSplit, starts: Sequence[Start]) -> None:
        if vector.autoreset != "disabled":
            raise SettingError(f"a list of episodes needs autoreset 'disabled', got {vector.autoreset!r}")
        self._vector, self._waiting, self._n_waited = vector, enumerate(starts), 0
        self.episode = np.full(vector.n_envs, -1)
        """The episode that each environment plays, −1 where the list has run out."""
        self.begin_next(np.ones(vector.n_envs, bool))

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which environments have a running episode."""
        return self.episode >= 0

    def begin_next(self, ended: NDArray[np.bool_]) -> None:
        """Give every environment of the mask the next episode of the list; call this after every step."""
        self._n_waited = 0 if ended.any() else self._n_waited + 1
        if self._n_waited > PATIENCE:
            raise endless(self._vector.env_id)
        for lane in np.flatnonzero(ended):
            self.episode[lane], start = next(self._waiting, (-1, None))
            if start is not None:
                self._vector.begin(int(lane), start)


def make_training_vectors(
    make: Callable[[], SplitEnv], n_envs: int, seeds: SeedSchedule, prefixes: PrefixSchedule | None = None
) -> list[TrainingVector]:
    """Return `SplitEnv.native_vectors` if there are any and no prefixes, else `n_envs` environments stepped one by one."""
    with ExitStack() as opened:
        first = opened.enter_context(make())
        if prefixes is None and (native := first.native_vectors(n_envs, seeds)) is not None:
            return list(native)
        envs = [first]
        while len(envs) < n_envs:
            try:
                envs.append(opened.enter_context(make()))
            except FOREIGN_ERRORS as error:  # whatever the simulator raises
                opened_few = f"only {len(envs)} of n_envs={n_envs} copies could be opened side by side"
                raise UnsupportedEnvironmentError(
                    f"{first.env_id}: {opened_few} ({first_line(error)}); lower n_envs"
                ) from error
        vector = VectorSplit(envs, "same_step", seeds, prefixes or (lambda _env, _episode: ()))
        opened.pop_all()
    return [vector]
