"""What can be changed in the plan for a run: constants, numbers of modules, and functions of the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

from pfopt import options
from pfopt.torch import state

WITHOUT_BASE, AROUND_BASE = "PRACTICAL", "AROUND_BASE"  # the sets of constants in ``pfopt.options``


class Constant(NamedTuple):
    """A constant of the plan has another value, in the sets of constants that are named."""

    name: str
    value: float
    sets: tuple[str, ...] = (WITHOUT_BASE, AROUND_BASE)


class Number(NamedTuple):
    """A number of a module has another value."""

    owner: Any
    name: str
    value: float


class Function(NamedTuple):
    """A function of a module is replaced by ``other(own, *args, **named)``, ``own`` being the function itself."""

    owner: Any
    name: str
    other: Callable[..., Any]


Change = Constant | Number | Function


@contextmanager
def applied(changes: Iterable[Change]) -> Iterator[None]:
    """All changes at once, in this process."""
    with ExitStack() as stack:
        stack.callback(state.setting.cache_clear)  # torch's front end remembers what it was configured with
        state.setting.cache_clear()
        for change in changes:
            if isinstance(change, Constant):
                for name in change.sets:
                    constants = getattr(options, name)._replace(**{change.name: change.value})
                    stack.enter_context(patch.object(options, name, constants))
            elif isinstance(change, Number):
                stack.enter_context(patch.object(*change))
            else:
                own = getattr(change.owner, change.name)
                stack.enter_context(patch.object(change.owner, change.name, partial(change.other, own)))
        yield
