"""What people really put into a corpus: good clips go through, and each bad one is a row that says why."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from flows import ingest
from flows.rejected import read_rejected
from forgeline.clip import Picture, Sound
from forgeline.errors import SourceError
from forgeline.manifest import read_manifest
from forgeline.sample import Sample
from forgeline.video import Encoding, VideoWriter
from forgeline.weights import weights
from sources.heads import Expression, Pose, frame, person, scene

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
PEOPLE = [f"p{number}" for number in range(4)]
TERMS = {
    "agreement": "release form",
    "licence": "as signed",
    "accepted_by": "the lab",
    "accepted_on": "2026-01-01",
    "permitted_use": ["detection"],
    "generate": True,
    "consent": "forms",
    "people": {name: {"basis": "form", "scope": ["face", "voice"]} for name in PEOPLE},
}


def heads(number: int, count: int = 6, size: int = 160) -> list[Picture]:
    rng = np.random.default_rng(number)
    who, where = person(rng, *rng.random(3)), scene(rng)
    return [frame(who, Expression(jaw=index / count), Pose(), where, size, rng) for index in range(count)]


def film(path: Path, pictures: Sequence[Picture], sound: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pictures[0].shape[:2]
    heard = Sound(np.sin(np.arange(16000) / 9).astype(np.float32) / 4, 16000) if sound else None
    with VideoWriter(path, width, height, Fraction(25), Encoding(preset="veryfast"), heard) as out:
        for picture in pictures:
            out.write(picture)


def noise(width: int, height: int, count: int) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as file:
        heard = file.add_stream("aac", rate=48000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        piece.sample_rate, piece.pts = 48000, 0
        file.mux(heard.encode(piece))
        file.mux(heard.encode(None))


REASONS = {
    "p0/cut.mp4": "cut|broken|damaged|ends after",
    "p0/empty.mp4": "is empty",
    "p0/sound.mp4": "has no picture stream",
    "p0/picture.mp4": "broken, cut off or no video",
    "p0/one.mp4": "only one picture",
    "p0/text.mp4": "broken, cut off or no video",
    "p0/list.mp4": "broken, cut off or no video",
    "p0/nobody.mp4": "shows no face",
    "p0/tiny.mp4": "shows no face",
    "p0/rarely.mp4": "shows its main face in only",
    "p0/broken.png": "broken or no picture",
    "p0/voice.wav": "broken, cut off or no sound",
    "p0/hush.wav": "is silent",
    "stranger/c.mp4": "no consent is recorded for stranger",
    "p1/elsewhere.mp4": "a link that leaves the corpus",
    "p1/nowhere.mp4": "a link that leads nowhere",
    "loose.mp4": "not named as this corpus names its clips",
}
GOOD = {*(f"{name}/good.mp4" for name in PEOPLE), "p1/turned.mp4", "p2/silent.mp4", "p3/face.png", "p3/voice.flac"}


def fill(raw: Path) -> None:
    """Good clips of four people, and one of everything that can be wrong."""
    shown = [heads(number) for number in range(4)]
    for name, pictures in zip(PEOPLE, shown, strict=True):
        film(raw / name / "good.mp4", pictures)
    film(raw / "p1/turned.mp4", [p[:, ::-1].copy() for p in shown[1]])
    film(raw / "p2/silent.mp4", shown[2], sound=False)
    Image.fromarray(shown[3][0]).save(raw / "p3/face.png")

    whole = (raw / "p0/good.mp4").read_bytes()
    (raw / "p0/cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    (raw / "p0/empty.mp4").touch()
    sound_alone(raw / "p0/sound.mp4")
    Image.fromarray(shown[0][0]).save(raw / "p0/picture.mp4", format="PNG")
    film(raw / "p0/one.mp4", shown[0][:1])
    (raw / "p0/text.mp4").write_text("to be filmed\n" * 50)
    (raw / "p0/list.mp4").write_text(f"ffconcat version 1.0\nfile '{raw / 'p0/good.mp4'}'\n")
    film(raw / "p0/nobody.mp4", noise(160, 120, 4))
    film(raw / "p0/tiny.mp4", noise(2, 2, 4))
    film(raw / "p0/rarely.mp4", [*shown[0][:3], *noise(160, 160, 9)])
    (raw / "p0/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (raw / "p0/voice.wav").write_bytes(b"RIFF")
    soundfile.write(raw / "p0/hush.wav", np.zeros(8000), 8000)
    soundfile.write(raw / "p3/voice.flac", 0.2 * np.sin(np.arange(16000)), 8000)
    film(raw / "stranger/c.mp4", shown[0])
    outside = raw.parents[2] / "outside.mp4"
    shutil.copy(raw / "p0/good.mp4", outside)
    (raw / "p1/elsewhere.mp4").symlink_to(outside)
    (raw / "p1/nowhere.mp4").symlink_to("nowhere.mp4")
    shutil.copy(raw / "p0/good.mp4", raw / "loose.mp4")


class Place:
    """A folder with params and a corpus named own, in which stages run."""

    def __init__(self, path: Path) -> None:
        self.path, self.raw = path, path / "data/raw/own"

    def params(self, **changes: Any) -> None:
        sources = {"own": {"kind": "folder", "terms": copy.deepcopy(TERMS)}}
        (self.path / "params.yaml").write_text(yaml.safe_dump(copy.deepcopy(TINY) | {"sources": sources} | changes))

    def flows(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        given = os.environ | {"PYTHONPATH": str(ROOT), "FORGELINE_WORKERS": "1", "OMP_NUM_THREADS": "1"} | env
        command = [sys.executable, "-m", "flows", *words]
        return subprocess.run(command, cwd=self.path, env=given, capture_output=True, text=True, check=False)

    def refuses(self, *words: str, code: int = 2, **env: str) -> str:
        """The one line of a command that must fail."""
        done = self.flows(*words, **env)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        which, what, todo = last.removeprefix("error: ").split(": ", 1)[0], last.split(": ", 2)[2], last.rpartition("; ")[2]
        assert which
        assert what
        assert todo
        return last

    def rows(self) -> dict[str, Sample]:
        found = read_manifest(self.path / "data/real/own/manifest.parquet")
        return {s.media.removeprefix("data/raw/own/"): s for s in found}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A corpus that was scanned and ingested with every loss permitted. Don't change it."""
    place = Place(tmp_path_factory.mktemp("filled"))
    fill(place.raw)
    place.params(ingest={"min_seen": 0.5, "max_dropped": 1.0})
    for words in (("scan",), ("ingest", "own")):
        done = place.flows(*words)
        assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def place(filled: Place, tmp_path: Path) -> Place:
    """A copy of it, to change."""
    shutil.copytree(filled.path, tmp_path / "place", symlinks=True)
    shutil.copy2(filled.path / "data/raw/own/p0/good.mp4", tmp_path / "outside.mp4")
    return Place(tmp_path / "place")


