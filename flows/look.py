"""`look`: what was made, for a person's eyes: a contact sheet for each generator, and a page on which its clips play."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Template

import cv2
import numpy as np

from flows.matched import made
from flows.params import Params
from forgeline.clip import Picture
from forgeline.errors import FactoryError
from forgeline.files import replacing, write_text
from forgeline.image import open_image, write_image
from forgeline.sample import Sample
from forgeline.video import open_video, read_masks

OUT = Path("build/look")
SIDE = 192
MOMENTS = 3
MOST_CLIPS, MOST_IMAGES = 8, 32

_PAGE = Path(__file__).with_name("look_page.html")


@dataclass(frozen=True)
class _Strip:
    """One of the things that are shown beside each other: its name, whom it shows, the file, how many moments of it."""

    name: str
    who: str
    path: Path
    moments: int


def look(names: Sequence[str], params: Params) -> list[Path]:
    """Write a sheet and a page for each generator (all, or those named) to build/look, and give the paths.

    A row is a sample: its target's control, its source's, itself and its mask, at the same moments; or eight images.
    """
    for name in set(names) - set(params.generators):
        raise FactoryError(name, "is not in params", f"there are {', '.join(params.generators)} under generators")
    rows = {s.sample_id: s for s in made(params.generators) if s.reason is None}
    written = []
    there = [name for name in params.generators if any(s.method == name for s in rows.values())]
    for name in [name for name in there if name in names or not names]:
        own = [s for s in rows.values() if s.method == name]
        if own[0].media_type == "image":
            own = own[:MOST_IMAGES]
            lines, figures = _images(own), [_figure(s, _strips(s, rows)[-1:], "img") for s in own]
        else:
            own = own[:MOST_CLIPS]
            lines = [np.hstack([tile for strip in _strips(s, rows) for tile in _moments(strip)]) for s in own]
            figures = [_figure(s, _strips(s, rows), "video") for s in own]
        sheet, page = OUT / f"{name}.png", OUT / f"{name}.html"
        with replacing(sheet) as part:
            write_image(part, np.vstack(lines))
        links = " ".join(f'<a href="{n}.html"{" aria-current=page" if n == name else ""}>{n}</a>' for n in there)
        about = html.escape((type(params.generators[name]).__doc__ or "").split("\n\n")[0])
        text = Template(_PAGE.read_text(encoding="utf-8"))
        write_text(page, text.substitute(name=name, links=links, about=about, figures="\n".join(figures)))
        written += [sheet, page]
    return written


def _strips(sample: Sample, rows: dict[str, Sample]) -> list[_Strip]:
    """What is shown of a sample, from left to right; a control stands for the clip that it was made of."""
    control_of = {s.parents[0]: s for s in rows.values() if s.role == "control" and s.media_type == sample.media_type}
    target = rows[str(sample.pair_id)]
    strips = []
    if sample.role != "control" and sample.parents:
        strips.append(_Strip("target", target.target_id or "", Path(target.media), MOMENTS))
    for parent in sample.parents[1:]:
        if parent in control_of:
            source = control_of[parent]
            strips.append(_Strip("source", source.target_id or "", Path(source.media), 1))
    strips.append(_Strip(sample.method, sample.apparent_id or "", Path(sample.media), MOMENTS))
    if sample.mask and sample.role != "control":
        strips.append(_Strip("mask", "", Path(sample.mask), MOMENTS))
    return strips


def _moments(strip: _Strip) -> list[Picture]:
    """Tiles of a strip at evenly spread moments."""
    clip = open_video(strip.path)
    frames, pictures = clip.frames, clip.pictures()
    if strip.name == "mask":
        pictures = (np.repeat(mask[..., None], 3, axis=2) for mask in read_masks(strip.path))
    at = [(2 * i + 1) * frames // (2 * strip.moments) for i in range(strip.moments)]
    return [_tile(picture) for number, picture in enumerate(islice(pictures, at[-1] + 1)) if number in at]


def _images(own: Sequence[Sample]) -> list[Picture]:
    tiles = [_tile(next(open_image(Path(s.media)).pictures())) for s in own]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
    return [np.hstack(tiles[i : i + 8]) for i in range(0, len(tiles), 8)]


def _tile(picture: Picture) -> Picture:
    """The picture within a square of `SIDE`, on black."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    tile = np.zeros((SIDE, SIDE, 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile


def _figure(sample: Sample, strips: Sequence[_Strip], tag: str) -> str:
    """One row of the page: the files themselves, side by side."""
    shown = []
    for strip in strips:
        source = html.escape(os.path.relpath(strip.path, OUT).replace(os.sep, "/"))
        media = (
            f'<img src="{source}" alt="">' if tag == "img" else f'<video src="{source}" muted loop preload="metadata"></video>'
        )
        shown.append(f"<div>{media}<b>{strip.name}</b> {html.escape(strip.who)}</div>")
    said = " · ".join(
        [
            *(sample.sample_id, sample.role, str(sample.split)),
            *(f"{name} {value}" for name, value in sorted(sample.drawn.items())),
            *(f"{name} {value:.3g}" for name, value in sorted(sample.scores.items())),
        ]
    )
    return f"<figure>{''.join(shown)}<figcaption>{html.escape(said)}</figcaption></figure>"
