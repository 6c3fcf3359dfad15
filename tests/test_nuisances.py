"""What is measured of a finished file is what is in it, and never what was forged."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluators.nuisances import LOOKS, MARGIN, SIDE, TRAIT, background, coding, crop, form, heard, whole
from forgeline.audio import write_sound
from forgeline.clip import Picture, Sound
from forgeline.errors import MediaError, WeightsError
from forgeline.faces import FaceFinder
from forgeline.image import write_image
from forgeline.video import Encoding, MaskWriter, VideoWriter
from tests.people import drawn

SIZE, FRAMES = 128, 30


def picture(seed: int = 0, size: int = SIZE) -> Picture:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=(size, size, 3)).astype(np.float32) * 200, (0, 0), 6)
    return np.asarray((120 + 3 * smooth + rng.normal(size=smooth.shape) * 3).clip(0, 255), np.uint8)


def film(path: Path, change: NDArray[np.int16] | None = None, crf: int = 23, sound: Sound | None = None) -> Path:
    with VideoWriter(path, SIZE, SIZE, Fraction(25), Encoding(crf=crf, preset="veryfast", gop=12), sound) as out:
        for at in range(FRAMES):
            seen = np.roll(picture(), at, 1).astype(np.int16)
            out.write((seen if change is None else seen + change).clip(0, 255).astype(np.uint8))
    return path


def masks(path: Path, mask: NDArray[np.uint8]) -> Path:
    with MaskWriter(path, *mask.shape[::-1], Fraction(25)) as out:
        for _ in range(FRAMES):
            out.write(mask)
    return path


def spot(value: int = 255, size: int = SIZE) -> NDArray[np.uint8]:
    mask = np.zeros((size, size), np.uint8)
    mask[size * 5 // 8 : size * 7 // 8, size * 5 // 8 : size * 7 // 8] = value
    return mask


def hum(seconds: float = FRAMES / 25) -> Sound:
    return Sound((np.sin(np.arange(round(seconds * 16000)) / 20) / 4).astype(np.float32), 16000)


def test_a_films_form_says_what_it_is(tmp_path: Path) -> None:
    facts = form(film(tmp_path / "0123456789abcdef0123.mp4", sound=hum()), "video")
    assert facts["name"] == "<id>.mp4"
    assert facts["boxes"].split()[:2] == ["ftyp", "moov"]
    assert facts["video 0: size"] == f"{SIZE}x{SIZE}"
    assert (facts["video 0: frames"], facts["video 0: lasts"]) == (str(FRAMES), str(Fraction(FRAMES, 25)))
    assert "crf=23.0" in facts["encoder"]
    assert facts["audio 1: form"] == "16000 mono s16"
    assert facts["audio 1: lasts"] == facts["audio 1: lasts, it says"] == str(Fraction(FRAMES, 25))


@pytest.mark.parametrize(
    ("setting", "fact"),
    [
        ({"pix_fmt": "yuv444p"}, "video 0: pixels"),
        ({"rate": 30}, "video 0: ticks"),
        ({"preset": "ultrafast"}, "encoder"),
        ({"codec": "mpeg4"}, "video 0: codec"),
        ({"suffix": ".mkv"}, "container"),
    ],
)
def test_another_way_of_writing_is_another_form(tmp_path: Path, setting: dict[str, str | int], fact: str) -> None:
    def written(name: str, **other: str | int) -> Path:
        path = tmp_path / f"{name}{other.get('suffix', '.mp4')}"
        with av.open(str(path), "w") as out:
            codec, preset = str(other.get("codec", "libx264")), {"preset": str(other.get("preset", "veryfast"))}
            stream = out.add_stream(codec, rate=int(other.get("rate", 25)), options=preset if codec == "libx264" else {})  # type: ignore[call-overload]
            stream.width = stream.height = 64
            stream.pix_fmt = str(other.get("pix_fmt", "yuv420p"))
            for at in range(4):
                frame = av.VideoFrame.from_ndarray(picture(at, 64), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path

    plain, changed = form(written("plain"), "video"), form(written("changed", **setting), "video")
    assert plain[fact] != changed[fact]
    assert plain | {"name": ""} == form(written("again"), "video") | {"name": ""}


def test_an_images_form_says_how_it_was_compressed(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    write_image(tmp_path / "b.png", picture(1), {"Comment": "a text"})
    one, other = (form(tmp_path / name, "image") for name in ("a.png", "b.png"))
    assert one["chunks"] == "IHDR IDAT IEND"
    assert {fact for fact in one if one[fact] != other[fact]} == {"name", "chunks"}
    for name, settings in (("q90", {"quality": 90}), ("q91", {"quality": 91}), ("s", {"quality": 90, "subsampling": 0})):
        Image.fromarray(picture()).save(tmp_path / f"{name}.jpg", **settings)  # type: ignore[arg-type]
    q90, q91, whole = (form(tmp_path / f"{name}.jpg", "image") for name in ("q90", "q91", "s"))
    assert q90["tables"] != q91["tables"]
    assert (q90["subsampling"], whole["subsampling"]) == ("2", "0")


def test_a_films_coding_counts_every_byte_and_knows_the_quantiser(tmp_path: Path) -> None:
    low, high = (coding(film(tmp_path / f"{crf}.mp4", crf=crf), "video") for crf in (20, 26))
    assert high["key quantiser"] - low["key quantiser"] == pytest.approx(6, abs=1.5)
    assert high["bytes"] < low["bytes"]
    assert low["key pictures"] + low["predicted pictures"] + low["between pictures"] == pytest.approx(1)
    assert low["key pictures"] == pytest.approx(3 / FRAMES)
    with av.open(str(tmp_path / "20.mp4")) as file:
        total = sum(packet.size for packet in file.demux(video=0))
    assert 2 ** low["bytes"] - 1e-3 == pytest.approx(total / (FRAMES * SIZE * SIZE), rel=1e-6)


def test_what_was_forged_is_not_seen(tmp_path: Path) -> None:
    """However much is changed within the mask of an image, the numbers are the same; one pixel outside of the margin shows."""
    control = picture()
    fake = np.where(spot()[..., None] > 0, 255 - control, control).astype(np.uint8)
    write_image(tmp_path / "mask.png", spot(1))  # blended ever so little is changed, too
    write_image(tmp_path / "control.png", control)
    write_image(tmp_path / "fake.png", fake)
    seen = background(tmp_path / "fake.png", tmp_path / "control.png", [tmp_path / "mask.png"], "image")
    assert seen.numbers[0] == seen.numbers[1]
    assert seen.grain is not None
    assert seen.view is not None
    assert seen.grain.shape == (2, LOOKS, 1, SIDE, SIDE)
    assert (seen.grain[0] == seen.grain[1]).all()
    assert (seen.view[0] == seen.view[1]).all()
    top = SIZE * 5 // 8 - MARGIN - 4
    fake[top, top] ^= 64
    write_image(tmp_path / "fake.png", fake)
    seen = background(tmp_path / "fake.png", tmp_path / "control.png", [tmp_path / "mask.png"], "image")
    assert seen.numbers[0]["brightness"] != seen.numbers[1]["brightness"]


def test_the_background_of_films_is_that_of_both_masks_at_any_size(tmp_path: Path) -> None:
    """Masks keep their master's size, and either of the pair may have changed something."""
    one, other = film(tmp_path / "a.mp4"), film(tmp_path / "b.mp4", np.asarray(spot(60), np.int16)[..., None])
    large = masks(tmp_path / "mask.mp4", spot(size=2 * SIZE))
    nothing = masks(tmp_path / "none.mp4", np.zeros((SIZE, SIZE), np.uint8))
    hidden = background(other, one, [large, nothing], "video").numbers
    assert hidden == background(other, one, [nothing, large], "video").numbers
    seen = background(other, one, [nothing], "video").numbers
    assert abs(hidden[0]["brightness"] - hidden[1]["brightness"]) < 0.2
    assert abs(seen[0]["brightness"] - seen[1]["brightness"]) > 2
    assert {"quantiser", "flicker", "fine grain", "blue grain"} <= hidden[0].keys()


def test_where_all_was_changed_nothing_is_compared(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    write_image(tmp_path / "mask.png", np.full((SIZE, SIZE), 9, np.uint8))
    seen = background(tmp_path / "a.png", tmp_path / "a.png", [tmp_path / "mask.png"], "image")
    assert (seen.numbers, seen.grain, seen.view) == (({}, {}), None, None)


def test_grids_of_other_codecs_are_seen_where_they_lie(tmp_path: Path) -> None:
    control = picture(3)
    cv2.imwrite(str(tmp_path / "q.jpg"), control[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])
    blocky = np.asarray(Image.open(tmp_path / "q.jpg").convert("RGB"))
    found = []
    for shift in (0, 3):
        write_image(tmp_path / "fake.png", np.roll(blocky, (shift, shift), (0, 1)))
        write_image(tmp_path / "control.png", np.roll(control, (shift, shift), (0, 1)))
        write_image(tmp_path / "mask.png", np.zeros((SIZE, SIZE), np.uint8))
        seen = background(tmp_path / "fake.png", tmp_path / "control.png", [tmp_path / "mask.png"], "image").numbers
        found.append({name: seen[0][name] - seen[1][name] for name in seen[0] if "grid of 8" in name})
    assert found[0]["grid of 8 columns"] > 0.15 > found[1]["grid of 8 columns"]
    assert found[1]["shifted grid of 8 columns"] > 0.15 > found[0]["shifted grid of 8 columns"]


def test_sound_is_heard_where_there_is_any(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", hum())
    assert heard(tmp_path / "a.flac", "audio")["samples"] == round(FRAMES / 25 * 16000)
    assert heard(film(tmp_path / "a.mp4", sound=hum()), "video")["rate"] == 16000
    assert heard(film(tmp_path / "b.mp4"), "video") == {}
    assert coding(tmp_path / "a.flac", "audio") == {}
    assert form(tmp_path / "a.flac", "audio")["audio 0: form"] == "16000 mono s16"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_what_is_cut_off_is_said_to_be(tmp_path: Path, share: float) -> None:
    whole = film(tmp_path / "a.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: round(whole.stat().st_size * share)])
    with pytest.raises(MediaError, match=r"cut\.mp4: "):
        coding(cut, "video")
    write_image(tmp_path / "a.png", picture())
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[: round(share * 9000)])
    with pytest.raises(MediaError, match=r"cut\.png: is broken"):
        form(tmp_path / "cut.png", "image")
    with pytest.raises(MediaError):
        background(tmp_path / "cut.png", tmp_path / "a.png", [], "image")


def test_a_film_that_ends_between_two_pictures_is_cut_off_as_well(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4")
    with av.open(str(whole)) as file:
        ends = sorted(packet.pos + packet.size for packet in file.demux(video=0) if packet.size and packet.pos is not None)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: ends[-6]])
    with pytest.raises(MediaError, match=rf"ends after \d+ of {FRAMES} pictures"):
        coding(cut, "video")


def test_what_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    for kind in ("video", "image", "audio"):
        with pytest.raises(MediaError, match="missing"):
            form(tmp_path / "missing", kind)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    try:
        return FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")


@pytest.fixture(scope="module")
def me() -> list[Picture]:
    pictures = list(drawn(1).pictures())
    return (pictures * 14)[:14]


def filmed(path: Path, pictures: list[Picture]) -> Path:
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(25), Encoding(crf=18, preset="veryfast", gop=12)) as out:
        for each in pictures:
            out.write(each)
    return path


