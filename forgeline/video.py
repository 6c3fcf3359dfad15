"""Video files in and out, through PyAV. One thread everywhere: x264 gives other bytes with another thread count."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray
from pydantic import Field

from forgeline.audio import resampled, to_int16
from forgeline.clip import Clip, Mask, Picture, Sound, Track
from forgeline.errors import MediaError, PromiseError
from forgeline.section import Section

LONGEST_SIDE = 8192
"""Pixels; a larger picture is refused before it is decoded."""

# Playlists and the like could make the decoder open other files, so only true containers are allowed.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,nut,mxf,h264,wav,flac,mp3,aac"
_OPEN = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# Without FULL_CHR_H_INT an exact conversion of 4:2:0 to RGB darkens every picture by two levels.
_SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
_GAP_S = 0.02
_CUT_S = Fraction(1, 2)
_MOST_SAMPLES = 2 * 3600 * 48_000  # of a film's sound: 1.3 GiB


class Encoding(Section):
    """How x264 encodes a picture stream."""

    crf: Annotated[int, Field(ge=0, le=51)] = 18
    """Constant rate factor: 0 loses nothing but chroma, 18 is visually lossless, 23 and 40 are the field's c23 and c40."""
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = "medium"
    """x264's speed against size."""
    gop: Annotated[int, Field(ge=1, le=250)] = 24
    """Pictures from one key picture to the next: the watermark of moving video lives in the key pictures."""


@dataclass(frozen=True)
class _Timing:
    """Constant-rate grid over a stream: picture i is shown at `start + i / fps` seconds."""

    start: Fraction
    fps: Fraction
    frames: int
    even: bool


def open_video(path: Path, track: Track | None = None) -> Clip:
    """The clip in a video file: upright, constant frame rate, both sides cut to even, the sound in sync with the picture.

    A variable frame rate is put on a constant grid (each picture is the newest one at its time). Packets are read once to
    learn the timing, and one picture is decoded. Raises MediaError for what can't be used, there or during a pass.
    """
    with _reading(path) as container:
        timing = _timing(container, path)
        has_sound = bool(container.streams.audio)
    if timing.frames < 2:
        raise MediaError(path, "has only one picture", "give a video of at least two pictures, or leave the file out")
    with _reading(path) as container:
        first = next(_decoded(container, path), None)
        if first is None:
            raise MediaError(path, "holds no picture that can be decoded", "replace the file by a whole copy")
        height, width = picture_of(first).shape[:2]
    return Clip(
        media_type="video",
        width=width,
        height=height,
        fps=timing.fps,
        frames=timing.frames,
        pictures=lambda: _pictures(path, timing, (height, width)),
        sound=lambda: _sound(path, timing) if has_sound else None,
        track=track,
        name=str(path),
    )


def key_pictures(path: Path) -> Iterator[Picture]:
    """The key pictures of a video file. The others are decoded as well, so that damage is found, but not converted to RGB.

    Raises MediaError, also when there are fewer pictures than the file says.
    """
    with _reading(path) as container:
        decoded, promised = 0, _stream(container, path).frames
        for frame in _decoded(container, path):
            decoded += 1
            if frame.key_frame:
                yield picture_of(frame)
        if decoded < promised:
            what = f"ends after {decoded} of {promised} pictures"
            raise MediaError(path, what, "replace it by a whole copy, or leave it out")


def pictures_at(path: Path, numbers: Collection[int]) -> Iterator[Picture]:
    """Some of the pictures that `open_video` gives, by their numbers, in order. Others are decoded, but not converted to RGB,
    which takes as long again. Raises MediaError.
    """
    wanted = frozenset(numbers)
    with _reading(path) as container:
        timing = _timing(container, path)
    for number, frame in enumerate(_frames(path, timing)):
        if number in wanted:
            yield picture_of(frame)
        if number >= max(wanted, default=0):
            return


def read_masks(path: Path) -> Iterator[Mask]:
    """The masks of a file that `MaskWriter` wrote, exactly as they were given. Raises MediaError."""
    with _reading(path) as container:
        for frame in _decoded(container, path):
            plane = frame.planes[0]  # luma as it is: a conversion to grey would rescale its range
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            yield rows[: frame.height, : frame.width].copy()


