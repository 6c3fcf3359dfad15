"""Sound files in and out, and the one form that every clip's sound is given on its way into a file."""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
from av.codec.context import Flags
from av.filter import Graph
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Picture, Sound
from forgeline.errors import MediaError
from forgeline.section import Section

LONGEST_S = 1200
"""Seconds of sound that are read from a file of sound alone; a longer one is refused before it fills the memory."""

SILENT_LUFS = -70.0
"""The absolute gate of ITU-R BS.1770-4: what is quieter, or shorter than a block of 0.4 s, has no loudness and gets this."""

_HIGHEST_HZ = 192_000
_RUMBLE_HZ = 60
_BLOCK = 4096  # samples
_FORMATS = {"format_whitelist": "wav,flac,ogg,mp3,aac,mov,mp4,m4a,matroska,webm", "protocol_whitelist": "file"}
_LEAVE_OUT = "replace it by a whole copy, or leave it out"


class SoundForm(Section):
    """The one form of all sound, forged or not: what differs in rate, level or rumble would tell them apart unheard."""

    rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    """Hz. Nothing above its half is left, of any clip: synthesisers and corpora end at different frequencies."""
    loudness: Annotated[float, Field(ge=-40, le=-16)] = -26.0
    """Loudness in LUFS (ITU-R BS.1770-4); sound whose peaks would be cut off is left so much quieter."""

    def __call__(self, sound: Sound, seconds: float) -> Sound:
        """The sound at `rate`, exactly `round(seconds * rate)` samples: with little below 60 Hz, at `loudness`, dithered.

        The dither is triangular, of one step of 16 bits either way (Lipshitz, Wannamaker and Vanderkooy 1992), and the same
        for all sounds of a length. Silence, and what is shorter than 0.4 s, keeps its level.
        """
        even = fit(resample(sound, self.rate), seconds)
        samples = filtered(even, *[("highpass", f"f={_RUMBLE_HZ}")] * 2).samples
        loud = loudness(Sound(samples, self.rate))
        if loud > SILENT_LUFS:
            samples = samples * min(10 ** ((self.loudness - loud) / 20), 0.98 / float(np.abs(samples).max()))
        dither = np.random.default_rng(len(samples)).random((2, len(samples)))
        return Sound(np.clip(samples + (dither[0] - dither[1]) / 32768, -1, 1).astype(np.float32), self.rate)


def open_sound(path: Path) -> Clip:
    """The clip in a file of sound alone (WAV, FLAC, Ogg, MP3, M4A), its channels mixed to one. It has no size and no frames.

    MediaError for what can't be read, holds pictures or several sounds, or lasts more than twenty minutes.
    """

    def none() -> Iterator[Picture]:
        yield from ()

    sound = _read(path)
    return Clip("audio", 0, 0, Fraction(0), 0, none, lambda: sound, name=str(path))


