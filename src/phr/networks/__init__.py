"""The networks, in torch."""

from phr.networks.policy import NetworkConfig, PlanNetwork, TorchPlanner, blank_network, build_network
from phr.networks.trunks import Precision, Trunk, TrunkConfig, compute_dtype, default_trunk, torch_threads

__all__ = ["NetworkConfig", "PlanNetwork", "Precision", "TorchPlanner", "Trunk", "TrunkConfig", "blank_network"]
__all__ += ["build_network", "compute_dtype", "default_trunk", "torch_threads"]
