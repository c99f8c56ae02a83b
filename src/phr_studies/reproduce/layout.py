"""Where each file of a study lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phr.learning import PHRConfig


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
