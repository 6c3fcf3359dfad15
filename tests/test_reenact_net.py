"""The network of first-order motion: its nets against independent formulas and the authors' model, and how it is used."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from forgeline.errors import MediaError, ModelError, ParamsError
from forgeline.weights import Given
from generators.expression import Replay
from generators.motion_net import (
    PUBLISHED,
    SMALL,
    Bend,
    Detector,
    Keypoints,
    Painted,
    Painter,
    composed,
    grid,
    inverse,
    pyramid,
    tearing,
)
from generators.published import convert
from generators.reenact_net import RIM, Motion, Nets, ReenactNet, Square, rim, shown, square_of
from tests.people import HEIGHT, WIDTH, drawn

Numbers = NDArray[np.float64]


def randomised(net: torch.nn.Module, seed: int = 0) -> Any:
    """A net with weights that are all at work, as trained ones are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            scale = 0.3 if weight.dim() == 1 else 1.4 / weight[0].numel() ** 0.5
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    return net.eval()


# ---------------------------------------------------------------------------------------------- the nets


def test_published_models_fit_by_name_and_shape() -> None:
    nets = Nets.new(PUBLISHED).named()
    listed = sorted(f"{n}.{k} {tuple(v.shape)}" for n, net in nets.items() for k, v in net.state_dict().items())
    assert len(listed) == 75 + 196
    assert "kp_detector.predictor.decoder.up_blocks.0.conv.weight (512, 1024, 3, 3)" in listed
    assert "generator.dense_motion_network.hourglass.encoder.down_blocks.0.conv.weight (128, 44, 3, 3)" in listed
    # Of the authors' own code at their last commit, built with config/vox-256.yaml and listed likewise.
    assert (
        hashlib.sha256("\n".join(listed).encode()).hexdigest()
        == "8ea678e167aed333531dde4b0a69c8ba30c951966f0de25373fd0638a2fb3c5d"
    )


def test_the_nets_give_what_the_authors_nets_give() -> None:
    detector, painter = randomised(Detector(SMALL)), randomised(Painter(SMALL))
    at = torch.linspace(0, 1, 64)
    before, after = (
        torch.stack([torch.sin(6 * a * at[:, None] + 9 * b * at).square() for a, b in ((1, 2), (2, 1), (3, c))])[None]
        for c in (1, 2)
    )
    with torch.inference_mode():
        of, to = detector(before), detector(after)
        painted = painter(before, of, to)
    # From the authors' own code with these weights and pictures, its samples taken with corners aligned, as torch did then.
    places = [[0.02563, -0.16215], [0.00788, 0.05306], [0.00934, -0.02853]]
    np.testing.assert_allclose(to.places[0, :3], places, atol=1e-4)
    np.testing.assert_allclose(to.jacobians[0, 2], [[-0.87235, 0.05761], [0.33684, -0.33329]], atol=1e-4)
    np.testing.assert_allclose(painted.visible[0, 0, 5::8, 16], [0.61938, 0.50827, 0.49321, 0.56654], atol=1e-4)
    wanted = [[0.42971, 0.43024, 0.43236], [0.47667, 0.47699, 0.47686], [0.6318, 0.63424, 0.63377]]
    np.testing.assert_allclose(painted.picture[0, :, 12, [9, 30, 51]], wanted, atol=1e-4)


def test_what_does_not_move_stays_where_it_is() -> None:
    picture = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    detector, painter = randomised(Detector(SMALL)), randomised(Painter(SMALL))
    with torch.inference_mode():
        at = detector(picture)
        painted = painter(picture, at, at)
        laid, origin, _ = composed(painted._replace(visible=torch.ones(2, 1, 32, 32)), picture, torch.ones(64, 64))
    assert (painted.origin - grid(32, 32, picture)).abs().max() < 1e-4
    assert (origin - grid(64, 64, picture)).abs().max() < 1e-4
    assert (laid - picture).abs().max() < 0.02


def test_around_a_keypoint_movement_is_linear() -> None:
    painter = randomised(Painter(SMALL))
    with torch.no_grad():  # only the third keypoint's movement is believed
        painter.dense_motion_network.mask.weight.zero_()
        painter.dense_motion_network.mask.bias.copy_(torch.eye(11)[3] * 100)
    rng = np.random.default_rng(0)
    places = [torch.from_numpy(rng.uniform(-0.5, 0.5, (1, 10, 2)).astype(np.float32)) for _ in range(2)]
    turns = [torch.from_numpy((np.eye(2) + rng.normal(0, 0.2, (1, 10, 2, 2))).astype(np.float32)) for _ in range(2)]
    of, to = (Keypoints(*pair) for pair in zip(places, turns, strict=True))
    with torch.inference_mode():
        origin = painter(torch.rand(1, 3, 64, 64), of, to).origin[0].numpy()
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    a, b = (turn[0, 2].numpy().astype(np.float64) for turn in turns)
    wanted = places[0][0, 2].numpy() + (np.stack([x, y], -1) - places[1][0, 2].numpy()) @ (a @ np.linalg.inv(b)).T
    np.testing.assert_allclose(origin, wanted, atol=1e-4)


def test_keypoints_lie_where_their_map_says() -> None:
    detector = randomised(Detector(SMALL))
    with torch.no_grad():
        detector.kp.weight.zero_()
        detector.kp.bias.zero_()
    at = detector(torch.rand(1, 3, 64, 64))
    assert at.places.abs().max() < 1e-5, "an even map has its mean in the middle"
    assert at.places.shape == (1, 10, 2)
    assert at.jacobians.shape == (1, 10, 2, 2)


def test_inverse_is_that_of_linear_algebra() -> None:
    matrices = torch.eye(2) + 0.3 * torch.randn(5, 7, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(inverse(matrices), torch.linalg.inv(matrices), atol=1e-5, rtol=1e-4)


def test_a_bends_derivative_is_that_of_finite_differences() -> None:
    bend = Bend.drawn(np.random.default_rng(0), 3, 0.1, 0.02)
    bend = Bend(*(value.double() for value in bend))
    places = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (3, 40, 2)))
    step = 1e-5
    for axis in (0, 1):
        aside = step * torch.eye(2, dtype=torch.float64)[axis]
        slope = (bend(places + aside) - bend(places - aside)) / (2 * step)
        torch.testing.assert_close(bend.jacobians(places)[..., axis], slope, atol=1e-6, rtol=1e-5)
    still = Bend.drawn(np.random.default_rng(0), 3, 0, 0)
    torch.testing.assert_close(still(places.float()), places.float())


def test_losses_are_nothing_where_nothing_is_wrong() -> None:
    picture = torch.rand(1, 3, 64, 64)
    assert pyramid(picture, picture, torch.ones(1, 1, 64, 64)) == 0
    assert pyramid(picture, picture + 0.1, torch.ones(1, 1, 64, 64)).item() == pytest.approx(0.4, rel=1e-4)
    assert tearing(grid(32, 32, picture)[None] * 0.7 + 0.1).item() == pytest.approx(0, abs=1e-6)
    assert tearing(torch.rand(1, 32, 32, 2)) > 0.1


def test_pixels_are_the_pictures_own_but_where_they_are_painted() -> None:
    picture = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    shift = grid(16, 16, picture)[None] + torch.tensor([2 / 95 * 3, 0])
    hidden = torch.zeros(1, 1, 16, 16)
    hidden[..., :4] = 1
    painted = Painted(torch.full((1, 3, 64, 64), 0.25), shift, 1 - hidden)
    laid, _, _ = composed(painted, picture, torch.ones(96, 96))
    torch.testing.assert_close(laid[..., 40:90], picture[..., 43:93], atol=1e-4, rtol=0)
    torch.testing.assert_close(laid[..., :12], torch.full((1, 3, 96, 12), 0.25))
    held, _, _ = composed(painted, picture, torch.zeros(96, 96))
    torch.testing.assert_close(held, picture, atol=1e-4, rtol=0)


# ------------------------------------------------------------------------------------------ what it sees


@settings(max_examples=50, deadline=None)
@given(st.integers(-30, 60), st.integers(-30, 60), st.integers(40, 90))
def test_a_square_may_reach_over_the_picture(x: int, y: int, side: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    square = Square(x, y, side)
    cut = square.cut(picture)
    assert cut.shape == (side, side, 3)
    inside, there = square.inside(picture)
    assert np.array_equal(cut[inside], picture[there])


def test_the_square_holds_the_face_all_through_the_clip() -> None:
    clip = drawn(1, (0, 10, 20, 10, 0) * 4)
    assert clip.track is not None
    square = square_of(clip.track)
    box = clip.track.box[clip.track.seen]
    assert (box[:, :2] >= (square.x, square.y)).all()
    assert (box[:, 2:] <= (square.x + square.side, square.y + square.side)).all()
    assert square.side < 1.4 * np.ptp(box.reshape(-1, 2), axis=0).max()
    seen = shown(clip, 64)
    assert seen.pictures.shape == (19, 64, 64, 3)
    assert np.abs(seen.spots).max() < 0.7
    assert (seen.spots[:, 0, 1] > seen.spots[:, 1, 1]).all(), "the mouth is below the eyes"


def test_the_rim_is_held() -> None:
    free = rim(100)
    assert free[0].max() == free[:, -1].max() == 0
    assert free[round(100 * RIM) : -round(100 * RIM), 50].min() == 1


def motion(share: float, slopes: Numbers, poses: Numbers, does: Numbers) -> Motion:
    """Keypoints that follow the pose by `slopes`, and what a face `does` besides."""
    known = np.ones(len(poses), np.bool_)
    known[3] = False
    keypoints = np.tensordot(poses, slopes, 1) + does
    keypoints[3] = poses[3] = 0
    return Motion(keypoints.astype(np.float32), poses.astype(np.float32), known, share)


def test_what_follows_the_pose_stays_and_the_rest_is_the_drivers() -> None:
    rng = np.random.default_rng(0)

    def poses() -> Numbers:
        return np.column_stack([rng.normal(0, 0.5, (40, 6)), np.ones(40)])

    slopes, blinks = rng.normal(0, 0.3, (2, 7, 5, 6)), np.zeros((40, 5, 6))
    blinks[20:23, 2] = 0.2
    target, driver = motion(0.6, slopes[0], poses(), 0 * blinks), motion(0.3, slopes[1], poses(), blinks)
    replay = Replay.of(driver.known, np.arange(40.0), 25.0)
    still = target.driven(driver, replay, np.ones(40, np.float32), 0.0)
    change = (still - target.keypoints)[target.known]
    wanted = (blinks - blinks.mean(0))[target.known] * [2, 2, 1, 1, 1, 1]
    assert np.abs(change - wanted).max() < 0.15
    assert change[19:22, 2].min() > 0.7 * 0.2
    moved = target.driven(driver, replay, np.ones(40, np.float32), 1.0)
    of_driver = driver.poses - driver.poses[driver.known].mean(0) + target.poses[target.known].mean(0)
    assert np.abs(moved - still - np.tensordot(of_driver - target.poses, slopes[0], 1))[target.known].max() < 0.15
    assert np.array_equal(target.driven(driver, replay, np.zeros(40, np.float32), 1.0), target.keypoints)
    own = target.driven(target, Replay.of(target.known, np.arange(40.0), 25.0), np.ones(40, np.float32), 0.5)
    np.testing.assert_allclose(own[target.known], target.keypoints[target.known], atol=1e-5)


def test_a_still_head_says_nothing_of_how_keypoints_follow_it() -> None:
    rng = np.random.default_rng(0)
    poses = np.column_stack([rng.normal(0, 1e-4, (40, 6)), np.ones(40)])
    trembling = motion(0.5, np.zeros((7, 5, 6)), poses, rng.normal(0, 0.01, (40, 5, 6)))
    assert np.abs(trembling.posed()[:6]).max() < 0.01


# ------------------------------------------------------------------------------------ learning and models


def losses(folder: Path) -> Numbers:
    return np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1)


