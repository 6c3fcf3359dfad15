"""Lip sync by computer graphics: what phonemes and sound do to lips, and what the lips of a picture then do."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Clip, Picture, Said, Sound
from forgeline.errors import MediaError
from forgeline.mesh import LIPS_INNER, LIPS_OUTER
from generators.lip_sync import RAMP_S, LipSync, Spoken, driven, follow, speak, speaking
from generators.mouth import Inside, Look, gap, paint
from generators.pose import axes
from generators.visemes import Viseme, letters, shapes
from tests.people import FPS, FRAMES, draw, drawn, finder, footage, lip_gap, pose
from tests.people import speaking as speaking_person

OPENING, WIDTH, PUCKER, LIFT, PRESS, TUCK, TONGUE, TEETH = range(8)
LONG = 40


# ------------------------------------------------------------------------------------------------ phonemes


def said(text: str, each: float = 0.16, start: float = 0.2) -> tuple[Said, ...]:
    """Phonemes, separated by spaces, one after the other."""
    return tuple(Said(start + i * each, start + (i + 1) * each, p) for i, p in enumerate(text.split()))


def mouths(text: str, each: float = 0.16, fps: float = 25.0) -> NDArray[np.float32]:
    """What the mouth does in the middle of each of these phonemes, said loudly: (phonemes, 8)."""
    phonemes = said(text, each)
    found = shapes(phonemes, np.ones(100, np.float32), fps)
    return found[[int((p.start_s + p.end_s) / 2 * fps) for p in phonemes]]


@pytest.mark.parametrize("phoneme", ["m", "b", "p", "pʰ", "bʲ", "ɓ", "m̩"])
def test_lips_meet_for_m_b_p_even_between_open_vowels_and_at_25_frames_a_second(phoneme: str) -> None:
    for each in (0.06, 0.08, 0.16):
        row = mouths(f"a {phoneme} a", each)
        assert row[1, OPENING] < 0.02
        assert row[1, PRESS] == 1
    assert mouths(f"a {phoneme} a")[0, OPENING] > 0.5, "the vowels beside it stay open"
    long = shapes(said(f"a {phoneme} a"), np.ones(30, np.float32), 25.0)
    assert (long[:, PRESS] == 1).sum() >= 3
    for late in np.arange(0, 0.04, 0.01):  # wherever a short one falls between two pictures
        short = (Said(0.2, 0.4 + late, "a"), Said(0.4 + late, 0.44 + late, phoneme), Said(0.44 + late, 0.7, "a"))
        assert shapes(short, np.ones(30, np.float32), 25.0)[7:14, OPENING].min() < 0.02


@pytest.mark.parametrize("phoneme", ["f", "v"])
def test_the_lower_lip_goes_to_the_teeth_for_f_and_v(phoneme: str) -> None:
    row = mouths(f"a {phoneme} a")[1]
    assert row[TUCK] > 0.99
    assert row[LIFT] > 0.3
    assert 0.05 < row[OPENING] < 0.4


def test_vowels_open_spread_and_round() -> None:
    a, i, u, y = (mouths(v)[0] for v in ("ɑː", "iː", "uː", "yː"))
    assert a[OPENING] > 0.7
    assert a[OPENING] > i[OPENING]
    assert i[WIDTH] > 0.7
    assert min(u[PUCKER], y[PUCKER]) > 0.6
    assert max(u[WIDTH], y[WIDTH]) < -0.6
    assert i[TEETH] > a[TEETH]


def test_sibilants_show_the_teeth_and_dentals_the_tongue() -> None:
    s, sh, th, el, k = (mouths(f"a {c} a")[1] for c in ("s", "ʃ", "θ", "l", "k"))
    assert min(s[TEETH], sh[TEETH]) > 0.6
    assert sh[PUCKER] > s[PUCKER] + 0.2
    assert min(th[TONGUE], el[TONGUE]) > 0.4
    assert k[TONGUE] < 0.1


def test_neighbours_colour_a_sound() -> None:
    assert mouths("u k u")[1, PUCKER] > mouths("a k a")[1, PUCKER] + 0.5, "a k has the lips of what is around it"
    assert mouths("a k a", 0.08)[1, OPENING] > mouths("i k i", 0.08)[1, OPENING] + 0.1
    assert mouths("t u")[0, PUCKER] > mouths("t i")[0, PUCKER] + 0.3, "lips round themselves before they must"


def test_diphthongs_and_affricates_go_from_one_sound_to_the_other() -> None:
    assert [len(letters(p)) for p in ("aɪ", "tʃ", "ts.h", "pf", "a", "", "(en)", "ˈ", "5", "ɯᵝ")] == [
        2,
        2,
        3,
        2,
        1,
        0,
        0,
        0,
        0,
        1,
    ]
    found = shapes((Said(0.4, 0.8, "ˈaʊ"),), np.ones(40, np.float32), 25.0)
    assert found[11, OPENING] > found[18, OPENING] + 0.2
    assert found[18, PUCKER] > found[11, PUCKER] + 0.3


@pytest.mark.parametrize(
    "text",
    [
        "ð ə w ˈɛ ð ɚ dʒ ˈʌ dʒ", "ʃ ˈøː n ə pf ˈɛ f ɜ", "œ̃ b ˈɔ̃ v ˈɛ̃", "ʎ u ˈe β e", "ʔ a t̪ ˈa q s", "ɖ aː ɡʰ ˈʌ ɾ",
        "sʲ i v ɕ ˈu k a ja", "s ˈɯᵝ ɸ ˈɯᵝ ts", "tɕh ˈi5 th ˈiɛ2 n", "ɡ ˈa˥ m j ˈei", "ŋ ˈyə j ˈa˧˩", "dʑ ˈɛ ɲ ɨ",
        "ˈiɔmbe t͡ʃ ɫ s- q̟ ʀ",
    ],
)  # fmt: skip
def test_phonemes_of_many_languages_move_the_mouth_within_its_bounds(text: str) -> None:
    found = shapes(said(text), np.ones(80, np.float32), 25.0)
    assert np.isfinite(found).all()
    assert np.ptp(found[:, OPENING]) > 0.1
    assert found[:, [0, 2, 3, 4, 5, 6, 7]].min() >= 0
    assert np.abs(found).max() <= 1


def test_the_mouth_is_shut_before_between_and_after_what_is_said() -> None:
    phonemes = (*said("a t a", start=0.4), *said("a t a", start=1.6))
    found = shapes(phonemes, np.ones(75, np.float32), 25.0)
    for second in (0.1, 1.2, 2.5):
        assert found[int(second * 25), OPENING] < 0.05
    assert not shapes((), np.ones(10, np.float32), 25.0).any()


def test_quiet_speech_opens_the_mouth_less_but_closes_it_as_well() -> None:
    phonemes = said("a m a")
    loud, quiet = (shapes(phonemes, np.full(30, level, np.float32), 25.0)[:, OPENING] for level in (1, 0))
    assert 0.4 < quiet.max() / loud.max() < 0.7
    assert quiet.min() == loud.min() == pytest.approx(0, abs=0.01)


def test_phonemes_say_the_shape_and_loudness_the_amount() -> None:
    tone = 0.3 * np.sin(np.arange(32000) * 0.2).astype(np.float32)
    tone[16000:] *= 0.05
    phonemes = (Said(0.3, 0.5, "a"), Said(0.5, 0.6, "m"), Said(0.6, 0.8, "a"), Said(1.3, 1.5, "a"), Said(1.5, 1.7, "u"))
    known = driven(Sound(tone, 16000), phonemes, 50, 25.0)
    heard = driven(Sound(tone, 16000), (), 50, 25.0)
    assert known[13, OPENING] < 0.05 < 0.5 < heard[13, OPENING]
    assert known[10, OPENING] > known[34, OPENING] + 0.1
    assert known[40, PUCKER] > 0.5


# --------------------------------------------------------------------------------------------------- sound


def test_the_mouth_opens_with_the_speech() -> None:
    speaker = drawn(2, (0,) * LONG)
    sound = speaker.sound()
    assert speaker.track is not None
    assert sound is not None
    openness, brightness = follow(sound, LONG, float(FPS))
    between = speaker.track.mesh[:, 14, 1] - speaker.track.mesh[:, 13, 1]
    seen = speaker.track.seen
    assert np.corrcoef(openness[seen], between[seen])[0, 1] > 0.8
    assert openness.min() >= 0
    assert openness.max() <= 1
    assert brightness.min() >= 0
    assert brightness.max() <= 1
    longer, _ = follow(sound, 60, float(FPS))
    assert not longer[43:].any(), "where the sound has ended the mouth is shut"
    silence, _ = follow(Sound(np.zeros(16000, np.float32), 16000), 25, 25.0)
    assert not silence.any()


def speech(rate: int, seconds: float = 2.0) -> Sound:
    """Four syllables a second."""
    times = np.arange(round(seconds * rate)) / rate
    loud = np.square(np.sin(2 * np.pi * 2 * times))
    noise = np.random.default_rng(0).standard_normal(len(times)) * 1e-3
    tones = np.sin(2 * np.pi * 150 * times * np.array([[1], [3], [5]])).mean(0)
    return Sound((0.4 * loud * tones + noise).astype(np.float32), rate)


def test_a_narrow_a_clipped_and_a_padded_sound_move_the_mouth_alike() -> None:
    wanted, _ = follow(speech(48000), 50, 25.0)
    assert np.ptp(wanted) > 0.8
    narrow, _ = follow(speech(8000), 50, 25.0)
    clipped, _ = follow(Sound(np.clip(8 * speech(16000).samples, -1, 1), 16000), 50, 25.0)
    padded, _ = follow(Sound(np.pad(speech(16000).samples, (0, 64000)), 16000), 50, 25.0)
    for other, least in ((narrow, 0.98), (clipped, 0.9), (padded, 0.98)):
        assert np.corrcoef(wanted, other)[0, 1] > least
    assert np.abs(padded - wanted).mean() < 0.1, "digital silence says nothing about how loud speech is"


# ---------------------------------------------------------------------------------------------------- lips


@pytest.mark.parametrize("opening", [0.0, 0.1, 0.25])
def test_lips_part_as_far_as_asked(opening: float) -> None:
    mesh = pose(0.03, 10, 88, 100, 96)
    moved = speak(mesh, opening, 1.0)
    _, down, size = axes(mesh)
    assert (moved[14] - moved[13])[:2] @ down / size == pytest.approx(opening, abs=0.01)
    high = mesh[:, 1] < mesh[1, 1]
    assert np.array_equal(moved[high], mesh[high])


def across(mesh: NDArray[np.float32], points: Sequence[int]) -> float:
    return float(np.hypot(*(mesh[points[0]] - mesh[points[1]])[:2]))


def test_shapes_of_lips() -> None:
    mesh = pose(0.0, 0, 88, 100, 96)
    plain = speak(mesh, 0.08, 1.0)
    wide, round_ = speak(mesh, 0.08, 1.1), speak(mesh, 0.08, 0.9, Viseme(pucker=1))
    assert across(wide, (61, 291)) > across(plain, (61, 291)) > 1.1 * across(round_, (61, 291))
    assert across(round_, (0, 13)) > across(plain, (0, 13)), "rounded lips are fuller"
    pressed = speak(mesh, 0.0, 1.0, Viseme(press=1))
    assert across(pressed, (0, 17)) < 0.95 * across(speak(mesh, 0.0, 1.0), (0, 17)), "pressed ones are thinner"
    lifted = speak(mesh, 0.08, 1.0, Viseme(lift=1))
    assert lifted[13, 1] < plain[13, 1] - 0.5
    assert gap(lifted) == pytest.approx(gap(plain), abs=0.01), "and the opening stays what was asked for"
    clenched = speak(mesh, 0.16, 1.0, Viseme(teeth=1))
    opened = speak(mesh, 0.16, 1.0)
    assert opened[152, 1] - mesh[152, 1] > 2 * (clenched[152, 1] - mesh[152, 1]), "the jaw stays behind"


def test_all_of_the_lips_meet_when_a_wide_mouth_is_shut() -> None:
    mesh = speak(pose(0.0, 0, 88, 100, 96), 0.3, 1.0)
    shut = speak(mesh, 0.0, 1.0)
    apart = shut[LIPS_INNER[1:10], 1] - shut[LIPS_INNER[:10:-1], 1]
    assert np.abs(apart).max() < 0.5


# ------------------------------------------------------------------------------------------------- pictures


def test_a_mouth_that_was_never_open_is_painted() -> None:
    mesh = pose(0.0, 0, 88, 100, 100)
    open_ = speak(mesh, 0.3, 1.0)
    skin, lips = np.array([190, 150, 130], np.float32), np.array([150, 70, 80], np.float32)
    plain = np.full((192, 176, 3), skin, np.uint8)

    def inner(**more: object) -> NDArray[np.float64]:
        picture, mask = plain.copy(), np.zeros((192, 176), np.uint8)
        paint(picture, mask, open_, skin, 1.0, Inside(skin, lips, mesh[13, :2], **more))  # type: ignore[arg-type]
        assert np.array_equal(picture[mask == 0], plain[mask == 0])
        assert mask.max() == 255
        x, y = round(float(open_[13, 0])), np.round(open_[13, 1] + np.array([0.1, 0.5, 0.9]) * (open_[14] - open_[13])[1])
        return np.asarray(picture[y.astype(int), x], np.float64)

    teeth, dark, bottom = inner(jaw=0.28)
    assert teeth.mean() > 1.5 * dark.mean(), "upper teeth hang from the skull"
    assert dark.mean() < 0.5 * skin.mean()
    assert inner(jaw=0.0)[1].mean() > 1.5 * dark.mean(), "with the jaw shut the lower ones are seen"
    assert inner(jaw=0.28, tongue=1.0)[1:].mean() > 1.1 * np.mean([dark, bottom]), "the tongue can be raised"


def test_a_mouth_that_was_open_shows_its_own_inside() -> None:
    mesh = speak(pose(0.0, 0, 88, 100, 100), 0.15, 1.0)
    seen = np.full((192, 176, 3), 100, np.uint8)
    cv2.fillPoly(seen, [np.round(mesh[LIPS_INNER, :2]).astype(np.int32)], (20, 200, 220))
    look = Look.at(seen, mesh)
    skin = np.full(3, 180, np.float32)
    moved = speak(mesh, 0.2, 0.9)
    picture, mask = np.full((192, 176, 3), 90, np.uint8), np.zeros((192, 176), np.uint8)
    paint(picture, mask, moved, skin, 1.0, Inside(skin, skin, looks=(look,)))
    x, y = (0.4 * moved[13] + 0.6 * moved[14])[:2].round().astype(int)
    assert np.abs(picture[y, x].astype(int) - (20, 200, 220)).max() < 12
    far, empty = np.full((192, 176, 3), 90, np.uint8), np.zeros((192, 176), np.uint8)
    paint(far, empty, speak(mesh, 0.4, 1.0), skin, 1.0, Inside(skin, skin, looks=(look,)))
    assert np.abs(far[y, x].astype(int) - (20, 200, 220)).max() > 50, "it is not blown up to more than twice its height"


def _fixed(picture: Picture, frames: int) -> Iterator[Picture]:
    return iter([picture] * frames)


def shut_person() -> Clip:
    """A drawn person whose mouth is shut, in every frame the same."""
    target, mesh = drawn(1), pose(0.0, 0, 88, 100, 100)
    mesh[LIPS_INNER[11:], 1] = mesh[LIPS_INNER[9:0:-1], 1]
    picture = draw(mesh, 1, np.random.default_rng(0))
    cv2.fillPoly(picture, [np.round(mesh[LIPS_OUTER, :2]).astype(np.int32)], (150, 70, 80))
    assert target.track is not None
    track = replace(target.track, mesh=np.stack([mesh] * FRAMES), seen=np.ones(FRAMES, np.bool_))
    return replace(target, track=track, pictures=partial(_fixed, picture, FRAMES))


def test_a_mouth_that_was_shut_opens_onto_dark_only_when_there_is_speech() -> None:
    shut = shut_person()
    picture = next(shut.pictures())
    tone = 0.3 * np.sin(np.arange(16000) * 0.2).astype(np.float32)
    tone[: round(16000 * 5 / FPS)] = 0
    settings = LipSync(width=0)
    spoken = speaking(shut, Sound(tone, 16000), (), settings)
    frames = list(spoken.pictures)
    changed = np.array([mask is not None and mask.any() for _, mask in frames])
    assert not changed[:3].any()
    assert changed[6:].all()
    assert np.array_equal(spoken.changed, changed)
    laid, mask = frames[8]
    assert mask is not None
    assert shut.track is not None
    mesh = shut.track.mesh[8]
    openness, _ = follow(Sound(tone, 16000), FRAMES, float(FPS))
    lips = speak(mesh, settings.opening * float(openness[8]), 1)
    x, y = (0.2 * lips[13] + 0.8 * lips[14])[:2].round().astype(int)
    assert mask[y, x] == 255
    assert laid[y, x].mean() < 0.7 * picture[round(float(mesh[14, 1])), 88].mean()


def test_a_mouth_that_talks_falls_shut_where_nothing_is_said() -> None:
    target = drawn(1, (0,) * LONG)
    quiet = Sound(np.full(round(16000 * LONG / float(FPS)), 1e-6, np.float32), 16000)
    spoken = speaking(target, quiet, (), LipSync())
    assert target.track is not None
    talks = np.array([gap(mesh) for mesh in np.nan_to_num(target.track.mesh)]) > 0.06
    assert spoken.changed[talks].all()
    frames = list(spoken.pictures)
    at = int(np.flatnonzero(talks)[3])
    x, y = (0.15 * target.track.mesh[at][13] + 0.85 * target.track.mesh[at][14])[:2].round().astype(int)
    before = list(target.pictures())[at][y, x].mean()
    assert before < 60 < frames[at][0][y, x].mean(), "lips lie where the mouth's inside was"


def test_only_the_lower_face_is_changed() -> None:
    target = drawn(1)
    assert target.track is not None
    for frame, (_, mask) in enumerate(LipSync()([target, drawn(2)], np.random.default_rng(0)).pictures):
        if mask is not None and mask.any():
            assert np.flatnonzero(mask.any(1))[0] > target.track.mesh[frame, 1, 1] - 1


@cache
def _partly() -> tuple[Spoken, list[tuple[Picture, NDArray[np.uint8]]], Clip]:
    target = drawn(1, (0,) * LONG)
    sound = Sound(speech(16000, LONG / float(FPS)).samples, 16000)
    spoken = speaking(target, sound, said("a u a i a", 0.1, 0.4), LipSync(), during=((0.4, 0.9),))
    return spoken, list(spoken.pictures), target


def test_what_lies_outside_the_time_that_is_spoken_stays_bit_for_bit() -> None:
    spoken, frames, target = _partly()
    times = (np.arange(LONG) + 0.5) / float(FPS)
    outside = (times < 0.4) | (times > 0.9)
    assert not spoken.changed[outside].any()
    assert spoken.changed[~outside].sum() >= 10
    for (picture, mask), original, changed in zip(frames, target.pictures(), spoken.changed, strict=True):
        assert np.array_equal(picture, original) != changed
        assert mask.any() == changed


def test_the_mouth_comes_and_goes_smoothly_where_a_part_is_spoken() -> None:
    spoken, frames, target = _partly()
    differs = [np.abs(p.astype(int) - o).sum() for (p, _), o in zip(frames, target.pictures(), strict=True)]
    inside = np.flatnonzero(spoken.changed)
    first, last = inside[0], inside[-1]
    assert first <= 0.4 * float(FPS) + RAMP_S * float(FPS)
    assert differs[first] < 0.5 * max(differs)
    assert differs[last] < 0.5 * max(differs)


def test_words_and_phonemes_of_the_speaker_go_with_the_sound() -> None:
    target, speaker = speaking_person(1), speaking_person(2)
    made = LipSync()([target, speaker], np.random.default_rng(0))
    own = target.sound()
    assert made.sound is not None
    assert own is not None
    assert len(made.sound.samples) == len(own.samples)
    assert [word.text for word in made.words] == [word.text for word in speaker.words]
    (heard,) = [segment for segment in made.segments if segment.modality == "audio"]
    assert all(heard.start_s <= said.start_s < said.end_s <= heard.end_s for said in (*made.words, *made.phonemes))


def test_the_own_mouth_says_nothing_before_and_after_what_is_heard() -> None:
    """Lips move before speech is heard: what they prepared is no longer said."""
    target = speaking_person(1)
    own = target.sound()
    assert own is not None
    late = own.samples.copy()
    late[:14000] = np.random.default_rng(0).normal(0, 1e-3, 14000)
    target = replace(target, sound=lambda: Sound(late, own.rate))
    made = LipSync()([target, speaking_person(2)], np.random.default_rng(0))
    (heard,) = [segment for segment in made.segments if segment.modality == "audio"]
    outside = (np.arange(made.frames) + 0.5) / float(target.fps) < heard.start_s - 0.1
    changed = np.array([mask.any() for _, mask in made.pictures])
    assert outside.sum() > 10
    assert changed[outside].mean() > 0.5, "a drawn mouth talks all the time"


@pytest.mark.parametrize("seconds", [0.1, 30.0])
def test_speech_that_would_have_to_be_stretched_too_far_is_refused(seconds: float) -> None:
    with pytest.raises(MediaError, match=r"is to be said in|says too little"):
        LipSync()([speaking_person(1), replace(drawn(2), sound=partial(speech, 16000, seconds))], np.random.default_rng(0))


def test_a_still_image_cannot_speak() -> None:
    still = replace(drawn(1), media_type="image", fps=Fraction(0))
    with pytest.raises(MediaError, match="person 1: is a still image"):
        LipSync()([still, drawn(2)], np.random.default_rng(0))


def _same(sound: Sound | None) -> Sound | None:
    return sound


def test_a_speaker_without_sound_is_refused() -> None:
    for sound in (None, Sound(np.zeros(100, np.float32), 16000)):
        with pytest.raises(MediaError, match="person 2: has no sound"):
            LipSync()([drawn(1), replace(drawn(2), sound=partial(_same, sound))], np.random.default_rng(0))


def test_a_head_that_is_turned_away_is_refused_and_frames_of_it_stay() -> None:
    with pytest.raises(MediaError, match="person 1: shows a whole face turned less than 35 degrees in only"):
        LipSync()([drawn(1, (60,) * FRAMES), drawn(2)], np.random.default_rng(0))
    turns = (0,) * 20 + (60,) * 5 + (0,) * 15
    target = drawn(1, turns)
    spoken = speaking(target, speech(16000, LONG / float(FPS)), (), LipSync())
    assert not spoken.changed[20:25].any()
    assert spoken.changed[[15, 30]].all()


# ----------------------------------------------------------------------------------------------- real people


def test_real_lips_follow_the_speech_and_no_face_is_lost() -> None:
    target, speaker = footage("bbaf2n"), footage("lbax4n")
    made = LipSync()([target, speaker], np.random.default_rng(0))
    found = [finder().find(picture) for picture, _ in made.pictures]
    assert all(found)
    assert made.sound is not None
    openness, _ = follow(made.sound, target.frames, float(target.fps))
    # 0.88 here, with a mouth that keeps its own way before and after the speech, at eight pictures a second.
    assert np.corrcoef([lip_gap(faces[0].mesh) for faces in found], openness)[0, 1] > 0.85
