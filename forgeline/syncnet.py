"""Do lips and voice belong together: what the networks that judge it are shown, and what is made of their answers.

Two published pairs of networks are meant. SyncNet (Chung and Zisserman 2016, "Out of time") looks at whole faces and cepstra
and gives the figures LSE-D and LSE-C; the expert of Wav2Lip (Prajwal et al. 2020, "A lip sync expert is all you need") looks
at lower halves of faces and mel spectra and is small enough to train against. Both see 5 frames, 0.2 s, at 25 frames a second.
Their layers are in `forgeline.sync_nets`. A third judge needs no network: how far the lips are apart against how loud the
vowels are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.audio import resample, to_int16
from forgeline.clip import Clip, Picture, Sound
from forgeline.mesh import LIPS_INNER

if TYPE_CHECKING:  # they import torch, which takes seconds
    from forgeline.sync_nets import Expert, SyncNet

Floats = NDArray[np.floating]
Plane = TypeVar("Plane", bound=NDArray[np.uint8])

RATE: Final = 16000
"""Hz of the sound that both pairs of networks were made for."""
FPS: Final = 25
FRAMES: Final = 5
"""Frames of a window: 0.2 s."""
MELS: Final = 80
MEL_STEPS: Final = 16
"""Columns of mel spectrum in a window, 80 a second."""
MFCC_STEPS: Final = 20
"""Columns of cepstra in a window, 100 a second."""
EXPERT_SIDE: Final = 96
SYNCNET_SIDE: Final = 224
SHIFTS: Final = 15
"""Frames by which lips and sound are moved against each other, either way."""
SPAN: Final = 35
"""Frames of lips, 1.4 s, whose offset is looked for by itself. Half as many say little: people are silent between words."""
SPAN_SHIFTS: Final = 10
"""Frames by which those are moved."""
STEP: Final = 5
"""Frames from one such span to the next."""
STEADY: Final = 13
"""Frames over which the place of a face is a median (syncnet_python's pipeline): half a second, longer than a mouth is open."""
STILL: Final = 0.02
"""Change of `lips_apart` below which lips do not move (GRID: 0.1 to 0.2 a clip, 0.05 and more a span; a still face in noise
0.006)."""
EVEN: Final = 0.5
"""Change of `loudness` below which a sound is as loud throughout: 6 dB (GRID: 1.7 and more a span)."""
_BLOCK = 4096  # columns of spectrum at a time: 30 MB
_GREY = (110, 110, 110)  # beyond the picture, as in syncnet_python


# --- What the networks hear


def mel(sound: Sound) -> NDArray[np.float32]:
    """The mel spectrum that Wav2Lip hears, float32 (80, 1 + samples at 16 kHz // 200) in [-4, 4], 80 columns a second.

    Pre-emphasis 0.97; magnitudes of windows (Hann) of 800 samples, 200 apart, the first around sample 0 (the ends mirrored, as
    librosa 0.7 did); 80 mels of Slaney's scale and area, 55 to 7600 Hz; in dB from 1e-5 up, less 20, and -100 to 0 dB as -4 to
    4. Silence is -4. Memory beyond the sound's own does not grow with it.
    """
    samples = resample(sound, RATE).samples
    if not len(samples):
        return np.empty((MELS, 0), np.float32)
    sharp = np.append(samples[:1], samples[1:] - np.float32(0.97) * samples[:-1])
    padded = np.pad(sharp, 400, mode="reflect")
    columns = 1 + len(samples) // 200
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 800)
    heard = np.empty((MELS, columns), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 800)[::200]
    for start in range(0, columns, _BLOCK):
        part = windows[start : min(start + _BLOCK, columns)]
        level = 20 * np.log10(np.maximum(1e-5, np.abs(np.fft.rfft(part * window)) @ _mels().T)) - 20
        heard[:, start : start + len(part)] = np.clip(8 * (level + 100) / 100 - 4, -4, 4).T
    return heard


def mel_window(heard: NDArray[np.float32], frame: int, fps: Fraction | float) -> NDArray[np.float32]:
    """The 0.2 s of `mel` that begin with a frame, (80, 16): Wav2Lip's columns from int(80 * frame / fps).

    A window that would go beyond an end of the sound is the last one, or first one, within; of less than 0.2 s it is filled up
    with silence.
    """
    start = max(0, min(int(80 * frame / fps), heard.shape[1] - MEL_STEPS))
    part = heard[:, start : start + MEL_STEPS]
    return np.pad(part, ((0, 0), (0, MEL_STEPS - part.shape[1])), constant_values=-4)


