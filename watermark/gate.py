"""What a finished file must give back, read from disk: its mark, as it is and after what others will do to it, and its tag.

The seal asks before it gives a file its name, the audit asks again before a release.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from forgeline.audio import open_sound
from forgeline.clip import Picture, Sound
from forgeline.errors import MediaError, PromiseError
from forgeline.image import open_image
from forgeline.recode import through
from forgeline.video import Encoding, VideoWriter, key_pictures, open_video
from watermark.evidence import Evidence
from watermark.keys import ShardKey
from watermark.metadata import Tag, read_tag
from watermark.payload import Mark
from watermark.sound import sound_carries, sound_matched
from watermark.tile import folded, layout

MATCHED = 8.0
"""Matched score from which a mark counts as there although its payload can't be read: chance reaches it once in 10**15."""

ATTACKED = 4.75
"""Matched score that must be left after an attack, and that a variant as heavy as one must have: chance reaches it once in
10**6."""

_ATTACK = Encoding(crf=28, preset="veryfast", gop=1)
_ATTACKED_PICTURES = 4  # the first key pictures of a video
_ATTACK_KBPS = 32  # of the AAC that sound alone goes through

HowRead = Literal["payload", "matched"]


class WeakMarkError(MediaError):
    """The mark is not in the file, or too faint."""


@dataclass(frozen=True)
class Verdict:
    """How the marks of a file read; scores are matched ones, in standard deviations of chance.

    `attacked` is what is left of `score` after JPEG at quality 50 (images), x264 at crf 28 (a video's first key pictures) or
    AAC of 32 kbit/s (sound alone), None where no attack was asked for; `sound_*` are None for sound that carries no mark. Of
    sound alone both say the same.
    """

    mark_read: HowRead
    score: float
    attacked: float | None
    sound_mark_read: HowRead | None = None
    sound_score: float | None = None


def examine(path: Path, key: ShardKey, mark: Mark, tag: Tag, sound_marked: bool, least: float = MATCHED) -> Verdict:
    """Read a sealed file (.mp4, .png or .flac), and attack it unless less than MATCHED is asked of it (a heavy variant).

    Raises WeakMarkError when a mark can't be read, MediaError when the file can't be decoded, and PromiseError when the tag
    or the sound is gone.
    """
    if read_tag(path) != tag:
        raise PromiseError(path, "does not give its tag back", "make it again")
    if path.suffix == ".flac":
        return _examine_sound(path, key, mark, least)
    image = path.suffix == ".png"
    first: list[Picture] = []
    exact, score = _read(_kept(open_image(path).pictures() if image else key_pictures(path), first), key, mark)
    if not (exact or image):  # a video's mark lives in its key pictures, yet the others may help
        exact, score = _read(open_video(path).pictures(), key, mark)
    if not exact:
        _demand(path, score, least)
    attacked = None
    if least >= MATCHED:
        attacked = _read((_jpeg(picture) for picture in first) if image else _encoded(first), key, mark)[1]
        _demand(path, attacked, ATTACKED, " after an attack")
    if not sound_marked:
        return Verdict(_how(exact), score, attacked)
    sound = open_video(path).sound()
    if sound is None:
        raise PromiseError(path, "has lost its sound", "make it again")
    how, sound_score = _heard(path, sound, key, mark, least, " in its sound")
    return Verdict(_how(exact), score, attacked, how, sound_score)


def _examine_sound(path: Path, key: ShardKey, mark: Mark, least: float) -> Verdict:
    sound = open_sound(path).sound()
    if sound is None:
        raise PromiseError(path, "has lost its sound", "make it again")
    how, score = _heard(path, sound, key, mark, least)
    attacked = None
    if least >= MATCHED:
        attacked = sound_matched(through(sound, "aac", _ATTACK_KBPS), key, mark)
        _demand(path, attacked, ATTACKED, " after an attack")
    return Verdict(how, score, attacked, how, score)


def _heard(path: Path, sound: Sound, key: ShardKey, mark: Mark, least: float, where: str = "") -> tuple[HowRead, float]:
    exact, score = sound_carries(sound, key, mark), sound_matched(sound, key, mark)
    if not exact:
        _demand(path, score, least, where)
    return _how(exact), score


def _read(pictures: Iterable[Picture], key: ShardKey, mark: Mark) -> tuple[bool, float]:
    """Whether the payload that is read is this mark's to the last bit, and the matched score."""
    plan = layout(key.layout, mark.bits)
    evidence = Evidence(plan)
    for picture in pictures:
        evidence.add(plan.bins(folded(picture)))
    return evidence.carries(key, mark), evidence.matched(key, mark)


def _how(exact: bool) -> HowRead:
    return "payload" if exact else "matched"


def _demand(path: Path, score: float, least: float, where: str = "") -> None:
    if score < least:
        what = f"does not give its mark back{where} (score {score:.1f}, needed {least:g})"
        raise WeakMarkError(path, what, "leave it out, or lower seal.encoding.crf in params.yaml")


def _kept(pictures: Iterable[Picture], first: list[Picture]) -> Iterator[Picture]:
    for picture in pictures:
        if len(first) < _ATTACKED_PICTURES:
            first.append(picture)
        yield picture


def _jpeg(picture: Picture) -> Picture:
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _encoded(pictures: list[Picture]) -> Iterator[Picture]:
    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "attacked.mp4"
        with VideoWriter(file, width, height, Fraction(25), _ATTACK, None) as out:
            for picture in pictures:
                out.write(picture)
        yield from key_pictures(file)
