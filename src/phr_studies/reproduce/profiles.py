"""What `phr reproduce` does: its ablations and when a claim held, its profiles, and where each file of a study lies.

Ranges are compared, not means: two settings differ where the worst seed of one beats the best seed of the other. If the
settings were equal, swapping them within a seed would change nothing, so k seeds would be separated in this way, in one
direction, at most once in 2^k times: 8 for three seeds, 32 for five (252 if the students of a seed had different teachers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from phr.distil import PHRConfig, PlanLoss
from phr.envs import FOUR_ROOMS_ID
from phr.errors import CorruptFileError, SettingError
from phr.files import AtLeastOne, AtLeastZero, as_kind, read_json
from phr_studies.workbench import SETTINGS

Verdict = Literal["held", "did not hold", "not decided"]

TOLERANCE = 0.05
"""Fractions of starts solved that are no farther apart than this count as equal; two of Crossing's 42 layouts are 0.048."""
FEWEST_SEEDS = 3
"""With fewer training seeds nothing is decided."""


def better(first: Sequence[float], second: Sequence[float], *, tolerance: float = TOLERANCE) -> Verdict:
    """The claim that the first setting does better than the second; each has one number for each seed, higher is better.

    `held` where every seed of the first is above every seed of the second by more than the tolerance, `did not hold` where
    it is the other way round, else `not decided`.
    """
    if min(len(first), len(second)) < FEWEST_SEEDS:
        return "not decided"
    if min(first) > max(second) + tolerance:
        return "held"
    return "did not hold" if min(second) > max(first) + tolerance else "not decided"


def alike(settings: Sequence[Sequence[float]]) -> Verdict:
    """The claim that all settings do equally well; each has one number for each seed, the seeds in the same order.

    `held` where for every seed all settings lie within the tolerance, `did not hold` where one setting does `better` than
    another, else `not decided`.
    """
    if min(len(values) for values in settings) < FEWEST_SEEDS:
        return "not decided"
    if all(max(values) - min(values) <= TOLERANCE for values in zip(*settings, strict=True)):
        return "held"
    parted = any(better(first, second) == "held" for first in settings for second in settings)
    return "did not hold" if parted else "not decided"


def opposite(verdict: Verdict) -> Verdict:
    """The verdict on the contrary claim."""
    turned: dict[Verdict, Verdict] = {"held": "did not hold", "did not hold": "held"}
    return turned.get(verdict, verdict)


def every(verdicts: Sequence[Verdict]) -> Verdict:
    """The claim that all of several claims hold."""
    if "did not hold" in verdicts:
        return "did not hold"
    return "held" if set(verdicts) == {"held"} else "not decided"


def some(verdicts: Sequence[Verdict]) -> Verdict:
    """The claim that at least one of several claims holds."""
    return opposite(every([opposite(verdict) for verdict in verdicts]))


@dataclass(frozen=True)
class Outcome:
    """What the students of one setting reached from every start."""

    solved: dict[int, tuple[float, ...]]
    """Commitment → fraction of starts solved, one for each training seed."""
    n_windowless: int = 0
    """Seeds whose student had no window to learn from, so that there is none; it counts as solving nothing."""

    def describe(self, label: str) -> str:
        """The setting's label, with what a reader of its numbers must know."""
        n_seeds = len(self.head_one)
        partly = 0 < self.n_windowless < n_seeds
        return f"{label}, no window for {self.n_windowless} of {n_seeds} seeds" if partly else label

    @property
    def windowless(self) -> bool:
        """Whether no seed had a window."""
        return self.n_windowless == len(self.head_one)

    @property
    def worst(self) -> tuple[float, ...]:
        """For each seed the smallest fraction solved over commitments above 1."""
        later = [values for commitment, values in self.solved.items() if commitment > 1]
        return tuple(min(values) for values in zip(*later, strict=True))

    @property
    def head_one(self) -> tuple[float, ...]:
        """For each seed the fraction solved when only head 1 acts."""
        return self.solved[1]


Outcomes = Mapping[str, Outcome]
"""By the label of the setting."""


@dataclass(frozen=True)
class Ablation:
    """A question, its settings, what the paper (or our method page) claims, and whether that held."""

    name: str
    claim: str
    settings: tuple[tuple[str, dict[str, Any]], ...]
    """A label and the `PHRConfig` fields of each student."""
    judge: Callable[[Outcomes], Verdict]


def _better(first: str, second: str) -> Callable[[Outcomes], Verdict]:
    return lambda outcomes: better(outcomes[first].worst, outcomes[second].worst)


def _weight_matters(outcomes: Outcomes) -> Verdict:
    return opposite(alike([outcome.worst for outcome in outcomes.values()]))


