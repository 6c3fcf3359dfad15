"""Stages as Prefect flows: where PREFECT_API_URL is set, a stage's run shows in the UI, with a task for every shard.

Where it isn't, Prefect isn't even imported, and the same functions run directly. The bytes are the same either way: the
work is done by the same worker processes, and only handed out shard by shard.
"""

import math
import os
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from forgeline.compute import Died, processes, workers
from forgeline.errors import FactoryError

if TYPE_CHECKING:  # not every stage has items, and they take a quarter of a second to import
    from flows.items import Finished, Item

    Work = Callable[[Item], Finished]
    Results = Iterator[tuple[Item, Finished | Died]]

API = "PREFECT_API_URL"
_SHORTEST_S = 30.0
"""Shards are joined until a task takes this long: Prefect keeps every task, and the workers start anew for each."""


def run_stage(stage: str, of: str | None, run: Callable[[], None]) -> None:
    """Run a stage, `of` a source or generator where it has one, as the Prefect flow of its name if a server is set.

    FactoryError within seconds when that server doesn't answer.
    """
    if not os.environ.get(API):
        run()
        return
    require_server()
    for kind in ("FLOW", "TASK"):  # the console then shows what it shows without a server
        os.environ.setdefault(f"PREFECT_LOGGING_FORMATTERS_STANDARD_{kind}_RUN_FMT", "%(message)s")
    from prefect import flow

    from flows.items import SPREAD

    title = f"{stage} {of}" if of else stage

    @flow(name=stage, flow_run_name=title, log_prints=True, validate_parameters=False)
    def shown(of: str | None) -> None:
        run()

    token = SPREAD.set(partial(_in_tasks, title))
    try:
        shown(of)
    finally:
        SPREAD.reset(token)


def show_in_ui(key: str, markdown: str, table: list[dict[str, Any]]) -> None:
    """Keep a text and a table beside the run of a stage, where that is a flow; else do nothing."""
    if not os.environ.get(API):
        return
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    create_markdown_artifact(markdown, key=key)
    create_table_artifact(table, key=f"{key}-table")


def require_server() -> None:
    """FactoryError unless the Prefect server of PREFECT_API_URL answers. Prefect never gets to start one of its own."""
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    url = os.environ[API]
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5).close()
    except urllib.error.HTTPError:
        pass  # it asks for a login, which Prefect has
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise FactoryError(
            API, f"no Prefect server answers at {url} ({reason})", f"start one with `make serve`, or unset {API}"
        ) from error


def _in_tasks(what: str, work: "Work", jobs: "Sequence[Item]") -> "Results":
    """As `forgeline.compute.processes`, but each shard, or several where they are short, is a task."""
    if not jobs:
        return
    from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

    name = "".join(c if c.isalnum() else "-" for c in what.lower())
    bar: Any = create_progress_artifact(0.0, key=f"{name}-progress", description=f"{what}: {len(jobs)} items")
    shards = deque(list(members) for _, members in groupby(sorted(jobs, key=_shard), _shard))
    least = 16 * workers()  # of fewer, cores would stand idle while a task's last items are worked on
    enough = least
    done = 0
    table = []
    while shards:
        members = shards.popleft()
        while shards and len(members) < enough:
            members += shards.popleft()
        title = f"{done + 1} to {done + len(members)} of {len(jobs)}"
        if names := sorted({job.sample.shard for job in members if job.sample.shard}):
            title += f" ({names[0]}{f' to {names[-1]}' if len(names) > 1 else ''})"
        started = time.monotonic()
        died = 0
        for job, result in _task(work, members, f"{what}: {title}"):
            died += isinstance(result, Died)
            yield job, result
        seconds = time.monotonic() - started
        done += len(members)
        enough = max(least, math.ceil(len(members) * _SHORTEST_S / seconds))
        update_progress_artifact(bar, 100 * done / len(jobs))
        table.append({"which": title, "items": len(members), "died": died, "seconds": round(seconds, 1)})
    create_table_artifact(table, key=name, description=f"{what}: {done} items made")


def _task(work: "Work", members: "Sequence[Item]", title: str) -> "Results":
    """One task run. What the disk or the system refuses is tried again, without the items that are finished."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    left = {job.name: job for job in members}

    @task(
        name=title.split(":")[0],
        task_run_name=title,
        retries=2,
        retry_delay_seconds=5,
        retry_condition_fn=_may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def shard() -> "Results":
        for job, result in processes(work, tuple(left.values())):
            del left[job.name]
            yield job, result

    return shard()


def _may_pass(task: Any, run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), OSError)


def _shard(job: "Item") -> str:
    return job.sample.shard or job.name
