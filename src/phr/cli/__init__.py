"""The command line: parse, call `phr.api`, print. No logic."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if it succeeded, 1 if it failed, 2 if the words were wrong, 130 after Ctrl-C.
    """
    needed = ("tyro", "rich", "torch", "gymnasium")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"phr: the command line needs {', '.join(missing)}; pip install 'phr[train]'\n")
        return 2
    from phr.cli.run import run

    return run(list(sys.argv[1:] if args is None else args))


def entry_point() -> None:
    """What the installed script calls."""
    sys.exit(main())
