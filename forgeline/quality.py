"""How well a face is shown, frame by frame: kept beside a clip's tracks, for whoever chooses frames or describes a corpus.

Nothing is decided by it.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture, Track
from forgeline.errors import MediaError
from forgeline.files import replacing
from forgeline.mesh import LEFT_EYE, LEFT_EYE_CORNER, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_EYE, RIGHT_EYE_CORNER, turned

Floats = NDArray[np.floating]

MEASURES: Final = ("size", "sharpness", "light", "contrast", "one_sided", "yaw", "pitch", "roll", "inside", "hidden")
"""`size`: pixels of the longer side of the face's box. `sharpness`: what lies between neighbouring pixels once the face is
brought to SIDE pixels, by its contrast: deviation of the Laplacian of luma by that of luma, about 0.1 (soft) to 1. `light` and
`contrast`: mean and deviation of luma in the face, 0 to 255. `one_sided`: by how much the picture's right half of the face is
lighter than the left, of their sum, -1 to 1. `yaw`, `pitch`, `roll`: degrees (`forgeline.mesh.turned`; roll is that of the
line of the eyes, clockwise). `inside`: share of the mesh's points that lie in the picture. `hidden`: share of the skin's points
that have another colour than they usually have in this clip (NaN in fewer than FEWEST frames): a microphone or a sheet of paper
before the face, not what is there all the time, nor a hand of the face's own colour.
"""
SIDE = 96
FEWEST = 10
OTHER = 0.35
"""By how much the logarithm of a point's colour must be off the clip's median, the face's own light taken out, to be hidden.
With black, grey and white things put before the faces of six clips of GRID, the share that is found is that of the points which
they cover to 0.04 where they cover a tenth to a fifth, 0.04 to 0.37 more where they cover half; without them at most 0.03."""

_SKIN = np.setdiff1d(np.arange(468), [*OVAL, *LIPS_OUTER, *LIPS_INNER, *RIGHT_EYE, *LEFT_EYE])
_DARK = 16  # of 255, added to colours: below, noise would count as another colour


class Shown(NamedTuple):
    """Of one picture: the MEASURES but the last, float32 (9,), and the colours of the skin's points, uint8 (points, 3)."""

    values: Floats
    colours: NDArray[np.uint8]


def measure(picture: Picture, mesh: Floats) -> Shown:
    """How a picture shows the face with this mesh (468, 3); NaN for the measures of luma where none of it does."""
    height, width = picture.shape[:2]
    flat = mesh[:, :2]
    low, high = flat.min(0), flat.max(0)
    yaw, pitch = turned(np.asarray(mesh, np.float32))
    along = flat[LEFT_EYE_CORNER] - flat[RIGHT_EYE_CORNER]
    roll = float(np.degrees(np.arctan2(along[1], along[0])))
    inside = float(((flat >= 0) & (flat < (width, height))).all(1).mean())
    x0, y0 = np.clip(np.floor(low), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(high), 0, (width, height)).astype(int)
    shown, colours = [np.nan] * 4, np.zeros((len(_SKIN), 3), np.uint8)
    if x1 - x0 >= 2 and y1 - y0 >= 2:
        small = cv2.resize(picture[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        face = _oval()
        values = luma[face]
        left, right = (float(luma[:, half][face[:, half]].mean()) for half in (slice(None, SIDE // 2), slice(SIDE // 2, None)))
        spread = float(values.std())
        detail = float(cv2.Laplacian(luma, cv2.CV_32F)[face].std()) / max(spread, 1.0)
        shown = [detail, float(values.mean()), spread, (right - left) / max(right + left, 1.0)]
        at = ((flat[_SKIN] - (x0, y0)) * (SIDE / np.array([x1 - x0, y1 - y0]))).astype(int).clip(0, SIDE - 1)
        colours = cv2.blur(small, (5, 5))[at[:, 1], at[:, 0]]
    told = float((high - low).max()), *shown, float(yaw), float(pitch), roll, inside
    return Shown(np.array(told, np.float32), np.asarray(colours, np.uint8))


def qualities(pictures: Sequence[Shown]) -> Floats:
    """All MEASURES of one face, float32 (pictures, 10), from each picture that shows it."""
    values = np.stack([each.values for each in pictures])
    hidden = np.full(len(pictures), np.nan, np.float32)
    seen = ~np.isnan(values[:, MEASURES.index("light")])
    if seen.sum() >= FEWEST:
        colours = np.log(np.stack([each.colours for each in pictures])[seen] + np.float32(_DARK))
        colours -= np.median(colours, 0)
        colours -= np.median(colours, 1, keepdims=True)
        hidden[seen] = (np.abs(colours).max(2) > OTHER).mean(1)
    return np.column_stack([values, hidden])


@cache
def _oval() -> NDArray[np.bool_]:
    """The part of a face's box that is face, whichever way it is turned: without the corners and the rim."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    return np.asarray(x**2 + y**2 < 0.8)


def beside(track: Path) -> Path:
    """Where the qualities lie that go with a file of tracks."""
    return track.with_name(f"{track.stem}.quality.npz")


def save_qualities(path: Path, tracks: Sequence[Track], qualities: Sequence[Floats]) -> None:
    """Write the measures (frames seen, 10) of each track as `.npz`, in one step; equal ones make equal bytes."""
    parts: dict[str, Any] = {}
    for face, (track, rows) in enumerate(zip(tracks, qualities, strict=True)):
        for which, name in enumerate(MEASURES):
            parts[f"{face}/{name}"] = rows[:, which].astype(np.float32)
        parts[f"{face}/seen"] = track.seen
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **parts)


def load_quality(path: Path, face: int = 0) -> Mapping[str, NDArray[np.float32]]:
    """Each measure of one face, float32 (frames,), NaN where it is not seen. Raises MediaError where there is no such face."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            if f"{face}/seen" not in parts:
                raise MediaError(path, f"holds no face number {face}", "choose a clip with a face, or ingest it again")
            seen = parts[f"{face}/seen"]
            read = {name: np.full(len(seen), np.nan, np.float32) for name in MEASURES}
            for name, values in read.items():
                values[seen] = parts[f"{face}/{name}"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise MediaError(path, f"is no file of qualities ({error})", "ingest its clip again") from error
    return read
