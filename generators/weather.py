"""Weather between the camera and the person: rain, snow, fog. Effects are as in `generators.camera`.

Drops and flakes are drawn once a clip on sheets without seams, near ones and far ones; a frame sees a window of each sheet
that moves by the wind and by how fast they fall at that distance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Mask, Picture
from generators.camera import Drawn, Effect
from generators.light import between

Floats = NDArray[np.float32]

FPS = 25.0
"""Frames a second of what has no rate of its own."""


def rain(clip: Clip, heaviest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """Streaks of rain, at most as dense as `heaviest` (0 … 1), under a sky that takes contrast away."""
    density, lean = heaviest * float(rng.uniform(0.5, 1)), float(rng.uniform(-0.3, 0.3))
    drawn |= {"rain": round(density, 2), "wind": round(lean, 2)}
    unit, rate = min(clip.width, clip.height), float(clip.fps or FPS)
    layers = []
    for near, count, brightness in ((0.35, 700, 70), (0.6, 260, 100), (1.0, 60, 110)):
        length, thick = 0.12 * near * unit, max(1.0, 0.004 * near * unit)

        def streak(
            sheet: Mask, place: NDArray[np.float64], long: float = length, wide: float = thick, level: int = brightness
        ) -> None:
            tall = long * float(rng.uniform(0.6, 1.3))
            ends = np.round(16 * np.stack([place, place + np.array([lean * tall, tall])])).astype(int).tolist()
            cv2.line(sheet, ends[0], ends[1], int(level * rng.uniform(0.5, 1)), round(wide), cv2.LINE_AA, 4)

        sheet = _sheet(clip, round(count * density), 2 * length, 0.35 + 0.4 * thick / 2, streak, rng)
        fall = 3.2 * near * unit / rate * float(rng.uniform(0.9, 1.1))
        # Heavy drops fall through a sheet in a few frames: each time it comes again it is shifted, or one would see it.
        layers.append(Layer(sheet, np.array([lean * fall, fall]), rng.uniform(0, 1, 2), rng.uniform(0, 1, 61)))
    dim = np.clip(np.round(np.arange(256) * 0.84 + 0.1 * 168), 0, 255).astype(np.uint8)
    grey = np.full((clip.height, clip.width, 3), (205, 212, 220), np.uint8)

    def effect(picture: Picture, frame: int) -> Picture:
        wet = np.asarray(cv2.LUT(picture, dim), np.uint8)
        return between(wet, grey, _seen(layers, clip, frame, 0.0))

    return effect


def snow(clip: Clip, heaviest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """Flakes, at most as dense as `heaviest` (0 … 1); the near ones large and out of focus."""
    density, lean = heaviest * float(rng.uniform(0.5, 1)), float(rng.uniform(-0.5, 0.5))
    drawn |= {"snow": round(density, 2), "wind": round(lean, 2)}
    unit, rate = min(clip.width, clip.height), float(clip.fps or FPS)
    layers = []
    for near, count, brightness in ((0.2, 500, 170), (0.45, 170, 200), (1.0, 40, 170)):
        size = max(0.6, 0.013 * near * unit)

        def flake(sheet: Mask, place: NDArray[np.float64], size: float = size, level: int = brightness) -> None:
            round_at = np.round(16 * place).astype(int).tolist()
            axes = np.round(16 * size * rng.uniform(0.6, 1.2) * rng.uniform(0.75, 1.2, 2)).astype(int).tolist()
            cv2.ellipse(
                sheet, round_at, axes, float(rng.uniform(0, 180)), 0, 360, int(level * rng.uniform(0.5, 1)), -1, cv2.LINE_AA, 4
            )

        sheet = _sheet(clip, round(count * density), 3 * size, 0.4 + 0.45 * size * near, flake, rng)
        fall = 0.75 * near * unit / rate * float(rng.uniform(0.9, 1.1))
        layers.append(Layer(sheet, np.array([lean * fall, fall]), rng.uniform(0, 1, 2), np.zeros(1)))
    pale = np.clip(np.round(np.arange(256) * 0.88 + 0.1 * 215), 0, 255).astype(np.uint8)
    white = np.full((clip.height, clip.width, 3), (243, 246, 250), np.uint8)
    sway = 0.012 * unit

    def effect(picture: Picture, frame: int) -> Picture:
        return between(np.asarray(cv2.LUT(picture, pale), np.uint8), white, _seen(layers, clip, frame, sway))

    return effect


def fog(clip: Clip, thickest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """Fog that hides at most `thickest` (0 … 1) of what is far and less of the person; its swathes drift."""
    density = thickest * float(rng.uniform(0.6, 1))
    drawn["fog"] = round(density, 2)
    rate = float(clip.fps or FPS)
    cells = 96
    swathes = sum(_clouds(rng, 2 * cells, scale) * share for scale, share in ((34, 0.8), (12, 0.2)))
    sheet = np.tile(np.asarray(swathes, np.float32), (2, 2))
    drift, start = rng.uniform(-1, 1, 2) * (9, 2.5) / rate, rng.uniform(0, 2 * cells, 2)
    grey = np.full((clip.height, clip.width, 3), np.array([202, 208, 212]) + rng.uniform(-12, 12), np.uint8)
    x, y = np.arange(cells, dtype=np.float32) / cells, np.arange(cells, dtype=np.float32)[:, None] / cells
    middle, size = _nearby(clip)

    def effect(picture: Picture, frame: int) -> Picture:
        place = (start + drift * frame) % (2 * cells) + cells / 2
        cloud = cv2.getRectSubPix(sheet, (cells, cells), tuple(place))
        right, down = (x - middle[frame, 0]) / size, np.maximum(y - middle[frame, 1], -9) / size
        body = np.exp(-0.7 * (np.square(right / (1 + 0.8 * np.clip(down, 0, 1.2))) + np.square(np.minimum(down, 0) / 1.25)))
        share = density * (1 - 0.6 * body) * (0.85 + 0.16 * cloud)
        share = cv2.resize(np.clip(share, 0, 0.97), (clip.width, clip.height), interpolation=cv2.INTER_CUBIC)
        return between(picture, grey, np.asarray(np.clip(share, 0, 1), np.float32))

    return effect


@dataclass(frozen=True)
class Layer:
    """What falls at one distance: a sheet of four equal quarters, and how it moves past the picture.

    `move` (x, y) in pixels a frame; `start` (x, y), and `jumps` to the side, one each time it has fallen through, in shares of
    a quarter.
    """

    sheet: Mask
    move: NDArray[np.float64]
    start: NDArray[np.float64]
    jumps: NDArray[np.float64]


def _sheet(
    clip: Clip, count: int, room: float, blur: float, put: Callable[[Mask, NDArray[np.float64]], None], rng: np.random.Generator
) -> Mask:
    """So many things put on a quarter that goes on at its other side, laid out twice in both directions."""
    size = np.array([clip.width, clip.height])
    margin = int(np.ceil(room))
    drawn = np.zeros((clip.height + 2 * margin, clip.width + 2 * margin), np.uint8)
    for place in rng.uniform(0, size, (count, 2)):
        put(drawn, place + margin)
    wide = np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur))
    # What lies in the margins belongs to the other side.
    for axis in (0, 1):
        wide = np.moveaxis(wide, axis, 0)
        inner, length = wide[margin:-margin].copy(), len(wide) - 2 * margin
        inner[:margin] = np.maximum(inner[:margin], wide[margin + length :][: len(inner[:margin])])
        inner[-margin:] = np.maximum(inner[-margin:], wide[:margin][-len(inner[-margin:]) :])
        wide = np.moveaxis(inner, 0, axis)
    return np.tile(wide, (2, 2)).astype(np.uint8)


def _seen(layers: list[Layer], clip: Clip, frame: int, sway: float) -> Floats:
    """How much of each pixel (h, w) is hidden by what falls, 0 … 1."""
    size = np.array([clip.width, clip.height])
    total = np.zeros((clip.height, clip.width), np.uint8)
    for number, layer in enumerate(layers):
        aside = sway * (1 + number) * np.sin(2 * np.pi * (frame / float(clip.fps or FPS) / (2.2 + number) + layer.start[0]))
        corner = layer.start * size - layer.move * frame
        turn = int(-corner[1] // size[1]) % len(layer.jumps)
        corner = (corner + np.array([aside + layer.jumps[turn] * size[0], 0])) % size
        window = cv2.getRectSubPix(layer.sheet, (clip.width, clip.height), tuple(corner + (size - 1) / 2))
        total = np.asarray(cv2.add(total, window), np.uint8)
    return np.asarray(total / np.float32(255), np.float32)


def _clouds(rng: np.random.Generator, side: int, scale: float) -> Floats:
    """Smooth noise (side, side) without a seam, of mean 0 and deviation 1."""
    waves = np.fft.fftfreq(side)
    soft = np.exp(-2 * np.square(np.pi * scale / 2.5) * (np.square(waves) + np.square(waves[:, None])))
    field = np.asarray(np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * soft).real, np.float32)
    deviation = max(float(field.std()), 1e-9)
    return np.asarray((field / deviation).astype(np.float32))


def _nearby(clip: Clip) -> tuple[NDArray[np.float64], float]:
    """The middle of the face in each frame (frames, 2) and its width, in shares of the picture; a guess where none is seen."""
    track, size = clip.track, np.array([clip.width, clip.height])
    if track is None or not track.seen.any():
        return np.tile([0.5, 0.6], (clip.frames, 1)), 0.3
    seen = np.flatnonzero(track.seen)
    middles = (track.box[seen, :2] + track.box[seen, 2:]) / 2 / size
    middle = np.stack([np.interp(np.arange(clip.frames), seen, middles[:, axis]) for axis in (0, 1)], 1)
    return middle, max(float(np.median(track.box[seen, 2] - track.box[seen, 0])) / clip.width, 0.02)
