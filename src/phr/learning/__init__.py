"""Stage 1 (A2C), stage 2 (PHR), and the pure functions beneath them."""
