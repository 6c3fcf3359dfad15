"""Still pictures in and out."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from forgeline.clip import Picture
from forgeline.errors import MediaError
from forgeline.image import open_image, write_image

ROOT = Path(__file__).parents[1]


def noise(width: int = 20, height: int = 14) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def only(path: Path) -> Picture:
    (picture,) = open_image(path).pictures()
    return picture


def test_a_picture_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, noise(), {"Note": "größer"})
    clip = open_image(path)
    assert (clip.media_type, clip.width, clip.height, clip.fps, clip.frames) == ("image", 20, 14, 0, 1)
    assert (clip.duration, clip.sound(), clip.name) == (0, None, str(path))
    (first,) = clip.pictures()
    first[:] = 0  # a reader may draw on it
    assert np.array_equal(only(path), noise())
    assert np.array_equal(next(clip.pictures()), noise())
    with Image.open(path) as file:
        assert file.text == {"Note": "größer"}


def test_a_mask_stays_grey(tmp_path: Path) -> None:
    write_image(tmp_path / "m.png", noise()[..., 0])
    with Image.open(tmp_path / "m.png") as file:
        assert file.mode == "L"
    assert np.array_equal(only(tmp_path / "m.png"), noise()[..., :1].repeat(3, 2))


def test_same_picture_same_bytes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", noise(), {"a": "b"})
    code = "import sys\nfrom pathlib import Path\nimport numpy as np\nfrom forgeline.image import write_image\n"
    code += "made = np.random.default_rng(0).integers(0, 256, (14, 20, 3), np.uint8)\n"
    code += "write_image(Path(sys.argv[1]), made, {'a': 'b'})"
    env = os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": "85"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.png")], check=True, env=env)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("width", "height"), [(21, 15), (21, 14), (20, 15)])
def test_odd_sides_are_cut(tmp_path: Path, width: int, height: int) -> None:
    write_image(tmp_path / "a.png", noise(width, height))
    assert np.array_equal(only(tmp_path / "a.png"), noise(width, height)[:14, :20])


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, -1), (8, 1)])
def test_a_phone_picture_is_turned_upright(tmp_path: Path, orientation: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(only(tmp_path / "a.png"), np.rot90(noise(), turn))


def test_other_kinds_of_pixels_become_rgb(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 20 * 14).astype(np.uint8).reshape(14, 20)
    kinds = {
        "L": Image.fromarray(grey),
        "LA": Image.fromarray(np.stack([grey, 255 - grey], -1), "LA"),
        "P": Image.fromarray(grey).convert("P"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
        assert np.array_equal(only(tmp_path / f"{name}.png"), grey[..., None].repeat(3, 2)), name


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (Path.touch, "broken or no picture"),
    "text": (lambda p: p.write_text("no picture"), "broken or no picture"),
    "folder": (Path.mkdir, "broken or no picture"),
    "missing": (lambda p: None, "broken or no picture"),
    "one pixel": (lambda p: write_image(p, noise(1, 1)), "less than two pixels"),
    "huge": (lambda p: Image.new("L", (8200, 2)).save(p), "larger than 8192 pixels"),
    "16 bits": (lambda p: Image.fromarray(noise()[..., 0].astype(np.uint16) * 257).save(p), "more than 8 bits"),
    "gif": (lambda p: Image.new("L", (8, 8)).save(p, "GIF"), "broken or no picture"),
    "postscript": (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "broken or no picture"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    make, says = BAD[kind]
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(MediaError, match=says) as caught:
        open_image(path)
    assert caught.value.which == str(path)
    assert "\n" not in str(caught.value)


def encoded(kind: str) -> bytes:
    out = BytesIO()
    Image.fromarray(noise(64, 48)).save(out, kind)
    return out.getvalue()


FILES = {kind: encoded(kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_bytes_give_a_picture_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    whole = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(0, min(len(whole), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{hashlib.sha256(whole).hexdigest()[:8]}"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        picture = only(path)
    except MediaError as error:
        said = str(error)
    else:
        said = ""
        assert picture.dtype == np.uint8
        assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    finally:
        path.unlink()
    assert "\n" not in said
