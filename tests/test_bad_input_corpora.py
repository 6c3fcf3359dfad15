"""Every layout of every kind of source goes through `scan` and `ingest`, whatever else lies in its folder."""

import hashlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from flows.__main__ import main
from flows.items import SPREAD, Finished
from flows.params import Plan as PlanSection
from flows.rejected import read_rejected
from flows.splits import assign_splits, prove_disjoint
from forgeline.errors import SourceError
from forgeline.inventory import load, scan
from forgeline.manifest import read_manifest, write_manifest
from forgeline.sample import Sample
from forgeline.video import Encoding, VideoWriter
from sources.corpus import media_type
from sources.heads import Expression, Pose, frame, person, scene
from tests.layouts import LAYOUTS, Layout
from tests.test_sources import by_path, on_disk

TINY: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "params.tiny.yaml").read_text())
OPENED: list[str] = []
"""Files that were opened while `noting`."""
_noted = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _noted and event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note)


@contextmanager
def noting() -> Iterator[None]:
    global _noted
    OPENED.clear()
    _noted = True
    yield
    _noted = False


def bomb() -> bytes:
    """A small archive of archives of 64 MiB of zeros each."""
    data = bytes(1 << 26)
    for name, copies in (("zeros.mp4", 1), ("inner.zip", 8), ("inner.zip", 8)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(copies):
                archive.writestr(f"{number}/{name}", data)
        data = file.getvalue()
    return data


@pytest.fixture(scope="module")
def archive() -> bytes:
    return bomb()


@pytest.mark.parametrize("name", LAYOUTS)
def test_whatever_lies_in_the_folder_is_told_and_nothing_followed_or_unpacked(
    name: str, tmp_path: Path, archive: bytes
) -> None:
    layout, root = LAYOUTS[name], tmp_path / "raw"
    on_disk(root, {**layout.metadata, **dict.fromkeys(layout.clips[:4], b"a clip")})
    folder, suffix = (root / layout.clips[0]).parent, layout.suffix
    as_folder, loop, outside, pipe = (root / clip for clip in layout.clips[4:8])
    for path in (as_folder, loop, outside, pipe):
        path.parent.mkdir(parents=True, exist_ok=True)
    as_folder.mkdir()
    (as_folder / "inside.txt").write_text("a folder that is named as a clip is")
    loop.symlink_to(loop.name)
    (tmp_path / "secret").write_text("secret")
    outside.symlink_to(tmp_path / "secret")
    os.mkfifo(pipe)
    (folder / "up").symlink_to("..")
    (folder / "all").symlink_to(tmp_path)
    (folder / f"a\nb{suffix}").touch()
    with open(os.fsencode(folder) + b"/caf\xe9" + suffix.encode(), "wb"):
        pass
    (folder / f"-rf{suffix}").touch()
    (folder / f"...{suffix}").touch()
    (folder / f"{'x' * 240}{suffix}").touch()
    (folder / "clips.zip").write_bytes(archive)
    (root / "part_1.zip").write_bytes(b"PK\x03\x04 broken")
    scan(root, tmp_path / "inventory", tmp_path / "cache")
    with noting():
        corpus = layout.source(layout.kind, root, load(tmp_path / "inventory"))
        rows = by_path(corpus)
        write_manifest(tmp_path / "manifest.parquet", list(rows.values()))
        report = corpus.report()

    def at(path: Path) -> str:
        return path.relative_to(root).as_posix()

    where = PurePosixPath(layout.clips[0]).parent
    reasons = {path: row.reason for path, row in rows.items()}
    assert [reasons[path] for path in layout.clips[:4]] == [None] * 4
    assert reasons[at(loop)] == "a link that leads nowhere"
    assert reasons[at(outside)] == "a link that leaves the corpus"
    assert reasons[at(pipe)] == "neither a file nor a folder"
    assert reasons[str(where / "up")] == ("a link that leaves the corpus" if where == PurePosixPath() else "a link to a folder")
    assert reasons[str(where / "all")] == "a link that leaves the corpus"
    for odd in (rf"a\nb{suffix}", rf"caf\udce9{suffix}"):
        assert str(reasons[str(where / odd)]).startswith("its name holds")
    assert at(as_folder) not in rows
    told = {*corpus.inventory.files} - {*rows} - {*corpus.known}
    assert told >= {at(as_folder / "inside.txt"), str(where / "clips.zip"), "part_1.zip"}
    for plain in (f"-rf{suffix}", f"...{suffix}", f"{'x' * 240}{suffix}"):
        assert str(where / plain) in rows
    assert report.unexpected.count >= len(told)
    inside = {Path(path).resolve().relative_to(root).as_posix() for path in OPENED if Path(path).is_relative_to(root)}
    assert inside <= {*layout.metadata}, "nothing but the corpus's metadata is opened"
    assert read_manifest(tmp_path / "manifest.parquet") == sorted(rows.values(), key=lambda row: row.sample_id)


@pytest.mark.parametrize("name", sorted(LAYOUTS.keys() - {"camera"}))  # which grows
@pytest.mark.parametrize("files", [(), ("README",), ("a/b/c.txt",)], ids=["empty", "a file", "folders"])
def test_a_folder_without_a_clip_is_one_clear_error(name: str, files: Sequence[str], tmp_path: Path) -> None:
    root = tmp_path / "raw"
    root.mkdir()
    inventory = on_disk(root, dict.fromkeys(files, b""))
    with pytest.raises(SourceError, match=r"(none of its \d files is a clip|is not here).*; .*") as error:
        LAYOUTS[name].source("own", root, inventory)
    assert "\n" not in str(error.value)


def test_a_corpus_that_changes_while_it_is_scanned(tmp_path: Path) -> None:
    """A file goes, a folder goes, a file grows: one clear error each, and an old inventory stays."""
    root, out = tmp_path / "raw", tmp_path / "inventory"
    files = {f"{folder}/{number}.mp4": b"x" * 2000 for folder in "ab" for number in range(3)}
    on_disk(root, files)
    before = out.write_text("before") and out.read_bytes()

    def file_goes(path: str, read: int) -> None:
        (root / "b/2.mp4").unlink(missing_ok=True)

    def folder_goes(path: str, read: int) -> None:
        (root / "b").rename(tmp_path / "b") if (root / "b").is_dir() else None

    def becomes_a_folder(path: str, read: int) -> None:
        if (root / "b/1.mp4").is_file():
            (root / "b/1.mp4").unlink()
            (root / "b/1.mp4").mkdir()
            (root / "b/1.mp4/in.mp4").touch()

    for change in (file_goes, folder_goes):
        on_disk(root, files)
        with pytest.raises(SourceError, match=r"raw/b.*: (it went|can't be listed).*; .*"):
            scan(root, out, tmp_path / "no cache", change)
        assert out.read_bytes() == before or load(out)
    on_disk(root, files)
    assert "b/1.mp4/in.mp4" in scan(root, out, tmp_path / "no cache", becomes_a_folder).files


def test_a_file_that_grows_while_it_is_hashed_ends_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk(tmp_path / "raw", {"a.mp4": b"x"})
    real = hashlib.file_digest

    def grows(file: Any, how: str) -> Any:
        with (tmp_path / "raw/a.mp4").open("ab") as more:
            more.write(b"more")
        return real(file, how)

    monkeypatch.setattr(hashlib, "file_digest", grows)
    with pytest.raises(SourceError, match=r"a.mp4: it changed while it was read; leave the corpus alone"):
        scan(tmp_path / "raw", tmp_path / "i", tmp_path / "c2")


def test_one_file_in_two_corpora_is_two_rows_of_one_split(tmp_path: Path) -> None:
    """In the train split of one corpus and the test split of the other: the strictest holds for both."""
    rows: dict[str, Sample] = {}
    for name, bytes_of in (("ffpp", b"shared"), ("celeb_df v2", b"own")):
        layout = LAYOUTS[name]
        root = tmp_path / layout.kind
        clips = {clip: clip.encode() for clip in layout.clips} | {layout.clips[0]: bytes_of}
        corpus = layout.source(layout.kind, root, on_disk(root, {**layout.metadata, **clips}))
        rows[name] = by_path(corpus)[layout.clips[0]]
    apart, same = list(rows.values()), [replace(row, sha256="0" * 64) for row in rows.values()]
    assert [row.split for row in apart] == ["train", "test"]
    assert len({row.sample_id for row in apart}) == 2
    assert sorted(component.split for component in assign_splits(apart, PlanSection())) == ["test", "train"]
    (together,) = assign_splits(same, PlanSection())
    assert (together.split, len(together.clips)) == ("test", 2)
    prove_disjoint([together], same)


def test_what_may_not_be_read_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "raw"
    on_disk(root, {"a/1.mp4": b"x"})

    def refuses(*_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuses)
        with pytest.raises(SourceError, match=r"raw: can't be listed \(Permission denied\); give read access to it"):
            scan(root, tmp_path / "i", tmp_path / "c2")
    with monkeypatch.context() as patch:
        real: Any = Path.open
        patch.setattr(Path, "open", lambda path, *rest, **more: (refuses if path.suffix else real)(path, *rest, **more))
        with pytest.raises(SourceError, match=r"1.mp4: can't be read \(Permission denied\); give read access to it"):
            scan(root, tmp_path / "i", tmp_path / "c3")


# Ingest ---------------------------------------------------------------------------------------------------------------


def here(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
    for job in jobs:
        yield job, work(job)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A clip of each suffix that the layouts have: five pictures of a head, one of it, a tone."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    who, where = person(rng, *rng.random(3)), scene(rng)
    heads = [frame(who, Expression(jaw=number / 5), Pose(), where, 160, rng) for number in range(5)]
    with VideoWriter(folder / "a.mp4", 160, 160, Fraction(25), Encoding(preset="veryfast")) as out:
        for head in heads:
            out.write(head)
    for suffix, codec in ((".mkv", "libx264"), (".mpg", "mpeg1video")):
        with av.open(str(folder / f"a{suffix}"), "w") as file:
            stream = file.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 160, "yuv420p", 2_000_000
            for head in heads:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(head, format="rgb24")))
            file.mux(stream.encode(None))
    Image.fromarray(heads[0]).save(folder / "a.png")
    Image.fromarray(heads[0]).save(folder / "a.jpg", quality=95)
    soundfile.write(folder / "a.wav", 0.3 * np.sin(np.arange(8000) / 9), 16000)
    return {file.suffix: file.read_bytes() for file in folder.iterdir()}