def test_good_clips_go_through(filled: Place) -> None:
    rows = filled.rows()
    assert {path for path, row in rows.items() if row.reason is None} == GOOD
    for path in GOOD:
        row = rows[path]
        if path.endswith(".flac"):
            assert (row.media_type, row.sample_rate, row.duration_s, row.track) == ("audio", 8000, 2.0, None)
            assert (row.video_label, row.audio_label) == (None, "real")
            continue
        assert (filled.path / str(row.track)).is_file()
        assert (row.width, row.height) == (160, 160)
        assert row.target_id == f"own:{path.split('/')[0]}"
        if path.endswith(".mp4"):
            assert (row.frames, row.fps, row.duration_s) == (6, 25, 0.24)
            assert (row.sample_rate, row.audio_label) == ((0, None) if "silent" in path else (16000, "real"))


@pytest.mark.parametrize("path", REASONS)
def test_each_bad_file_is_a_row_with_its_reason(filled: Place, path: str) -> None:
    reason = filled.rows()[path].reason
    assert reason
    assert re.search(REASONS[path], reason), reason
    assert "\n" not in reason
    assert str(filled.path) not in reason


def test_nothing_is_dropped_in_silence(filled: Place) -> None:
    assert set(filled.rows()) == GOOD | set(REASONS)


def test_a_second_run_does_nothing_also_when_fewer_losses_are_permitted(place: Place) -> None:
    before = (place.path / "data/real/own/manifest.parquet").read_bytes()
    place.params(ingest={"min_seen": 0.5, "max_dropped": 0.9})
    done = place.flows("ingest", "own")
    assert f"{len(GOOD) + len(REASONS)} of {len(GOOD) + len(REASONS)} are up to date" in done.stdout
    assert (place.path / "data/real/own/manifest.parquet").read_bytes() == before


