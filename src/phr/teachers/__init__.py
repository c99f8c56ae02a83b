"""Teachers: policies of phr and of other libraries, read from files or wrapped."""

from phr.teachers.foreign import Reading, name_of
from phr.teachers.oracle import OraclePlanner, optimal_lengths
from phr.teachers.references import ORACLE, ZOO_PREFIX, resolve, zoo_directory

__all__ = ["ORACLE", "ZOO_PREFIX", "OraclePlanner", "Reading", "name_of", "optimal_lengths", "resolve", "zoo_directory"]
