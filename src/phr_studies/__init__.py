"""Whole experiments: reproduce, bench, tune, doctor."""
