"""`read`: what the command says of files, with the keys and the releases at hand."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from flows.read import Index, Means, examine, means_at_hand, report, sentences
from forgeline.clip import Picture, Sound
from forgeline.errors import FactoryError, KeyFileError
from forgeline.image import write_image
from forgeline.manifest import write_manifest
from forgeline.sample import Sample
from tests.pki import Authority
from watermark.credentials import Statement, sign_sample, signer
from watermark.fingerprint import Fingerprint
from watermark.keys import DEMO, KEY_FILE, MasterKey, master, new_key
from watermark.metadata import PNG_KEYWORD, Tag, packet
from watermark.payload import Mark
from watermark.sound import mark_sound
from watermark.strength import Marker

ROOT = Path(__file__).resolve().parents[1]
SHARD, MARK, HEARD, OTHER = "val-0000", Mark(0x0B12CD34EF, 64), Mark(0x99, 64), Mark(0x77, 64)
TAG = Tag("sample-1", "compositeSynthetic", "CC BY 4.0", ("research",), "test")


def scene(seed: int) -> Picture:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(40, 210, (12, 15, 3)), (512, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 6, (512, 512, 1)), 0, 255).astype(np.uint8)


def tune() -> Sound:
    """Six seconds of notes with some noise."""
    rng = np.random.default_rng(8)
    time = np.arange(6 * 16000) / 16000
    pitch = np.repeat(rng.uniform(110, 220, 24), len(time) // 24)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    sung = sum(np.sin(n * phase) / n for n in range(1, 16)) + rng.normal(0, 0.2, len(time))
    return Sound((0.15 * sung * np.abs(np.sin(5 * time))).astype(np.float32), 16000)


def sample(name: str, path: Path, key_id: str, mark: Mark = MARK, **more: Any) -> Sample:
    """A row for a marked file."""
    shown: dict[str, Any] = {"media_type": "audio"}
    if path.suffix == ".png":
        prints = Fingerprint(1)
        prints.add(np.asarray(Image.open(path)))
        shown = {"media_type": "image", "fingerprint": prints.hex, "width": 512, "height": 512}
    return Sample(
        sample_id=name,
        media=str(path),
        label="fake",
        role="forgery",
        method="blend_swap",
        source="demo",
        recipe="{}",
        split="val",
        target_id="demo:ann",
        source_id="demo:ben",
        licence="CC BY 4.0",
        permitted_use=("research",),
        mark_id=f"{mark.id:010x}",
        mark_key_id=key_id,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        **(shown | more),
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `files`, the `release` they are of, and others that look like them. No checkout."""
    folder = tmp_path_factory.mktemp("released")
    files = folder / "files"
    files.mkdir()
    key = master(DEMO).shard(SHARD)
    marked = Marker(key, MARK)(scene(1))
    write_image(files / "a marked.png", marked, {PNG_KEYWORD: packet(TAG)})
    Image.fromarray(np.ascontiguousarray(marked[40:, ::-1][:440, :440])).save(files / "cut and mirrored.jpg", quality=85)
    copied = scene(2).astype(np.int16) + marked - scene(1)
    write_image(files / "copied.png", np.clip(copied, 0, 255).astype(np.uint8))
    write_image(files / "unknown.png", Marker(key, OTHER)(scene(3)))
    sound = mark_sound(tune(), key, HEARD)
    soundfile.write(files / "sound.wav", sound.samples, sound.rate)
    soundfile.write(files / "saved again.flac", sound.samples, sound.rate)
    write_image(files / "unmarked.png", scene(4))
    rows = [sample("sample-1", files / "a marked.png", key.id), sample("sample-2", files / "sound.wav", key.id, HEARD)]
    (folder / "release/val/image").mkdir(parents=True)
    write_manifest(folder / f"release/val/image/{SHARD}-000.parquet", rows)
    return folder


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("FORGELINE_")} | {"PYTHONPATH": str(ROOT)} | env
    command = [sys.executable, "-m", "flows", "read", *arguments]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=300, check=False)