def closer(seen: Picture, by: float, right: int = 0) -> Picture:
    height, width = seen.shape[:2]
    turn = np.array([[by, 0, (1 - by) * width / 2 + right], [0, by, (1 - by) * height / 2]])
    return np.asarray(cv2.warpAffine(seen, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


@pytest.mark.parametrize("first", [0, 28, 60])
def test_a_leak_in_any_third_of_a_film_is_seen(tmp_path: Path, first: int) -> None:
    """Twelve pictures that are brighter where nothing was forged; the untouched film is compared equal with itself."""
    pictures = [np.roll(picture(), at, 1) for at in range(72)]
    brighter = [np.minimum(each, 240) + np.uint8(15 if first <= at < first + 12 else 0) for at, each in enumerate(pictures)]
    plain, changed = filmed(tmp_path / "plain.mp4", pictures), filmed(tmp_path / "changed.mp4", brighter)
    nothing = masks(tmp_path / "none.mp4", np.zeros((SIZE, SIZE), np.uint8))
    seen = background(changed, plain, [nothing], "video").numbers
    assert seen[0]["brightness"] > seen[1]["brightness"] + 2
    same = background(plain, plain, [nothing], "video").numbers
    assert same[0] == same[1]


def test_a_closer_crop_shows_in_its_size_and_a_moved_one_in_its_place(
    tmp_path: Path, finder: FaceFinder, me: list[Picture]
) -> None:
    plain = crop(filmed(tmp_path / "plain.mp4", me), "video", finder)
    near = crop(filmed(tmp_path / "near.mp4", [closer(each, 1.2) for each in me]), "video", finder)
    aside = crop(filmed(tmp_path / "aside.mp4", [closer(each, 1, 20) for each in me]), "video", finder)
    assert near["size"] - plain["size"] == pytest.approx(np.log2(1.2), abs=0.04)
    assert aside["across"] - plain["across"] == pytest.approx(20 / me[0].shape[1], abs=0.01)
    assert aside["size"] == pytest.approx(plain["size"], abs=0.03)
    assert plain[f"{TRAIT}detector confidence"] > 0.5


def test_a_crop_that_grows_or_shakes_is_seen(tmp_path: Path, finder: FaceFinder, me: list[Picture]) -> None:
    def of(name: str, pictures: list[Picture]) -> dict[str, float]:
        return crop(filmed(tmp_path / f"{name}.mp4", pictures), "video", finder)

    plain = of("plain", me)
    grows = of("grows", [closer(each, 1 + at / 40) for at, each in enumerate(me)])
    shakes = of("shakes", [closer(each, 1, 3 * (at % 2)) for at, each in enumerate(me)])
    assert grows["change of size"] > plain["change of size"] + 0.08
    assert shakes[f"{TRAIT}landmark jitter"] > max(grows[f"{TRAIT}landmark jitter"], plain[f"{TRAIT}landmark jitter"] + 1)


def test_without_a_face_there_is_no_crop(tmp_path: Path, finder: FaceFinder) -> None:
    write_image(tmp_path / "a.png", picture())
    assert crop(tmp_path / "a.png", "image", finder).keys() == {f"{TRAIT}detector confidence"}
    filmed(tmp_path / "a.mp4", [picture()] * 2)
    assert crop(tmp_path / "a.mp4", "video", finder).keys() == {f"{TRAIT}detector confidence"}


def test_of_a_whole_picture_a_jpegs_blocks_count_and_all_else_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "plain.png", picture())
    Image.fromarray(picture()).save(tmp_path / "once.jpg", quality=60)
    once = np.asarray(Image.open(tmp_path / "once.jpg").convert("RGB"), np.uint8)
    write_image(tmp_path / "once.png", once)
    write_image(tmp_path / "cut.png", np.ascontiguousarray(once[3:, 3:]))
    plain, jpeg, cut = (whole(tmp_path / f"{name}.png") for name in ("plain", "once", "cut"))
    assert [name for name in plain if not name.startswith(TRAIT)] == ["blocks"]
    assert jpeg["blocks"] > 0.05
    assert plain["blocks"] == cut["blocks"] == 0
    assert f"{TRAIT}brightness" in plain
