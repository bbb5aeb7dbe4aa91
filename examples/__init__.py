"""Short training programs; run them as ``python -m examples.<name>``."""
