from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import cv2
import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phr.envs.atari import AtariSplitEnv
from phr.envs.registry import make_env
from phr.envs.split import run_plan
from phr.envs.vector import Start, VectorSplit
from phr.errors import UnsupportedEnvironmentError
from phr.evaluation.episodes import distinct_starts
from tests.envs.atari_reference import SlowAtari, atari

PONG = "PongDeterministic-v4"


@functools.cache
def slow(game_id: str, frame_skip: int, fire: bool = False) -> SlowAtari:
    return SlowAtari(game_id, frame_skip, fire)


def ram(env: AtariSplitEnv) -> bytes:
    core: Any = env.gym_env
    return bytes(core.ale.getRAM().tobytes())


plans_of = st.lists(st.lists(st.integers(0, 17), min_size=1, max_size=18), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("env_id", "game_id", "frame_skip"),
    [
        (PONG, "ALE/Pong-v5", 4),
        ("SpaceInvadersDeterministic-v4", "ALE/SpaceInvaders-v5", 3),
        ("BreakoutNoFrameskip-v4?frame_skip=2", "ALE/Breakout-v5", 2),
        ("BreakoutDeterministic-v4?fire=life", "ALE/Breakout-v5", 4),
        ("ALE/Amidar-v5?sticky=0", "ALE/Amidar-v5", 4),  # restoring a state of it is not exact
        ("ALE/Pacman-v5?sticky=0", "ALE/Pacman-v5", 4),  # a PAL game, of 250 lines
    ],
)
def test_every_look_is_what_the_slow_way_shows(env_id: str, game_id: str, frame_skip: int) -> None:
    env, plain = atari(env_id), slow(game_id, frame_skip, env_id.endswith("fire=life"))
    rng = np.random.default_rng(0)
    for n_noops, commitment in ((1, 1), (7, 3), (30, 4), (2, 5), (15, 16)):
        env.begin(n_noops)
        plain.begin(n_noops)
        np.testing.assert_array_equal(env.observe(), plain.obs)
        for _ in range(48 // commitment):
            actions = rng.integers(env.n_actions, size=commitment).tolist()
            rewards = list[float]()
            _, terminated, _, _ = run_plan(env, actions, rewards)
            steps = [plain.step(action) for action in actions[: len(rewards)]]
            assert rewards == [reward for reward, _ in steps]
            assert terminated == steps[-1][1]
            np.testing.assert_array_equal(env.observe(), plain.obs)
            assert env.observation_space.contains(env.observe())


@given(
    env_id=st.sampled_from(
        [PONG, "ALE/Breakout-v5", "ALE/Breakout-v5?fire=life", "Seaquest-v0", "ALE/Pong-v5?max_frames=160"]
    ),
    seed=st.integers(0, 2**31 - 1),
    plans=plans_of,
)
@settings(max_examples=12)
def test_running_plans_equals_stepping_one_by_one(env_id: str, seed: int, plans: list[list[int]]) -> None:
    env, other = atari(env_id), atari(env_id, 1)
    env.reset(seed)
    other.reset(seed)
    for plan in plans:
        actions = [action % env.n_actions for action in plan]
        found, rewards = list[float](), list[float]()
        last = run_plan(env, actions, found)
        for action in actions:
            step = other.advance(action)
            seen = other.observe()
            rewards.append(step[0])
            if step[1] or step[2]:
                break
        assert (found, last) == (rewards, step)
        np.testing.assert_array_equal(env.observe(), seen)
        assert ram(env) == ram(other)
        if step[1] or step[2]:
            env.reset()  # its own generator goes on
            other.reset()


@pytest.mark.parametrize("horizon", [1, 4, 7, 16])
def test_a_plan_that_the_end_of_a_game_cuts_is_observed_right(horizon: int) -> None:
    env, plain = atari("ALE/Breakout-v5?sticky=0"), slow("ALE/Breakout-v5", 4)
    rng = np.random.default_rng(horizon)
    env.begin(3)
    plain.begin(3)
    ended = False
    while not ended:
        actions = rng.integers(4, size=horizon).tolist()
        rewards = list[float]()
        _, ended, _, _ = run_plan(env, actions, rewards)
        for action in actions[: len(rewards)]:
            _, over = plain.step(action)
        assert over == ended
    np.testing.assert_array_equal(env.observe(), plain.obs)


def test_the_old_pong_and_ours_play_the_same_game() -> None:
    env = atari(PONG)
    # The old id skips frames inside: it shows one frame of four, and no maximum of two can be taken.
    old: Any = gymnasium.make(PONG).unwrapped
    old.reset(seed=0)
    env.begin(5)
    for _ in range(5):
        old.ale.act(0)
    rng, points = np.random.default_rng(1), 0
    for action in rng.integers(6, size=400).tolist():
        screen, reward, terminated, truncated, _ = old.step(action)
        assert env.advance(action) == (reward, terminated, truncated, {})
        assert ram(env) == old.ale.getRAM().tobytes()
        points += reward != 0
    assert points > 3
    core: Any = env.gym_env
    np.testing.assert_array_equal(core.ale.getScreenRGB(), screen)


@pytest.mark.parametrize("env_id", [PONG, "ALE/Qbert-v5", "Pong-v0"])  # Q*bert has to be loaded anew
def test_a_seed_determines_an_episode_whatever_came_before(env_id: str) -> None:
    env = atari(env_id)
    seen = []
    for seed in (3, 4, 3):
        env.reset(seed)
        first = env.observe()
        rewards = list[float]()
        run_plan(env, [3, 2, 1, 0, 5, 2] * 5, rewards)
        env.reset()
        seen.append((env.n_noops, first.tobytes(), tuple(rewards), env.observe().tobytes()))
    assert seen[0] == seen[2] != seen[1]


def test_there_are_thirty_starts_of_pong() -> None:
    env = atari(PONG)
    starts = distinct_starts(env)
    noops = []
    for start in starts:
        start.enter(env)
        noops.append(env.n_noops)
    assert noops == list(range(1, 31))
    assert distinct_starts(atari(f"{PONG}?noop_max=0")) == [Start(0)]


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "Pong-v4"])
def test_chance_after_the_start_leaves_no_list_of_starts(env_id: str) -> None:
    with pytest.raises(UnsupportedEnvironmentError, match=f"{env_id}: sticky actions .* evaluate episodes instead"):
        distinct_starts(atari(env_id))


