"""The only way a made clip reaches disk: mark, encode, tag, read everything back from the file, and only then name it.

A mark in the pictures is required of every clip that has some. The sound carries the same one where it can; forged sound
must, and so must sound alone. A signed manifest (C2PA) is made later, over the finished file.
"""

import errno
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import cv2
import numpy as np

from forgeline.audio import SoundForm, open_sound, write_sound
from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Said, Segment, Sound
from forgeline.errors import FactoryError, MediaError, PromiseError
from forgeline.image import open_image, write_image
from forgeline.sample import Sample
from forgeline.section import Section
from forgeline.video import Encoding, MaskWriter, VideoWriter, open_video, read_masks
from watermark.evidence import Evidence
from watermark.fingerprint import Fingerprint
from watermark.gate import ATTACKED, MATCHED, Verdict, WeakMarkError, examine
from watermark.keys import DEMO, ShardKey
from watermark.metadata import PNG_KEYWORD, Tag, add_to_flac, append_to_mp4, packet
from watermark.payload import Mark
from watermark.sound import mark_sound, sound_carries, sound_matched
from watermark.strength import Marker
from watermark.tile import bits_for, folded, layout

SUFFIX: dict[MediaType, str] = {"video": ".mp4", "image": ".png", "audio": ".flac"}
"""What files of each kind are named."""
_VARIANT_DB = (None, 44.0, 42.0, 40.0, 38.0, 36.0, 34.0, 32.0)
"""What is added to a variant by turns until its mark is found: at first nothing."""

_DIGITS = {"mark_psnr": 2}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Seal(Section):
    """How made clips are marked and encoded."""

    key: str = DEMO
    """Id of the master key that marks: "demo" is public, another is looked for in the file named by
    FORGELINE_KEY_FILE."""
    encoding: Encoding = Encoding()
    """How x264 encodes the pictures of videos; images are PNG, sound alone is FLAC."""
    sound: SoundForm = SoundForm()
    """The form that all sound is given."""


@dataclass(frozen=True)
class Sealed:
    """A file that has kept its promises: what is in it, as read back from disk.

    `psnr` in dB is what marking changed of the pictures before encoding, None where nothing was added; `fingerprint` is what
    the pictures show, None for sound alone.
    """

    path: Path
    mask: Path | None
    sha256: str
    bytes: int
    width: int
    height: int
    fps: Fraction
    frames: int
    duration_s: float
    sample_rate: int
    verdict: Verdict
    psnr: float | None
    fingerprint: str | None
    segments: tuple[Segment, ...]
    drawn: Mapping[str, str | float]
    words: tuple[Said, ...]
    phonemes: tuple[Said, ...]

    def noted(self, sample: Sample) -> Sample:
        """The sample's row with all that was read back, when it was changed, what is said, and what chance decided.

        It keeps the mask that it has where the file came with none, and what it says of speech and chance where nothing new
        was said or drawn.
        """
        scores = {
            "mark_score": self.verdict.score,
            "mark_score_attacked": self.verdict.attacked,
            "sound_mark_score": self.verdict.sound_score,
            "mark_psnr": self.psnr,
        }
        return replace(
            sample,
            mask=self.mask.as_posix() if self.mask else sample.mask,
            width=self.width,
            height=self.height,
            fps=self.fps,
            frames=self.frames,
            duration_s=self.duration_s,
            sample_rate=self.sample_rate,
            mark_read=self.verdict.mark_read,
            sound_mark_read=self.verdict.sound_mark_read,
            fingerprint=self.fingerprint,
            segments=self.segments,
            drawn={name: _text(value) for name, value in self.drawn.items()} or sample.drawn,
            words=self.words or sample.words,
            phonemes=self.phonemes or sample.phonemes,
            sha256=self.sha256,
            bytes=self.bytes,
            # An image's strength is set to a hundredth: finer, and its rounding would be taken for a difference.
            scores={name: round(value, _DIGITS.get(name, 3)) for name, value in scores.items() if value is not None},
        )


def seal(made: Made, path: Path, mark: Mark, key: ShardKey, tag: Tag, settings: Seal) -> Sealed:
    """Mark, encode and tag a made clip into `path` (.mp4, .png or .flac), its masks into `<stem>.mask.mp4` or `.png` beside it.

    Its sound is given the form of `settings.sound` first. Both files appear under their names at the very end, the masks
    first, or not at all. Raises PromiseError when the pictures end early, or the masks or the clip do not read back;
    MediaError for clips that can't carry the mark, or do not give it back; FactoryError when the disk is full.
    """
    marker = Marker(key, mark, settings.encoding.gop if made.media_type == "video" else 1)
    made = replace(made, sound=_formed(made, settings.sound))
    sound = _marked_sound(made, key, mark)
    marked = replace(made, sound=sound or made.sound)
    return _sealed(marked, path, marker, settings.encoding, lambda file: examine(file, key, mark, tag, sound is not None), tag)


