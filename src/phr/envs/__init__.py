"""Making, advancing and observing environments."""
