"""Pictures and sound through an encoder and a decoder again, in memory: what is left of them, frame by frame, in sync.

One thread and fixed settings everywhere, so that the same input leaves the same. The damage that lost packets do is what
a real decoder makes of a real stream with holes.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, Literal

import av
import cv2
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray
from pydantic import Field

from forgeline.audio import fit, resample
from forgeline.clip import Made, Mask, Picture, Sound, spans
from forgeline.section import Section
from forgeline.video import Encoding, frame_of, picture_of, tag_colours

Share = Annotated[float, Field(ge=0, le=0.5)]

_SLICES = 6  # a picture is sent in so many packets
_KEY_S = 1  # seconds from one key picture to the next
_BUFFER_S = 0.25  # of bits: how long the rate may be off
_SKIPPED_RUN, _LOST_RUN = 3, 4  # pictures, packets: networks fail in bursts of about this length
_BLOCK = np.ones((17, 17), np.uint8)  # damage comes in blocks of 16 pixels, some of which happen to be right
_SLICE_TYPES = (1, 5)  # of NAL units: ITU-T H.264, table 7-1

Codec = Literal["aac", "opus"]
_CODECS: dict[Codec, tuple[str, str, tuple[int, ...], int]] = {
    "aac": ("aac", "fltp", (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000), 1024),
    "opus": ("libopus", "flt", (48000, 24000, 16000, 12000, 8000), 0),
}
"""Encoder, its sample format, its rates in Hz, and the samples that it puts first and its decoder leaves in."""


def recoded(made: Made, encoding: Encoding) -> Made:
    """What an encoding leaves of the pictures. Masks stay as they are."""
    return replace(made, pictures=_recoded(made, encoding))


def _recoded(made: Made, encoding: Encoding) -> Iterator[tuple[Picture, Mask | None]]:
    encoder = _encoder(made, {"crf": str(encoding.crf), "preset": encoding.preset, "g": str(encoding.gop)})
    decoder = _decoder()
    masks: deque[Mask | None] = deque()  # of the pictures that the encoder still looks at

    def decoded(packets: "list[av.Packet[Any]]") -> Iterator[tuple[Picture, Mask | None]]:
        for packet in packets:
            for frame in decoder.decode(packet):
                yield picture_of(frame), masks.popleft()

    for number, (picture, mask) in enumerate(made.pictures):
        masks.append(mask)
        yield from decoded(_encoded(encoder, picture, number))
    yield from decoded(encoder.encode(None))
    for frame in decoder.decode(None):
        yield picture_of(frame), masks.popleft()


class Network(Section):
    """A live stream as calls and cameras send it: a low bitrate, no look ahead, and packets that don't arrive.

    A picture that was not sent, or of which nothing arrived, shows the one before; the frame rate stays. Where a part did
    not arrive the decoder covers it up, and the damage moves on until a whole key picture comes (one a second).
    """

    kbps: Annotated[int, Field(ge=16, le=50_000)]
    """Thousands of bits a second."""
    swing: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """How far the bitrate swings: at 0.5 between half and one and a half times `kbps`, newly drawn at every key picture."""
    skipped: Share = 0.0
    """Share of the pictures that are not sent."""
    lost: Share = 0.0
    """Share of the packets that don't arrive; a picture is sent in six."""

    def __call__(self, made: Made, rng: np.random.Generator) -> Made:
        """What arrives of a clip. What is skipped and lost depends on `rng` and the length alone, not on the pictures.

        Masks show what the pictures show: they repeat with them, and where damage is seen they hold all that may have
        been changed there, as `segments` do.
        """
        plan = self._planned(made.frames, made.fps, rng)
        arrives, changed = plan.arrives, np.zeros(made.frames, np.bool_)
        for segment in made.segments:
            if segment.modality == "video":
                changed[round(segment.start_s * made.fps) : round(segment.end_s * made.fps)] = True
        for number in range(1, made.frames):
            if not arrives[number]:
                changed[number] = changed[number - 1]
            elif plan.damaged[number]:
                changed[number] |= changed[number - 1]
        sound = tuple(segment for segment in made.segments if segment.modality == "audio")
        segments = (*spans(changed, made.fps, "video"), *sound)
        return replace(made, pictures=self._received(made, plan), segments=segments)

    def _planned(self, frames: int, fps: Fraction, rng: np.random.Generator) -> "_Plan":
        sent = ~_bursts(frames, self.skipped, _SKIPPED_RUN, rng)
        missing = _bursts(frames * _SLICES, self.lost, _LOST_RUN, rng).reshape(frames, _SLICES)
        sent[0], missing[0] = True, False  # there is nothing yet that could be shown instead
        key = sent & ((np.cumsum(sent) - 1) % max(round(_KEY_S * fps), 1) == 0)
        damaged = np.zeros(frames, np.bool_)
        for number in range(1, frames):
            hole = bool(sent[number] and missing[number].any())
            damaged[number] = hole or (damaged[number - 1] and not key[number])
        bitrates = np.rint(1000 * self.kbps * (1 + rng.uniform(-self.swing, self.swing, frames)))
        return _Plan(sent, missing, key, damaged, bitrates.astype(np.int64))

    def _received(self, made: Made, plan: "_Plan") -> Iterator[tuple[Picture, Mask | None]]:
        decoder, unharmed = _decoder(), _decoder()
        shown: tuple[Picture, Mask | None] | None = None
        traces: Mask = np.zeros((made.height, made.width), np.uint8)  # all of the changes that damage may still show
        for number, (picture, mask) in enumerate(made.pictures):
            if plan.key[number]:
                # A new encoder each time: one that goes on makes up for what it sent too much or too little before.
                encoder = _live_encoder(made, int(plan.bitrates[number]))
            if plan.sent[number]:
                (packet,) = _encoded(encoder, picture, number)
                arrived = _decoded(decoder, _without(bytes(packet), plan.missing[number]))
                whole = picture_of(*unharmed.decode(packet)) if plan.missing.any() and mask is not None else None
                if arrived is not None:
                    if mask is not None and whole is not None:
                        traces = np.maximum(traces, mask) if plan.damaged[number] else mask
                        harmed = cv2.dilate((arrived != whole).any(axis=2).astype(np.uint8), _BLOCK)
                        mask = np.where(harmed > 0, traces, mask)
                    shown = arrived, mask
            if shown is not None:
                yield shown


