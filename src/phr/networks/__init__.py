"""Trunks, heads, models, and the torch planner."""
