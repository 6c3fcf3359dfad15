"""Heads of people who do not exist: a signed-distance model, ray-marched on one CPU thread. No assets, no weights.

Importing this module imports numba, and the first frame compiles the renderer (about 20 s; the result is cached on disk).
Same arguments, same bytes on one machine: no threads, no fast-math.

The head's own axes: x to the picture's right (the person's left), y up, z out of the face; the skull is 1.6 wide and the
eyes lie at y = 0.07. A distance function gives (a lower bound of) the distance to a surface, negative inside. Parts that
are far away are skipped by bounding spheres; a smooth union of width k changes nothing farther than k, so that is exact.
Smooth minimum: the quadratic one of Quilez, "Smooth minimum" (2013); soft shadows and occlusion: Quilez (2010).
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture

Colour = tuple[float, float, float]
"""Linear RGB, 0 to 1."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    return cast(_Function, numba.njit(cache=True, error_model="numpy")(function))


# People, and what changes from clip to clip and from frame to frame -------------------------------------------------------

SKIN_TONES: dict[str, Colour] = {
    "very light": (0.74, 0.505, 0.395),
    "light": (0.64, 0.40, 0.285),
    "medium": (0.52, 0.30, 0.19),
    "brown": (0.30, 0.165, 0.10),
    "dark": (0.145, 0.077, 0.049),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.035, 0.03, 0.028),
    "dark brown": (0.13, 0.075, 0.045),
    "brown": (0.28, 0.16, 0.08),
    "blond": (0.58, 0.42, 0.21),
    "red": (0.36, 0.12, 0.045),
    "grey": (0.46, 0.45, 0.44),
}
IRIS_COLOURS: dict[str, Colour] = {
    "dark brown": (0.13, 0.07, 0.035),
    "brown": (0.28, 0.16, 0.07),
    "green": (0.20, 0.30, 0.16),
    "blue": (0.17, 0.30, 0.42),
    "grey": (0.28, 0.32, 0.35),
}


@dataclass(frozen=True)
class _Hair:
    """How a style lies on the skull; lengths in head units, heights are y."""

    thickness: float
    front: float  # height of the hairline over the forehead
    side: float  # … before and above the ear
    nape: float  # … at the back
    curls: float = 0.0
    length: float = 0.0  # how far curtains of hair hang below the eyes; 0: none
    bun: float = 0.0  # radius
    slant: float = 0.0  # how much higher the hairline is on one side
    arch: float = 0.1  # how much lower it is beside the forehead's middle
    top: float = 9.0  # no hair above this height


HAIR_STYLES: dict[str, _Hair | None] = {
    "bald": None,
    "receding": _Hair(0.04, front=0.95, side=-0.10, nape=-0.65, top=0.62),
    "cropped": _Hair(0.045, front=0.88, side=0.02, nape=-0.55, arch=0.0),
    "short": _Hair(0.16, front=0.86, side=-0.05, nape=-0.60, slant=0.22),
    "curly": _Hair(0.27, front=0.80, side=-0.10, nape=-0.75, curls=1.0, arch=0.3),
    "bob": _Hair(0.11, front=0.56, side=-0.30, nape=-0.75, length=0.95),
    "long": _Hair(0.11, front=1.00, side=-0.30, nape=-0.75, length=1.75, slant=0.10, arch=1.3),
    "bun": _Hair(0.06, front=0.90, side=0.0, nape=-0.60, bun=0.36, arch=0.5),
}
_ON_HEAVY_JAWS, _ON_ANY_JAW = ("bald", "receding", "cropped"), ("short", "curly")


@dataclass(frozen=True)
class Person:
    """Someone who does not exist. Proportions are factors around 1; `age` in years; colours linear RGB."""

    skull: float
    jaw: float
    chin: float
    cheeks: float
    nose_width: float
    nose_length: float
    lips: float
    eye_size: float
    eye_spacing: float
    brow_height: float  # -1 … 1
    brow_weight: float
    age: int
    skin_tone: str
    skin: Colour
    freckles: float  # 0 … 1
    facial_hair: str  # "none", "stubble" or "beard"
    hair_style: str
    hair_colour: str
    hair: Colour
    iris_colour: str
    iris: Colour
    glasses: str  # "none", "round" or "square"
    texture: float  # which noise skin and hair are made of

    def attributes(self) -> dict[str, str | int]:
        """What one can see, in words: the ground truth of attribute labels."""
        group = "young" if self.age < 36 else "middle-aged" if self.age < 56 else "old"
        return {
            "age": self.age,
            "age_group": group,
            "skin_tone": self.skin_tone,
            "hair_style": self.hair_style,
            "hair_colour": "none" if self.hair_style == "bald" else self.hair_colour,
            "facial_hair": self.facial_hair,
            "iris_colour": self.iris_colour,
            "glasses": self.glasses,
        }


