"""Backgrounds that we draw ourselves, out of focus behind a person: a backdrop, a room, the outdoors, a street at night."""

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from generators.camera import out_of_focus

Floats = NDArray[np.float32]
Place = Literal["backdrop", "room", "outdoors", "street"]
PLACES: tuple[Place, ...] = get_args(Place)


def scene(place: Place, width: int, height: int, rng: np.random.Generator) -> Picture:
    """A picture (height, width, 3) of such a place."""
    draw = {"backdrop": _backdrop, "room": _room, "outdoors": _outdoors, "street": _street}[place]
    picture, radius = draw(width, height, rng)
    soft = out_of_focus(np.clip(picture, 0, 255).astype(np.uint8), max(radius * min(width, height), 0.6))
    # What an eight-bit ramp shows as bands, a camera's grain hides.
    return np.clip(soft + rng.normal(0, 1.2, soft.shape[:2])[..., None], 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator, low: float, high: float, strength: float) -> Floats:
    """A colour (3,) of that brightness and at most that much of a hue."""
    hue = rng.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])
    return np.asarray(rng.uniform(low, high) * (1 + rng.uniform(0.3, 1) * strength * np.cos(hue)), np.float32)


def _grid(width: int, height: int) -> tuple[Floats, Floats]:
    """x and y in shares of the shorter side, from the middle."""
    unit = min(width, height)
    x = np.asarray((np.arange(width) - width / 2) / unit, np.float32)
    return x, np.asarray((np.arange(height) - height / 2) / unit, np.float32)[:, None]


def _glow(width: int, height: int, at: tuple[float, float], reach: float) -> Floats:
    """Light around a place, (height, width, 1): 1 there, falling off over `reach` shorter sides."""
    x, y = _grid(width, height)
    return np.asarray(1 / (1 + (np.square(x - at[0]) + np.square(y - at[1])) / reach**2), np.float32)[..., None]


