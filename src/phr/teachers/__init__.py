"""Teachers: policies of phr and of other libraries, read from files or wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.teachers.foreign import Reading as Reading
    from phr.teachers.foreign import name_of as name_of
    from phr.teachers.oracle import OraclePlanner as OraclePlanner
    from phr.teachers.oracle import optimal_lengths as optimal_lengths
    from phr.teachers.references import ORACLE as ORACLE
    from phr.teachers.references import resolve as resolve
    from phr.teachers.references import ZOO_PREFIX as ZOO_PREFIX
    from phr.teachers.references import zoo_directory as zoo_directory

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "foreign": "Reading name_of",
        "oracle": "OraclePlanner optimal_lengths",
        "references": "ORACLE ZOO_PREFIX resolve zoo_directory",
    },
)
