"""Policies that others trained, and the search oracle."""
