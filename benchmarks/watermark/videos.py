"""What the mark costs a video, and which encoders it survives: release encode, then the attack, then the read."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from benchmarks.attacks import VIDEO_ATTACKS, decoded, encoded
from benchmarks.watermark.figures import Goal, Rate, lowest, mean_least, table
from benchmarks.watermark.media import Film, Material
from benchmarks.watermark.methods import Rival, gather, key, mark, reads_file
from forgeline.clip import Made, Picture
from forgeline.errors import MediaError
from forgeline.video import Encoding, VideoWriter, open_video
from watermark.gate import ATTACKED
from watermark.metadata import Tag
from watermark.payload import Mark
from watermark.seal import seal_variant
from watermark.strength import Marker
from watermark.tile import bits_for

_VARIANT = Encoding(crf=40)
_TAG = Tag("0" * 20, "compositeSynthetic", "CC0-1.0", ())
_SHOWN = {"dwtDct": 8, "dwtDctSvd": 8, "rivaGan": 3}
_RIVALS_LENGTH = 25  # pictures of a clip


@dataclass
class Found:
    """What was found on some films."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    growth: list[float] = field(default_factory=list)
    read: dict[str, list[bool]] = field(default_factory=lambda: {name: [] for name in ("release", *VIDEO_ATTACKS)})
    scores: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ("release", *VIDEO_ATTACKS)})
    variant: list[tuple[float, bool, bool]] = field(default_factory=list)
    """Of c40 variants: matched score, payload exact, mark made stronger."""


def measure(material: Material, rivals: Sequence[Rival]) -> list[Goal]:
    """Print the tables of all sets of films, and give the goals for videos."""
    reached = []
    for title, films, grows in (
        ("Demo clips, 512 px", material.rendered, True),
        (material.filmed_name, material.filmed, False),
    ):
        if films:
            found = _tried(films)
            few = {rival.name: films[: 2 if rival.name == "rivaGan" else 4] for rival in rivals}
            _show(title, found, {rival.name: _rivals_tried(few[rival.name], rival) for rival in rivals})
            reached += _goals(title, found, grows)
    return reached


def _tried(films: Sequence[Film]) -> Found:
    """Each film marked, released and attacked."""
    found = Found()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for number, film in enumerate(films):
            height, width = film.pictures[0].shape[:2]
            expected = mark(number, bits_for(width, height))
            marker = Marker(key(number), expected, Encoding().gop)
            marked = [marker(picture) for picture in film.pictures]
            found.psnr.append(float(np.mean([cv2.PSNR(*pair) for pair in zip(film.pictures, marked, strict=True)])))
            found.ssim.append(_ssim(film.pictures, marked))
            crf20 = Encoding(crf=20)
            plain, larger = (_size(film, pictures, crf20, scratch) for pictures in (film.pictures, marked))
            found.growth.append(larger / plain - 1)
            release = _written(film, marked, Encoding(), scratch)
            _read(found, "release", release, number, expected)
            for name, attack in VIDEO_ATTACKS.items():
                file = encoded(release, film.fps, attack)
                if attack.look == "aligned":
                    _read(found, name, list(_as_large(decoded(file), width, height)), number, expected)
                else:
                    path = scratch / "attacked.mkv"
                    path.write_bytes(file)
                    found.read[name].append(reads_file(path, number, expected))
            found.variant.append(_variant(film, release, number, expected, scratch / "variant.mp4"))
    return found


def _read(found: Found, name: str, pictures: list[Picture], number: int, expected: Mark) -> None:
    evidence = gather(pictures, number, expected.bits)
    found.read[name].append(evidence.carries(key(number), expected))
    found.scores[name].append(evidence.matched(key(number), expected))


def _variant(film: Film, release: list[Picture], number: int, expected: Mark, path: Path) -> tuple[float, bool, bool]:
    """Of a c40 variant, sealed as the product does: matched score, whether its payload is exact, and whether the mark had to
    be made stronger."""
    height, width = release[0].shape[:2]

    def copy() -> Made:
        return Made("video", width, height, film.fps, len(release), ((each, None) for each in release), None)

    try:
        sealed = seal_variant(copy, path, expected, key(number), _TAG, _VARIANT, sound_marked=False)
    except MediaError:
        return 0.0, False, True
    return sealed.verdict.score, sealed.verdict.mark_read == "payload", sealed.psnr is not None


def _written(film: Film, pictures: Sequence[Picture], encoding: Encoding, scratch: Path) -> list[Picture]:
    """The pictures as a file gives them back."""
    _size(film, pictures, encoding, scratch)
    return list(open_video(scratch / "file.mp4").pictures())


