"""Lip sync by computer graphics: the target's mouth is bent to other speech, and that speech is put under it.

No learned model. Where the speech's phonemes are known they say what the lips do (`visemes`), and its loudness how far they
open; otherwise loudness between 250 and 1000 Hz opens the mouth, and a bright spectrum widens it. What the target's own mouth
did is taken out first. What the picture does not show (teeth and cavity of a mouth that was shut) is painted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.audio import resample
from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Said, Sound, spans
from forgeline.errors import MediaError
from forgeline.mesh import LIPS_INNER, LIPS_OUTER
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import colours_at
from generators.blend_swap import SKIN
from generators.expression import LOWER_LIP, UPPER_LIP, Expression, expression_of, fade
from generators.mouth import JAW, Inside, Look, around, gap, lay_lips, paint, upright
from generators.plugin import Casting, Stream, face_of
from generators.pose import axes, workable, yaw
from generators.recording import dubbed
from generators.visemes import REST, Viseme, shapes
from generators.warp import move, trim

Floats = NDArray[np.float32]

# fmt: off
_UPPER = np.array([
    0, 11, 12, 13, 37, 72, 38, 82, 39, 73, 41, 81, 40, 74, 42, 80, 185, 184, 183, 191, 267, 302, 268, 312, 269, 303, 271, 311,
    270, 304, 272, 310, 409, 408, 407, 415,
])
_LOWER = np.array([
    17, 16, 15, 14, 84, 85, 86, 87, 181, 180, 179, 178, 91, 90, 89, 88, 146, 77, 96, 95, 314, 315, 316, 317, 405, 404, 403,
    402, 321, 320, 319, 318, 375, 307, 325, 324,
])
"""Points of the two lips, without the corners."""
_RED = np.array([0, 11, 12, 37, 267, 17, 16, 15, 84, 314])
"""Points in the middle of the lips' red, and on its rim."""
# fmt: on
RATE = 16000
"""Hz at which speech is analysed."""
STEPS = 100
"""Analyses a second."""
QUIET = -20.0
"""Decibels (of the band's power in one analysis) below which even the loudest sound is no speech."""
SILENT = -69.0
"""Decibels of digital silence, which says nothing about how loud the pauses of speech are."""
LEAST, LITTLE = 0.5, 0.01
"""Pixels, and distances from nose to chin: a frame in which nothing would move further stays as it is."""
RAMP_S = 0.08
"""Seconds in which the mouth goes over from its own speech to the other and back, where only a part is spoken."""
SLOW_S = 0.5
"""Deviation in seconds of the average that stays of what the target's own mouth does: a smile stays, speech does not."""
MOVING = 0.04
"""Distances from nose to chin by which the own lips are away from rest when all of what they do is taken out."""
GAPS = (0.045, 0.065, 0.09, 0.12, 0.16)
"""Distances from nose to chin that the lips are apart in the pictures from which the target's own mouth's inside is taken."""
CLOSE = 0.15
"""How far a gap may be from one of these, as a share."""
SIDEWAYS = 0.002
"""What a degree by which the head is turned counts against shut lips, in distances from nose to chin that they are apart."""
STEADY = 0.85
"""How much of the light on the mouth stays from one picture to the next."""
SAME = 8.0
"""Degrees that a head may be turned away from how it was when its lips were shut, for these lips to be laid on it."""
SHUT_JAW = 0.75
"""How much of the jaw's way is taken back when the teeth stay together."""


class LipSync(Section):
    """The target with the second parent's speech, and lips that follow it."""

    opening: Annotated[float, Field(gt=0, le=0.4)] = 0.16
    """Gap between the lips at the loudest, as a share of the distance from the nose's tip to the chin."""
    width: Annotated[float, Field(ge=0, le=0.3)] = 0.1
    """How much wider bright sounds (as in "tea") make the mouth, and how much narrower dark ones ("two"), as a share."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it keep their mouth."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video", "audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target's picture, its mouth bent to the other's speech, which takes the place of the target's own."""
        target, speaker = parents
        if not target.fps:
            raise MediaError(target.name, "is a still image", "leave it out as a target")
        put, words, phonemes = dubbed(target, speaker, rng)
        spoken = speaking(target, put.sound, phonemes, self)
        segments = (*spans(spoken.changed, target.fps, "video"), *put.segments)
        return replace(Made.of(target, spoken.pictures, segments), sound=put.sound, words=words, phonemes=phonemes)


@dataclass(frozen=True)
class Spoken:
    """A target that says something else: one pass over its pictures with their masks, and which frames `changed` (bool)."""

    pictures: Iterator[tuple[Picture, Mask]]
    changed: NDArray[np.bool_]


