"""The unit of gradients: 1 for ordinary ones, else a power of two that brings them to the border of these."""

import numpy as np
import pytest

from pfopt.core import scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [-0.99, -0.6, -0.3, -0.2, 0.0, 0.2, 0.6, 0.99])
def test_squares_of_scaled_gradients_are_numbers(dtype: type, share: float) -> None:
    most = np.finfo(dtype).maxexp
    largest = 1.5 * 2.0 ** int(share * most)
    exponent = scale.exponent(largest, dtype)
    assert (exponent == 0) == (-0.25 < share < 0.3)
    scaled = dtype(largest) * dtype(2.0**exponent)
    assert 0 < scaled**2 < np.inf
    assert scaled / dtype(2.0**exponent) == dtype(largest)


def test_the_smallest_number_of_all() -> None:
    assert np.isfinite(np.float64(2.0) ** scale.exponent(5e-324, np.float64))
