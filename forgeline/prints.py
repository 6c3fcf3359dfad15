"""Prints: what of a clip survives being encoded again, cropped, scaled, mirrored and trimmed, in some kilobytes.

*Motion* is how the main face moves, read from its track: how far mouth and eyes are open, where chin and head are, 25 times a
second. *Look* is the mean of the aligned face, its two halves laid on each other, as a mirror leaves it. *Sound* is Haitsma and
Kalker's (A Highly Robust Audio Fingerprinting System, ISMIR 2002): signs of energy differences between bands and moments, 32
bits a moment. `forgeline.near` finds equal ones among many.
"""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Clip, Picture, Sound, Track
from forgeline.errors import MediaError
from forgeline.files import replacing
from forgeline.mesh import LEFT_EYE_CORNER, LEFT_MOUTH_CORNER, RIGHT_EYE_CORNER, RIGHT_MOUTH_CORNER

MOTION_HZ = 25
CHANNELS = ("mouth", "eyes", "chin", "lips", "up", "across")
"""The columns of `motion`. A mirror changes the sign of the last one alone."""
TREMBLE = np.array([0.0084, 0.0037, 0.0090, 0.0101, 0.0082, 0.0082])
"""What re-encoding does to each, in sizes of the face: standard deviations between clips of GRID and their copies at crf 40."""
SOUND_HZ = 31.25
LOOK = (32, 16)
"""Rows and columns of a look: half a face, as both halves are one."""

_SMOOTH = 1.0  # moments, standard deviation
_STEADY = np.array([10, 338, 109, 297, 67, 332, 103, 168, 6, 197, 195, 5, 4, 33, 263, 133, 362, 70, 300, 105, 334, 107, 336])
_STEADY_TOO = np.array([21, 251, 54, 284, 162, 389, 127, 356])  # forehead, brows, nose: what speaking moves least
_LOOKS = 8  # frames that a video's look is the mean of
_RATE, _FRAME_S, _BANDS, _LOW_HZ, _HIGH_HZ = 5512, 0.37, 33, 300.0, 2000.0
_SILENT = 1e-5  # of the loudest moment's energy: 50 dB
_FFT = 2048
_BLOCK = 4096  # moments whose spectra are in memory at once


@dataclass(frozen=True, eq=False)
class Print:
    """`motion` (moments, 6) float16 in units of `TREMBLE`; `look` (32, 16) uint8; `sound` (moments,) uint32; `loud`, bool.

    Sound tells nothing where it isn't loud. What a clip hasn't got is empty. An image has one moment of motion; sound alone has
    neither motion nor look.
    """

    motion: NDArray[np.float16]
    look: NDArray[np.uint8]
    sound: NDArray[np.uint32]
    loud: NDArray[np.bool_]


def print_of(clip: Clip, looks: Iterable[Picture] | None = None) -> Print:
    """The print of a clip with its track; raises MediaError as its pictures and its sound do.

    `looks` are its pictures `looked_at(clip.track)`; without them, all are passed over. Holds the sound, and one picture at a
    time.
    """
    sound = clip.sound()
    bits, loud = heard(sound) if sound is not None else (np.zeros(0, np.uint32), np.zeros(0, np.bool_))
    if clip.track is None:
        return Print(np.zeros((0, len(CHANNELS)), np.float16), np.zeros((0, 0), np.uint8), bits, loud)
    at = looked_at(clip.track)
    if looks is None:
        looks = (picture for number, picture in enumerate(clip.pictures()) if number in at)
    faces = [look_of(picture, clip.track.mesh[number]) for number, picture in zip(at, looks, strict=True)]
    look = np.asarray(np.mean(faces, axis=0).round(), np.uint8)
    return Print(motion(clip.track, float(clip.fps)), look, bits, loud)


def looked_at(track: Track) -> tuple[int, ...]:
    """The frames, evenly spread over those in which a face is seen, that its look is the mean of, in order."""
    seen = np.flatnonzero(track.seen)
    return tuple(seen[np.unique(np.linspace(0, len(seen) - 1, _LOOKS).round().astype(int))].tolist())


