"""What a user may demand of any optimizer, as checks that run on anybody's: torch's, optax's, a peer's, your own.

A check is a plain function of a ``make``, which builds the optimizer. It returns where its demand is met, raises an
``AssertionError`` with a sentence where it is not, and ``unittest.SkipTest`` where it does not apply; so it is a test
of pytest as it stands:

    @pytest.mark.parametrize("check", pfopt.testing.torch.CHECKS, ids=lambda check: check.__name__)
    def test_my_optimizer(check):
        check(lambda params: MyOptimizer(params))

``check_optimizer`` and ``check_transformation`` run them all instead, and raise nothing. No check takes more than
``STEPS`` gradients: a method with a budget is made with that one. Neither torch nor jax is imported before it is used.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pfopt.testing.findings import DOES_NOT_APPLY as DOES_NOT_APPLY
from pfopt.testing.findings import FAILED as FAILED
from pfopt.testing.findings import PASSED as PASSED
from pfopt.testing.findings import STEPS as STEPS
from pfopt.testing.findings import Finding as Finding
from pfopt.testing.findings import run_checks


def check_optimizer(
    make: Callable[[Any], Any], checks: Sequence[Callable[..., None]] | None = None
) -> list[Finding]:
    """Run the checks of ``pfopt.testing.torch`` and say what each has found.

    Args:
        make: builds the optimizer over what any ``torch.optim.Optimizer`` takes: parameters, pairs of names and
            parameters, or dicts that define groups.
        checks: those to run; all of ``pfopt.testing.torch.CHECKS`` by default.
    """
    from pfopt.testing.torch import CHECKS

    return run_checks(make, CHECKS if checks is None else checks)


def check_transformation(
    make: Callable[[], Any], checks: Sequence[Callable[..., None]] | None = None
) -> list[Finding]:
    """Run the checks of ``pfopt.testing.optax`` and say what each has found.

    Args:
        make: builds the ``optax.GradientTransformation``, learning rate included.
        checks: those to run; all of ``pfopt.testing.optax.CHECKS`` by default.
    """
    from pfopt.testing.optax import CHECKS

    return run_checks(make, CHECKS if checks is None else checks)
