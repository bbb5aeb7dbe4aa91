"""One run without a learning rate against a grid of runs with one: ``python -m experiments``."""
