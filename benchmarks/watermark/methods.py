"""Ways to mark a picture, ours and those of the package invisible-watermark, all called alike."""

import importlib
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks import Look
from forgeline.clip import Picture
from watermark.evidence import Evidence
from watermark.keys import DEMO, ShardKey, master
from watermark.payload import Mark
from watermark.read import read
from watermark.strength import Marker
from watermark.tile import bits_for, folded, layout

HOW_TO_INSTALL = "pip install --no-deps invisible-watermark==0.2.0 onnxruntime PyWavelets"
RIVALS = ("dwtDct", "dwtDctSvd", "rivaGan")


class Method(Protocol):
    """Marks pictures with payloads that follow from a number, and reads them back."""

    name: str

    def mark(self, picture: Picture, number: int) -> Picture: ...

    def reads(self, picture: Picture, number: int, look: Look, small: bool) -> bool:
        """Whether payload `number` is read to the last bit from a picture that was `small` when it was marked."""


class Ours:
    """The mark of this project; each payload under another shard's key."""

    name = "ours"

    def mark(self, picture: Picture, number: int) -> Picture:
        height, width = picture.shape[:2]
        return Marker(key(number), mark(number, bits_for(width, height)))(picture)

    def reads(self, picture: Picture, number: int, look: Look, small: bool) -> bool:
        expected = mark(number, 32 if small else 64)
        if look == "aligned":
            return gather([picture], number, expected.bits).carries(key(number), expected)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            return reads_file(path, number, expected)


class Rival:
    """One of invisible-watermark's methods, with as many bits as ours; it has no search, so it looks where it marked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._package: Any = importlib.import_module("imwatermark")
        if name == "rivaGan":
            self._package.WatermarkEncoder.loadModel()

    def mark(self, picture: Picture, number: int) -> Picture:
        encoder = self._package.WatermarkEncoder()
        encoder.set_watermark("bits", self._bits(number, min(picture.shape[:2]) < 400).tolist())
        blue_first = np.ascontiguousarray(picture[..., ::-1])
        return np.ascontiguousarray(np.asarray(encoder.encode(blue_first, self.name), np.uint8)[..., ::-1])

    def reads(self, picture: Picture, number: int, look: Look, small: bool) -> bool:
        expected = self._bits(number, small)
        return bool(np.array_equal(self.bits(picture, len(expected)), expected))

    def bits(self, picture: Picture, count: int) -> NDArray[np.uint8]:
        """So many bits as the picture shows them; all 2, which is none, where the method takes no such picture."""
        decoder = self._package.WatermarkDecoder("bits", count)
        try:
            return np.asarray(decoder.decode(np.ascontiguousarray(picture[..., ::-1]), self.name)).astype(np.uint8)
        except RuntimeError:  # it takes no picture of less than 256 x 256 pixels
            return np.full(count, 2, np.uint8)

    def _bits(self, number: int, small: bool) -> NDArray[np.uint8]:
        count = 32 if small or self.name == "rivaGan" else 64
        return np.random.default_rng(number).integers(0, 2, count, np.uint8)

    def reads_most(self, pictures: list[Picture], number: int, small: bool) -> bool:
        """Whether the bits that most of a video's pictures show are those of payload `number`."""
        expected = self._bits(number, small)
        shown = [self.bits(picture, len(expected)) for picture in pictures]
        return bool(np.array_equal(np.mean(shown, 0) > 0.5, expected))


def rivals() -> list[Rival]:
    """Those that are installed."""
    if any(find_spec(name) is None for name in ("imwatermark", "pywt")):
        return []
    return [Rival(name) for name in RIVALS if name != "rivaGan" or find_spec("onnxruntime") is not None]


def key(number: int) -> ShardKey:
    """The shard key of payload `number`."""
    return master(DEMO).shard(f"benchmark {number % 16}")


def mark(number: int, bits: int) -> Mark:
    """Payload `number`."""
    ids = 1 << (40 if bits == 64 else 16)
    return Mark(int(np.random.default_rng(number).integers(0, ids)), bits)


def gather(pictures: list[Picture], number: int, bits: int) -> Evidence:
    """What pictures show whose tiles lie where they were put."""
    plan = layout(key(number).layout, bits)
    evidence = Evidence(plan)
    for picture in pictures:
        evidence.add(plan.bins(folded(picture)))
    return evidence


def reads_file(path: Path, number: int, expected: Mark) -> bool:
    """Whether the blind read finds just this mark in a file."""
    return any(found.mark == expected for found in read(path, [key(number)]).found)
