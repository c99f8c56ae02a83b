"""`phr doctor`: what an environment is, whether replays repeat it, and for how many steps a plan stays right in it."""