@dataclass(frozen=True)
class Pose:
    """The head: angles in radians (yaw towards the picture's right, pitch up, roll clockwise), shift in head units."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Expression:
    """0 is rest, 1 is full; `smile`, `brow` and the gaze go from -1 to 1 (right and up in the picture)."""

    jaw: float = 0.0
    smile: float = 0.0
    pucker: float = 0.0
    blink_right: float = 0.0
    blink_left: float = 0.0
    brow: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


@dataclass(frozen=True)
class Light:
    """A key light at angles (radians, from the camera's axis), and what comes from everywhere; warmth -1 cool … 1 warm."""

    azimuth: float
    elevation: float
    strength: float
    ambient: float
    warmth: float


@dataclass(frozen=True)
class Background:
    """One of BACKGROUNDS, out of focus, in two colours; `layout` seeds where things stand."""

    kind: str
    colour: Colour
    accent: Colour
    layout: int


@dataclass(frozen=True)
class Clothes:
    """A pullover: "plain", or with "stripes" of the second colour, or with a shirt "collar" of it."""

    pattern: str
    colour: Colour
    accent: Colour


@dataclass(frozen=True)
class Scene:
    """What stays the same through a clip."""

    light: Light
    background: Background
    clothes: Clothes


CLOTHES = ("plain", "stripes", "collar")


def person(rng: np.random.Generator, tone: float, style: float, years: float) -> Person:
    """Draws someone. `tone` (0 very light … 1 dark), `style` (a place in HAIR_STYLES, 0 … 1) and `years` (0 young … 1 old)
    are given, so that a caller can spread them: then even a few people don't look alike.
    """
    tones = list(SKIN_TONES.values())
    place = tone * (len(tones) - 1)
    below = min(int(place), len(tones) - 2)
    skin = _mix(tones[below], tones[below + 1], place - below)
    fair = tone < 0.45
    hair_style = list(HAIR_STYLES)[min(int(style * len(HAIR_STYLES)), len(HAIR_STYLES) - 1)]
    youngest = 35 if hair_style in ("bald", "receding") else 20
    age = youngest + int(years * (78 - youngest))
    heavy = hair_style in _ON_HEAVY_JAWS or (hair_style in _ON_ANY_JAW and bool(rng.random() < 0.5))
    jaw = float(rng.uniform(1.0, 1.12) if heavy else rng.uniform(0.88, 1.0))
    colour = str(rng.choice(["black", "dark brown", "brown", "blond", "red"] if fair else ["black", "dark brown"]))
    grey = float(np.clip((age - 42) / 22, 0, 1)) * float(rng.uniform(0.5, 1))
    hair = _mix(HAIR_COLOURS[colour], HAIR_COLOURS["grey"], grey)
    iris = str(rng.choice(list(IRIS_COLOURS) if fair else ["dark brown", "brown"]))
    return Person(
        skull=float(rng.uniform(0.93, 1.06)),
        jaw=jaw,
        chin=float(rng.uniform(0.95, 1.07)),
        cheeks=float(rng.uniform(0.85, 1.2)),
        nose_width=float(rng.uniform(0.85, 1.3)),
        nose_length=float(rng.uniform(0.9, 1.12)),
        lips=float(rng.uniform(0.75, 1.25)),
        eye_size=float(rng.uniform(0.88, 1.2)),
        eye_spacing=float(rng.uniform(0.94, 1.08)),
        brow_height=float(rng.uniform(-1, 1)),
        brow_weight=float(rng.uniform(0.9, 1.4) if heavy else rng.uniform(0.6, 1.0)),
        age=age,
        skin_tone=list(SKIN_TONES)[round(place)],
        skin=skin,
        freckles=float(rng.uniform(0, 1)) if fair and rng.random() < 0.4 else 0.0,
        facial_hair=str(rng.choice(["none", "none", "stubble", "beard"])) if heavy else "none",
        hair_style=hair_style,
        hair_colour="grey" if grey > 0.5 else colour,
        hair=hair,
        iris_colour=iris,
        iris=IRIS_COLOURS[iris],
        glasses=str(rng.choice(["none", "none", "none", "round", "square"])),
        texture=float(rng.uniform(0, 50)),
    )


def scene(rng: np.random.Generator) -> Scene:
    """Draws light, background and clothes."""
    light = Light(
        azimuth=float(rng.uniform(-0.95, 0.95)),
        elevation=float(rng.uniform(0.25, 0.85)),
        strength=float(rng.uniform(0.8, 1.15)),
        ambient=float(rng.uniform(0.75, 1.25)),
        warmth=float(rng.uniform(-0.6, 0.8)),
    )
    background = Background(str(rng.choice(list(BACKGROUNDS))), _wall(rng), _dye(rng), int(rng.integers(2**31)))
    return Scene(light, background, Clothes(str(rng.choice(CLOTHES)), _dye(rng), _wall(rng)))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (p + (q - p) * share for p, q in zip(a, b, strict=True))
    return red, green, blue


def _wall(rng: np.random.Generator) -> Colour:
    """A quiet colour."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.30), rng.uniform(0.12, 0.60))


def _dye(rng: np.random.Generator) -> Colour:
    """A colour of clothes and book covers."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.10, 0.70), rng.uniform(0.03, 0.40))


# Frames -------------------------------------------------------------------------------------------------------------------

_TILE = 8
_FOCAL = 3.3  # camera's focal length in half picture widths
_CAMERA_Y, _CAMERA_Z = 0.0, 6.2
_PIVOT = np.array([0.0, -0.95, -0.30])  # where the head turns on the neck


def frame(who: Person, expression: Expression, pose: Pose, where: Scene, size: int, rng: np.random.Generator) -> Picture:
    """A (size, size, 3) picture of one moment; `rng` draws the sensor's noise."""
    linear = np.empty((size, size, 3))
    _render(linear, backdrop(where.background, size), _numbers(who, expression, pose, where))
    shown = linear.astype(np.float32) * np.float32(0.80)
    shown = shown * (2.51 * shown + 0.03) / (shown * (2.43 * shown + 0.59) + 0.14)  # filmic curve: Narkowicz, ACES (2015)
    np.clip(shown, 0, 1, out=shown)
    np.power(shown, np.float32(1 / 2.2), out=shown)
    grain = rng.standard_normal((size, size, 1), np.float32) * np.float32(0.008)
    grain = grain + rng.standard_normal((size, size, 3), np.float32) * np.float32(0.005)
    return np.clip((shown + grain * (np.float32(1.3) - shown)) * 255 + 0.5, 0, 255).astype(np.uint8)


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """From the head's axes to the world's."""
    cy, sy, cp, sp, cr, sr = *_turn(yaw), *_turn(-pitch), *_turn(-roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return cast(NDArray[np.float64], about_z @ about_x @ about_y)


def _turn(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)


def _numbers(who: Person, expression: Expression, pose: Pose, where: Scene) -> Any:
    """Everything the compiled functions read, as one numpy record of float64."""
    e, light, clothes = expression, where.light, where.clothes
    turn = _rotation(pose.yaw, pose.pitch, pose.roll)
    body = _rotation(0.3 * pose.yaw, 0.0, 0.15 * pose.roll)
    shift = np.array([pose.x, pose.y, 0.0])
    eye = turn.T @ (np.array([0.0, _CAMERA_Y, _CAMERA_Z]) - _PIVOT - shift) + _PIVOT
    to_body = body.T @ turn
    neck = to_body.T @ (np.array([0.0, -2.05, -0.42]) - _PIVOT) + _PIVOT
    towards = turn.T @ np.array(
        [
            math.sin(light.azimuth) * math.cos(light.elevation),
            math.sin(light.elevation),
            math.cos(light.azimuth) * math.cos(light.elevation),
        ]
    )
    hair = HAIR_STYLES[who.hair_style]
    style = asdict(hair or _Hair(0.0, 9.0, 9.0, 9.0, top=-9.0))
    beard = {"none": 0.0, "stubble": 0.35, "beard": 1.0}[who.facial_hair]
    values: dict[str, float] = {
        **{f"turn{i}{j}": turn[i, j] for i in range(3) for j in range(3)},
        **{f"body{i}{j}": to_body[i, j] for i in range(3) for j in range(3)},
        **dict(zip(("eye_x", "eye_y", "eye_z"), eye, strict=True)),
        **dict(zip(("neck_x", "neck_y", "neck_z"), neck, strict=True)),
        **dict(zip(("light_x", "light_y", "light_z"), towards, strict=True)),
        "key_r": light.strength * (1 + 0.22 * light.warmth),
        "key_g": light.strength,
        "key_b": light.strength * (1 - 0.25 * light.warmth),
        "ambient": light.ambient,
        "skull": who.skull,
        "jaw": who.jaw,
        "chin": who.chin,
        "cheeks": who.cheeks,
        "nose_width": who.nose_width,
        "nose_length": who.nose_length,
        "lips": who.lips,
        "brow_height": who.brow_height,
        "brow_weight": who.brow_weight,
        "eye_spacing": 0.30 * who.eye_spacing,
        "lids_right": 0.062 * who.eye_size * (1 - e.blink_right) - 0.012 * max(e.smile, 0.0),
        "lids_left": 0.062 * who.eye_size * (1 - e.blink_left) - 0.012 * max(e.smile, 0.0),
        "blink_right": e.blink_right,
        "blink_left": e.blink_left,
        "open": 0.26 * e.jaw,
        "smile": e.smile,
        "pucker": e.pucker,
        "mouth_half": 0.235 + 0.05 * e.smile - 0.09 * e.pucker,
        "corner_y": -0.600 + 0.055 * e.smile,
        "corner_z": 0.665 - 0.02 * e.smile + 0.05 * e.pucker,
        "brow": e.brow,
        "gaze_x": 0.05 * e.gaze_x,
        "gaze_y": 0.05 * e.gaze_y,
        "age": min(max((who.age - 28) / 45, 0.0), 1.0),
        "freckles": who.freckles,
        "beard": beard,
        "texture": who.texture,
        "glasses": {"none": 0.0, "round": 1.0, "square": 2.0}[who.glasses],
        "has_hair": float(hair is not None),
        **{f"hair_{name}": value for name, value in style.items()},
        "stripes": float(clothes.pattern == "stripes"),
        "collar": float(clothes.pattern == "collar"),
    }
    for name, colour in (
        ("skin", who.skin),
        ("hair", who.hair),
        ("iris", who.iris),
        ("cloth", clothes.colour),
        ("accent", clothes.accent),
    ):
        values |= dict(zip((f"{name}_r", f"{name}_g", f"{name}_b"), colour, strict=True))
    return np.array([tuple(values.values())], dtype=[(name, np.float64) for name in values])[0]


# Backgrounds --------------------------------------------------------------------------------------------------------------

_Canvas = NDArray[np.float32]


@lru_cache(maxsize=2)
def backdrop(background: Background, size: int) -> NDArray[np.float64]:
    """The background as (size, size, 3) linear RGB, read-only; drawn once a clip."""
    rng = np.random.default_rng(background.layout)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    shade = 1.15 - 0.5 * y + 0.25 * (x - 0.5) * rng.uniform(-1, 1)
    canvas = (np.array(background.colour, np.float32) * shade[..., None]).astype(np.float32)
    blur = BACKGROUNDS[background.kind](canvas, np.array(background.accent, np.float32), rng)
    canvas = cv2.GaussianBlur(canvas, (0, 0), blur * size)
    corner = 1 - 0.5 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    done: NDArray[np.float64] = np.asarray(canvas * corner[..., None], np.float64)
    done.flags.writeable = False
    return done


def _studio(canvas: _Canvas, accent: _Canvas, rng: np.random.Generator) -> float:
    """A lit sheet: one soft spot behind the head."""
    size = len(canvas)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    spot = np.exp(-((x - rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.3, 0.6)) ** 2) / rng.uniform(0.08, 0.2))
    canvas *= (0.55 + 0.9 * spot)[..., None]
    canvas += 0.12 * accent * (1 - spot)[..., None]
    return 0.004


def _window(canvas: _Canvas, accent: _Canvas, rng: np.random.Generator) -> float:
    """A wall with a bright window of four panes, and a curtain of the accent colour."""
    left, top = rng.choice([-0.08, 0.62]) + rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.12)
    wide, high = rng.uniform(0.36, 0.5), rng.uniform(0.5, 0.7)
    sky = np.array([0.75, 0.9, 1.05]) * rng.uniform(0.8, 1.2)
    _box(canvas, left - 0.02, top - 0.02, wide + 0.04, high + 0.04, np.array([0.5, 0.48, 0.45]))
    for column in (0, 1):
        for row in (0, 1):
            pane = left + 0.01 + column * wide / 2, top + 0.01 + row * high / 2
            _box(canvas, *pane, wide / 2 - 0.02, high / 2 - 0.02, sky * (1 - 0.25 * row))
    for edge in (left - 0.1, left + wide):
        for fold in range(4):
            _box(canvas, edge + 0.027 * fold, top - 0.1, 0.03, high + 0.25, accent * (0.7 + 0.25 * (fold % 2)))
    return 0.012


