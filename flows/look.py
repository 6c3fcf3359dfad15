"""`look`: what was made, to be seen and heard: a contact sheet for each generator, and a page on which its clips play."""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import cv2
import numpy as np

from flows.matched import made
from forgeline.audio import open_sound
from forgeline.clip import MediaType, Picture, Segment, Sound
from forgeline.errors import FactoryError
from forgeline.files import replacing, write_text
from forgeline.hearing import spectra
from forgeline.image import open_image, write_image
from forgeline.sample import Sample
from forgeline.video import open_video, read_masks

if TYPE_CHECKING:  # it imports every plug-in
    from flows.params import Params

OUT = Path("build/look")
SIDE = 192
MOMENTS = 3
MOST_CLIPS, MOST_IMAGES = 8, 32

_PAGE = Path(__file__).with_name("look_page.html")
_WIDE, _HIGH, _LANE = 300, 48, 5  # the drawing below a player: its units are stretched to the player's width
_COLUMNS = 150
_SPECTRUM_S, _STEP_S, _DEEPEST_DB = 0.032, 0.008, -80


@dataclass(frozen=True)
class Strip:
    """One of the things that are shown beside each other: its name, whom it shows, the file, how many moments of it.

    `segments` are when it was changed.
    """

    name: str
    who: str
    path: Path
    moments: int
    kind: MediaType
    segments: tuple[Segment, ...] = ()

    @cached_property
    def sound(self) -> Sound | None:
        if self.name == "mask" or self.kind == "image":
            return None
        return (open_sound if self.kind == "audio" else open_video)(self.path).sound()


