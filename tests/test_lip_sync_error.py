"""Lips and voice that belong together, are moved against each other or were never of one person, and what is said of them."""

import hashlib
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import evaluators.lip_sync_error
from evaluators.figure import Figure, Pair, change, measure, score
from evaluators.lip_sync_error import LipSyncError
from forgeline.clip import Clip, Mask, Picture, Sound, Track
from forgeline.errors import ModelError, WeightsError
from forgeline.faces import FaceFinder, track_faces
from forgeline.syncnet import expert, syncnet
from forgeline.video import open_video
from forgeline.weights import WEIGHTS, ModelFile, weights
from tests.people import GRID, HEIGHT, WIDTH, draw, finder, pose

FRAMES, RATE = 75, 16000
MESH = ("lip_gap_r", "lip_gap_c", "av_offset", "lip_sync_error_rate")


FILES: dict[int, str] = {}


@pytest.fixture(scope="module", autouse=True)
def nets(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")
    for seed in (1, 2, 3):
        FILES[seed] = str(tmp_path_factory.mktemp("clips") / f"{seed}.mp4")
        Path(FILES[seed]).write_bytes(bytes([seed]))


@cache
def opening(seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far a mouth is open in 75 frames, 0 to 1: words, and pauses between them."""
    rough = np.convolve(np.random.default_rng(seed).random(FRAMES + 8) ** 3, np.hanning(7), "same")[4:-4]
    return np.asarray(rough / rough.max())


@cache
def pictures(seed: int) -> tuple[Picture, ...]:
    noise = np.random.default_rng(seed)
    return tuple(draw(pose(0.1 * o, 0, 88, 100, 110), seed, noise) for o in opening(seed))


def said(seed: int, late: int = 0, rate: int = RATE) -> Sound:
    """The sound of that mouth, `late` frames too late."""
    times = np.arange(FRAMES * rate // 25) / rate
    loud = np.interp(times * 25 - late - 0.5, np.arange(FRAMES), opening(seed))
    hiss = np.random.default_rng(seed + 100).normal(0, 1, len(times))
    return Sound((0.2 * 10 ** (1.5 * (loud - 1)) * hiss).clip(-1, 1).astype(np.float32), rate)


def talker(seed: int, sound: Sound | None, shown: int | None = None) -> Clip:
    seen = pictures(seed if shown is None else shown)
    return Clip("video", WIDTH, HEIGHT, Fraction(25), FRAMES, lambda: iter(seen), lambda: sound, name=f"talker {seed}")


def own(seed: int) -> Clip:
    """A talker whose sound is in time. The clip has a file, so that its face is looked for once in all these tests."""
    return replace(talker(seed, said(seed)), name=FILES[seed])


def pair(fake: Clip, control: Clip, **more: object) -> Pair:
    return replace(Pair("a", fake, control, "lip_sync", "test"), **more)  # type: ignore[arg-type]


def figures(judge: LipSyncError, one: Pair) -> dict[str, Figure]:
    return dict(score([one], {"lips": judge}, 4).samples["a"])


def values(judge: LipSyncError, one: Pair) -> dict[str, float | None]:
    return {name: figure.value for name, figure in figures(judge, one).items()}


@pytest.mark.parametrize("late", [-4, 0, 1, 2])
def test_a_shift_of_the_sound_is_measured(late: int) -> None:
    found = values(LipSyncError(), pair(talker(1, said(1, late)), own(1)))
    assert found["av_offset"] == -late
    assert found["av_offset_control"] == 0
    assert found["lip_sync_error_rate"] == (0 if abs(late) <= 1 else 1)
    assert found["lip_sync_error_rate_control"] == 0
    assert 0.6 < float(found["lip_gap_r"] or 0) <= 1
    assert found["lip_gap_c_ratio"] == pytest.approx((found["lip_gap_c"] or 0) / (found["lip_gap_c_control"] or 1))


def test_the_sound_of_another_goes_less_with_the_lips() -> None:
    """And so do other lips with the own sound."""
    for other in (talker(1, said(2)), talker(1, said(1), shown=2)):
        found = values(LipSyncError(), pair(other, own(1)))
        assert (found["lip_gap_r"] or 0) < (found["lip_gap_r_control"] or 0) - 0.2
        assert (found["lip_gap_c_ratio"] or 0) < 0.7


def test_another_rate_of_pictures_or_sound_gives_the_same() -> None:
    """Every frame twice at 50 a second, and sound at 44.1 kHz."""
    seen = pictures(1)

    def twice() -> Iterator[Picture]:
        return (picture for picture in seen for _ in range(2))

    fast = replace(talker(1, said(1, 2, 44100)), fps=Fraction(50), frames=2 * FRAMES, pictures=twice)
    found = values(LipSyncError(), pair(fast, own(1), aligned=False))
    plain = values(LipSyncError(), pair(talker(1, said(1, 2)), own(1)))
    assert found["av_offset"] == plain["av_offset"] == -2
    assert found["lip_gap_r"] == pytest.approx(plain["lip_gap_r"], abs=0.02)


def test_only_the_first_seconds_count() -> None:
    """After the second one everything is another's."""
    late = said(1).samples.copy()
    late[2 * RATE :] = said(2).samples[2 * RATE :]
    seen = (*pictures(1)[:50], *pictures(2)[50:])
    mixed = replace(talker(1, Sound(late, RATE)), pictures=lambda: iter(seen))
    short, whole = LipSyncError(seconds=2), LipSyncError()
    one, other = pair(mixed, own(1)), pair(own(1), own(1))
    assert values(short, one) == values(short, other)
    assert values(whole, one)["lip_gap_r"] != values(whole, other)["lip_gap_r"]


def test_a_set_is_summed_up() -> None:
    judge = LipSyncError()
    pairs = [pair(talker(seed, said(seed, late)), own(seed), sample_id=f"{seed}") for seed, late in ((1, 3), (2, 3), (3, 0))]
    found = score(pairs, {"lips": judge}, 4)
    ours = found.sets["lip_sync", "master", "test"]
    for name in ("lip_gap_r", "lip_gap_c", "lip_gap_c_control"):
        assert ours[name].value == pytest.approx(np.mean([figures[name].value for figures in found.samples.values()]))
    assert (ours["av_offset"].value, ours["av_offset"].n) == (-3, 3)
    spans = [figures["lip_sync_error_rate"] for figures in found.samples.values()]
    assert ours["lip_sync_error_rate"].n == sum(one.n for one in spans) == 15
    assert ours["lip_sync_error_rate"].value == pytest.approx(sum((one.value or 0) * one.n for one in spans) / 15)
    assert ours["lip_gap_c_ratio"].value == pytest.approx(
        (ours["lip_gap_c"].value or 0) / (ours["lip_gap_c_control"].value or 1)
    )
    assert ours["lse_d"].reason == ours["lse_c"].reason == "needs SyncNet's weights: set network to syncnet"
    assert score(reversed(pairs), {"lips": judge}, 4) == found


def test_what_can_not_be_judged_has_a_reason() -> None:
    ours = own(1)
    empty = replace(talker(1, said(1)), pictures=lambda: (np.full((HEIGHT, WIDTH, 3), 90, np.uint8) for _ in range(FRAMES)))
    still = replace(ours, pictures=lambda: (pictures(1)[0] for _ in range(FRAMES)))
    brief = replace(ours, frames=30, pictures=lambda: iter(pictures(1)[:30]))
    silent = talker(1, Sound(np.zeros(3 * RATE, np.float32), RATE))
    for one, reason in (
        (pair(ours, ours, method="blend_swap"), "only methods that change lips or voice are judged"),
        (pair(replace(ours, media_type="image"), ours), "the fake or its control is no video"),
        (pair(talker(1, None), ours), "the fake has no sound"),
        (pair(silent, ours), "the fake has no sound"),
        (pair(ours, silent), "the control has no sound"),
        (pair(empty, ours), "no face is found in the fake"),
        (pair(ours, empty), "no face is found in the control"),
        (pair(still, ours), "in the fake a face is seen in too few frames, or neither lips nor sound change"),
        (pair(brief, ours, aligned=False), "lasts less than 1.6 s"),
    ):
        found = figures(LipSyncError(), one)
        assert set(found) == set(MESH)
        assert {figure.reason for figure in found.values()} == {reason}


def test_seconds_too_few_for_spans_have_no_rate() -> None:
    found = figures(LipSyncError(seconds=2), pair(own(1), own(1)))
    assert found["lip_gap_r"].value is not None
    rate = found["lip_sync_error_rate"]
    assert rate.reason == "no 35 frames with a face have 10 frames of sound before and after them"
    assert rate.n == 0


def test_the_same_pair_gives_the_same_rows() -> None:
    one = pair(talker(2, said(2, 1)), own(2))
    first, again = (measure(one, {"lips": LipSyncError()}, 4)["lips"] for _ in range(2))
    assert first.keys() == again.keys()
    assert all(first[key].tobytes() == again[key].tobytes() for key in first)


def side_by_side(left: int, right: int) -> Clip:
    both = [np.concatenate([a, b], 1) for a, b in zip(pictures(left), pictures(right), strict=True)]
    return replace(talker(left, said(left)), width=2 * WIDTH, pictures=lambda: iter(both))


def test_the_face_that_was_changed_is_judged() -> None:
    """Of two that are seen, masks lie on the one whose lips go with the sound."""

    def masks(half: int) -> Iterator[Mask]:
        mask = np.zeros((HEIGHT, 2 * WIDTH), np.uint8)
        mask[:, half * WIDTH : (half + 1) * WIDTH] = 255
        return (mask for _ in range(FRAMES))

    two = side_by_side(1, 2)
    speaks, listens = (values(LipSyncError(), pair(two, two, masks=lambda half=half: masks(half))) for half in (0, 1))
    assert (speaks["lip_gap_r"] or 0) > (listens["lip_gap_r"] or 0) + 0.2
    assert speaks["lip_gap_r"] == speaks["lip_gap_r_control"]


def test_a_controls_face_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its file is the same; and a fake's each time."""
    file = tmp_path / "control.mp4"
    file.write_bytes(b"1")
    looked: list[str] = []

    def track(clip: Clip, nets: FaceFinder) -> list[Track]:
        looked.append(clip.name)
        return track_faces(clip, nets)

    monkeypatch.setattr(evaluators.lip_sync_error, "track_faces", track)
    control = replace(talker(1, said(1)), name=str(file))
    first, again = (values(LipSyncError(), pair(talker(1, said(1, 2)), control)) for _ in range(2))
    assert first == again
    assert looked.count(str(file)) == 1
    assert looked.count("talker 1") == 2
    file.write_bytes(b"22")
    values(LipSyncError(), pair(talker(1, said(1, 2)), control))
    values(LipSyncError(seconds=2), pair(talker(1, said(1, 2)), control))
    assert looked.count(str(file)) == 3


def lips_that_speak(path: Path) -> str:
    """An untrained expert."""
    torch.manual_seed(0)
    save_file(expert().state_dict(), path)
    return str(path)


def test_an_expert_judges(tmp_path: Path) -> None:
    """An untrained one knows nothing of lips; that its figures have other names, and its file's hash, is seen all the same."""
    file = lips_that_speak(tmp_path / "expert.safetensors")
    judge = LipSyncError(network="expert", expert=file, seconds=2)
    one = pair(own(1), own(1))
    found = figures(judge, one)
    assert {"lse_d_expert", "lse_c_expert", "lse_c_expert_ratio", "lse_d_expert_control", "av_offset"} < set(found)
    assert not {"lse_d", "lse_c", "lip_gap_r"} & set(found)
    assert found["lse_d_expert"].value == found["lse_d_expert_control"].value
    assert 0 <= (found["lse_d_expert"].value or 0) <= np.sqrt(2)
    before = found["lse_d_expert"].fingerprint["weights"]
    state = expert().state_dict()
    save_file({name: value + 0.01 if value.is_floating_point() else value for name, value in state.items()}, file)
    after = figures(judge, one)["lse_d_expert"]
    assert len(before) == 64
    assert after.fingerprint["weights"] != before
    assert after.value != found["lse_d_expert"].value
    assert change(found["lse_d_expert"], found["lse_d_expert"]) == 0


def test_an_expert_that_is_missing_is_refused(tmp_path: Path) -> None:
    judge = LipSyncError(network="expert", expert=str(tmp_path / "none.safetensors"))
    with pytest.raises(ModelError, match="is not there; train lip_sync_net, or set network to mesh"):
        figures(judge, pair(own(1), own(1)))


def test_only_syncnets_own_weights_give_the_figures_of_the_literature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here with a random net in their place, by the hash that the table would then have."""
    for name in ("face_detector", "face_mesh"):
        shutil.copy(weights(name), tmp_path)
    torch.manual_seed(0)
    torch.save(syncnet().state_dict(), tmp_path / "syncnet_v2.model")
    digest = hashlib.sha256((tmp_path / "syncnet_v2.model").read_bytes()).hexdigest()
    monkeypatch.setitem(WEIGHTS, "syncnet", ModelFile("syncnet_v2.model", digest, None, "MIT", None))
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    found = figures(LipSyncError(network="syncnet", seconds=2), pair(own(1), own(1)))
    assert {"lse_d", "lse_c", "lse_c_ratio", "lse_d_control", "av_offset"} < set(found)
    assert found["lse_d"].fingerprint["weights"] == digest
    assert found["lse_d"].value is not None
    monkeypatch.setitem(WEIGHTS, "syncnet", ModelFile("syncnet_v2.model", "0" * 64, None, "MIT", None))
    with pytest.raises(WeightsError):
        figures(LipSyncError(network="syncnet", seconds=2), pair(own(1), own(1)))


def test_fingerprints_tell_judges_apart(tmp_path: Path) -> None:
    expert_file = lips_that_speak(tmp_path / "e.safetensors")
    judges = LipSyncError(), LipSyncError(seconds=2), LipSyncError(network="expert", expert=expert_file)
    prints = [dict(judge.of_set([])["av_offset"].fingerprint) for judge in judges]
    assert prints[0] != prints[1]
    assert prints[0]["judge"] != prints[2]["judge"]
    assert {"judge", "weights", "detector", "mesh", "looked at", "shifts", "spans"} <= set(prints[0])


def test_memory_does_not_grow_with_the_clip() -> None:
    """A minute of 320 x 240 would be 350 MB of pictures."""
    seen = pictures(1)
    minute = replace(talker(1, said(1)), frames=1500, pictures=lambda: (seen[i % FRAMES] for i in range(1500)))
    sound = Sound(np.tile(said(1).samples, 20), RATE)
    minute = replace(minute, sound=lambda: sound)
    judge = LipSyncError(seconds=3)
    judge.rows(pair(own(1), own(1)))
    tracemalloc.start()
    judge.rows(pair(minute, own(1), aligned=False))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40 << 20


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_real_people_too(late: int) -> None:
    finder()
    clip = open_video(GRID / "bbaf2n.mpg")
    sound = clip.sound()
    assert sound is not None
    samples = np.roll(sound.samples, late * sound.rate // 25)
    moved = replace(clip, sound=lambda: Sound(samples, sound.rate))
    found = values(LipSyncError(), pair(moved, clip))
    assert abs((found["av_offset"] or 0) + late) <= 1
    assert abs(found["av_offset_control"] or 0) <= 1
