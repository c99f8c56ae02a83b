"""The planner protocol: networks, ONNX sessions, search oracles and tables in a test follow it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from phr.errors import IncompatibleModelError, PhrError
from phr.plan import Plan

__all__ = ["Planner", "ask"]


@runtime_checkable
class Planner(Protocol):
    """Anything that turns a batch of observations into a plan; numpy in, numpy out."""

    @property
    def horizon(self) -> int:
        """Actions predicted from one look, >= 1. A teacher has horizon 1."""

    @property
    def n_actions(self) -> int:
        """Size of the discrete action space; of other actions, which an `action_space` describes, numbers output for one."""

    def plan(self, obs: NDArray[Any]) -> Plan:
        """Plan `(batch, horizon)` actions from observations of shape `(batch, *observation_shape)`.

        Raises:
            NonFiniteError: If an observation or a prediction is not finite.
        """


def ask(planner: Planner, obs: NDArray[Any]) -> Any:
    """Return `planner.plan(obs)`, a plan if the planner follows the protocol; IncompatibleModelError if its code fails."""
    try:
        return planner.plan(obs)
    except PhrError:
        raise
    except Exception as error:  # the user's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise IncompatibleModelError(f"{type(planner).__name__}.plan raised {reason}") from error
