"""The networks, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.networks.policy import NetworkConfig as NetworkConfig
    from phr.networks.policy import PlanNetwork as PlanNetwork
    from phr.networks.policy import TorchPlanner as TorchPlanner
    from phr.networks.policy import blank_network as blank_network
    from phr.networks.policy import build_network as build_network
    from phr.networks.trunks import Precision as Precision
    from phr.networks.trunks import compute_dtype as compute_dtype
    from phr.networks.trunks import Trunk as Trunk
    from phr.networks.trunks import TrunkConfig as TrunkConfig
    from phr.networks.trunks import default_trunk as default_trunk

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "policy": "NetworkConfig PlanNetwork TorchPlanner blank_network build_network",
        "trunks": "Precision Trunk TrunkConfig compute_dtype default_trunk",
    },
)
