"""The demo corpus: the same bytes every time, faces that trackers see, and ground truth that agrees with the picture."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.clip import Clip, Picture, Track
from forgeline.errors import WeightsError
from forgeline.faces import Face, FaceFinder, track_faces
from forgeline.sentences import LANGUAGES
from forgeline.video import open_video
from sources.demo import Demo, jobs, render, viseme

ROOT = Path(__file__).resolve().parents[1]
SMALL = Demo(people=3, clips=2, frames=6, size=64)
CLIP = Demo(people=1, clips=1, size=128)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def truth(video: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(video.with_suffix(".truth.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    for job in jobs(SMALL):
        render(job, folder)
    return folder


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, dict[str, Any]]:
    """Three seconds of one person, and their ground truth."""
    folder = tmp_path_factory.mktemp("talking")
    (job,) = jobs(CLIP)
    render(job, folder)
    return open_video(folder / job.path), truth(folder / job.path)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    try:
        return FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets: {error}")


@pytest.fixture(scope="module")
def track(talking: tuple[Clip, dict[str, Any]], finder: FaceFinder) -> Track:
    (only,) = track_faces(talking[0], finder)
    return only


def test_listing_jobs_does_not_import_numba() -> None:
    code = "import sys, sources.demo as d; d.jobs(d.Demo()); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_jobs_are_one_a_clip_with_keys_of_their_own() -> None:
    listed = jobs(SMALL)
    assert [job.path for job in listed] == [f"p{p:02d}/c{c}.mp4" for p in range(3) for c in range(2)]
    assert len({job.key for job in listed}) == 6


def test_more_people_and_clips_change_no_key_and_all_else_changes_every_key() -> None:
    keys = {job.path: job.key for job in jobs(SMALL)}
    more = {job.path: job.key for job in jobs(Demo(people=12, clips=4, frames=6, size=64))}
    assert keys.items() <= more.items()
    for change in ({"frames": 7}, {"size": 66}, {"fps": 24}, {"seed": 2}, {"languages": ("de",)}):
        changed = {job.path: job.key for job in jobs(SMALL.model_copy(update=change))}
        assert not keys.items() & changed.items()


def test_first_people_have_the_long_clips() -> None:
    keys = {job.path: job.key for job in jobs(SMALL)}
    more = jobs(SMALL.model_copy(update={"long_clips": (20, 30)}))
    assert [(job.path, job.demo.frames) for job in more if job.path not in keys] == [("p00/c2.mp4", 20), ("p01/c2.mp4", 30)]
    assert keys.items() <= {job.path: job.key for job in more}.items()


@pytest.mark.parametrize(
    "wrong",
    [{"people": 0}, {"frames": 1}, {"size": 129}, {"seed": -1}, {"fps": 0}, {"poeple": 3}, {"languages": ("xx",)},
     {"languages": ()}, {"frames": 9000, "fps": 24}, {"people": 1, "long_clips": (50, 50)}, {"long_clips": (9000,), "fps": 24}],
)  # fmt: skip
def test_section_refuses_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Demo(**wrong)


def test_each_clip_is_a_video_with_its_truth_and_nothing_else(corpus: Path) -> None:
    expected = {job.path for job in jobs(SMALL)}
    assert set(hashes(corpus)) == expected | {path.replace(".mp4", ".truth.json") for path in expected}


def test_another_process_and_more_people_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sources.demo import Demo, jobs, render\n"
        "more = jobs(Demo(people=5, clips=3, frames=6, size=64))\n"
        "[render(job, Path(sys.argv[1])) for job in more if job.path in ('p02/c1.mp4', 'p00/c0.mp4')]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True)
    again, first = hashes(tmp_path), hashes(corpus)
    assert len(again) == 4
    assert again.items() <= first.items()


def test_clips_of_a_person_differ_in_all_but_the_person(corpus: Path) -> None:
    one, other = truth(corpus / "p01/c0.mp4"), truth(corpus / "p01/c1.mp4")
    assert one["attributes"] == other["attributes"]
    assert one["proportions"] == other["proportions"]
    assert one["voice"] == other["voice"]
    assert one["text"] != other["text"]
    for part in ("light", "background", "clothes"):
        assert one["scene"][part] != other["scene"][part]
    assert one["frames"][0]["pose"] != other["frames"][0]["pose"]


def test_people_take_languages_in_turn_and_their_mouths_move(tmp_path: Path) -> None:
    demo = Demo.model_validate({"people": 5, "clips": 1, "frames": 50, "size": 64, "languages": ["cmn", "ru"]})
    for job in jobs(demo)[:2]:
        render(job, tmp_path)
    known = [truth(tmp_path / f"p{p:02d}/c0.mp4") for p in range(2)]
    assert [one["attributes"]["language"] for one in known] == ["cmn", "ru"]
    for one in known:
        code = one["attributes"]["language"]
        assert one["text"] in LANGUAGES[code].sentences
        assert one["voice"]["name"] in LANGUAGES[code].low + LANGUAGES[code].high
        assert one["text"].startswith(one["words"][0][2])
        jaw = [frame["expression"]["jaw"] for frame in one["frames"]]
        assert max(jaw) > 0.4
        assert np.std(jaw) > 0.1
    only_en = Demo(people=5, clips=1, frames=50, size=64)
    assert {job.key for job in jobs(only_en)}.isdisjoint(job.key for job in jobs(demo))


@pytest.mark.parametrize(
    ("ipa", "like"),
    [("ˈɑː", "ɑ"), ("ã", "a"), ("o̞", "o"), ("ä", "a"), ("ɯᵝ", "ɨ"), ("tɕh", "t"), ("ɓ", "m"), ("1", "_"), ("˥˩", "_"),
     ("ʔ", "k")],
)  # fmt: skip
def test_mouths_know_sounds_of_other_languages(ipa: str, like: str) -> None:
    assert viseme(ipa) == viseme(like)
    assert viseme("ɯ")[0] > 2 * viseme("q")[0] > viseme("p")[0]


def test_people_differ(corpus: Path) -> None:
    seen = [truth(corpus / f"p{p:02d}/c0.mp4")["attributes"] for p in range(3)]
    assert len({(a["skin_tone"], a["hair_style"], a["hair_colour"]) for a in seen}) == 3


def test_truth_records_everything_frame_by_frame(talking: tuple[Clip, dict[str, Any]]) -> None:
    from sources.heads import HAIR_COLOURS, HAIR_STYLES, SKIN_TONES

    clip, known = talking
    assert known["attributes"]["skin_tone"] in SKIN_TONES
    assert known["attributes"]["hair_style"] in HAIR_STYLES
    assert known["attributes"]["hair_colour"] in {*HAIR_COLOURS, "none"}
    assert known["attributes"]["age_group"] in ("young", "middle-aged", "old")
    assert known["attributes"]["glasses"] in ("none", "round", "square")
    assert known["attributes"]["language"] == "en"
    assert known["text"] in LANGUAGES["en"].sentences
    assert known["seed"] == CLIP.seed
    assert len(known["frames"]) == CLIP.frames == clip.frames
    assert [word for _, _, word in known["words"]] == known["text"].rstrip(".").replace(",", "").split()
    for said in (known["words"], known["phonemes"]):
        times = [at for start, end, _ in said for at in (start, end)]
        assert times == sorted(times)
        assert 0 < times[0] < 0.5
        assert 2 < times[-1] <= 3
        assert all(start < end for start, end, _ in said)
    blinks = [frame["expression"]["blink_left"] for frame in known["frames"]]
    assert min(blinks) == 0
    assert max(blinks) > 0.9


@pytest.mark.parametrize(("frames", "fps"), [(6, 25), (7, 24), (5, 30)])
def test_sound_is_as_long_as_the_picture(frames: int, fps: int, tmp_path: Path) -> None:
    (job,) = jobs(Demo(people=1, clips=1, frames=frames, size=64, fps=fps))
    render(job, tmp_path)
    clip = open_video(tmp_path / job.path)
    sound = clip.sound()
    assert clip.frames == frames
    assert clip.fps == fps
    assert sound is not None
    assert len(sound.samples) == frames * sound.rate // fps


def test_sentence_fills_the_clip_and_fades_out(talking: tuple[Clip, dict[str, Any]]) -> None:
    sound = talking[0].sound()
    assert sound is not None
    assert len(sound.samples) == 3 * sound.rate
    loud = np.flatnonzero(np.abs(sound.samples) > 0.02) / sound.rate
    assert loud[0] < 0.5
    assert loud[-1] > 2.5
    assert np.abs(sound.samples[-sound.rate // 200 :]).max() < 0.02
    assert np.abs(sound.samples).max() < 1
    assert np.count_nonzero(sound.samples[: sound.rate // 50]) > 0  # a room, not digital silence


def test_every_frame_has_exactly_one_face(track: Track) -> None:
    assert track.seen.all()
    assert track.score.min() > 0.8


def gap(track: Track, upper: int, lower: int) -> np.ndarray:
    """Distance of two mesh points, as a share of the face's height."""
    mesh = track.mesh[..., :2]
    height = np.linalg.norm(mesh[:, 10] - mesh[:, 152], axis=1)
    return np.asarray(np.linalg.norm(mesh[:, upper] - mesh[:, lower], axis=1) / height)


