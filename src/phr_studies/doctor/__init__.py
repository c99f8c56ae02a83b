"""`phr doctor`: what an environment's id resolves to, whether it can be trusted, and how long one may look away in it."""
