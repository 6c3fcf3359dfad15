"""A dataset of sound alone, built by `dvc repro` from people who speak two languages, and read as its users read it."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from datasets import Audio, Dataset, load_dataset

from forgeline.manifest import read_manifest
from tests.conftest import ROOT, Checkout, new_checkout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = new_checkout(tmp_path_factory.mktemp("sound") / "checkout")
    params = checkout.params()
    params["demo"] |= {"people": 4, "frames": 90, "size": 64, "languages": ["en", "vi"]}
    params["generators"] = {"sound_control": {}, "speech": {}, "voice": {}}
    params["variants"] = {"phone": {"sound_kbps": 16, "sound_codec": "opus"}}
    params["evaluators"] = {"prosody": {}}
    checkout.set_params(params)
    checkout.repro()
    return checkout


def test_every_forgery_has_its_control_and_its_truth(built: Checkout) -> None:
    rows = [
        s
        for name in ("sound_control", "speech", "voice")
        for s in read_manifest(built.path / f"data/made/{name}/manifest.parquet")
    ]
    assert len(rows) == 12
    assert not [s.reason for s in rows if s.reason]
    controls = {s.sample_id: s for s in rows if s.role == "control"}
    for sample in rows:
        control = controls[str(sample.pair_id)]
        assert (sample.media_type, sample.video_label, sample.width, sample.frames, sample.mask) == ("audio", None, 0, 0, None)
        assert (sample.sample_rate, sample.duration_s) == (control.sample_rate, control.duration_s) == (16000, 3.6)
        assert sample.sound_mark_read
        assert sample.words
        assert sample.attributes["language"] in ("en", "vi")
        if sample.role == "control":
            assert not sample.segments
        else:
            (segment,) = sample.segments
            assert 0 <= segment.start_s < segment.end_s <= sample.duration_s
            assert [w.text for w in sample.words] != [w.text for w in control.words]
    said = {s.drawn["language"] for s in rows if s.method == "speech"}
    assert said == {"en", "vi"}, "everyone speaks as the corpus declares"
    audit = json.loads((built.path / "data/audit/audit.json").read_text())
    assert audit["passed"]


def test_variants_of_sound_go_through_a_codec(built: Checkout) -> None:
    rows = read_manifest(built.path / "data/variants/phone/manifest.parquet")
    assert len(rows) == 12
    assert all(s.reason is None and s.sound_mark_read and s.media.endswith(".flac") for s in rows)


def test_datasets_reads_it_as_audio(built: Checkout, tmp_path: Path) -> None:
    release = built.path / "data/release"
    card = (release / "README.md").read_text()
    assert "config_name: audio" in card
    rows: list[Dataset] = []
    for split in ("train", "val"):
        loaded = load_dataset(str(release), "audio", split=split, cache_dir=str(tmp_path))
        assert isinstance(loaded.features["media"], Audio)
        rows += loaded.cast_column("media", Audio(decode=False))
    assert len(rows) == 24
    for row in rows:
        assert hashlib.sha256(row["media"]["bytes"]).hexdigest() == row["sha256"]
        assert row["words"]


def test_what_the_docs_say_of_sound_runs(built: Checkout) -> None:
    text = (ROOT / "docs/using.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```py\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    release = str(built.path / "data/release")
    done = built.run("python", "-c", code.replace('"forgeline-demo"', repr(release)))
    assert re.search(r"^fake (speech|voice) 3\.6 \[\(", done.stdout, re.MULTILINE)
    assert re.search(r"^real sound_control 3\.6 \[\]", done.stdout, re.MULTILINE)


def test_a_second_run_has_nothing_to_do(built: Checkout) -> None:
    assert "up to date" in built.repro().stdout
