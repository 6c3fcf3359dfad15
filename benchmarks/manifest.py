"""What a manifest of 100 000 samples costs to write, to read and to check: CPU seconds of one core, and peak memory.

    python -m benchmarks.manifest [ROWS]

Half of the rows are controls, half are the forgeries that go with them. The check is to take less than 5 s and 1 GiB.
Each step runs in a process of its own, so that its peak is its own.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from forgeline.clip import Segment
from forgeline.manifest import check, read_manifest, write_manifest
from forgeline.recipe import Recipe
from forgeline.sample import Sample

PEOPLE = 500


def main(count: int) -> None:
    context = multiprocessing.get_context("spawn")
    print("| step | rows | CPU s | peak MiB |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.parquet"
        for name, step in STEPS.items():
            with context.Pool(1) as pool:
                seconds, peak = pool.apply(measured, (step, path, count))
            print(f"| {name} | {count} | {seconds:.2f} | {peak:.0f} |", flush=True)


def measured(step: Callable[[Path, int], object], path: Path, count: int) -> tuple[float, float]:
    start = time.process_time()
    step(path, count)
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(path: Path, count: int) -> None:
    write_manifest(path, samples(count))


def read(path: Path, count: int) -> None:
    read_manifest(path)


def checked(path: Path, count: int) -> None:
    check(path)


STEPS: dict[str, Callable[[Path, int], object]] = {"write": write, "check": checked, "read": read}


def samples(count: int) -> Iterator[Sample]:
    for number in range(count // 2):
        control = recipe("control", {}, number)
        forgery = recipe("blend_swap", {"blend": "poisson", "max_yaw": 35.0}, number, number + 1)
        target, source = f"demo:p{number % PEOPLE}", f"demo:p{(number + 1) % PEOPLE}"
        common: dict[str, Any] = {"pair_id": control.id, "target_id": target}
        yield sample(control, role="control", label="real", content_class="control", mark_id=f"{2 * number:010x}", **common)
        yield sample(
            forgery,
            role="forgery",
            label="fake",
            content_class="partially_synthetic",
            mark_id=f"{2 * number + 1:010x}",
            source_id=source,
            mask=f"data/made/blend_swap/{forgery.id}.mask.mp4",
            segments=(Segment(0.0, 3.0, "video"),),
            **common,
        )


def recipe(generator: str, params: dict[str, Any], *parents: int) -> Recipe:
    return Recipe(generator, tuple(f"{number:020x}" for number in parents), 1, params)


def sample(made: Recipe, label: Any, **fields: Any) -> Sample:
    return Sample(
        sample_id=made.id,
        media=f"data/made/{made.generator}/{made.id}.mp4",
        media_type="video",
        label=label,
        video_label=label,
        method=made.generator,
        source="demo",
        recipe=made.canonical(),
        parents=made.parents,
        split="train",
        shard=f"{made.generator}-train-0000",
        width=640,
        height=480,
        fps=Fraction(25),
        frames=75,
        duration_s=3.0,
        licence="CC0-1.0",
        permitted_use=("detection", "research"),
        sha256="0" * 64,
        bytes=100_000,
        mark_key_id="demo/train",
        mark_read="payload",
        fingerprint="0" * 96,
        scores={"mark_psnr": 42.5, "mark_score": 18.25},
        **fields,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
