"""Still pictures in and out."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from forgeline.clip import Clip, Mask, Picture, Track
from forgeline.errors import MediaError
from forgeline.video import LONGEST_SIDE


def open_image(path: Path, track: Track | None = None) -> Clip:
    """The clip of one frame in a picture file: upright, 8-bit RGB, both sides cut to even. Raises MediaError."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF")) as file:
            if max(file.size) > LONGEST_SIDE:
                raise MediaError(path, f"is larger than {LONGEST_SIDE} pixels", "scale it down, or leave it out")
            if file.mode.startswith(("I", "F")):  # Pillow would cut its values off, not scale them
                raise MediaError(path, "has more than 8 bits a channel", "save it with 8 bits, or leave it out")
            picture = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except MediaError:
        raise
    except Exception as error:  # Pillow's parsers raise what comes of calculating with hostile bytes: struct.error …
        raise MediaError(path, f"is broken or no picture ({error})", "replace it by a whole copy, or leave it out") from error
    height, width = picture.shape[0] & ~1, picture.shape[1] & ~1
    if not height or not width:
        raise MediaError(path, "is less than two pixels wide or high", "leave it out")
    even = np.ascontiguousarray(picture[:height, :width])
    return Clip(
        media_type="image",
        width=width,
        height=height,
        fps=Fraction(0),
        frames=1,
        pictures=lambda: iter((even.copy(),)),
        sound=lambda: None,
        track=track,
        name=str(path),
    )


def write_image(path: Path, picture: Picture | Mask, texts: dict[str, str] | None = None) -> None:
    """Write a PNG, RGB or grey, with `texts` as iTXt chunks. Same input, same bytes."""
    info = PngImagePlugin.PngInfo()
    for key, value in (texts or {}).items():
        info.add_itxt(key, value)
    Image.fromarray(picture).save(path, format="PNG", pnginfo=info, compress_level=6)