def test_a_folder_is_read_with_a_release_at_hand(released: Path) -> None:
    broken = released / "files" / "broken.png"
    broken.write_bytes((released / "files" / "a marked.png").read_bytes()[:9000])
    (released / "files" / ".hidden").write_text("not looked at")
    done = run(released, "files", "--release", "release", "--json")
    broken.unlink()
    assert (done.returncode, done.stderr) == (2, "")  # the broken file
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(each["file"]).name for each in told] == [
        *(
            "a marked.png",
            "broken.png",
            "copied.png",
            "cut and mirrored.jpg",
            "saved again.flac",
            "sound.wav",
            "unknown.png",
            "unmarked.png",
        )
    ]
    of = {Path(each["file"]).stem: each for each in told}
    assert [each["file"] for each in told if each["error"]] == ["files/broken.png"]
    assert [name for name, each in of.items() if not each["marked"]] == ["broken", "unmarked"]
    assert all(0 <= each["false_accept"] <= 1e-6 for each in told)
    assert of["unmarked"]["false_accept"] == 1e-6
    (mark,) = of["a marked"]["marks"]
    assert (mark["carrier"], mark["id"], mark["bits"], mark["key_id"]) == ("pictures", "0b12cd34ef", 64, f"demo/{SHARD}")
    row = mark["samples"][0]
    assert (row["sample_id"], row["label"], row["target_id"], row["identical"]) == ("sample-1", "fake", "demo:ann", True)
    assert row["index"] == f"release/val/image/{SHARD}-000.parquet"
    assert of["a marked"]["tag"]["sample_id"] == "sample-1"
    assert of["a marked"]["credentials"]["state"] == "none"
    cut = of["cut and mirrored"]["marks"][0]
    assert cut["place"]["mirrored"]
    contents = {name: [m["content"] for m in each["marks"]] for name, each in of.items() if each["marks"]}
    assert contents == {
        "a marked": ["same"],
        "copied": ["different"],
        "cut and mirrored": ["same"],
        "saved again": ["unknown"],  # sound has no fingerprint
        "sound": ["same"],  # byte for byte
        "unknown": ["unknown"],
    }
    assert (of["sound"]["media_type"], of["sound"]["marks"][0]["carrier"]) == ("audio", "sound")
    assert of["sound"]["marks"][0]["samples"][0]["sample_id"] == "sample-2"


def test_it_is_told_in_words_and_by_the_exit_code(released: Path) -> None:
    files = released / "files"
    done = run(released, "files/copied.png", "files/a marked.png", "--release", "release")
    assert done.returncode == 0
    first, second = done.stdout.split("\nfiles/")
    assert first.startswith("files/copied.png: marked, but it shows something else than the sample that the mark is of\n")
    assert "sample sample-1: fake, forgery by blend_swap, val, demo:ann from demo:ben" in first
    assert "the mark was probably copied onto it" in first
    assert second.startswith("a marked.png: marked\n")
    assert "byte for byte" in second
    assert "that key is public" in second
    assert "its open tag, which proves nothing, says: sample sample-1, compositeSynthetic" in second
    assert run(released, str(files / "unmarked.png"), str(files / "unknown.png")).returncode == 3
    hostile = os.fsdecode(b"\xff\x1b[31mred.txt")
    (released / hostile).write_text("no media")
    done = run(released, hostile)
    (released / hostile).unlink()
    assert done.returncode == 2
    assert done.stdout.startswith("\\udcff\\x1b[31mred.txt: can't be read: it is no picture")
    gone = run(released, "files/none.png")
    assert (gone.returncode, gone.stdout) == (
        2,
        "files/none.png: can't be read: it is not there; name a picture, a video or a sound\n",
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "files and folders, or --serve alone"),
        (["files", "--serve"], "files and folders, or --serve alone"),
        (["empty"], "empty: holds no file"),
        (["files", "--release", "empty"], "empty: holds no shard of a release"),
    ],
)
def test_what_it_can_not_do_is_said(released: Path, arguments: list[str], what: str) -> None:
    (released / "empty").mkdir(exist_ok=True)
    done = run(released, *arguments)
    assert done.returncode == 2
    assert what in done.stderr


# In this process -----------------------------------------------------------------------------------------------------


def told(path: Path, *releases: Path) -> dict[str, Any]:
    index = Index(releases)
    found = report(examine(path, means_at_hand(index)), index)
    return asdict(found) | {"words": "\n".join(sentences(found))}


def rotated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MasterKey:
    """A release of one picture that was marked with a key that is no longer the newest."""
    old, _ = new_key(folder / "old.key"), new_key(folder / "new.key")
    monkeypatch.chdir(folder)
    write_image(folder / "old.png", Marker(old.shard("some-train-0007"), MARK)(scene(1)))
    (folder / "release").mkdir()
    rows = [sample("sample-1", folder / "old.png", old.shard("some-train-0007").id)]
    write_manifest(folder / "release/some.parquet", rows)
    return old


def test_old_releases_are_read_after_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = rotated(tmp_path, monkeypatch)
    monkeypatch.setenv(KEY_FILE, os.pathsep.join([str(tmp_path / "new.key"), str(tmp_path / "old.key")]))
    found = told(tmp_path / "old.png", tmp_path / "release")
    assert found["marks"][0]["key_id"] == f"{old.id}/some-train-0007"
    assert found["marks"][0]["samples"][0]["sample_id"] == "sample-1"
    assert "public" not in found["words"]
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "new.key"))
    assert not told(tmp_path / "old.png", tmp_path / "release")["marked"]
    assert f"rows here are marked with key {old.id}, which is not at hand" in capsys.readouterr().err


def test_bad_keys_and_roots_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roots.pem").write_text("nothing")
    monkeypatch.setenv("FORGELINE_TRUST_ANCHORS", str(tmp_path / "roots.pem"))
    with pytest.raises(KeyFileError, match="no certificates"):
        means_at_hand(Index())
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "gone.key"))
    with pytest.raises(KeyFileError, match="gone"):
        means_at_hand(Index())