def motion(track: Track, fps: float) -> NDArray[np.float16]:
    """How a face moves, (moments, 6) in units of `TREMBLE`, smoothed; where it isn't seen, as between its neighbours."""
    from scipy.ndimage import gaussian_filter1d

    mesh = track.mesh[track.seen].astype(np.float64)
    steady = mesh[:, np.concatenate([_STEADY, _STEADY_TOO]), :2]
    middle = steady.mean(1)
    size = np.sqrt(np.square(steady - middle[:, None]).sum((1, 2)) / steady.shape[1])

    def apart(one: int, other: int) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(mesh[:, one] - mesh[:, other], axis=-1), np.float64)

    face = np.sqrt(apart(RIGHT_EYE_CORNER, LEFT_EYE_CORNER) * apart(10, 152))
    place = middle / np.median(size)
    rows = np.stack(
        [
            apart(13, 14) / face,
            (apart(159, 145) + apart(386, 374)) / 2 / face,
            apart(4, 152) / face,
            apart(0, 17) / face,
            place[:, 1],
            place[:, 0],
        ],
        1,
    )
    if fps:
        seen = np.flatnonzero(track.seen) / fps
        at = np.arange(int(len(track.seen) / fps * MOTION_HZ + 1e-6)) / MOTION_HZ
        rows = np.stack([np.interp(at, seen, column) for column in rows.T], 1)
        rows = gaussian_filter1d(rows, _SMOOTH, axis=0, mode="nearest")
        rows[:, 4:] -= rows[:, 4:].mean(0)
    else:
        rows[:, 4:] = 0
    return np.asarray(np.clip(rows / TREMBLE, -6e4, 6e4), np.float16)


def heard(sound: Sound) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """The bits of a sound, and which moments are loud enough to tell anything: (moments,) each, none below 0.4 s.

    Haitsma and Kalker 2002, section 4.2, with two changes: 32 ms from moment to moment instead of 11.6 (a third of the size;
    any offset is still at most 16 ms from one that was taken, of frames of 370 ms), and energies as logarithms.
    """
    wave = resample(sound, _RATE).samples
    frame, hop = int(_FRAME_S * _RATE), _RATE / SOUND_HZ
    count = int((len(wave) - frame) / hop) + 1 if len(wave) >= frame else 0
    if count < 2:
        return np.zeros(0, np.uint32), np.zeros(0, np.bool_)
    edges = np.searchsorted(np.fft.rfftfreq(_FFT, 1 / _RATE), np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1))
    starts = np.round(np.arange(count) * hop).astype(np.int64)
    window = np.hanning(frame)
    energy = np.empty((count, _BANDS))
    for first in range(0, count, _BLOCK):
        frames = wave[starts[first : first + _BLOCK, None] + np.arange(frame)] * window
        power = np.square(np.abs(np.fft.rfft(frames, _FFT)))
        total = np.concatenate([np.zeros((len(power), 1)), power.cumsum(1)], 1)
        energy[first : first + _BLOCK] = total[:, edges[1:]] - total[:, edges[:-1]]
    told = np.log(energy + 1e-12)
    slopes = np.diff(told, axis=1)
    bits = (np.diff(slopes, axis=0) > 0) @ (1 << np.arange(_BANDS - 1, dtype=np.uint64))
    level = energy.sum(1)
    loud = level > max(_SILENT * float(level.max()), 1e-6)
    return bits.astype(np.uint32), loud[1:] & loud[:-1]


def look_of(picture: Picture, mesh: NDArray[np.floating]) -> NDArray[np.float64]:
    """The aligned face of a mesh (468, 3), grey, its halves' mean: (32, 16) in 0 … 255. A mirror leaves it as it is."""
    flat = mesh[:, :2].astype(np.float64)
    corners = RIGHT_EYE_CORNER, LEFT_EYE_CORNER, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER
    right, left, right_mouth, left_mouth = (flat[point] for point in corners)
    eyes, mouth = (right + left) / 2, (right_mouth + left_mouth) / 2
    down = mouth - eyes
    length = max(float(np.hypot(*down)), 1e-6)
    down = down / length
    across = np.array([down[1], -down[0]])
    rows, columns = LOOK[0], 2 * LOOK[1]
    scale = rows * 0.4 / length  # eyes and mouth lie at 0.3 and 0.7 of the height
    blur = max(1, round(1 / scale))
    turn = np.stack([across, down]) * scale
    shift = np.array([(columns - 1) / 2, 0.3 * rows - 0.5]) - turn @ eyes
    x0, y0 = np.floor(np.clip(eyes - 2.5 * length, 0, None)).astype(int)
    x1, y1 = np.ceil(np.clip(eyes + 2.5 * length, 1, None)).astype(int)
    part = picture[min(y0, picture.shape[0] - 1) : y1, min(x0, picture.shape[1] - 1) : x1]
    grey = cv2.blur(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), (blur, blur))
    shift = shift + turn @ (min(x0, picture.shape[1] - 1), min(y0, picture.shape[0] - 1))
    matrix = np.column_stack([turn, shift])
    face = cv2.warpAffine(grey, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray((face[:, : LOOK[1]].astype(np.float64) + face[:, : LOOK[1] - 1 : -1]) / 2)


def save_print(path: Path, found: Print) -> None:
    """Write a print as `.npz`, in one step; equal prints make equal bytes."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, motion=found.motion, look=found.look, sound=found.sound, loud=found.loud)


def load_print(path: Path) -> Print:
    """Read a print. Raises MediaError where there is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            return Print(parts["motion"], parts["look"], parts["sound"], parts["loud"])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise MediaError(path, f"is no print ({error})", "ingest its clip again") from error
