"""Enhancement of a face: after any generator, as forgers do it to hide what is soft or noisy, or of a real one alone.

By itself it takes noise out and raises detail. A team's own net can do more: super-resolution (of the kind of ESRGAN, Wang
et al. 2018), or blind face restoration (of the kind of GFPGAN, Wang et al. 2021). Whatever does it, the picture keeps its
size, and only the face is changed, with a soft edge.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Track, spans
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.weights import Given
from generators.align import Place, cut, ffhq, five, in_picture, laid, mask_of, oval, place, resized
from generators.blend import mix
from generators.onnx import Levels, Net, inputs_of, open_net, planes, shown, side_of
from generators.plugin import Casting, Stream, face_of
from generators.pose import steady
from generators.warp import Box, face_box

Floats = NDArray[np.float32]
Method = Literal["classical", "super_resolution", "face_restoration"]

EDGE = 0.12
"""Width of the soft edge, in widths of the face."""
ROOM = 1.3
"""Side of the square that a super-resolution net sees, in sides of the face."""
MOST = 256
"""Side of the largest picture that is given to a net of free size: 1024 pixels after it is enough for any face."""
SCALES = range(1, 9)
STEADINESS = 0.9
"""Share of what was known of the clip's noise that each new frame leaves."""
KEPT = 0.7
"""Share of a pixel's light that a new frame leaves where nothing but noise differs."""


