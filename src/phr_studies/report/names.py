"""What environments and series are called before people, and how twin pictures are called."""

from __future__ import annotations

import re
from pathlib import Path

_SERIES = {
    "cross_entropy": "cross-entropy",
    "kl": "KL",
    "forward_kl": "forward KL",
    "squared_logits": "squared, logits",
}


def env_name(env_id: str) -> str:
    """An environment's id without namespace, family and version: what fits above a picture."""
    return re.sub(r"-v\d+$", "", env_id.rpartition("/")[2].rpartition(":")[2]).removeprefix("MiniGrid-")


def series_name(series: str) -> str:
    """A series as people call it."""
    key = series.replace("-", "_")
    return _SERIES.get(key, key.replace("_", " "))


def dark_variant(path: Path) -> Path:
    """Where the dark twin of a picture lies."""
    return path.with_name(f"{path.stem}-dark{path.suffix}")
