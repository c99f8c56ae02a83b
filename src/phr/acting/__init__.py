"""The agent, and how much of a plan to run."""
