"""Eight host devices give the run of one, and sharding types never change; in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_eight_devices() -> None:
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.optax.sharding_worker"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # the host devices can deadlock in an all-reduce; then say so instead of hanging
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.endswith("all well\n")
