"""Atari without wrappers: a step costs the emulator alone, and frames are prepared only when an observation is built.

`advance` runs the emulator and copies two screens a decision as colour numbers (1 µs each; greys would take 13). `observe`
turns them grey, pools and resizes them, for the decisions in its stack that it has not prepared yet, as
`ale_py.vector_env.AtariVectorEnv` does: maximum of a decision's last two frames, 84×84 by `cv2.INTER_AREA`, a stack of 4
that begins with zeros.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium
import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms
from ale_py.env import AtariEnv
from ale_py.registration import rom_id_to_name
from ale_py.vector_env import AtariVectorEnv
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from phr.envs.noise import OPTION as ACTION_NOISE
from phr.envs.split import Advance, BareSimulator, SeedSchedule, SplitEnv, Timing, VectorStep
from phr.errors import MissingExtraError, SettingError, UnsupportedEnvironmentError
from phr.progress import available_cores
from phr.seeding import reseed

_MAX_FRAMES = 108_000  # half an hour of the game
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
        if not 1 <= self.skips[0] <= self.skips[1]:
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
        skip = env._frameskip if env._frameskip != 1 else _FIELD_FRAME_SKIP
        sticky = round(env.ale.getFloat("repeat_action_probability"), 6)  # the emulator keeps a float32
        max_frames = env.ale.getInt("max_num_frames_per_episode") or _MAX_FRAMES
        names, given = [field.name for field in fields(cls)], dict[str, Any]()
        for name, text in (_SPELLINGS.get(option, option) for option in options.items()):
            if name not in names:
                raise SettingError(f"Atari has no option {name!r}; choose one of {', '.join([*names, ACTION_NOISE])}")
            kind: Callable[[str], Any] = {"sticky": float, "fire": str}.get(name, int)
            try:
                given[name] = kind(text)
            except ValueError:
                expected = "a number" if kind is float else "a whole number"
                raise SettingError(f"{name} must be {expected}, got {text!r}") from None
        return replace(cls(frame_skip=skip, sticky=sticky, max_frames=max_frames), **given)


# Sixteen hues of eight luminances; measured off the emulator by benchmarks/atari_palette.py.
_NTSC = (
    0, 74, 111, 142, 170, 192, 214, 236, 64, 95, 122, 148, 172, 193, 214, 233,
    63, 87, 110, 131, 150, 167, 184, 199, 59, 85, 107, 129, 148, 167, 183, 199,
    44, 68, 90, 110, 128, 146, 161, 176, 51, 74, 95, 115, 132, 149, 164, 178,
    39, 63, 85, 107, 125, 143, 159, 174, 22, 49, 73, 96, 116, 136, 153, 169,
    17, 41, 64, 85, 104, 121, 137, 153, 32, 60, 85, 109, 130, 150, 168, 186,
    40, 69, 95, 120, 141, 162, 182, 200, 43, 74, 101, 127, 151, 173, 193, 212,
    40, 71, 98, 124, 147, 169, 189, 207, 41, 74, 104, 132, 157, 181, 203, 223,
    47, 79, 107, 133, 157, 179, 200, 220, 47, 79, 107, 133, 157, 179, 200, 220,
)  # fmt: skip

SIZE, STACK = 84, 4
_NOOP, _FIRE = Action.NOOP.value, Action.FIRE.value
_CHECKED_FRAMES = 120
"""Enough to see the games that ale-py 0.12 does not restore exactly: Amidar, Koolaid, Q*bert, Tetris, Tron Deadly Discs."""


def grey_table(ale: Any) -> NDArray[np.uint8] | None:
    """Return the grey of every colour number, shape `(256,)`; None for a PAL game, whose palette was not measured whole."""
    if ale.getScreenDims()[0] == 250:
        return None
    return np.repeat(np.array(_NTSC, np.uint8), 2)  # NTSC colours are even numbers


class AtariSplitEnv(SplitEnv):
    """A game of ale-py; observations are uint8 of shape `(4, 84, 84)`, the newest frame last.

    Every episode starts from the same state of the emulator, and all chance (idle frames, sticky actions, a varying frame
    skip) comes from the environment's own generator, so that a seed determines an episode: a whole game, with its own
    rewards. MissingExtraError without OpenCV.
    """

    family = "atari"
    stepping = "fast path: the emulator alone; frames are prepared only when an observation is built"
    shown = "four grey frames, the newest last, each the maximum of a decision's last two screens"

    def __init__(self, env: AtariEnv, env_id: str, settings: AtariSettings) -> None:
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"{env_id} needs OpenCV ({error}); pip install 'phr[atari]'") from error
        self._cv2, self._env, self._ale = cv2, env, env.ale
        self.gym_env, self.env_id, self.settings, self.game = env, env_id, settings, env._game
        self.observation_space = spaces.Box(0, 255, (STACK, SIZE, SIZE), np.uint8)
        shortest, longest = settings.skips
        self.timing = Timing(settings.frame_skip, settings.sticky, settings.noop_max, settings.max_frames // shortest)
        self._rom: Any = roms.get_rom_path(self.game)
        self._load()
        self._rng, self._grey = np.random.default_rng(), grey_table(self._ale)
        # Without a palette the emulator itself turns screens grey when they are copied.
        self._read = self._ale.getScreen if self._grey is not None else self._ale.getScreenGrayscale
        height, width = self._ale.getScreenDims()
        self._raw = np.zeros((STACK, 2, height, width), np.uint8)
        self._screens = [(first, second) for first, second in self._raw]
        self._both = np.zeros((2 * height, width), np.uint8)
        self._first_screen, self._pooled = np.zeros((2, height, width), np.uint8)
        self._frames = np.zeros((STACK, SIZE, SIZE), np.uint8)
        self._actions = [action.value for action in env._action_set]
        self.n_actions = len(self._actions)
        self._varies = settings.sticky > 0 or shortest < longest
        self._plain = [(action,) * longest for action in self._actions]
        fires = settings.fire if _FIRE in self._actions else "no"
        self._fires_first, self._fires_on = fires == "reset", fires == "life"
        self._launch = [self._actions.index(_FIRE), *range(2, len(self._actions))][:2] if self._fires_on else []
        self._read(self._first_screen)
        self._snapshot: Any = self._exact_snapshot()
        self._head = self._pending = self._elapsed = self._lives = self.n_noops = 0
        self._last_action = _NOOP

    @property
    def steps_per_second(self) -> float:
        """The pace of the console, which shows 60 frames a second."""
        return 60 / (sum(self.settings.skips) / 2)

    def action_effects(self) -> NDArray[np.int64] | None:
        """Return in Pong the direction of each action: 1 for RIGHT (up), −1 for LEFT (down), 0 for the others."""
        if self.game != "pong":
            return None
        return np.array([("RIGHT" in name) - ("LEFT" in name) for name in self._env.get_action_meanings()], np.int64)

    def native_vectors(self, n_envs: int, seeds: SeedSchedule) -> Sequence[AtariVector] | None:
        """Return games in ale-py's own threads, numbered through; None where those cannot play this one.

        With two cores or more there are two groups: while one is played the policy computes actions for the other.
        """
        # They have a fixed frame skip, press no FIRE after a lost life, and play the default mode and difficulty.
        varies = isinstance(self.settings.frame_skip, tuple)
        if varies or self._fires_on or self._env._game_mode or self._env._game_difficulty:
            return None
        cores = available_cores()
        if cores == 1 or n_envs == 1:
            return [AtariVector(self, range(n_envs), seeds, cores)]
        half, threads = (n_envs + 1) // 2, cores // 2
        return [AtariVector(self, games, seeds, threads) for games in (range(half), range(half, n_envs))]

    def _load(self) -> None:
        """Load the game as Gymnasium's `reset` does, without the emulator's own sticky actions and limit."""
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("max_num_frames_per_episode", 0)
        self._ale.setInt("random_seed", 0)
        self._ale.loadROM(self._rom)
        if self._env._game_mode is not None:
            self._ale.setMode(self._env._game_mode)
        if self._env._game_difficulty is not None:
            self._ale.setDifficulty(self._env._game_difficulty)
        self._ale.reset_game()

    def _exact_snapshot(self) -> Any:
        """Return a state to which the emulator returns exactly (0.1 ms); None if the game must be loaded again (90 ms)."""
        ale, snapshot = self._ale, self._ale.cloneState(include_rng=True)
        actions = np.random.default_rng(0).choice(self._actions, _CHECKED_FRAMES).tolist()

        def play() -> list[tuple[Any, ...]]:
            return [(ale.act(action), ale.getRAM().tobytes(), ale.getScreen().tobytes()) for action in actions]

        first = play()
        ale.restoreState(snapshot)
        return snapshot if play() == first else None

    def reset(self, seed: int | None = None) -> None:
        """Start an episode: the emulator's first state, then 1 .. noop_max idle frames."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.begin(_draw_noops(self._rng, self.settings.noop_max))

    def begin(self, n_noops: int) -> None:
        """Start an episode with this many idle frames."""
        self._restart()
        for _ in range(n_noops):
            self._ale.act(_NOOP)
            if self._ale.game_over():
                self._restart()
        self.n_noops = n_noops
        self._raw[0] = 0
        if n_noops or self._fires_first:
            self._read(self._raw[0, 1])
        else:
            self._raw[0, 1] = self._first_screen  # a restored emulator shows nothing before it has run
        self._frames[:] = 0
        self._head, self._pending, self._last_action = 0, 1, _NOOP
        for press in self._launch:
            self._decide(press)
        self._elapsed, self._lives = 0, self._ale.lives()

    def _restart(self) -> None:
        if self._snapshot is None:
            self._load()
        else:
            self._ale.restoreState(self._snapshot)
        if self._fires_first:
            self._ale.act(_FIRE)

    def advance(self, action: Any) -> Advance:
        """Play one decision, and those that follow a lost life if `fire` is 'life'; their rewards and frames count."""
        reward = self._decide(action)
        if self._fires_on:
            reward += self._launch_after_lost_life()
        terminated = self._ale.game_over()
        return float(reward), terminated, not terminated and self._elapsed >= self.settings.max_frames, {}

    def _decide(self, action: Any) -> int:
        """Play the frames of one decision; the emulator stands still once the game is over."""
        frames = self._varied(action) if self._varies else self._plain[action]
        act, reward = self._ale.act, 0
        for frame in frames[:-1]:
            reward += act(frame)
        self._head = (self._head + 1) % STACK
        self._pending += 1
        before, after = self._screens[self._head]
        if len(frames) > 1:
            self._read(before)
        else:
            before[:] = 0
        reward += act(frames[-1])
        self._read(after)
        self._elapsed += len(frames)
        return reward

    def _launch_after_lost_life(self) -> int:
        """Play NOOP, FIRE and the action after it if the last decision took a life; return the reward.

        Some games have 0 lives for a few frames before they are over: nothing is pressed then. Source: see `fire`.
        """
        before, self._lives = self._lives, self._ale.lives()
        return sum(map(self._decide, (0, *self._launch))) if 0 < self._lives < before else 0

    def _varied(self, action: Any) -> tuple[int, ...]:
        """Draw the frames of a decision under sticky actions or a varying frame skip."""
        skip, chosen = self.settings.frame_skip, self._actions[action]
        length = int(self._rng.integers(*skip)) if isinstance(skip, tuple) else skip
        frames = []
        for sticks in (self._rng.random(length) < self.settings.sticky).tolist():
            if not sticks:
                self._last_action = chosen
            frames.append(self._last_action)
        return tuple(frames)

    def observe(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the last four decisions' frames, oldest first."""
        for back in range(min(self._pending, STACK)):
            self._prepare((self._head - back) % STACK)
        self._pending = 0
        if out is None:
            out = np.empty(self.observation_space.shape, np.uint8)
        n_oldest = STACK - 1 - self._head
        out[:n_oldest] = self._frames[self._head + 1 :]
        out[n_oldest:] = self._frames[: self._head + 1]
        return out

    def _prepare(self, slot: int) -> None:
        cv2, both = self._cv2, self._raw[slot].reshape(self._both.shape)
        if self._grey is not None:
            both = cv2.LUT(both, self._grey, dst=self._both)
        height = len(self._pooled)
        cv2.max(both[:height], both[height:], dst=self._pooled)
        cv2.resize(self._pooled, (SIZE, SIZE), dst=self._frames[slot], interpolation=cv2.INTER_AREA)

    def forget_steps(self) -> None:
        """Count frames from here."""
        self._elapsed = 0

    def reseed(self, seed: int) -> None:
        """Let sticky actions and a varying frame skip be drawn from this seed."""
        reseed(self._rng, seed)

    def start_seeds(self) -> list[int]:
        """Return one seed for each number of idle frames; an error if chance acts later too."""
        if self._varies:
            why = "sticky actions or a varying frame skip make every episode differ; evaluate episodes instead"
            raise UnsupportedEnvironmentError(f"{self.env_id}: {why}")
        seeds, tried = dict[int, int](), itertools.count()
        while len(seeds) < max(self.settings.noop_max, 1):
            seed = next(tried)
            seeds.setdefault(_draw_noops(np.random.default_rng(seed), self.settings.noop_max), seed)
        return [seeds[n_noops] for n_noops in sorted(seeds)]

    def bare(self) -> BareSimulator:
        """Return `ALEInterface.act` in a loop; an observation reads the screens of its stack and prepares them."""
        act = self._ale.act

        def step(action: Any) -> None:
            for frame in self._varied(action) if self._varies else self._plain[action]:
                act(frame)
            self._pending += 1
            if self._fires_on:
                self._launch_after_lost_life()

        def observe() -> NDArray[Any]:
            for back in range(min(self._pending, STACK)):
                for screen in self._screens[(self._head - back) % STACK]:
                    self._read(screen)
            return self.observe()

        return BareSimulator(step, self.reset, observe)


_NATIVE: dict[str, Any] = {
    "autoreset_mode": AutoresetMode.SAME_STEP,
    **{"img_height": SIZE, "img_width": SIZE, "grayscale": True, "stack_num": STACK, "maxpool": True},
    **{"episodic_life": False, "life_loss_info": False, "reward_clipping": False},
}
"""Arguments of ale-py's vector; those with a surprising default are spelled out."""


class AtariVector:
    """Many games of the kind of `single` in ale-py's own threads, for training; every frame is prepared.

    It differs from a `VectorSplit` of `AtariSplitEnv` in three ways. Episodes begin with 0 .. noop_max − 1 idle frames
    instead of 1 .. noop_max. In the last observation of an episode the newest frame is the one before, in part. And its
    state cannot be saved: `restore` begins new episodes, so a resumed training is not, bit for bit, the uninterrupted one.
    As games reset themselves, `seeds` maps a game and the number of `reset` and `restore` calls before.
    """

    exact_resume = False

    def __init__(self, single: AtariSplitEnv, games: range, seeds: SeedSchedule, n_threads: int) -> None:
        self.env_id, self.n_envs = single.env_id, len(games)
        self.observation_space, self.n_actions = single.observation_space, single.n_actions
        settings: Any = single.settings
        self._env: Any = AtariVectorEnv(
            single.game,
            self.n_envs,
            num_threads=n_threads,
            max_num_frames_per_episode=settings.max_frames,
            repeat_action_probability=settings.sticky,
            full_action_space=single.n_actions == len(single._ale.getLegalActionSet()),
            frameskip=settings.frame_skip,
            noop_max=settings.noop_max,
            use_fire_reset=settings.fire == "reset",
            **_NATIVE,
        )
        self._games, self._seeds, self._round = games, seeds, -1
        self._latest: Any = None
        self.n_noops = np.zeros(self.n_envs, np.int64)
        """Idle frames with which each running episode began."""

    def reset(self) -> None:
        """Start an episode in every game."""
        self._round += 1
        seeds = (self._seeds(game, self._round) for game in self._games)
        native = np.array([-1 if seed is None else seed % 2**31 for seed in seeds])  # 31 bits, −1 means none
        self._latest, info = self._env.reset(seed=native)
        self.n_noops = np.array(info["episode_frame_number"], np.int64)

    def send(self, actions: NDArray[np.int64]) -> None:
        """Begin to move every game by one action."""
        self._env.send(actions)

    def receive(self) -> VectorStep:
        """Return the result of the last `send`."""
        self._latest, rewards, terminated, truncated, info = self._env.recv()
        done = terminated | truncated
        self.n_noops[done] = info["episode_frame_number"][done]
        # ale-py returns one dense array for all games whenever any ended; only what was cut off has a value.
        final_obs = {int(index): info["final_obs"][index] for index in np.flatnonzero(truncated & ~terminated)}
        infos: dict[int, dict[str, Any]] = {int(index): {} for index in np.flatnonzero(done)}
        return VectorStep(rewards.astype(np.float32), terminated, truncated, final_obs, infos)

    def observe(self, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return observations `(n_envs, 4, 84, 84)` of all games, in `out` if given."""
        if out is None:
            out = np.empty_like(self._latest)
        out[...] = self._latest
        return out

    def state(self) -> list[dict[str, Any]]:
        """Return the round of each game; the native emulators cannot be saved."""
        return [{"round": self._round}] * self.n_envs

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Begin new episodes, with seeds that the saved training had not used."""
        self._round = max(entry["round"] for entry in state)
        self.reset()

    def close(self) -> None:
        """Stop the threads."""
        self._env.close()
        self._env = None  # the threads end with the object


def _draw_noops(rng: np.random.Generator, noop_max: int) -> int:
    return int(rng.integers(1, noop_max + 1)) if noop_max else 0


_FLAVOURS: dict[str, Any] = {"": (2, 5), "Deterministic": 4, "NoFrameskip": 1}
_STICKINESS = {"v0": 0.25, "v4": 0.0}


def register_old_names() -> None:
    """Register those of `<Game>-v0`, `-v4`, `<Game>Deterministic-…` and `<Game>NoFrameskip-…` that are missing.

    ale-py dropped the Deterministic ones in 0.11.1. They skip four frames (Space Invaders three, whose lasers blink); v0 has
    sticky actions, v4 has none. Source: ale-py 0.11.0, `registration.py`.
    """
    ALEInterface.setLoggerMode(LoggerMode.Error)  # else the first emulator prints a greeting
    for rom, flavour, version in itertools.product(roms.get_all_rom_ids(), _FLAVOURS, _STICKINESS):
        env_id = f"{rom_id_to_name(rom)}{flavour}-{version}"
        if env_id not in gymnasium.registry and f"ALE/{rom_id_to_name(rom)}-v5" in gymnasium.registry:
            skip = 3 if (flavour, rom) == ("Deterministic", "space_invaders") else _FLAVOURS[flavour]
            settings = {"game": rom, "repeat_action_probability": _STICKINESS[version], "full_action_space": False}
            settings |= {"frameskip": skip, "max_num_frames_per_episode": _MAX_FRAMES}
            gymnasium.register(id=env_id, entry_point="ale_py.env:AtariEnv", kwargs=settings)