def seal_variant(
    make: Callable[[], Made], path: Path, mark: Mark, key: ShardKey, tag: Tag, encoding: Encoding, sound_marked: bool
) -> Sealed:
    """Encode and tag a degraded copy of a sealed clip into `path` (.mp4, .flac), its parent's own mark made to be read there.

    `make` gives the copy again for each attempt. What is left of the mark may do; where it doesn't, the same pattern is
    added, and made stronger until a reader who expects it finds it in the encoded file. Sound that was marked is marked
    again where nothing is left; sound that can't be marked any more and is nobody's forgery says so by its verdict. Raises
    as `seal` does.
    """
    lost: WeakMarkError | None = None
    made = make()
    sound = _still_marked_sound(made, key, mark) if sound_marked else None

    def gate(file: Path) -> Verdict:
        return examine(file, key, mark, tag, sound is not None, ATTACKED)

    first, made = _looked_at(made)
    strengths = _VARIANT_DB if _shows(first, key, mark) else _VARIANT_DB[1:]
    for strength_db in strengths if made.frames else _VARIANT_DB[:1]:
        marker = Marker(key, mark, encoding.gop, strength_db) if strength_db else None
        try:
            return _sealed(replace(made, sound=sound or made.sound), path, marker, encoding, gate, tag)
        except WeakMarkError as error:
            lost, made = error, make()
    raise MediaError(path, "can't carry its mark however strong it is", "leave the variant out") from lost


def _sealed(
    made: Made, path: Path, marker: Marker | None, encoding: Encoding, gate: Callable[[Path], Verdict], tag: Tag
) -> Sealed:
    suffix = SUFFIX[made.media_type]
    if path.suffix != suffix:
        raise PromiseError(path, f"is not named {suffix}", f"report it: {made.media_type}s are sealed as {suffix}")
    if made.media_type != "audio":
        bits_for(made.width, made.height)
    draft, mask_draft = path.with_name(f".{path.stem}.part{suffix}"), path.with_name(f".{path.stem}.mask.part{suffix}")
    mask_path = path.with_name(f"{path.stem}.mask{suffix}")
    with _drafts(path, draft, mask_draft):
        written = _Written(draft, mask_draft, made.frames)
        if made.media_type == "video":
            _write_video(made, written, marker, encoding)
            append_to_mp4(draft, tag)
        elif made.media_type == "image":
            _write_image(made, written, marker, tag)
        else:
            _write_sound(made, draft)
            add_to_flac(draft, tag)
        written.check(path, made)
        try:
            clip = {"video": open_video, "image": open_image, "audio": open_sound}[made.media_type](draft)
            seconds, rate = _check_clip(clip, path, made)
            _check_masks(written, path, made.media_type)
        except MediaError as error:
            raise PromiseError(path, f"does not read back: it {error.what}", "report it") from error
        verdict = gate(draft)
        digest, size = _settled(draft)
        if written.masks:
            _settled(mask_draft)
            mask_draft.replace(mask_path)
        else:
            mask_path.unlink(missing_ok=True)
        draft.replace(path)
        _sync(path.parent)
    return Sealed(
        path=path,
        mask=mask_path if written.masks else None,
        sha256=digest,
        bytes=size,
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        frames=clip.frames,
        duration_s=seconds,
        sample_rate=rate,
        verdict=verdict,
        psnr=written.psnr(made.width * made.height * 3),
        fingerprint=written.fingerprint.hex if made.frames else None,
        segments=made.segments,
        drawn=made.drawn,
        words=made.words,
        phonemes=made.phonemes,
    )


@contextmanager
def _drafts(path: Path, *drafts: Path) -> Iterator[None]:
    """Remove what is unfinished, whatever happens, and say in plain words that a disk is full."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        if error.errno not in _FULL:
            raise
        raise FactoryError(path, "does not fit on the disk any more", "make room, and run again: it goes on here") from error
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


class _Written:
    """Keeps count of what went into the drafts: pictures, the mark's error, what they show, and a hash over the masks."""

    def __init__(self, draft: Path, mask_draft: Path, frames: int) -> None:
        self.draft, self.mask_draft = draft, mask_draft
        self.fingerprint = Fingerprint(frames)
        self.pictures = self.masks = 0
        self.squares = 0.0
        self.mask_hash = hashlib.sha256()

    def marked(self, picture: Picture, marker: Marker | None) -> Picture:
        marked = marker(picture) if marker else picture
        self.squares += cv2.norm(picture, marked, cv2.NORM_L2SQR)
        self.fingerprint.add(marked)
        self.pictures += 1
        return marked

    def masked(self, mask: Mask) -> Mask:
        self.mask_hash.update(mask.tobytes())
        self.masks += 1
        return mask

    def psnr(self, values: int) -> float | None:
        return 10 * math.log10(255**2 * values * self.pictures / self.squares) if self.squares else None

    def check(self, path: Path, made: Made) -> None:
        if self.pictures != made.frames:
            what = f"has {self.pictures or 'no'} pictures, where {made.frames} were declared"
            raise PromiseError(path, what, "report it: a generator must keep the length it declared")
        if self.masks not in (0, self.pictures):
            what = f"has {self.masks} masks for {self.pictures} pictures"
            raise PromiseError(path, what, "report it: a generator must give all masks or none")


