"""Teachers: policies of phr and of other libraries, read from files or wrapped."""

from phr.teachers.foreign import Reading, name_of
from phr.teachers.hub import HUB_PREFIX, HubReference
from phr.teachers.hub import endpoint as hub_endpoint
from phr.teachers.oracle import OraclePlanner, optimal_lengths
from phr.teachers.references import ORACLE, ZOO_PREFIX, resolve, zoo_directory

__all__ = ["HUB_PREFIX", "ORACLE", "ZOO_PREFIX", "HubReference", "OraclePlanner", "Reading", "hub_endpoint", "name_of"]
__all__ += ["optimal_lengths", "resolve", "zoo_directory"]