def mfcc(sound: Sound) -> NDArray[np.float32]:
    """The cepstra that SyncNet hears, float32 (13, n), 100 columns a second: python_speech_features as delivered.

    Of 16-bit levels: pre-emphasis 0.97; power in windows (no taper) of 400 samples, 160 apart, by 512 points, the last filled
    up with silence; the logarithm of 26 triangles on O'Shaughnessy's mel scale, 0 to 8000 Hz; their cosine transform, lifted
    by 22; the logarithm of the window's energy in the first row.
    """
    levels = to_int16(resample(sound, RATE).samples).astype(np.float64)
    if not len(levels):
        return np.empty((13, 0), np.float32)
    sharp = np.append(levels[:1], levels[1:] - 0.97 * levels[:-1])
    columns = 1 + max(0, -(-(len(sharp) - 400) // 160))
    padded = np.pad(sharp, (0, 400 + 160 * (columns - 1) - len(sharp))) if len(sharp) < 400 + 160 * (columns - 1) else sharp
    windows = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160]
    n = np.arange(26)
    cosines = np.sqrt(2 / 26) * np.cos(np.pi * np.arange(13)[:, None] * (2 * n + 1) / 52)
    lift = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    least = np.finfo(np.float64).eps
    heard = np.empty((13, columns), np.float32)
    for start in range(0, columns, _BLOCK):
        part = windows[start : min(start + _BLOCK, columns)]
        power = np.square(np.abs(np.fft.rfft(part, 512))) / 512
        energy, bands = power.sum(1), power @ _triangles().T
        rows = np.log(np.where(bands == 0, least, bands)) @ cosines.T * lift
        rows[:, 0] = np.log(np.where(energy == 0, least, energy))
        heard[:, start : start + len(part)] = rows.T
    return heard


@cache
def _mels() -> NDArray[np.float64]:
    """(80, 401): triangles of equal area on Slaney's scale, which is linear to 1 kHz and logarithmic above (librosa)."""

    def to_hertz(pitch: Floats) -> Floats:
        return np.where(pitch < 15, pitch * 200 / 3, 1000 * np.exp((pitch - 15) * np.log(6.4) / 27))

    top = 15 + np.log(7600 / 1000) * 27 / np.log(6.4)
    corners = to_hertz(np.linspace(55 * 3 / 200, top, MELS + 2))
    hertz = np.arange(401) * RATE / 800
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rows = np.maximum(0, np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
    return np.asarray(rows * 2 / (high - low))


@cache
def _triangles() -> NDArray[np.float64]:
    """(26, 257): triangles from bin to bin of 512 points (python_speech_features)."""
    pitches = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), 28)
    bins = np.floor(513 * 700 * (10 ** (pitches / 2595) - 1) / RATE)
    low, middle, high = bins[:-2, None], bins[1:-1, None], bins[2:, None]
    at = np.arange(257)
    rising, falling = (at - low) / np.maximum(middle - low, 1), (high - at) / np.maximum(high - middle, 1)
    return np.where((at >= low) & (at < middle), rising, np.where((at >= middle) & (at < high), falling, 0.0))


# --- What the networks see


def at_25(clip: Clip, seconds: float) -> Clip:
    """The first seconds of a video at 25 frames a second: each is the frame shown in the middle of its 40 ms.

    It has no track.
    """
    frames = int(min(Fraction(seconds), clip.duration) * FPS)
    return replace(
        clip, fps=Fraction(FPS), frames=frames, pictures=lambda: every_40_ms(clip.pictures(), clip.fps, frames), track=None
    )


def every_40_ms(stream: Iterator[Plane], fps: Fraction, frames: int) -> Iterator[Plane]:
    """`frames` pictures, or masks, at 25 a second, of a stream with another rate."""
    shown: Plane | None = None
    before = -1
    for frame in range(frames):
        at = int((frame + Fraction(1, 2)) * fps / FPS)
        while before < at:
            after = next(stream, None)
            if after is None:
                break  # sound and pictures may differ by a frame
            shown, before = after, before + 1
        if shown is None:
            return
        yield shown


