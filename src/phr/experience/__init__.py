"""What a teacher did: trajectories, windows over them, and their files."""
