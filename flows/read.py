"""`read FILE`: what a file is, offline, with nothing but the key (and the manifests, where they are here)."""

from pathlib import Path

import pyarrow.parquet as pq

from flows import workspace
from flows.params import Params
from forgeline.sample import SPLITS
from generators.table import GENERATORS
from watermark.keys import master
from watermark.read import Reading, read


def tell(path: Path, params: Params) -> str:
    """Sentences on what `path` is: its mark, its open tag, and what the manifests here know of it."""
    key = master(params.seal.key)
    shards = [
        f"{name}-{split}-{batch:04d}"
        for name in {**GENERATORS, **params.generators}
        for split in SPLITS
        for batch in range(params.plan.batches)
    ]
    reading = read(path, key, shards)
    if reading is None:
        return f"{path}: neither a mark of key {key.id} nor a tag was found"
    lines = [str(path)]
    if reading.mark is not None:
        digits = 10 if reading.mark.bits == 64 else 4
        lines.append(f"  mark {reading.mark.id:0{digits}x} of shard {reading.shard}, key {key.id} (score {reading.score:.1f})")
        lines += _known(f"{reading.mark.id:0{digits}x}", f"{key.id}/{reading.shard}")
    else:
        lines.append(f"  no mark of key {key.id} was found")
    lines += _tag(reading)
    return "\n".join(lines)


def _tag(reading: Reading) -> list[str]:
    if reading.tag is None:
        return ["  no tag: it was stripped, or never there"]
    tag = reading.tag
    uses = ", ".join(tag.permitted_use) or "nothing"
    return [f"  its tag, which proves nothing, says: sample {tag.sample_id}, {tag.source_type}, {tag.licence}, for {uses}"]


def _known(mark: str, key_id: str) -> list[str]:
    """What manifests and release shards in this checkout say of a mark."""
    shown = ["sample_id", "label", "method", "role", "split", "target_id", "source_id"]
    where = [*workspace.MADE.glob(f"*/{workspace.MANIFEST}"), *workspace.RELEASE.glob("*/*/*.parquet")]
    for path in sorted(where):
        with pq.ParquetFile(path) as file:
            rows = file.read([*shown, "mark_id", "mark_key_id"]).to_pylist()
        for row in rows:
            if (row["mark_id"], row["mark_key_id"]) == (mark, key_id):
                people = " from ".join(p for p in (row["target_id"], row["source_id"]) if p) or "nobody"
                what = f"{row['label']}, {row['role']} by {row['method']}, {row['split']}, {people}"
                return [f"  sample {row['sample_id']}: {what} ({path})"]
    return ["  no manifest here knows it"]