def face_boxes(meshes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where the face is, frame by frame, (n, 4) as x0 y0 x1 y1, of meshes (n, 468, 3) in pixels; NaN where it isn't seen.

    Steady: the median of the seen frames among the 13 around, so that the box does not follow a jaw that drops. The originals
    take the boxes of the S3FD detector, which lie about the same: from the middle of the forehead to the chin and from ear to
    ear. A mesh ends a little below the hairline and before the ears, so that these are some percent tighter.
    """
    seen = ~np.isnan(meshes[:, 0, 0])
    boxes = np.full((len(meshes), 4), np.nan)
    boxes[seen] = np.concatenate([meshes[seen, :, :2].min(1), meshes[seen, :, :2].max(1)], 1)
    steady = np.full_like(boxes, np.nan)
    for frame in np.flatnonzero(seen):
        steady[frame] = np.nanmedian(boxes[max(0, frame - STEADY // 2) : frame + STEADY // 2 + 1], axis=0)
    return steady


def expert_boxes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """What Wav2Lip's expert sees of faces in boxes (n, 4): with 8 % of their height below the chin, where a jaw drops to."""
    below = 0.08 * (boxes[:, 3:] - boxes[:, 1:2])
    return np.concatenate([boxes[:, :3], boxes[:, 3:] + below], 1)


def syncnet_boxes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The squares that SyncNet sees of faces in boxes (n, 4): 1.4 times the longer side, with more below (syncnet_python)."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([middle - half * (1.4, 1.0), middle + half * (1.4, 1.8)], 1)


def face_crop(picture: Picture, box: NDArray[np.float64], side: int) -> Picture:
    """What lies in a box (4,), stretched to (side, side, 3) RGB as the networks see faces; grey beyond the picture.

    Unlike in the originals edges may lie between pixels, so that the crop moves as smoothly as the face, and what is made
    smaller is averaged.
    """
    x0, y0, x1, y1 = box.tolist()
    scale = np.array([side / max(x1 - x0, 1.0), side / max(y1 - y0, 1.0)])
    fine = max(1, int(1 / scale.max()))
    # Pixels are squares, whole numbers their middles: a box's edge is the edge of the first one.
    place = np.column_stack([np.diag(scale * fine), 0.5 * (scale * fine - 1) - scale * fine * (x0, y0)])
    shape = (side * fine, side * fine)
    crop = cv2.warpAffine(picture, place, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_GREY)
    return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) if fine > 1 else crop, np.uint8)