def _stride_helps(outcomes: Outcomes) -> Verdict:
    """Some larger stride does better than taking every window."""
    largest = [outcome.worst for label, outcome in outcomes.items() if label != "α = 1"]
    return some([better(values, outcomes["α = 1"].worst) for values in largest])


def _smoothing_helps(outcomes: Outcomes) -> Verdict:
    return every([_better(f"{loss}, ε = 0.1", f"{loss}, ε = 0")(outcomes) for loss in ("squared", "kl")])


_WEIGHTS = (0.1, 1.0, 10.0)

ABLATIONS = (
    Ablation(
        "window stride α",
        "Regressing every sub-sequence may lead to bad performance (paper, implementation detail (i)).",
        tuple((f"α = {stride}", {"window_stride": stride}) for stride in (1, 2, 4, 8)),
        _stride_helps,
    ),
    Ablation(
        "loss weight λ, regression alone",
        "λ must be set depending on the distance measure (paper, below Eq. 11). Adam divides a constant factor out "
        "again, so in Algorithm 1 it can act through the clipping of gradients only.",
        tuple((f"λ = {weight:g}", {"loss_weight": weight, "loss": "squared"}) for weight in _WEIGHTS),
        _weight_matters,
    ),
    Ablation(
        "loss weight λ, joint training",
        "λ must be set (paper, below Eq. 11): in Eq. 12 it weighs the regression against A2C, and no optimizer cancels it.",
        tuple((f"joint, λ = {weight:g}", {"loss_weight": weight, "joint": True}) for weight in _WEIGHTS),
        _weight_matters,
    ),
    Ablation(
        "teacher smoothing ε",
        "The soft losses fall behind where errors count (paper, section 4.3): because a sure teacher saturates them.",
        tuple(
            (f"{loss}, ε = {smoothing:g}", {"loss": loss, "teacher_smoothing": smoothing})
            for loss in ("squared", "kl")
            for smoothing in (0.0, 0.1)
        ),
        _smoothing_helps,
    ),
    Ablation(
        "end of an episode",
        "The strict cut t ≤ m − n + 1 (paper, Eq. 7) leaves the last states untrained; padding trains them.",
        (("padded", {"pad": True}), ("strict cut", {"pad": False})),
        _better("padded", "strict cut"),
    ),
    Ablation(
        "labels",
        "A sampling teacher's plans become mixtures; the greedy teacher's do not (method page).",
        (("greedy", {"sample_labels": False}), ("sampled", {"sample_labels": True})),
        _better("greedy", "sampled"),
    ),
    Ablation(
        "trunk and head 1",
        "Regressing heads 2..n through the shared trunk (paper, Eq. 8) silently changes head 1; anchoring it does not.",
        tuple((mode, {"trunk_mode": mode}) for mode in ("shared", "anchored", "frozen", "own")),
        lambda outcomes: better(outcomes["anchored"].head_one, outcomes["shared"].head_one),
    ),
    Ablation(
        "joint training",
        "Eq. 12 combines both gradients; Algorithm 1 regresses alone. They should end at the same place.",
        (("regression alone", {"trunk_mode": "shared"}), ("joint", {"joint": True, "trunk_mode": "shared"})),
        lambda outcomes: alike([outcome.worst for outcome in outcomes.values()]),
    ),
)


CROSSING = "MiniGrid-SimpleCrossingS9N1-v0"
FOUR_ROOMS = FOUR_ROOMS_ID
PONG = "PongDeterministic-v4"
ZOO_TEACHERS = {PONG: "zoo:pong-teacher"}
"""Teachers that take hours to train: a study may begin with the zoo's."""


