"""Independent jobs over processes or a cluster, one thread each, by joblib."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar, cast

import torch
from joblib import Parallel, delayed, parallel_config

Job = TypeVar("Job")
Result = TypeVar("Result")
BACKENDS = ("loky", "dask", "ray")


class BackendError(RuntimeError):
    """A cluster's package is not installed."""


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
        address: Of a running Dask or Ray cluster; by default a local one is started.
    """
    if processes == 1 and backend == "loky":
        yield from map(function, jobs)
        return
    single = delayed(partial(_single_threaded, function))
    options: dict[str, Any] = {"batch_size": 1}  # a killed suite loses as little as possible
    with ExitStack() as stack:
        if backend == "dask":
            stack.enter_context(_dask(processes, address))
        elif backend == "ray":
            _start_ray(processes, address)
        stack.enter_context(parallel_config(backend, n_jobs=processes))
        if backend == "ray":
            waiting = iter(
                jobs
            )  # its joblib backend returns lists only: a few at a time, so that few are lost
            while part := list(islice(waiting, 4 * processes)):
                yield from cast(Any, Parallel(**options)(single(job) for job in part))
            return
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
    client = _package("distributed", "dask").Client
    if address:
        return client(address)
    return client(n_workers=processes, threads_per_worker=1, dashboard_address=None)


def _start_ray(processes: int, address: str | None) -> None:
    """Connect to the cluster at ``address``, or start a local one."""
    ray = _package("ray", "ray")
    options = {"address": address} if address else {"num_cpus": processes}
    ray.init(**options, ignore_reinit_error=True)
    import_module("ray.util.joblib").register_ray()


def _package(name: str, backend: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise BackendError(
            f"--backend {backend} needs the package {name}, which is not installed: pip install {name}"
        ) from None


def compile_quickly() -> None:
    """Let XLA optimise nothing, unless the caller has flags of its own: for what compiles far more than it runs."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