@dataclass(frozen=True)
class _Plan:
    """What becomes of each picture on its way; all are (frames,) but for `missing`."""

    sent: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    """(frames, packets) those that don't arrive."""
    key: NDArray[np.bool_]
    damaged: NDArray[np.bool_]
    """Whether what is shown is, or may still be."""
    bitrates: NDArray[np.int64]
    """Bits a second, for the key pictures."""

    @property
    def arrives(self) -> NDArray[np.bool_]:
        """Whether anything of it does."""
        return self.sent & ~self.missing.all(axis=1)


def _bursts(count: int, share: float, run: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(count,) True for about `share` of them, in runs of about `run` (a Gilbert channel: two states, two chances)."""
    draws, bad, states = rng.random(count), False, np.zeros(count, np.bool_)
    begins = share / (1 - share) / run
    for number, draw in enumerate(draws):
        bad = bool(draw >= 1 / run) if bad else bool(draw < begins)
        states[number] = bad
    return states


def _encoder(made: Made, options: dict[str, str]) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = made.width, made.height, "yuv420p"
    encoder.framerate, encoder.time_base = made.fps, 1 / made.fps
    encoder.thread_count = 1
    encoder.options = {**options, "threads": "1", "mbtree": "0"}  # why without its tree: see `video`
    encoder.flags |= Flags.bitexact
    tag_colours(encoder)
    return encoder


def _live_encoder(made: Made, bitrate: int) -> av.VideoCodecContext:
    live = {"preset": "veryfast", "tune": "zerolatency", "sliced-threads": "0", "slices": str(_SLICES)}
    rate = {"maxrate": str(bitrate), "bufsize": str(round(_BUFFER_S * bitrate))}
    only_first_is_key = {"g": str(made.frames + 1), "scenecut": "0"}
    encoder = _encoder(made, {**live, **rate, **only_first_is_key})
    encoder.bit_rate = bitrate
    return encoder


def _decoder() -> av.VideoCodecContext:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.flags |= Flags.bitexact | Flags.output_corrupt | Flags.low_delay
    return decoder


def _encoded(encoder: av.VideoCodecContext, picture: Picture, number: int) -> "list[av.Packet[Any]]":
    frame = frame_of(picture)
    frame.pts = number
    return encoder.encode(frame)


def _without(stream: bytes, missing: NDArray[np.bool_]) -> bytes:
    """A coded picture (H.264, annex B) without those of its slices that don't arrive."""
    starts = [match.start() for match in re.finditer(b"\0\0\1", stream)]
    units = [stream[start:end] for start, end in zip(starts, [*starts[1:], len(stream)], strict=True)]
    slices = iter(missing)
    return b"".join(unit for unit in units if unit[3] & 31 not in _SLICE_TYPES or not next(slices))


def _decoded(decoder: av.VideoCodecContext, stream: bytes) -> Picture | None:
    """What the decoder makes of a coded picture, None where too little of it is there."""
    if not stream:
        return None
    try:
        frames = decoder.decode(av.Packet(stream))
    except av.error.InvalidDataError:
        return None
    return picture_of(frames[0]) if frames else None


def through(sound: Sound, codec: Codec, kbps: int) -> Sound:
    """What a codec at so many thousand bits a second leaves of a sound, of the same rate and length, and as early."""
    name, form, rates, delay = _CODECS[codec]
    rate = sound.rate if sound.rate in rates else 48000
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", form
    encoder.bit_rate, encoder.thread_count = 1000 * kbps, 1
    encoder.flags |= Flags.bitexact
    encoder.open()
    samples = np.clip(resample(sound, rate).samples, -1, 1)
    packets: list[av.Packet[Any]] = []
    for start in range(0, len(samples), encoder.frame_size):
        piece = np.zeros(encoder.frame_size, np.float32)
        part = samples[start : start + encoder.frame_size]
        piece[: len(part)] = part
        frame = av.AudioFrame.from_ndarray(piece[None], format=form, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.extradata, decoder.thread_count = encoder.extradata, 1
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    left = np.concatenate([frame.to_ndarray().ravel() for frame in decoded])[delay:]
    wave = (left / (32768 if left.dtype == np.int16 else 1)).astype(np.float32)
    heard = resample(Sound(wave, decoded[0].sample_rate), sound.rate)
    return fit(Sound(np.clip(heard.samples, -1, 1), sound.rate), len(sound.samples) / sound.rate)
