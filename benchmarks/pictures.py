"""The pictures in docs: contact sheets of a built checkout's people, smaller, as JPEG.

    python -m benchmarks.pictures [CHECKOUT [OUT]]

CHECKOUT (by default this one) holds the demo, whose people don't exist; OUT is docs/pictures. A sheet a generator, of its
first samples, and `samples.jpg` with one sample of each that works on films, and a row of what paints.
"""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from flows.look import OUT, SIDE, look
from flows.params import load_params
from forgeline.clip import Picture
from forgeline.files import replacing
from forgeline.image import open_image

TILE = 128
ROWS = 3
QUALITY = 82


def main(checkout: str = ".", out: str = "docs/pictures") -> None:
    pictures = Path(out).resolve()
    os.chdir(checkout)
    params = load_params()
    if set(params.sources) != {"demo"}:
        sys.exit(f"{checkout}: holds real people; docs show rendered ones")
    look((), params)
    films: list[Picture] = []
    painted: list[Picture] = []
    for name in params.generators:
        sheet = next(open_image(OUT / f"{name}.png").pictures())
        rows = _rows(sheet)
        if name not in ("control", "image_control"):
            _write(pictures / f"{name}.jpg", np.vstack(rows[:ROWS]))
            (painted if sheet.shape[1] == 8 * SIDE else films).append(_wide(rows[len(films) % len(rows)]))
    _write(pictures / "samples.jpg", np.vstack([*films, *painted]))


def _rows(sheet: Picture) -> list[Picture]:
    width, height = (side * TILE // SIDE for side in sheet.shape[1::-1])
    small = np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return [small[top : top + TILE] for top in range(0, height, TILE)]


def _wide(row: Picture) -> Picture:
    """The row on ten tiles' width: what has no source has white in its place, what has no parents at the end."""
    white = np.full((TILE, 10 * TILE - row.shape[1], 3), 255, np.uint8)
    at = 3 * TILE if row.shape[1] == 9 * TILE else row.shape[1]
    return np.hstack([row[:, :at], white, row[:, at:]])


def _write(path: Path, picture: Picture) -> None:
    with replacing(path) as part:
        Image.fromarray(picture).save(part, "JPEG", quality=QUALITY, optimize=True)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