def _shelves(canvas: _Canvas, accent: _Canvas, rng: np.random.Generator) -> float:
    """Rows of books."""
    wood = np.array([0.20, 0.12, 0.07]) * rng.uniform(0.5, 1.6)
    canvas *= 0.35
    row = rng.uniform(0.05, 0.2)
    while row < 1.2:
        left = -0.05
        while left < 1.0:
            wide, high = rng.uniform(0.018, 0.05), rng.uniform(0.12, 0.19)
            if rng.random() < 0.9:
                _box(canvas, left, row - high, wide, high, _dye(rng) if rng.random() < 0.6 else accent * rng.uniform(0.3, 1.3))
            left += wide + 0.003
        _box(canvas, -0.1, row, 1.2, 0.022, wood)
        row += 0.24
    return 0.009


def _room(canvas: _Canvas, accent: _Canvas, rng: np.random.Generator) -> float:
    """A wall with pictures, a lamp and a sofa's back."""
    size = len(canvas)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    for left in (rng.uniform(0.02, 0.10), rng.uniform(0.70, 0.80)):
        top, wide, high = rng.uniform(0.05, 0.25), rng.uniform(0.14, 0.24), rng.uniform(0.14, 0.26)
        _box(canvas, left - 0.012, top - 0.012, wide + 0.024, high + 0.024, np.array([0.06, 0.05, 0.04]))
        _box(canvas, left, top, wide, high, accent * rng.uniform(0.6, 1.5) + 0.1)
    _box(canvas, -0.1, rng.uniform(0.66, 0.8), 1.2, 0.6, accent * 0.5)
    lamp_x, lamp_y = rng.choice([0.08, 0.92]), rng.uniform(0.35, 0.55)
    glow = np.exp(-((x - lamp_x) ** 2 + (y - lamp_y) ** 2) / 0.03)
    canvas += glow[..., None] * np.array([0.9, 0.65, 0.35], np.float32)
    return 0.011


def _garden(canvas: _Canvas, accent: _Canvas, rng: np.random.Generator) -> float:
    """Leaves and sky far out of focus."""
    size = len(canvas)
    canvas[:] = np.array([0.16, 0.24, 0.09], np.float32)
    for _ in range(160):
        at = rng.uniform(-0.1, 1.1, 2)
        leaf: NDArray[Any] = np.array([0.12, 0.22, 0.05]) * rng.uniform(0.3, 2.2) + np.array([0.1, 0.05, 0.0]) * rng.random()
        if at[1] < 0.45 and rng.random() < 0.35:
            leaf = np.array([0.75, 0.9, 1.0])
        if rng.random() < 0.06:
            leaf = accent * 1.5
        centre = (round(at[0] * size), round(at[1] * size))
        cv2.circle(canvas, centre, max(1, round(rng.uniform(0.015, 0.06) * size)), leaf.tolist(), -1)
    return 0.018


def _evening(canvas: _Canvas, accent: _Canvas, rng: np.random.Generator) -> float:
    """A street at night: discs of light."""
    size = len(canvas)
    canvas *= 0.16
    for _ in range(34):
        at, radius = rng.uniform(0, 1, 2), rng.uniform(0.015, 0.045)
        lamp = np.array([1.0, 0.62, 0.28]) if rng.random() < 0.6 else accent * 2 + rng.uniform(0, 0.3, 3)
        centre = (round(at[0] * size), round((0.1 + 0.7 * at[1]) * size))
        disc = np.zeros(canvas.shape[:2], np.float32)
        cv2.circle(disc, centre, max(1, round(radius * size)), 1.0, -1)
        canvas += disc[..., None] * (lamp * rng.uniform(0.2, 0.7)).astype(np.float32)
    return 0.007


def _box(canvas: _Canvas, left: float, top: float, wide: float, high: float, colour: NDArray[Any] | Colour) -> None:
    size = len(canvas)
    x0, x1 = (max(round(side * size), 0) for side in (left, left + wide))
    y0, y1 = (max(round(side * size), 0) for side in (top, top + high))
    canvas[y0:y1, x0:x1] = colour


BACKGROUNDS: dict[str, Callable[[_Canvas, _Canvas, np.random.Generator], float]] = {
    "studio": _studio,
    "window": _window,
    "shelves": _shelves,
    "room": _room,
    "garden": _garden,
    "evening": _evening,
}
"""Each draws on a canvas that holds a wall, and returns how far out of focus it is (share of the picture's width)."""


# The compiled part: primitives --------------------------------------------------------------------------------------------


@_compiled
def _join(a: float, b: float, k: float) -> float:
    """Smooth union."""
    h = max(k - abs(a - b), 0.0)
    return min(a, b) - h * h * 0.25 / k


@_compiled
def _cut(a: float, b: float, k: float) -> float:
    """Smooth intersection; with -b: a without b."""
    h = max(k - abs(a - b), 0.0)
    return max(a, b) + h * h * 0.25 / k


