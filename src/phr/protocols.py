"""The planner protocol: networks, ONNX sessions, search oracles and tables in a test follow it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from phr.plan import Plan

__all__ = [
    "Planner",
]


@runtime_checkable
class Planner(Protocol):
    """Anything that turns a batch of observations into a plan; numpy in, numpy out."""

    @property
    def horizon(self) -> int:
        """Actions predicted from one look, >= 1. A teacher has horizon 1."""
        ...

    @property
    def n_actions(self) -> int:
        """Size of the discrete action space.

        A planner of other actions also has an `action_space` (`phr.actions`), and this is how many numbers it outputs for
        one of them.
        """
        ...

    def plan(self, obs: NDArray[Any]) -> Plan:
        """Predict the next `horizon` actions.

        Args:
            obs: Observations, shape `(batch, *observation_shape)`.

        Returns:
            A plan of `(batch, horizon)` actions.

        Raises:
            NonFiniteError: If an observation or a prediction is not finite.
        """
        ...
