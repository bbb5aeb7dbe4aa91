"""Independent jobs over processes or a cluster, one thread each, by joblib."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import torch
from joblib import Parallel, delayed, parallel_config

Job = TypeVar("Job")
Result = TypeVar("Result")
BACKENDS = ("loky", "dask")


def run_parallel(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    processes: int,
    backend: str = "loky",
    address: str | None = None,
) -> Iterator[Result]:
    """Yield the result of every job as it finishes; one process of loky is the caller's own.

    When the generator is left early (an error, Ctrl-C), jobs in progress are stopped, not waited for.

    Args:
        function: Called with one job, in a process that uses one thread.
        jobs: The jobs.
        processes: How many at once.
        backend: One of ``BACKENDS``.
        address: Of a running Dask cluster; by default a local one is started.
    """
    if processes == 1 and backend == "loky":
        yield from map(function, jobs)
        return
    single = delayed(partial(_single_threaded, function))
    options: dict[str, Any] = {"batch_size": 1}  # a killed suite loses as little as possible
    with ExitStack() as stack:
        if backend == "dask":
            stack.enter_context(_dask(processes, address))
        stack.enter_context(parallel_config(backend, n_jobs=processes))
        parallel = Parallel(return_as="generator_unordered", **options)
        results = stack.enter_context(_stopped_at_the_end(cast(Any, parallel(single(job) for job in jobs))))
        for result in results:  # noqa: UP028 ("yield from" would close them itself)
            yield result


@contextmanager
def _stopped_at_the_end(results: Iterator[Result]) -> Iterator[Iterator[Result]]:
    """Stop what still runs when the results are left early, which joblib would warn of."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*still being processed by the workers", UserWarning)
            cast(Any, results).close()


def _single_threaded(function: Callable[[Job], Result], job: Job) -> Result:
    torch.set_num_threads(1)
    return function(job)


def _dask(processes: int, address: str | None) -> Any:
    """A client of the cluster at ``address``, or of its own one of single-threaded processes, which ends with it."""
    from distributed import Client  # takes a second, and few want it

    if address:
        return Client(address)
    return Client(n_workers=processes, threads_per_worker=1, dashboard_address=None)


def compile_quickly() -> None:
    """Let XLA optimise nothing, unless the caller has flags of its own: for what compiles far more than it runs."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
