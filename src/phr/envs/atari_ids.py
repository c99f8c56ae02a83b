"""Names and settings of Atari games: the old ids that ale-py dropped, and options written behind an id."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.env import AtariEnv
from ale_py.registration import rom_id_to_name

from phr.errors import SettingError

_FLAVOURS: dict[str, Any] = {"": (2, 5), "Deterministic": 4, "NoFrameskip": 1}
_STICKINESS = {"v0": 0.25, "v4": 0.0}
_MAX_FRAMES = 108_000
"""Half an hour of the game."""
_FIELD_FRAME_SKIP = 4
_SPELLINGS = {("fire_reset", "0"): ("fire", "no"), ("fire_reset", "1"): ("fire", "reset")}
"""ale-py's name of an option, for which an id may be searched and replaced."""


@dataclass(frozen=True, kw_only=True)
class AtariSettings:
    """How a game is played; an id may set the fields, e.g. `ALE/Pong-v5?sticky=0&noop_max=0`."""

    frame_skip: int | tuple[int, int] = _FIELD_FRAME_SKIP
    """Frames that an action lasts; a pair is a range (upper end excluded) from which each decision draws."""
    sticky: float = 0.0
    """Probability that a frame repeats the action of the frame before it instead of the one chosen."""
    noop_max: int = 30
    """An episode begins with 1 .. noop_max idle frames; 0 is none."""
    fire: str = "no"
    """When FIRE is pressed for the policy, in games that have that button. `no`: never. `reset`: for one frame before the
    idle ones, as ale-py's vector environment does. `life`: after the idle frames and after each lost life, as
    Stable-Baselines3's `FireResetEnv` with `EpisodicLifeEnv` does; but here a lost life does not end the episode."""
    max_frames: int = _MAX_FRAMES
    """Frames after which an episode is cut off, idle ones not counted."""

    def __post_init__(self) -> None:
        shortest, longest = self.skips
        if not 1 <= shortest <= longest:
            raise SettingError(f"frame_skip must be >= 1, got {self.frame_skip}")
        if not 0 <= self.sticky <= 1:
            raise SettingError(f"sticky must be a probability from 0 to 1, got {self.sticky}")
        if self.fire not in ("no", "reset", "life"):
            raise SettingError(f"fire must be one of 'no', 'reset', 'life'; got {self.fire!r}")
        if self.noop_max < 0 or self.max_frames < 1:
            raise SettingError(f"noop_max must be >= 0 and max_frames >= 1, got {self.noop_max} and {self.max_frames}")

    @property
    def skips(self) -> tuple[int, int]:
        """Fewest and most frames that an action lasts."""
        skip = self.frame_skip
        return (skip, skip) if isinstance(skip, int) else (skip[0], skip[1] - 1)

    @classmethod
    def of(cls, env: AtariEnv, options: Mapping[str, str]) -> AtariSettings:
        """Return the settings that an environment was registered with, changed by options.

        Ids that skip no frame (`NoFrameskip`, for preprocessing that skips by itself) get the usual four.
        """
        registered = cls(
            frame_skip=env._frameskip if env._frameskip != 1 else _FIELD_FRAME_SKIP,
            sticky=round(env.ale.getFloat("repeat_action_probability"), 6),  # the emulator keeps a float32
            max_frames=env.ale.getInt("max_num_frames_per_episode") or _MAX_FRAMES,
        )
        given = dict(_SPELLINGS.get(option, option) for option in options.items())
        return replace(registered, **{name: _parse(name, text) for name, text in given.items()})


def _parse(name: str, text: str) -> Any:
    names = [field.name for field in fields(AtariSettings)]
    if name not in names:
        raise SettingError(f"Atari has no option {name!r}; choose one of {', '.join(names)}")
    kind: Callable[[str], Any] = {"sticky": float, "fire": str}.get(name, int)
    try:
        return kind(text)
    except ValueError:
        expected = "a number" if kind is float else "a whole number"
        raise SettingError(f"{name} must be {expected}, got {text!r}") from None


def register_old_names() -> None:
    """Register those of `<Game>-v0`, `-v4`, `<Game>Deterministic-…` and `<Game>NoFrameskip-…` that are missing.

    ale-py dropped the Deterministic ones in 0.11.1. They skip four frames (Space Invaders three, whose lasers blink); v0 has
    sticky actions, v4 has none.

    Source: ale-py 0.11.0, `registration.py`.
    """
    ALEInterface.setLoggerMode(LoggerMode.Error)  # else the first emulator prints a greeting
    for rom, flavour, version in itertools.product(roms.get_all_rom_ids(), _FLAVOURS, _STICKINESS):
        env_id = f"{rom_id_to_name(rom)}{flavour}-{version}"
        if env_id in gymnasium.registry or f"ALE/{rom_id_to_name(rom)}-v5" not in gymnasium.registry:
            continue
        settings = {
            "game": rom,
            "repeat_action_probability": _STICKINESS[version],
            "full_action_space": False,
            "frameskip": 3 if (flavour, rom) == ("Deterministic", "space_invaders") else _FLAVOURS[flavour],
            "max_num_frames_per_episode": _MAX_FRAMES,
        }
        gymnasium.register(id=env_id, entry_point="ale_py.env:AtariEnv", kwargs=settings)
