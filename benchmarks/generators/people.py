"""People in front of a camera: clips with their faces followed, in memory, of the demo corpus or of a folder."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from forgeline.audio import fit
from forgeline.clip import Clip, Picture, Sound
from forgeline.faces import FaceFinder, track_faces
from forgeline.video import open_video
from sources.demo import Demo, jobs, render

LONGEST = 75  # pictures of a clip
_KINDS = {".mpg", ".mp4", ".avi", ".mov", ".mkv", ".webm"}


def demo_people(count: int, scratch: Path) -> list[Clip]:
    """So many of the demo's people, two seconds each at 256 pixels."""
    made = jobs(Demo(people=count, clips=1, frames=50, size=256))
    for job in made:
        render(job, scratch)
    return _followed([scratch / job.path for job in made])


def filmed_people(folder: Path, most: int) -> list[Clip]:
    """The clips of a folder, at most so many, in the order of their names; those without a face are left out."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in _KINDS][:most]
    people = _followed(paths)
    if len(people) < 2:
        raise SystemExit(f"{folder}: shows {len(people)} people in {len(paths)} clips; give at least two")
    return people


def _followed(paths: list[Path]) -> list[Clip]:
    finder = FaceFinder()
    people = []
    for path in paths:
        film = open_video(path)
        pictures = list(islice(film.pictures(), LONGEST))
        clip = in_memory(film.name, film.fps, pictures, film.sound())
        tracks = track_faces(clip, finder)
        truth = path.with_suffix(".truth.json")
        declared = json.loads(truth.read_text())["attributes"] if truth.exists() else {}
        if tracks:
            attributes = {name: str(value) for name, value in declared.items()}
            people.append(replace(clip, track=tracks[0], attributes=attributes))
    return people


def in_memory(name: str, fps: Fraction, pictures: list[Picture], sound: Sound | None) -> Clip:
    """A clip of pictures that are there already; its sound is as long as they are."""
    height, width = pictures[0].shape[:2]
    heard = sound and fit(sound, float(len(pictures) / fps))
    return Clip("video", width, height, fps, len(pictures), lambda: iter(pictures), lambda: heard, name=name)


def scaled(person: Clip, short_side: int, frames: int) -> Clip:
    """The first `frames` pictures of a clip, scaled so that the shorter side has so many pixels, and its track with them."""
    factor = short_side / min(person.width, person.height)
    size = (round(person.width * factor / 2) * 2, round(person.height * factor / 2) * 2)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    few = islice(person.pictures(), frames)
    pictures = [np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8) for picture in few]
    clip = in_memory(person.name, person.fps, pictures, person.sound())
    track = person.track
    if track is None:
        return clip
    larger = np.float32(factor)
    return replace(
        clip,
        track=replace(
            track,
            box=larger * track.box[:frames],
            points=larger * track.points[:frames],
            mesh=larger * track.mesh[:frames],
            score=track.score[:frames],
            seen=track.seen[:frames],
        ),
    )
