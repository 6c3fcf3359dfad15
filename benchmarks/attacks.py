"""What happens to pictures, videos and sound on their way through the world, each as one function.

Pictures are (height, width, 3) uint8 RGB, videos lists of them, sound is mono. What is random takes a generator. Codecs
are those of the PyAV wheel, in memory, with one thread; `missing_encoders` says which it lacks.

The tables name every attack and say how the mark is looked for afterwards: "aligned" where the tiles still lie where they
were put, as the gate reads; "blind" where they don't, by the search of `watermark.read` that knows nothing but the keys.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler
from PIL import Image

from forgeline.audio import resample
from forgeline.clip import Picture, Sound

Look = Literal["aligned", "blind"]
ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libmp3lame", "aac", "libopus")


@dataclass(frozen=True)
class PictureAttack:
    """`do` changes a picture; `look` is how the mark is looked for in what is left."""

    do: Callable[[Picture, np.random.Generator], Picture]
    look: Look = "aligned"


@dataclass(frozen=True)
class VideoAttack:
    """A video is scaled by `scale` and encoded by `encoder` at `crf`."""

    encoder: str
    crf: int
    scale: float = 1.0
    look: Look = "aligned"


def jpeg(picture: Picture, quality: int) -> Picture:
    """JPEG with chroma at half resolution."""
    return _through(picture, "JPEG", quality=quality, subsampling=2)


def webp(picture: Picture, quality: int) -> Picture:
    """Lossy WebP."""
    return _through(picture, "WEBP", quality=quality)


def _through(picture: Picture, form: str, **settings: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form, **settings)
    return np.asarray(Image.open(file).convert("RGB"))


def scaled(picture: Picture, factor: float) -> Picture:
    """Scaled, and left at its new, even size."""
    height, width = picture.shape[:2]
    size = (round(width * factor / 2) * 2, round(height * factor / 2) * 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8)


def scaled_back(picture: Picture, factor: float) -> Picture:
    """Scaled, and scaled back to its old size."""
    height, width = picture.shape[:2]
    return np.asarray(cv2.resize(scaled(picture, factor), (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def cropped(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    """A cut-out somewhere, `share` of the width and of the height, both sides even."""
    height, width = picture.shape[:2]
    rows, columns = round(height * share / 2) * 2, round(width * share / 2) * 2
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    return np.ascontiguousarray(picture[top : top + rows, left : left + columns])


def noisy(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Normal noise of `sigma` grey levels, in each channel by itself."""
    return _levels(picture + rng.normal(0, sigma, picture.shape).astype(np.float32))