def speaking(
    target: Clip,
    sound: Sound,
    phonemes: Sequence[Said],
    settings: LipSync,
    during: Sequence[tuple[float, float]] | None = None,
) -> Spoken:
    """The target with a mouth that says `sound`, which has the target's length, and in it `phonemes`, where they are known.

    `during` limits what is changed to these spans (start and end in seconds): at both ends of each the mouth goes over from
    and to its own speech within RAMP_S, and frames outside stay bit for bit. Raises MediaError when the target can't be used.
    """
    track, fps = face_of(target), float(target.fps)
    able = workable(target, settings.max_yaw)
    amount = fade(able, fps) if during is None else np.minimum(fade(able, fps), _ramps(during, target.frames, fps))
    drive = driven(sound, phonemes, target.frames, fps)
    calmed = _calmed(expression_of(track, able, fps), able, drive, fps)
    wanted = np.zeros((target.frames, 468, 2), np.float32)
    places = np.zeros((target.frames, 2), np.float32)
    changed = np.zeros(target.frames, np.bool_)
    for frame in np.flatnonzero(able & (amount > 0)):
        mesh = track.mesh[frame]  # not averaged with its neighbours: what is left of the own speech would show
        shape = Viseme(*drive[frame].tolist())
        base = mesh.copy()
        base[:, :2] += calmed[frame]
        way = amount[frame] * (speak(base, shape.opening * settings.opening, 1 + settings.width * shape.width, shape) - mesh)
        changed[frame] = np.hypot(*way[:, :2].T).max() > max(LEAST, LITTLE * axes(mesh)[2])
        wanted[frame] = mesh[:, :2] + way[:, :2]
        places[frame] = (0.875 * base[13] + 0.125 * base[14])[:2]
    own = _Own.of(target, np.flatnonzero(able)) if changed.any() else None

    def pictures() -> Iterator[tuple[Picture, Mask]]:
        colours = None
        for frame, picture in enumerate(target.pictures()):
            mask = np.zeros(picture.shape[:2], np.uint8)
            if changed[frame] and own:
                original, picture = picture, picture.copy()
                mesh = track.mesh[frame]
                at = colours_at(picture, mesh)
                now = np.stack([np.median(at[SKIN], axis=0), np.median(at[_RED], axis=0), own.lighter(at)])
                colours = now if colours is None else STEADY * colours + (1 - STEADY) * now
                moved = mesh.copy()
                moved[:, :2] = wanted[frame]
                move(picture, mask, mesh, moved)
                lay_lips(picture, mask, moved, own.shut, own.near, colours[2], float(amount[frame]) * own.alike(mesh))
                shape = Viseme(*drive[frame].tolist())
                jaw = JAW * shape.opening * settings.opening * (1 - SHUT_JAW * shape.teeth)
                inside = Inside(colours[0], colours[1], places[frame], jaw, shape.tongue, own.enamel, own.looks)
                paint(picture, mask, moved, colours[0], float(amount[frame]), inside)
                trim(mask, original, picture)
            yield picture, mask

    return Spoken(pictures(), changed)


@dataclass(frozen=True)
class _Own:
    """What is taken from the target's pictures of its own mouth.

    `shut`: the lips where they are closest together; `near` (468,): how far around them that picture is shown, and `colours`
    (468, 3), `side`: the face's colours in it and by how many degrees it is turned. `looks`: the inside where the lips are
    about as far apart as each of GAPS, in their order; `enamel` (3,): the teeth's colour, where they show.
    """

    shut: Look
    near: Floats
    colours: Floats
    side: float
    looks: tuple[Look, ...]
    enamel: Floats | None

    @classmethod
    def of(cls, target: Clip, at: NDArray[np.intp]) -> "_Own":
        """Out of frames `at`, at least one, in one pass."""
        meshes = face_of(target).mesh[at]
        gaps = np.array([gap(mesh) for mesh in meshes])
        moving = np.abs(np.gradient(gaps)) if len(at) > 1 else np.zeros(1)  # a mouth that moves is blurred
        sides = yaw(meshes)
        closest = int(np.argmin(gaps + moving + SIDEWAYS * np.abs(sides - np.median(sides))))
        chosen = set()
        for wanted in GAPS:
            near = np.flatnonzero(np.abs(gaps / wanted - 1) < CLOSE)
            if len(near):
                chosen.add(int(near[np.argmin(moving[near])]))
        rows = {int(at[row]): row for row in chosen | {closest}}
        taken: dict[int, tuple[Look, Floats]] = {}
        for frame, picture in enumerate(target.pictures()):
            if frame in rows:
                mesh = meshes[rows[frame]]
                taken[rows[frame]] = Look.at(picture, mesh), colours_at(picture, mesh)
            if len(taken) == len(rows):
                break
        looks = tuple(sorted((taken[row][0] for row in chosen), key=lambda look: look.gap))
        found = [taken[row][0].enamel(np.median(taken[row][1][SKIN], axis=0)) for row in sorted(chosen)]
        enamels = [enamel for enamel in found if enamel is not None]
        brightest = max(enamels, key=lambda colour: float(colour.mean()), default=None)
        shut, colours = taken[closest]
        return cls(shut, around(meshes[closest]), colours, float(sides[closest]), looks, brightest)

    def lighter(self, colours: Floats) -> Floats:
        """How much lighter (3,) the skin around the lips is than with shut lips; `colours` (468, 3) are the face's."""
        ring = (self.near > 0) & (self.near < 1)
        return np.asarray((colours - self.colours)[ring].mean(0), np.float32)

    def alike(self, mesh: Floats) -> float:
        """How well the picture of shut lips fits a head that is turned like this, 0 … 1."""
        return float(np.clip(2 - abs(float(yaw(mesh)) - self.side) / SAME, 0, 1))