class Restore(Section):
    """The face without its noise and with clearer detail, or as a team's net restores it; all else is kept bit for bit."""

    method: Method = "classical"
    """`classical` needs no net; `super_resolution` takes a net that enlarges any picture by a whole number, and
    `face_restoration` one that gives back faces cut out as in FFHQ."""
    detail: Annotated[float, Field(gt=0, le=2)] = 1.0
    """How much the classical method raises detail at most; each clip gets between half of it and all of it."""
    net: Given | None = None
    """The team's ONNX file, for the other methods: one float RGB picture (1, 3, side, side) in and one out."""
    levels: Levels | None = None
    """What the net takes and gives for 0 … 255; none means `0..1` for super-resolution, `-1..1` for face restoration."""

    role: ClassVar[Role] = "augmentation"
    content_class: ClassVar[str] = "augmented_real"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"

    @property
    def source_type(self) -> str:
        """An adjustment, or an edit by a net that was taught how faces look."""
        return "algorithmicallyEnhanced" if self.net is None else "compositeWithTrainedAlgorithmicMedia"

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.method == "classical") != (self.net is None):
            raise ValueError("has a net without a method that uses it" if self.net else f"names no net for {self.method}")
        if self.net is None and self.levels is not None:
            raise ValueError("has levels, but no net that takes them")
        return self

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its face enhanced wherever it is seen. An image without a track (a painted portrait) is all face."""
        (target,) = parents
        track = face_of(target) if target.track or target.media_type == "video" else None
        changed = np.ones(target.frames, np.bool_) if track is None else in_picture(target, track.seen)
        if self.net is None:
            enhance: Enhance = _Classical(self.detail * float(rng.uniform(0.5, 1)))
        else:
            enhance = _by_net(self.net, self.method, self.levels, target)
        return Made.of(target, _pictures(target, track, changed, enhance), spans(changed, target.fps, "video"))


Enhance = Callable[[Picture, Floats | None, Box], Picture]
"""From a whole picture and the mesh (468, 3) of its face, none where the whole picture is the face, the part in the box."""


def _pictures(
    target: Clip, track: Track | None, changed: NDArray[np.bool_], enhance: Enhance
) -> Iterator[tuple[Picture, Mask]]:
    for frame, picture in enumerate(target.pictures()):
        mask = np.zeros(picture.shape[:2], np.uint8)
        if track is None:
            picture, mask = enhance(picture, None, (0, 0, target.width, target.height)), mask + np.uint8(255)
        elif changed[frame]:
            mesh = steady(track, frame)
            box = x0, y0, x1, y1 = face_box(mesh, picture.shape, margin=0.05)
            alpha = mask_of(oval(mesh, box, EDGE))
            over = enhance(picture, mesh, box)
            picture = picture.copy()
            picture[y0:y1, x0:x1] = mix(picture[y0:y1, x0:x1], over, alpha)
            mask[y0:y1, x0:x1] = alpha
        yield picture, mask


# --- Without a net


class _Classical:
    """Noise out, within the picture and over time; then detail of two sizes raised, by a factor of `detail` and half of it.

    Raising detail raises what flickers, too: what changes by no more than noise does follows the frames before slowly.
    """

    def __init__(self, detail: float) -> None:
        self._detail = detail
        self._noise = np.nan
        self._before: list[Floats] = []
        self._corner = np.zeros(2)

    def __call__(self, picture: Picture, mesh: Floats | None, box: Box) -> Picture:
        x0, y0, x1, y1 = box
        part = picture[y0:y1, x0:x1].astype(np.float32)
        planes = [part[..., channel].copy() for channel in range(3)]  # one by one they are worked on in half of the time
        middle, width = (np.zeros(2), picture.shape[1] / 2) if mesh is None else (mesh[:, :2].mean(0), np.ptp(mesh[:, 0]))
        now = _noise(planes[1])
        self._noise = now if np.isnan(self._noise) else STEADINESS * self._noise + (1 - STEADINESS) * now
        clean = [_smooth(plane, max(1, round(width / 120)), 3 * self._noise + 2) for plane in planes]
        corner = (x0, y0) - middle
        if self._before:
            # Moved with the face by whole pixels: what is resampled in every frame becomes soft.
            shift = np.column_stack([np.eye(2), np.round(corner - self._corner)])
            clean = [self._slowly(plane, before, shift) for plane, before in zip(clean, self._before, strict=True)]
        self._before, self._corner = clean, corner
        light = 0.299 * clean[0] + 0.587 * clean[1] + 0.114 * clean[2]
        fine = light - _smooth(light, max(2, round(width / 40)), 25)
        coarse = light - _smooth(light, max(4, round(width / 10)), 40)
        raised = self._detail * (fine + coarse / 2)
        return np.asarray(cv2.merge([cv2.add(plane, raised, dtype=cv2.CV_8U) for plane in clean]), np.uint8)

    def _slowly(self, plane: Floats, before: Floats, shift: NDArray[np.float64]) -> Floats:
        """A plane drawn to that of the frame before, where both differ by no more than noise makes them."""
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        before = np.asarray(cv2.warpAffine(before, shift, plane.shape[::-1], flags=flags, borderValue=1e4), np.float32)
        apart = cv2.blur(cv2.absdiff(before, plane), (3, 3)) / np.float32(6 * self._noise + 3)
        same = np.square(np.maximum(1 - np.square(apart), 0))
        return np.asarray(plane + np.float32(KEPT) * same * (before - plane), np.float32)


def _smooth(light: Floats, radius: int, step: float) -> Floats:
    """`light` (h, w) without differences of less than `step` levels; larger ones stay (guided filter, He et al. 2013)."""

    def mean(values: NDArray[np.floating]) -> Floats:
        return np.asarray(cv2.blur(values, (2 * radius + 1, 2 * radius + 1)), np.float32)

    middle = mean(light)
    spread = np.maximum(mean(light * light) - middle * middle, 0)
    kept = spread / (spread + step * step)
    return mean(kept) * light + mean((1 - kept) * middle)


def _noise(light: Floats) -> float:
    """Deviation of the noise in levels, from what a mask that is blind to planes leaves (Immerkær 1996)."""
    blind = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.median(np.abs(cv2.filter2D(light, -1, blind)[::3, ::3])) / (6 * 0.6745))


# --- With a net


def _by_net(given: Given, method: Method, levels: Levels | None, target: Clip) -> Enhance:
    """What the net makes of the face, upright as in FFHQ or in a square around it, laid back where it was."""
    aligned = method == "face_restoration"
    net, fixed, scale = _opened(given, method)
    side = fixed or (512 if aligned else _free_side(target))
    chosen: Levels = levels or ("-1..1" if aligned else "0..1")

    def enhance(picture: Picture, mesh: Floats | None, box: Box) -> Picture:
        if mesh is None:
            at = _square(np.array([[0, 0], picture.shape[1::-1]]) - 0.5, side, 1)
        else:
            at = place(five(mesh), ffhq(side)) if aligned else _square(mesh[:, :2], side, ROOM)
        made = shown(net([(net.inputs[0], planes(cut(picture, at, side), chosen))]), chosen)
        return laid(made, resized(at, scale), box)

    return enhance


@lru_cache(maxsize=4)
def _opened(given: Given, method: Method) -> tuple[Net, int | None, int]:
    """The net, the side of the pictures it takes (None: any), and by how much it enlarges them. Raises ModelError."""
    net = open_net(given)
    (port,) = inputs_of(net, f"net for {method}", 4)
    fixed = side_of(net, port)
    side = fixed or (512 if method == "face_restoration" else 64)
    given_back = net([(port, np.zeros((1, 3, side, side), np.float32))]).shape
    scales = [n for n in SCALES if given_back == (1, 3, side * n, side * n)]
    if not scales or (method == "face_restoration" and scales != [1]):
        wanted = "a picture of the same size" if method == "face_restoration" else "a picture larger by a whole number"
        what = f"is no net for {method}: it makes {given_back} of (1, 3, {side}, {side}), not {wanted}"
        raise ModelError(net.name, what, "choose the other method, or give another net")
    return net, fixed, scales[0]


def _free_side(target: Clip) -> int:
    """Side of the pictures for a net that takes any: the face as fine as it is filmed, but at most MOST."""
    if target.track is None:
        wanted = float(max(target.width, target.height))
    else:
        box = target.track.box[target.track.seen]
        wanted = ROOM * float(np.median((box[:, 2:] - box[:, :2]).max(1)))
    return min(MOST, 32 * max(2, round(wanted / 32)))


def _square(points: NDArray[np.floating], side: int, room: float) -> Place:
    """Where a square of `room` times the extent of `points` (n, 2), around their middle, fills `side` pixels."""
    low, high = points.min(0), points.max(0)
    scale = side / max(room * float((high - low).max()), 1.0)
    shift = (side - 1) / 2 - scale * (low + high) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