@_compiled
def _ball(x: float, y: float, z: float, radius: float) -> float:
    return math.sqrt(x * x + y * y + z * z) - radius


@_compiled
def _egg(x: float, y: float, z: float, a: float, b: float, c: float) -> float:
    """Ellipsoid with half axes a, b, c (a bound, not the exact distance)."""
    x, y, z = x / a, y / b, z / c
    radial = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / a, y / b, z / c
    return radial * (radial - 1.0) / (math.sqrt(x * x + y * y + z * z) + 1e-6)


@_compiled
def _rod(
    x: float, y: float, z: float, ax: float, ay: float, az: float, bx: float, by: float, bz: float, r0: float, r1: float
) -> float:
    """Capsule from a (radius r0) to b (radius r1)."""
    x, y, z = x - ax, y - ay, z - az
    bx, by, bz = bx - ax, by - ay, bz - az
    h = min(max((x * bx + y * by + z * bz) / (bx * bx + by * by + bz * bz), 0.0), 1.0)
    return _ball(x - bx * h, y - by * h, z - bz * h, r0 + (r1 - r0) * h)


@_compiled
def _step(a: float, b: float, x: float) -> float:
    """0 at a, 1 at b, smooth between; a may be the larger."""
    t = min(max((x - a) / (b - a), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@_compiled
def _bell(x: float, width: float) -> float:
    return math.exp(-(x * x) / (width * width))


@_compiled
def _lattice(x: int, y: int, z: int) -> float:
    n = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
    n = (n ^ (n >> 13)) * 1274126177
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


@_compiled
def _noise(x: float, y: float, z: float) -> float:
    """Value noise, 0 to 1, with features of size 1."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    x, y, z = x - i, y - j, z - k
    x, y, z = x * x * (3 - 2 * x), y * y * (3 - 2 * y), z * z * (3 - 2 * z)
    i, j, k = int(i), int(j), int(k)
    front = (_lattice(i, j, k) * (1 - x) + _lattice(i + 1, j, k) * x) * (1 - y)
    front += (_lattice(i, j + 1, k) * (1 - x) + _lattice(i + 1, j + 1, k) * x) * y
    back = (_lattice(i, j, k + 1) * (1 - x) + _lattice(i + 1, j, k + 1) * x) * (1 - y)
    back += (_lattice(i, j + 1, k + 1) * (1 - x) + _lattice(i + 1, j + 1, k + 1) * x) * y
    return front * (1 - z) + back * z


@_compiled
def _cloudy(x: float, y: float, z: float) -> float:
    """Three octaves of noise, 0 to about 0.9, mean 0.44."""
    return 0.5 * _noise(x, y, z) + 0.25 * _noise(x * 2, y * 2, z * 2 + 7) + 0.125 * _noise(x * 4, y * 4, z * 4 + 13)


@_compiled
def _near(x: float, y: float, z: float, reach: float) -> bool:
    return x * x + y * y + z * z < reach * reach


# The compiled part: shapes ------------------------------------------------------------------------------------------------

_SKIN, _HAIR, _EYE, _MOUTH, _CLOTH, _NOTHING = range(6)


@_compiled
def _lid_line(x: float, s: Any) -> tuple[float, float, float]:
    """Of the eye on x's side: outward offset from its middle, half opening there, y of the middle of the opening."""
    out = abs(x) - s.eye_spacing
    lids, blink = (s.lids_right, s.blink_right) if x < 0 else (s.lids_left, s.blink_left)
    bow = 1 - (out / 0.150) ** 2
    return out, lids * bow, 0.070 + 0.08 * out - 0.03 * blink


@_compiled
def _eye_region(d: float, x: float, y: float, z: float, s: Any) -> float:
    """Brow ridge, socket and lids, joined to the skin distance d."""
    side = abs(x)
    lift = 0.02 * s.brow_height
    d = _join(d, _rod(side, y, z, 0.10, 0.24 + lift, 0.73, 0.42, 0.22 + lift, 0.58, 0.075, 0.06), 0.16)
    d = _cut(d, -_ball(side - s.eye_spacing, y - 0.07, z - 0.83, 0.17), 0.16)
    out, opening, middle = _lid_line(x, s)
    slit = opening - abs(y - middle)
    lid = max(_ball(out, y - 0.07, z - 0.585, 0.178), slit * 0.75)
    lid = max(lid, -_ball(out, y - 0.07, z - 0.585, 0.150))
    d = _join(d, lid, 0.035)
    return max(d, -max(_ball(out, y - 0.07, z - 0.62, 0.166), -slit * 0.7))


@_compiled
def _nose(d: float, x: float, y: float, z: float, s: Any) -> float:
    side, long, wide = abs(x), s.nose_length, s.nose_width
    d = _join(d, _rod(x, y, z, 0.0, 0.17, 0.72, 0.0, -0.22 * long, 0.95, 0.055, 0.085), 0.10)
    d = _join(d, _ball(x, y + 0.25 * long, z - 0.955, 0.085 + 0.018 * wide), 0.08)
    d = _join(d, _egg(side - 0.115 * wide, y + 0.285 * long, z - 0.855, 0.078, 0.07, 0.09), 0.07)
    return _cut(d, -_egg(side - 0.058 * wide, y + 0.345 * long, z - 0.945, 0.036, 0.03, 0.05), 0.03)


@_compiled
def _lip_region(d: float, x: float, y: float, z: float, s: Any) -> float:
    """Lips, the opening between them, and the folds beside them, joined to the skin distance d."""
    side, half, open_, full, smile = abs(x), s.mouth_half, s.open, s.lips, s.smile
    forward = 0.04 * s.pucker
    corner = s.corner_y
    upper = _rod(
        side, y, z, 0.0, -0.565, 0.845 + forward, half * 0.55, -0.56 + 0.012 * smile, 0.81 + forward,
        0.040 * full, 0.040 * full,
    )  # fmt: skip
    upper = _join(
        upper,
        _rod(side, y, z, half * 0.5, -0.56 + 0.012 * smile, 0.812 + forward, half, corner, s.corner_z, 0.04 * full, 0.022),
        0.04,
    )
    lower = _rod(
        side, y + open_, z, 0.0, -0.640, 0.835 + forward, half * 0.55, -0.632 + 0.015 * smile, 0.805 + forward,
        0.054 * full, 0.048 * full,
    )  # fmt: skip
    beside = -0.630 - open_ * 0.93 + 0.015 * smile  # the lower lip's end stays at the corner of the mouth
    lower = _join(
        lower,
        _rod(side, y, z, half * 0.5, beside, 0.81 + forward, half, corner, s.corner_z, 0.046 * full, 0.022),
        0.04,
    )
    bent = y + 0.602 + open_ * 0.5 - 0.06 * smile * (side / half) ** 2
    d = _cut(d, -_egg(x, bent, z - 0.78, half * 0.93, 0.008 + open_ * 0.56, 0.24), 0.02)
    d = _join(d, _join(upper, lower, 0.008), 0.055)
    d = _cut(d, -_egg(x, bent, z - 0.80, half * 0.86, 0.004 + open_ * 0.50, 0.30), 0.012)
    fold = _rod(side, y, z, 0.19, -0.34, 0.84, 0.30 + 0.03 * smile, -0.50, 0.72, 0.006, 0.003)
    return _cut(d, -fold, 0.045 + 0.04 * smile + 0.035 * s.age)


@_compiled
def _ear(d: float, side: float, y: float, z: float, s: Any) -> float:
    shell = _egg(side - 0.82 * s.skull, y + 0.02, z + 0.22, 0.07, 0.24, 0.15)
    shell = _cut(shell, -_egg(side - 0.90 * s.skull, y, z + 0.17, 0.06, 0.14, 0.08), 0.05)
    return _join(d, shell, 0.06)


@_compiled
def _hair_shape(x: float, y: float, z: float, near: float, s: Any) -> float:
    """Hair; `near` is the least distance known so far, beyond which detail does not matter."""
    side, thick = abs(x), s.hair_thickness
    cap = _egg(x, y - 0.42, z + 0.24, 0.80 * s.skull + thick, 0.92 + thick, 0.95 + thick)
    hang = 9.0
    if s.hair_length > 0.0:
        middle, half = 0.5 * (0.55 - s.hair_length), 0.5 * (0.75 + s.hair_length)
        hang = _egg(side - 0.70 * s.skull, y - middle, z + 0.30, 0.24, half, 0.44)
        hang = _join(hang, _egg(x, y - middle, z + 0.56, 0.80, half, 0.34), 0.2)
    if min(cap, hang) - 0.3 > near:
        return min(cap, hang) - 0.3
    if s.hair_curls > 0.0:
        cap -= 0.15 * (_noise(x * 4.5 + s.texture, y * 4.5, z * 4.5) - 0.5)
        cap -= 0.07 * (_noise(x * 11, y * 11, z * 11 + s.texture) - 0.5)
    else:
        strands = 0.35 * thick * _noise(x * 9 + s.texture, y * 2.5, z * 9)
        cap -= strands
        hang -= strands
    # The hairline: over the forehead, down before the ear, down to the nape.
    front = s.hair_front + s.hair_slant * (1.4 * x - 0.4) - s.hair_arch * x * x
    front += 0.035 * (_noise(x * 26, 1.0, s.texture) - 0.5)
    forward, behind = _step(-0.12, 0.42, z), _step(-0.18, -0.55, z)
    line = s.hair_side + (front - s.hair_side) * forward
    line += (s.hair_nape - line) * behind
    cap += 0.75 * thick * (1 - _step(-0.02, 0.32, y - line))  # it grows out of the scalp
    hair = _cut(cap, (line - y) * 0.65, 0.04)
    if s.hair_top < 5.0:
        hair = _cut(hair, (y - s.hair_top - 0.25 * behind) * 0.8, 0.10)
    hair = _join(hair, hang, 0.15)
    if s.hair_bun > 0.0:
        hair = _join(hair, _ball(x, y - 1.42, z + 0.50, s.hair_bun), 0.06)
    return hair


@_compiled
def _nearest(x: float, y: float, z: float, s: Any) -> tuple[float, int]:
    """Distance to the nearest surface, and what it is."""
    side = abs(x)
    dropped = s.open * _step(-0.52, -0.72, y + s.open * 0.5) * _step(-0.5, 0.1, z)
    jaw_y = y + dropped
    skin = _egg(x, y - 0.38, z + 0.22, 0.80 * s.skull, 0.93, 0.95)
    if y < 1.1 + skin:
        skin = _join(skin, _egg(x, jaw_y + 0.28, z - 0.02, 0.62 * s.jaw, 0.95, 0.76), 0.28)
        skin = _join(skin, _ball(x, jaw_y + 1.02 * s.chin, z - 0.46, 0.19), 0.30)
        skin = _join(skin, _ball(side - 0.40 * s.jaw, y + 0.20, z - 0.46, 0.20 * s.cheeks), 0.28)
        skin = _join(skin, _rod(x, y, z, 0.0, -0.8, -0.25, s.neck_x, s.neck_y, s.neck_z, 0.45, 0.50), 0.16)
    best, what = skin, _SKIN
    reach = max(skin, 0.0)
    if _near(side - 0.30, y - 0.12, z - 0.66, 0.36 + 0.16 + reach):
        skin = _eye_region(skin, x, y, z, s)
        eye = _ball(side - s.eye_spacing, y - 0.07, z - 0.585, 0.163)
        best, what = (eye, _EYE) if eye < skin else (skin, _SKIN)
    if _near(x, y + 0.08, z - 0.85, 0.38 + 0.10 + reach):
        skin = _nose(skin, x, y, z, s)
        if what == _SKIN or skin < best:
            best, what = skin, _SKIN
    if _near(x, y + 0.62 + 0.5 * s.open, z - 0.72, 0.42 + 0.14 + reach):
        skin = _lip_region(skin, x, y, z, s)
        if what == _SKIN or skin < best:
            best, what = skin, _SKIN
        teeth = min(
            _egg(x, y + 0.570, z - 0.56, 0.20, 0.055, 0.20),
            _egg(x, y + s.open + 0.655, z - 0.54, 0.18, 0.045, 0.19),
        )
        if teeth < best:
            best, what = teeth, _MOUTH
    if _near(side - 0.84, y, z + 0.21, 0.27 + 0.06 + reach):
        skin = _ear(skin, side, y, z, s)
        if what == _SKIN or skin < best:
            best, what = skin, _SKIN
    if s.has_hair > 0.0:
        hair = _hair_shape(x, y, z, best, s)
        if hair < best:
            best, what = hair, _HAIR
    if y + 1.0 < best:
        cloth = _cloth_shape(x, y, z, s)
        if cloth < best:
            best, what = cloth, _CLOTH
    return best, what


@_compiled
def _on_body(x: float, y: float, z: float, s: Any) -> tuple[float, float, float]:
    """A point of the head's axes in those of the shoulders, which turn less."""
    y, z = y + 0.95, z + 0.30
    return (
        s.body00 * x + s.body01 * y + s.body02 * z,
        s.body10 * x + s.body11 * y + s.body12 * z - 0.95,
        s.body20 * x + s.body21 * y + s.body22 * z - 0.30,
    )


@_compiled
def _cloth_shape(x: float, y: float, z: float, s: Any) -> float:
    x, y, z = _on_body(x, y, z, s)
    cloth = _egg(x, y + 2.46, z + 0.45, 1.75, 0.85, 0.95)
    ring = math.sqrt(x * x + (z + 0.38) * (z + 0.38)) - 0.55
    ring = math.sqrt(ring * ring + ((y + 1.64 + 0.10 * (z + 0.38)) * 0.6) ** 2) - 0.06
    return _join(cloth, ring, 0.16)


@_compiled
def _distance(x: float, y: float, z: float, s: Any) -> float:
    return _nearest(x, y, z, s)[0]


# The compiled part: surfaces. Each gives red, green, blue, gloss, and how the normal leans --------------------------------

_Surface = tuple[float, float, float, float, float, float, float]


@_compiled
def _skin_surface(x: float, y: float, z: float, s: Any) -> _Surface:
    side, open_, half = abs(x), s.open, s.mouth_half
    patch = _cloudy(x * 5 + s.texture * 3, y * 5, z * 5) - 0.44
    fine = _cloudy(x * 38, y * 38, z * 38) - 0.44
    pore = _noise(x * 95, y * 95, z * 95) - 0.5
    r = s.skin_r * (1 + 0.22 * patch + 0.10 * fine + 0.06 * pore)
    g = s.skin_g * (1 + 0.30 * patch + 0.13 * fine + 0.07 * pore)
    b = s.skin_b * (1 + 0.34 * patch + 0.14 * fine + 0.07 * pore)
    gloss = 0.22
    lean_y = 0.08 * (fine + pore)
    # Blood under cheeks, nose and ears.
    red = 0.35 * math.exp(-((side - 0.42) ** 2 + (y + 0.28) ** 2) / 0.06)
    red += 0.30 * math.exp(-(x * x + (y + 0.26) ** 2) / 0.02) + 0.25 * _step(0.7, 0.85, side)
    g *= 1 - 0.35 * red
    b *= 1 - 0.38 * red
    if s.freckles > 0.0:
        spot = _step(0.66, 0.75, _noise(x * 22 + s.texture, y * 22, z * 22))
        spot *= s.freckles * math.exp(-((side - 0.25) ** 2 + (y + 0.15) ** 2) / 0.12)
        r, g, b = r * (1 - 0.25 * spot), g * (1 - 0.40 * spot), b * (1 - 0.50 * spot)
    under = math.exp(-((side - s.eye_spacing) ** 2 / 0.03 + (y - 0.02) ** 2 / 0.012)) * (1 + 0.6 * s.age)
    r, g, b = r * (1 - 0.12 * under), g * (1 - 0.19 * under), b * (1 - 0.17 * under)
    if s.has_hair == 0.0 or s.hair_top < 5.0:  # a shaved or bald scalp: a shade of roots at the sides
        roots = 0.16 * _step(0.30, 0.0, z) * _step(-0.4, 0.1, y) * _step(1.2, 0.7, y)
        r, g, b = r * (1 - roots), g * (1 - roots), b * (1 - 0.8 * roots)
    if z < (-0.2 if s.beard > 0.0 else 0.2) or y < -1.25:
        return r, g, b, gloss, 0.0, lean_y, 0.0
    if s.age > 0.0:
        lean_y += s.age * _wrinkles(x, y, s)

    # Lips.
    edge = 1 - min(side / (half * 1.04), 1.0) ** 2.2
    between = -0.60 - open_ * 0.5
    lift = 0.06 * s.smile * (side / half) ** 2
    bow = -0.525 - 0.02 * _bell(x, 0.03) + 0.012 * (s.lips - 1)
    top = between + (bow - between) * edge + lift
    bottom = between + (-0.70 - open_ - 0.02 * (s.lips - 1) - between) * edge + lift
    lip = _step(top + 0.018, top - 0.012, y) * _step(bottom - 0.018, bottom + 0.012, y)
    lip *= _step(0.5, 0.62, z) * _step(half * 1.06, half * 0.9, side)
    line = 0.85 + 0.3 * _noise(x * 60, y * 9, 0.0)
    r = r * (1 - lip) + lip * (0.56 * s.skin_r + 0.19) * line * 0.92
    g = g * (1 - lip) + lip * (0.43 * s.skin_g + 0.03) * line
    b = b * (1 - lip) + lip * (0.46 * s.skin_b + 0.05) * line
    gloss += 0.33 * lip

    # Beard: roots as stubble, dense as hair.
    if s.beard > 0.0:
        line = -0.44 - 0.12 * _bell(side - 0.34, 0.16) + 0.75 * _step(0.42, 0.04, z)
        grown = _step(line + 0.06, line - 0.10, y) * (1 - lip) * _step(-0.16, 0.06, z) * _step(-1.25, -1.08, y)
        grown *= 1 - _bell(x, 0.13) * _bell(y + 0.76 + open_, 0.035) * 0.6
        grown *= 1 - 0.9 * _step(-0.36, -0.30, y) * _step(0.34, 0.28, side)
        grain = _noise(x * 110, y * 70, z * 110)
        grown *= s.beard * (0.55 + 0.75 * grain)
        grown = min(grown * (0.75 if s.beard > 0.5 else 1.0), 0.92)
        shade = 0.5 + 0.5 * grain
        r = r * (1 - grown) + grown * (s.hair_r * shade + 0.02)
        g = g * (1 - grown) + grown * (s.hair_g * shade + 0.02)
        b = b * (1 - grown) + grown * (s.hair_b * shade + 0.02)
        lean_y += 0.5 * grown * (grain - 0.5)
        gloss *= 1 - 0.7 * grown

    # Brows.
    out = side - s.eye_spacing
    brow_y = 0.285 + 0.03 * s.brow_height + 0.06 * s.brow - 0.35 * out * out - 0.02 * out
    thick = 0.042 * s.brow_weight * (1.0 - _step(0.05, 0.22, out) * 0.6)
    hairs = _step(thick, thick * 0.45, abs(y - brow_y)) * _step(-0.225, -0.15, out) * _step(0.24, 0.13, out)
    hairs = min(hairs * _step(0.4, 0.5, z) * (0.5 + 0.55 * _noise(x * 70 + y * 50, y * 14, 3.0)), 0.88)
    r = r * (1 - hairs) + hairs * s.hair_r * 0.6
    g = g * (1 - hairs) + hairs * s.hair_g * 0.6
    b = b * (1 - hairs) + hairs * s.hair_b * 0.6

    # Lashes: dark where the lids' rims meet the eye.
    out, opening, middle = _lid_line(x, s)
    rim = _bell(y - middle - opening, 0.013) + 0.35 * _bell(y - middle + opening, 0.011)
    keep = 1 - 0.85 * min(rim, 1.0) * _step(0.165, 0.14, abs(out)) * _step(0.5, 0.6, z)
    r, g, b = r * keep, g * keep, b * keep

    # The inside of the mouth.
    deep = _step(0.74, 0.64, z) * _step(top + 0.01, top - 0.02, y) * _step(bottom - 0.01, bottom + 0.02, y)
    deep *= _step(half, half * 0.9, side)
    return r * (1 - 0.8 * deep), g * (1 - 0.93 * deep), b * (1 - 0.93 * deep), gloss, lean_y * 0.6, lean_y, 0.0


@_compiled
def _wrinkles(x: float, y: float, s: Any) -> float:
    """How much age's lines lean the skin's normal up or down: forehead, crow's feet, under the eyes."""
    side = abs(x)
    wave = 0.02 * math.sin(x * 9 + s.texture) + 0.03 * x * x
    lines = 0.42 * math.sin((y + wave) * 62) * _bell(y - 0.56, 0.17) * _step(0.52, 0.25, side)
    out, up = side - s.eye_spacing - 0.14, y - 0.06
    lines += 0.55 * math.sin(math.atan2(up, out + 0.08) * 16) * _bell(out - 0.06, 0.07) * _bell(up, 0.12)
    lines += 0.45 * math.sin((y + 0.5 * out * out) * 75) * _bell(y + 0.06, 0.05) * _bell(out + 0.14, 0.13)
    return lines


@_compiled
def _hair_surface(x: float, y: float, z: float, s: Any) -> _Surface:
    angle = math.atan2(x, z + 0.3)
    coarse = _noise(angle * 22 + s.texture, y * 2.5 + z * 1.5, 1.0)
    fine = _noise(angle * 75, y * 4 + z * 2, 2.0)
    if s.hair_curls > 0.0:
        coarse, fine = _noise(x * 20, y * 20, z * 20), _noise(x * 48, y * 48, z * 48)
    shade = 0.40 + 0.50 * coarse + 0.45 * fine
    lean = (coarse - 0.5) * 0.5 + (fine - 0.5) * 0.4
    return s.hair_r * shade, s.hair_g * shade, s.hair_b * shade, 0.0, lean, 0.3 * (fine - 0.5), 0.0


@_compiled
def _eye_surface(x: float, y: float, z: float, s: Any) -> _Surface:
    out = abs(x) - s.eye_spacing
    across, up = (out if x > 0 else -out) - s.gaze_x, y - 0.07 - s.gaze_y
    radius = math.sqrt(across * across + up * up)
    vein = _cloudy(x * 40, y * 40, 7.0)
    r, g, b = 0.80, 0.77 * (1 - 0.10 * vein), 0.75 * (1 - 0.10 * vein)
    if radius < 0.082:
        spoke = 0.55 + 0.8 * _noise(math.atan2(up, across) * 9 + 5, radius * 30, s.texture)
        ring = _step(0.080, 0.062, radius)
        blend = _step(0.082, 0.076, radius)
        pupil = _step(0.030, 0.036, radius)
        r = r * (1 - blend) + blend * (s.iris_r * spoke * ring * pupil + 0.015)
        g = g * (1 - blend) + blend * (s.iris_g * spoke * ring * pupil + 0.015)
        b = b * (1 - blend) + blend * (s.iris_b * spoke * ring * pupil + 0.015)
    _, opening, middle = _lid_line(x, s)
    shade = 0.45 + 0.55 * _step(0.0, 0.055, opening * 1.05 - (y - middle))  # the upper lid's shadow
    corner = _step(0.10, 0.15, abs(out))
    return r * shade, g * shade * (1 - 0.25 * corner), b * shade * (1 - 0.25 * corner), 1.2, 0.0, 0.0, 0.0


@_compiled
def _mouth_surface(x: float, y: float, z: float, s: Any) -> _Surface:
    gap = 0.78 + 0.22 * _step(0.0, 0.25, abs(math.sin(x * 34.0)))
    shade = gap * (_step(0.60, 0.76, z) * 0.75 + 0.1)
    return 0.78 * shade, 0.74 * shade, 0.66 * shade, 0.4, 0.0, 0.0, 0.0


@_compiled
def _cloth_surface(x: float, y: float, z: float, s: Any) -> _Surface:
    x, y, z = _on_body(x, y, z, s)
    knit = 0.8 + 0.4 * _noise(x * 45, y * 30, z * 45)
    ring = math.sqrt(x * x + (z + 0.38) * (z + 0.38))
    share = s.stripes * _step(-0.2, 0.2, math.sin(y * 24)) + s.collar * _step(0.68, 0.64, ring) * _step(-1.95, -1.85, y)
    r = s.cloth_r + (s.accent_r - s.cloth_r) * share
    g = s.cloth_g + (s.accent_g - s.cloth_g) * share
    b = s.cloth_b + (s.accent_b - s.cloth_b) * share
    fold = 0.3 * (_cloudy(x * 3, y * 2, z * 3) - 0.44)
    return r * knit, g * knit, b * knit, 0.03, fold, fold, 0.0


# The compiled part: light and camera --------------------------------------------------------------------------------------

_FAR = 10.0
_SURFACE = 0.003


@_compiled
def _march(px: float, py: float, pz: float, dx: float, dy: float, dz: float, t: float, spread: float, s: Any) -> float:
    """How far along the ray from p the surface lies, or where a cone that opens by `spread` first comes close to it."""
    d = 0.0
    for _ in range(72):
        d = _distance(px + dx * t, py + dy * t, pz + dz * t, s) - spread * t
        if d < _SURFACE:
            return t
        t += d * 0.95
        if t > _FAR:
            return _FAR
    return t if spread > 0.0 or d < 0.02 else _FAR  # a ray along a surface runs out of steps


@_compiled
def _shadow(x: float, y: float, z: float, s: Any) -> float:
    lit, t = 1.0, 0.04
    for _ in range(9):
        d = _distance(x + s.light_x * t, y + s.light_y * t, z + s.light_z * t, s)
        lit = min(lit, 0.5 + 0.5 * d / (0.11 * t))
        if lit <= 0.0:
            return 0.0
        if d > 0.4 or t > 1.8:  # off into the open
            break
        t += max(d, 0.05)
    return lit * lit * (3 - 2 * lit)


@_compiled
def _lit(x: float, y: float, z: float, dx: float, dy: float, dz: float, what: int, s: Any) -> tuple[float, float, float]:
    """The colour of the surface point, of material `what`, seen along d."""
    e = 0.003
    a, b = _distance(x + e, y - e, z - e, s), _distance(x - e, y - e, z + e, s)
    c, d = _distance(x - e, y + e, z - e, s), _distance(x + e, y + e, z + e, s)
    nx, ny, nz = a - b - c + d, -a - b + c + d, -a + b - c + d
    unit = 1 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
    nx, ny, nz = nx * unit, ny * unit, nz * unit
    gx, gy, gz = nx, ny, nz

    if what == _SKIN:
        r, g, b, gloss, lean_x, lean_y, lean_z = _skin_surface(x, y, z, s)
    elif what == _HAIR:
        r, g, b, gloss, lean_x, lean_y, lean_z = _hair_surface(x, y, z, s)
    elif what == _EYE:
        r, g, b, gloss, lean_x, lean_y, lean_z = _eye_surface(x, y, z, s)
    elif what == _MOUTH:
        r, g, b, gloss, lean_x, lean_y, lean_z = _mouth_surface(x, y, z, s)
    else:
        r, g, b, gloss, lean_x, lean_y, lean_z = _cloth_surface(x, y, z, s)
    nx, ny, nz = nx + lean_x, ny + lean_y, nz + lean_z
    unit = 1 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12)
    nx, ny, nz = nx * unit, ny * unit, nz * unit

    facing = nx * s.light_x + ny * s.light_y + nz * s.light_z
    lit = _shadow(x + gx * 0.012, y + gy * 0.012, z + gz * 0.012, s) if facing > -0.35 else 0.0
    near, far = (
        _distance(x + gx * 0.04, y + gy * 0.04, z + gz * 0.04, s),
        _distance(x + gx * 0.17, y + gy * 0.17, z + gz * 0.17, s),
    )
    open_ = min(max(1.0 - 2.2 * max(0.04 - near, 0.0) - 2.4 * max(0.17 - far, 0.0), 0.15), 1.0)

    direct = max(facing, 0.0) * lit
    wrapped = max((facing + 0.35) / 1.35, 0.0) * (0.35 + 0.65 * lit)
    dr, dg, db = direct, direct, direct
    if what == _SKIN:  # light that went through the skin comes out red, and beyond the shadow's edge
        dr, dg, db = 0.55 * direct + 0.52 * wrapped, 0.65 * direct + 0.30 * wrapped, 0.70 * direct + 0.21 * wrapped
    elif what == _HAIR:
        dr = dg = db = 0.6 * direct + 0.3 * wrapped

    hx, hy, hz = s.light_x - dx, s.light_y - dy, s.light_z - dz
    unit = 1 / math.sqrt(hx * hx + hy * hy + hz * hz)
    hx, hy, hz = hx * unit, hy * unit, hz * unit
    shine = 0.0
    if what == _HAIR:
        # Strands shine in a band across them (Kajiya and Kay 1989); they hang down, away from the crown.
        tx, ty, tz = x * 0.4, -1.0, (z + 0.4) * 0.4
        along = tx * gx + ty * gy + tz * gz
        tx, ty, tz = tx - along * gx, ty - along * gy, tz - along * gz
        unit = 1 / (math.sqrt(tx * tx + ty * ty + tz * tz) + 1e-6)
        across = (tx * hx + ty * hy + tz * hz) * unit + 1.2 * lean_y
        shine = max(1 - across * across, 0.0) ** 22 * lit * max(facing + 0.2, 0.0) * (0.035 + 0.30 * g)
    elif gloss > 0.0 and facing > 0.0:
        power = 180.0 if what == _EYE else 18.0 if what == _SKIN else 40.0
        shine = gloss * max(nx * hx + ny * hy + nz * hz, 0.0) ** power * lit * 0.5
    rim = max(1 + nx * dx + ny * dy + nz * dz, 0.0) ** 4 * 0.09 * open_
    sky = (0.31 + 0.16 * ny) * open_ * s.ambient
    bounce = max(-nx * s.light_x + nz * 0.6, 0.0) * 0.12 * open_
    return (
        r * (dr * s.key_r * 1.25 + sky + bounce) + shine * s.key_r + rim,
        g * (dg * s.key_g * 1.22 + sky + bounce) + shine * s.key_g + rim,
        b * (db * s.key_b * 1.18 + sky * 1.04 + bounce) + shine * s.key_b + rim * 1.05,
    )


@_compiled
def _ray(u: float, v: float, s: Any) -> tuple[float, float, float]:
    """Direction, in the head's axes, of the picture's point u, v (-1 to 1, v up)."""
    x, y, z = u / _FOCAL, v / _FOCAL, -1.0
    unit = 1 / math.sqrt(x * x + y * y + 1)
    x, y, z = x * unit, y * unit, z * unit
    return (
        s.turn00 * x + s.turn10 * y + s.turn20 * z,
        s.turn01 * x + s.turn11 * y + s.turn21 * z,
        s.turn02 * x + s.turn12 * y + s.turn22 * z,
    )


@_compiled
def _frames_cover(dx: float, dy: float, dz: float, depth: float, pixel: float, s: Any) -> tuple[float, float]:
    """How much of the pixel the spectacles' rims cover, and how much their lenses do. `pixel` is its width at the face."""
    if s.glasses == 0.0 or dz > -0.3:
        return 0.0, 0.0
    t = (0.885 - s.eye_z) / dz
    x, y = s.eye_x + dx * t, s.eye_y + dy * t - 0.045
    side = abs(x)
    rim, lens = 9.0, 0.0
    if t < depth and side < 0.8 and abs(y) < 0.4:
        half, high, round_ = (0.225, 0.215, 0.21) if s.glasses == 1.0 else (0.245, 0.185, 0.07)
        qx, qy = abs(side - s.eye_spacing - 0.015) - half + round_, abs(y) - high + round_
        edge = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2) + min(max(qx, qy), 0.0) - round_
        rim = abs(edge) - 0.013
        lens = _step(0.0, -0.03, edge)
        if side < s.eye_spacing - half + 0.03:  # the bridge
            rim = min(rim, abs(y - 0.06 - 0.5 * (0.06 - side * side)) - 0.014)
    # The arms: the ray against the line from the rim's edge to the ear.
    sign = 1.0 if s.eye_x + dx * t > 0 else -1.0
    ax, ay, az = sign * (s.eye_spacing + 0.25), 0.10, 0.885
    bx, by, bz = sign * 0.83 * s.skull - ax, 0.13 - ay, -0.20 - az
    ox, oy, oz = s.eye_x - ax, s.eye_y - ay, s.eye_z - az
    bb, bd = bx * bx + by * by + bz * bz, bx * dx + by * dy + bz * dz
    ob, od = ox * bx + oy * by + oz * bz, ox * dx + oy * dy + oz * dz
    along = min(max((ob - bd * od) / (bb - bd * bd), 0.0), 1.0)
    reach = bd * along - od
    if reach < depth + 0.01:
        gap = _ball(ox + dx * reach - bx * along, oy + dy * reach - by * along, oz + dz * reach - bz * along, 0.014)
        rim = min(rim, gap)
    return min(max(0.5 - rim / pixel, 0.0), 1.0), lens


