"""Recorded episodes: what they hold, their files, their windows."""

from phr.experience.archive import load_experience, read_card, save_experience
from phr.experience.collect import meet_observations
from phr.experience.success import judge_episodes, reported_success

__all__ = ["judge_episodes", "load_experience", "meet_observations", "read_card", "reported_success", "save_experience"]
