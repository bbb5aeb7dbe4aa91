"""The checks that run on any ``optax.GradientTransformation``."""

from collections.abc import Callable

from pfopt.testing.optax.problems import Make as Make
from pfopt.testing.optax.state import (
    composes,
    keeps_its_structure,
    may_be_donated,
    needs_shapes_alone,
    pickles,
    resumes_bit_for_bit,
    runs_in_lanes,
)
from pfopt.testing.optax.values import (
    is_free_of_scale,
    leaves_masked_parameters_alone,
    leaves_stopped_parameters_alone,
    stays_at_zero_gradients,
    survives_a_bad_batch,
    takes_complex_parameters,
    takes_odd_shapes,
    trains_every_dtype,
    trains_on_small_losses_in_float16,
)

CHECKS: tuple[Callable[[Make], None], ...] = (
    resumes_bit_for_bit,
    pickles,
    keeps_its_structure,
    may_be_donated,
    needs_shapes_alone,
    composes,
    runs_in_lanes,
    leaves_masked_parameters_alone,
    leaves_stopped_parameters_alone,
    stays_at_zero_gradients,
    takes_odd_shapes,
    takes_complex_parameters,
    trains_every_dtype,
    trains_on_small_losses_in_float16,
    is_free_of_scale,
    survives_a_bad_batch,
)
