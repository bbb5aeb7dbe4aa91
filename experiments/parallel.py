"""Independent jobs over processes, one thread each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_parallel(function: Callable[[Job], Result], jobs: Iterable[Job], processes: int) -> Iterator[Result]:
    """Yield the result of every job as it finishes; one process is the caller's own.

    When the generator is left early (an error, Ctrl-C), jobs in progress are stopped, not waited for.
    """
    if processes == 1:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("spawn")  # torch must not be forked once it has started threads
    executor = ProcessPoolExecutor(processes, context, initializer=_start_worker)
    try:
        for future in as_completed([executor.submit(function, job) for job in jobs]):
            yield future.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    executor.shutdown()


def _start_worker() -> None:
    """Use one thread, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
