"""What the long stages have in common: items that are kept while all that makes them stays the same.

An item is a set of files that begin with its name, and `<name>.json` beside them: its key (a hash of everything that
makes it), the hashes of its files, and its row. That record is written last, so an item without it does not exist.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from flows.workspace import MANIFEST
from forgeline.compute import Died, processes
from forgeline.files import prune, sha256_of, write_text
from forgeline.manifest import from_record, lists, to_record, write_manifest
from forgeline.progress import progress
from forgeline.recipe import canonical
from forgeline.sample import Sample


@dataclass(frozen=True)
class Item:
    """`name`: its file names begin with it (may hold folders); `key`: hash of all that makes it; `sample`: as planned."""

    name: str
    key: str
    sample: Sample


Job = TypeVar("Job", bound=Item)


@dataclass(frozen=True)
class Finished:
    """What working on an item gave: the finished row, and the files that belong to it."""

    sample: Sample
    files: tuple[Path, ...]


SPREAD: ContextVar[Callable[[Callable[[Any], Finished], Sequence[Any]], Iterator[tuple[Any, Finished | Died]]]] = ContextVar(
    "SPREAD", default=processes
)
"""How the work reaches the worker processes. A Prefect flow puts its tasks around it (`flows.stage_flows`)."""


def bring_up_to_date(folder: Path, jobs: Iterable[Job], work: Callable[[Job], Finished], what: str) -> list[Sample]:
    """Make what is missing in `folder`, drop what is no longer wanted, keep the rest; write and give the manifest.

    `work` runs in worker processes and writes its files below `folder`. An item whose process died is a row with a
    reason that is not kept, so that the next run tries it again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {job.name: job for job in jobs}
    kept = {name: kept for name, job in wanted.items() if (kept := _kept(folder, job))}
    todo = [job for name, job in wanted.items() if name not in kept]
    manifest = folder / MANIFEST
    # A manifest that lies there is of all the records beside it: it goes before any of them does, and comes after the last.
    if todo:
        manifest.unlink(missing_ok=True)
    if prune(folder, {manifest, *(p for k in kept.values() for p in k.files)}):
        manifest.unlink(missing_ok=True)
    samples = [k.sample for k in kept.values()]
    if kept:
        print(f"{what}: {len(kept)} of {len(wanted)} are up to date", flush=True)
    for job, result in progress(SPREAD.get()(work, todo), len(todo), what):
        if isinstance(result, Died):
            samples.append(replace(job.sample, reason=result.reason))
            continue
        record = {
            "key": job.key,
            "files": {p.relative_to(folder).as_posix(): sha256_of(p) for p in result.files},
            "sample": to_record(result.sample),
        }
        write_text(folder / f"{job.name}.json", canonical(record) + "\n")
        kept[job.name] = Finished(result.sample, (*result.files, folder / f"{job.name}.json"))
        samples.append(result.sample)
    if todo:
        prune(folder, {p for k in kept.values() for p in k.files})  # what a process that died has left
    if not lists(manifest, samples):
        write_manifest(manifest, samples)
    return samples


def _kept(folder: Path, job: Item) -> Finished | None:
    """The item as it lies there, if it is whole and of the same key. Of 100 000 items each is looked at, so little is done."""
    record = folder / f"{job.name}.json"
    try:
        with open(record, "rb") as file:
            told = json.loads(file.read())
        if told["key"] != job.key:
            return None
        files: Mapping[str, str] = told["files"]
        paths = tuple(folder / name for name in files)
        if not all(sha256_of(p) == sha for p, sha in zip(paths, files.values(), strict=True)):
            return None
        return Finished(from_record(told["sample"]), (*paths, record))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def dropped(samples: Iterable[Sample]) -> Iterator[str]:
    """A line for each sample that has a reason instead of a clip."""
    for sample in sorted(samples, key=lambda s: s.sample_id):
        if sample.reason is not None:
            yield f"  dropped {sample.sample_id} ({sample.media}): {sample.reason}"
