"""One script per claim of the paper: `python -m paper_repro.NAME`; all of them: `python -m paper_repro`."""

import sys
from importlib.util import find_spec

if sys.argv[0] == "-m":  # a script is being started: say in one sentence what it lacks
    missing = [
        name
        for name in ("dog", "joblib", "matplotlib", "scipy", "sklearn", "torch")
        if find_spec(name) is None
    ]
    if missing:
        sys.exit(f"paper_repro needs {', '.join(missing)}: pip install '.[torch,bench]'")