def ingested(name: str, layout: Layout) -> dict[str, Sample]:
    """Rows by path, after `scan` and `ingest` were run as the command line does."""
    for command in ("scan", "ingest"):
        assert main([command, name]) == 0
    rows = read_manifest(Path("data/real") / name / "manifest.parquet")
    return {row.media.removeprefix(f"data/raw/{name}/"): row for row in rows}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_ingested_and_bad_clips_are_rows(
    layout: str,
    tmp_path: Path,
    media: dict[str, bytes],
    archive: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a Matroska file that is cut off, what is left is a whole clip: a recorder may have been killed."""
    monkeypatch.chdir(tmp_path)
    found, name = LAYOUTS[layout], re.sub("[^a-z0-9]+", "_", layout.replace("++", "plus"))
    whole = media[found.suffix]
    good, empty, text, cut, zeros, page, packed, folder = found.clips[:8]
    files = {
        good: whole,
        empty: b"",
        text: b"to be filmed\n" * 99,
        cut: whole[: len(whole) // (4 if found.suffix == ".mkv" else 2)],
        zeros: bytes(5000),
    }
    files |= {page: b"<!DOCTYPE html><html>Please sign in</html>", packed: archive, f"{folder}/inside.txt": b""}
    on_disk(Path("data/raw") / name, {**found.metadata, **files})
    params = TINY | {"sources": {name: found.section}, "ingest": TINY["ingest"] | {"max_dropped": 1.0}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    usual = SPREAD.set(here)
    try:
        rows = ingested(name, found)
    finally:
        SPREAD.reset(usual)
    row = rows[good]
    assert row.reason is None, row.reason
    if row.media_type == "audio":
        assert (row.sample_rate, row.duration_s) == (16000, 0.5)
    else:
        assert (row.frames, row.width, row.height) == (5 if row.media_type == "video" else 1, 160, 160)
        assert Path(str(row.track)).is_file()
    kind = media_type(good)
    what = {"video": "no video|no picture|only one|damaged|ends after", "image": "no picture", "audio": "no sound|cut off"}[
        str(kind)
    ]
    for bad in (empty, text, cut, zeros, page, packed):
        reason = rows[bad].reason
        assert reason is not None, bad
        assert re.search(f"is empty|{what}", reason), (bad, reason)
    assert folder not in rows
    lost = read_rejected(Path("data/real") / name / "rejected.parquet")
    assert {row.file.removeprefix(f"data/raw/{name}/") for row in lost} == {empty, text, cut, zeros, page, packed}
    assert "inside.txt" in capsys.readouterr().out