def _as_large(pictures: Iterable[Picture], width: int, height: int) -> Iterator[Picture]:
    """Pictures scaled to the size that they had when they were marked, as a manifest says it."""
    for picture in pictures:
        same = picture.shape[:2] == (height, width)
        yield picture if same else np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _size(film: Film, pictures: Sequence[Picture], encoding: Encoding, scratch: Path) -> int:
    """Bytes of the pictures' file."""
    height, width = pictures[0].shape[:2]
    path = scratch / "file.mp4"
    with VideoWriter(path, width, height, film.fps, encoding) as out:
        for picture in pictures:
            out.write(picture)
    return path.stat().st_size


def _ssim(before: list[Picture], after: list[Picture]) -> float:
    pairs = list(zip(before, after, strict=True))[:: max(len(before) // 4, 1)]
    return float(np.mean([structural_similarity(*pair, channel_axis=2) for pair in pairs]))  # type: ignore[no-untyped-call]


def _rivals_tried(films: Sequence[Film], rival: Rival) -> dict[str, Rate]:
    """A rival's mark in each picture of the films' first second; read is what most of some evenly spaced pictures say."""
    read: dict[str, list[bool]] = {name: [] for name in ("release", *VIDEO_ATTACKS)}
    with tempfile.TemporaryDirectory() as scratch:
        for number, film in enumerate(films):
            height, width = film.pictures[0].shape[:2]
            small = min(height, width) < 400
            marked = [rival.mark(each, number) for each in film.pictures[:_RIVALS_LENGTH]]
            release = _written(film, marked, Encoding(), Path(scratch))
            chosen = np.linspace(0, len(release) - 1, _SHOWN[rival.name]).round().astype(int)
            read["release"].append(rival.reads_most([release[k] for k in chosen], number, small))
            for name, attack in VIDEO_ATTACKS.items():
                pictures = list(_as_large(decoded(encoded(release, film.fps, attack)), width, height))
                read[name].append(rival.reads_most([pictures[k] for k in chosen], number, small))
    return {name: Rate.of(hits) for name, hits in read.items()}


def _show(title: str, found: Found, others: dict[str, dict[str, Rate]]) -> None:
    """Print what was found, others' rates beside it."""
    table(
        f"{title}: what marking costs",
        ("PSNR, dB, mean (least)", "SSIM, mean (least)", "file at crf 20, mean", "most"),
        [
            (
                mean_least(found.psnr),
                mean_least(found.ssim, ".4f"),
                f"{100 * np.mean(found.growth):+.1f} %",
                f"{100 * max(found.growth):+.1f} %",
            )
        ],
    )
    rows = []
    for name, hits in found.read.items():
        least = f"{min(found.scores[name]):.1f}" if found.scores[name] else "–"
        rows.append((name, Rate.of(hits), least, *(each[name] for each in others.values())))
    table(f"{title}: payloads read to the last bit", ("encoder", "ours", "least matched score", *others), rows)
    table(
        f"{title}: c40 variants",
        ("matched", "payload exact", "made stronger", "least score"),
        [
            (
                Rate.of(score >= ATTACKED for score, _, _ in found.variant),
                Rate.of(exact for _, exact, _ in found.variant),
                Rate.of(stronger for _, _, stronger in found.variant),
                f"{min(score for score, _, _ in found.variant):.1f}",
            )
        ],
    )


def _goals(what: str, found: Found, growth_counts: bool) -> list[Goal]:
    """The goals for one set of films."""
    rates = {name: Rate.of(hits) for name, hits in found.read.items()}
    matched = Rate.of(score >= ATTACKED for score, _, _ in found.variant)
    firm = {name: rates[name] for name in ("H.264 crf 23", "H.264 crf 28")}
    reached = [
        lowest(f"{what}, crf 23 and 28", 0.99, firm),
        lowest(f"{what}, crf 32", 0.95, {"crf 32": rates["H.264 crf 32"]}),
        lowest(f"{what}, c40 variant matches (score ≥ {ATTACKED})", 0.99, {"variant": matched}),
    ]
    if growth_counts:
        mean, most = float(np.mean(found.growth)), max(found.growth)
        text = f"{100 * mean:+.1f} %, at most {100 * most:+.1f} %"
        reached.append(Goal(f"{what}, file at crf 20", "≤ +25 % (hoped for: +10 %)", text, mean <= 0.25))
    return reached
