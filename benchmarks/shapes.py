"""The model whose step is timed: 25M parameters, most of them in matrices, a few in vectors."""

SHAPES = [(1024, 1024)] * 20 + [(2048, 1024), (1800, 1024), (1024,), (1024,), (10, 1024)]
MOMENTUM = 0.9