def test_lips_open_with_the_sound(talking: tuple[Clip, dict[str, Any]], track: Track) -> None:
    sound = talking[0].sound()
    assert sound is not None
    envelope = np.sqrt([np.mean(part.astype(np.float64) ** 2) for part in np.array_split(sound.samples, CLIP.frames)])
    assert np.corrcoef(gap(track, 13, 14), envelope)[0, 1] > 0.5


def test_lips_meet_for_m_b_p_and_open_for_vowels(talking: tuple[Clip, dict[str, Any]], track: Track) -> None:
    phonemes = talking[1]["phonemes"]
    sounded = [(ipa.strip("ˈˌ")[:1], int((start + end) / 2 * CLIP.fps)) for start, end, ipa in phonemes]
    shut = [frame for first, frame in sounded if first in ("m", "b", "p")]
    vowels = [frame for first, frame in sounded if first in ("a", "æ", "ɑ", "ʌ")]
    opening = gap(track, 13, 14)
    assert len(shut) >= 3
    assert opening[vowels].mean() > 2 * opening[shut].mean()


def test_eyes_shut_and_head_turns_as_the_truth_says(talking: tuple[Clip, dict[str, Any]], track: Track) -> None:
    frames = talking[1]["frames"]
    blink = [frame["expression"]["blink_left"] for frame in frames]
    assert np.corrcoef(gap(track, 386, 374), blink)[0, 1] < -0.6
    yaw = [frame["pose"]["yaw"] for frame in frames]
    x = track.mesh[..., 0]
    nose = (x[:, 1] - x[:, 234]) / (x[:, 454] - x[:, 234])  # 0 at the picture's left cheek, 1 at the right one
    assert np.corrcoef(nose, yaw)[0, 1] > 0.8


