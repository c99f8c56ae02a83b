"""The planner protocol: networks, ONNX sessions, search oracles and tables in a test follow it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from phr.errors import IncompatibleModelError, PhrError
from phr.plan import Plan

__all__ = [
    "Planner",
    "ask",
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


def ask(planner: Planner, obs: NDArray[Any]) -> Any:
    """Return `planner.plan(obs)`: a plan, if the planner follows the protocol.

    Raises:
        IncompatibleModelError: If it raises an error that is not phr's own.
    """
    try:
        return planner.plan(obs)
    except PhrError:
        raise
    except Exception as error:  # the user's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise IncompatibleModelError(f"{type(planner).__name__}.plan raised {reason}") from error