@_compiled
def _sample(
    u: float, v: float, start: float, pixel: float, br: float, bg: float, bb: float, s: Any
) -> tuple[float, float, float, float, int]:
    """Red, green, blue, depth and material at the picture's point u, v; b… is the background there."""
    dx, dy, dz = _ray(u, v, s)
    t = _march(s.eye_x, s.eye_y, s.eye_z, dx, dy, dz, start, 0.0, s) if start < _FAR - 0.1 else _FAR
    what = _NOTHING
    r, g, b = br, bg, bb
    if t < _FAR:
        x, y, z = s.eye_x + dx * t, s.eye_y + dy * t, s.eye_z + dz * t
        what = _nearest(x, y, z, s)[1]
        r, g, b = _lit(x, y, z, dx, dy, dz, what, s)
    rim, lens = _frames_cover(dx, dy, dz, t, pixel, s)
    if lens > 0.0:
        glare = 0.05 * lens * _step(0.35, 0.75, math.sin(3.0 * u + 5.0 * v + 2.0 * s.light_x))
        r, g, b = r * (1 - 0.06 * lens) + glare, g * (1 - 0.05 * lens) + glare, b * (1 - 0.05 * lens) + glare
    return r * (1 - rim) + rim * 0.03, g * (1 - rim) + rim * 0.028, b * (1 - rim) + rim * 0.03, t, what


