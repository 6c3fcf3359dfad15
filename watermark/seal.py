"""The only way a made clip reaches disk: mark, encode, tag, read everything back from the file, and only then name it.

A picture's mark is required of every clip. Sound will carry a mark of its own beside it, and a signed manifest (C2PA)
will be made over the finished file; until sound can be marked, sound without pictures is refused.
"""

import errno
import hashlib
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import cv2

from forgeline.clip import Clip, Made, Mask, Picture
from forgeline.errors import FactoryError, MediaError, PromiseError
from forgeline.image import open_image, write_image
from forgeline.section import Section
from forgeline.video import Encoding, MaskWriter, VideoWriter, key_pictures, open_video, read_masks
from watermark.evidence import Evidence
from watermark.keys import DEMO, ShardKey
from watermark.metadata import PNG_KEYWORD, Tag, append_to_mp4, packet, read_tag
from watermark.payload import Mark
from watermark.strength import Marker
from watermark.tile import bits_for, folded, layout

MATCHED = 8.0
"""Matched score from which a mark counts as there although its payload can't be read: chance reaches it once in
10**15."""

_SUFFIX = {"video": ".mp4", "image": ".png"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Seal(Section):
    """How made clips are marked and encoded."""

    key: str = DEMO
    """Id of the master key that marks: "demo" is public, another is looked for in the file named by
    FORGELINE_KEY_FILE."""
    encoding: Encoding = Encoding()
    """How x264 encodes the pictures of videos; images are PNG."""


@dataclass(frozen=True)
class Sealed:
    """A file that has kept its promises: what is in it, as read back from disk.

    `score` is the matched score of the mark, in standard deviations; `psnr` in dB is what the mark changed before
    encoding.
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
    mark_read: Literal["payload", "matched"]
    score: float
    psnr: float


def seal(made: Made, path: Path, mark: Mark, key: ShardKey, tag: Tag, settings: Seal) -> Sealed:
    """Mark, encode and tag a made clip into `path` (.mp4 or .png), its masks into `<stem>.mask.mp4` or `.png` beside it.

    Both files appear under their names at the very end, the masks first, or not at all. Raises PromiseError when the
    pictures end early, or the mark, the tag, the masks or the clip do not read back; MediaError for clips that can't be
    marked; FactoryError when the disk is full.
    """
    suffix = _SUFFIX.get(made.media_type)
    if suffix is None:
        raise MediaError(path, "is sound without pictures, which can't be marked yet", "leave it out")
    if path.suffix != suffix:
        raise PromiseError(path, f"is not named {suffix}", f"report it: {made.media_type}s are sealed as {suffix}")
    bits_for(made.width, made.height)
    draft, mask_draft = path.with_name(f".{path.stem}.part{suffix}"), path.with_name(f".{path.stem}.mask.part{suffix}")
    mask_path = path.with_name(f"{path.stem}.mask{suffix}")
    with _drafts(path, draft, mask_draft):
        marker = Marker(key, mark, settings.encoding.gop if made.media_type == "video" else 1)
        written = _Written(draft, mask_draft)
        if made.media_type == "video":
            _write_video(made, written, marker, settings.encoding)
            append_to_mp4(draft, tag)
        else:
            _write_image(made, written, marker, tag)
        written.check(path, made)
        try:
            clip = open_video(draft) if made.media_type == "video" else open_image(draft)
            rate = _check_clip(clip, path, made)
            mark_read, score = _read_mark(clip, draft, path, mark, key)
            _check_masks(written, path, made.media_type)
        except MediaError as error:
            raise PromiseError(path, f"does not read back: it {error.what}", "report it") from error
        if read_tag(draft) != tag:
            raise PromiseError(path, "does not give its tag back", "report it")
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
        duration_s=float(clip.duration),
        sample_rate=rate,
        mark_read=mark_read,
        score=score,
        psnr=written.psnr(made.width * made.height * 3),
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
    """Keeps count of what went into the drafts: pictures, the mark's error, and a hash over the masks."""

    def __init__(self, draft: Path, mask_draft: Path) -> None:
        self.draft, self.mask_draft = draft, mask_draft
        self.pictures = self.masks = 0
        self.squares = 0.0
        self.mask_hash = hashlib.sha256()

    def marked(self, picture: Picture, marker: Marker) -> Picture:
        marked = marker(picture)
        self.squares += cv2.norm(picture, marked, cv2.NORM_L2SQR)
        self.pictures += 1
        return marked

    def masked(self, mask: Mask) -> Mask:
        self.mask_hash.update(mask.tobytes())
        self.masks += 1
        return mask

    def psnr(self, values: int) -> float:
        return 10 * math.log10(255**2 * values * self.pictures / self.squares)

    def check(self, path: Path, made: Made) -> None:
        if self.pictures != made.frames:
            what = f"has {self.pictures or 'no'} pictures, where {made.frames} were declared"
            raise PromiseError(path, what, "report it: a generator must keep the length it declared")
        if self.masks not in (0, self.pictures):
            what = f"has {self.masks} masks for {self.pictures} pictures"
            raise PromiseError(path, what, "report it: a generator must give all masks or none")


def _write_video(made: Made, written: _Written, marker: Marker, encoding: Encoding) -> None:
    with ExitStack() as files:
        size = (made.width, made.height, made.fps)
        out = files.enter_context(VideoWriter(written.draft, *size, encoding, made.sound))
        mask_out: MaskWriter | None = None
        for picture, mask in islice(made.pictures, made.frames + 1):
            out.write(written.marked(picture, marker))
            if mask is not None:
                mask_out = mask_out or files.enter_context(MaskWriter(written.mask_draft, *size))
                mask_out.write(written.masked(mask))


def _write_image(made: Made, written: _Written, marker: Marker, tag: Tag) -> None:
    for picture, mask in islice(made.pictures, 2):
        write_image(written.draft, written.marked(picture, marker), {PNG_KEYWORD: packet(tag)})
        if mask is not None:
            write_image(written.mask_draft, written.masked(mask))


def _read_mark(clip: Clip, draft: Path, path: Path, mark: Mark, key: ShardKey) -> tuple[Literal["payload", "matched"], float]:
    """How the mark reads, and its score: from the key pictures alone where they do, as a video's mark lives in them."""
    plan = layout(key.layout, mark.bits)
    passes = [clip.pictures()] if clip.media_type == "image" else [key_pictures(draft), clip.pictures()]
    for pictures in passes:
        evidence = Evidence(plan)
        for picture in pictures:
            evidence.add(plan.bins(folded(picture)))
        score = evidence.matched(key, mark)
        if evidence.carries(key, mark):
            return "payload", score
    if score >= MATCHED:
        return "matched", score
    what = f"does not give its mark back (score {score:.1f}, needed {MATCHED:.0f})"
    raise PromiseError(path, what, "lower seal.encoding.crf in params.yaml")


def _check_clip(clip: Clip, path: Path, made: Made) -> int:
    """The sound's rate (0: none), when the file holds the clip that was made."""
    sound = clip.sound()
    found = (clip.width, clip.height, clip.frames, sound and sound.rate)
    declared = (made.width, made.height, made.frames, made.sound and made.sound.rate)
    late = abs(clip.duration - (made.frames / made.fps if made.fps else 0))
    if found != declared or late * (made.fps or 1) > Fraction(1, 2):
        what = f"reads back as {found} over {float(clip.duration):.3f} s, not {declared} (width, height, frames, sample rate)"
        raise PromiseError(path, what, "report it")
    return sound.rate if sound else 0


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
