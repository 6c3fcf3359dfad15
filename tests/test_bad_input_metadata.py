"""Whatever a corpus's own metadata hold, and for every kind of source: rows, or one clear error, in bounded memory and time."""

import hashlib
import json
import math
import resource
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgeline.errors import SourceError
from forgeline.inventory import File, Inventory
from forgeline.manifest import read_manifest, write_manifest
from sources import celeba
from sources.corpus import LARGEST
from tests.layouts import LAYOUTS, Layout
from tests.limits import in_child
from tests.test_sources import by_path, listed, on_disk, with_clips

MEMORY = 3 << 30
"""Bytes of address space, libraries included, in which every adapter reads any metadata."""

HAZARDS = {
    "empty": b"",
    "binary": bytes(range(256)) * 64,
    "zeros": bytes(4096),
    "lists in lists": b"[" * 1_000_000,
    "objects in objects": b'{"a":' * 1_000_000,
    "nearly too deep": b'{"aaaaaaaaaa.mp4":' + b"[" * 900 + b"]" * 900 + b"}",
    "a number of 5000 digits": b'{"aaaaaaaaaa.mp4":' + b"9" * 5000 + b"}",
    "5000 digits": b"9" * 5000,
    "400 digits": b"9" * 400,
    "half a character": rb'{"aaaaaaaaaa.mp4": "\ud800", "\ud800": {"\ud800": "\ud800"}}',
    "no numbers": b'{"words": [[NaN, Infinity, "a"]], "phonemes": [[1e999, 1, "a"]]}',
    "ways out": b"../../etc/passwd,../../etc/passwd\n/etc/passwd 1\n1 ../../../etc/passwd.mp4\n",
    "terminal codes": b"1 \x1b[2J\x1b]0;x\x07 \x00\n\x1b[2J: \x1b[2J\n",
    "larger than any": bytes(65 << 20),
}
LINES = {"words": b"a ", "digits": b"9", "commas": b",", "an open quote": b'"' + b"x" * 1023, "lists": b"[],"}


