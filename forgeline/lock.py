"""One writer an output: `kill -9` of DVC leaves its stage to the kernel, and another run must not mix with it."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forgeline.errors import LockedError


@contextmanager
def holding(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`; if another process has it, say which and wait for it (or raise LockedError).

    The kernel lets go of it when the process ends, however it ends. Children don't inherit it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "another process"
            if not wait:
                raise LockedError(path.stem, f"is being written by {holder}", "wait for it to end, or stop it") from None
            print(f"{path.stem}: is being written by {holder}; waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
