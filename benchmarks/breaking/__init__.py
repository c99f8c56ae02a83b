"""The parts of `benchmarks/reliability.py`: what is broken on purpose, and what came of it."""
