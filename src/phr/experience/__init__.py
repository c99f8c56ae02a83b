"""Recorded episodes: what they hold, their files, their windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phr.lazy import lazy_names

if TYPE_CHECKING:
    from phr.experience.archive import load_experience as load_experience
    from phr.experience.archive import save_experience as save_experience
    from phr.experience.collect import meet_observations as meet_observations
    from phr.experience.success import judge_episodes as judge_episodes
    from phr.experience.success import reported_success as reported_success

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "archive": "load_experience save_experience",
        "collect": "meet_observations",
        "success": "judge_episodes reported_success",
    },
)
