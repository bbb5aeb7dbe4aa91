"""What a step costs; run as ``python -m benchmarks.<name>``."""
