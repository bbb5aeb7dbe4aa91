"""Methods: a grid of learning rates (the reference), DoG, and parameter-free SGD."""
