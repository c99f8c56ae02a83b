"""What `phr reproduce` does: how much of the paper, how often, how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from phr.envs import FOUR_ROOMS_ID
from phr.errors import CorruptFileError, SettingError
from phr.learning import PlanLoss

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
