"""The one seam through which a stage's work is spread: one process a core, one thread a process."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Set to 1 for every worker: the bytes of some results depend on the thread count, and cores are used by processes."""


@dataclass(frozen=True)
class Died:
    """What a worker's item gave when the worker's process died under it (out of memory, a crash in a decoder)."""

    reason: str


def workers() -> int:
    """How many processes work at once: `FORGELINE_WORKERS`, else one a core that this process may use."""
    given = os.environ.get("FORGELINE_WORKERS", "")
    return int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))


def one_thread() -> None:
    """Make this process, and those it starts, compute with one thread. Call it before NumPy or torch is imported."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that nothing writes on after a `kill -9` (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended in between
        os.kill(os.getpid(), signal.SIGKILL)


def processes(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result | Died]]:
    """Give (item, `work(item)`) for every item, in the order in which they finish.

    `work` and what it gives must be picklable. An exception in `work` ends the whole and is raised here; a process that
    dies costs its own item alone (`Died`). With one worker, or one item, the work is done in a single child process, so
    that it is computed the same way whatever the number of workers.
    """
    if not items:
        return
    import multiprocessing

    from pebble import ProcessExpired, ProcessPool

    one_thread()
    count = min(workers(), len(items))
    context = multiprocessing.get_context("spawn")
    with ProcessPool(max_workers=count, initializer=die_with_parent, context=context) as pool:
        waiting: dict[Future[Result], Item] = {}
        todo = iter(items)
        try:
            while True:
                # Only a few items are handed out ahead, so that a long list isn't pickled at once.
                for item in todo:
                    waiting[pool.schedule(work, args=[item])] = item
                    if len(waiting) >= 4 * count:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    item = waiting.pop(future)
                    try:
                        yield item, future.result()
                    except ProcessExpired as error:
                        yield item, Died(f"the process that worked on it died (exit code {error.exitcode})")
        finally:
            if waiting:
                pool.stop()  # type: ignore[no-untyped-call]
