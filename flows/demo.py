"""Stage `demo`: render the demo corpus into data/raw/demo, and take its inventory."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flows import workspace
from flows.params import Params
from forgeline.code import code_digest, library_versions
from forgeline.compute import Died, processes
from forgeline.errors import FactoryError
from forgeline.files import prune, sha256_of, write_text
from forgeline.inventory import scan
from forgeline.lock import holding
from forgeline.progress import progress
from forgeline.recipe import digest
from sources.demo import Job, jobs, render

NAME = "demo"


@dataclass(frozen=True)
class _Render:
    job: Job
    folder: Path


def demo(params: Params) -> None:
    """Bring data/raw/demo up to date (nothing when no source is of kind `demo`), and write its inventory."""
    folder = workspace.RAW / NAME
    wanted = jobs(params.demo) if any(getattr(s, "kind", "") == NAME for s in params.sources.values()) else []
    with holding(workspace.lock(NAME)):
        folder.mkdir(parents=True, exist_ok=True)
        makes = [code_digest("sources.demo"), library_versions()]
        kept: set[Path] = set()
        todo = []
        for job in wanted:
            files = (folder / job.path, (folder / job.path).with_suffix(".truth.json"))
            record = (folder / job.path).with_suffix(".key")
            key = digest([job.key, makes])
            if all(p.is_file() for p in (*files, record)) and record.read_text() == _record(key, files):
                kept |= {*files, record}
            else:
                todo.append((_Render(job, folder), record, key, files))
        prune(folder, kept)
        records = {work.job.path: (record, key, files) for work, record, key, files in todo}
        for work, result in progress(processes(_render, [work for work, _, _, _ in todo]), len(todo), "demo: render"):
            if isinstance(result, Died):
                raise FactoryError(work.job.path, result.reason, "run again: finished clips are kept")
            record, key, files = records[work.job.path]
            write_text(record, _record(key, files))
        scan(folder, workspace.inventory(NAME), workspace.LOCAL / "scan" / f"{NAME}.jsonl")


def _record(key: str, files: Iterable[Path]) -> str:
    """What is kept beside a clip: its key and its files as they were rendered, so that a damaged one is seen."""
    return digest([key, *map(sha256_of, files)])


def _render(work: _Render) -> None:
    render(work.job, work.folder)