def _read(path: Path) -> Sound:
    """All of a file's sound: decoded whole, so that what is broken shows at once."""
    if _is_cut_wav(path):
        raise MediaError(path, "is cut off: its header says that it is longer", _LEAVE_OUT)
    try:
        # A file object, not a name: a hostile file name can't be taken for a protocol.
        with path.open("rb") as file, av.open(file, "r", options=_FORMATS, metadata_errors="replace") as container:
            streams = container.streams.audio
            if len(streams) != 1:
                raise MediaError(path, f"has {len(streams) or 'no'} sound streams", "give a file with one")
            stream = streams[0]
            if stream.codec_context is None or not stream.rate:
                raise MediaError(path, "has sound that is broken, or of a codec that is not known", _LEAVE_OUT)
            rate = int(stream.rate)
            if rate > _HIGHEST_HZ:
                raise MediaError(path, f"has {rate} samples a second", "resample it, to 48000 for example, or leave it out")
            # By way of integers: to floats, the resampler adds channels up beyond full scale.
            resampler = av.AudioResampler(format="s32", layout="mono", rate=rate)
            pieces: list[NDArray[np.float32]] = []
            heard = 0
            for frame in container.decode(stream):
                frame.pts = None
                for piece in resampled(resampler, frame, path):
                    pieces.append(_level(piece))
                    heard += len(pieces[-1])
                if heard > LONGEST_S * rate:
                    raise MediaError(path, f"lasts longer than {LONGEST_S // 60} minutes", "cut it into clips")
            pieces += [_level(piece) for piece in resampler.resample(None)]
    except FileNotFoundError as error:
        raise MediaError(path, "is not there", "put the file back, or run `python -m flows scan`") from error
    except (av.error.FFmpegError, MemoryError, UnicodeError, OSError) as error:
        reason = str(getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise MediaError(path, f"is broken, cut off or no sound ({reason})", _LEAVE_OUT) from error
    if not heard:
        raise MediaError(path, "holds no sound that can be decoded", _LEAVE_OUT)
    return Sound(np.concatenate(pieces), rate)


def resampled(resampler: av.AudioResampler, frame: av.AudioFrame, path: Path) -> list[av.AudioFrame]:
    """What the resampler gives for a frame of the file at `path`. MediaError where its form is not that of those before it."""
    try:
        return resampler.resample(frame)
    except ValueError as error:
        raise MediaError(path, "has sound that changes its form, or is damaged", "re-encode it, or leave it out") from error


def _is_cut_wav(path: Path) -> bool:
    """Whether a WAV file is shorter than it says: FFmpeg takes what is there. One that was streamed can't know."""
    try:
        with path.open("rb") as file:
            head, size = file.read(12), os.fstat(file.fileno()).st_size
    except OSError:
        return False  # whoever reads it will say so
    promised = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and head[8:] == b"WAVE" and size < promised < 0x7FFF0000


def _level(piece: av.AudioFrame) -> NDArray[np.float32]:
    return (piece.to_ndarray().reshape(-1) / 2.0**31).astype(np.float32)


def write_sound(path: Path, sound: Sound) -> None:
    """Write a FLAC file of 16 bits, mono. Same input, same bytes."""
    # Not by the name: a draft may be called otherwise.
    with av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("flac", rate=sound.rate, layout="mono", format="s16")
        stream.codec_context.flags |= Flags.bitexact
        for start in range(0, len(sound.samples), _BLOCK):
            block = to_int16(sound.samples[start : start + _BLOCK])[None]
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = sound.rate, start, Fraction(1, sound.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def filtered(sound: Sound, *filters: tuple[str, str]) -> Sound:
    """The sound after FFmpeg's filters of these names, each with its settings, of the rate it had. Same input, same samples.

    scipy and librosa would do as well, but take seconds to import, in every worker.
    """
    pieces = [frame.to_ndarray().ravel() for frame in _through(sound, filters)]
    return Sound(np.concatenate([np.zeros(0, np.float32), *pieces]).astype(np.float32), sound.rate)


def loudness(sound: Sound) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4, EBU R 128), not below SILENT_LUFS."""
    last = SILENT_LUFS
    for frame in _through(sound, [("ebur128", "metadata=1")]):
        last = float(frame.metadata.get("lavfi.r128.I", last))
    return max(last, SILENT_LUFS) if np.isfinite(last) else SILENT_LUFS


def _through(sound: Sound, filters: Sequence[tuple[str, str]]) -> Iterator[Any]:
    """The frames that come out of a chain of filters, of floats; a second goes in at a time."""
    graph = Graph()
    source = graph.add_abuffer(sample_rate=sound.rate, format="flt", layout="mono", time_base=Fraction(1, sound.rate))
    end = source
    for name, settings in [*filters, ("aformat", "sample_fmts=flt"), ("abuffersink", "")]:
        added = graph.add(name, settings)
        end.link_to(added)
        end = added
    graph.configure()
    for start in range(0, len(sound.samples), sound.rate):
        frame = av.AudioFrame.from_ndarray(sound.samples[start : start + sound.rate][None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, start, Fraction(1, sound.rate)
        source.push(frame)
        yield from _pulled(graph)
    source.push(None)
    yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit integers, rounded to the nearest and clipped."""
    scaled: NDArray[np.float32] = np.rint(samples * np.float32(32768))
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def resample(sound: Sound, rate: int) -> Sound:
    """The sound at `rate` Hz, by soxr's high quality resampler."""
    if sound.rate == rate:
        return sound
    import soxr

    return Sound(np.asarray(soxr.resample(sound.samples, sound.rate, rate, quality="HQ"), np.float32), rate)


def fit(sound: Sound, seconds: float) -> Sound:
    """The sound cut, or padded with silence, to exactly `round(seconds * rate)` samples."""
    samples = np.zeros(round(seconds * sound.rate), np.float32)
    part = sound.samples[: len(samples)]
    samples[: len(part)] = part
    return Sound(samples, sound.rate)