@contextmanager
def _reading(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        # A file object, not a name: a hostile file name can't be taken for a protocol.
        with path.open("rb") as file, av.open(file, options=_OPEN, metadata_errors="replace") as container:
            yield container  # type: ignore[misc]  # without a mode it is an input
    except FileNotFoundError as error:
        raise MediaError(path, "is not there", "put the file back, or run `python -m flows scan`") from error
    except (av.error.FFmpegError, MemoryError, UnicodeError, OSError) as error:
        reason = "is empty" if path.exists() and not path.stat().st_size else "is broken, cut off or no video"
        raise MediaError(path, f"{reason} ({_first_line(error)})", "replace it by a whole copy, or leave it out") from error


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def _stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The picture stream, set up so that a picture that is larger than the container says can't fill the memory."""
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise MediaError(path, "has no picture stream", "give a video, or leave the file out")
    if stream.codec_context is None:
        raise MediaError(path, "is broken, or of a codec that is not known", "re-encode it, or leave it out")
    if max(stream.codec_context.width, stream.codec_context.height) > LONGEST_SIDE:
        raise MediaError(path, f"is larger than {LONGEST_SIDE} pixels", "scale it down, or leave it out")
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(LONGEST_SIDE**2)}
    return stream


def _timing(container: av.container.InputContainer, path: Path) -> _Timing:
    stream = _stream(container, path)
    tick = stream.time_base or Fraction(1, 90000)
    packets = container.demux(stream)
    if "matroska" in container.format.name and container.duration:
        packets = _to_the_end(container, path)
    times = sorted(
        p.pts for p in packets if p.stream_index == stream.index and p.pts is not None and p.size and not p.is_discard
    )
    nominal = stream.guessed_rate or stream.average_rate
    if not times or not nominal:
        raise MediaError(path, "has no picture with a time stamp", "rewrap it (for example as mp4), or leave it out")
    if len(times) == 1:
        return _Timing(times[0] * tick, Fraction(nominal), 1, True)
    if times[0] == times[-1]:
        raise MediaError(path, "has pictures that are all of one time", "rewrap or re-encode it, or leave it out")
    steps = np.diff(np.array(times, np.int64))
    # Containers round time stamps to their tick; steps that differ by no more are one constant rate.
    even = int(steps.max() - steps.min()) <= min(2, int(steps.min()) // 4)
    if even:
        measured = Fraction(len(times) - 1) / (Fraction(times[-1] - times[0]) * tick)
        exact = abs(nominal / measured - 1) * len(times) < Fraction(1, 2)  # else the sound would drift from the picture
    else:
        measured = 1 / (max(int(np.median(steps)), 1) * tick)
        exact = abs(nominal / measured - 1) < Fraction(1, 200)
    fps = Fraction(nominal) if exact else measured.limit_denominator(1001)
    if not fps:
        raise MediaError(path, "has pictures that are half an hour apart", "rewrap or re-encode it, or leave it out")
    if even:
        return _Timing(times[0] * tick, fps, len(times), True)
    frames = int((times[-1] - times[0]) * tick * fps + Fraction(1, 2)) + 1
    if frames > 4 * len(times):
        raise MediaError(path, "has jumps in its time stamps", "rewrap or re-encode it, or leave it out")
    return _Timing(times[0] * tick, fps, frames, False)


def _to_the_end(container: av.container.InputContainer, path: Path) -> Iterator["av.Packet[Any]"]:
    """The packets of a Matroska file, which says how long it is, but of which a part is as good a file as the whole."""
    end = Fraction(0)
    for packet in container.demux():
        if packet.pts is not None and packet.time_base:
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        yield packet
    promised = Fraction(container.duration or 0, 1_000_000)
    if end < promised - _CUT_S:
        what = f"ends after {float(end):.1f} of {float(promised):.1f} s"
        raise MediaError(path, what, "replace it by a whole copy, or leave it out")


def _decoded(container: av.container.InputContainer, path: Path) -> Iterator[av.VideoFrame]:
    for frame in container.decode(_stream(container, path)):
        if frame.is_corrupt:
            raise MediaError(path, "holds a picture that is damaged", "replace it by a whole copy, or leave it out")
        yield frame


def picture_of(frame: av.VideoFrame) -> Picture:
    """What a decoded frame shows: upright, RGB, both sides cut to even."""
    # Untagged video follows the convention that players use: BT.601 below 720 lines, BT.709 from there.
    space = frame.colorspace
    if space in (0, 2):
        space = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    # To planes first: only these does libswscale convert by more than one pixel at a time, to the same values.
    green, blue, red = frame.reformat(
        format="gbrp",
        src_colorspace=space,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_SCALER,
        threads=1,
    ).planes
    planes = [np.frombuffer(memoryview(each), np.uint8).reshape(each.height, each.line_size) for each in (red, green, blue)]
    picture = np.asarray(cv2.merge([plane[:, : frame.width] for plane in planes]), np.uint8)
    if frame.rotation % 360:
        picture = np.rot90(picture, frame.rotation // 90)
    height, width = picture.shape[0] & ~1, picture.shape[1] & ~1
    return np.ascontiguousarray(picture[:height, :width])


def frame_of(picture: Picture) -> av.VideoFrame:
    """A picture as an encoder takes it: yuv420p, BT.709, of limited range."""
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SCALER,
        threads=1,
    )


def tag_colours(encoder: av.VideoCodecContext) -> None:
    """Make an encoder write into its stream which colours `frame_of` gives it, so that `picture_of` gives them back."""
    encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
    encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


def _pictures(path: Path, timing: _Timing, shape: tuple[int, int]) -> Iterator[Picture]:
    return (_checked(frame, path, shape) for frame in _frames(path, timing))


def _frames(path: Path, timing: _Timing) -> Iterator[av.VideoFrame]:
    """What is shown at each place of the grid, decoded."""
    made = 0
    with _reading(path) as container:
        tick = container.streams.video[0].time_base or Fraction(1, 90000)
        shown: av.VideoFrame | None = None
        for frame in _decoded(container, path):
            if timing.even:
                if made < timing.frames:
                    yield frame
                    made += 1
                continue
            # The grid's pictures before this frame's time show the frame before it.
            time = (frame.pts or 0) * tick - timing.start
            while shown is not None and made < timing.frames and made / timing.fps < time - Fraction(1, 2) / timing.fps:
                yield shown
                made += 1
            shown = frame
        while not timing.even and shown is not None and made < timing.frames:
            yield shown
            made += 1
    if made < timing.frames:
        raise MediaError(path, f"ends after {made} of {timing.frames} pictures", "replace it by a whole copy, or leave it out")


def _checked(frame: av.VideoFrame, path: Path, shape: tuple[int, int]) -> Picture:
    picture = picture_of(frame)
    if picture.shape[:2] != shape:
        raise MediaError(path, "changes its picture size", "cut it into clips of one size, or leave it out")
    return picture


def _sound(path: Path, timing: _Timing) -> Sound | None:
    with _reading(path) as container:
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(path, "has sound that is broken, or of a codec that is not known", "re-encode it, or leave it out")
        if not stream.rate:
            return None
        rate = int(stream.rate)
        count = round(timing.frames / timing.fps * rate)
        if count > _MOST_SAMPLES:
            raise MediaError(path, "lasts longer than its sound can be held in memory", "cut it into clips, or leave it out")
        samples = np.zeros(count, np.float32)
        # By way of integers: to floats, the resampler adds channels up beyond full scale.
        resampler = av.AudioResampler(format="s32", layout="mono", rate=rate)
        at: int | None = None
        for frame in container.decode(stream):
            if frame.pts is not None and frame.time_base is not None:
                due = round((frame.pts * frame.time_base - timing.start) * rate)
                # Time stamps are rounded to the container's tick, so only a true gap moves the sound.
                if at is None or abs(due - at) > _GAP_S * rate:
                    at = due
            frame.pts = None
            for piece in resampled(resampler, frame, path):
                at = _place(samples, _level(piece), at or 0)
        for piece in resampler.resample(None):
            at = _place(samples, _level(piece), at or 0)
    return Sound(samples, rate)


def _level(piece: av.AudioFrame) -> NDArray[np.float32]:
    return (piece.to_ndarray().reshape(-1) / 2.0**31).astype(np.float32)


def _place(samples: NDArray[np.float32], piece: NDArray[np.float32], at: int) -> int:
    low, high = max(at, 0), min(at + len(piece), len(samples))
    if high > low:
        samples[low:high] = piece[low - at : high - at]
    return at + len(piece)


class VideoWriter:
    """Writes an mp4: x264 yuv420p tagged BT.709, and the sound as FLAC, exact to the sample. Same input, same bytes.

    A context manager; `write` takes (height, width, 3) uint8 RGB pictures of the size that was named (PromiseError if not).
    `sound` is cut or padded to the pictures' duration when the file is closed. Bytes depend on the PyAV wheel alone.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: Fraction, encoding: Encoding, sound: Sound | None = None
    ) -> None:
        if width % 2 or height % 2:
            raise PromiseError(path, f"{width}x{height} is not even", "report it: clips always have even sides")
        self._path, self._shape, self._fps, self._sound = path, (height, width, 3), fps, sound
        self._container = _mp4(path)
        options = {"crf": str(encoding.crf), "preset": encoding.preset, "g": str(encoding.gop)}
        self._video = _x264(self._container, width, height, fps, "yuv420p", options)
        tag_colours(self._video.codec_context)
        self._audio: Any = None
        if sound is not None:
            self._audio = self._container.add_stream("flac", rate=sound.rate, layout="mono", format="s16")
            self._audio.codec_context.flags |= Flags.bitexact
        self._heard = 0
        self.frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write_sound(final=True)
                for stream in filter(None, (self._video, self._audio)):
                    self._container.mux(stream.encode(None))
        finally:
            self._container.close()

    def write(self, picture: Picture) -> None:
        """Encode one picture, and the sound that belongs to it."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            what = f"a picture is {picture.shape} {picture.dtype}, not {self._shape} uint8"
            raise PromiseError(self._path, what, "report it: a generator must keep the size it declared")
        frame = frame_of(picture)
        frame.pts = self.frames
        self._container.mux(self._video.encode(frame))
        self.frames += 1
        self._write_sound(final=False)

    def _write_sound(self, final: bool) -> None:
        """Feed the encoder whole blocks up to the newest picture's end, so that the streams are interleaved."""
        if self._sound is None:
            return
        rate, samples = self._sound.rate, self._sound.samples
        end = round(self.frames / self._fps * rate)
        block = self._audio.codec_context.frame_size or 4096
        while self._heard + block <= end or (final and self._heard < end):
            size = min(block, end - self._heard)
            piece = np.zeros(size, np.float32)
            part = samples[self._heard : self._heard + size]
            piece[: len(part)] = part
            frame = av.AudioFrame.from_ndarray(to_int16(piece)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, self._heard, Fraction(1, rate)
            self._container.mux(self._audio.encode(frame))
            self._heard += size


class MaskWriter:
    """Writes masks as lossless grey x264 (`read_masks` gives them back bit for bit). A context manager like `VideoWriter`."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        self._path, self._shape = path, (height, width)
        self._container = _mp4(path)
        self._video = _x264(self._container, width, height, fps, "gray", {"qp": "0", "preset": "superfast", "g": "250"})
        self._video.codec_context.color_range = ColorRange.JPEG
        self.frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._video.encode(None))
        finally:
            self._container.close()

    def write(self, mask: Mask) -> None:
        """Encode one mask, (height, width) uint8."""
        if mask.shape != self._shape or mask.dtype != np.uint8:
            what = f"a mask is {mask.shape} {mask.dtype}, not {self._shape} uint8"
            raise PromiseError(self._path, what, "report it: a mask has its picture's size")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(mask), format="gray")
        frame.color_range = ColorRange.JPEG
        frame.pts = self.frames
        self._container.mux(self._video.encode(frame))
        self.frames += 1


def _mp4(path: Path) -> av.container.OutputContainer:
    return av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"})


def _x264(
    container: av.container.OutputContainer, width: int, height: int, fps: Fraction, pixels: str, options: dict[str, str]
) -> av.VideoStream:
    # With its macroblock tree x264 reads memory that it never wrote unless the width is a multiple of 64 or so: the same
    # pictures then give other bytes from run to run (seen with x264 as PyAV 18.1 carries it, by MALLOC_PERTURB_).
    stream = container.add_stream("libx264", rate=fps, options={**options, "threads": "1", "mbtree": "0"})
    stream.width, stream.height, stream.pix_fmt = width, height, pixels
    stream.time_base = stream.codec_context.time_base = 1 / fps
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= Flags.bitexact
    return stream