def hazards(line: int) -> Iterator[tuple[str, bytes]]:
    """By name; `line` is the length of one that is one line."""
    yield from HAZARDS.items()
    for name, piece in LINES.items():
        yield f"a line of {name}", (b"[" if name == "lists" else b"") + piece * (line // len(piece))
    yield "a list of lists", b"[" + b"[]," * (line // 3) + b"[]]"


def read_all(folder: str, line: str) -> None:
    """In a child: every metadata file of every layout with each hazard in its place, and what became of it."""
    celeba.PICTURES = 2000  # two hundred thousand names of missing pictures, for each case, take long
    shared = Path(folder) / "shared"
    shared.mkdir()
    known: dict[str, tuple[int, str]] = {}
    for hazard, data in hazards(int(line)):
        (shared / hazard).write_bytes(data)
        known[hazard] = len(data), hashlib.sha256(data).hexdigest()
        del data
    for name, layout in LAYOUTS.items():
        root = Path(folder) / name / "raw"
        texts = {path: text.encode() for path, text in layout.metadata.items()}
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text)
        entries = {path: File(path, len(text), hashlib.sha256(text).hexdigest()) for path, text in texts.items()}
        entries |= listed(layout.clips).files
        for file in layout.metadata if name != "camera" else list(layout.metadata)[-2:]:
            for hazard, (size, sha256) in known.items():
                (root / file).unlink()
                (root / file).hardlink_to(shared / hazard)
                inventory = Inventory(dict(sorted((entries | {file: File(file, size, sha256)}).items())), {})
                print(json.dumps({"layout": name, "file": file, "hazard": hazard} | read(layout, root, inventory)), flush=True)
            (root / file).unlink()
            (root / file).write_bytes(texts[file])


def read(layout: Layout, root: Path, inventory: Inventory) -> dict[str, Any]:
    """What is said of it: of the rows and the report, or the error."""
    began = time.monotonic()
    told: dict[str, Any] = {"crash": "", "error": "", "said": [], "rows": 0}
    try:
        corpus = layout.source(layout.kind, root, inventory)
        rows = list(by_path(corpus).values())
        assert all(math.isfinite(said.start_s) and math.isfinite(said.end_s) for r in rows for said in (*r.words, *r.phonemes))
        write_manifest(root.parent / "manifest.parquet", rows)
        told["rows"] = len(read_manifest(root.parent / "manifest.parquet"))
        report = corpus.report()
        told["said"] += [*report.missing.examples, *report.unexpected.examples, *report.mismatching.examples, *report.notes]
        told["said"] += [row.reason for row in rows if row.reason]
    except SourceError as error:
        told["error"] = str(error)
    except Exception:
        told["crash"] = traceback.format_exc()[-1500:]
    return told | {"s": time.monotonic() - began, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def check(cases: list[dict[str, Any]]) -> None:
    assert {case["layout"] for case in cases} == {*LAYOUTS}
    for case in cases:
        assert not case["crash"], f"{case['layout']}, {case['file']}, {case['hazard']}: {case['crash']}"
        assert (case["rows"] > 0) != bool(case["error"]), case
        if case["error"]:
            which, _, rest = case["error"].partition(": ")
            assert which, case
            assert "; " in rest, case
        for text in (case["error"], *case["said"]):
            assert text.isprintable(), case
            assert len(text) < 700, case


def test_any_metadata_give_rows_or_one_clear_error(tmp_path: Path) -> None:
    """Lines are of 256 KiB: what takes the square of their length would show."""
    cases = in_child("tests.test_bad_input_metadata:read_all", str(tmp_path), str(1 << 18), memory=MEMORY, seconds=120)
    check(cases)
    assert max(case["s"] for case in cases) < 10
    for case in cases:
        if case["hazard"] == "larger than any" and case["layout"] != "ffhq":
            told = (case["error"], *case["said"])  # of one clip alone it costs that clip
            assert any("bytes, and the corpus's own has less than" in text for text in told), case


def test_nothing_of_metadata_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    """Names, reasons and errors are one line each of what can be printed, and short."""
    codes = "\x1b[2J\x07\x1b]0;x"
    plus, vox, dfdc = (LAYOUTS[name] for name in ("celeb_df ++", "voxceleb 2", "dfdc"))
    listed_ = plus.metadata["List_of_testing_videos.txt"] + f"0 Celeb-synthesis/FaceSwap/SimSwap/{codes}.mp4\n"
    celeb = on_disk(tmp_path / "1/raw", {"List_of_testing_videos.txt": listed_})
    report = plus.source("celeb_df", tmp_path / "1/raw", with_clips(celeb, plus.clips)).report()
    assert "Celeb-synthesis/FaceSwap/SimSwap/ [2J ]0;x.mp4" in report.missing.examples
    (track,) = (path for path in vox.metadata if path.endswith("00001.txt"))
    text = vox.metadata[track].replace("id00012", codes)
    tracks = on_disk(tmp_path / "2/raw", {**vox.metadata, track: text})
    rows = by_path(vox.source("voxceleb", tmp_path / "2/raw", with_clips(tracks, vox.clips)))
    assert rows[vox.clips[0]].reason == f"its track {track} is of [2J ]0;x"
    key = "k" * 100_000
    labels = on_disk(tmp_path / "3/raw", {"dfdc_train_part_0/metadata.json": f'{{"{key}": 1, "{key}": 2}}'})
    with pytest.raises(SourceError, match="not the JSON of this corpus") as error:
        dfdc.source("dfdc", tmp_path / "3/raw", with_clips(labels, dfdc.clips))
    assert len(str(error.value)) < 600


@pytest.mark.proof
def test_the_largest_metadata_are_read_in_bounded_memory(tmp_path: Path) -> None:
    check(in_child("tests.test_bad_input_metadata:read_all", str(tmp_path), str(LARGEST - 9), memory=MEMORY, seconds=900))