def _formed(made: Made, form: SoundForm) -> Sound | None:
    """The sound as all sound goes into files, as long as the pictures where there are some."""
    if made.sound is None:
        return None
    if made.sound.samples.ndim != 1 or not np.isfinite(made.sound.samples).all():
        raise MediaError("sound", "is not one channel of finite numbers", "repair or replace the file")
    seconds = made.frames / made.fps if made.fps else len(made.sound.samples) / made.sound.rate
    return form(made.sound, float(seconds))


def _marked_sound(made: Made, key: ShardKey, mark: Mark) -> Sound | None:
    """The sound with the mark; None where there is none, or where it can't carry one, is not alone and nobody's forgery."""
    if made.sound is None:
        return None
    try:
        return mark_sound(made.sound, key, mark)
    except MediaError:
        if made.media_type == "audio" or any(segment.modality == "audio" for segment in made.segments):
            raise
        return None


def _looked_at(made: Made) -> tuple[Picture | None, Made]:
    """The first picture, and all of them still to be taken."""
    pictures = iter(made.pictures)
    first = next(pictures, None)
    return (first[0] if first else None), replace(made, pictures=chain([first] if first else [], pictures))


def _shows(picture: Picture | None, key: ShardKey, mark: Mark) -> bool:
    """Whether a picture's mark is worth an attempt to encode it as it is: scaled, say, it is lost already."""
    if picture is None:
        return True
    plan = layout(key.layout, mark.bits)
    evidence = Evidence(plan)
    evidence.add(plan.bins(folded(picture)))
    return evidence.matched(key, mark) >= ATTACKED


def _still_marked_sound(made: Made, key: ShardKey, mark: Mark) -> Sound | None:
    """The sound of a copy: as it is where its mark can still be read, else marked again. None as for `_marked_sound`."""
    if made.sound and (sound_carries(made.sound, key, mark) or sound_matched(made.sound, key, mark) >= MATCHED):
        return made.sound
    return _marked_sound(made, key, mark)


def _write_video(made: Made, written: _Written, marker: Marker | None, encoding: Encoding) -> None:
    with ExitStack() as files:
        size = (made.width, made.height, made.fps)
        out = files.enter_context(VideoWriter(written.draft, *size, encoding, made.sound))
        mask_out: MaskWriter | None = None
        for picture, mask in islice(made.pictures, made.frames + 1):
            out.write(written.marked(picture, marker))
            if mask is not None:
                mask_out = mask_out or files.enter_context(MaskWriter(written.mask_draft, *size))
                mask_out.write(written.masked(mask))


def _write_image(made: Made, written: _Written, marker: Marker | None, tag: Tag) -> None:
    for picture, mask in islice(made.pictures, 2):
        write_image(written.draft, written.marked(picture, marker), {PNG_KEYWORD: packet(tag)})
        if mask is not None:
            write_image(written.mask_draft, written.masked(mask))


def _write_sound(made: Made, draft: Path) -> None:
    if made.sound is None:
        raise PromiseError(draft, "is to be sound alone, and has none", "report it")
    write_sound(draft, made.sound)


def _check_clip(clip: Clip, path: Path, made: Made) -> tuple[float, int]:
    """Seconds, and the sound's rate (0: none), when the file holds the clip that was made."""
    sound = clip.sound()
    found = (clip.width, clip.height, clip.frames, sound and sound.rate)
    declared = (made.width, made.height, made.frames, made.sound and made.sound.rate)
    late = abs(clip.duration - (made.frames / made.fps if made.fps else 0))
    if found != declared or late * (made.fps or 1) > Fraction(1, 2):
        what = f"reads back as {found} over {float(clip.duration):.3f} s, not {declared} (width, height, frames, sample rate)"
        raise PromiseError(path, what, "report it")
    if sound is None or made.sound is None:
        return float(clip.duration), 0
    if len(sound.samples) != len(made.sound.samples):
        what = f"has {len(sound.samples)} samples of sound, not {len(made.sound.samples)}"
        raise PromiseError(path, what, "report it")
    return float(clip.duration) if clip.frames else len(sound.samples) / sound.rate, sound.rate


def _check_masks(written: _Written, path: Path, media_type: str) -> None:
    if not written.masks:
        return
    found = hashlib.sha256()
    draft = written.mask_draft
    masks = read_masks(draft) if media_type == "video" else (grey[..., 0] for grey in open_image(draft).pictures())
    for mask in masks:
        found.update(mask.tobytes())
    if found.digest() != written.mask_hash.digest():
        raise PromiseError(path, "does not give its masks back", "report it")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _settled(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file, once it is safely on the disk."""
    _sync(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