_SOME = Meta(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One way to run the study."""

    name: str
    env_ids: Annotated[tuple[str, ...], _SOME]
    """In the order of the figure's columns."""
    losses: Annotated[tuple[PlanLoss, ...], _SOME] = ("cross_entropy", "kl", "squared")
    horizons: Annotated[tuple[AtLeastOne, ...], _SOME] = (1, 4, 8, 16)
    """The n of the figure."""
    seeds: Annotated[tuple[AtLeastZero, ...], _SOME] = (0,)
    """Training seeds; each has a teacher and students of its own."""
    one_student: bool = True
    """Train only a student of the largest horizon and evaluate it at every n; otherwise one for every n, as in the paper."""
    steps: AtLeastOne = 20_000
    """Steps of a timed run."""
    runs: AtLeastOne = 2
    """Timed runs of each model."""
    ablations: bool = False
    """Also run the ablations, on the grids."""
    from_zoo: tuple[str, ...] = ()
    """Environments whose teacher is the zoo's (`ZOO_TEACHERS`), the same for every seed; the others' are trained."""
    teacher_timesteps: AtLeastOne | None = None
    """Shortens stage 1, `student_updates` stage 2 (tests); None takes what measured best."""
    student_updates: AtLeastOne | None = None

    @property
    def max_horizon(self) -> int:
        """The largest n."""
        return max(self.horizons)

    def student_horizon(self, n: int) -> int:
        """The horizon of the student that is evaluated at n."""
        return self.max_horizon if self.one_student else n

    @property
    def student_horizons(self) -> tuple[int, ...]:
        """Every horizon that a student is trained for; n = 1 is the teacher itself."""
        return tuple(sorted({self.student_horizon(n) for n in self.horizons if n > 1}))

    def to_json(self) -> dict[str, Any]:
        """Plain values, to recognise the study by."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def of_study(cls, directory: Path) -> Profile:
        """The profile of a study that was begun; CorruptFileError if its settings are of anything else."""
        settings = read_json(directory / SETTINGS, dict[str, Any])
        values, names = settings.get("profile"), {entry.name for entry in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            has = f"a profile has the entries {', '.join(sorted(names))}"
            raise CorruptFileError(f"{directory / SETTINGS}: {has}; this study is of another phr")
        return as_kind(values, cls, str(directory / SETTINGS))


QUICK = Profile(name="quick", env_ids=(CROSSING, FOUR_ROOMS))
PAPER = Profile(
    name="paper",
    env_ids=(FOUR_ROOMS, CROSSING, PONG),
    seeds=(0, 1, 2, 3, 4),
    one_student=False,
    steps=20_000,  # 100,000 in all, in rounds: a machine that is slow for a minute meets all policies alike
    runs=5,
    ablations=True,
    from_zoo=(PONG,),
)
PROFILES = {profile.name: profile for profile in (QUICK, PAPER)}


def find_profile(name: str, *, from_scratch: bool = False) -> Profile:
    """The profile with this name; `from_scratch` trains every teacher, those of the zoo too."""
    if name not in PROFILES:
        raise SettingError(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}")
    return replace(PROFILES[name], from_zoo=()) if from_scratch else PROFILES[name]


class NoWindow(TypedDict):
    """What stands in place of a result where there was not one window to learn from."""

    no_window: str


def slug(text: str) -> str:
    """Letters, digits, dots and underscores stay; anything else becomes a hyphen."""
    return "".join(symbol if symbol.isalnum() or symbol in "._" else "-" for symbol in text)


@dataclass(frozen=True)
class StudyLayout:
    """The files of a study below its folder."""

    root: Path

    def teacher(self, env_id: str, seed: int) -> Path:
        """A teacher's run directory."""
        return self.root / "models" / slug(env_id) / f"teacher-s{seed}"

    def student(self, env_id: str, loss: str, horizon: int, seed: int) -> Path:
        """A student's run directory."""
        return self.root / "models" / slug(env_id) / f"{loss}-h{horizon}-s{seed}"

    def ablation(self, env_id: str, name: str, label: str, seed: int) -> Path:
        """The run directory of an ablation's student."""
        return self.root / "models" / slug(env_id) / "ablations" / f"{slug(f'{name} {label}')}-s{seed}"

    def experience(self, env_id: str, seed: int, config: PHRConfig) -> Path:
        """A teacher's recorded episodes; all that a recording depends on is in its name."""
        how = f"{config.n_episodes}-episodes-prefix-{config.prefix[0]}-{config.prefix[1]}"
        how += "" if config.prefix_share == 1 else f"-share-{config.prefix_share:g}"
        how += "-sampled" if config.sample_labels else ""
        return self.root / "experience" / slug(env_id) / f"teacher-s{seed}-{how}.npz"

    @staticmethod
    def no_window(student: Path) -> Path:
        """Stands in for a student that had not one window to learn from."""
        return student.with_name(f"{student.name}-no-window.json")

    def starts(self, env_id: str, name: str, n: int | None = None) -> Path:
        """What a policy reaches from every start."""
        return self.root / "starts" / slug(env_id) / f"{slug(name)}{'' if n is None else f'-n{n}'}.json"

    def ablation_starts(self, env_id: str, name: str, label: str, n: int, seed: int) -> Path:
        """The same for an ablation's student."""
        return self.root / "starts" / slug(env_id) / "ablations" / f"{slug(f'{name} {label}')}-s{seed}-n{n}.json"

    def timed(self, env_id: str, series: str, n: int, seed: int, number: int) -> Path:
        """One timed run."""
        return self.root / "timed" / slug(env_id) / f"{slug(series)}-n{n}-s{seed}-r{number}.json"

    def walked(self, env_id: str, n: int) -> Path:
        """The learned path at n."""
        return self.root / "paths" / slug(env_id) / f"n{n}.json"

    def film(self, env_id: str, n: int) -> Path:
        """The film at n, a GIF; a JSON beside it describes it."""
        return self.root / "films" / slug(env_id) / f"n{n}.gif"

    def figure(self, name: str) -> Path:
        """A picture."""
        return self.root / "figures" / f"{slug(name)}.png"