def driven(sound: Sound, phonemes: Sequence[Said], frames: int, fps: float) -> Floats:
    """What the mouth does, frame by frame: (frames, 8), the fields of a Viseme."""
    openness, brightness = follow(sound, frames, fps)
    if phonemes:
        reach = max(1, round(0.12 * fps))
        near = np.lib.stride_tricks.sliding_window_view(np.pad(openness, reach, mode="edge"), 2 * reach + 1)
        return shapes(phonemes, near.max(1), fps)
    drive = np.zeros((frames, len(REST)), np.float32)
    drive[:, 0], drive[:, 1] = openness, 2 * brightness - 1
    drive[:, Viseme._fields.index("teeth")] = 0.6 * brightness * (1 - openness)
    drive[:, Viseme._fields.index("pucker")] = np.clip(0.6 - 2 * brightness, 0, 0.6) * openness
    return drive


def _ramps(during: Sequence[tuple[float, float]], frames: int, fps: float) -> Floats:
    """(frames,) how much of the mouth is the other speech's: 1 within spans in seconds, 0 outside, and smoothly between."""
    times = (np.arange(frames) + 0.5) / fps
    inside = [np.minimum(times - start, end - times) / RAMP_S for start, end in during]
    rise = np.clip(np.max([np.full(frames, -1.0), *inside], axis=0), 0, 1)
    return np.asarray(rise * rise * (3 - 2 * rise), np.float32)


def _calmed(own: Expression, able: NDArray[np.bool_], drive: Floats, fps: float) -> Floats:
    """(frames, 468, 2) in pixels: what takes the target's own speech out of its mouth, 0 where it is not seen.

    The mouth is brought to its average over SLOW_S. Where it rests and nothing is said it stays as it is.
    """
    at = np.flatnonzero(able)
    right, down, size = upright(own.rest)
    middle = own.rest[[13, 14]].mean(0)
    x, y = ((own.rest - middle)[:, :2] @ axis / size for axis in (right, down))
    nose = float(y[1])
    half = float(np.abs(x[[61, 291]]).mean())
    area = np.clip((y - nose) / (-0.6 * nose), 0, 1) * np.exp(-((x / (2 * half)) ** 4))
    offsets = own.offsets[at] * area[:, None].astype(np.float32)
    lips = np.concatenate([LIPS_OUTER, LIPS_INNER])
    away = np.sqrt(np.square(offsets[:, lips]).sum(2).mean(1)) / (MOVING * size)
    said = np.abs(drive[at, :3]).max(1) * 4
    busy = np.clip(_around(np.maximum(away, said), at, 0.1 * fps), 0, 1)
    slow = _around(offsets.reshape(len(at), -1), at, SLOW_S * fps).reshape(offsets.shape)
    way = own.scale[at, None, None] * ((slow - offsets) @ own.turn[at].transpose(0, 2, 1)) * busy[:, None, None]
    found = np.zeros((len(able), 468, 2), np.float32)
    found[at] = way[..., :2]
    return found


def _around(values: Floats, at: NDArray[np.intp], frames: float) -> Floats:
    """Rows (n, …) at frames `at`, each averaged with those around it under a Gaussian of this deviation."""
    far = int(np.ceil(2.5 * frames))
    found = np.empty_like(values)
    for row, frame in enumerate(at):
        first, last = np.searchsorted(at, [frame - far, frame + far + 1])
        weight = np.exp(-0.5 * np.square((at[first:last] - frame) / frames)).astype(np.float32)
        found[row] = weight / weight.sum() @ values[first:last]
    return found


