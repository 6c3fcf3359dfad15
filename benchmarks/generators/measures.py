"""What is measured of a made clip: how its face moves, how steady it is, what it changed; and of sets of pictures."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, log10
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture, Track
from forgeline.mesh import (
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYE_CORNER,
    LIPS_INNER,
    LIPS_OUTER,
    NOSE_TIP,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_CORNER,
)

Floats = NDArray[np.float64]

_MOVING = np.concatenate([LIPS_OUTER, LIPS_INNER, RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW])
# Forehead, temples, bridge and tip of the nose, corners of the eyes: what no expression moves much.
_STIFF = np.array([10, 151, 9, 8, 168, 6, 197, 195, 5, NOSE_TIP, 33, 133, 362, 263, 127, 356, 54, 284], np.intp)


def upright(meshes: NDArray[np.floating[Any]], like: Floats) -> tuple[Floats, Floats]:
    """Meshes (n, 468, 3) turned, scaled and moved so that their stiff points lie on those of `like` (468, 3), and the
    rotations (n, 3, 3) that did it: least squares (Umeyama 1991)."""
    goal = like[_STIFF] - like[_STIFF].mean(0)
    laid, turns = [], []
    for mesh in meshes.astype(np.float64):
        stiff = mesh[_STIFF] - mesh[_STIFF].mean(0)
        u, sizes, vt = np.linalg.svd(goal.T @ stiff)
        straight = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
        turn = u @ np.diag(straight) @ vt
        scale = (sizes * straight).sum() / np.square(stiff).sum()
        laid.append(scale * (mesh - mesh[_STIFF].mean(0)) @ turn.T)
        turns.append(turn)
    return np.stack(laid), np.stack(turns)


def turned(one: Track, other: Track) -> Floats:
    """Degrees between the poses of two faces, for the frames in which both are seen."""
    both = one.seen & other.seen
    like = one.mesh[both].astype(np.float64).mean(0)
    first, second = (upright(track.mesh[both], like)[1] for track in (one, other))
    cosine = (np.einsum("nij,nij->n", first, second) - 1) / 2
    angles: Floats = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return angles


def expression_error(one: Track, other: Track) -> tuple[float, float]:
    """The RMS distance of two faces' expressions, and that of the second from a face that never moves.

    An expression is how far lips, lids and brows are from their own mean place, in distances of the outer corners of the
    eyes, both faces turned as the second is on average. What a person looks like is not in it.
    """
    both = one.seen & other.seen
    like = other.mesh[both].astype(np.float64).mean(0)
    first, second = _moved(one.mesh[both], like), _moved(other.mesh[both], like)
    return _rms(first - second), _rms(second)


def _moved(meshes: NDArray[np.floating[Any]], like: Floats) -> Floats:
    points = upright(meshes, like)[0][:, _MOVING, :2]
    away: Floats = (points - points.mean(0)) / np.hypot(*(like[LEFT_EYE_CORNER] - like[RIGHT_EYE_CORNER])[:2])
    return away


def _rms(distances: Floats) -> float:
    return float(np.sqrt(np.square(distances).sum(2).mean()))


@dataclass
class Changes:
    """What of a target's pictures was changed, and where, over any number of clips."""

    outside: float = 0.0
    """Sum of squared differences where the mask is 0."""
    values: int = 0
    common: int = 0
    either: int = 0
    moved: list[float] = field(default_factory=list)
    """Mean change from one picture to the next within the mask; and `moved_before`, the target's own there."""
    moved_before: list[float] = field(default_factory=list)

    def add(self, pairs: Iterable[tuple[Picture, Mask | None]], originals: Iterable[Picture]) -> list[Picture]:
        """Measure one clip, and give its pictures."""
        kept: list[Picture] = []
        last: tuple[Picture, Picture, NDArray[np.bool_]] | None = None
        for (picture, given), original in zip(pairs, originals, strict=True):
            masked = np.zeros(picture.shape[:2], np.bool_) if given is None else given > 0
            difference = cv2.absdiff(picture, original)
            changed = difference.any(axis=2)
            self.outside += float(np.square(difference[~masked].astype(np.float64)).sum())
            self.values += 3 * int((~masked).sum())
            self.common += int((changed & masked).sum())
            self.either += int((changed | masked).sum())
            if last is not None and (here := masked & last[2]).any():
                self.moved.append(float(cv2.absdiff(picture, last[0])[here].mean()))
                self.moved_before.append(float(cv2.absdiff(original, last[1])[here].mean()))
            last = picture, original, masked
            kept.append(picture)
        return kept

    @property
    def psnr_outside(self) -> float:
        """dB, before encoding; infinite where not a bit differs."""
        return 10 * log10(255**2 * self.values / self.outside) if self.outside else inf

    @property
    def iou(self) -> float:
        """Intersection over union of the mask and the pixels that changed; NaN where there is neither."""
        return self.common / self.either if self.either else float("nan")

    @property
    def flicker(self) -> float:
        """Change from picture to picture within the mask, in the target's own; NaN where nothing was changed."""
        return float(np.sum(self.moved) / np.sum(self.moved_before)) if self.moved else float("nan")


def kernel_distance(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """The unbiased squared MMD with the kernel (x·y/d + 1)³ (Bińkowski et al. 2018, "Demystifying MMD GANs", section 4) of two
    sets of features (n, d), of which row i of one belongs to row i of the other; may be below 0.

    As such rows are not independent they are not compared (Gretton et al. 2012, "A Kernel Two-Sample Test", eq. 4).
    """
    first, second = one.astype(np.float64), other.astype(np.float64)

    def apart(a: Floats, b: Floats) -> float:
        """Mean of the kernel over rows i of `a` and j ≠ i of `b`."""
        similar = (a @ b.T / a.shape[1] + 1) ** 3
        return float((similar.sum() - np.trace(similar)) / (len(a) * (len(a) - 1)))

    return apart(first, first) + apart(second, second) - 2 * apart(first, second)


def precision_recall(made: NDArray[np.floating[Any]], real: NDArray[np.floating[Any]], k: int = 3) -> tuple[float, float]:
    """The shares of made features (n, d) that lie among the real ones (m, d), and of real ones among the made.

    One lies among others where it is no further from one of them than that one's `k`-th neighbour is (Kynkäänniemi et al. 2019,
    "Improved Precision and Recall Metric", section 2).
    """

    def among(some: Floats, others: Floats) -> float:
        reach = np.sort(_apart(others, others), axis=1)[:, k]
        return float((_apart(some, others) <= reach).any(axis=1).mean())

    one, other = made.astype(np.float64), real.astype(np.float64)
    return among(one, other), among(other, one)


def _apart(one: Floats, other: Floats) -> Floats:
    """Squared distances (n, m) of rows."""
    squared: Floats = np.square(one).sum(1)[:, None] + np.square(other).sum(1) - 2 * one @ other.T
    return np.maximum(squared, 0)
