"""The fingerprint: the same for what a file goes through, another for other content."""

from itertools import combinations, islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from benchmarks.attacks import PICTURE_ATTACKS, VIDEO_ATTACKS, decoded, encoded
from benchmarks.fingerprint import collected, cut
from forgeline.clip import Clip, Picture
from forgeline.image import open_image
from forgeline.video import open_video
from watermark.find import Place
from watermark.fingerprint import SAME, Fingerprint, difference

SHARED = Path(__file__).parents[2] / "shared"
GRID, KODAK = SHARED / "media/grid", SHARED / "media/kodak"
SURVIVED = ("JPEG 15", "scale .25", "noise 15", "blur 2", "colour jitter", "flip", "rotation 2°", "stretch 5 %")


def fingerprint(*pictures: Picture) -> str:
    collected = Fingerprint(len(pictures))
    for picture in pictures:
        collected.add(picture)
    return collected.hex


def same_content(sealed: str, seen: str) -> bool:
    return difference(sealed, seen) <= SAME


def of_clip(clip: Clip) -> str:
    return fingerprint(*clip.pictures())


def texture(seed: int, height: int = 256, width: int = 256) -> Picture:
    """Detail at all scales."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for size in (3, 6, 12, 24, 48):
        rough = rng.normal(0, 90 / size**0.5, (size, size, 1))
        total += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(total, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photographs() -> list[Picture]:
    if not KODAK.is_dir():
        pytest.skip("the Kodak photographs are not here")
    return [next(open_image(path).pictures()) for path in sorted(KODAK.glob("*.png"))]


@pytest.mark.parametrize("attack", SURVIVED)
def test_photographs_keep_theirs_through_what_files_go_through(photographs: list[Picture], attack: str) -> None:
    rng = np.random.default_rng(0)
    for picture in photographs[::3]:
        changed = PICTURE_ATTACKS[attack].do(picture, rng)
        assert same_content(fingerprint(picture), fingerprint(changed))


def test_photographs_are_told_apart(photographs: list[Picture]) -> None:
    prints = [fingerprint(picture) for picture in photographs]
    assert min(difference(a, b) for a, b in combinations(prints, 2)) > SAME + 0.1


@pytest.mark.skipif(not GRID.is_dir(), reason="the GRID clips are not here")
def test_people_in_one_studio_are_told_apart_and_a_clip_of_one_is_known_after_another_encode() -> None:
    clips = [open_video(path) for path in sorted(GRID.glob("*.mpg")) if not path.stem.startswith("id2_")]  # as pwij3p: one man
    prints = [of_clip(clip) for clip in clips]
    assert min(difference(a, b) for a, b in combinations(prints, 2)) > SAME
    smallest = list(decoded(encoded(list(clips[0].pictures()), clips[0].fps, VIDEO_ATTACKS["scale .5, crf 28"])))
    worst = list(decoded(encoded(list(clips[1].pictures()), clips[1].fps, VIDEO_ATTACKS["H.264 crf 40"])))
    assert same_content(prints[0], fingerprint(*smallest))
    assert same_content(prints[1], fingerprint(*worst))
    still = next(islice(clips[2].pictures(), 40, None))
    assert same_content(prints[2], fingerprint(still))


def test_bits_are_the_signs_of_the_lowest_frequencies() -> None:
    picture = texture(1)
    kept = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (128, 128), interpolation=cv2.INTER_AREA)
    wanted = []
    for part in (kept, kept[32:96, 32:96]):
        small = cv2.resize(part, (32, 32), interpolation=cv2.INTER_AREA)
        spectrum = dctn(small.astype(np.float64), norm="ortho")
        wanted += [spectrum[i, total - i] > 0 for total in range(1, 24) for i in range(total + 1)][:256]
    found = np.unpackbits(np.frombuffer(bytes.fromhex(fingerprint(picture)), np.uint8))
    assert found.tolist() == wanted


@given(st.integers(0, 2**32), st.integers(64, 200), st.integers(64, 200))
def test_a_mirror_image_is_the_same_content(seed: int, half_height: int, half_width: int) -> None:
    picture = texture(seed, 2 * half_height, 2 * half_width)
    assert difference(fingerprint(picture), fingerprint(np.ascontiguousarray(picture[:, ::-1]))) < 0.02
    assert not same_content(fingerprint(picture), fingerprint(np.ascontiguousarray(picture[::-1])))


@given(st.integers(1, 40))
def test_three_pictures_spread_over_the_clip_count(frames: int) -> None:
    pictures = [texture(seed) for seed in range(3)]
    shown = [pictures[3 * index // frames] for index in range(frames)]  # a third of the clip each
    assert len(fingerprint(*shown)) == 128 * min(frames, 3)
    if frames >= 3:
        assert fingerprint(*shown) == "".join(fingerprint(picture) for picture in pictures)


def test_a_cut_of_the_video_is_the_same_content_and_one_with_other_pictures_is_not() -> None:
    a, b, c = (texture(seed) for seed in range(3))
    sealed = fingerprint(a, b, c)
    assert same_content(sealed, fingerprint(b, c))
    assert not same_content(sealed, fingerprint(a, texture(4), texture(5)))


@pytest.mark.parametrize(
    "place",
    [Place(), Place(scale_x=0.5, scale_y=0.5), Place(mirrored=True, scale_x=1.3, scale_y=1.25), Place(turn=-2.5)],
    ids=["as it was", "halved", "mirrored and stretched", "turned"],
)
def test_a_part_that_holds_the_middle_is_known_and_other_content_is_not(photographs: list[Picture], place: Place) -> None:
    rng = np.random.default_rng(0)
    for number, picture in enumerate(photographs[::2]):
        height, width = picture.shape[:2]
        part, lies = cut(picture, place, *rng.uniform(0, 0.2, 2) * (width, height), share=0.8)
        assert collected(part).shows(fingerprint(picture), (width, height), lies) == "same"
        assert collected(part).shows(fingerprint(picture), (width, height)) == "different"  # the mark's place was not found
        other = photographs[2 * number + 1]
        assert collected(part).shows(fingerprint(other), (other.shape[1], other.shape[0]), lies) in ("different", "unknown")


def test_a_part_without_the_middle_is_not_judged(photographs: list[Picture]) -> None:
    for picture in photographs[:4]:
        height, width = picture.shape[:2]
        part, lies = cut(picture, Place(), 0, 0, share=0.6)
        assert collected(part).shows(fingerprint(picture), (width, height), lies) == "unknown"


def test_a_mark_copied_onto_a_picture_of_the_same_size_is_found_out(photographs: list[Picture]) -> None:
    for one, other in combinations(photographs[:8], 2):
        if one.shape == other.shape:
            assert collected(other).shows(fingerprint(one), (one.shape[1], one.shape[0]), Place()) == "different"


def test_what_has_no_fingerprint_is_not_judged() -> None:
    nothing = Fingerprint(0)
    assert nothing.hex == ""
    assert nothing.shows(fingerprint(texture(0)), (256, 256), Place()) == "unknown"
    assert collected(texture(0)).shows("", (256, 256), Place()) == "unknown"


def test_a_face_changed_within_the_picture_is_not_noticed() -> None:
    """What the fingerprint is not for: real and fake of a pair show the same scene."""
    picture = texture(0)
    changed = picture.copy()
    cv2.ellipse(changed, (128, 110), (20, 28), 0, 0, 360, (170, 130, 110), -1)
    assert same_content(fingerprint(picture), fingerprint(changed))