def follow(speech: Sound, frames: int, fps: float) -> tuple[Floats, Floats]:
    """What speech does to a mouth, (frames,) each in [0, 1]: how open it is, and how bright the sound (0.5 where silent).

    Openness is the level from 250 to 1000 Hz between its 15th and 95th percentile, at least 20 dB apart; brightness is the
    centroid from 800 to 2600 Hz, where the second formant lies: 1100 Hz and less is 0, 1800 Hz and more is 1.
    """
    samples = resample(speech, RATE).samples
    window = np.hanning(512).astype(np.float32)
    parts = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 256), 512)[:: RATE // STEPS]
    power = np.concatenate(
        [np.square(np.abs(np.fft.rfft(part * window))) for part in np.array_split(parts, len(parts) // 1000 + 1)]
    )
    hertz = np.fft.rfftfreq(512, 1 / RATE)
    level = 10 * np.log10(power[:, (hertz > 250) & (hertz < 1000)].sum(1) + 1e-7)
    heard = level[level > SILENT]
    low, high = np.percentile(heard, [15, 95]) if len(heard) else (SILENT, SILENT)
    high = max(high, QUIET)
    low = min(low, high - 20)
    formant = (hertz > 800) & (hertz < 2600)
    energy = power[:, formant].sum(1)
    centroid = power[:, formant] @ hertz[formant] / (energy + 1e-9)
    openness = _smooth(np.clip((level - low) / (high - low), 0, 1), 7)
    bright = np.where(level > low, np.clip((centroid - 1100) / 700, 0, 1), 0.5)
    bright = _smooth(bright, 15)
    at = (np.arange(frames) + 0.5) / fps * STEPS
    steps = np.arange(len(level))
    return (
        np.interp(at, steps, openness, right=0).astype(np.float32),
        np.interp(at, steps, bright, right=0.5).astype(np.float32),
    )


def _smooth(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    weights = np.hanning(steps + 2)[1:-1]
    return np.convolve(np.pad(values, steps // 2, mode="edge"), weights / weights.sum(), mode="valid")


def speak(mesh: Floats, opening: float, width: float, shape: Viseme = REST) -> Floats:
    """The mesh with the lips apart by `opening` (in distances from nose to chin) and the mouth `width` times as wide.

    The lower lip takes seven eighths of the way and the jaw follows it; what lies above the nose stays. Of `shape` all but
    these two is done as well: pucker, lift, press, tuck, and how far the jaw stays behind.
    """
    right, down, face = upright(mesh)
    offset = mesh[:, :2] - mesh[[13, 14], :2].mean(0)
    x, y = offset @ right / face, offset @ down / face
    sides = np.maximum(np.abs(x[[61, 291]]), 1e-3)
    h = x / np.where(x < 0, sides[0], sides[1])  # -1 … 1 from corner to corner, also of a head that is turned
    nose = np.clip((y - y[1]) / 0.15, 0, 1)  # what lies above it stays
    # Each pair of points on the inner lips goes as far apart as the opening is there, whatever it was before.
    apart = (mesh[LOWER_LIP] - mesh[UPPER_LIP])[:, :2] @ down / face
    pairs = h[UPPER_LIP] / 2 + h[LOWER_LIP] / 2
    order = np.argsort(pairs)
    parted = 0.5 + 0.5 * min(opening / 0.06, 1)  # lips that hardly open stay together towards the corners
    profile = np.clip(1 - np.square(pairs / parted), 0, 1) ** (1 - 0.4 * shape.pucker)
    profile = profile / max(float(profile.max()), 1e-3)
    drops = np.interp(
        h, np.concatenate([[-1], pairs[order], [1]]), np.concatenate([[0], (opening * profile - apart)[order], [0]])
    )
    drop = opening - float((mesh[14] - mesh[13])[:2] @ down) / face
    back = SHUT_JAW * shape.teeth * opening
    along = 0.75 * (drop - back) * np.clip((y + 0.02) / 0.2, 0, 1) * np.exp(-((h / 1.8) ** 4))
    reach = np.exp(-np.square(h / 0.75))
    # The upper lip rises by itself, and the lower one then goes less far down.
    rise = 0.03 * shape.lift * (opening > 0)
    along -= rise * reach * nose * np.clip(1 + (y + 0.1) / 0.15, 0, 1) * (y < 0)
    along[_LOWER] = 0.875 * drops[_LOWER] - rise * reach[_LOWER]
    along[_UPPER] = -0.125 * drops[_UPPER] - rise * reach[_UPPER]
    # Rounded lips are full, pressed ones thin; a lower lip against the teeth is half hidden.
    full = 0.03 * shape.pucker - 0.022 * shape.press
    thick = np.clip(np.abs(y) / 0.1, 0, 1) * np.exp(-np.square(np.maximum(np.abs(y) - 0.12, 0) / 0.1)) * reach * nose
    along += (np.where(y < 0, -full, full - 0.03 * shape.tuck)) * thick
    factor = width * (1 - 0.16 * shape.pucker)
    across = (factor - 1) * np.exp(-((h / 1.6) ** 4) - (y / (0.7 * sides.mean())) ** 2) * x
    moved = mesh.copy()
    moved[:, :2] += face * (along[:, None] * down + across[:, None] * right)
    return moved