def moment(seed: int, **pose: float) -> Picture:
    from sources import heads

    rng = np.random.default_rng(seed)
    who = replace(heads.person(rng, *rng.random(3)), glasses="none", hair_style="short")
    return heads.frame(who, heads.Expression(), heads.Pose(**pose), heads.scene(rng), 160, rng)


def only(finder: FaceFinder, picture: Picture) -> Face:
    (face,) = finder.find(picture)
    return face


def test_pose_has_the_signs_that_its_docstring_gives(finder: FaceFinder) -> None:
    level, up, tilted = (only(finder, moment(4, **p)).mesh for p in ({}, {"pitch": 0.25}, {"roll": 0.25}))
    assert up[1, 1] - up[[33, 263], 1].mean() < level[1, 1] - level[[33, 263], 1].mean() - 2  # the nose's tip rises
    across = tilted[263, :2] - tilted[33, :2]
    assert np.arctan2(across[1], across[0]) == pytest.approx(0.25, abs=0.08)  # clockwise: the right side sinks


@pytest.mark.parametrize("number", range(8))
def test_every_hair_style_is_seen_from_both_sides(number: int, finder: FaceFinder) -> None:
    from sources import heads

    rng = np.random.default_rng(number)
    who = heads.person(rng, rng.random(), (number + 0.5) / len(heads.HAIR_STYLES), rng.random())
    assert who.hair_style == list(heads.HAIR_STYLES)[number]
    for yaw in (-0.4, 0.4):
        only(finder, heads.frame(who, heads.Expression(jaw=0.5), heads.Pose(yaw), heads.scene(rng), 96, rng))


angle = st.floats(-0.6, 0.6)
amount = st.floats(0, 1)


@given(st.integers(0, 2**32), st.tuples(amount, amount, amount), st.tuples(angle, angle, angle), st.lists(amount, min_size=8))
@settings(max_examples=15, deadline=None)
def test_anyone_in_any_pose_is_a_whole_picture(
    seed: int, kind: tuple[float, float, float], turn: tuple[float, float, float], face: list[float]
) -> None:
    from sources import heads

    who = heads.person(np.random.default_rng(seed), *kind)
    where = heads.scene(np.random.default_rng(seed))
    expression, pose = heads.Expression(*face[:8]), heads.Pose(*turn)
    picture = heads.frame(who, expression, pose, where, 48, np.random.default_rng(seed))
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.uint8
    linear = heads.backdrop(where.background, 48)
    assert np.isfinite(linear).all()
    assert (linear >= 0).all()
    np.testing.assert_array_equal(picture, heads.frame(who, expression, pose, where, 48, np.random.default_rng(seed)))
    other = heads.frame(who, expression, pose, where, 48, np.random.default_rng(seed + 1))
    difference = np.abs(picture.astype(int) - other)
    assert 0 < difference.mean() < 6  # the noise of another sensor, and no other picture
