"""Other light on a clip: of another colour, from another side, or hardly any. Effects are as in `generators.camera`."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Picture, Track
from generators.align import oval
from generators.camera import Drawn, Effect
from generators.pose import steady
from generators.warp import CLOSED, face_box, spread

Floats = NDArray[np.float32]
Curves = NDArray[np.uint8]
"""(1, 256, 3), what becomes of each level of each channel."""

NEUTRAL = 6504.0
"""Kelvin of the light under which sRGB's white is white."""
WRAP = 0.45
"""How far light reaches around a face's edge, as soft light does: cosine beyond which it reaches nothing."""
FADE = 8
"""Frames over which the shape of a face comes and goes in its light, where it comes and goes in the picture."""
FOLLOW = 0.35
"""Share of a new frame's shading in what is laid on: the net's points tremble."""
HALF = np.float32(0.75)
FAR, WALL = 2.5, 0.5
"""Widths of the face beyond which there is but a wall, and how much of the light's change from side to side it shows."""


def colour(clip: Clip, coldest: float, warmest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """The whole picture under colder or warmer light, evenly drawn on the scale that eyes have (1 / kelvin)."""
    # Half of the way to one end at least: what is close to neutral is no other light.
    end = coldest if rng.random() < 0.5 else warmest
    kelvin = 1 / (1 / NEUTRAL + (1 / end - 1 / NEUTRAL) * float(rng.uniform(0.5, 1)))
    drawn["kelvin"] = round(kelvin)
    curves = bent(1.0, kelvin)
    return lambda picture, frame: np.asarray(cv2.LUT(picture, curves), np.uint8)


def night(clip: Clip, least: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """Hardly any light: at least `least` (0 … 1) of it, paler, blue or like that of street lamps, and in a pool of its own."""
    share = least * float(rng.uniform(1, 1.6))
    kelvin = float(rng.choice([2700, 3400, 9000, 13000]))
    drawn |= {"night": round(share, 3), "kelvin": kelvin}
    pale = 0.45 * np.array([[0.30, 0.59, 0.11]] * 3, np.float32) + 0.55 * np.eye(3, dtype=np.float32)
    around, within = bent(0.55 * share, kelvin), bent(1.35 * share, kelvin)
    place = rng.uniform(0.25, 0.75, 2)
    x, y = np.linspace(0, 1, 64, dtype=np.float32), np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    pool = np.exp(-2.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2)).astype(np.float32)
    pool = np.asarray(cv2.resize(pool, (clip.width, clip.height), interpolation=cv2.INTER_CUBIC), np.float32).clip(0, 1)

    def effect(picture: Picture, frame: int) -> Picture:
        picture = np.asarray(cv2.transform(picture, pale), np.uint8)
        return between(cv2.LUT(picture, around), cv2.LUT(picture, within), pool)

    return effect


def light(clip: Clip, largest: float, rng: np.random.Generator, drawn: Drawn) -> Effect:
    """A lamp on one side, warm or cold, and shade on the other: by the face's shape, and smoothly everywhere else.

    `largest` is how much darker the shaded side becomes at most, 0 … 1. Azimuth is 0 at the camera, negative to the
    picture's left. Where no face is seen the light has only its side.
    """
    depth = largest * float(rng.uniform(0.5, 1))
    azimuth, height = float(rng.uniform(50, 85) * rng.choice([-1, 1])), float(rng.uniform(-10, 45))
    kelvin = 1 / float(rng.uniform(1 / 9000, 1 / 3500))
    drawn |= {
        "light": round(depth, 2),
        "light_azimuth": round(azimuth),
        "light_elevation": round(height),
        "kelvin": round(kelvin),
    }
    side, up = np.radians(azimuth), np.radians(height)
    towards = np.array([np.sin(side) * np.cos(up), -np.sin(up), -np.cos(side) * np.cos(up)], np.float32)
    dark, lit = bent(1 - depth, 7500), bent(1 + 0.8 * depth, kelvin)
    shade = _shading(clip, towards)

    def effect(picture: Picture, frame: int) -> Picture:
        return between(cv2.LUT(picture, dark), cv2.LUT(picture, lit), shade(frame))

    return effect


def bent(exposure: float, kelvin: float) -> Curves:
    """Curves for so many times the light, of that temperature; what would be too bright comes close to white slowly."""
    level = np.arange(256) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)[:, None] * exposure * tint(kelvin)
    soft = np.where(linear > 0.6, 0.6 + 0.4 * np.tanh((linear - 0.6) / 0.4), linear) if exposure > 1 else linear
    shown = np.where(soft <= 0.0031308, 12.92 * soft, 1.055 * np.maximum(soft, 1e-9) ** (1 / 2.4) - 0.055)
    return np.clip(np.round(255 * shown), 0, 255).astype(np.uint8)[None]


def tint(kelvin: float) -> NDArray[np.float64]:
    """Linear sRGB (3,) of light of this temperature, 1667 … 25000 K, as bright as white (Planckian locus: Kim et al. 2002)."""
    ratio = _planck(kelvin) / _planck(NEUTRAL)
    return np.asarray(ratio / (ratio @ (0.2126, 0.7152, 0.0722)), np.float64)


def _planck(kelvin: float) -> NDArray[np.float64]:
    t = 1e3 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.maximum(to_rgb @ (x / y, 1, (1 - x - y) / y), 0.01)


def between(under: Any, over: Any, share: Floats) -> Picture:
    """The picture `under` where the share (h, w) is 0, `over` where it is 1, and their weighted mean between."""
    return np.asarray(cv2.blendLinear(under, over, 1 - share, share), np.uint8)


def normals(mesh: Floats) -> Floats:
    """Unit vectors (468, 3) that point out of a face, towards the camera negative in z."""
    corners = mesh[CLOSED]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(mesh)
    for corner in range(3):
        np.add.at(total, CLOSED[:, corner], flat)
    # A triangle that faces the camera has a positive area with y down, so its product points away.
    return np.asarray(-total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-6), np.float32)


def _shading(clip: Clip, towards: Floats) -> Callable[[int], Floats]:
    """How much of the light from `towards` (3,) reaches each pixel in a frame, (h, w) in 0 … 1. Frames come in order."""
    middle, width, shaped = _places(clip)
    cell = max(1, min(clip.width, clip.height) // 128)
    size = -(-clip.width // cell), -(-clip.height // cell)
    x = np.arange(size[0], dtype=np.float32) * cell
    y = np.arange(size[1], dtype=np.float32)[:, None] * cell
    values: Floats | None = None

    def shade(frame: int) -> Floats:
        nonlocal values
        right, down = (x - middle[frame, 0]) / width, (y - middle[frame, 1]) / width
        # Around the face, a ball: it meets the face's own shape at its edge. Far from it, a wall.
        across, along = np.tanh(1.5 * right), 0.4 * np.tanh(0.8 * down)
        cosine = across * towards[0] + along * towards[1] - np.sqrt(np.maximum(1 - across**2 - along**2, 0.05)) * towards[2]
        plane = _reached(cosine)
        far = np.clip((np.hypot(right, down) - 0.7) / FAR, 0, 1)
        plane = plane + (1 - WALL) * far * (0.5 - plane)
        if shaped[frame] > 0 and clip.track is not None:
            mesh = steady(clip.track, frame)
            now = normals(mesh) @ towards
            values = now if values is None else values + np.float32(FOLLOW) * (now - values)
            small = mesh / np.float32(cell)
            x0, y0, x1, y1 = box = face_box(small, plane.shape, margin=0.05)
            if x1 > x0 and y1 > y0:
                (shape,), covered = spread(small, values[:, None], CLOSED, box)
                part = plane[y0:y1, x0:x1]
                alpha = shaped[frame] * oval(small, box, 0.2) * covered
                # Half of it is the head's: a face is flatter than the light on it, which brow and nose keep from its far side.
                lit = _reached((cv2.GaussianBlur(shape, (0, 0), 0.9) + cosine[y0:y1, x0:x1]) * HALF)
                part += alpha * (lit - part)
        else:
            values = None
        return np.asarray(cv2.resize(plane, (clip.width, clip.height), interpolation=cv2.INTER_LINEAR), np.float32)

    return shade


def _reached(cosine: Floats) -> Floats:
    """Share of a soft light that reaches a surface, from the cosine of its angle to the light."""
    return np.asarray(np.clip((cosine + WRAP) / (1 + WRAP), 0, 1), np.float32)


def _places(clip: Clip) -> tuple[Floats, float, Floats]:
    """The middle of the face (frames, 2) and its width in pixels, and how much of its shape shows (frames,), 0 … 1."""
    track: Track | None = clip.track
    if track is None or not track.seen.any():
        return (
            np.full((clip.frames, 2), (clip.width / 2, clip.height / 2), np.float32),
            clip.width / 4,
            np.zeros(clip.frames, np.float32),
        )
    seen, frames = np.flatnonzero(track.seen), np.arange(clip.frames)
    middles = (track.box[seen, :2] + track.box[seen, 2:]) / 2
    middle = np.stack([np.interp(frames, seen, middles[:, axis]) for axis in (0, 1)], 1)
    calm = cv2.GaussianBlur(middle, (1, 0), 0, sigmaY=4, borderType=cv2.BORDER_REPLICATE) if clip.frames > 1 else middle
    away = cv2.distanceTransform(track.seen[None].astype(np.uint8), cv2.DIST_L1, 3)[0]  # far, where all are seen
    width = float(np.median(track.box[seen, 2] - track.box[seen, 0]))
    return np.asarray(calm, np.float32), max(width, 1.0), np.clip(away / FADE, 0, 1).astype(np.float32)
