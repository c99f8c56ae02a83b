"""Whole experiments with phr: reproduce, bench, doctor, and the pages that report them.

They import phr's public names only, and register their commands and functions as any plug-in would (pyproject.toml).
"""