def played_frames(env: AtariSplitEnv, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Everything that the emulator is told from now on."""
    told: list[int] = []
    ale = env._ale

    def act(action: int) -> int:
        told.append(action)
        return int(ale.act(action))

    monkeypatch.setattr(
        env,
        "_ale",
        SimpleNamespace(
            act=act, game_over=ale.game_over, lives=ale.lives, restoreState=ale.restoreState, getScreen=ale.getScreen
        ),
    )
    return told


@pytest.mark.parametrize("sticky", [0.0, 0.25, 0.6, 1.0])
def test_a_frame_repeats_the_last_action_with_the_given_probability(sticky: float, monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari(f"PongNoFrameskip-v4?sticky={sticky}&frame_skip=1")
    env.reset(0)
    told = played_frames(env, monkeypatch)
    chosen = [2, 3] * 1000  # each differs from the one before
    for action in chosen:
        env.advance(action)
    wanted = [env._actions[action] for action in chosen]
    stuck = [one != other for one, other in zip(told, wanted, strict=True)]
    # A frame sticks or does not; where it sticks, it repeats the frame before, which may be what was wanted anyway.
    for index, is_stuck in enumerate(stuck):
        assert not is_stuck or told[index] == (told[index - 1] if index else 0)
    # After an odd number of sticking frames in a row the wanted action is played: p/(1 + p) of all frames differ.
    assert np.mean(stuck) == pytest.approx(sticky / (1 + sticky) if sticky < 1 else 1, abs=0.04)


def test_a_varying_frame_skip_lasts_two_to_four_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari("Pong-v4")
    env.reset(0)
    told = played_frames(env, monkeypatch)
    lengths = []
    for _ in range(200):
        before = len(told)
        env.advance(0)
        lengths.append(len(told) - before)
    assert set(lengths) == {2, 3, 4}


def test_fire_is_pressed_before_the_idle_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari("BreakoutDeterministic-v4?fire=reset&noop_max=3")
    told = played_frames(env, monkeypatch)
    env.begin(2)
    assert told == [1, 0, 0]
    plain = atari("BreakoutDeterministic-v4?noop_max=3")
    told = played_frames(plain, monkeypatch)
    plain.begin(2)
    assert told == [0, 0]


LIFE = "BreakoutDeterministic-v4?fire=life"


def test_fire_is_pressed_after_the_idle_frames_and_after_each_lost_life(monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari(LIFE)
    lives = env._ale.lives
    noop, fire, right = [0] * 4, [1] * 4, [3] * 4
    told = played_frames(env, monkeypatch)
    env.begin(2)
    assert told == [0, 0, *fire, *right]
    n_lost, before, ended = 0, lives(), False
    while not ended:
        told.clear()
        _, ended, _, _ = env.advance(0)
        n_lost += lives() < before
        assert told == (noop + noop + fire + right if 0 < lives() < before else noop)
        before = lives()
    assert n_lost == 5


def test_what_the_pressed_buttons_win_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari(LIFE)
    env.begin(2)
    monkeypatch.setattr(env, "_decide", {0: 1, 1: 10, 2: 100, 3: 1000}.__getitem__)
    assert env.advance(3)[0] == 1000
    monkeypatch.setattr(env, "_lives", env._ale.lives() + 1)
    assert env.advance(3)[0] == 1000 + 1 + 10 + 100
    assert env.advance(3)[0] == 1000


def test_without_fire_nothing_happens_in_breakout() -> None:
    """A policy that was trained with FIRE pressed for it never presses it."""
    outcomes = {}
    for fire in ("no", "reset", "life"):
        env = atari(f"BreakoutDeterministic-v4?fire={fire}&max_frames=6000")
        env.reset(0)
        _, terminated, truncated, _ = run_plan(env, [0] * 1500, [])
        outcomes[fire] = (terminated, truncated, env._ale.lives())
    assert outcomes == {"no": (False, True, 5), "reset": (False, True, 4), "life": (True, False, 0)}


@pytest.mark.parametrize("game", ["Breakout", "Seaquest", "BeamRider"])
def test_lives_go_on_as_in_the_wrappers_of_stable_baselines(game: str) -> None:
    wrappers = pytest.importorskip("stable_baselines3.common.atari_wrappers")

    class Counter(gymnasium.Wrapper[Any, Any, Any, Any]):
        total = 0.0

        def step(self, action: Any) -> Any:
            obs, reward, *rest = self.env.step(action)
            self.total += float(reward)
            return obs, reward, *rest

    env = atari(f"{game}NoFrameskip-v4?fire=life&noop_max=7")
    counter = Counter(gymnasium.make(f"{game}NoFrameskip-v4"))
    peer = wrappers.AtariWrapper(counter, noop_max=7)
    core: Any = counter.unwrapped
    peer.reset(seed=0)
    env.begin(core.ale.getEpisodeFrameNumber() - 8)  # all but FIRE and the action after it
    rng, total, n_lost = np.random.default_rng(0), 0.0, 0
    for action in rng.integers(env.n_actions, size=1500).tolist():
        assert ram(env) == core.ale.getRAM().tobytes()
        reward, ended, *_ = env.advance(action)
        _, _, lost, *_ = peer.step(action)
        if ended:
            break
        if lost:
            n_lost += 1
            peer.reset()
        total += reward
        assert total == counter.total
    assert n_lost >= 2


def test_a_game_without_a_fire_button_is_played_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari("MsPacmanDeterministic-v4?fire=life")
    told = played_frames(env, monkeypatch)
    env.begin(3)
    assert told == [0, 0, 0]


def test_an_episode_is_cut_off_after_its_frames_and_a_prefix_does_not_count() -> None:
    env = atari(f"{PONG}?max_frames=40")
    Start(0, (0,) * 9).enter(env)
    assert run_plan(env, [0] * 20, [])[2]
    env.reset(0)
    rewards = list[float]()
    _, terminated, truncated, _ = run_plan(env, [0] * 20, rewards)
    assert (len(rewards), terminated, truncated) == (10, False, True)
    assert atari(PONG).settings.max_frames == 108_000


def test_a_running_episode_is_restored_by_replaying_it_sticky_actions_included() -> None:
    def seeds(env: int, episode: int) -> int:
        return 10 * env + episode

    vector = VectorSplit([atari("ALE/Pong-v5"), atari("ALE/Pong-v5", 1)], "same_step", seeds)
    vector.reset()
    rng = np.random.default_rng(0)
    for _ in range(20):
        vector.advance(rng.integers(6, size=2))
    state, shown = vector.state(), vector.observe()
    following = rng.integers(6, size=(10, 2))

    def go_on() -> Any:
        for actions in following:
            vector.advance(actions)
        return vector.observe()

    expected = go_on()
    vector.restore(state)
    np.testing.assert_array_equal(vector.observe(), shown)
    np.testing.assert_array_equal(go_on(), expected)


def test_a_look_prepares_only_what_its_stack_shows_and_nobody_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    env = atari(PONG)
    n_resized = 0

    def resize(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_resized
        n_resized += 1
        return cv2.resize(*args, **kwargs)

    monkeypatch.setattr(env, "_cv2", SimpleNamespace(LUT=cv2.LUT, max=cv2.max, resize=resize, INTER_AREA=cv2.INTER_AREA))
    bare = env.bare()
    env.reset(0)
    env.observe()
    counts = []
    for commitment in (1, 2, 4, 16):
        for step, look in ((env.advance, env.observe), (bare.step, bare.observe)):
            n_resized = 0
            for _ in range(commitment):
                step(0)
            assert n_resized == 0
            look()
            look()
            counts.append(n_resized)
    assert counts == [1, 1, 2, 2, 4, 4, 4, 4]


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "ALE/Breakout-v5?fire=life"])
def test_the_bare_simulator_plays_the_same_game(env_id: str) -> None:
    env = atari(env_id)
    actions = [2, 3, 0] * 60
    env.reset(5)
    run_plan(env, actions, [])
    expected = ram(env)
    env.reset(5)
    for action in actions:
        env.bare().step(action)
    assert ram(env) == expected


def test_the_environment_renders_the_present_screen() -> None:
    env = make_env(PONG, render_mode="rgb_array")
    assert isinstance(env, AtariSplitEnv)
    env.reset(0)
    before = env.gym_env.render()
    run_plan(env, [2] * 30, [])
    after: Any = env.gym_env.render()
    assert after.shape == (210, 160, 3)
    assert (after != before).any()
    env.close()


def test_the_paddle_moves_where_the_directions_say() -> None:
    env = make_env(PONG)
    directions = env.action_effects()
    assert directions is not None
    assert directions.tolist() == [0, 0, 1, -1, 1, -1]
    rows: dict[int, float] = {}
    for action in range(env.n_actions):
        env.reset(0)
        for _ in range(20):
            env.advance(0)
        for _ in range(4):
            env.advance(action)
        frame = env.observe()[-1, 15:80, 70:80]  # the field on the player's side
        rows[action] = float(np.argwhere(frame > 120)[:, 0].mean())
    assert rows[0] == pytest.approx(rows[1], abs=1)
    for action in (2, 4):
        assert rows[action] < rows[0] - 3, "up"
    for action in (3, 5):
        assert rows[action] > rows[0] + 3, "down"


def test_only_pongs_actions_have_a_known_effect() -> None:
    assert atari("BreakoutDeterministic-v4").action_effects() is None
    assert make_env("CartPole-v1").action_effects() is None


@pytest.mark.parametrize(
    ("env_id", "steps_per_second", "step_limit"),
    [(PONG, 15, 27_000), ("Pong-v4", 20, 54_000), ("SpaceInvadersDeterministic-v4?max_frames=3000", 20, 1000)],
)
def test_the_pace_is_the_consoles(env_id: str, steps_per_second: float, step_limit: int) -> None:
    env = atari(env_id)
    assert env.timing is not None
    assert (env.steps_per_second, env.timing.step_limit) == (steps_per_second, step_limit)
