"""Stable-Baselines3 with phr's network, weights and hyperparameters, in the wrappers that its own users choose.

Its `predict` loop is a peer of phr's loop, its A2C of phr's A2C.
"""

from __future__ import annotations

import time
from typing import Any, Literal, get_args

import gymnasium
import torch
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.wrappers import FullyObsWrapper, ImgObsWrapper
from torch import Tensor

from phr.envs import layout_of, make_env
from phr.errors import MissingExtraError, UnsupportedEnvironmentError
from phr.networks import NetworkConfig, PlanNetwork, Trunk
from phr.teacher import A2CConfig
from phr_studies.bench.rounds import PILOT_UPDATES, Arena, Contestant, units_that_take

try:
    import stable_baselines3 as sb3
    from stable_baselines3.common.env_util import make_atari_env, make_vec_env
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack
except ModuleNotFoundError as error:
    raise MissingExtraError(f"this peer needs {error.name}; pip install 'phr[bench]'") from error

Stepping = Literal["DummyVecEnv", "SubprocVecEnv"]
"""How Stable-Baselines3 steps many environments: one after the other, or each in a process of its own."""

STEPPINGS: tuple[Stepping, ...] = get_args(Stepping)

_COLORS, _STATES = 6, 4
_PILOT_STEPS = 100


def symbol_planes(n_planes: int) -> Tensor:
    """What MiniGrid's symbols look like in phr's planes, shape `(objects · colours · states, n_planes)`.

    A cell `(object, colour, state)` of `FullyObsWrapper` is row `(object · 6 + colour) · 4 + state`; its agent has the
    direction as its state.
    """
    layout = layout_of(n_planes)
    if layout is None:
        raise UnsupportedEnvironmentError(f"a grid seen whole has more than {n_planes} planes")
    table = torch.zeros(len(OBJECT_TO_IDX), _COLORS, _STATES, n_planes)
    for name, plane in layout.object.items():
        table[OBJECT_TO_IDX[name], ..., plane] = 1
        for color, color_plane in layout.color.items():
            table[OBJECT_TO_IDX[name], COLOR_TO_IDX[color], :, color_plane] = 1
    for state in range(len(layout.door_states)):
        table[OBJECT_TO_IDX["door"], :, state, layout.door_state + state] = 1
    for direction in range(4):
        table[OBJECT_TO_IDX["agent"], :, direction, layout.agent + direction] = 1
    return table.flatten(0, 2)


class SameTrunk(BaseFeaturesExtractor):
    """phr's trunk as a features extractor: the same layers on the same planes.

    Grids come as symbols, channels first by `VecTransposeImage`; a table turns them into planes. Frames come scaled.
    """

    def __init__(self, observation_space: spaces.Box, config: NetworkConfig) -> None:
        super().__init__(observation_space, config.trunk.width)
        self.trunk = Trunk(config.obs_shape, config.trunk)
        self._table = None if config.trunk.kind == "atari" else symbol_planes(config.obs_shape[0])
        self._strides = torch.tensor([_COLORS * _STATES, _STATES, 1.0]).view(3, 1, 1)

    def forward(self, obs: Tensor) -> Tensor:
        """Features of a batch."""
        if self._table is not None:
            rows = (obs * self._strides).sum(1).long().transpose(1, 2)  # MiniGrid's images are (width, height)
            obs = torch.nn.functional.embedding(rows, self._table).permute(0, 3, 1, 2)
        features: Tensor = self.trunk(obs)
        return features


def make_env_for_sb3(env_id: str) -> gymnasium.Env[Any, Any]:
    """A grid as users of Stable-Baselines3 show it to a CNN: `ImgObsWrapper(FullyObsWrapper(env))`."""
    if not make_env(env_id).shows_whole_grid:
        raise UnsupportedEnvironmentError(f"{env_id}: the peer is measured on grids seen whole and on Atari games")
    return ImgObsWrapper(FullyObsWrapper(gymnasium.make(env_id)))


def make_vec_env_for_sb3(env_id: str, n_envs: int, stepping: Stepping, seed: int) -> VecEnv:
    """Environments wrapped by Stable-Baselines3's own helpers: `make_vec_env`, `make_atari_env`, `VecFrameStack`.

    Processes are forked: they start at once and hold no second copy of torch.
    """
    vec_env_cls: type[DummyVecEnv | SubprocVecEnv] = DummyVecEnv if stepping == "DummyVecEnv" else SubprocVecEnv
    kwargs = {"start_method": "fork"} if stepping == "SubprocVecEnv" else {}
    example = make_env(env_id)
    if example.family == "atari":
        game = _without_skip(example)
        vec_env = make_atari_env(game, n_envs, seed, vec_env_cls=vec_env_cls, vec_env_kwargs=kwargs)
        return VecFrameStack(vec_env, n_stack=4)
    return make_vec_env(lambda: make_env_for_sb3(env_id), n_envs, seed, vec_env_cls=vec_env_cls, vec_env_kwargs=kwargs)


def _without_skip(env: Any) -> str:
    """The id of the same game without frame skip and sticky actions, for wrappers that skip by themselves."""
    from ale_py.registration import rom_id_to_name

    if env.settings.frame_skip != 4 or env.settings.sticky:
        raise UnsupportedEnvironmentError(
            f"{env.env_id}: the peer's AtariWrapper skips four frames, and none of them sticks"
        )
    return f"{rom_id_to_name(env.game)}NoFrameskip-v4"


