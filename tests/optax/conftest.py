"""Workers, reruns and processes of their own share compiled programs."""

import os
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "jax"

# in the environment: JAX reads it when it is imported, here or in another process
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