@_compiled
def _render(out: NDArray[np.float64], behind: NDArray[np.float64], s: Any) -> None:
    """Fills `out` with linear RGB. The pixels of a tile start where a cone around it first comes near a surface."""
    size = out.shape[0]
    pixel = 2.0 / size
    depth = np.full((size, size), _FAR)
    what = np.full((size, size), _NOTHING, np.int8)
    wide = _TILE * 0.75 * pixel / _FOCAL
    width = pixel / _FOCAL * 5.4
    for tile_y in range(0, size, _TILE):
        for tile_x in range(0, size, _TILE):
            dx, dy, dz = _ray((tile_x + _TILE / 2) * pixel - 1, 1 - (tile_y + _TILE / 2) * pixel, s)
            start = _march(s.eye_x, s.eye_y, s.eye_z, dx, dy, dz, 3.0, wide, s)
            for j in range(tile_y, min(tile_y + _TILE, size)):
                for i in range(tile_x, min(tile_x + _TILE, size)):
                    r, g, b = behind[j, i, 0], behind[j, i, 1], behind[j, i, 2]
                    if start < _FAR or s.glasses > 0.0:
                        u, v = (i + 0.5) * pixel - 1, 1 - (j + 0.5) * pixel
                        r, g, b, depth[j, i], what[j, i] = _sample(u, v, start - 0.02, width, r, g, b, s)
                    out[j, i, 0], out[j, i, 1], out[j, i, 2] = r, g, b
    _soften(out, depth, what, s)


