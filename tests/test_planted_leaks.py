"""Leaks that real datasets had, planted in files of 400 pairs: each is found and named, and pairs without one pass.

Both files of a pair go through one chain and show one scene; the "forgery" is a patch that is fainter. What a leak
changes, it changes in one class alone. Images have 96 pixels a side, and each a mark of its own; films have four such
pictures, and the factory's own code encodes them.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluators.nuisances import background, coding, form
from evaluators.shortcuts import Judged, Numbers, Told, ask, ask_net, ask_together, judge
from forgeline.clip import Picture, Sound
from forgeline.hearing import traits
from forgeline.image import write_image
from forgeline.video import Encoding, MaskWriter, VideoWriter

PAIRS, PEOPLE, SIDE, FRAMES = 400, 80, 96, 4
PATCH, HOLE = slice(72, 84), slice(72, SIDE)
CLIPS = np.array([f"c{n}" for n in range(PAIRS)])
WHO = np.array([f"p{n % PEOPLE}" for n in range(PAIRS)])
Change = Callable[[Picture], Picture]


@lru_cache(maxsize=2)
def scene(clip: int, salt: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Structure of all sizes, as a lens and camera of its own would see it, and that camera's grain; no two are alike."""
    rng = np.random.default_rng((clip, salt))
    size = SIDE + 32
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(size), np.fft.fftfreq(size))) + 1 / size
    waves = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) / frequency ** rng.uniform(1.0, 1.6))
    luma = cv2.GaussianBlur(waves / waves.std() * rng.uniform(20, 45), (0, 0), rng.uniform(0.4, 1.0))
    picture = rng.uniform(80, 170, 3) + luma[..., None] * rng.uniform(0.7, 1.0, 3)
    return picture.astype(np.float32), rng.normal(size=(size, size, 3)).astype(np.float32) * (1 + clip % 4)


def shown(clip: int, fake: bool, at: int, salt: int = 0) -> Picture:
    """A picture of the film: the scene drifts by, with new grain each time. In a forged one, a patch of it is fainter."""
    picture, grain = scene(clip, salt)
    if fake:
        picture = picture.copy()
        picture[PATCH, PATCH] += (picture[PATCH, PATCH].mean((0, 1)) - picture[PATCH, PATCH]) * np.float32(0.2)
    seen = np.roll(picture, (clip % 3 * at, clip % 2 * at), (0, 1)) + np.roll(grain, (17 * at, 29 * at), (0, 1))
    return np.asarray(seen[:SIDE, :SIDE].clip(0, 255), np.uint8)


def hole() -> NDArray[np.uint8]:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[HOLE, HOLE] = 255
    return mask


def as_it_is(picture: Picture) -> Picture:
    return picture


def by_jpeg(picture: Picture, quality: int = 75) -> Picture:
    """Once a JPEG, whatever it is kept as now."""
    coded = io.BytesIO()
    Image.fromarray(picture).save(coded, "JPEG", quality=quality)
    return np.asarray(Image.open(coded).convert("RGB"))


