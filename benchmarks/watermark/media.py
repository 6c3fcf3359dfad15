"""What is marked: photographs, rendered people, filmed people and their speech; of one's own, or from what is installed."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from forgeline.audio import fit, resample
from forgeline.clip import Picture, Sound
from forgeline.image import open_image
from forgeline.sentences import LANGUAGES
from forgeline.speech import speak
from forgeline.video import open_video
from sources.demo import Demo, jobs, render

_SHIPPED = ("astronaut.png", "coffee.png", "ihc.png", "retina.jpg", "rocket.jpg", "motorcycle_left.png")
_VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-us+f5")
_LONGEST = 75  # pictures of a clip


@dataclass(frozen=True)
class Film:
    """A clip in memory."""

    fps: Fraction
    pictures: list[Picture]
    sound: Sound | None


class Material:
    """All that is marked, each made when it is first asked for; `quick` for a few of each. `scratch` takes rendered files."""

    def __init__(self, pictures: Path | None, clips: Path | None, quick: bool, scratch: Path) -> None:
        self._pictures, self._clips, self._scratch, self.quick = pictures, clips, scratch, quick
        self.filmed_name = clips.name if clips else ""

    @cached_property
    def photographs(self) -> list[Picture]:
        """A folder's pictures as they are; without one, those that come with scikit-image, 512 pixels on the shorter side."""
        most = 3 if self.quick else 24
        if self._pictures is not None:
            return [next(open_image(path).pictures()) for path in _spread(sorted(self._pictures.glob("*.[pj][np]g")), most)]
        from skimage import data

        shipped = [next(open_image(Path(data.__file__).parent / name).pictures()) for name in _SHIPPED[:most]]
        return [_with_side(picture, 512) for picture in shipped]

    def portraits(self, side: int) -> list[Picture]:
        """Frames of the demo corpus, each of another person, `side` pixels wide and high."""
        from sources import heads  # it imports numba, which takes a second

        made = []
        for number in range(2 if self.quick else 8):
            rng = np.random.default_rng([7, number])
            who, where = heads.person(rng, *rng.random(3)), heads.scene(rng)
            pose = heads.Pose(yaw=float(rng.uniform(-0.3, 0.3)))
            made.append(heads.frame(who, heads.Expression(jaw=0.3), pose, where, side, rng))
        return made

    @cached_property
    def rendered(self) -> list[Film]:
        """Clips of the demo corpus, two seconds at 512 pixels."""
        demo = Demo(people=1 if self.quick else 6, clips=1, frames=25 if self.quick else 50, size=512)
        for job in jobs(demo):
            render(job, self._scratch)
        return [_film(self._scratch / job.path) for job in jobs(demo)]

    @cached_property
    def filmed(self) -> list[Film]:
        """A folder's clips and those of the folders in it, at most three seconds of 25 pictures each."""
        if self._clips is None:
            return []
        paths = sorted(path for path in self._clips.rglob("*") if path.suffix in {".mpg", ".mp4", ".avi", ".mov"})
        return [_film(path) for path in _spread(paths, 3 if self.quick else 24)]

    @cached_property
    def speech(self) -> dict[str, list[Sound]]:
        """Sentences of the demo corpus, said by espeak's voices in a room's faint noise, of several lengths and rates."""
        return {
            f"{seconds} s of espeak at {rate} Hz": [_said(number, seconds, rate) for number in range(2 if self.quick else 12)]
            for seconds, rate in ((10, 16000), (10, 22050), (5, 48000), (3, 16000))
        }

    def recorded(self, clips: int) -> list[Sound]:
        """The speech of the filmed clips, so many of them joined to one."""
        heard = [film.sound for film in self.filmed if film.sound is not None]
        rows = [heard[k : k + clips] for k in range(0, len(heard) - clips + 1, clips)]
        return [Sound(np.concatenate([each.samples for each in row]), row[0].rate) for row in rows]


def _film(path: Path) -> Film:
    clip = open_video(path)
    return Film(clip.fps, list(islice(clip.pictures(), _LONGEST)), clip.sound())


def _said(number: int, seconds: float, rate: int) -> Sound:
    sentences = LANGUAGES["en"].sentences
    voice, texts = _VOICES[number % len(_VOICES)], " ".join(sentences[(3 * number + k) % len(sentences)] for k in range(3))
    words = fit(resample(speak(texts, voice).sound, rate), seconds)
    room = np.random.default_rng(number).normal(0, 3e-4, len(words.samples))
    return Sound((0.7 * words.samples + room).astype(np.float32), rate)


def _with_side(picture: Picture, side: int) -> Picture:
    height, width = picture.shape[:2]
    factor = side / min(height, width)
    size = (round(width * factor / 2) * 2, round(height * factor / 2) * 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8)


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most so many, from all over the list."""
    count = min(most, len(paths))
    return [paths[k * len(paths) // count] for k in range(count)]
