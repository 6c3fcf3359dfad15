"""`rejected`: what can't be used and why, over all stages that give rows a reason; and a second try for what failed.

`data/real/<source>/rejected.parquet` has a row for each file that its ingest refused: `file`, `stage`, `reason`. It lies in the
output of the stage that writes it, so that DVC keeps it with the manifest. What generators and variants lost is told from
their manifests.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows import workspace
from flows.params import Params
from forgeline.compute import DIED
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import replacing
from forgeline.lock import holding
from forgeline.manifest import read_manifest
from forgeline.sample import Sample

FILE = "rejected.parquet"
STAGES = ("corpus", "tracks", "marks", "prints", "plan", "generate", "variants")
"""`corpus`: by its name, its kind or its people, unopened; `tracks`: when it was decoded and faces were followed; `marks`: when
marks were looked for; `prints`: when its print was taken; `plan`, `generate`, `variants`: a sample of such a stage."""
RETRIED = ("tracks", "marks", "prints", "generate", "variants")
"""Those whose reason may go away while all that they are made from stays."""

_SCHEMA = pa.schema([pa.field(name, pa.string()) for name in ("file", "stage", "reason")])
_SHOWN = 3


@dataclass(frozen=True, order=True)
class Rejected:
    """A file that can't be used: its path, the stage that refused it, and why."""

    file: str
    stage: str
    reason: str


def by_stage(stages: Mapping[str, Iterable[Sample]]) -> list[Rejected]:
    """What was lost in the stages, in their order: a row keeps the first stage that gave it a reason."""
    first: dict[str, Rejected] = {}
    for stage, samples in stages.items():
        for sample in samples:
            if sample.reason is not None:
                first.setdefault(sample.sample_id, Rejected(sample.media, stage, sample.reason))
    return sorted(first.values())


def write_rejected(path: Path, rows: Sequence[Rejected]) -> None:
    """Write the rows as Parquet. Same rows, same bytes."""
    with replacing(path) as part:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA), part, compression="zstd")


def read_rejected(path: Path) -> list[Rejected]:
    """The rows. PromiseError when they are missing, broken or of another schema."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise PromiseError(path, f"can't be read ({error})", "run `dvc repro`, which ingests first") from error
    if not table.schema.equals(_SCHEMA):
        raise PromiseError(path, "has other columns than this version writes", "run `dvc repro` with this version")
    return [Rejected(**row) for row in table.to_pylist()]


def rejected(params: Params, of: str | None = None, stage: str | None = None) -> dict[str, list[Rejected]]:
    """By source, generator and variant what is rejected there; of one of them, of one stage. FactoryError for other names, and
    for one that was not built yet; where none is named, such a one has no rows.
    """
    if stage is not None and stage not in STAGES:
        raise FactoryError(stage, "is no stage that rejects anything", f"there are {', '.join(STAGES)}")
    places = [*params.sources, *params.generators, *params.variants]
    if of is not None and of not in places:
        raise FactoryError(of, "is no source, generator or variant of params", f"there are {', '.join(places)}")
    if of is not None and not any(path.is_file() for path in _told(of)):
        raise FactoryError(of, "is not there yet, so nobody knows what it can't use", "run `dvc repro`")
    found: dict[str, list[Rejected]] = {}
    for name in [of] if of else places:
        found[name] = [row for row in (*_of_source(name, params), *_of_made(name, params)) if stage in (None, row.stage)]
    return found


def retry(params: Params, of: str | None, stage: str | None) -> int:
    """Forget what failed where a second try may do better, so that the next `dvc repro` takes that and nothing else: how much.

    A key hangs on code, settings, libraries and the file, so what any of these changes is tried again anyway. This is for the
    rest: a disk that was full, a machine that was too small. Raises what `rejected` does.

    An item whose process died has no record to forget: the stage's manifest goes, so that the stage runs again.
    """
    count = 0
    for name, rows in rejected(params, of, stage).items():
        failed: dict[str, set[str]] = defaultdict(set)
        died: Counter[str] = Counter()
        for row in rows:
            if row.stage in RETRIED:
                failed[row.stage].add(row.file)
                died[row.stage] += row.reason.startswith(DIED)
        for where, files in failed.items():
            folder = {"generate": workspace.MADE, "variants": workspace.VARIANTS}.get(where, workspace.REAL) / name
            with holding(workspace.lock(f"{where if where in ('generate', 'variants') else 'ingest'}@{name}")):
                records = sorted((folder / where if folder.parent == workspace.REAL else folder).rglob("*.json"))
                count += sum(_forget(record, files) for record in records) + died[where]
                if died[where]:
                    (folder / workspace.MANIFEST).unlink(missing_ok=True)
    return count


def show(found: Mapping[str, Sequence[Rejected]]) -> str:
    """A line for each reason at each place: how many, and the first files. Numbers in a reason make no other reason of it."""
    lines = [f"{'where':<18} {'stage':<9} {'files':>6}  reason"]
    for name, rows in found.items():
        same: dict[tuple[str, str], list[Rejected]] = defaultdict(list)
        for row in rows:
            same[row.stage, re.sub(r"\d+(\.\d+)?", "#", row.reason)].append(row)
        for (stage, _), some in sorted(same.items(), key=lambda item: (STAGES.index(item[0][0]), -len(item[1]), item[0])):
            lines.append(f"{name:<18} {stage:<9} {len(some):>6}  {some[0].reason}")
            lines += [f"{'':<36}{row.file}" for row in some[:_SHOWN]]
            lines += [f"{'':<36}…"] if len(some) > _SHOWN else []
    return "\n".join(lines) if len(lines) > 1 else "nothing is rejected"


def _told(name: str) -> tuple[Path, Path, Path]:
    """Where it would say what it lost, as a source, a generator or a variant."""
    return (
        workspace.REAL / name / FILE,
        workspace.MADE / name / workspace.MANIFEST,
        workspace.VARIANTS / name / workspace.MANIFEST,
    )


def _of_source(name: str, params: Params) -> Iterator[Rejected]:
    path = workspace.REAL / name / FILE
    if name in params.sources and path.is_file():
        yield from read_rejected(path)


def _of_made(name: str, params: Params) -> Iterator[Rejected]:
    for folder, stage, names in (
        (workspace.MADE, "generate", params.generators),
        (workspace.VARIANTS, "variants", params.variants),
    ):
        path = folder / name / workspace.MANIFEST
        if name in names and path.is_file():
            planned = _refused_by_plan(name) if stage == "generate" else set()
            for row in read_manifest(path):
                if row.reason is not None:
                    yield Rejected(row.media, "plan" if row.sample_id in planned else stage, row.reason)


def _refused_by_plan(generator: str) -> set[str]:
    from flows.plan import plan_file  # here, as ingest, which comes before any plan, needs the rest of this module

    path = plan_file(generator)
    if not path.is_file():
        return set()
    samples = (json.loads(line)["sample"] for line in path.read_text(encoding="utf-8").splitlines()[1:])
    return {sample["sample_id"] for sample in samples if sample["reason"] is not None}


def _forget(record: Path, files: set[str]) -> bool:
    """Remove an item's record if it is a failure, of one of the files."""
    try:
        sample = json.loads(record.read_text(encoding="utf-8"))["sample"]
        failed = sample["reason"] is not None and sample["media"] in files
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if failed:
        record.unlink()
    return bool(failed)
