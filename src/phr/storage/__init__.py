"""Checkpoints, models and exports on disk."""
