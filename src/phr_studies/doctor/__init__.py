"""`phr doctor`: what an environment is, whether replays repeat it, and what a teacher's plans keep of its return there."""
