"""What is marked: photographs, rendered people, filmed people and their speech; of one's own, or from what is installed."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from forgeline.audio import fit, resample
from forgeline.clip import Picture, Sound
from forgeline.image import open_image
from forgeline.speech import speak
from forgeline.video import open_video
from sources.demo import TEXTS, Demo, jobs, render

_SHIPPED = ("astronaut.png", "coffee.png", "ihc.png", "retina.jpg", "rocket.jpg", "motorcycle_left.png")
_VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-us+f5")
_LONGEST = 75  # pictures of a clip


@dataclass(frozen=True)
class Film:
    """A clip in memory."""

    name: str
    fps: Fraction
    pictures: list[Picture]
    sound: Sound | None


def photographs(folder: Path | None, most: int) -> list[Picture]:
    """A folder's pictures as they are; without one, those that come with scikit-image, scaled to 512 pixels on the shorter
    side."""
    if folder is not None:
        return [next(open_image(path).pictures()) for path in _spread(sorted(folder.glob("*.[pj][np]g")), most)]
    from skimage import data

    shipped = [next(open_image(Path(data.__file__).parent / name).pictures()) for name in _SHIPPED[:most]]
    return [_with_side(picture, 512) for picture in shipped]


def _with_side(picture: Picture, side: int) -> Picture:
    height, width = picture.shape[:2]
    factor = side / min(height, width)
    size = (round(width * factor / 2) * 2, round(height * factor / 2) * 2)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8)


def portraits(side: int, people: int) -> list[Picture]:
    """Frames of the demo corpus, one of each of its people, `side` pixels wide and high."""
    from sources import heads  # it imports numba, which takes a second

    made = []
    for number in range(people):
        rng = np.random.default_rng([7, number])
        who, where = heads.person(rng, *rng.random(3)), heads.scene(rng)
        pose = heads.Pose(yaw=float(rng.uniform(-0.3, 0.3)))
        made.append(heads.frame(who, heads.Expression(jaw=0.3), pose, where, side, rng))
    return made


def rendered_films(scratch: Path, people: int, frames: int) -> Iterator[Film]:
    """Clips of the demo corpus at 512 pixels."""
    for job in jobs(Demo(people=people, clips=1, frames=frames, size=512)):
        render(job, scratch)
        yield _film(scratch / job.path)


def films(folder: Path, most: int) -> Iterator[Film]:
    """A folder's clips and those of the folders in it, at most three seconds of 25 pictures each."""
    for path in _spread(sorted(p for p in folder.rglob("*") if p.suffix in {".mpg", ".mp4", ".avi", ".mov"}), most):
        yield _film(path)


def _film(path: Path) -> Film:
    clip = open_video(path)
    return Film(path.stem, clip.fps, list(islice(clip.pictures(), _LONGEST)), clip.sound())


def speeches(seconds: float, rate: int, most: int) -> list[Sound]:
    """Sentences of the demo corpus, said by espeak's voices, with a room's faint noise."""
    said = []
    for number in range(most):
        voice, texts = _VOICES[number % len(_VOICES)], " ".join(TEXTS[(3 * number + k) % len(TEXTS)] for k in range(3))
        words = fit(resample(speak(texts, voice).sound, rate), seconds)
        room = np.random.default_rng(number).normal(0, 3e-4, len(words.samples))
        said.append(Sound((0.7 * words.samples + room).astype(np.float32), rate))
    return said


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most so many, from all over the list."""
    count = min(most, len(paths))
    return [paths[k * len(paths) // count] for k in range(count)]