def test_broken_params_do_not_keep_it_from_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    without = means_at_hand(Index())
    assert {key.master_id for key in without.keys} == {DEMO}
    (tmp_path / "params.yaml").write_text("seal: [")
    assert means_at_hand(Index()) == without
    assert "params.yaml: is not YAML" in capsys.readouterr().err
    shutil.copy(ROOT / "params.tiny.yaml", tmp_path / "params.yaml")
    assert {key.name for key in means_at_hand(Index()).keys} >= {"test-0000", "train-0000"}


def test_signed_files_are_told_apart_from_changed_ones(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in Authority().env(tmp_path / "pki").items():
        monkeypatch.setenv(name, value)
    who = signer()
    assert who is not None
    signed = tmp_path / "signed.png"
    sign_sample(released / "files/a marked.png", signed, Statement(TAG, (("org.forgeline.tile", "0b12cd34ef"),)), who)
    assert (told(signed)["credentials"]["state"], told(signed)["marked"]) == ("trusted", True)
    assert "trusted, unchanged since they were signed; signed by Test Lab" in told(signed)["words"]
    assert "name another mark" not in told(signed)["words"]
    other = tmp_path / "other.png"
    sign_sample(released / "files/a marked.png", other, Statement(TAG, (("org.forgeline.tile", "0000000001"),)), who)
    assert "the credentials name another mark: 0000000001" in told(other)["words"]
    with signed.open("ab") as file:
        file.write(b"more")
    assert told(signed)["credentials"]["state"] == "invalid"
    assert "assertion.dataHash.mismatch" in told(signed)["words"]
    monkeypatch.delenv("FORGELINE_TRUST_ANCHORS")
    assert told(other)["credentials"]["state"] == "untrusted"


def test_a_mark_of_several_rows_gives_the_likeliest_first(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample, its variants, and another release in which the same mark went to somebody else."""
    monkeypatch.chdir(tmp_path)
    path, key_id = released / "files/a marked.png", master(DEMO).shard(SHARD).id
    own = sample("zz", path, key_id, variant="master")
    write_image(tmp_path / "else.png", scene(9))
    elsewhere = sample("aa", tmp_path / "else.png", key_id)
    variant = sample("zz-c40", tmp_path / "else.png", key_id, variant="c40", fingerprint=own.fingerprint)
    again = sample("again", tmp_path / "else.png", key_id, fingerprint=own.fingerprint)
    for name, rows in {"one": [own, variant, again], "two": [elsewhere, own]}.items():
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name / "x.parquet", rows)
    (mark,) = told(path, tmp_path / "two", tmp_path / "one")["marks"]
    assert [(row["sample_id"], row["content"]) for row in mark["samples"]] == [
        *(("zz", "same"), ("again", "same"), ("zz-c40", "same"), ("aa", "different"))
    ]


def test_an_index_reads_the_columns_it_needs_and_no_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = 100_000
    columns: dict[str, Any] = {"sample_id": [f"{index:020x}" for index in range(count)]}
    columns |= {
        "mark_id": [f"{index:010x}" for index in range(count)],
        "mark_key_id": [f"demo/x-{index % 40:04d}" for index in range(count)],
    }
    columns |= {
        name: ["x"] * count
        for name in ("sha256", "label", "role", "method", "variant", "split", "target_id", "source_id", "licence")
    }
    columns |= {"permitted_use": [["research"]] * count, "media": [b"MEDIA"] * count}
    path = tmp_path / "some.parquet"
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="none")
    whole = path.read_bytes()
    assert whole.count(b"MEDIA") >= count
    path.write_bytes(whole.replace(b"\x05\0\0\0MEDIA", b"\xff\xff\xff\xffMEDIA"))  # whoever reads it fails
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(path)
    index = Index([tmp_path])
    assert len(index.key_ids) == 40
    assert [row["sample_id"] for row in index.find(f"{4321:010x}", "demo/x-0001")] == [f"{4321:020x}"]
    assert index.find(f"{4321:010x}", "demo/x-0002") == []


def test_a_folder_that_is_no_release_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.parquet").write_bytes(b"PAR1")
    with pytest.raises(FactoryError, match=r"some.parquet: is no whole manifest or shard"):
        Index([tmp_path])
    pq.write_table(pa.table({"name": ["x"]}), tmp_path / "some.parquet")
    with pytest.raises(FactoryError, match=r"some.parquet: is no whole manifest or shard"):
        Index([tmp_path])


HEADS = (
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"RIFF\0\0\0\0WAVE",
    b"\0\0\0\x18ftypisom",
    b"GIF89a",
    b"fLaC",
    b"OggS",
    b"ID3",
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=400))
@example(head=b"", rest=b"")
def test_whatever_a_file_holds_it_is_told_and_not_raised(tmp_path: Path, head: bytes, rest: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(head + rest)
    found = report(examine(path, Means((master(DEMO).shard(SHARD),), "")), Index())
    assert not found.marked
    assert found.error
    assert "report it" not in found.error
    assert found.exit_code == 2
