"""What a person sees while a stage works: what, how many of how many, the rate and the time left."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_QUIET_S = 10.0


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass `items` on, and show on standard error how far it is: a bar on a terminal, else a line every ten seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=total, rate="")
            started = time.monotonic()
            for done, item in enumerate(items, 1):
                yield item
                rate = done / max(time.monotonic() - started, 1e-3)
                bar.update(task, completed=done, rate=f"{rate:.1f}/s")
        return
    started = said = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - said >= _QUIET_S and done < total:
            said = now
            rate = done / (now - started)
            left = (total - done) / rate
            print(f"{what}: {done} of {total}, {rate:.1f}/s, {left:.0f} s left", file=sys.stderr, flush=True)
    if total:
        print(f"{what}: {done} of {total} in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
