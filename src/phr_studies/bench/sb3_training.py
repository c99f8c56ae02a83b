"""Stable-Baselines3's A2C as the peer of phr's."""

from __future__ import annotations

from phr.learning import A2CConfig
from phr.networks import PlanNetwork
from phr_studies.bench.sb3 import STEPPINGS, copy_weights, make_a2c, make_vec_env_for_sb3
from phr_studies.bench.updates import PILOT_UPDATES, calibrated, timed


class Peer:
    """Stable-Baselines3's A2C, stepping its environments the way that is quicker for it in a pilot run.

    Args:
        env_id: Where.
        config: phr's settings, which it shares.
        network: Its layers and first weights.
        seconds: Length of the pilot runs.

    Attributes:
        stepping: The quicker way.
        pilot: Steps a second of each way.
    """

    def __init__(self, env_id: str, config: A2CConfig, network: PlanNetwork, seconds: float) -> None:
        self._size = config.rollout_size
        self.pilot: dict[str, float] = {}
        models, envs = {}, {}
        for stepping in STEPPINGS:
            env = envs[stepping] = make_vec_env_for_sb3(env_id, config.n_envs, stepping, config.seed)
            models[stepping] = make_a2c(config, network.config, env, config.seed)
            copy_weights(network, models[stepping])
            self._model = models[stepping]
            self.run(PILOT_UPDATES)
            n_updates = calibrated(self.run, seconds)
            self.pilot[stepping] = n_updates * self._size / timed(self.run, n_updates)
        self.stepping = max(STEPPINGS, key=lambda name: self.pilot[name])
        self._model, self._env = models[self.stepping], envs.pop(self.stepping)
        for slower in envs.values():
            slower.close()

    def run(self, n_updates: int) -> None:
        """Its own `learn`, where it stopped before."""
        self._model.learn(n_updates * self._size, reset_num_timesteps=False)

    def close(self) -> None:
        """Stop its environments."""
        self._env.close()
