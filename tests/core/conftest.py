"""As in ``pfopt.minimize``, numpy says nothing of overflows: they are part of what is tested."""

from collections.abc import Iterator

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield
