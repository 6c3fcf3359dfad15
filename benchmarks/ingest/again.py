"""What a second ingest of an unchanged corpus costs: no media are there at all, only the inventory and what the first one kept.

python -m benchmarks.ingest.again [FILES ...]     10000, unless others are named
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from flows import workspace
from flows.ingest import ingest
from flows.items import SPREAD, Finished
from flows.params import Params, load_params
from forgeline.files import write_text
from forgeline.quality import beside
from forgeline.recipe import canonical, digest

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 200
TRACK = bytes(range(256)) * 12
"""As long as the track of a short clip."""


def main(counts: Sequence[int]) -> None:
    context = multiprocessing.get_context("spawn")
    print("| ingest | files | s | CPU s | s per 10 000 files | peak MiB |")
    print("|---|---|---|---|---|---|")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            for name, first in (("first, all work left out", True), ("second", False)):
                with context.Pool(1) as pool:
                    wall, cpu, peak = pool.apply(measured, (folder, count, first))
                print(f"| {name} | {count} | {wall:.1f} | {cpu:.1f} | {cpu / count * 10_000:.2f} | {peak:.0f} |", flush=True)


def measured(folder: str, count: int, first: bool) -> tuple[float, float, float]:
    """Wall and CPU seconds, and peak memory in MiB, of one ingest; the corpus is laid out before the first."""
    os.chdir(folder)
    if first:
        write_text(workspace.inventory("own"), "".join(_lines(count)))
        SPREAD.set(_without_work)
    params, out = _params(), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    wall, cpu = time.perf_counter(), time.process_time()
    rows = ingest("own", params)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    os.dup2(out, 1)
    if len(rows) != count or any(row.reason for row in rows):
        raise RuntimeError("not all that was laid out is there")
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _without_work(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
    """What following faces and looking for marks leave behind, without either."""
    for job in jobs:
        files: tuple[Path, ...] = ()
        sample = job.sample
        if hasattr(job, "folder"):
            files = (job.folder / f"{sample.sample_id}.npz",)
            if job.folder.name == "tracks":
                files = (*files, beside(files[0]))
            for file in files:
                file.write_bytes(TRACK + job.name.encode())
            sample = replace(sample, width=640, height=480, frames=75, duration_s=3.0, track=files[0].as_posix())
        yield job, Finished(sample, files)


def _lines(count: int) -> Iterator[str]:
    for path in sorted(f"p{number % PEOPLE:03d}/clip_{number:06d}.mp4" for number in range(count)):
        yield canonical({"path": path, "bytes": 1000, "sha256": digest(path)}) + "\n"


def _params() -> Params:
    people = {f"p{n:03d}": {"basis": "form", "scope": ["face", "voice"]} for n in range(PEOPLE)}
    terms = {"agreement": "none", "licence": "CC0-1.0", "permitted_use": ["research"], "consent": "nobody is there"}
    accepted = {"accepted_by": "nobody", "accepted_on": "2026-01-01"}
    sources = {"own": {"kind": "folder", "terms": terms | accepted | {"people": people}}}
    settings = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(settings | {"sources": sources}))
    return load_params()


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [10_000])
