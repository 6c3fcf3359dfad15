"""Variants: sealed videos as others pass them on, the same for both classes, with their parents' marks."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows import workspace
from flows.audit import audit
from flows.matched import made, matched, varied
from flows.params import Params, load_params
from flows.variants import variants
from forgeline.clip import Clip, Made
from forgeline.degrade import Variant
from forgeline.errors import FactoryError, MediaError
from forgeline.manifest import read_manifest, write_manifest
from forgeline.video import open_video, read_masks
from tests.conftest import Checkout
from watermark.gate import ATTACKED
from watermark.keys import DEMO, master
from watermark.metadata import Tag
from watermark.payload import Mark
from watermark.seal import Seal, seal, seal_variant


@pytest.fixture
def params(tiny: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A workspace with a copy of what the tiny checkout made, as current folder; and its params."""
    shutil.copy2(tiny.path / "params.yaml", tmp_path)
    for name in ("real", "plan", "made", "variants", "audit"):
        shutil.copytree(tiny.path / "data" / name, tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path)
    return load_params()


def test_every_video_has_its_variant_and_keeps_its_mark(params: Params) -> None:
    masters = {s.sample_id: s for s in made(params.generators) if s.media_type == "video"}
    rows = varied(params.variants)
    assert {s.sample_id for s in rows} == {f"{name}-c40" for name in masters}
    for row in rows:
        parent = masters[row.sample_id.removesuffix("-c40")]
        same = ("label", "role", "split", "mark_id", "mark_key_id", "parents", "segments", "frames", "width", "mask")
        assert all(getattr(row, name) == getattr(parent, name) for name in same)
        assert (row.variant, row.pair_id) == ("c40", f"{parent.pair_id}-c40")
        assert row.scores["mark_score"] >= ATTACKED
        assert row.bytes < parent.bytes


def test_the_audit_misses_a_variant(params: Params) -> None:
    path = workspace.VARIANTS / "c40" / workspace.MANIFEST
    gone, *rest = read_manifest(path)
    write_manifest(path, rest)
    assert not audit(params)
    write_manifest(path, [gone, *rest])
    assert audit(params)


def test_a_variant_that_fails_takes_its_pair_with_it(params: Params) -> None:
    path = workspace.VARIANTS / "c40" / workspace.MANIFEST
    rows = read_manifest(path)
    control = next(s for s in rows if s.role == "control")
    write_manifest(path, [replace(s, reason="lost") if s == control else s for s in rows])
    assert audit(params)
    left = [s for s in matched([*made(params.generators), *varied(params.variants)]) if s.reason is None]
    assert control.pair_id not in {s.pair_id for s in left}
    assert str(control.pair_id).removesuffix("-c40") in {s.pair_id for s in left}


def test_what_would_be_enlarged_is_a_row_with_a_reason(params: Params) -> None:
    named = params.model_copy(update={"variants": {"720p": Variant(height=720)}})
    rows = variants("720p", named)
    assert rows
    assert all(s.reason is not None and "nothing is scaled up" in s.reason for s in rows)
    with pytest.raises(FactoryError, match="is not in params"):
        variants("240p", named)


def clip(width: int, height: int) -> Clip:
    pictures = [np.full((height, width, 3), shade, np.uint8) for shade in (10, 200)]
    return Clip("video", width, height, Fraction(25), 2, lambda: iter(pictures), lambda: None, name="a.mp4")


def test_pictures_and_masks_shrink_together() -> None:
    masks = [np.zeros((480, 642), np.uint8), np.full((480, 642), 255, np.uint8)]
    small = Variant(height=240)(clip(642, 480), lambda: iter(masks))
    assert (small.width, small.height, small.frames) == (320, 240, 2)
    for (picture, mask), shade, level in zip(small.pictures, (10, 200), (0, 255), strict=True):
        assert mask is not None
        assert picture.shape == (240, 320, 3)
        assert mask.shape == (240, 320)
        assert (picture.min(), picture.max(), mask.min(), mask.max()) == (shade, shade, level, level)


@pytest.mark.parametrize("height", [480, 720])
def test_nothing_is_enlarged_or_kept_under_another_name(height: int) -> None:
    with pytest.raises(MediaError, match="nothing is scaled up"):
        Variant(height=height)(clip(642, 480), None)


def test_a_smaller_variant_is_sealed_with_smaller_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    still = cv2.resize(rng.uniform(40, 210, (12, 16, 3)), (336, 288), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(still + rng.normal(0, 5, (288, 336, 1)), 0, 255).astype(np.uint8)
    mask = np.zeros((288, 336), np.uint8)
    mask[:, :168] = 255
    key, mark, tag = master(DEMO).shard("tests"), Mark(4711, 32), Tag("0" * 20, "digitalCreation", "CC0-1.0", ("research",))
    made = Made("video", 336, 288, Fraction(25), 12, ((picture, mask) for _ in range(12)), None)
    seal(made, tmp_path / "a.mp4", mark, key, tag, Seal())
    small, parent = Variant(height=240), open_video(tmp_path / "a.mp4")

    def again() -> Made:
        return small(parent, lambda: read_masks(tmp_path / "a.mask.mp4"))

    sealed = seal_variant(again, tmp_path / "b.mp4", mark, key, tag, small.encoding, False)
    assert (sealed.width, sealed.height, sealed.frames) == (280, 240, 12)
    assert sealed.verdict.score >= ATTACKED
    assert sealed.mask is not None
    for seen in read_masks(sealed.mask):
        assert seen.shape == (240, 280)
        assert seen[:, :139].min() == 255
        assert seen[:, 141:].max() == 0