def look(names: Sequence[str], params: "Params") -> list[Path]:
    """Write a sheet and a page for each generator (all, or those named) to build/look, and give the paths.

    A row is a sample: its target's control, its source's, itself and its mask, at the same moments, or their spectrograms
    (up to half the rate, 80 dB deep) where it is sound alone; or eight images.
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
            lines = _images(own)
            figures = [_figure(s, [strip for strip in strips_of(s, rows) if strip.name == s.method]) for s in own]
        else:
            lines, figures = [], []
            for sample in own[:MOST_CLIPS]:
                strips = strips_of(sample, rows)
                lines.append(np.hstack([tile for strip in strips for tile in tiles_of(strip)]))
                figures.append(_figure(sample, strips))
        sheet, page = OUT / f"{name}.png", OUT / f"{name}.html"
        widest = max(line.shape[1] for line in lines)  # a sample whose source has no control has a strip less
        with replacing(sheet) as part:
            write_image(part, np.vstack([np.pad(line, ((0, 0), (0, widest - line.shape[1]), (0, 0))) for line in lines]))
        links = " ".join(f'<a href="{n}.html"{" aria-current=page" if n == name else ""}>{n}</a>' for n in there)
        about = html.escape((type(params.generators[name]).__doc__ or "").split("\n\n")[0])
        text = Template(_PAGE.read_text(encoding="utf-8"))
        write_text(page, text.substitute(name=name, links=links, about=about, figures="\n".join(figures)))
        written += [sheet, page]
    return written


def strips_of(sample: Sample, rows: Mapping[str, Sample]) -> list[Strip]:
    """What is shown of a sample, from left to right; a control stands for the clip that it was made of."""
    kind = sample.media_type
    control_of = {s.parents[0]: s for s in rows.values() if s.role == "control" and s.media_type == kind}
    target = rows[str(sample.pair_id)]
    strips = []
    if sample.role != "control" and sample.parents:
        strips.append(Strip("target", target.target_id or "", Path(target.media), MOMENTS, kind))
    for parent in sample.parents[1:]:
        if parent in control_of:
            source = control_of[parent]
            strips.append(Strip("source", source.target_id or "", Path(source.media), 1, kind))
    strips.append(Strip(sample.method, sample.apparent_id or "", Path(sample.media), MOMENTS, kind, sample.segments))
    if sample.mask and sample.role != "control":
        strips.append(Strip("mask", "", Path(sample.mask), MOMENTS, kind))
    return strips


def tiles_of(strip: Strip) -> list[Picture]:
    """The pictures of a strip, as high as `SIDE`, left to right: one a moment, or the spectrogram of a sound."""
    return [_spectrogram(strip)] if strip.kind == "audio" else _moments(strip)


def _spectrogram(strip: Strip) -> Picture:
    """Time to the right, frequency upwards to half the rate; as wide as the moments of a film."""
    size = SIDE, SIDE * strip.moments
    sound = strip.sound
    if sound is None:
        return np.zeros((*size, 3), np.uint8)
    window, step = (round(seconds * sound.rate) for seconds in (_SPECTRUM_S, _STEP_S))
    power = np.concatenate(list(spectra(sound.samples, window, step)))
    level = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 10 ** (_DEEPEST_DB / 10)))
    grey = np.asarray(255 * (1 - level.T[::-1] / _DEEPEST_DB), np.uint8)
    drawn = cv2.applyColorMap(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA), cv2.COLORMAP_VIRIDIS)
    drawn[:, -2:] = drawn[-2:] = 0
    return np.ascontiguousarray(drawn[..., ::-1])


def _moments(strip: Strip) -> list[Picture]:
    """Tiles of a strip at evenly spread moments."""
    clip = (open_image if strip.kind == "image" else open_video)(strip.path)
    frames, pictures = clip.frames, clip.pictures()
    if strip.name == "mask" and strip.kind == "video":
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


def _figure(sample: Sample, strips: Sequence[Strip]) -> str:
    """One row of the page: the files themselves, side by side, with one bar of controls for all that play."""
    heard = [strip for strip in strips if strip.sound is not None]
    loudest = max((float(np.abs(strip.sound.samples).max(initial=0)) for strip in heard if strip.sound), default=0.0)
    own = next(strip for strip in strips if strip.name == sample.method)
    shown = []
    for strip in strips:
        source = html.escape(os.path.relpath(strip.path, OUT).replace(os.sep, "/"))
        name = f"<b>{strip.name}</b> {html.escape(strip.who)}"
        if sample.media_type == "image":
            shown.append(f'<div><img src="{source}" alt="">{name}</div>')
            continue
        lead = " data-lead" if strip is own else ""
        tag = "audio" if strip.kind == "audio" else "video playsinline"
        media = f'<{tag} src="{source}" muted preload="metadata"{lead}></{tag.split()[0]}>'
        if strip in heard:
            checked = " checked" if strip is own or (own not in heard and strip is heard[0]) else ""
            name = f'<label><input type="radio" name="{sample.sample_id}" title="hear this one"{checked}>{name}</label>'
        shown.append(f"<div>{media}{_timeline(strip, sample.duration_s, loudest)}{name}</div>")
    said = " · ".join(
        [
            *(sample.sample_id, sample.role, str(sample.split)),
            *(f"{name} {value}" for name, value in sorted(sample.drawn.items())),
            *(f"{name} {value:.3g}" for name, value in sorted(sample.scores.items())),
        ]
    )
    labels = {"video": sample.video_label, "audio": sample.audio_label}
    cells = "".join(f'<span class="{name} {label}">{name} {label}</span> ' for name, label in labels.items() if label)
    words = html.escape(" ".join(word.text for word in sample.words))
    spoken = f"<q>{words}</q>" if words else ""
    controls = ""
    if sample.media_type != "image":
        controls = (
            '<p class="bar"><button type="button">Play</button>'
            f'<input type="range" min="0" max="{sample.duration_s:.3f}" step="0.01" value="0" aria-label="time">'
            f"<output>0.0</output> of {sample.duration_s:.1f} s</p>"
        )
    caption = f"<figcaption>{cells}{spoken} {html.escape(said)}</figcaption>"
    return f"<figure>{''.join(shown)}{controls}{caption}</figure>"


def _timeline(strip: Strip, seconds: float, loudest: float) -> str:
    """What is below a player, as SVG: the wave, when pictures and sound were changed, and a line for the time that is shown."""
    sound, parts = strip.sound, []
    if sound is not None and len(sound.samples):
        seconds = len(sound.samples) / sound.rate
        pieces = np.array_split(sound.samples, min(_COLUMNS, len(sound.samples)))
        across = np.linspace(0, _WIDE, len(pieces))
        tall = _HIGH / 2 / max(loudest, 1e-3)
        tops = [(x, _HIGH / 2 - float(piece.max()) * tall) for x, piece in zip(across, pieces, strict=True)]
        lows = [(x, _HIGH / 2 - float(piece.min()) * tall) for x, piece in zip(across, pieces, strict=True)]
        path = "L".join(f"{x:.4g} {y:.3g}" for x, y in [*tops, *lows[::-1]])
        parts.append(f'<path d="M{path}Z"/>')
    for segment in strip.segments:
        start, end = (min(at / max(seconds, 1e-3), 1) * _WIDE for at in (segment.start_s, segment.end_s))
        top = _HIGH + (_LANE if segment.modality == "audio" else 0)
        told = f"<title>{segment.modality} changed, {segment.start_s:.2f} to {segment.end_s:.2f} s</title>"
        size = f'x="{start:.4g}" y="{top}" width="{max(end - start, 1):.4g}" height="{_LANE - 1}"'
        parts.append(f'<rect class="{segment.modality}" {size}>{told}</rect>')
    if not parts:
        return ""
    box = f'viewBox="0 0 {_WIDE} {_HIGH + 2 * _LANE}" preserveAspectRatio="none" data-seconds="{seconds:.3f}"'
    return f'<svg {box}>{"".join(parts)}<line x1="0" x2="0" y1="0" y2="{_HIGH + 2 * _LANE}"/></svg>'
