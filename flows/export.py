"""`export`: samples of a release as plain files, for those who read no Parquet, each with its credentials in it.

FOLDER/<split>/<sample>.mp4         signed, where a certificate is configured: then its bytes aren't those of the release
FOLDER/<split>/<sample>.mask.mp4    as in the release
FOLDER/manifest.jsonl               a row a sample, with `file`, `mask`, and both hashes
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows import workspace
from flows.params import Params
from flows.push import require_permitted
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import replacing, sha256_of, write_text
from watermark.credentials import PICTURE_MARK, SOUND_MARK, Signer, Statement, sign_sample, signer
from watermark.metadata import read_tag


def export(params: Params, folder: Path, split: str | None, method: str | None, today: date) -> tuple[int, bool]:
    """Write the samples of a split and a method (None: of all) into a new folder; how many, and whether they are signed.

    Raises what `flows.push.require_permitted` does, as an exported file is one that leaves; FactoryError for a folder that
    holds something, or where no sample is meant; KeyFileError for a certificate that is no good.
    """
    require_permitted(params, today)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FactoryError(folder, "holds something already", "name a new folder")
    who = signer()
    rows = [json.dumps(_exported(row, folder, who), ensure_ascii=False) for row in _released(split, method)]
    if not rows:
        raise FactoryError(workspace.RELEASE, "holds no such sample", "leave out --split or --method")
    write_text(folder / "manifest.jsonl", "".join(f"{row}\n" for row in rows))
    return len(rows), who is not None


def _released(split: str | None, method: str | None) -> Iterator[dict[str, Any]]:
    meant = {name: value for name, value in (("split", split), ("method", method)) if value}
    for path in sorted(workspace.RELEASE.glob("*/*/*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=16):
                for row in batch.to_pylist():
                    if all(row[name] == value for name, value in meant.items()):
                        yield row


def _exported(row: dict[str, Any], folder: Path, who: Signer | None) -> dict[str, Any]:
    """Write a row's files; the row as the manifest has it."""
    media, mask = row.pop("media"), row.pop("mask")
    path = folder / row["split"] / media["path"]
    if hashlib.sha256(media["bytes"]).hexdigest() != row["sha256"]:
        raise PromiseError(path, "is not the file that was sealed", "run `dvc repro release`, or get the release again")
    _write(path, media["bytes"])
    if who is not None:
        sign_sample(path, path, _statement(row, path), who)
    if mask is not None:
        _write(folder / row["split"] / mask["path"], mask["bytes"])
    return row | {
        "file": f"{row['split']}/{media['path']}",
        "mask": f"{row['split']}/{mask['path']}" if mask else None,
        "released_sha256": row["sha256"],
        "sha256": sha256_of(path),
    }


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(data)


def _statement(row: dict[str, Any], path: Path) -> Statement:
    tag = read_tag(path)
    if tag is None:
        raise PromiseError(path, "has no tag", "report it")
    marks = [] if row["media_type"] == "audio" else [(PICTURE_MARK, row["mark_id"])]
    if row["sound_mark_read"]:
        marks.append((SOUND_MARK, row["mark_id"]))
    return Statement(
        tag=tag,
        marks=tuple(marks),
        mark_key_id=row["mark_key_id"],
        parents=tuple(row["parents"]),
        found=tuple(f"mark {each}" for each in row["ingredients"]),
        changed=row["role"] != "control",
    )