@_compiled
def _soften(out: NDArray[np.float64], depth: NDArray[np.float64], what: NDArray[np.int8], s: Any) -> None:
    """Smooths edges: four rays through an edge's pixel say how much of each neighbour's surface it shows."""
    size = out.shape[0]
    pixel = 2.0 / size
    sharp = out.copy()
    for j in range(1, size - 1):
        for i in range(1, size - 1):
            edge = False
            nearest = depth[j, i]
            for m, n in ((j - 1, i), (j + 1, i), (j, i - 1), (j, i + 1)):
                nearest = min(nearest, depth[m, n])
                edge |= what[m, n] != what[j, i] or abs(depth[m, n] - depth[j, i]) > 0.12
            if not edge:
                continue
            out[j, i] = 0.0
            for du, dv in ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125)):
                dx, dy, dz = _ray((i + 0.5 + du) * pixel - 1, 1 - (j + 0.5 + dv) * pixel, s)
                t = _march(s.eye_x, s.eye_y, s.eye_z, dx, dy, dz, nearest - 0.15, 0.0, s)
                seen = _NOTHING
                if t < _FAR:
                    seen = _nearest(s.eye_x + dx * t, s.eye_y + dy * t, s.eye_z + dz * t, s)[1]
                like_y, like_x, least = j, i, 9.0
                for m, n in ((j, i), (j - 1, i), (j + 1, i), (j, i - 1), (j, i + 1)):
                    unlike = abs(depth[m, n] - t) + (0.0 if what[m, n] == seen else 1.0)
                    if unlike < least:
                        like_y, like_x, least = m, n, unlike
                for k in range(3):
                    out[j, i, k] += 0.25 * sharp[like_y, like_x, k]