def _backdrop(width: int, height: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """A studio's cloth with a spot of light on it and folds or mottles that one hardly sees."""
    light = _glow(width, height, (float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.5, 0.1))), float(rng.uniform(0.5, 0.9)))
    mottles = cv2.resize(rng.standard_normal((7, 9)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return _colour(rng, 90, 170, 0.35) * (0.35 + 0.8 * light) * (1 + 0.05 * mottles[..., None]), 0.01


def _room(width: int, height: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """A wall with a window, pictures, a shelf of books and a lamp, some of them."""
    unit = min(width, height)
    wall = _colour(rng, 120, 195, 0.15)
    picture = np.ascontiguousarray(np.broadcast_to(wall, (height, width, 3)), np.float32)

    def box(x: float, y: float, wide: float, tall: float, colour: Floats | tuple[float, ...]) -> None:
        """A rectangle: its upper left corner in shares of the width and the height, its sides in those of the shorter side."""
        left, top = round(x * width), round(y * height)
        corners = (left, top), (left + round(wide * unit), top + round(tall * unit))
        cv2.rectangle(picture, *corners, [float(c) for c in colour], -1)

    window = bool(rng.random() < 0.6)
    side = float(rng.choice([0.02, 0.72]))
    if window:
        frame = _colour(rng, 200, 235, 0.03)
        sky, green = (225, 236, 248), (150, 172, 140)
        box(side, 0.04, 0.34, 0.56, frame)
        for i in range(2):
            for j in range(2):
                pane = side + (0.02 + 0.155 * i) * unit / width, 0.04 + (0.02 + 0.265 * j) * unit / height
                box(*pane, 0.145, 0.255, sky)
                if j:
                    box(pane[0], pane[1] + 0.14 * unit / height, 0.145, 0.115, green)
    other = 0.66 if side < 0.5 else 0.03
    if rng.random() < 0.6:
        for row in range(3):
            top = 0.08 + 0.21 * row * unit / height
            x = 0.0
            while x < 0.33:
                book = float(rng.uniform(0.018, 0.045))
                tall = float(rng.uniform(0.11, 0.165))
                if rng.random() < 0.88:
                    box(other + x * unit / width, top + (0.175 - tall) * unit / height, book, tall, _colour(rng, 50, 170, 0.55))
                x += book
            box(other - 0.01, top + 0.175 * unit / height, 0.36, 0.022, _colour(rng, 70, 120, 0.2) * (1.15, 1, 0.8))
    else:
        for i in range(int(rng.integers(1, 3))):
            wide, tall = float(rng.uniform(0.16, 0.26)), float(rng.uniform(0.16, 0.3))
            x, y = other + float(rng.uniform(0, 0.06)), 0.08 + 0.42 * i
            box(x, y, wide, tall, _colour(rng, 40, 110, 0.2))
            box(x + 0.02 * unit / width, y + 0.02 * unit / height, wide - 0.04, tall - 0.04, _colour(rng, 110, 210, 0.4))
    if rng.random() < 0.7:  # a dado, a sofa or a table along the lower edge
        cv2.rectangle(
            picture,
            (0, round(height * float(rng.uniform(0.72, 0.84)))),
            (width, height),
            _colour(rng, 70, 150, 0.3).tolist(),
            -1,
        )
    at = (side + 0.1 - 0.5) * width / unit if window else float(rng.uniform(-0.4, 0.4))
    warm = np.array([1, 1, 1.02]) if window else np.array([1.08, 1, 0.86])
    return picture * (0.5 + 0.65 * _glow(width, height, (at, -0.3), 0.8)) * warm, 0.016


def _outdoors(width: int, height: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """Sky, a far ridge, trees and grass."""
    unit = min(width, height)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    high, low = np.array([120, 165, 220]) * rng.uniform(0.85, 1.1), np.array([222, 232, 240])
    picture = np.ascontiguousarray(
        np.broadcast_to(high + (low - high) * np.minimum(1.8 * y, 1), (height, width, 3)), np.float32
    )
    season = np.array([1, 1, 1]) if rng.random() < 0.7 else np.array([1.7, 0.95, 0.6])
    for depth, (top, colour) in enumerate(((0.42, (140, 160, 170)), (0.52, (105, 130, 100)))):
        ridge = np.cumsum(rng.normal(0, 1, 12))
        ridge = np.interp(np.linspace(0, 11, width), np.arange(12), ridge - ridge.mean())
        line = (top + 0.03 * ridge) * height
        points = (
            np.concatenate([np.stack([np.arange(width), line], 1), [[width, height], [0, height]]]).round().astype(np.int32)
        )
        cv2.fillPoly(picture, [points], [float(c) for c in np.array(colour) * (season if depth else 1)])
    cv2.rectangle(
        picture, (0, round(0.78 * height)), (width, height), [float(c) for c in np.array([118, 140, 78]) * season], -1
    )
    for _ in range(int(rng.integers(2, 5))):
        at, foot = float(rng.uniform(0, width)), float(rng.uniform(0.72, 0.85)) * height
        tall, leaf = float(rng.uniform(0.35, 0.7)) * unit, np.array([72, 102, 48]) * season * rng.uniform(0.7, 1.3)
        trunk = round(at - 0.02 * tall), round(foot - 0.5 * tall), round(at + 0.025 * tall), round(foot)
        cv2.rectangle(picture, trunk[:2], trunk[2:], (66, 54, 44), -1)
        for _ in range(160):
            angle, off = rng.uniform(0, 2 * np.pi), 0.32 * tall * np.sqrt(rng.random())
            place = round(at + off * np.cos(angle)), round(foot - 0.72 * tall + 1.15 * off * np.sin(angle))
            lit = 0.8 + 0.4 * rng.random() - 0.35 * off / tall * np.sin(angle)
            cv2.circle(picture, place, max(1, round(0.035 * tall)), [float(c) for c in leaf * lit], -1)
    return picture, 0.022


def _street(width: int, height: int, rng: np.random.Generator) -> tuple[Floats, float]:
    """Windows, lamps and cars at night, as the discs that a lens out of focus makes of them."""
    unit = min(width, height)
    dusk = np.linspace(1.3, 0.6, height, dtype=np.float32)[:, None, None]
    picture = np.ascontiguousarray(np.broadcast_to(_colour(rng, 26, 44, 0.3) * dusk, (height, width, 3)), np.float32)
    for _ in range(int(rng.integers(5, 9))):
        left, wide, top = rng.uniform(-0.1, 1) * width, rng.uniform(0.12, 0.3) * unit, rng.uniform(0, 0.5) * height
        cv2.rectangle(picture, (round(left), round(top)), (round(left + wide), height), _colour(rng, 22, 50, 0.2).tolist(), -1)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.02 * unit), np.float32)
    for _ in range(int(rng.integers(35, 70))):
        disc = np.zeros((height, width), np.uint8)
        place = round(rng.uniform(0, 1) * width), round(float(np.clip(rng.normal(0.45, 0.25), 0, 1)) * height)
        radius = round(float(rng.uniform(0.012, 0.035)) * unit * 16)
        cv2.circle(disc, (place[0] * 16, place[1] * 16), radius, 255, -1, cv2.LINE_AA, 4)
        lamp = np.array([(255, 190, 110), (255, 225, 170), (210, 230, 255), (255, 80, 60), (120, 230, 160)])[
            rng.choice(5, p=[0.4, 0.25, 0.15, 0.12, 0.08])
        ]
        x, y, wide, tall = cv2.boundingRect(disc)
        part = np.s_[y : y + tall, x : x + wide]
        picture[part] += (disc[part][..., None] / 255) * lamp * rng.uniform(0.2, 0.8)
    return picture, 0.003