def make_a2c(config: A2CConfig, network: NetworkConfig, env: VecEnv | gymnasium.Env[Any, Any], seed: int = 0) -> sb3.A2C:
    """Stable-Baselines3's A2C with a network and hyperparameters of phr's; the rates stay where phr's begin.

    `reward_scale`, `prefix` and `precision` have no counterpart there.
    """
    policy: dict[str, Any] = {
        "features_extractor_class": SameTrunk,
        "features_extractor_kwargs": {"config": network},
        "net_arch": [],
        "normalize_images": network.trunk.kind == "atari",
    }
    if config.optimizer == "adam":
        policy["optimizer_kwargs"] = {"eps": config.optimizer_eps}
    return sb3.A2C(
        "MlpPolicy",  # named for its default; with `net_arch=[]` nothing is left of it but the two linear heads
        env,
        learning_rate=config.learning_rate,
        n_steps=config.n_steps,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef,
        max_grad_norm=config.max_grad_norm,
        use_rms_prop=config.optimizer == "rmsprop",
        rms_prop_eps=config.optimizer_eps,
        policy_kwargs=policy,
        device="cpu",
        seed=seed,
    )


@torch.no_grad()
def copy_weights(network: PlanNetwork, model: sb3.A2C) -> None:
    """Give a model of `make_a2c` the weights of a network: trunk, head 1 and value head."""
    policy: Any = model.policy
    n_actions = network.config.n_actions
    policy.features_extractor.trunk.load_state_dict(network.trunk_of_first.state_dict())
    policy.action_net.weight.copy_(network.plan_head.weight[:n_actions])
    policy.action_net.bias.copy_(network.plan_head.bias[:n_actions])
    policy.value_net.load_state_dict(network.value_head.state_dict())


class PredictLoop:
    """Evaluation as Stable-Baselines3's users write it: `model.predict(obs, deterministic=True)` and a step, in a loop.

    A grid is stepped without a vector environment, the quicker way; a game needs one, for its frame stack.
    """

    def __init__(self, env_id: str, network: PlanNetwork) -> None:
        self._is_atari = make_env(env_id).family == "atari"
        self.env: Any = make_vec_env_for_sb3(env_id, 1, "DummyVecEnv", 0) if self._is_atari else make_env_for_sb3(env_id)
        self.model = make_a2c(A2CConfig(n_envs=1, trunk=network.config.trunk), network.config, self.env)
        copy_weights(network, self.model)

    def run(self, steps: int, *, seed: int) -> dict[str, float]:
        """Act for a number of steps from a seeded reset; later episodes go on with the environment's own generator."""
        run = self._run_vector if self._is_atari else self._run_single
        begin = time.perf_counter()
        episodes, score = run(steps, seed)
        return {"seconds_wall": time.perf_counter() - begin, "steps": steps, "episodes": episodes, "score": score}

    def _run_single(self, steps: int, seed: int) -> tuple[int, float]:
        env, predict = self.env, self.model.predict
        episodes, score = 0, 0.0
        obs, _ = env.reset(seed=seed)
        for left in range(steps, 0, -1):
            action, _ = predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = env.step(action)
            score += reward
            if terminated or truncated:
                episodes += 1
                if left > 1:
                    obs, _ = env.reset()
        return episodes, float(score)

    def _run_vector(self, steps: int, seed: int) -> tuple[int, float]:
        env, predict = self.env, self.model.predict
        episodes, score = 0, 0.0
        env.seed(seed)
        obs = env.reset()
        for _ in range(steps):
            action, _ = predict(obs, deterministic=True)
            obs, rewards, dones, _ = env.step(action)
            score += rewards[0]
            episodes += int(dones[0])
        return episodes, float(score)


def predict_peer(arena: Arena) -> Contestant:
    """The `predict` loop as one of the loops that are run side by side, with the weights of the arena's model."""
    loop = PredictLoop(arena.env_id, arena.model.network)
    steps = units_that_take(arena.seconds_per_run, lambda n: loop.run(n, seed=arena.seed)["seconds_wall"], _PILOT_STEPS)
    return Contestant("Stable-Baselines3 predict, n = 1", lambda index: loop.run(steps, seed=arena.seed + index))


class TrainingPeer:
    """Stable-Baselines3's A2C, stepping its environments the way that is quicker for it in pilot runs of some seconds."""

    def __init__(self, env_id: str, config: A2CConfig, network: PlanNetwork, seconds: float) -> None:
        self._size = config.rollout_size
        self.pilot: dict[str, float] = {}  # steps a second of each way
        models, envs = {}, {}
        for stepping in STEPPINGS:
            env = envs[stepping] = make_vec_env_for_sb3(env_id, config.n_envs, stepping, config.seed)
            self._model = models[stepping] = make_a2c(config, network.config, env, config.seed)
            copy_weights(network, self._model)
            n_updates = units_that_take(seconds, self.run, PILOT_UPDATES)
            self.pilot[stepping] = n_updates * self._size / self.run(n_updates)
        self.stepping = max(STEPPINGS, key=lambda name: self.pilot[name])
        self._model, self._env = models[self.stepping], envs.pop(self.stepping)
        for slower in envs.values():
            slower.close()

    def run(self, n_updates: int) -> float:
        """Its own `learn`, where it stopped before; returns seconds."""
        begin = time.perf_counter()
        self._model.learn(n_updates * self._size, reset_num_timesteps=False)
        return time.perf_counter() - begin

    def close(self) -> None:
        """Stop its environments."""
        self._env.close()
