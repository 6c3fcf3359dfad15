"""Several people in a fake: whom ingest takes for the manipulated one."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flows import workspace
from flows.ingest import ingest
from flows.items import SPREAD, Finished
from flows.params import Params, load_params
from flows.scan import scan_all
from forgeline.clip import Picture
from forgeline.errors import SourceError
from forgeline.faces import load_track
from forgeline.quality import beside, load_quality
from forgeline.sample import Sample
from forgeline.video import Encoding, VideoWriter
from sources.ffpp import FaceForensics
from sources.heads import Expression, Pose, frame, person, scene

ROOT = Path(__file__).parents[1]
FAKE = "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__outside__YVGY8LOK.mp4"
MASK = FAKE.replace("/c23/", "/masks/")
SMALL = 212, 30, 132
"""Where the smaller, manipulated head is: left, top, side."""


def here(work: Callable[[Any], Finished], jobs: Sequence[Any]) -> Iterator[tuple[Any, Finished]]:
    for job in jobs:
        yield job, work(job)


def film(path: Path, pictures: Sequence[Picture], crf: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, pictures[0].shape[1], pictures[0].shape[0], Fraction(25), Encoding(crf=crf), None) as out:
        for picture in pictures:
            out.write(picture)


def head(seed: int, side: int) -> Picture:
    rng = np.random.default_rng(seed)
    return frame(person(rng, *rng.random(3)), Expression(), Pose(), scene(rng), side, rng)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two people and the mask of the smaller one: of four frames of six, and lossy."""
    home = tmp_path_factory.mktemp("checkout")
    left, top, side = SMALL
    picture, mask = np.full((200, 352, 3), 110, np.uint8), np.zeros((200, 352, 3), np.uint8)
    picture[:200, :200], picture[top : top + side, left : left + side] = head(0, 200), head(1, side)
    mask[top + 40 : top + 110, left + 40 : left + 95] = 255
    film(home / "data/raw/ffpp" / FAKE, [picture] * 6, 18)
    film(home / "data/raw/ffpp" / MASK, [mask] * 4, 36)
    accepted = {"accepted_by": "nobody", "accepted_on": "2026-01-01"}
    sources = {"ffpp": {"kind": "ffpp", "terms": FaceForensics.template.settings() | accepted}}
    tiny = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
    (home / "params.yaml").write_text(yaml.safe_dump(tiny | {"sources": sources, "ingest": {"max_dropped": 1.0}}))
    return home


@pytest.fixture
def params(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Params]:
    monkeypatch.chdir(corpus)
    usual = SPREAD.set(here)
    yield load_params()
    SPREAD.reset(usual)


def ingested(params: Params) -> Sample:
    (row,) = ingest("ffpp", params)
    return row


def test_the_main_face_is_the_one_that_was_changed(corpus: Path, params: Params) -> None:
    scan_all(["ffpp"], params)
    row = ingested(params)
    assert (row.reason, row.label, row.frames) == (None, "fake", 6)
    first, second = load_track(Path(str(row.track))), load_track(Path(str(row.track)), 1)
    assert SMALL[0] < first.points[0, 2, 0] < SMALL[0] + SMALL[2]
    assert second.points[0, 2, 0] < 200
    assert first.seen.all()
    sizes = [load_quality(beside(Path(str(row.track))), face)["size"].mean() for face in (0, 1)]
    assert sizes[0] < sizes[1], "qualities come in the tracks' order"


def test_without_a_mask_it_is_the_largest(corpus: Path, params: Params) -> None:
    mask = corpus / "data/raw/ffpp" / MASK
    away = mask.rename(corpus / "mask.mp4")
    scan_all(["ffpp"], params)
    row = ingested(params)
    assert load_track(Path(str(row.track))).points[0, 2, 0] < 200
    away.rename(mask)


def test_another_mask_makes_the_item_anew(corpus: Path, params: Params) -> None:
    scan_all(["ffpp"], params)
    assert load_track(Path(str(ingested(params).track))).points[0, 2, 0] > 200
    mask = corpus / "data/raw/ffpp" / MASK
    whole = mask.read_bytes()
    black = np.zeros((200, 352, 3), np.uint8)
    black[60:140, 60:140] = 255
    film(mask, [black] * 5, 36)
    scan_all(["ffpp"], params)
    assert load_track(Path(str(ingested(params).track))).points[0, 2, 0] < 200
    corner = np.zeros((200, 352, 3), np.uint8)
    corner[:20, 330:] = 255
    film(mask, [corner] * 5, 36)
    scan_all(["ffpp"], params)
    assert "shows faces beside its mask alone" in str(ingested(params).reason)
    mask.write_bytes(whole)


def test_a_mask_that_can_t_be_read(corpus: Path, params: Params) -> None:
    mask = corpus / "data/raw/ffpp" / MASK
    whole = mask.read_bytes()
    scan_all(["ffpp"], params)
    try:
        mask.write_bytes(b"no film")
        shutil.rmtree(workspace.REAL, ignore_errors=True)
        with pytest.raises(SourceError, match=r"masks/videos/.*: is not the file that was scanned"):
            ingest("ffpp", params)
        scan_all(["ffpp"], params)
        assert "shows 2 people, and its mask is broken, cut off or no video" in str(ingested(params).reason)
    finally:
        mask.write_bytes(whole)