def test_it_learns_to_make_one_frame_of_another(tmp_path: Path) -> None:
    turns = tuple(20 * np.sin(np.arange(20)))
    ReenactNet(steps=40, batch=2, learning_rate=2e-3).train(
        (drawn(i, turns) for i in (1, 2)), np.random.default_rng(0), tmp_path
    )
    table = losses(tmp_path)
    header = (tmp_path / "losses.csv").read_text().splitlines()[0].split(",")
    picture = table[:, header.index("picture")]
    assert picture[-10:].mean() < 0.6 * picture[:5].mean()


def test_a_model_is_the_same_again_and_is_checked(tmp_path: Path) -> None:
    section = ReenactNet(steps=2, batch=2)
    digests = []
    for name in ("a", "b"):
        section.train((drawn(i) for i in (1, 2)), np.random.default_rng(3), tmp_path / name)
        digests.append(hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    with pytest.raises(ModelError, match="is not there"):
        section.load(tmp_path)
    tensors = load_file(tmp_path / "a/model.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "generator/final.bias"}, tmp_path / "a/model.safetensors")
    with pytest.raises(ModelError, match="is not a model of this generator"):
        section.load(tmp_path / "a")


def test_without_faces_or_model_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no clip with a face"):
        ReenactNet(steps=1).train([replace(drawn(1), track=None)], np.random.default_rng(0), tmp_path)
    with pytest.raises(ModelError, match="has no model yet"):
        ReenactNet()([drawn(1), drawn(2)], np.random.default_rng(0))
    with pytest.raises((ParamsError, ValueError), match="steps: 0 needs weights"):
        ReenactNet(steps=0)


def test_a_person_driven_by_themselves_is_refused(tmp_path: Path) -> None:
    section = ReenactNet(steps=2, batch=2)
    section.train([drawn(1), drawn(2)], np.random.default_rng(3), tmp_path)
    with pytest.raises(MediaError, match="person 1: does nothing but what person 1 does"):
        section.load(tmp_path)([drawn(1), drawn(1)], np.random.default_rng(0))


def test_nothing_changes_outside_the_square(tmp_path: Path) -> None:
    section = ReenactNet(steps=2, batch=2)
    section.train([drawn(1), drawn(2)], np.random.default_rng(3), tmp_path)
    target = drawn(1)
    assert target.track is not None
    _, there = square_of(target.track).inside(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    made = section.load(tmp_path)([target, drawn(2)], np.random.default_rng(0))
    for (picture, mask), original in zip(made.pictures, target.pictures(), strict=True):
        assert mask is not None
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        mask[there] = 0
        assert not mask.any()


class _Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_published_pickles_are_converted_without_being_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nets = {name: randomised(net, 5) for name, net in Nets.new(SMALL).named().items()}
    found = {name: net.state_dict() for name, net in nets.items()}
    torch.save({**found, "discriminator": {"weight": torch.ones(3)}, "epoch": 7}, "vox.pth.tar")
    convert(Path("vox.pth.tar"), Path("vox.safetensors"))
    assert set(load_file("vox.safetensors")) == {f"{n}.{k}" for n, net in nets.items() for k in net.state_dict()}

    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    sha256 = hashlib.sha256(Path("vox.safetensors").read_bytes()).hexdigest()
    filled = Nets.new(SMALL)
    filled.fill(Given(file="vox.safetensors", sha256=sha256, licence="MIT"))
    for name, net in filled.named().items():
        for part, value in net.state_dict().items():
            assert torch.equal(value, found[name][part])
    save_file({"kp_detector.kp.bias": torch.zeros(10)}, "other.safetensors")
    other = Given(
        file="other.safetensors", sha256=hashlib.sha256(Path("other.safetensors").read_bytes()).hexdigest(), licence="-"
    )
    with pytest.raises(ModelError, match="is not a model of first-order motion"):
        filled.fill(other)

    torch.save({"kp_detector": {}, "generator": _Malice()}, "bad.pth.tar")
    with pytest.raises(ModelError, match=r"bad.pth.tar: is not a published model"):
        convert(Path("bad.pth.tar"), Path("bad.safetensors"))
    assert not Path("executed").exists()
    assert not Path("bad.safetensors").exists()
