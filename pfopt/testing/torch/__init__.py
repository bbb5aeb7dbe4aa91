"""The checks that run on any ``torch.optim.Optimizer``."""

from collections.abc import Callable

from pfopt.testing.torch.groups import (
    calls_closures,
    leaves_frozen_parameters_alone,
    leaves_groups_at_rate_zero_alone,
    skips_absent_gradients,
    stays_at_zero_gradients,
    takes_complex_parameters,
    takes_groups,
    takes_learning_rate_schedules,
    takes_odd_shapes,
)
from pfopt.testing.torch.problems import Make as Make
from pfopt.testing.torch.state import (
    calls_hooks,
    distributed_checkpoints,
    refuses_another_models_state,
    resumes_bit_for_bit,
    survives_copying,
)
from pfopt.testing.torch.values import (
    is_free_of_scale,
    leaves_gradients_alone,
    survives_a_bad_batch,
    takes_sparse_gradients,
    trains_every_dtype,
    trains_on_small_losses_in_float16,
    works_under_a_grad_scaler,
)

CHECKS: tuple[Callable[[Make], None], ...] = (
    resumes_bit_for_bit,
    survives_copying,
    distributed_checkpoints,
    refuses_another_models_state,
    calls_hooks,
    leaves_frozen_parameters_alone,
    leaves_groups_at_rate_zero_alone,
    skips_absent_gradients,
    stays_at_zero_gradients,
    takes_groups,
    takes_learning_rate_schedules,
    calls_closures,
    takes_odd_shapes,
    takes_complex_parameters,
    takes_sparse_gradients,
    trains_every_dtype,
    trains_on_small_losses_in_float16,
    is_free_of_scale,
    survives_a_bad_batch,
    works_under_a_grad_scaler,
    leaves_gradients_alone,
)
