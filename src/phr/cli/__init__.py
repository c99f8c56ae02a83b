"""The command line: parse, call `phr.api`, print. No logic.

A package that adds commands (entry-point group `phr.commands`) finds here the kinds of options, and how to print.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.cli.display import ProgressBar as ProgressBar, console as console, say as say, say_rows as say_rows
    from phr.cli.words import (
        Count as Count,
        EnvKwargs as EnvKwargs,
        Flag as Flag,
        Folder as Folder,
        FrameStack as FrameStack,
    )
    from phr.cli.words import Normalize as Normalize, OptionalEnvId as OptionalEnvId, OptionalFile as OptionalFile
    from phr.cli.words import OptionalFolder as OptionalFolder, Seed as Seed, Wrapper as Wrapper, layered as layered
    from phr.cli.words import word as word

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "display": "ProgressBar console say say_rows",
        "words": "Count EnvKwargs Flag Folder FrameStack Normalize OptionalEnvId OptionalFile OptionalFolder Seed "
        "Wrapper layered word",
    },
)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; return 0 if it succeeded, 1 if it failed, 2 if the arguments were wrong, 128 + n after signal n."""
    missing = [name for name in ("tyro", "rich", "torch", "gymnasium") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"phr: the command line needs {', '.join(missing)}; pip install 'phr[train]'\n")
        return 2
    try:
        from phr.cli.commands import run

        return run(list(sys.argv[1:] if args is None else args))
    except KeyboardInterrupt:  # while libraries are imported
        sys.stderr.write("phr: interrupted\n")
        return 130


def entry_point() -> None:
    """Run the command line; the installed script calls this."""
    sys.exit(main())
