"""Slow, literal implementations that the package is compared with; they share no code with it."""
