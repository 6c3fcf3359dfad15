"""A mark that a clip carries already is read, and named by what is made from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows import workspace
from flows.ingest import _MarkJob, _read_marks
from flows.params import load_params
from flows.plan import plan_samples
from forgeline.manifest import read_manifest
from tests.conftest import Checkout


def test_a_marked_clip_names_its_mark(tiny: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.path)
    (sealed, *_) = read_manifest(workspace.MADE / "blend_swap" / workspace.MANIFEST)
    (clip, *_) = read_manifest(workspace.REAL / "demo" / workspace.MANIFEST)
    assert clip.ingredients == ()
    job = _MarkJob("x", "", replace(clip, media=sealed.media), 1)
    assert _read_marks(job).sample.ingredients == (f"{sealed.mark_key_id}/{sealed.mark_id}",)
    assert _read_marks(replace(job, sample=clip)).sample.ingredients == ()


def test_a_clip_that_breaks_while_it_is_read_is_a_row_with_a_reason(tiny: Checkout, tmp_path: Path) -> None:
    (clip, *_) = read_manifest(tiny.path / "data/real/demo/manifest.parquet")
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    assert _read_marks(_MarkJob("x", "", replace(clip, media=str(tmp_path / "a.mp4")), 1)).sample.reason


def test_what_is_made_names_the_marks_of_all_its_parents(tiny: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.path)
    clips = [
        replace(clip, split="train", ingredients=(f"demo/control-train-0000/{number:04x}",))
        for number, clip in enumerate(read_manifest(workspace.REAL / "demo" / workspace.MANIFEST))
    ]
    marks = {clip.sample_id: clip.ingredients for clip in clips}
    for name, rows in plan_samples(clips, load_params()).items():
        for planned in rows:
            expected = () if name == "dcgan" else tuple(sorted(m for p in planned.sample.parents for m in marks[p]))
            assert planned.sample.ingredients == expected
