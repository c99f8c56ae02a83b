"""`python -m phr` is `phr`."""

from phr.cli import entry_point

entry_point()
