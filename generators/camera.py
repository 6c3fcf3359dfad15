"""What another camera, or another hand that holds it, makes of a clip: shake, blur, fewer pixels, noise.

Each function draws what chance decides, once, and gives an effect: a picture (h, w, 3) uint8 and its frame's number in, the
picture with the effect out, of the same size.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Picture

Floats = NDArray[np.float32]
Effect = Callable[[Picture, int], Picture]
Drawn = dict[str, str | float]
"""What chance decided, by name; effects add theirs to it."""

SWAYS = (0.4, 0.9, 1.7, 3.1, 5.3)
"""Times a second that a hand sways: the faster the less, as hand-held footage has it."""
TURN = 0.6
"""Radians that the camera turns, in shifts of its picture's shorter side."""
CHROMA = 0.5
"""Deviation of the noise in each colour by itself, in deviations of that in all of them together."""


def shake(clip: Clip, largest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """Shifts of at most so many pixels to each side, and turns with them, along a smooth path; enlarged to hide the border."""
    amount = largest * float(rng.uniform(0.5, 1))
    path = sway(amount, clip, rng)
    drawn["shake_pixels"] = round(amount, 2)
    middle = np.array([clip.width - 1, clip.height - 1]) / 2
    # The corner that is the furthest from the middle must not come into the picture where it is turned and shifted most.
    reach = amount + np.abs(path[:, 2]).max() * middle.max()
    zoom = 1 + reach / middle.min()
    places = []
    for x, y, angle in path:
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        places.append(np.column_stack([turn, middle + np.array([x, y]) - turn @ middle]))

    def effect(picture: Picture, frame: int) -> Picture:
        size = picture.shape[1::-1]
        moved = cv2.warpAffine(picture, places[frame], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)

    return effect


def sway(amount: float, clip: Clip, rng: np.random.Generator) -> NDArray[np.float64]:
    """Where a shaken camera shows each frame, (frames, 3): pixels to the right and down, radians; at most `amount` pixels."""
    seconds = np.arange(clip.frames) / float(clip.fps or 1)
    times = np.array(SWAYS)
    phases = rng.uniform(0, 2 * np.pi, (3, len(times)))
    waves = np.sin(2 * np.pi * times * rng.uniform(0.8, 1.25, (3, len(times))) * seconds[:, None, None] + phases) / times**0.8
    path = waves.sum(2) / (times**-0.8).sum()
    return np.asarray(amount * path * (1, 1, TURN / min(clip.width, clip.height)), np.float64)


def defocus(clip: Clip, largest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """The picture seen through a lens that is focused elsewhere: each point a disc of at most so many pixels of radius."""
    radius = largest * float(rng.uniform(0.5, 1))
    drawn["defocus_pixels"] = round(radius, 2)
    return lambda picture, frame: out_of_focus(picture, radius)


def out_of_focus(picture: Picture, radius: float) -> Picture:
    """Each point of the picture a disc of this radius in pixels. A large one is laid at half of the size: nobody sees it."""
    if radius > 4:
        small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        soft = out_of_focus(np.asarray(small, np.uint8), radius / 2)
        return np.asarray(cv2.resize(soft, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    side = np.arange(-np.ceil(radius), np.ceil(radius) + 1, dtype=np.float32)
    disc = np.clip(radius + 0.5 - np.hypot(side, side[:, None]), 0, 1)
    return np.asarray(cv2.filter2D(picture, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def motion(clip: Clip, largest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """The picture smeared along a line of at most so many pixels, as by a camera that moves while its shutter is open."""
    length, angle = largest * float(rng.uniform(0.5, 1)), float(rng.uniform(0, np.pi))
    drawn |= {"motion_pixels": round(length, 2), "motion_degrees": round(float(np.degrees(angle)), 1)}
    # A line is two halves of it, and so on: the mean of a picture and of itself shifted by a half, a quarter … of the length.
    steps, step = [], length / 2
    while step > 0.5:
        steps.append((round(step * np.cos(angle)), round(step * np.sin(angle))))
        step /= 2

    def effect(picture: Picture, frame: int) -> Picture:
        height, width = picture.shape[:2]
        room = sum(max(abs(x), abs(y)) for x, y in steps)
        wide = cv2.copyMakeBorder(picture, room, room, room, room, cv2.BORDER_REPLICATE)
        for x, y in steps:
            (down, up), (right, left) = (max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0))
            here = wide[up : len(wide) - down, left : wide.shape[1] - right]
            there = wide[down : len(wide) - up, right : wide.shape[1] - left]
            wide = np.asarray(cv2.addWeighted(here, 0.5, there, 0.5, 0))
        top, start = (len(wide) - height) // 2, (wide.shape[1] - width) // 2
        return np.ascontiguousarray(wide[top : top + height, start : start + width], np.uint8)

    return effect


def fewer_pixels(clip: Clip, least: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """The picture as a camera with at least `least` (0 … 1) of the pixels a side has it, enlarged again."""
    share = float(np.exp(rng.uniform(np.log(least), np.log((1 + least) / 2))))
    size = max(2, round(clip.width * share)), max(2, round(clip.height * share))
    drawn["resolution"] = f"{size[0]}x{size[1]}"

    def effect(picture: Picture, frame: int) -> Picture:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

    return effect


def noise(clip: Clip, largest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """Noise of a sensor, of a deviation of at most so many levels: most of it in brightness, some in colour."""
    level = largest * float(rng.uniform(0.5, 1))
    drawn["noise_levels"] = round(level, 2)
    return grainy(clip, level, rng)


def grainy(clip: Clip, level: float, rng: np.random.Generator) -> Effect:
    """Noise of this deviation in levels, new in each frame: a window on one large field of it that is turned and moved."""
    size = np.array([clip.height, clip.width]) + 128
    plane = rng.standard_normal(size, dtype=np.float32)[..., None]
    colour = np.stack([rng.standard_normal(size, dtype=np.float32) for _ in range(3)], 2)
    field = level * (plane + CHROMA * colour) / np.hypot(1, CHROMA)
    sheet = np.clip(np.round(128 + field), 0, 255).astype(np.uint8)
    turned = [np.ascontiguousarray(sheet[::down, ::right]) for down in (1, -1) for right in (1, -1)]
    # Two windows on the same field would look like noise that moves, so no frame has that of the one before.
    which = rng.integers(1, 4, clip.frames).cumsum() % 4
    corners = rng.integers(0, 128, (clip.frames, 2))

    def effect(picture: Picture, frame: int) -> Picture:
        y, x = corners[frame]
        laid = turned[which[frame]][y : y + picture.shape[0], x : x + picture.shape[1]]
        return np.asarray(cv2.addWeighted(picture, 1, laid, 1, -128), np.uint8)

    return effect
