"""What a network is made of, and the JSON that says so."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from phr.actions import ActionSpace, Discrete, action_space_from_json, whole_numbers
from phr.errors import HorizonError, IncompatibleModelError, InvalidDataError, SettingError
from phr.networks.trunks import TrunkConfig
from phr.plan import Smoothing, smoothing_of_steps


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """All that is needed to build the network again."""

    obs_shape: tuple[int, ...]
    """Shape of one observation."""
    n_actions: int
    """Numbers that a head answers: the size of a discrete action space, see `phr.actions` for others."""
    horizon: int
    """Number of policy heads; 1 for a teacher."""
    trunk: TrunkConfig
    """The layers that the heads share."""
    obs_scale: float = 1.0
    """Observations are multiplied by this: 1/255 for bytes of 0 .. 255."""
    channels_last: bool = False
    """Images are `(height, width, channels)`; the network turns them round."""
    separate_first: bool = False
    """Head 1 reads a trunk of its own (the teacher's, frozen); looking costs two trunks then."""
    action_space: ActionSpace | None = None
    """What the actions are; None for Discrete."""
    normalize: bool = False
    """The trunk normalises observations with statistics that it keeps beside its weights."""
    label_smoothing: float = 0.0
    """ε of the labels that it was trained on; plans take it out of their confidence."""
    first_smoothing: float | None = None
    """ε of the labels that head 1 was trained on, where it is another: head 1 may be the teacher's."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise HorizonError(f"the horizon must be >= 1, got {self.horizon}")
        if self.n_actions < 1:
            raise SettingError(f"a policy needs at least one action, got {self.n_actions}")
        if not 0 < self.obs_scale < math.inf:
            raise SettingError(f"obs_scale must be positive and finite, got {self.obs_scale}")
        for smoothing in (self.label_smoothing, self.smoothing_of_first):
            if not 0 <= smoothing < 1:
                raise SettingError(f"label_smoothing must lie in 0 .. 1, 1 excluded, got {smoothing}")
        if not self.actions.accepts(self.n_actions):
            raise SettingError(f"a head of {self.n_actions} numbers does not go with {self.actions}")

    @property
    def actions(self) -> ActionSpace:
        """What the actions are."""
        return Discrete(self.n_actions) if self.action_space is None else self.action_space

    @property
    def smoothing(self) -> Smoothing:
        """ε of each step's labels."""
        return smoothing_of_steps(self.label_smoothing, self.first_smoothing, self.horizon)

    @property
    def smoothing_of_first(self) -> float:
        """ε of head 1's labels."""
        return self.label_smoothing if self.first_smoothing is None else self.first_smoothing

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is as it always was before it could be said is left out."""
        actions = self.actions.to_json()
        values: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, action_space=None))))
        if actions is None:
            del values["action_space"]
        else:
            values["action_space"] = actions
        if not self.normalize:
            del values["normalize"]
        if not self.label_smoothing:
            del values["label_smoothing"]
        if self.first_smoothing is None:
            del values["first_smoothing"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkConfig:
        """The configuration that `to_json` wrote.

        Raises:
            IncompatibleModelError: If keys are missing or unknown.
        """
        try:
            trunk = TrunkConfig(**{**values["trunk"], "channels": tuple(values["trunk"]["channels"])})
            said = values.get("action_space")
            actions = None if said is None else action_space_from_json(said, values["n_actions"])
            shape = whole_numbers(values["obs_shape"])
            whole_numbers([values["n_actions"], values["horizon"]])
            return cls(**{**values, "obs_shape": shape, "trunk": trunk, "action_space": actions})
        except (KeyError, TypeError, ValueError, AttributeError, InvalidDataError) as error:
            raise IncompatibleModelError(f"this network description was not written by phr: {error}") from error