def test_too_many_losses_fail_the_stage(place: Place) -> None:
    place.params()
    line = place.refuses("ingest", "own")
    lost, count = len(REASONS), len(GOOD) + len(REASONS)
    assert f"ingest own: {lost} of {count} clips can't be used, more than max_dropped (20%); mend or remove" in line


def test_a_file_that_was_changed_after_the_scan_ends_the_stage(place: Place) -> None:
    film(place.raw / "p0/good.mp4", heads(9))
    shutil.rmtree(place.path / "data/real")
    assert "p0/good.mp4: is not the file that was scanned; run" in place.refuses("ingest", "own")
    (place.raw / "p0/good.mp4").unlink()
    assert "p0/good.mp4: is not the file that was scanned; run" in place.refuses("ingest", "own")


def test_what_was_rejected_can_be_looked_at(place: Place) -> None:
    rows = read_rejected(place.path / "data/real/own/rejected.parquet")
    assert {row.file.removeprefix("data/raw/own/"): row.reason for row in rows} == {
        path: row.reason for path, row in place.rows().items() if row.reason
    }
    unopened = {"stranger/c.mp4", "p1/elsewhere.mp4", "p1/nowhere.mp4", "loose.mp4"}
    assert {row.file.removeprefix("data/raw/own/") for row in rows if row.stage == "corpus"} == unopened
    assert {row.stage for row in rows} == {"corpus", "tracks"}
    said = place.flows("rejected", "own", "--stage", "tracks").stdout
    assert re.search(r"own +tracks +2  shows no face; .*\n +data/raw/own/p0/nobody.mp4\n +data/raw/own/p0/tiny.mp4\n", said), (
        said
    )
    assert "no consent" not in said
    assert "stranger/c.mp4" in place.flows("rejected").stdout
    assert "error: others: is no source, generator or variant" in place.refuses("rejected", "others")
    assert "error: control: is not there yet" in place.refuses("rejected", "control")
    assert "error: tracking: is no stage that rejects anything" in place.refuses("rejected", "--stage", "tracking")


def test_a_retry_takes_what_failed_and_nothing_else(place: Place) -> None:
    """Two clips are mended; the records of all others, and their files, stay as they are."""
    place.params(ingest={"min_seen": 0.5, "max_dropped": 1.0})
    kept = {p: p.stat().st_mtime_ns for p in (place.path / "data/real/own").rglob("*.*") if p.name[0] in "0123456789abcdef"}
    lost = [row for row in place.rows().values() if row.reason]
    tried = [row for row in read_rejected(place.path / "data/real/own/rejected.parquet") if row.stage == "tracks"]
    assert f"rejected: {len(tried)} failures forgotten" in place.flows("rejected", "own", "--retry").stdout
    done = place.flows("ingest", "own")
    count = len(place.rows())
    assert f"ingest own: {count - len(tried)} of {count} are up to date" in done.stdout, done.stdout
    assert f"ingest own: {len(tried)} of {len(tried)} in " in done.stderr, done.stderr
    after = {p: p.stat().st_mtime_ns for p in kept}
    again = {p.stem for p in kept if after[p] != kept[p]}
    assert again == {row.sample_id for row in lost if row.media in {row.file for row in tried}}
    assert [row for row in place.rows().values() if row.reason] == lost


def test_terms_that_nobody_accepted_keep_a_corpus_unopened(place: Place) -> None:
    """Neither its inventory nor a clip is read: neither is there."""
    (place.path / "data/inventory/own.jsonl").unlink()
    shutil.rmtree(place.raw)
    for missing in ("accepted_by", "accepted_on"):
        terms = {k: v for k, v in TERMS.items() if k not in ("generate", missing)}
        place.params(sources={"own": {"kind": "folder", "terms": terms}})
        for command in ("scan", "ingest"):
            line = place.refuses(command, "own")
            assert line.startswith(
                "error: sources.own.terms: nobody is on record as having accepted them (release form); when they"
            )


def test_archives_are_told_of_and_never_opened(place: Place) -> None:
    """Two zip files, one of which is no zip file at all: nobody looks."""
    with zipfile.ZipFile(place.raw / "p0/clips.zip", "w") as archive:
        archive.write(place.raw / "p0/good.mp4", "p0/more.mp4")
    (place.raw / "part_1.zip").write_bytes(b"PK\x03\x04 broken")
    place.params(ingest={"min_seen": 0.5, "max_dropped": 1.0})
    before = {path: row.reason for path, row in place.rows().items()}
    assert place.flows("scan").returncode == 0
    done = place.flows("ingest", "own")
    assert "p0/clips.zip" in done.stdout, done.stdout
    assert "unexpected: 5 (" in done.stdout, done.stdout
    assert {path: row.reason for path, row in place.rows().items()} == before


