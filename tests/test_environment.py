"""The same clip under other conditions: each effect does what was drawn, and nothing but what the mask says."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from forgeline.clip import Clip, Picture, Segment
from forgeline.errors import MediaError, WeightsError
from generators import weather
from generators.camera import grainy, out_of_focus, shake, sway
from generators.environment import KINDS, WORDS, Environment, elsewhere
from generators.light import normals, tint
from generators.person import EVERY, SIDE, Person
from generators.scenery import PLACES, scene
from tests.people import FPS, FRAMES, UNSEEN, drawn, footage, pose

Floats = NDArray[np.float32]
ELSEWHERE = tuple(word for word in WORDS if word != "background")
NOTES = {
    "light": {"light", "light_azimuth", "light_elevation", "kelvin"},
    "colour": {"kelvin"},
    "night": {"night", "kelvin"},
    "background": {"background"},
    "rain": {"rain", "wind"},
    "snow": {"snow", "wind"},
    "fog": {"fog"},
    "shake": {"shake_pixels"},
    "defocus": {"defocus_pixels"},
    "motion": {"motion_pixels", "motion_degrees"},
    "resolution": {"resolution"},
    "noise": {"noise_levels"},
}


def made(word: str, clip: Clip, seed: int = 0, **settings: Any) -> tuple[dict[str, Any], list[Picture], list[Picture]]:
    """What one effect drew, and the pictures with it and without."""
    result = Environment.model_validate({"effects": [word], **settings})([clip], np.random.default_rng(seed))
    return dict(result.drawn), [picture for picture, _ in result.pictures], list(clip.pictures())


def still(picture: Picture, frames: int = 1) -> Clip:
    """A clip of one picture, without a face."""
    height, width = picture.shape[:2]
    kind, fps = ("image", Fraction(0)) if frames == 1 else ("video", FPS)
    return Clip(kind, width, height, fps, frames, lambda: iter([picture] * frames), lambda: None, None, "a wall")  # type: ignore[arg-type]


def flat(level: int = 120, frames: int = 1) -> Clip:
    return still(np.full((120, 160, 3), level, np.uint8), frames)


def pattern() -> Picture:
    """Detail of all sizes, with room for more brightness and for less."""
    noise = np.random.default_rng(5).normal(0, 1, (192, 256)).astype(np.float32)
    layers = sum(size * cv2.GaussianBlur(noise, (0, 0), size) for size in (1, 3, 8))
    grey = np.clip(128 + 40 * layers / np.std(layers), 0, 255).astype(np.uint8)
    return np.stack([grey] * 3, 2)


def detail(picture: Picture) -> float:
    return float(cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F).std())


# ------------------------------------------------------------------------------------------------ what all keep


@pytest.mark.parametrize("word", ELSEWHERE)
@pytest.mark.parametrize("clip", [drawn(1), replace(drawn(1), track=None), still(pattern())], ids=["face", "no face", "still"])
def test_what_is_drawn_is_said_and_whole_pictures_change(word: str, clip: Clip) -> None:
    result = Environment(effects=(word,))([clip], np.random.default_rng(3))  # type: ignore[arg-type]
    assert set(result.drawn) == {"effects"} | NOTES[word]
    assert result.drawn["effects"] == word
    assert (result.frames, result.width, result.height, result.fps) == (clip.frames, clip.width, clip.height, clip.fps)
    assert result.segments == ((Segment(0, float(clip.frames / clip.fps), "video"),) if clip.fps else ())
    count = 0
    for (picture, mask), original in zip(result.pictures, clip.pictures(), strict=True):
        assert mask is not None
        assert picture.dtype == mask.dtype == np.uint8
        assert picture.shape == original.shape
        changed = (picture != original).any(2)
        assert (mask == 255).all()
        assert changed.mean() > 0.3, "frames without a face change, too"
        count += 1
    assert count == clip.frames


def test_a_clip_gets_at_most_one_of_a_kind_and_every_effect_has_its_turn() -> None:
    kinds: dict[str, int] = {word: number for number, kind in enumerate(KINDS) for word in kind}
    assert set(kinds) == set(WORDS)
    met: dict[str, int] = {}
    counts = {1: 0, 2: 0, 3: 0}
    clip = flat()
    for seed in range(160):
        words = str(Environment(at_once=3, effects=ELSEWHERE)([clip], np.random.default_rng(seed)).drawn["effects"]).split()
        assert len({kinds[word] for word in words}) == len(words)
        assert [kinds[word] for word in words] == sorted(kinds[word] for word in words)
        counts[len(words)] += 1
        for word in words:
            met[word] = met.get(word, 0) + 1
    assert set(met) == set(ELSEWHERE)
    assert min(counts.values()) > 30
    assert max(met.values()) < 3 * min(met.values())


def test_effects_that_there_are_not_are_refused() -> None:
    for wrong in ([], ["hail"], ["rain", "rain"]):
        with pytest.raises(ValidationError):
            Environment.model_validate({"effects": wrong})


# -------------------------------------------------------------------------------------------------------- light


@pytest.mark.parametrize("seed", range(6))
def test_a_lamp_makes_its_side_of_the_face_brighter(seed: int) -> None:
    clip = drawn(1)
    said, after, before = made("light", clip, seed, light=0.9)
    assert clip.track is not None
    x0, y0, x1, y1 = clip.track.box[0].round().astype(int)
    gain = after[0][y0:y1, x0:x1].sum(2) / before[0][y0:y1, x0:x1].sum(2).clip(1)
    middle = (x1 - x0) // 2
    left, right = np.median(gain[:, : middle - 10]), np.median(gain[:, middle + 10 :])
    assert (left > 1.3 * right) if said["light_azimuth"] < 0 else (right > 1.3 * left)


def test_light_follows_the_nose() -> None:
    """Without a face it grows brighter all the way to the lamp; with one, the far side of the nose is in shade."""
    clip = replace(drawn(1), pictures=lambda: iter([np.full((192, 176, 3), 120, np.uint8)] * FRAMES))
    mesh = pose(0, 0, 88, 100, 96)
    mesh[[4, 1, 5, 195, 197, 6], 2] -= 25  # a sharp ridge
    assert clip.track is not None
    box = np.tile(np.concatenate([mesh[:, :2].min(0), mesh[:, :2].max(0)]), (FRAMES, 1))
    track = replace(clip.track, mesh=np.stack([mesh] * FRAMES), box=box, seen=np.ones(FRAMES, np.bool_))
    said, after, _ = made("light", replace(clip, track=track), 1, light=0.9)
    y, x = mesh[195, [1, 0]].round().astype(int)
    row = after[0][y, x - 9 : x + 10].mean(1)
    toward = -1 if said["light_azimuth"] < 0 else 1
    row = row[::toward]  # now from the dark side to the bright one
    _, smooth, _ = made("light", replace(clip, track=None), 1, light=0.9)
    plain = smooth[0][y, x - 9 : x + 10].mean(1)[::toward]
    assert np.diff(plain).min() >= 0
    assert np.diff(row).min() < -5
    assert np.diff(row).max() > 5


def test_a_face_points_at_the_camera() -> None:
    outward = normals(pose(0, 0, 88, 100, 96))
    assert outward[4, 2] < -0.9
    assert outward[234, 0] < -0.3
    assert outward[454, 0] > 0.3
    assert np.allclose(np.linalg.norm(outward, axis=1), 1, atol=1e-3)


def test_light_does_not_flicker_where_a_face_comes_and_goes() -> None:
    wall = replace(drawn(1), pictures=lambda: iter([np.full((192, 176, 3), 120, np.uint8)] * FRAMES))
    _, after, _ = made("light", wall, 2, light=0.9)
    steps = [np.abs(a.astype(int) - b).max() for a, b in pairwise(after)]
    assert max(steps) < 25
    assert UNSEEN < FRAMES - 1


@pytest.mark.parametrize("seed", range(4))
def test_low_kelvin_is_warm_and_high_kelvin_cold(seed: int) -> None:
    said, after, _ = made("colour", flat(), seed)
    red, _, blue = after[0].mean((0, 1))
    assert (red > blue + 8) == (said["kelvin"] < 6504)
    assert abs(1e6 / said["kelvin"] - 1e6 / 6504) > 25
    wanted = tint(said["kelvin"])
    linear = ((after[0][0, 0] / 255 + 0.055) / 1.055) ** 2.4
    assert np.allclose(linear / linear.sum(), wanted / wanted.sum(), atol=0.01)


def test_known_lights_have_known_colours() -> None:
    assert np.allclose(tint(6504), 1)
    # Blackbody colours after Charity, linear sRGB: 2800 K is (255, 173, 94)/255 in sRGB, about (1, 0.42, 0.11) in light.
    warm = tint(2800) / tint(2800)[0]
    assert np.allclose(warm, (1, 0.42, 0.11), atol=0.06)


def test_night_is_dark_and_pale() -> None:
    said, after, before = made("night", drawn(2), 1)
    assert after[0].mean() < 0.55 * before[0].mean()
    darker, *_ = made("night", drawn(2), 1, night=0.05)[1]
    assert darker.mean() < after[0].mean()
    assert said["night"] <= 0.16


# ------------------------------------------------------------------------------------------------------- camera


def test_a_shaken_camera_moves_the_picture_as_drawn() -> None:
    clip = still(pattern(), 12)
    notes: dict[str, str | float] = {}
    effect = shake(clip, 8, np.random.default_rng(4), notes)
    rng = np.random.default_rng(4)
    path = sway(8 * float(rng.uniform(0.5, 1)), clip, rng)
    assert np.abs(path[:, :2]).max() <= notes["shake_pixels"]
    assert np.abs(path[:, :2]).max() > 0.2
    seen = [effect(pattern(), frame)[..., 0].astype(np.float32) for frame in range(12)]
    middle = np.array([127.5, 95.5, 1])
    for frame in range(1, 12):
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-7)
        start = np.eye(2, 3, dtype=np.float32)
        _, moved = cv2.findTransformECC(seen[0], seen[frame], start, cv2.MOTION_EUCLIDEAN, stop)
        shown = np.linalg.inv(np.vstack([moved, [0, 0, 1]])) @ (*(middle[:2] + path[frame, :2]), 1)
        assert np.allclose(shown[:2], middle[:2] + path[0, :2], atol=0.1)
    steps = np.diff(path[:, :2], axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() < 3, "a hand does not jump"


def test_a_shaken_picture_has_no_border() -> None:
    """What lies beyond the picture would be its last rows and columns, drawn out."""
    _, after, _ = made("shake", still(pattern(), 40), 1, shake=0.1)
    for picture in after:
        grey = picture[..., 0].astype(float)
        rows, columns = np.abs(np.diff(grey, axis=0)).mean(1), np.abs(np.diff(grey, axis=1)).mean(0)
        assert min(rows[:4].mean(), rows[-4:].mean()) > 0.6 * np.median(rows)
        assert min(columns[:4].mean(), columns[-4:].mean()) > 0.6 * np.median(columns)


@pytest.mark.parametrize("word", ["defocus", "motion", "resolution"])
def test_detail_goes(word: str) -> None:
    settings = {"defocus": {"defocus": 0.03}, "motion": {"motion": 0.1}, "resolution": {"resolution": 0.1}}[word]
    _, after, before = made(word, still(pattern()), 1, **settings)
    assert detail(after[0]) < 0.6 * detail(before[0])
    assert abs(float(after[0].mean()) - float(before[0].mean())) < 1.5


@pytest.mark.parametrize("radius", [1.5, 3.0, 7.0])
def test_a_point_out_of_focus_is_a_disc(radius: float) -> None:
    point = np.zeros((64, 64, 3), np.uint8)
    point[31:33, 31:33] = 255
    soft = np.asarray(cv2.GaussianBlur(point, (0, 0), 0.7), np.uint8)
    spread = out_of_focus(soft, radius).astype(float).sum(2)
    y, x = np.mgrid[:64, :64]
    deviation = np.sqrt((spread * ((x - 31.5) ** 2 + (y - 31.5) ** 2)).sum() / spread.sum())
    assert deviation == pytest.approx(np.hypot(radius / np.sqrt(2), 1.1), rel=0.25)


@pytest.mark.parametrize("seed", range(4))
def test_motion_smears_along_its_line(seed: int) -> None:
    said, after, _ = made("motion", still(pattern()), seed, motion=0.1)
    spectrum = np.abs(np.fft.fft2(after[0][..., 0] - after[0][..., 0].mean()))
    wave_y, wave_x = np.fft.fftfreq(192)[:, None], np.fft.fftfreq(256)
    turned = np.radians(said["motion_degrees"])
    along = np.abs(wave_x * np.cos(turned) + wave_y * np.sin(turned))
    across = np.abs(wave_y * np.cos(turned) - wave_x * np.sin(turned))
    fast, slow = (0.1, 0.3), 0.04
    lost = spectrum[(along > fast[0]) & (along < fast[1]) & (across < slow)].mean()
    kept = spectrum[(across > fast[0]) & (across < fast[1]) & (along < slow)].mean()
    assert lost < 0.65 * kept


def test_fewer_pixels_end_at_their_own_frequency() -> None:
    said, after, before = made("resolution", still(pattern()), 3)
    width, height = map(int, said["resolution"].split("x"))
    waves = np.hypot(np.fft.fftfreq(256), np.fft.fftfreq(192)[:, None])
    beyond = waves > 0.6 * max(width / 256, height / 192)
    power = [np.square(np.abs(np.fft.fft2(p[..., 0].astype(float))))[beyond].sum() for p in (after[0], before[0])]
    assert power[0] < 0.3 * power[1]


def test_noise_has_the_deviation_that_was_drawn_and_is_new_in_each_frame() -> None:
    said, after, before = made("noise", flat(frames=8), 3)
    noise = np.stack(after).astype(float) - before[0]
    assert noise.std() == pytest.approx(said["noise_levels"], rel=0.05)
    assert abs(noise.mean()) < 0.3
    planes = noise.mean(3).reshape(8, -1)
    assert np.abs(np.corrcoef(planes) - np.eye(8)).max() < 0.05
    between_channels = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
    assert 0.6 < between_channels < 0.95


def test_the_same_noise_never_stands_twice_in_a_row() -> None:
    clip = flat(frames=60)
    effect = grainy(clip, 10, np.random.default_rng(0))
    frames = [effect(np.full((120, 160, 3), 128, np.uint8), frame)[..., 0].astype(np.float32) - 128 for frame in range(60)]
    for one, other in pairwise(np.fft.fft2(frame) for frame in frames):
        assert np.fft.ifft2(one * other.conj()).real.max() < 0.1 * 120 * 160 * 10**2, "moved, but not new"


# ------------------------------------------------------------------------------------------------------ weather


def test_rain_and_snow_fall_by_the_wind() -> None:
    for word, brightness in (("rain", 60), ("snow", 60)):
        said, after, _ = made(word, flat(brightness, 6), 2, weather=1.0)
        planes = [picture[..., 1].astype(np.float32) for picture in after]
        assert planes[0].std() > 3
        assert planes[0].mean() > brightness
        if word == "snow":
            (x, y), _ = cv2.phaseCorrelate(planes[2] - planes[2].mean(), planes[3] - planes[3].mean())
            assert y > 0.3
            assert np.sign(round(x)) in (0, np.sign(said["wind"]))
        assert not np.array_equal(planes[2], planes[3])


def test_denser_weather_hides_more() -> None:
    for word in ("rain", "snow", "fog"):
        thin, thick = (made(word, flat(40), 2, weather=dense)[1][0].astype(float) for dense in (0.2, 1.0))
        assert thick.mean() > thin.mean() + 2


def test_what_falls_goes_on_at_a_sheets_other_side() -> None:
    def disc(sheet: NDArray[np.uint8], place: NDArray[np.float64]) -> None:
        cv2.circle(sheet, place.round().astype(int).tolist(), 12, 200, -1)

    sheet = weather._sheet(flat(), 40, 15, 1.0, disc, np.random.default_rng(2)).astype(int)
    assert sheet.shape == (240, 320)
    down, right = np.abs(np.diff(sheet, axis=0)).mean(1), np.abs(np.diff(sheet, axis=1)).mean(0)
    assert down[119] <= down[:119].max()
    assert right[159] <= right[:159].max()
    assert np.array_equal(sheet[:120, :160], sheet[120:, 160:])


def test_fog_takes_contrast_and_the_person_keeps_more_of_it() -> None:
    clip = drawn(1)
    said, after, before = made("fog", clip, 2, weather=1.0)
    assert clip.track is not None
    x, y = (clip.track.box[0].reshape(2, 2).mean(0)).round().astype(int)
    fogged, clear = after[0].astype(float), before[0].astype(float)

    def kept(part: tuple[slice, slice]) -> float:
        return float(np.abs(np.diff(fogged[part], axis=1)).mean() / np.abs(np.diff(clear[part], axis=1)).mean())

    face, corner = (slice(y - 30, y + 30), slice(x - 30, x + 30)), (slice(0, 25), slice(0, 25))
    assert kept(face) > 1.2 * kept(corner)
    assert kept(corner) < 1 - 0.5 * said["fog"]


# --------------------------------------------------------------------------------------------------- background


@pytest.mark.parametrize("place", PLACES)
def test_places_fill_the_picture_and_are_never_the_same(place: Any) -> None:
    for width, height in ((320, 240), (240, 426)):
        one, other = (scene(place, width, height, np.random.default_rng(seed)) for seed in (1, 2))
        assert one.shape == (height, width, 3)
        assert one.dtype == np.uint8
        assert np.abs(one.astype(int) - other).mean() > 4
        assert one.std() > 5
        assert detail(one) < 25, "out of focus"


def test_the_old_background_leaves_no_halo() -> None:
    """Known truth: a grey person with soft edges, filmed before blue, is laid before orange."""
    off = np.mgrid[:128, :160] - np.array([64, 80])[:, None, None]
    ramp = np.clip((40 - np.hypot(*off)) / 8 + 0.5, 0, 1).astype(np.float32)
    person, old, new = (np.array(colour, np.float32) for colour in ((90, 85, 80), (20, 120, 230), (230, 140, 40)))
    filmed = (ramp[..., None] * person + (1 - ramp[..., None]) * old).astype(np.uint8)
    truth = ramp[..., None] * person + (1 - ramp[..., None]) * new
    laid = elsewhere(filmed, ramp, np.broadcast_to(new.astype(np.uint8), filmed.shape))
    half = (ramp > 0.4) & (ramp < 0.97)
    assert np.abs(laid[half] - truth[half]).mean() < 4
    assert np.array_equal(laid[ramp == 0], np.broadcast_to(new, filmed.shape)[ramp == 0])
    assert np.array_equal(laid[ramp == 1], filmed[ramp == 1])


@cache
def filmed() -> Clip:
    clip = footage("bbaf2n")
    try:
        Person()
    except WeightsError as error:
        pytest.skip(f"no segmentation net here: {error}")
    return clip


def test_a_person_is_kept_and_all_else_is_elsewhere() -> None:
    clip = filmed()
    result = Environment(effects=("background",))([clip], np.random.default_rng(1))
    assert result.drawn == {"effects": "background", "background": result.drawn["background"]}
    assert clip.track is not None
    for frame, ((picture, mask), original) in enumerate(zip(result.pictures, clip.pictures(), strict=True)):
        assert mask is not None
        x0, y0, x1, y1 = clip.track.box[frame].round().astype(int)
        face = slice(y0 + 15, y1 - 15), slice(x0 + 15, x1 - 15)
        assert np.array_equal(picture[face], original[face])
        assert not mask[face].any()
        assert np.array_equal(mask > 0, (picture != original).any(2))
        assert (mask[:60, :60] > 0).mean() > 0.95
        blue = (picture[..., 2].astype(int) - picture[..., 0] > 90) & (np.abs(picture.astype(int) - original) < 12).all(2)
        assert blue.mean() < 0.01, "the wall behind the person is still there"


def test_the_matte_is_steady() -> None:
    """Of a person who hardly moves, hardly any pixel changes sides from one picture to the next."""
    clip, person = filmed(), Person()
    shares = [person.sharpened(picture, matte) for picture, matte in person.mattes(clip.pictures())]
    flips = [np.mean((one > 0.5) != (other > 0.5)) for one, other in pairwise(shares)]
    assert len(shares) == clip.frames
    assert 0.15 < float((shares[0] > 0.5).mean()) < 0.6
    assert np.mean(flips) < 0.004


def test_few_pictures_are_held_at_a_time() -> None:
    clip = filmed()
    asked = 0

    def counted() -> Iterator[Picture]:
        nonlocal asked
        for picture in clip.pictures():
            asked += 1
            yield picture

    result = Environment(effects=("background",))([replace(clip, pictures=counted)], np.random.default_rng(1))
    asked = 0  # the first look is over
    for given, _ in enumerate(result.pictures, 1):
        assert asked <= given + EVERY
    assert asked == clip.frames


def test_mattes_between_two_looks_lie_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    filmed()
    looks = iter(np.linspace(0, 1, 4, dtype=np.float32))
    person = Person()
    monkeypatch.setattr(person, "find", lambda picture: np.full((SIDE, SIDE), next(looks), np.float32))
    levels = [float(matte[0, 0]) for _, matte in person.mattes(iter([pattern()] * (2 * EVERY + 3)))]
    assert len(levels) == 2 * EVERY + 3
    assert levels[: 2 * EVERY + 1] == pytest.approx(np.linspace(0, 2 / 3, 2 * EVERY + 1))
    assert levels[-2:] == pytest.approx([5 / 6, 1])


def test_where_there_is_no_person_the_background_stays() -> None:
    filmed()
    wall = still(pattern(), 3)
    with pytest.raises(MediaError, match=r"a wall: shows a person in .* no background to replace; leave this clip out"):
        Environment(effects=("background",))([wall], np.random.default_rng(0))
    for seed in range(8):
        drawn_words = Environment(effects=("background", "noise"))([wall], np.random.default_rng(seed)).drawn["effects"]
        assert drawn_words == "noise"