def expert_window(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crops of 5 frames, (5, 96, 96, 3) RGB, as Wav2Lip's expert sees them: float32 (15, 48, 96) in [0, 1].

    Lower halves, frame after frame and blue, green, red within a frame.
    """
    lower = faces[:, EXPERT_SIDE // 2 :, :, ::-1].transpose(0, 3, 1, 2)
    return lower.reshape(3 * len(faces), EXPERT_SIDE // 2, EXPERT_SIDE).astype(np.float32) / np.float32(255)


def syncnet_window(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crops of 5 frames, (5, 224, 224, 3) RGB, as SyncNet sees them: float32 (3, 5, 224, 224), levels 0 to 255 of blue, green,
    red."""
    return faces[..., ::-1].transpose(3, 0, 1, 2).astype(np.float32)


# --- The judges


def expert(path: Path | None = None) -> "Expert":
    """Wav2Lip's expert, ready to judge: with the weights in a file (`lipsync_expert.pth`, or .safetensors), else untrained.

    Raises ModelError when the file is missing or holds another network.
    """
    from forgeline.sync_nets import open_expert

    return open_expert(path)


def syncnet(path: Path | None = None) -> "SyncNet":
    """SyncNet, ready to judge: with the weights in a file (`syncnet_v2.model`, or .safetensors), else untrained.

    Raises ModelError when the file is missing or holds another network.
    """
    from forgeline.sync_nets import open_syncnet

    return open_syncnet(path)


def lips_apart(meshes: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far the lips are apart, (n,), of meshes (n, 468, 3); NaN where no face is seen.

    The root of the mean gap between them over the face's height: a mouth moves most when it begins to open. In 23 of 26 GRID
    clips this finds the sound within a frame of where it belongs, the jaw's drop does in 18, the mouth's width in 5.
    """
    flat = meshes[..., :2].astype(np.float64)
    half = len(LIPS_INNER) // 2
    lower, upper = flat[:, LIPS_INNER[1:half]], flat[:, LIPS_INNER[:half:-1]]
    gap = np.hypot(*np.moveaxis(lower - upper, -1, 0)).mean(1)
    return np.asarray(np.sqrt(gap / np.maximum(np.hypot(*(flat[:, 10] - flat[:, 152]).T), 1e-6)))


def loudness(heard: NDArray[np.float32], frames: int) -> NDArray[np.float64]:
    """How loud it is in the middle of each frame, (frames,) at 25 a second, of `mel`'s answer: the mean over the mels, that is
    of decibels, smoothed by a bell of 25 ms deviation."""
    bell = np.exp(-np.square(np.arange(-6, 7)) / 8)
    level = np.convolve(np.pad(heard.mean(0, dtype=np.float64), 6, mode="edge"), bell / bell.sum(), "valid")
    return np.interp((np.arange(frames) + 0.5) * 80 / FPS, np.arange(len(level)), level)


# --- What is made of their answers


Apart = Callable[[int, int], Floats]
"""How far lips of the frames from one number to before another are from the sound, (2 * SHIFTS + 1,): for each shift of the
sound, which is `SHIFTS` frames earlier than the lips in the first. Where lips and sound never change, NaN."""


@dataclass(frozen=True)
class Offset:
    """What a clip's lips and sound are to each other (Chung and Zisserman 2016, section 4; Prajwal et al. 2020, section 4).

    `distance` is the mean distance over time at the shift where it is least, `confidence` by how much the median over all
    shifts exceeds that. `offset` is in frames at 25 a second, positive where the sound comes before its lips, as in
    syncnet_python. With SyncNet's vectors the first two are LSE-D and LSE-C.
    """

    distance: float
    confidence: float
    offset: int


def offset(distances: Floats) -> Offset:
    """Of the mean distances for shifts of the sound by -SHIFTS … SHIFTS frames, (2 * SHIFTS + 1,)."""
    least = int(np.argmin(distances))
    return Offset(float(distances[least]), float(np.median(distances) - distances[least]), SHIFTS - least)


def span_offsets(apart: Apart, frames: int) -> NDArray[np.int64]:
    """The offset of each SPAN of frames alone, one every STEP frames; none for clips under SPAN + 2 * SPAN_SHIFTS frames.

    Looked for within SPAN_SHIFTS frames either way, and where the sound reaches that far, so that all shifts see as much.
    """
    found = []
    near = slice(SHIFTS - SPAN_SHIFTS, SHIFTS + SPAN_SHIFTS + 1)
    for start in range(SPAN_SHIFTS, frames - SPAN - SPAN_SHIFTS + 1, STEP):
        distances = apart(start, start + SPAN)[near]
        if not np.isnan(distances).any():
            found.append(SPAN_SHIFTS - int(np.argmin(distances)))
    return np.array(found, np.int64)


def by_vectors(lips: Floats, sounds: Floats) -> Apart:
    """Judged by a network's vectors of windows, both (n, d); rows of `lips` are NaN where no face was seen.

    Euclidean distances. Beyond the ends of the sound its vectors are 0, as in syncnet_python: published figures are so.
    """
    n = len(lips)
    around = np.pad(sounds, ((SHIFTS, SHIFTS), (0, 0)))
    # A column a shift: no array of n x shifts x d.
    table = np.stack([np.linalg.norm(lips - around[shift : shift + n], axis=1) for shift in range(2 * SHIFTS + 1)], 1)

    def apart(start: int, end: int) -> Floats:
        rows = table[start:end]
        rows = rows[~np.isnan(rows[:, 0])]
        return rows.mean(0) if 2 * len(rows) >= end - start else np.full(2 * SHIFTS + 1, np.nan)

    return apart


def by_lips(opened: Floats, loud: Floats) -> Apart:
    """Judged without a network, by `lips_apart` and `loudness` of n frames: 1 less their correlation (Pearson), 0 to 2.

    Only frames in which a face is seen and which have sound after the shift are counted. Lips that hardly move, or a sound that
    is as loud throughout, go with anything: there is no correlation.
    """
    n = len(opened)

    def apart(start: int, end: int) -> Floats:
        found = np.full(2 * SHIFTS + 1, np.nan)
        for at, shift in enumerate(range(-SHIFTS, SHIFTS + 1)):
            frames = np.arange(max(start, -shift), min(end, n - shift))
            frames = frames[~np.isnan(opened[frames])]
            x, y = opened[frames], loud[frames + shift]
            if 2 * len(frames) >= min(end - start, n - SHIFTS) and np.ptp(x) > STILL and np.ptp(y) > EVEN:
                found[at] = 1 - np.corrcoef(x, y)[0, 1]
        return found

    return apart