def test_a_clip_that_changes_while_it_is_read_ends_the_stage(
    filled: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled.path)
    clip = tmp_path / "clip.mp4"
    shutil.copy(filled.raw / "p0/good.mp4", clip)
    row = replace(filled.rows()["p0/good.mp4"], media=str(clip), reason=None)
    job = ingest._Job(row.sample_id, "k", row, tmp_path, 0.5)
    assert ingest._look(job).sample.reason is None

    def changed(job: Any, path: Path) -> Any:
        done = tracked(job, path)
        film(path, heads(9))
        return done

    tracked = ingest._track
    monkeypatch.setattr(ingest, "_track", changed)
    with pytest.raises(SourceError, match=r"clip.mp4: changed while it was read; leave the corpus alone"):
        ingest._look(job)


def test_what_is_missing_is_said(place: Place) -> None:
    assert "error: other: is not in params; there are own under sources" in place.refuses("ingest", "other")
    assert "error: other: is not in params; there are own under sources" in place.refuses("scan", "other")
    inventory = place.path / "data/inventory/own.jsonl"
    lines = inventory.read_text().splitlines(keepends=True)
    inventory.write_text("".join(lines[:-1]) + "{}\n")
    assert f"error: data/inventory/own.jsonl:{len(lines)}: not a line of an inventory; " in place.refuses("ingest", "own")
    inventory.unlink()
    assert "error: data/inventory/own.jsonl: the inventory can't be read" in place.refuses("ingest", "own")
    shutil.rmtree(place.raw)
    assert "error: data/raw/own: there is no such folder; put the corpus there" in place.refuses("scan")
    (place.path / "params.yaml").unlink()
    assert "error: params.yaml: is not there; " in place.refuses("scan")


def test_a_corpus_that_is_another_is_said(place: Place) -> None:
    for path in place.raw.rglob("*.*"):
        path.unlink()
    (place.raw / "notes.txt").write_text("no clips yet")
    assert place.flows("scan").returncode == 0
    assert "error: data/raw/own: none of its 1 files is a clip of this corpus" in place.refuses("ingest", "own")


def test_broken_weights_are_refused(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("face_detector", "face_mesh"):
        data = bytearray(weights(name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / weights(name).name).write_bytes(data)
    line = place.refuses("ingest", "own", FORGELINE_WEIGHTS=str(folder))
    assert "has SHA-256" in line
    assert "replace it, or remove it and the right one is fetched" in line


def test_a_plan_before_its_ingest_is_said(place: Place) -> None:
    shutil.rmtree(place.path / "data/real")
    line = place.refuses("plan", code=3)
    assert "data/real/own/manifest.parquet: can't be read as a manifest" in line


def test_a_plan_that_is_older_than_params_is_said(place: Place) -> None:
    line = place.refuses("generate", "control")
    assert "error: data/plan/control.jsonl: can't be read" in line
    (place.path / "data/plan").mkdir(parents=True)
    head = {"generator": "control", "settings": {"old": 1}, "seal": {}}
    (place.path / "data/plan/control.jsonl").write_text(json.dumps(head) + "\n")
    assert "error: data/plan/control.jsonl: is older than params; run `dvc repro`" in place.refuses("generate", "control")
    assert "error: blend: is not in params; there are" in place.refuses("generate", "blend")


def test_a_damaged_demo_clip_is_rendered_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.params(sources={"demo": {"kind": "demo"}}, demo=TINY["demo"] | {"people": 2, "frames": 3})
    assert place.flows("demo").returncode == 0
    folder = tmp_path / "data/raw/demo"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    clip, other = folder / "p00/c0.mp4", folder / "p01/c0.mp4"
    rendered = other.stat().st_mtime_ns
    clip.write_bytes(before[clip][:-1] + b"!")
    assert place.flows("demo").returncode == 0
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert other.stat().st_mtime_ns == rendered  # and nothing else is


def test_a_release_without_an_audit_is_said(place: Place) -> None:
    assert "run `dvc repro`" in place.refuses("release")
