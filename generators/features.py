"""Moving the features of a face: corners of the mouth, jaw, brows and lids, one by one or as the look of an emotion."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from generators.eyes import UPPER_LIDS
from generators.pose import axes

Floats = NDArray[np.float32]
Emotion = Literal["happy", "sad", "surprised", "angry"]

EMOTIONS: Mapping[Emotion, Mapping[str, float]] = {
    "happy": {"smile": 0.12, "cheeks": 0.05},
    "sad": {"smile": -0.09, "inner": 0.11, "lids": -0.025},
    "surprised": {"brow": 0.11, "lids": 0.03, "gape": 0.12},
    "angry": {"frown": 0.11, "lids": -0.015, "smile": -0.045},
}
"""Amounts of `edited` at an emotion's full strength (after the action units of Ekman and Friesen 1978: 12 and 6; 15 and 1; 1,
2, 5 and 26; 4, 7 and 15)."""
_INNER_BROWS = np.array([55, 107, 285, 336])
_LOWER_LIPS = np.concatenate([LIPS_INNER[1:10], LIPS_OUTER[1:10]])
_UPPER_LIPS = np.concatenate([LIPS_INNER[10:], LIPS_INNER[:1], LIPS_OUTER[10:], LIPS_OUTER[:1]])


def edited(
    mesh: Floats,
    *,
    smile: float = 0.0,
    jaw: float = 0.0,
    brow: float = 0.0,
    inner: float = 0.0,
    frown: float = 0.0,
    lids: float = 0.0,
    cheeks: float = 0.0,
    gape: float = 0.0,
) -> Floats:
    """The mesh (468, 3) with these amounts of each edit, as shares of the distance from nose to chin.

    `smile`: the mouth's corners up and out. `jaw`: the jaw wider at its angles. `brow`: the brows up; `inner`: only their
    inner ends; `frown`: those down and together. `lids`: the upper lids up. `cheeks`: cheeks and lower lids up. `gape`: the
    lower lip and the jaw down.
    """
    right, down, size = axes(mesh)
    place = (mesh[:, :2] - mesh[1, :2]) / size
    x, y = place @ right, place @ down
    across, along = np.zeros(468), np.zeros(468)

    def near(points: NDArray[np.int32] | NDArray[np.int64], width: float) -> Floats:
        return _bell(np.hypot(x[:, None] - x[points], y[:, None] - y[points]).min(1), width)

    for corner in (61, 291):
        by = smile * _bell(np.hypot(x - x[corner], y - y[corner]), 0.2)
        across += 0.6 * by * np.sign(x[corner])
        along -= by
    if jaw:
        angle = float(np.abs(x[[172, 397]]).mean())
        low = np.clip((y + 0.1) / 0.5, 0, 1)
        across += jaw * x / angle * low * low * (3 - 2 * low)
    if brow:
        for ring in (RIGHT_BROW, LEFT_BROW):
            along -= brow * near(ring, 0.16)
    if inner or frown:
        by = near(_INNER_BROWS, 0.16)
        along += (frown - inner) * by
        across -= 0.45 * frown * by * np.clip(x / 0.1, -1, 1)
    if lids:
        for rim in UPPER_LIDS:
            along -= lids * near(rim, 0.07)
    if cheeks:
        along -= cheeks * near(np.array([118, 101, 347, 330]), 0.22)
        along[np.concatenate([RIGHT_EYE[9:], LEFT_EYE[9:]])] = 0
    if gape:
        mouth = float(y[[61, 291]].mean())
        wide = max(float(np.abs(x[[61, 291]]).mean()), 1e-6)
        below = np.clip((y - mouth) / 0.15, 0, 1) * _bell(x, 0.75)
        below[_LOWER_LIPS] = np.clip(1 - np.square(x[_LOWER_LIPS] / wide), 0, 1)
        below[_UPPER_LIPS] = 0
        along += gape * below
    moved = mesh.copy()
    moved[:, :2] += (size * (across[:, None] * right + along[:, None] * down)).astype(np.float32)
    return moved


def _bell(distance: NDArray[Any], width: float) -> Floats:
    return np.asarray(np.exp(-np.square(distance / width)), np.float32)
