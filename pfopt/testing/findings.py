"""What a check has found, and the runner that no check can stop."""

import contextlib
import io
import unittest
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

STEPS = 64  # gradients that a check takes at most, and the budget of a method that needs to know one
PASSED, FAILED, DOES_NOT_APPLY = "passed", "failed", "does not apply"


class Finding(NamedTuple):
    """What one check has found."""

    check: str  # its name
    outcome: str  # "passed", "failed" or "does not apply"
    sentence: str  # why; empty where it passed


def run_checks(make: Callable[..., Any], checks: Sequence[Callable[..., None]]) -> list[Finding]:
    """Run one check after the other. Whatever an optimizer raises is a finding, and what it prints is dropped."""
    return [_run(make, check) for check in checks]


def demand(condition: object, sentence: str) -> None:
    """Raise the sentence where a demand is not met; unlike ``assert``, under ``python -O``, too."""
    if not condition:
        raise AssertionError(sentence)


def refusal(error: Exception, word: str) -> unittest.SkipTest:
    """An optimizer that says "does not support sparse gradients"; an error that says it by chance goes on its way."""
    if f"support {word}" in str(error).lower():
        return unittest.SkipTest(_sentence(error))
    raise error


def _run(make: Callable[..., Any], check: Callable[..., None]) -> Finding:
    name = check.__name__
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            check(make)
        except unittest.SkipTest as reason:
            return Finding(name, DOES_NOT_APPLY, str(reason))
        except AssertionError as failure:
            return Finding(name, FAILED, str(failure) or "An assertion of the optimizer failed.")
        except Exception as error:  # an optimizer may raise anything, and the next check is to run
            return Finding(name, FAILED, _sentence(error))
    return Finding(name, PASSED, "")


def _sentence(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
