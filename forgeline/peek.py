"""What a file of any kind shows and sounds like, for those who only look: this takes what it can get, and no more than
is asked for, where `open_image` and `open_video` refuse what can't be worked on.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from forgeline.clip import MediaType, Sound
from forgeline.errors import MediaError
from forgeline.video import LONGEST_SIDE

Luma = NDArray[np.uint8]
"""(height, width) luma of one picture."""

MOST_PIXELS = 178_000_000
"""A larger image is refused before it is decoded."""

_IMAGES = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
# Playlists and the like could make the decoder open other files, so only true containers are allowed.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,nut,mxf,h264,hevc"
_SOUNDS = "wav,w64,aiff,caf,au,flac,mp3,aac,ac3,eac3"
_OPEN = {"format_whitelist": f"{_CONTAINERS},{_SOUNDS}", "protocol_whitelist": "file"}
_REPLACE = "replace it by a whole copy, or leave it out"


@dataclass(frozen=True)
class Glance:
    """What there is to see and to hear. `width` and `height` are those of the first picture, upright; 0 without pictures.

    `keys(most)` yields up to so many key pictures, spread over the whole video; `pictures(most)` the first so many of all
    pictures. Sizes may change within. `sound(seconds)` is the beginning of the sound, in one channel; None where there is
    none.
    """

    media_type: MediaType
    width: int
    height: int
    keys: Callable[[int], Iterator[Luma]]
    pictures: Callable[[int], Iterator[Luma]]
    sound: Callable[[float], Sound | None]


def peek(path: Path) -> Glance:
    """Look into an image, video or sound. Of an animated image it is the first picture that counts.

    Raises MediaError when nothing in the file can be decoded; what is damaged further on is passed over.
    """
    if not path.is_file():
        raise MediaError(path, "is no file" if path.exists() else "is not there", "name a picture, a video or a sound")
    if not path.stat().st_size:
        raise MediaError(path, "is empty", _REPLACE)
    image = _image(path)
    if image is not None:
        height, width = image.shape
        return Glance("image", width, height, lambda _: iter([image]), lambda _: iter([image]), lambda _: None)
    first, heard = next(_pictures(path, 1), None), _sound(path, 0.1)
    if first is None and heard is None:
        raise MediaError(path, "holds no picture and no sound that can be decoded", _REPLACE)
    height, width = (0, 0) if first is None else first.shape
    return Glance(
        media_type="audio" if first is None else "video",
        width=width,
        height=height,
        keys=lambda most: _keys(path, most),
        pictures=lambda most: _pictures(path, most),
        sound=lambda seconds: _sound(path, seconds),
    )


def _image(path: Path) -> Luma | None:
    """The luma of an image file, upright; None where it is no image."""
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            file = Image.open(path, formats=_IMAGES)
    except UnidentifiedImageError:
        return None
    except Exception as error:  # Pillow's parsers raise what comes of calculating with hostile bytes: struct.error …
        raise MediaError(path, f"is no image that can be read ({error})", _REPLACE) from error
    with file:
        if file.width * file.height > MOST_PIXELS:
            raise MediaError(path, f"has more than {MOST_PIXELS // 10**6} million pixels", "scale it down")
        try:
            file.draft("L", file.size)  # of a JPEG, decode nothing but the luma
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith(("I", "F")):
                return _eight_bits(np.asarray(upright))
            return np.asarray(upright.convert("RGB" if upright.mode in ("CMYK", "LAB", "HSV") else "L").convert("L"))
        except Exception as error:
            raise MediaError(path, f"is broken or cut off ({error})", _REPLACE) from error


def _eight_bits(values: NDArray[np.generic]) -> Luma:
    """Values of more bits, or of any range, as 8 bits."""
    known = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    top = 65535.0 if values.dtype == np.uint16 else max(float(known.max()), 1e-9)
    return np.asarray(np.clip(np.rint(known * np.float32(255 / top)), 0, 255), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        # A file object, not a name: a hostile file name can't be taken for a protocol.
        with path.open("rb") as file, av.open(file, options=_OPEN, metadata_errors="replace") as container:
            yield container  # type: ignore[misc]  # without a mode it is an input
    except (av.error.FFmpegError, MemoryError, UnicodeError, OSError) as error:
        reason = str(getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise MediaError(path, f"is no picture, video or sound, or is broken ({reason})", _REPLACE) from error


def _stream(container: av.container.InputContainer) -> VideoStream | None:
    """The moving pictures: a song's cover is none."""
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None or stream.disposition & Disposition.attached_pic:
            continue
        if max(context.width, context.height) <= LONGEST_SIDE:
            context.thread_count = 1
            context.options = {"max_pixels": str(LONGEST_SIDE**2)}
            return stream
    return None


def _keys(path: Path, most: int) -> Iterator[Luma]:
    with _opened(path) as container:
        stream = _stream(container)
        count = sum(packet.is_keyframe for packet in container.demux(stream)) if stream else 0
    chosen = {int((index + 0.5) * max(count / most, 1)) for index in range(most)}
    with _opened(path) as container:
        stream = _stream(container)
        if stream is None:
            return
        keys = (packet for packet in container.demux(stream) if packet.is_keyframe)
        yield from _lumas(stream, (packet for index, packet in enumerate(keys) if index in chosen))


def _pictures(path: Path, most: int) -> Iterator[Luma]:
    with _opened(path) as container:
        stream = _stream(container)
        if stream is not None:
            yield from islice(_lumas(stream, container.demux(stream)), most)


def _lumas(stream: VideoStream, packets: "Iterable[av.Packet[VideoStream]]") -> Iterator[Luma]:
    for packet in chain(packets, [None]):
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.FFmpegError:  # a damaged packet; the next may be whole
            continue
        for frame in frames:
            full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
            source = ColorRange.JPEG if full else ColorRange.MPEG
            seen = frame.reformat(format="gray", src_color_range=source, dst_color_range=ColorRange.JPEG, threads=1)
            luma = seen.to_ndarray()
            yield np.ascontiguousarray(np.rot90(luma, frame.rotation // 90) if frame.rotation % 360 else luma)


def _sound(path: Path, seconds: float) -> Sound | None:
    """None where there is no sound, or none that can be decoded."""
    parts: list[NDArray[np.float32]] = []
    with _opened(path) as container:
        if not container.streams.audio or container.streams.audio[0].codec_context is None:
            return None
        stream = container.streams.audio[0]
        rate = stream.rate
        if not rate:
            return None
        floats = av.AudioResampler(format="flt")  # PyAV crashes on more than eight channels that lie apart
        heard = 0
        for packet in container.demux(stream):
            if heard >= seconds * rate:
                break
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                frame.pts = None  # jumps in time are of no interest here
                for piece in _resampled(floats, frame):
                    channels = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
                    parts.append(np.asarray(channels.mean(1), np.float32))
                    heard += len(parts[-1])
    if not parts:
        return None
    samples = np.nan_to_num(np.concatenate(parts)[: round(seconds * rate)], posinf=0, neginf=0)
    return Sound(np.clip(samples, -1, 1), rate)


def _resampled(floats: av.AudioResampler, frame: av.AudioFrame) -> list[av.AudioFrame]:
    """Nothing of a frame of another form than those before it."""
    try:
        return floats.resample(frame)
    except ValueError:
        return []
