"""The one seam through which a stage's work is spread: one process a core, one thread a process."""

import ctypes
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Set to 1 for every worker: the bytes of some results depend on the thread count, and cores are used by processes."""

HEAD_START_S = 3.0
"""Starting a process takes a CPU second, two where it needs torch, which a few short items don't repay."""


DIED = "the process that worked on it died"
"""How the reason of such an item begins: the next run tries it again."""


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
    dies costs its own item alone (`Died`). All is done in child processes, so that it is computed the same way whatever
    their number. The first of them works alone for HEAD_START_S.
    """
    if not items:
        return
    import multiprocessing

    from pebble import ProcessExpired, ProcessPool

    one_thread()
    count = min(workers(), len(items))
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as running:

        def pool(size: int) -> ProcessPool:
            return running.enter_context(ProcessPool(max_workers=size, initializer=die_with_parent, context=spawn))

        room = {pool(1): 1}  # how many more items are handed to each pool: what waits in one can't go to the other
        alone_until = time.monotonic() + HEAD_START_S
        todo = deque(items)
        waiting: dict[Future[Result], tuple[Item, ProcessPool]] = {}
        try:
            while todo or waiting:
                for each in room:
                    while todo and room[each]:
                        item = todo.popleft()
                        waiting[each.schedule(work, args=[item])] = item, each
                        room[each] -= 1
                alone = bool(todo) and len(room) == 1 and count > 1
                left = max(0.0, alone_until - time.monotonic()) if alone else None
                done = wait(waiting, timeout=left, return_when=FIRST_COMPLETED).done
                if alone and time.monotonic() >= alone_until:
                    more = min(count - 1, len(todo))
                    room[pool(more)] = 2 * more  # each has its next item at hand, and needs not wait until we look here
                for future in done:
                    item, each = waiting.pop(future)
                    room[each] += 1
                    try:
                        yield item, future.result()
                    except ProcessExpired as error:
                        yield item, Died(f"{DIED} (exit code {error.exitcode})")
        finally:
            if waiting:
                for each in room:
                    each.stop()  # type: ignore[no-untyped-call]