def blurred(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def jittered(picture: Picture) -> Picture:
    """A fifth brighter, colours stronger by 30 %, contrast by 15 %, and warmer: much of it clips."""
    bright = picture.astype(np.float32) * 1.2
    grey = bright.mean(2, keepdims=True)
    vivid = ((grey + 1.3 * (bright - grey)) - 128) * 1.15 + 128
    return _levels(vivid * np.array([1.05, 1.0, 0.95], np.float32))


def flipped(picture: Picture) -> Picture:
    """Left and right exchanged."""
    return np.ascontiguousarray(picture[:, ::-1])


def rotated(picture: Picture, degrees: float) -> Picture:
    """Turned about its middle; corners that come in are black."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_CUBIC), np.uint8)


def stretched(picture: Picture, factor: float) -> Picture:
    """Made wider by `factor`, its height kept."""
    height, width = picture.shape[:2]
    size = (round(width * factor / 2) * 2, height)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def covered(picture: Picture) -> Picture:
    """A quarter of the area, in the middle, covered by an even grey."""
    over = picture.copy()
    height, width = picture.shape[:2]
    over[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = 128
    return over


def _levels(values: Any) -> Picture:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


PICTURE_ATTACKS: dict[str, PictureAttack] = {
    "none": PictureAttack(lambda picture, rng: picture),
    "JPEG 90": PictureAttack(lambda picture, rng: jpeg(picture, 90)),
    "JPEG 75": PictureAttack(lambda picture, rng: jpeg(picture, 75)),
    "JPEG 50": PictureAttack(lambda picture, rng: jpeg(picture, 50)),
    "JPEG 30": PictureAttack(lambda picture, rng: jpeg(picture, 30)),
    "JPEG 15": PictureAttack(lambda picture, rng: jpeg(picture, 15)),
    "WebP 50": PictureAttack(lambda picture, rng: webp(picture, 50)),
    "scale .25 and back": PictureAttack(lambda picture, rng: scaled_back(picture, 0.25)),
    "scale .5 and back": PictureAttack(lambda picture, rng: scaled_back(picture, 0.5)),
    "scale .75 and back": PictureAttack(lambda picture, rng: scaled_back(picture, 0.75)),
    "scale .25": PictureAttack(lambda picture, rng: scaled(picture, 0.25), "blind"),
    "scale .5": PictureAttack(lambda picture, rng: scaled(picture, 0.5), "blind"),
    "scale .75": PictureAttack(lambda picture, rng: scaled(picture, 0.75), "blind"),
    "scale .5, JPEG 75": PictureAttack(lambda picture, rng: jpeg(scaled(picture, 0.5), 75), "blind"),
    "crop 80 %": PictureAttack(lambda picture, rng: cropped(picture, 0.8, rng), "blind"),
    "crop 50 %": PictureAttack(lambda picture, rng: cropped(picture, 0.5, rng), "blind"),
    "noise 5": PictureAttack(lambda picture, rng: noisy(picture, 5, rng)),
    "noise 15": PictureAttack(lambda picture, rng: noisy(picture, 15, rng)),
    "blur 2": PictureAttack(lambda picture, rng: blurred(picture, 2)),
    "colour jitter": PictureAttack(lambda picture, rng: jittered(picture)),
    "flip": PictureAttack(lambda picture, rng: flipped(picture), "blind"),
    "rotation 1°": PictureAttack(lambda picture, rng: rotated(picture, 1), "blind"),
    "rotation 2°": PictureAttack(lambda picture, rng: rotated(picture, -2), "blind"),
    "rotation 3°": PictureAttack(lambda picture, rng: rotated(picture, 3), "blind"),
    "stretch 5 %": PictureAttack(lambda picture, rng: stretched(picture, 1.05), "blind"),
    "overlay of a quarter": PictureAttack(lambda picture, rng: covered(picture)),
}

VIDEO_ATTACKS: dict[str, VideoAttack] = {
    "H.264 crf 23": VideoAttack("libx264", 23),
    "H.264 crf 28": VideoAttack("libx264", 28),
    "H.264 crf 32": VideoAttack("libx264", 32),
    "H.264 crf 40": VideoAttack("libx264", 40),
    "x265 crf 34": VideoAttack("libx265", 34),
    "VP9 crf 36": VideoAttack("libvpx-vp9", 36),
    "scale .5, crf 28, and back": VideoAttack("libx264", 28, scale=0.5),
    "scale .5, crf 28": VideoAttack("libx264", 28, scale=0.5, look="blind"),
}

_OPTIONS = {
    "libx264": {"preset": "medium"},
    "libx265": {"preset": "medium", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx-vp9": {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "0"},
}


def encoded(pictures: Sequence[Picture], fps: Fraction, attack: VideoAttack) -> bytes:
    """The file after a video attack: Matroska with 4:2:0 pictures and the encoder's own choice of key pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        options = {**_OPTIONS[attack.encoder], "crf": str(attack.crf), "threads": "1"}
        stream: Any = container.add_stream(attack.encoder, rate=fps, options=options)
        small = [picture if attack.scale == 1 else scaled(picture, attack.scale) for picture in pictures]
        stream.height, stream.width = small[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in small:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def decoded(file: bytes) -> Iterator[Picture]:
    """The pictures of a video file in memory."""
    with av.open(io.BytesIO(file), "r") as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def coded_sound(sound: Sound, encoder: str, bit_rate: int) -> Sound:
    """Through a codec and back to the rate it had. Opus is made at 48 kHz, MP3 in blocks that delay the sound a little."""
    rate = 48000 if encoder == "libopus" else sound.rate
    form = {"libmp3lame": "mp3", "aac": "adts", "libopus": "ogg"}[encoder]
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream(encoder, rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        takes = AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate, frame_size=None)
        samples = resample(sound, rate).samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size or 1024
        fifo = av.AudioFifo()
        for each in takes.resample(frame):
            fifo.write(each)
        while (block := fifo.read(size, partial=True)) is not None:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        plain = AudioResampler(format="flt", layout="mono", rate=rate)
        pieces = [piece.to_ndarray()[0] for each in container.decode(audio=0) for piece in plain.resample(each)]
    return resample(Sound(np.concatenate(pieces).astype(np.float32), rate), sound.rate)


def narrowed(sound: Sound, rate: int) -> Sound:
    """Through a lower sample rate, and back."""
    return resample(resample(sound, rate), sound.rate)


def hissing(sound: Sound, decibels: float, rng: np.random.Generator) -> Sound:
    """White noise, `decibels` below the sound's own level."""
    level = np.sqrt(np.mean(sound.samples**2)) * 10 ** (-decibels / 20)
    return Sound((sound.samples + rng.normal(0, level, len(sound.samples))).astype(np.float32), sound.rate)


def echoing(sound: Sound) -> Sound:
    """An echo after 100 ms at three tenths of the strength."""
    late = np.zeros_like(sound.samples)
    delay = round(0.1 * sound.rate)
    late[delay:] = 0.3 * sound.samples[:-delay]
    return Sound(sound.samples + late, sound.rate)


def trimmed(sound: Sound, seconds: float) -> Sound:
    """Without its first `seconds`."""
    return Sound(sound.samples[round(seconds * sound.rate) :], sound.rate)


def hurried(sound: Sound, factor: float) -> Sound:
    """Played faster by `factor`: shorter, and higher in pitch."""
    import soxr

    return Sound(np.asarray(soxr.resample(sound.samples, factor, 1, quality="HQ"), np.float32), sound.rate)


SOUND_ATTACKS: dict[str, Callable[[Sound, np.random.Generator], Sound]] = {
    "none": lambda sound, rng: sound,
    "MP3 64k": lambda sound, rng: coded_sound(sound, "libmp3lame", 64000),
    "MP3 32k": lambda sound, rng: coded_sound(sound, "libmp3lame", 32000),
    "AAC 48k": lambda sound, rng: coded_sound(sound, "aac", 48000),
    "Opus 24k": lambda sound, rng: coded_sound(sound, "libopus", 24000),
    "Opus 12k": lambda sound, rng: coded_sound(sound, "libopus", 12000),
    "8 kHz": lambda sound, rng: narrowed(sound, 8000),
    "noise 20 dB": lambda sound, rng: hissing(sound, 20, rng),
    "echo": lambda sound, rng: echoing(sound),
    "trim .3 s": lambda sound, rng: trimmed(sound, 0.3),
    "speed +1 %": lambda sound, rng: hurried(sound, 1.01),
    "speed -1 %": lambda sound, rng: hurried(sound, 0.99),
}


def missing_encoders() -> list[str]:
    """Encoders that the installed PyAV lacks."""
    return [name for name in ENCODERS if name not in av.codecs_available or not _encodes(name)]


def _encodes(name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except ValueError:  # UnknownCodecError is one
        return False
    return True
