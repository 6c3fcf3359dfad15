"""`look`: contact sheets of what was made, for a person's eyes."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from flows.matched import made
from flows.params import Params
from forgeline.clip import Picture
from forgeline.files import replacing
from forgeline.image import open_image, write_image
from forgeline.sample import Sample
from forgeline.video import open_video, read_masks

OUT = Path("build/look")
SIDE = 224
MOMENTS = 4


def look(names: Sequence[str], params: Params) -> list[Path]:
    """Write a sheet a generator to build/look and give the paths.

    A row a sample (at most eight): the same moments of its control, of itself and of its mask. A row of images shows eight.
    """
    rows = {s.sample_id: s for s in made(params.generators) if s.reason is None}
    sheets = []
    for name in names or params.generators:
        own = [s for s in rows.values() if s.method == name]
        if not own:
            continue
        lines = _images(own) if own[0].media_type == "image" else [_line(s, rows) for s in own[:8]]
        path = OUT / f"{name}.png"
        with replacing(path) as part:
            write_image(part, np.vstack(lines))
        sheets.append(path)
    return sheets


def _images(own: Sequence[Sample]) -> list[Picture]:
    tiles = [_tile(next(open_image(Path(s.media)).pictures())) for s in own[:32]]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
    return [np.hstack(tiles[i : i + 8]) for i in range(0, len(tiles), 8)]


def _line(sample: Sample, rows: dict[str, Sample]) -> Picture:
    at = [(2 * i + 1) * sample.frames // (2 * MOMENTS) for i in range(MOMENTS)]
    strips = []
    for path in dict.fromkeys((rows[str(sample.pair_id)].media, sample.media)):
        strips.append([_tile(p) for i, p in enumerate(islice(open_video(Path(path)).pictures(), at[-1] + 1)) if i in at])
    if sample.mask:
        masks = (np.repeat(m[..., None], 3, axis=2) for m in read_masks(Path(sample.mask)))
        strips.append([_tile(p) for i, p in enumerate(islice(masks, at[-1] + 1)) if i in at])
    return np.hstack([tile for strip in strips for tile in strip])


def _tile(picture: Picture) -> Picture:
    """The picture within a square of `SIDE`, on black."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    tile = np.zeros((SIDE, SIDE, 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile
