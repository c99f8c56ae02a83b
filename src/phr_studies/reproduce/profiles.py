"""What `phr reproduce` does: how much of the paper, how often, how long; and where each file of a study lies."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from phr.distil import PHRConfig, PlanLoss
from phr.envs import FOUR_ROOMS_ID
from phr.errors import CorruptFileError, SettingError

CROSSING = "MiniGrid-SimpleCrossingS9N1-v0"
FOUR_ROOMS = FOUR_ROOMS_ID
PONG = "PongDeterministic-v4"
ZOO_TEACHERS = {PONG: "zoo:pong-teacher"}
"""Teachers that take hours to train: a study may begin with the zoo's."""
ProfileName = Literal["quick", "paper"]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One way to run the study.

    Attributes:
        name: What the user types.
        env_ids: Environments, in the order of the figure's columns.
        losses: One line of the figure each.
        horizons: The n of the figure.
        seeds: Training seeds; each has a teacher and students of its own.
        one_student: Train only a student of the largest horizon and evaluate it at every commitment; otherwise a student for
            every n, as in the paper.
        steps: Steps of a timed run.
        runs: Timed runs of each model.
        ablations: Also run the ablations, on the grids.
        from_zoo: Environments whose teacher is the zoo's (`ZOO_TEACHERS`), the same for every seed; the others' are trained.
        teacher_timesteps: Shortens stage 1 (tests); None takes what measured best.
        student_updates: Shortens stage 2 (tests); None takes what measured best.
    """

    name: str
    env_ids: tuple[str, ...]
    losses: tuple[PlanLoss, ...] = ("cross_entropy", "kl", "squared")
    horizons: tuple[int, ...] = (1, 4, 8, 16)
    seeds: tuple[int, ...] = (0,)
    one_student: bool = True
    steps: int = 20_000
    runs: int = 2
    ablations: bool = False
    from_zoo: tuple[str, ...] = ()
    teacher_timesteps: int | None = None
    student_updates: int | None = None

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
    def from_json(cls, values: Any) -> Profile:
        """What `to_json` gave.

        Raises:
            CorruptFileError: If entries are missing or unknown.
        """
        names = {entry.name for entry in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise CorruptFileError(f"a profile has the entries {', '.join(sorted(names))}; this study is of another phr")
        known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**known)


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
    """The profile with this name.

    Args:
        name: `quick` or `paper`.
        from_scratch: Train every teacher, those of the zoo too.

    Raises:
        SettingError: If there is none.
    """
    if name not in PROFILES:
        raise SettingError(f"there is no profile {name!r}; choose one of {', '.join(PROFILES)}")
    return replace(PROFILES[name], from_zoo=()) if from_scratch else PROFILES[name]


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
        """The film at n, a GIF; what it shows is told in a JSON beside it."""
        return self.root / "films" / slug(env_id) / f"n{n}.gif"

    def figure(self, name: str) -> Path:
        """A picture."""
        return self.root / "figures" / f"{slug(name)}.png"
