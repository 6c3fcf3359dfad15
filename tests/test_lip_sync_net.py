"""Lip sync by a network: what it sees and hears, that it learns, how it is laid back, and what it refuses."""

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from forgeline.clip import Clip, Picture, Said, Sound, spans
from forgeline.errors import MediaError, ModelError
from forgeline.syncnet import expert_window, face_crop, mel_window
from forgeline.weights import Given
from generators import lip_sync_net, training
from generators.lip_net import LipNet
from generators.lip_sync_net import (
    EXPERT,
    HELD_BACK,
    SIDE,
    LipSyncNet,
    Shown,
    _Layer,
    colours,
    compared,
    given,
    learned_from,
    likenesses,
    lips_of,
    lower_boxes,
    lower_face,
    mouth_weight,
    right,
    scenes,
    shown,
    shut,
    telling,
    unsure,
    window,
)
from generators.recording import placed
from tests.people import FPS, FRAMES, UNSEEN, drawn, pose

Numbers = NDArray[np.float32]


def columns(count: int) -> Numbers:
    """What is heard, each column its own number."""
    return np.tile(np.arange(count, dtype=np.float32), (80, 1))


def numbered(moments: int, clip: int = 0) -> Shown:
    """A clip whose pictures say which moment of which clip they are: in red and in blue."""
    pictures = np.zeros((moments, SIDE, SIDE, 3), np.uint8)
    pictures[..., 0], pictures[..., 2] = np.arange(moments)[:, None, None], 100 + clip
    return Shown(pictures, columns(80 * moments // 25 + 1) + 1000 * clip, np.arange(moments - 4))


# ------------------------------------------------------------------------------------------ what it sees and hears


@pytest.mark.parametrize(
    ("fps", "frame", "first"),
    [(25, 0, 0), (25, 1, 0), (25, 2, 3), (25, 6, 16), (25, 11, 32), (50, 12, 16), (FPS, 10, 23), (25, 90, 284), (25, 999, 304)],
)
def test_a_frame_is_heard_from_40_ms_before_it(fps: Fraction | int, frame: int, first: int) -> None:
    heard = window(columns(320), frame, fps)
    assert heard.shape == (80, 16)
    assert heard[0].tolist() == list(range(first, first + 16))


def test_a_face_is_seen_25_times_a_second_where_five_moments_show_it() -> None:
    clip = drawn(1, (0,) * 40)
    found = shown(clip, 35)
    assert found is not None
    assert clip.track is not None
    assert found.pictures.shape == (33, SIDE, SIDE, 3), "40 frames at 29.97 a second"
    assert found.starts.tolist() == list(range(29)), "the frame in which no face is seen is shown by its neighbour"
    boxes, pictures = lower_boxes(clip.track), list(clip.pictures())
    for moment, frame in ((0, 0), (3, UNSEEN - 1), (10, 12), (20, 24)):
        assert np.array_equal(found.pictures[moment], face_crop(pictures[frame], boxes[frame], SIDE))
    sound = clip.sound()
    assert sound is not None
    assert found.heard.shape == (80, 1 + len(sound.samples) // 200)
    turned = shown(drawn(1, (0,) * 20 + (60,) * 20), 35)
    assert turned is not None
    assert turned.starts.max() + 4 <= 20 / FPS * 25 + 1


def test_of_a_long_clip_the_middle_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lip_sync_net, "MOMENTS", 20)
    clip = drawn(1, (0,) * 40)
    sound, whole = clip.sound(), shown(clip, 35)
    assert sound is not None
    assert whole is not None
    assert len(whole.pictures) == 20
    first = (int(40 / FPS * 25) - 20) // 2
    assert np.array_equal(whole.pictures[0], face_in(clip, round(first * FPS / 25)))
    late = Sound(sound.samples * (np.arange(len(sound.samples)) >= first * 640 + 4000), 16000)
    quiet = shown(replace(clip, sound=lambda: late), 35)
    assert quiet is not None
    heard = np.flatnonzero(quiet.heard.max(0) > -3)
    assert heard[0] == pytest.approx(20, abs=3), "a quarter of a second after the first moment"


def face_in(clip: Clip, frame: int) -> Picture:
    assert clip.track is not None
    return face_crop(list(clip.pictures())[frame], lower_boxes(clip.track)[frame], SIDE)


def test_what_can_not_be_learned_from_is_left_out() -> None:
    clip = drawn(1, (0,) * 40)
    assert clip.track is not None
    assert shown(replace(clip, sound=lambda: None), 35) is None
    assert shown(replace(clip, sound=lambda: Sound(np.zeros(16000, np.float32), 16000)), 35) is None
    assert shown(replace(clip, track=None), 35) is None
    assert shown(replace(clip, track=replace(clip.track, seen=np.zeros(40, np.bool_))), 35) is None
    assert shown(replace(clip, fps=Fraction(0)), 35) is None
    assert shown(drawn(1, (0,) * 5), 35) is None
    with pytest.raises(MediaError, match="person 1: ends before its frame 38 of 40"):
        shown(replace(clip, pictures=lambda: iter(list(clip.pictures())[:30])), 35)


def test_the_lower_half_of_a_jaw_that_drops_is_cut_out_at_the_same_place() -> None:
    clip = drawn(1, (0,) * 40)
    assert clip.track is not None
    boxes = lower_boxes(clip.track)
    chin = clip.track.mesh[:, 152, 1]
    seen = clip.track.seen
    assert (boxes[seen, 3] > chin[seen] + 4).all()
    assert np.abs(np.diff(boxes[seen, 3])).max() < 2


def test_one_look_with_the_lips_together_stands_for_the_clip() -> None:
    clip = drawn(1, (0,) * 40)
    assert clip.track is not None
    gaps = clip.track.mesh[:, 14, 1] - clip.track.mesh[:, 13, 1]
    frames = clip.track.seen & (np.arange(40) > 22)
    frame = int(np.where(frames, gaps, np.inf).argmin())
    look = shut(clip, frames, lower_boxes(clip.track))
    assert np.array_equal(look, face_in(clip, frame))
    assert frame != int(np.nanargmin(gaps))


def test_the_expert_is_shown_lips_and_sounds_of_the_same_moments() -> None:
    clips = [numbered(30, 0), numbered(40, 1)]
    lips, sounds = compared(clips, np.random.default_rng(0), 24)
    assert lips.shape == (3, 8, 15, 48, 96)
    assert sounds.shape == (3, 8, 1, 80, 16)
    for seen, heard in zip(lips.flatten(0, 1), sounds.flatten(0, 1), strict=True):
        # Levels are multiplied by a light of their own; the ratio of neighbouring moments tells which they are.
        reds = seen[2::3, 0, 0].numpy().astype(np.float64)
        moment = round(4 * reds[0] / (reds[4] - reds[0]))
        clip = round(float(heard[0, 0, 0])) // 1000
        assert np.array_equal(heard[0].numpy(), mel_window(clips[clip].heard, moment, 25))
    assert len({float(sound) for sound in sounds[0, :, 0, 0, 0]}) == 8, "one moment twice would be called a lie"


def test_lips_are_laid_out_as_the_judge_of_finished_clips_has_them() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    assert np.allclose(lips_of(colours(faces))[0].numpy(), expert_window(faces))


def test_the_painter_is_shown_a_hidden_face_its_sounds_and_another_moment() -> None:
    clips = [numbered(30, 0), numbered(40, 1)]
    faces, looks, each, whole = scenes(clips, np.random.default_rng(1), 6)
    assert faces.shape == looks.shape == (6, 5, 3, SIDE, SIDE)
    assert each.shape == (30, 1, 80, 16)
    assert whole.shape == (6, 1, 80, 16)
    for i in range(6):
        reds = [part[i, :, 2, 0, 0].numpy().astype(np.float64) for part in (faces, looks)]
        start, other = (round(4 * red[0] / (red[4] - red[0])) for red in reds)
        clip = clips[round(float(whole[i, 0, 0, 0])) // 1000]
        assert start != other
        assert np.array_equal(whole[i, 0].numpy(), mel_window(clip.heard, start, 25))
        for frame in range(5):
            assert np.array_equal(each[5 * i + frame, 0].numpy(), window(clip.heard, start + frame, 25))
    seen = given(faces[0], looks[0])
    assert not seen[:, :3, SIDE // 2 :].any()
    assert torch.equal(seen[:, :3, : SIDE // 2], faces[0, :, :, : SIDE // 2])
    assert torch.equal(seen[:, 3:], looks[0])


def test_pictures_are_given_blue_first() -> None:
    picture = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    picture[..., 0] = 255
    assert colours(picture)[0, :, 0, 0].tolist() == [0, 0, 1]


def test_the_mouth_counts_more_than_the_rest() -> None:
    weight = mouth_weight()
    assert weight.mean() == pytest.approx(1, abs=1e-5)
    assert weight[66, 48] > 2 * weight[10, 10]


# ------------------------------------------------------------------------------------------------ how it learns


def test_verdicts_are_weighed_evenly() -> None:
    sure = torch.eye(4)[None].repeat(2, 1, 1)
    assert unsure(sure).item() == pytest.approx(0, abs=1e-4)
    assert right(sure) == 1
    for everything in (torch.zeros(2, 4, 4), torch.ones(2, 4, 4)):
        assert right(everything).item() == pytest.approx(0.5)
    assert unsure(torch.full((2, 4, 4), 0.5)).item() == pytest.approx(np.log(2))
    one = sure.clone()
    one[0, 1, 2] = 0.5
    assert unsure(one).item() == pytest.approx(np.log(2) / 24 / 2, abs=1e-4)


def test_some_clips_are_held_back_from_the_expert() -> None:
    clips = [numbered(30, number) for number in range(17)]
    learned = learned_from(clips)
    assert [int(clip.pictures[0, 0, 0, 2]) - 100 for clip in learned] == [n for n in range(17) if n not in (0, 8, 16)]
    assert not {id(clip) for clip in learned} & {id(clip) for clip in clips[::HELD_BACK]}
    assert len(learned_from(clips[:7])) == 7


class _Telling:
    """An expert that knows by the red of the first picture and by the first column, if it is let."""

    def __init__(self, knows: bool) -> None:
        self.knows = knows

    def of_faces(self, lips: torch.Tensor) -> torch.Tensor:
        reds = lips[:, 2::3, 0, 0].double()
        moments = (4 * reds[:, 0] / (reds[:, 4] - reds[:, 0])).round().long()
        return torch.nn.functional.one_hot((moments * 80 // 25) * self.knows, 200).float()

    def of_sounds(self, sounds: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(sounds[:, 0, 0, 0].long() * self.knows, 200).float()


def test_lips_are_compared_with_every_sound_of_their_clip() -> None:
    lips, sounds = compared([numbered(40)], np.random.default_rng(3), 8)
    found = likenesses(_Telling(True), lips, sounds)  # type: ignore[arg-type]
    assert torch.equal(found, torch.eye(8)[None])
    blind = likenesses(_Telling(False), lips, sounds)  # type: ignore[arg-type]
    assert torch.equal(blind, torch.ones(1, 8, 8))
    assert telling(_Telling(True), [numbered(40)], 0) == 1  # type: ignore[arg-type]
    assert telling(_Telling(False), [numbered(40)], 0) == 0.5  # type: ignore[arg-type]


def losses(path: Path) -> dict[str, Numbers]:
    names = path.read_text().splitlines()[0].split(",")
    return dict(zip(names, np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).T, strict=True))


def test_both_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lip_sync_net, "TELLING", 0)
    section = LipSyncNet(steps=40, batch=4, width=0.1, learning_rate=2e-3)
    section.train((drawn(i, (0,) * 40) for i in (1, 2)), np.random.default_rng(0), tmp_path)
    expert, painter = losses(tmp_path / "expert.csv"), losses(tmp_path / "losses.csv")
    assert expert["sync"][-8:].mean() < 0.9 * expert["sync"][:4].mean()
    assert expert["right"][-8:].mean() > 0.6
    assert painter["picture"][-8:].mean() < 0.75 * painter["picture"][:4].mean()
    assert not painter["sync"][:32].any(), "the expert is not heeded yet"
    assert painter["sync"][32:].all()


def test_the_painter_learns_to_convince_the_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TELLING", 0), ("SYNCED", 0.99), ("SYNC", 0.9)):
        monkeypatch.setattr(lip_sync_net, name, value)
    section = LipSyncNet(steps=16, expert_steps=10, batch=2, width=0.1, learning_rate=2e-3)
    section.train((drawn(i, (0,) * 40) for i in (1, 2)), np.random.default_rng(0), tmp_path)
    sync = losses(tmp_path / "losses.csv")["sync"]
    assert sync[-4:].mean() < 0.9 * sync[1:4].mean()


def test_an_expert_that_tells_nothing_is_not_heeded(tmp_path: Path) -> None:
    section = LipSyncNet(steps=3, expert_steps=1, batch=2, width=0.1)
    section.train([drawn(1, (0,) * 20)], np.random.default_rng(0), tmp_path)
    assert not losses(tmp_path / "losses.csv")["sync"].any()


def trained(folder: Path, **settings: int) -> dict[str, str]:
    LipSyncNet.model_validate({"steps": 2, "batch": 4, "width": 0.1, **settings}).train(
        (drawn(i) for i in (1, 2)), np.random.default_rng(3), folder
    )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("reports", [1, 2])
def test_a_training_that_was_stopped_in_either_part_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: int
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    monkeypatch.setattr(lip_sync_net, "TELLING", 0)
    whole = trained(tmp_path / "whole")
    report, met = training._report, list[int]()

    def stop(*_: object) -> None:
        met.append(1)
        if len(met) > reports:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_report", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut")
    assert (tmp_path / "cut" / training.CHECKPOINT).exists()
    assert (tmp_path / "cut" / "expert.safetensors").exists() == (reports == 2)
    monkeypatch.setattr(training, "_report", report)
    assert trained(tmp_path / "cut") == whole
    assert set(whole) == {
        "expert.safetensors", "expert.csv", "expert.svg", "expert.png", "model.safetensors", "losses.csv", "losses.svg",
        "samples.png",
    }  # fmt: skip
    assert np.asarray(cv2.imread(str(tmp_path / "cut/expert.png"))).shape == (96, 192, 3)
    assert np.asarray(cv2.imread(str(tmp_path / "cut/samples.png"))).shape == (2 * SIDE, 3 * SIDE, 3)


def test_the_expert_learns_again_only_when_it_would_be_another(tmp_path: Path) -> None:
    first = trained(tmp_path, expert_steps=2)
    written = (tmp_path / "expert.safetensors").stat().st_mtime_ns
    longer = trained(tmp_path, expert_steps=2, steps=3)
    assert (tmp_path / "expert.safetensors").stat().st_mtime_ns == written
    assert longer["model.safetensors"] != first["model.safetensors"]
    (tmp_path / "expert.safetensors").write_bytes(b"cut short")
    assert trained(tmp_path, expert_steps=2, steps=3)["expert.safetensors"] == first["expert.safetensors"]
    assert trained(tmp_path, expert_steps=3, steps=3)["expert.safetensors"] != first["expert.safetensors"]


def test_without_clips_model_or_steps_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no clip in which a face is seen"):
        LipSyncNet(steps=1).train([replace(drawn(1), track=None)], np.random.default_rng(0), tmp_path)
    with pytest.raises(ModelError, match="has no model yet"):
        LipSyncNet()([drawn(1), drawn(2)], np.random.default_rng(0))
    with pytest.raises(ModelError, match="is not there"):
        LipSyncNet().load(tmp_path)
    with pytest.raises(ValueError, match="steps: 0 needs weights"):
        LipSyncNet(steps=0)


# ----------------------------------------------------------------------------------------- weights that a team brings


def brought(folder: Path, tensors: dict[str, torch.Tensor], name: str) -> Given:
    save_file({part: values.contiguous() for part, values in tensors.items()}, folder / name)
    return Given(file=name, sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest(), licence="-")


def test_published_weights_are_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    published = LipNet().state_dict()
    section = LipSyncNet(steps=0, weights=brought(tmp_path, published, "wav2lip.safetensors"))
    section.train([], np.random.default_rng(0), tmp_path / "model")
    tensors = load_file(tmp_path / "model/model.safetensors")
    assert set(tensors) == {f"wav2lip/{name}" for name in published}
    assert all(torch.equal(tensors[f"wav2lip/{name}"], values) for name, values in published.items())
    assert not (tmp_path / "model" / f"{EXPERT}.safetensors").exists()
    frames = list(section.load(tmp_path / "model")([drawn(1), drawn(2)], np.random.default_rng(0)).pictures)
    assert [bool(mask is not None and mask.any()) for _, mask in frames] == [i != UNSEEN for i in range(FRAMES)]


def test_weights_of_other_nets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    other = brought(tmp_path, {"output_block.1.bias": torch.zeros(3)}, "other.safetensors")
    with pytest.raises(ModelError, match=r"is not a model of Wav2Lip \(.*generators.published"):
        LipSyncNet(steps=0, weights=other).train([], np.random.default_rng(0), tmp_path / "a")
    with pytest.raises(ModelError, match="is not a model of Wav2Lip's expert"):
        LipSyncNet(steps=1, batch=2, width=0.05, expert=other).train([drawn(1)], np.random.default_rng(0), tmp_path / "b")


# -------------------------------------------------------------------------------------------------- how it is laid back


def close_up() -> tuple[Picture, Numbers, NDArray[np.float64]]:
    """A face of 400 pixels with a fine pattern all over, its mesh and its box."""
    mesh = pose(0.0, 0, 300, 330, 400)
    y, x = np.mgrid[:700, :600]
    picture = np.stack([140 + 30 * np.sin(x / 90) + 12 * ((x // 2 + y // 2) % 2), 110 + 0.1 * x, 100 + 0.05 * y], 2)
    track = drawn(1).track
    assert track is not None
    return picture.astype(np.uint8), mesh, lower_boxes(replace(track, mesh=mesh[None]))[0]


def laid(picture: Picture, mesh: Numbers, box: NDArray[np.float64], painted: Numbers) -> tuple[Picture, NDArray[np.uint8]]:
    picture, mask = picture.copy(), np.zeros(picture.shape[:2], np.uint8)
    _Layer().lay(picture, mask, box, mesh, painted)
    return picture, mask


def test_a_face_painted_as_it_is_changes_nothing() -> None:
    picture, mesh, box = close_up()
    same, mask = laid(picture, mesh, box, face_crop(picture, box, SIDE).astype(np.float32))
    assert np.abs(same.astype(int) - picture).max() <= 1
    assert mask.max() == 255
    x0, y0, _, y1 = box
    high = mask[: round(y0 + 0.5 * (y1 - y0))]
    assert not high.any(), "only the lower face"
    assert not mask[:, : round(x0)].any()
    assert not mask[round(y1) + 1 :].any()


def test_a_face_in_another_light_is_brought_into_the_targets() -> None:
    picture, mesh, box = close_up()
    own = face_crop(picture, box, SIDE).astype(np.float32)
    lit, mask = laid(picture, mesh, box, own * 0.9 + 20)
    off = (lit.astype(np.float32) - picture).mean(2)
    assert np.abs(cv2.blur(off, (9, 9)))[mask > 0].max() < 6, "20 levels before"
    assert np.abs(np.diff(cv2.blur(off, (5, 5)), axis=0)).max() < 2, "no line at the upper edge"


def test_fine_detail_stays_but_where_something_else_is_painted() -> None:
    picture, mesh, box = close_up()
    own = face_crop(picture, box, SIDE).astype(np.float32)
    painted = own.copy()
    painted[60:72, 36:60] = (30, 10, 10)
    out, mask = laid(picture, mesh, box, painted)

    def detail(of: Picture, rows: slice, across: slice) -> float:
        plane = of[rows, across, 0].astype(np.float32)
        return float((plane - cv2.GaussianBlur(plane, (0, 0), 3)).std())

    x0, y0, x1, y1 = box
    wide, high = (x1 - x0) / SIDE, (y1 - y0) / SIDE
    mouth = slice(round(y0 + 63 * high), round(y0 + 69 * high)), slice(round(x0 + 40 * wide), round(x0 + 56 * wide))
    chin = slice(round(y0 + 78 * high), round(y0 + 82 * high)), slice(round(x0 + 40 * wide), round(x0 + 56 * wide))
    assert (mask[mouth] == 255).all()
    assert out[mouth].mean() < 60
    assert detail(out, *mouth) < 0.3 * detail(picture, *mouth)
    assert detail(out, *chin) > 0.8 * detail(picture, *chin)


def test_what_is_shown_rises_softly_from_the_cut_outs_border() -> None:
    _, mesh, box = close_up()
    points = (mesh[:, :2] - box[:2]) * SIDE / (box[2:] - box[:2])
    share = lower_face(points)
    assert share.max() == 1
    assert share[66, 48] == 1, "the mouth"
    assert not share[:51].any()
    assert max(share[-1].max(), share[:, 0].max(), share[:, -1].max()) == 0
    assert max(np.abs(np.diff(share, axis=axis)).max() for axis in (0, 1)) < 0.3


# --------------------------------------------------------------------------------------------------- as a generator


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> LipSyncNet:
    folder = tmp_path_factory.mktemp("model")
    section = LipSyncNet(steps=2, batch=4, width=0.1)
    section.train((drawn(i) for i in (1, 2)), np.random.default_rng(3), folder)
    return section.load(folder)


def test_what_is_said_is_the_speakers_in_the_place_of_the_targets_own(bound: LipSyncNet) -> None:
    said = (Said(0.0, 0.1, "so"), Said(0.2, 0.3, "long"))
    target, speaker = replace(drawn(1), words=(Said(0, 0.1, "own"),)), replace(drawn(2), words=said, phonemes=said[1:])
    made = bound([target, speaker], np.random.default_rng(0))
    own, speech = target.sound(), speaker.sound()
    assert own is not None
    assert speech is not None
    put = placed(speech, own, np.random.default_rng(0))
    assert made.sound is not None
    assert np.array_equal(made.sound.samples, put.sound.samples)
    assert len(made.sound.samples) == len(own.samples)
    assert made.words == tuple(put.when(word) for word in said)
    assert made.phonemes == made.words[1:]
    assert tuple(s for s in made.segments if s.modality == "audio") == put.segments


def test_lips_hang_on_what_is_said(bound: LipSyncNet) -> None:
    def mouths(speaker: Clip) -> list[Picture]:
        return [picture for picture, _ in bound([drawn(1), speaker], np.random.default_rng(0)).pictures]

    first, again, other = mouths(drawn(2)), mouths(drawn(2)), mouths(drawn(3))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_frames_turned_too_far_keep_their_mouth(bound: LipSyncNet) -> None:
    target = drawn(1, (0,) * 8 + (50,) * 4)
    made = bound([target, drawn(2)], np.random.default_rng(0))
    for frame, ((picture, mask), original) in enumerate(zip(made.pictures, target.pictures(), strict=True)):
        assert mask is not None
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        assert mask.any() == (frame < 8 and frame != UNSEEN)
    changed = np.array([frame < 8 and frame != UNSEEN for frame in range(12)])
    assert tuple(s for s in made.segments if s.modality == "video") == spans(changed, FPS, "video")


def test_what_can_not_speak_is_refused(bound: LipSyncNet) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(MediaError, match="person 1: is a still image"):
        bound([replace(drawn(1), media_type="image", fps=Fraction(0)), drawn(2)], rng)
    for silence in (None, Sound(np.zeros(16000, np.float32), 16000)):
        with pytest.raises(MediaError, match="person 2: has no sound"):
            bound([drawn(1), replace(drawn(2), sound=lambda: silence)], rng)  # noqa: B023
        with pytest.raises(MediaError, match="person 1: has no sound"):
            bound([replace(drawn(1), sound=lambda: silence), drawn(2)], rng)  # noqa: B023
    with pytest.raises(MediaError, match="person 1: shows no face"):
        bound([replace(drawn(1), track=None), drawn(2)], rng)
    with pytest.raises(MediaError, match="person 1: shows a whole face turned less"):
        bound([drawn(1, (50,) * 10), drawn(2)], rng)
