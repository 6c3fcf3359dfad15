"""Manifests: Parquet files of samples, sorted by id, and the check that catches every broken promise in one."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forgeline.clip import Said, Segment
from forgeline.errors import PromiseError
from forgeline.files import replacing
from forgeline.recipe import recipe_id
from forgeline.sample import SPLITS, Sample

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_SEGMENTS = pa.list_(pa.struct({"start_s": pa.float64(), "end_s": pa.float64(), "modality": pa.string()}))
_SAID = pa.list_(pa.struct({"start_s": pa.float64(), "end_s": pa.float64(), "text": pa.string()}))
_TYPES: dict[str, pa.DataType] = {
    "parents": _TEXTS,
    "permitted_use": _TEXTS,
    "ingredients": _TEXTS,
    "segments": _SEGMENTS,
    "words": _SAID,
    "phonemes": _SAID,
    "scores": pa.map_(pa.string(), pa.float64()),
    "attributes": pa.map_(pa.string(), pa.string()),
    "drawn": pa.map_(pa.string(), pa.string()),
    "sensors": pa.map_(pa.string(), pa.string()),
    "width": pa.int32(),
    "height": pa.int32(),
    "frames": pa.int64(),
    "bytes": pa.int64(),
    "sample_rate": pa.int32(),
    "duration_s": pa.float64(),
}
_SPOKEN = tuple(name for name, kind in _TYPES.items() if kind is _SAID)
_LISTS = tuple(name for name, kind in _TYPES.items() if kind is _TEXTS)
_MAPS = tuple(name for name, kind in _TYPES.items() if pa.types.is_map(kind))
NAMES = tuple(f.name for f in fields(Sample))
SCHEMA = pa.schema([pa.field(name, _TYPES.get(name, _TEXT)) for name in NAMES])
_GIVEN = tuple(f.name for f in fields(Sample) if f.default is not None)
"""A column a field of `Sample`; `fps` is text, as an exact fraction ("30000/1001")."""


def write_manifest(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples, sorted by id. Same samples, same bytes."""
    ordered = sorted(samples, key=lambda s: s.sample_id)
    columns = zip(*map(attrgetter(*NAMES), ordered), strict=True) if ordered else ((),) * len(NAMES)
    arrays = [pa.array(_plain(name, values), SCHEMA.field(name).type) for name, values in zip(NAMES, columns, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    with replacing(path) as part:
        pq.write_table(table, part, compression="zstd")


def lists(path: Path, samples: Iterable[Sample]) -> bool:
    """Whether a manifest of this version is there and has rows of just these ids; their other cells are not looked at."""
    try:
        with pq.ParquetFile(path) as file:
            ids = file.read(["sample_id"]).column(0).to_pylist() if file.schema_arrow.equals(SCHEMA) else None
    except (OSError, pa.ArrowException):
        return False
    return bool(ids == sorted(s.sample_id for s in samples))


def read_manifest(path: Path) -> list[Sample]:
    """The samples of a manifest, in its order. Raises PromiseError when it is missing, broken or of another schema."""
    batches = read_table(path).to_batches(_ROWS)  # plain values take ten times a sample's room
    return [from_record(record) for batch in batches for record in batch.to_pylist()]


def read_table(path: Path) -> pa.Table:
    """A manifest as a table of `SCHEMA`."""
    try:
        with pq.ParquetFile(path) as file:  # `read_table` would import pandas, and read columns from folders' names
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise PromiseError(path, f"can't be read as a manifest ({error})", "run `dvc repro`, or `dvc pull`") from error
    if not table.schema.equals(SCHEMA):
        raise PromiseError(path, "has other columns than this version writes", "run `dvc repro` with this version")
    return table


def _plain(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """A field of many samples as `to_record` has it of each; by columns a table is made three times as fast."""
    if name == "fps":
        return [str(fps) for fps in values]
    if name in _MAPS:
        return [sorted(each.items()) for each in values]
    if name in _SPOKEN or name == "segments":
        return [[asdict(each) for each in some] for some in values]
    return values


def to_record(sample: Sample) -> dict[str, Any]:
    """A sample as plain values, as `SCHEMA` and JSON hold them."""
    record = {name: getattr(sample, name) for name in NAMES}
    record["fps"] = str(sample.fps)
    record.update({name: list(record[name]) for name in _LISTS})
    record.update({name: dict(sorted(record[name].items())) for name in _MAPS})
    record.update({name: [asdict(said) for said in record[name]] for name in _SPOKEN})
    record["segments"] = [{"start_s": s.start_s, "end_s": s.end_s, "modality": s.modality} for s in sample.segments]
    return record


def from_record(record: dict[str, Any]) -> Sample:
    """The sample that `to_record` gave."""
    values = dict(record)
    values["fps"] = _fraction(values["fps"])
    for name in _LISTS:
        values[name] = tuple(values[name])
    for name in _MAPS:
        values[name] = dict(values[name])
    for name in _SPOKEN:
        values[name] = tuple([Said(**said) for said in values[name]])
    values["segments"] = tuple([Segment(**s) for s in values["segments"]])
    return Sample(**values)


_ROWS = 4096
_fraction = lru_cache(maxsize=1024)(Fraction)
"""Of the few rates that there are."""


_ROLES: dict[str, set[str | None]] = {
    "ingested": {None},
    "control": {"control"},
    "null_twin": {"augmented_real"},
    "augmentation": {"augmented_real"},
    "forgery": {"partially_synthetic", "fully_synthetic"},
}
_HEX64, _HEX20, _MARK = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{20}"), re.compile(r"[0-9a-f]{4}|[0-9a-f]{10}")
_INGREDIENT = re.compile(r"[0-9a-z]+(/[0-9A-Za-z_-]+/([0-9a-f]{4}|[0-9a-f]{10}))?")
_SHOWN = 5


def check(path: Path) -> None:
    """Raise PromiseError that names what is wrong in a manifest file, if anything is."""
    demand(path, read_table(path))


def demand(which: object, table: pa.Table) -> None:
    """Raise PromiseError if `broken_promises(table)` finds any."""
    broken = list(broken_promises(table))
    if broken:
        more = f" (and {len(broken) - _SHOWN} more)" if len(broken) > _SHOWN else ""
        raise PromiseError(which, "; ".join(broken[:_SHOWN]) + more, "do not use it; run `dvc repro`, and report it")


def broken_promises(table: pa.Table) -> Iterator[str]:
    """Sentences that say what a manifest promises and doesn't hold; 100 000 rows take seconds.

    Rows with a `reason` say why there is no clip; they need an id, a recipe and nothing else. What is asked of the others:
    ids that are their recipe's; paths that stay inside; labels that follow from the role and the streams; exact sizes and
    durations; for made samples also a mark that was read back and is unique under its key, terms, a split, a control of the
    same split for every pair, and no person in two splits.
    """
    if empty := [name for name in _GIVEN if table.column(name).null_count]:
        yield f"empty cells in {', '.join(empty)}"
        return
    ids: list[str] = table.column("sample_id").to_pylist()
    if ids != sorted(ids):
        yield "rows are not sorted by sample_id"
    yield from (f"{name}: appears {count} times" for name, count in Counter(ids).items() if count > 1)
    controls: dict[str, str | None] = {}
    people: dict[str, set[str]] = {}
    marks: Counter[tuple[str | None, str | None, str | None]] = Counter()
    pairs: list[tuple[str, str | None, str | None]] = []
    for batch in table.to_batches(max_chunksize=8192):
        columns = [batch.column(name).to_pylist() for name in NAMES]
        for values in zip(*columns, strict=True):
            row = dict(zip(NAMES, values, strict=True))
            which = row["sample_id"]
            yield from (f"{which}: {what}" for what in _broken_row(row))
            if row["reason"] is not None or row["role"] == "ingested":
                continue
            if row["role"] == "control":
                controls[which] = row["split"]
            for person in (row["target_id"], row["source_id"]):
                if person:
                    people.setdefault(person, set()).add(str(row["split"]))
            marks[row["mark_key_id"], row["mark_id"], row["variant"]] += 1
            pairs.append((which, row["pair_id"], row["split"]))
    yield from (f"mark {mark} is used {count} times under key {key}" for (key, mark, _), count in marks.items() if count > 1)
    for person, splits in people.items():
        if len(splits) > 1:
            yield f"{person}: is in more than one split ({', '.join(sorted(splits))})"
    if controls or pairs:
        for which, pair, split in pairs:
            if pair not in controls:
                yield f"{which}: its control {pair} is not here"
            elif controls[pair] != split:
                yield f"{which}: is in {split}, its control in {controls[pair]}"


def _broken_row(row: dict[str, Any]) -> Iterator[str]:
    recipe = row["recipe"] or ""
    own, _, variant = (row["sample_id"] or "").partition("-")
    if not _HEX20.fullmatch(own) or own != recipe_id(recipe) or (variant or "master") != row["variant"]:
        yield "its id is not its recipe's, or not its variant's"
    try:
        told = json.loads(recipe)
    except ValueError:
        told = {}
    if not isinstance(told, dict) or told.get("parents") != row["parents"]:
        yield "its recipe and its parents differ"
    if row["role"] not in _ROLES:
        yield f"role {row['role']!r} does not exist"
        return
    if row["reason"] is not None:
        if not row["reason"].strip():
            yield "it was dropped without a reason"
        return
    for name in ("media", "mask", "track"):
        path = row[name]
        if path is not None and (not path or path.startswith("/") or "\\" in path or ".." in path.split("/")):
            yield f"{name} {path!r} is not a path inside the checkout"
    if not _HEX64.fullmatch(row["sha256"] or "") or not row["bytes"] or row["bytes"] <= 0:
        yield "it has no sha256 or no size"
    streams = {row["video_label"], row["audio_label"]}
    if row["label"] not in ("real", "fake") or streams - {"real", "fake", None}:
        yield "its labels are neither real nor fake"
    if not row["licence"]:
        yield "it has no licence"
    yield from _broken_media(row)
    if row["role"] != "ingested":
        yield from _broken_made(row, told, streams)
    elif row["split"] not in (None, *SPLITS):
        yield f"split {row['split']!r} does not exist"


def _broken_media(row: dict[str, Any]) -> Iterator[str]:
    try:
        fps = Fraction(row["fps"])
    except (ValueError, ZeroDivisionError):
        yield f"its fps {row['fps']!r} is no fraction"
        return
    if row["media_type"] not in ("video", "image", "audio"):
        yield f"media type {row['media_type']!r} does not exist"
    if row["media_type"] in ("video", "image"):
        if row["width"] <= 0 or row["height"] <= 0 or row["width"] % 2 or row["height"] % 2:
            yield f"its size {row['width']}x{row['height']} is not even"
        if row["frames"] < 1 or (row["media_type"] == "image" and row["frames"] != 1):
            yield f"it has {row['frames']} frames"
    if row["media_type"] == "video" and (fps <= 0 or not abs(row["duration_s"] - row["frames"] / fps) <= 1e-6):
        yield "its duration is not frames / fps"
    if row["media_type"] == "image" and (fps or row["duration_s"]):
        yield "it is an image, and has a duration"
    if row["media_type"] == "audio" and (fps or row["frames"] or row["width"] or row["height"]):
        yield "it is sound alone, and has pictures"
    if row["media_type"] == "audio" and (row["sample_rate"] <= 0 or row["duration_s"] <= 0):
        yield "it is sound alone, and has no rate or no duration"
    for name in ("words", "phonemes"):
        starts = [said["start_s"] for said in row[name]]
        if starts != sorted(starts) or any(said["end_s"] < said["start_s"] for said in row[name]):
            yield f"its {name} are not in order of time"
    for s in row["segments"]:
        if s["modality"] not in ("video", "audio"):
            yield f"a segment of {s['modality']!r}, which does not exist"
        elif not 0 <= s["start_s"] < s["end_s"] <= row["duration_s"] + 1e-6:
            yield f"segment {s['start_s']}-{s['end_s']} s is not inside it"
        elif row[f"{s['modality']}_label"] != "fake" and row["role"] not in ("null_twin", "augmentation"):
            yield f"a segment says that its {s['modality']} was changed, its label does not"


def _broken_made(row: dict[str, Any], told: dict[str, Any], streams: set[str | None]) -> Iterator[str]:
    if row["content_class"] not in _ROLES[row["role"]]:
        yield f"content class {row['content_class']!r} does not go with role {row['role']!r}"
    if row["label"] != ("fake" if "fake" in streams else "real") or (row["label"] == "fake") != (row["role"] == "forgery"):
        yield "its label does not follow from its streams and its role"
    if (row["video_label"] is None) != (row["media_type"] == "audio") or (row["audio_label"] is None) != (
        not row["sample_rate"]
    ):
        yield "a stream has no label, or a label no stream"
    if told.get("generator") != row["method"]:
        yield "its method is not its recipe's generator"
    if not row["parents"] and row["content_class"] != "fully_synthetic":
        yield "it has no parents"
    if not _MARK.fullmatch(row["mark_id"] or "") or not row["mark_key_id"] or row["mark_read"] not in ("payload", "matched"):
        yield "its mark is not recorded as read back"
    if row["sound_mark_read"] not in ("payload", "matched", None) or (row["sound_mark_read"] and not row["sample_rate"]):
        yield "the mark in its sound is recorded wrongly"
    if row["audio_label"] == "fake" and row["sound_mark_read"] is None:
        yield "its forged sound carries no mark"
    if not row["fingerprint"] and row["media_type"] != "audio":
        yield "it has no fingerprint"
    if not all(_INGREDIENT.fullmatch(each) for each in row["ingredients"]):
        yield "its ingredients are no marks"
    if row["split"] not in SPLITS or not row["shard"]:
        yield "it has no split or no shard"
    edited = row["content_class"] == "partially_synthetic" and row["video_label"] == "fake"
    if edited and (row["mask"] is None or not row["segments"]):
        yield "it says neither where nor when it was changed"


def by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Samples by their ids."""
    return {s.sample_id: s for s in samples}