def cropped(picture: Picture) -> Picture:
    """A pixel less all around, and brought to its size again."""
    return np.asarray(cv2.resize(picture[1:-1, 1:-1], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.uint8)


def resized(picture: Picture) -> Picture:
    """Down and up again, as a face is that was aligned to a net's size."""
    small = cv2.resize(picture, (SIDE * 3 // 4, SIDE * 3 // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def marked(picture: Picture, payload: tuple[int, ...]) -> Picture:
    """With a mark of 44 dB in tiles of 32 pixels, at half resolution: half its signs are the key's, half the payload's."""
    tile = np.random.default_rng(payload).choice([-1.6, 1.6], (16, 16)).astype(np.float32)
    tile[::2] = np.random.default_rng(7).choice([-1.6, 1.6], (8, 16))
    pattern = cv2.resize(np.tile(tile, (SIDE // 32, SIDE // 32)), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.rint(picture + pattern[:, :, None]).clip(0, 255), np.uint8)


@dataclass(frozen=True)
class Chain:
    """How one class is made: what is done to its pictures after they are forged, or not, and before they are marked."""

    change: Change = as_it_is
    crf: int = 23
    frames: int = FRAMES
    suffix: str = ".png"
    salt: int = 0
    marks: bool = True


class Workshop:
    """Makes files once, however many leaks want them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mask, self.film = folder / "mask.png", folder / "mask.mp4"
        write_image(self.mask, hole())
        with MaskWriter(self.film, SIDE, SIDE, Fraction(25)) as out:
            for _ in range(FRAMES):
                out.write(hole())

    def image(self, clip: int, fake: bool, chain: Chain) -> Path:
        path = self.folder / f"{clip}-{fake}-{chain.change.__name__}-{chain.salt}-{chain.marks}{chain.suffix}"
        if not path.exists():
            seen = chain.change(shown(clip, fake, 0, chain.salt))
            seen = marked(seen, (clip, fake, chain.salt)) if chain.marks else seen
            write_image(path, seen) if chain.suffix == ".png" else Image.fromarray(seen).save(path, quality=90)
        return path

    def video(self, clip: int, fake: bool, chain: Chain) -> Path:
        path = self.folder / f"{clip}-{fake}-{chain.change.__name__}-{chain.crf}-{chain.frames}.mp4"
        if not path.exists():
            with VideoWriter(path, SIDE, SIDE, Fraction(25), Encoding(crf=chain.crf, preset="veryfast")) as out:
                for at in range(chain.frames):
                    out.write(chain.change(shown(clip, fake, at)))
        return path


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("planted"))


def judged(
    rows: list[tuple[Mapping[str, float], Mapping[str, float]]], learned: bool = False, grain: Sequence[NDArray[np.int8]] = ()
) -> dict[str, Judged]:
    """What probes together say of measures of (fake, control): all single factors; and those that learn, if so wanted."""
    names = sorted({name for row in rows for one in row for name in one})
    numbers: Numbers = np.array([[[one.get(name, np.nan) for name in names] for one in row] for row in rows])
    told: list[Told] = [ask(name, numbers[:, :, at], CLIPS, WHO) for at, name in enumerate(names)]
    if learned:
        told.append(ask_together(numbers, CLIPS, WHO))
    if grain:
        told.append(ask_net("background grain", np.array(grain, np.float32)[:, :, :2], CLIPS, WHO, np.random.default_rng(0)))
    return {one.told.factor: one for one in judge(told)}


def of_images(shop: Workshop, fakes: Chain, controls: Chain, learned: bool = False, net: bool = False) -> dict[str, Judged]:
    rows: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    grain = []
    for clip in range(PAIRS):
        seen = background(shop.image(clip, True, fakes), shop.image(clip, False, controls), [shop.mask], "image")
        rows.append(seen.numbers)
        assert seen.grain is not None
        grain.append(seen.grain)
    return judged(rows, learned, grain if net else [])


@cache
def coded(path: Path) -> dict[str, float]:
    return coding(path, "video")


def of_videos(shop: Workshop, fakes: Chain, controls: Chain, learned: bool = False) -> dict[str, Judged]:
    rows: list[tuple[Mapping[str, float], Mapping[str, float]]] = []
    for clip in range(PAIRS):
        one, other = shop.video(clip, True, fakes), shop.video(clip, False, controls)
        seen = background(one, other, [shop.film], "video")
        rows.append((seen.numbers[0] | coded(one), seen.numbers[1] | coded(other)))
    return judged(rows, learned)


def failing(found: Mapping[str, Judged]) -> set[str]:
    return {name for name, one in found.items() if one.verdict == "fails"}


IMAGES: dict[str, tuple[Chain, Chain, set[str]]] = {
    "controls were JPEGs once": (Chain(), Chain(by_jpeg), {"grid of 8 columns", "grid of 8 rows"}),
    "fakes are a pixel off": (Chain(cropped), Chain(), {"fine grain"}),
    "controls were never resized": (Chain(resized), Chain(), {"fine grain", "all factors together"}),
    "controls are not marked": (Chain(), Chain(marks=False), {"background grain"}),
}


@pytest.mark.parametrize("leak", IMAGES)
def test_a_leak_in_images_is_found(workshop: Workshop, leak: str) -> None:
    fakes, controls, named = IMAGES[leak]
    found = of_images(workshop, fakes, controls, "all factors together" in named, "background grain" in named)
    assert named <= failing(found), {name: (one.auc, one.low) for name, one in found.items()}


def test_images_without_a_leak_pass(workshop: Workshop) -> None:
    """The forgery itself is in none of the measures; and nothing is left undecided with so many pairs."""
    found = of_images(workshop, Chain(), Chain(), learned=True, net=True)
    assert {one.verdict for one in found.values()} == {"passes"}, {n: (o.auc, o.high) for n, o in found.items()}


def test_films_of_another_quantiser_are_found(workshop: Workshop) -> None:
    found = of_videos(workshop, Chain(crf=22), Chain())
    assert {"key quantiser", "quantiser"} <= failing(found), {n: (o.auc, o.low) for n, o in found.items()}
    assert form(workshop.video(0, True, Chain(crf=22)), "video")["encoder"].count("crf=22") == 1, "and it is written there"


def test_films_without_a_leak_pass(workshop: Workshop) -> None:
    found = of_videos(workshop, Chain(), Chain(), learned=True)
    assert not failing(found)
    assert {one.verdict for one in found.values()} == {"passes"}, {n: (o.auc, o.high) for n, o in found.items()}


def facts_apart(one: Path, other: Path, media_type: str) -> set[str]:
    """Without the name: these files' names say what they are."""
    a, b = form(one, media_type), form(other, media_type)  # type: ignore[arg-type]
    return {fact for fact in a.keys() | b.keys() if a.get(fact) != b.get(fact)} - {"name"}


def test_what_every_pair_shares_is_compared_exactly(workshop: Workshop) -> None:
    """Files of a pair differ in no fact; one frame less, or another format, shows in a single pair."""
    plain = Chain()
    for clip in range(0, PAIRS, 20):
        assert not facts_apart(workshop.image(clip, True, plain), workshop.image(clip, False, plain), "image")
        assert not facts_apart(workshop.video(clip, True, plain), workshop.video(clip, False, plain), "video")
    short = workshop.video(1, True, Chain(frames=FRAMES - 1))
    assert "video 0: frames" in facts_apart(short, workshop.video(1, False, plain), "video")
    jpeg = workshop.image(1, True, Chain(suffix=".jpg"))
    assert {"format", "tables", "subsampling"} <= facts_apart(jpeg, workshop.image(1, False, plain), "image")


def spoken() -> Iterator[tuple[Sound, Sound]]:
    """A second of noise that begins and ends when it wants: two voices in one room, the second 40 ms later."""
    for clip in range(PAIRS):
        rng = np.random.default_rng(clip)
        starts = rng.uniform(0.1, 0.25)
        sounds = []
        for late in (0.04, 0.0):
            wave = rng.normal(size=8000).astype(np.float32) * np.float32(1e-4)
            start = round((starts + rng.normal() * 0.01 + late) * 8000)
            wave[start:6500] += rng.normal(size=6500 - start).astype(np.float32) * np.float32(0.1)
            sounds.append(Sound(wave, 8000))
        yield sounds[0], sounds[1]


def test_forty_milliseconds_of_silence_are_found_and_named() -> None:
    every = [tuple(vars(traits(sound)) for sound in pair) for pair in spoken()]
    found = judged(every)  # type: ignore[arg-type]
    assert "leading_silence" in failing(found)
    assert found["leading_silence"].larger == "fakes"
    assert max(found.values(), key=lambda one: 0 if one.told.learned else one.low).told.factor == "leading_silence"
