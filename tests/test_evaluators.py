"""Figures against independent implementations, and the laws they must keep: order, batches, equal sets, honest names."""

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from pytorch_fid.fid_score import calculate_frechet_distance
from skimage.metrics import structural_similarity

import evaluators.fid
import evaluators.figure
from evaluators.fid import FID, Moments, frechet_distance
from evaluators.figure import (
    Evaluator,
    Figure,
    FigureError,
    Frames,
    Measured,
    OfClips,
    OfFrames,
    Pair,
    Rows,
    change,
    measure,
    score,
    summarise,
    unmeasured,
)
from evaluators.inception import clean, open_network
from evaluators.inception_score import InceptionScore
from evaluators.kid import KID
from evaluators.pictures import FrameMeans
from evaluators.ssim import SSIM, luma, ssim_map
from evaluators.table import EVALUATORS
from flows import score as stage
from forgeline import weights as weights_module
from forgeline.audio import write_sound
from forgeline.clip import Clip, Said, Segment, Sound
from forgeline.code import closure
from forgeline.errors import MediaError, WeightsError
from forgeline.sample import Sample

RNG = np.random.default_rng


def pictures(rng: np.random.Generator, n: int, height: int = 40, width: int = 48) -> NDArray[np.uint8]:
    """Smooth noise: neighbours are alike, as in a photograph."""
    coarse = rng.integers(0, 256, (n, height // 4, width // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return (coarse * 0.8 + rng.integers(0, 50, coarse.shape)).clip(0, 255).astype(np.uint8)


def clip_of(frames: NDArray[np.uint8], promised: int | None = None) -> Clip:
    n, height, width = frames.shape[:3]
    return Clip("video", width, height, Fraction(25), promised or n, lambda: iter(frames), lambda: None, name="a clip")


def pair(seed: int, n: int = 11, *, noise: int = 20, masked: bool = True, aligned: bool = True) -> Pair:
    rng = RNG(seed)
    control = pictures(rng, n)
    mask = np.zeros(control.shape[:3], np.uint8)
    mask[:, 12:28, 12:30] = 255
    changed = (control.astype(int) + rng.integers(-noise, noise + 1, control.shape)).clip(0, 255)
    fake = np.where(mask[..., None] > 0, changed, control).astype(np.uint8)
    masks = (lambda: iter(mask)) if masked else None
    return Pair(f"sample{seed}", clip_of(fake), clip_of(control), "swap", "test", aligned=aligned, masks=masks)


def every(**sections: dict[str, str]) -> dict[str, Evaluator]:
    return {name: kind.model_validate(sections.get(name, {})) for name, kind in EVALUATORS.items()}


def moments(rows: NDArray[np.float64], portion: int = 7) -> Moments:
    found = Moments(rows.shape[1])
    for start in range(0, len(rows), portion):
        found.add(rows[start : start + portion])
    return found


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return frechet_distance(moments(one).gaussian(), moments(other).gaussian())


def reference_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # sqrtm(disp=…)
        return float(
            calculate_frechet_distance(one.mean(0), np.cov(one, rowvar=False), other.mean(0), np.cov(other, rowvar=False))
        )


def features(rng: np.random.Generator, n: int, dims: int) -> NDArray[np.float64]:
    return rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + 3 * rng.random(dims)


# --- Fréchet distance


@pytest.mark.parametrize(("n", "m"), [(200, 200), (200, 333), (31, 200), (20, 20)])
def test_frechet_distance_is_pytorch_fids(n: int, m: int) -> None:
    dims = 30 if n > 25 else 19  # as many rows as leave the covariance regular
    one, other = features(RNG(n), n, dims), features(RNG(m + 1), m, dims)
    assert distance(one, other) == pytest.approx(reference_distance(one, other), rel=1e-6)


def test_fewer_rows_than_dims_is_the_same_distance() -> None:
    one, other = features(RNG(1), 12, 40), features(RNG(2), 9, 40)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    half = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(half @ second @ half).clip(0)).sum()
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * cross
    assert distance(one, other) == pytest.approx(expected, rel=1e-6)


def test_features_that_never_change_are_no_obstacle() -> None:
    one, other = features(RNG(1), 90, 20), features(RNG(2), 90, 20)
    dead_one, dead_other = np.pad(one, ((0, 0), (0, 3))), np.pad(other, ((0, 0), (0, 3)))
    assert distance(dead_one, dead_other) == pytest.approx(distance(one, other), rel=1e-9)


@pytest.mark.parametrize("n", [10, 100])
def test_equal_sets_have_no_distance(n: int) -> None:
    rows = features(RNG(3), n, 24)
    assert distance(rows, rows) == pytest.approx(0, abs=1e-9 * np.square(rows).mean())


@pytest.mark.parametrize(("n", "decay", "moved"), [(300, 1e-2, 1e-3), (300, 1e-6, 1e-7), (90, 1e-4, 1e-6), (65, 1.0, 1e-5)])
def test_sets_that_are_hardly_apart_are_not_lost_in_rounding(n: int, decay: float, moved: float) -> None:
    """Features that hardly change, and a distance that is a millionth of what it is the difference of."""
    scale = np.geomspace(1, decay, 64)
    one, noise = RNG(n).normal(size=(2, n, 64)) * scale
    other = one + np.sqrt(moved) * noise
    first, second = moments(one).gaussian(), moments(other).gaussian()
    singular = np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum()
    shift = first.mean - second.mean
    expected = shift @ shift + np.square(first.root).sum() + np.square(second.root).sum() - 2 * singular
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_sets_that_are_apart_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = features(RNG(5), 200, 30), features(RNG(6), 200, 30)
    expected = reference_distance(one, other)
    monkeypatch.delattr("numpy.linalg.svd")
    assert distance(one, other) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(portions=st.lists(st.integers(1, 60), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_portions_leave_no_trace(portions: list[int], seed: int) -> None:
    rows = features(RNG(seed), 60, 16)
    cuts = sorted({min(cut, 59) for cut in np.cumsum(portions).tolist()})
    found = Moments(16)
    for part in np.split(rows, cuts):
        found.add(part)
    whole, parts = moments(rows, 60).gaussian(), found.gaussian()
    assert np.array_equal(whole.mean, parts.mean)
    assert np.array_equal(whole.root, parts.root)


def test_one_frame_has_no_distance() -> None:
    figure = score([pair(1, n=1)], {"fid": FID()}, frames=8).sets["swap", "master", "test"]["frechet_random"]
    assert figure.value is None
    assert figure.reason == "needs at least 2 frames, there are 1"


# --- SSIM


def reference_map(control: NDArray[np.uint8], fake: NDArray[np.uint8]) -> NDArray[np.float64]:
    found = structural_similarity(  # type: ignore[no-untyped-call]
        control @ np.array([0.299, 0.587, 0.114]),
        fake @ np.array([0.299, 0.587, 0.114]),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    return np.asarray(found[1])[5:-5, 5:-5]


def test_ssim_is_scikit_images() -> None:
    one, other = pictures(RNG(1), 2)
    found, expected = ssim_map(luma(one), luma(other)), reference_map(one, other)
    assert found.mean(dtype=float) == pytest.approx(expected.mean(), abs=1e-7)
    assert np.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(11, 30), (138, 20), (139, 20), (300, 24)])
def test_ssim_in_strips_is_that_of_the_whole(shape: tuple[int, int]) -> None:
    one, other = (cv2.resize(picture, shape[::-1]) for picture in pictures(RNG(2), 2, 160, 80))
    found = ssim_map(luma(one), luma(other))
    assert found.shape == (shape[0] - 10, shape[1] - 10)
    assert np.allclose(found, reference_map(one, other), rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [2, 128, 252])
def test_ssim_of_what_rounds_worst_is_within_a_millionth(level: int) -> None:
    """Hardly any contrast, at both ends of the range, and beside an edge from black to white."""
    one, other = (RNG(seed).integers(level - 2, level + 3, (80, 80, 3)) for seed in (1, 2))
    edge = np.where(np.arange(80)[:, None] < 40, 0, 230)
    for shown in ((one, other), ((one + edge) % 256, (other + edge) % 256)):
        control, fake = (picture.astype(np.uint8) for picture in shown)
        assert ssim_map(luma(control), luma(fake)).mean(dtype=float) == pytest.approx(
            reference_map(control, fake).mean(), abs=1e-6
        )


def test_ssim_of_the_mask_counts_the_mask_alone() -> None:
    sample = pair(4, n=3)
    figures = score([sample], {"ssim": SSIM()}, frames=3).samples["sample4"]
    maps = [reference_map(a, b) for a, b in zip(sample.control.pictures(), sample.fake.pictures(), strict=True)]
    assert figures["ssim"].value == pytest.approx(np.mean(maps), abs=1e-7)
    inside = np.zeros((40, 48), bool)
    inside[12:28, 12:30] = True
    assert figures["ssim_masked"].value == pytest.approx(np.mean([one[inside[5:-5, 5:-5]] for one in maps]), abs=1e-7)
    assert figures["ssim_masked"].n == 3
    assert figures["ssim_spread"].value == pytest.approx(np.std([one.mean() for one in maps]), abs=1e-7)
    assert score([sample], {"ssim": SSIM()}, frames=1).samples["sample4"]["ssim_spread"].reason == "needs two frames"


def test_equal_clips_have_ssim_1() -> None:
    assert score([pair(5, noise=0)], {"ssim": SSIM()}, frames=4).samples["sample5"]["ssim"].value == 1.0


def test_ssim_is_refused_where_nothing_matches() -> None:
    assert score([pair(6, aligned=False)], every(), frames=4).samples["sample6"]["ssim"].value is None
    figures = score([pair(7, masked=False)], every(), frames=4).samples["sample7"]
    assert figures["ssim"].value is not None
    assert figures["ssim_masked"].value is None


def test_ssim_of_tiny_pictures_is_refused() -> None:
    with pytest.raises(MediaError, match="11 pixels"):
        ssim_map(np.zeros((10, 40), np.float32), np.zeros((10, 40), np.float32))


# --- Inception


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file as pytorch-fid publishes it, with random weights, in the place of its own."""
    import hashlib

    import torch
    from pytorch_fid import inception as theirs

    folder = tmp_path_factory.mktemp("weights")
    path = folder / weights_module.WEIGHTS["inception"].file
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", _random_state)
        state = theirs.fid_inception_v3().state_dict()
    torch.save(state, path)
    row = replace(weights_module.WEIGHTS["inception"], sha256_prefix=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(weights_module.WEIGHTS, "inception", row)
        patch.setenv("FORGELINE_WEIGHTS", str(folder))
        open_network.cache_clear()
        yield path
    open_network.cache_clear()


def _random_state(*_: object, **__: object) -> dict[str, object]:
    """Weights that keep the features alive through 48 layers: He's spread, and a bias of each channel's own."""
    import torch
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
    from torchvision.models import inception_v3

    net = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    net.Mixed_5b, net.Mixed_5c, net.Mixed_5d = FIDInceptionA(192, 32), FIDInceptionA(256, 64), FIDInceptionA(288, 64)
    net.Mixed_6b, net.Mixed_6c = FIDInceptionC(768, 128), FIDInceptionC(768, 160)
    net.Mixed_6d, net.Mixed_6e = FIDInceptionC(768, 160), FIDInceptionC(768, 192)
    net.Mixed_7b, net.Mixed_7c = FIDInceptionE_1(1280), FIDInceptionE_2(2048)
    chance = torch.Generator().manual_seed(0)
    state = net.state_dict()
    for name, value in state.items():
        if value.ndim >= 2:
            state[name] = torch.randn(value.shape, generator=chance) * (2 / value[0].numel()) ** 0.5
        elif name.endswith("bn.bias"):
            state[name] = torch.randn(value.shape, generator=chance) * 0.1
    return dict(state)


def test_inception_is_pytorch_fids(inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same file, same PNG files: the activations of pytorch-fid's own reader and network, and its distance on them."""
    import cv2
    import torch
    from pytorch_fid import inception as theirs
    from pytorch_fid.fid_score import get_activations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: torch.load(inception, weights_only=True))
        net = theirs.InceptionV3([3])
    shown = [pictures(RNG(1), 7, 60, 80), pictures(RNG(2), 7, 60, 80) // 4]
    activations = []
    for name, frames in zip("ab", shown, strict=True):
        files = [tmp_path / f"{name}{at}.png" for at in range(len(frames))]
        for file, frame in zip(files, frames, strict=True):
            cv2.imwrite(str(file), frame[..., ::-1])
        activations.append(get_activations(files, net, batch_size=7, num_workers=0))
    rows = FID(network="inception").rows(Frames(shown[0], shown[1], None, aligned=False))
    for found, expected in zip((rows["control"], rows["fake"]), activations, strict=True):
        assert np.ptp(expected, axis=0).max() > 0.01  # the random network does tell pictures apart
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).mean())
    assert distance(rows["control"][:, :5], rows["fake"][:, :5]) == pytest.approx(
        reference_distance(activations[0][:, :5], activations[1][:, :5]), rel=1e-5
    )  # of so few features alone the rounding of single ones is seen
    assert "too few" in str(FID(network="inception").of_set([rows])["fid"].reason)
    monkeypatch.setattr(evaluators.fid, "ENOUGH", 7)
    figures = FID(network="inception").of_set([rows])
    assert set(figures) == {"fid", "fid_infinity"}
    assert figures["fid_infinity"].value is None
    assert figures["fid"].value == pytest.approx(distance(activations[0], activations[1]), rel=1e-6)
    assert figures["fid"].fingerprint["weights"] == weights_module.weights_sha256("inception")


def test_bf16_is_nearly_the_same_and_another_figure(inception: Path) -> None:
    shown = pictures(RNG(4), 1, 60, 80)
    plain, fast = open_network("inception"), open_network("inception", "bf16")
    expected, found = plain(shown), fast(shown)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).mean() < 0.02 * np.abs(expected).mean()
    assert {key for key in plain.fingerprint if plain.fingerprint[key] != fast.fingerprint[key]} == {"precision"}


def test_clean_fids_resizing_is_part_of_the_name(inception: Path) -> None:
    shown = pictures(RNG(5), 1, 60, 80)
    plain, other = open_network("inception"), open_network("inception", resize="clean")
    assert not np.allclose(other(shown), plain(shown), rtol=1e-3)
    assert {key for key in plain.fingerprint if plain.fingerprint[key] != other.fingerprint[key]} == {"resize"}
    chosen = {"kid": KID(network="inception"), "kid_clean": KID(network="inception", resize="clean")}
    figures = score([pair(7, aligned=False, masked=False)], chosen, frames=4).sets["swap", "master", "test"]
    assert set(figures) == {"kid", "kid_spread", "kid_clean", "kid_spread_clean"}
    assert figures["kid"].value != figures["kid_clean"].value
    with pytest.raises(ValidationError, match="resizing of its own"):
        KID(resize="clean")


@pytest.mark.parametrize(("height", "width"), [(720, 410), (350, 600), (100, 64)])
def test_clean_resizing_is_an_antialiased_cubic_in_floats(height: int, width: int) -> None:
    """Keys' cubic (a = -1/2), as wide as the picture is made smaller, its weights' sum 1, its ends cut: in plain matrices."""
    shown = pictures(RNG(8), 1, height, width)[0]

    def weights(size: int) -> NDArray[np.float64]:
        scale = size / 299
        wide = max(scale, 1.0)
        at = np.abs((np.arange(size) + 0.5)[None] - (np.arange(299) + 0.5)[:, None] * scale) / wide
        near, far = 1.5 * at**3 - 2.5 * at**2 + 1, -0.5 * at**3 + 2.5 * at**2 - 4 * at + 2
        found = np.where(at < 1, near, np.where(at < 2, far, 0.0))
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    down, across = (weights(size) for size in shown.shape[:2])
    expected = np.stack([down @ shown[..., at].astype(float) @ across.T for at in range(3)], axis=-1).clip(0, 255)
    found = clean(shown)
    assert found.dtype == np.float32
    assert not np.array_equal(found, found.round())
    assert np.allclose(found, expected, atol=1e-3)


def test_inception_score_is_its_formula(inception: Path) -> None:
    """The formula in its plain form, on the logits of the whole network without the bias."""
    shown = pictures(RNG(3), 4, 60, 80)
    evaluator = InceptionScore(network="inception")
    rows = evaluator.rows(Frames(shown[::-1], shown, None, aligned=False))
    figures = evaluator.of_set([{key: value[:1] for key, value in rows.items()}, {k: v[1:] for k, v in rows.items()}])
    import torch

    network = open_network("inception")
    head = torch.load(inception, weights_only=True)["fc.weight"].numpy().astype(float)
    logits = network(shown) @ head.T
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    divergences = [sum(p * math.log(p / q) for p, q in zip(c, chances.mean(0), strict=True)) for c in chances]
    assert figures["inception_score"].value == pytest.approx(math.exp(np.mean(divergences)), rel=1e-6)
    assert figures["inception_score_control"].value == pytest.approx(figures["inception_score"].value, rel=1e-12)


def test_inception_refuses_another_networks_file(inception: Path) -> None:
    import torch

    whole = inception.read_bytes()
    torch.save({"a": torch.zeros(1)}, inception)
    row = replace(weights_module.WEIGHTS["inception"], sha256_prefix="")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(weights_module.WEIGHTS, "inception", row)
            open_network.cache_clear()
            with pytest.raises(WeightsError, match="is not pytorch-fid's Inception"):
                open_network("inception")
    finally:
        inception.write_bytes(whole)
        open_network.cache_clear()


# --- All of them together


def test_without_weights_nothing_is_called_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluators.inception.weights", lambda _: pytest.fail("looked for weights"))
    figures = score([pair(1), pair(2)], every(), frames=8).sets["swap", "master", "test"]
    assert {name for name, figure in figures.items() if figure.value is not None} == {
        "frechet_random",
        "psnr",
        "psnr_masked",
        *("face_found", "face_found_control", "landmarks_inside", "landmarks_inside_control"),  # 0: there is none
        "flicker",
        "motion",
        *("ssim", "ssim_spread", "ssim_masked", "ssim_masked_spread"),
        "kid_random",
        "kid_spread_random",
        "precision_random",
        "recall_random",
        "density_random",
        "coverage_random",
    }
    for name in ("fid", "kid", "precision", "inception_score", "inception_score_control"):
        assert "set network to inception" in str(figures[name].reason)


def test_equal_fakes_and_controls_score_best() -> None:
    figures = score([pair(1, noise=0), pair(2, noise=0)], every(), frames=8).sets["swap", "master", "test"]
    assert figures["frechet_random"].value == pytest.approx(0, abs=1e-9)
    assert figures["ssim"].value == 1.0


def test_the_random_network_notices_a_change() -> None:
    def found(noise: int) -> float:
        figures = score([pair(seed, noise=noise) for seed in range(4)], {"fid": FID()}, frames=8).sets
        return figures["swap", "master", "test"]["frechet_random"].value or 0.0

    assert 0 < found(20) < found(80)


def test_figures_do_not_move_unnoticed() -> None:
    """If this fails on purpose, the fingerprint must change too: figures of old and new code can't be compared."""
    network = open_network("random")
    assert network.fingerprint["weights"].startswith("b3313ef2")
    figures = score([pair(seed) for seed in range(3)], every(), frames=8).sets["swap", "master", "test"]
    assert figures["frechet_random"].value == pytest.approx(0.00352034008, rel=1e-4)
    assert figures["ssim"].value == pytest.approx(0.990652110898, rel=1e-7)
    assert figures["ssim_masked"].value == pytest.approx(0.968042523908, rel=1e-9)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_leave_no_trace(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = measure(pair(1), every(), frames=9)
    monkeypatch.setattr(evaluators.figure, "BATCH", batch)
    found = measure(pair(1), every(), frames=9)
    for name, rows in expected.items():
        assert list(rows) == list(found[name])
        for key, values in rows.items():
            assert np.array_equal(values, found[name][key], equal_nan=values.dtype.kind == "f")


def test_order_leaves_no_trace() -> None:
    pairs = [pair(seed) for seed in range(5)]
    assert score(pairs, every(), frames=4) == score(pairs[::-1], every(), frames=4)


def test_sets_are_kept_apart() -> None:
    pairs = [pair(1), pair(2), replace(pair(3), split="val"), replace(pair(4), variant="c40")]
    sets = score(pairs, every(), frames=4).sets
    assert list(sets) == [("swap", "c40", "test"), ("swap", "master", "test"), ("swap", "master", "val")]
    assert sets["swap", "master", "test"]["ssim"].n == 2
    alone = score(pairs[:2], every(), frames=4).sets
    assert sets["swap", "master", "test"] == alone["swap", "master", "test"]


def test_rows_that_were_kept_give_the_same_figures(tmp_path: Path) -> None:
    pairs, evaluators_ = [pair(1), pair(2)], every()
    kept = []
    for one in pairs:
        rows = measure(one, evaluators_, frames=4)
        for name, arrays in rows.items():
            with (tmp_path / f"{one.sample_id}.{name}").open("wb") as file:
                np.savez(file, allow_pickle=False, **dict(arrays))

        def load(sample_id: str = one.sample_id) -> dict[str, Rows]:
            return {name: np.load(tmp_path / f"{sample_id}.{name}", allow_pickle=False) for name in evaluators_}

        kept.append(Measured(one.sample_id, one.group, load))
    assert summarise(kept, evaluators_, frames=4) == score(pairs, evaluators_, frames=4)


def test_frames_are_spread_evenly_and_decoded_once() -> None:
    decoded: list[int] = []

    def counted() -> Iterator[NDArray[np.uint8]]:
        for at in range(100):
            decoded.append(at)
            yield np.full((16, 16, 3), at, np.uint8)

    class Seen(SSIM):
        def rows(self, frames: Frames) -> dict[str, NDArray[np.uint8]]:
            return {"at": frames.fake[:, 0, 0, 0]}

    clip = replace(clip_of(np.zeros((1, 16, 16, 3), np.uint8), promised=100), pictures=counted)
    plain = clip_of(np.zeros((100, 16, 16, 3), np.uint8))
    rows = measure(Pair("a", clip, plain, "swap", "test"), {"one": Seen(), "two": Seen()}, frames=4)
    assert rows["one"]["at"].tolist() == rows["two"]["at"].tolist() == [12, 37, 62, 87]
    assert decoded == list(range(88))


def test_a_pair_that_does_not_match_is_refused() -> None:
    sample = pair(1)
    with pytest.raises(MediaError, match="and its control"):
        measure(replace(sample, control=clip_of(pictures(RNG(1), 10))), every(), frames=4)
    with pytest.raises(MediaError, match="ends before its frame"):
        measure(replace(sample, fake=replace(sample.fake, pictures=lambda: iter(()))), every(), frames=4)


def cropped(one: Pair, n: int, height: int, width: int) -> Pair:
    """The first frames of a pair, cut to a size."""

    def cut(frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack([frame[:height, :width] for frame in frames][:n])

    masks = cut(one.masks()) if one.masks else None
    return replace(
        one,
        fake=clip_of(cut(one.fake.pictures())),
        control=clip_of(cut(one.control.pictures())),
        source=clip_of(cut(one.control.pictures())),
        masks=None if masks is None else (lambda: iter(masks)),
    )


@pytest.mark.parametrize("name", EVALUATORS)
@pytest.mark.parametrize(("n", "height", "width"), [(1, 40, 48), (3, 8, 8), (2, 1, 1), (2, 40, 9)])
@pytest.mark.parametrize("aligned", [True, False])
def test_every_evaluator_takes_what_is_small_or_short(
    name: str, n: int, height: int, width: int, aligned: bool, tmp_path: Path
) -> None:
    """No crash and no number that isn't one: each figure has a value and a fingerprint, or a reason."""
    evaluator = every()[name]
    one = cropped(pair(3, n, aligned=aligned), n, height, width)
    rows = measure(one, {name: evaluator}, frames=8)[name]
    with (tmp_path / "rows.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(rows))  # as they are kept
    whole = score([pair(3)], {name: evaluator}, frames=8)
    for scores in (score([one], {name: evaluator}, frames=8), score([one, replace(one, sample_id="b")], {name: evaluator}, 8)):
        assert list(scores.samples[one.sample_id]) == list(whole.samples["sample3"])
        assert set(scores.sets[one.group]) == set(whole.sets[one.group])
        for figure in (*scores.samples[one.sample_id].values(), *scores.sets[one.group].values()):
            assert figure.value is None or figure.fingerprint
            assert figure.value is not None or len(str(figure.reason)) > 5


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_evaluator_takes_pairs_of_mixed_sizes(name: str) -> None:
    """In one set; and a fake of another size than its control, where the two aren't aligned."""
    evaluator = {name: every()[name]}
    sizes = [(4, 40, 48), (2, 16, 20), (1, 8, 8)]
    pairs = [replace(cropped(pair(at, 4), *size), sample_id=f"{at}") for at, size in enumerate(sizes)]
    unlike = replace(pairs[0], fake=pairs[1].fake, sample_id="3")
    found = score([*pairs, replace(unlike, aligned=False, masks=pairs[1].masks)], evaluator, frames=4)
    alone = score(pairs[:1], evaluator, frames=4)
    assert set(found.sets[unlike.group]) == set(alone.sets[unlike.group])
    with pytest.raises(MediaError, match="and its control"):
        score([unlike], evaluator, frames=4)


@pytest.mark.parametrize("name", [name for name, kind in EVALUATORS.items() if issubclass(kind, OfFrames)] + ["temporal"])
@pytest.mark.parametrize("cut_short", ["fake", "control", "source", "masks"])
def test_every_evaluator_of_pictures_names_media_that_end_early(name: str, cut_short: str) -> None:
    one = cropped(pair(3), 11, 40, 48)
    if cut_short == "masks":
        broken = replace(one, masks=lambda: iter(np.full((2, 40, 48), 255, np.uint8)))
    else:
        clip = getattr(one, cut_short)
        broken = replace(one, **{cut_short: replace(clip, pictures=lambda: iter(list(clip.pictures())[:2]), name=cut_short)})
    with pytest.raises(MediaError, match=f"{'mask of sample3' if cut_short == 'masks' else cut_short}: ends before its frame"):
        measure(broken, {name: every()[name]}, frames=8)


@pytest.mark.parametrize("name", [name for name, kind in EVALUATORS.items() if issubclass(kind, FrameMeans)])
def test_frames_without_a_number_leave_no_trace(name: str) -> None:
    evaluator = every()[name]
    assert isinstance(evaluator, FrameMeans)
    some = {key: np.array([np.nan, 0.25, np.nan, 0.5]) for key in evaluator.about}
    fewer = {key: values[[1, 3]] for key, values in some.items()}
    assert evaluator.of_sample(some) == evaluator.of_sample(fewer)
    nothing = {key: values[[0, 2]] for key, values in some.items()}
    assert {figure.value for figure in evaluator.of_sample(nothing).values()} == {None}
    assert evaluator.of_set([some, nothing]) == evaluator.of_set([fewer])


def test_sound_alone_has_no_visual_figures() -> None:
    mute = Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: None)
    scores = score([Pair("a", mute, mute, "voice", "test")], every(), frames=8)
    figures = [*scores.samples["a"].values(), *scores.sets["voice", "master", "test"].values()]
    assert {figure.value for figure in figures} == {None}
    assert all(figure.reason for figure in figures)


def test_a_person_who_does_not_exist_is_scored_by_sets() -> None:
    shown = pictures(RNG(1), 6, 64, 64)
    pairs = [
        Pair(f"face{at}", clip_of(shown[at : at + 1]), clip_of(shown[at + 3 : at + 4]), "dcgan", "test", aligned=False)
        for at in range(3)
    ]
    figures = score(pairs, every(), frames=8).sets["dcgan", "master", "test"]
    assert (figures["frechet_random"].value or 0) > 0
    assert figures["frechet_random"].n == 3


def test_only_like_figures_are_compared() -> None:
    before, after = Figure(1.0, 2, {"resize": "area"}), Figure(3.5, 2, {"resize": "area"})
    assert change(before, after) == 2.5
    with pytest.raises(FigureError, match=r"not made alike \(resize\)"):
        change(before, replace(after, fingerprint={"resize": "bilinear"}))
    with pytest.raises(FigureError, match="no weights"):
        change(Figure(None, 0, {}, "no weights"), after)


def test_frames_and_number_are_in_the_fingerprint() -> None:
    few, many = (score([pair(1)], {"fid": FID()}, k).sets["swap", "master", "test"]["frechet_random"] for k in (3, 6))
    with pytest.raises(FigureError, match=r"\(frames, n\)"):
        change(few, many)


@pytest.mark.parametrize(("value", "reason"), [(None, None), (1.0, "why"), (math.nan, None), (math.inf, None)])
def test_a_figure_has_a_finite_value_or_a_reason(value: float | None, reason: str | None) -> None:
    with pytest.raises(ValueError, match="a figure"):
        Figure(value, 1, {}, reason)


# --- Whole clips


class Lengths(OfClips):
    """Seconds of the fake's sound, as an evaluator of clips would have them."""

    def rows(self, pair: Pair) -> Rows:
        sound = pair.sounds[1]
        return unmeasured("is silent") if sound is None else {"seconds": np.array([len(sound.samples) / sound.rate])}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return self.of_set([rows])

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        found = [float(one["seconds"][0]) for one in rows if one]
        return {"seconds": Figure(sum(found), len(found), {}) if found else Figure(None, 0, {}, "there are no clips")}


def heard(one: Pair, seconds: float | None, decoded: list[str] | None = None) -> Pair:
    """The pair with a sound in the fake, or none in it."""

    def sound() -> Sound | None:
        if decoded is not None:
            decoded.append(one.sample_id)
        return None if seconds is None else Sound(np.zeros(round(seconds * 8000), np.float32), 8000)

    return replace(one, fake=replace(one.fake, sound=sound))


def test_clips_are_scored_whole_and_their_sound_decoded_once() -> None:
    decoded: list[str] = []
    rows = measure(heard(pair(1), 2.5, decoded), {"one": Lengths(), "two": Lengths(), "ssim": SSIM()}, frames=4)
    assert rows["one"]["seconds"].tolist() == rows["two"]["seconds"].tolist() == [2.5]
    assert len(rows["ssim"]["ssim"]) == 4
    assert decoded == ["sample1"]


def test_what_could_not_be_measured_says_why() -> None:
    silent = score([heard(pair(1), None), heard(pair(2), None)], {"it": Lengths()}, frames=4)
    assert silent.samples["sample1"]["seconds"].reason == "is silent"
    assert silent.sets["swap", "master", "test"]["seconds"].reason == "is silent"
    mixed = score([heard(pair(1), None), heard(pair(2), 2.0)], {"it": Lengths()}, frames=4)
    assert mixed.samples["sample1"]["seconds"].reason == "is silent"
    assert mixed.sets["swap", "master", "test"]["seconds"].value == 2.0


def test_the_choice_of_frames_is_not_in_a_clips_fingerprint() -> None:
    few, many = (
        score([heard(pair(1), 1.0)], {"it": Lengths(), "ssim": SSIM()}, k).sets["swap", "master", "test"] for k in (3, 6)
    )
    assert change(few["seconds"], many["seconds"]) == 0
    with pytest.raises(FigureError, match="frames"):
        change(few["ssim"], many["ssim"])


def test_sound_alone_is_the_reason_for_no_figures_of_frames() -> None:
    sound = Sound(np.ones(8000, np.float32), 8000)
    clip = Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound)
    frames = {name: kind() for name, kind in EVALUATORS.items() if issubclass(kind, OfFrames)}
    scores = score([Pair("a", clip, clip, "voice", "test")], {**frames, "it": Lengths()}, frames=8)
    seen = score([pair(1)], frames, frames=2)
    for figures, own in (
        (scores.samples["a"], seen.samples["sample1"]),
        (scores.sets["voice", "master", "test"], seen.sets["swap", "master", "test"]),
    ):
        assert set(figures) == {*own, "seconds"}
        assert {figures[name].reason for name, figure in own.items() if figure.value is not None} == {"is sound alone"}
        assert all(figures[name].value is None for name in own)
        assert figures["seconds"].value == 1.0


def test_every_evaluator_is_of_frames_or_of_clips() -> None:
    """What is neither would be left out without a word."""
    for kind in EVALUATORS.values():
        assert issubclass(kind, OfFrames) != issubclass(kind, OfClips)


# --- The stage


def row(folder: Path, **more: Any) -> Sample:
    plain = {"sample_id": "a", "media": str(folder / "a.flac"), "media_type": "audio", "label": "fake", "role": "forgery"}
    return Sample(**plain | {"method": "voice", "source": "demo", "recipe": "", "pair_id": "a"} | more)


@pytest.mark.parametrize(
    ("labels", "segments", "changes"),
    [
        (("fake", "real"), ("video",), {"video"}),
        (("real", "fake"), ("audio",), {"audio"}),
        (("fake", "fake"), (), {"video", "audio"}),
        ((None, "real"), ("audio",), {"audio"}),  # a null twin, whose sound was made anew
        (("real", "real"), ("video",), {"video"}),
    ],
)
def test_a_row_tells_what_may_differ(labels: Any, segments: tuple[Any, ...], changes: set[str], tmp_path: Path) -> None:
    write_sound(tmp_path / "a.flac", Sound(np.zeros(800, np.float32), 16000))
    video, audio = labels
    spans = tuple(Segment(0, 1, modality) for modality in segments)
    sample = row(tmp_path, video_label=video, audio_label=audio, segments=spans)
    assert stage._pair(sample, sample).changes == changes


def test_a_swap_is_scored_beside_the_one_it_shows(tmp_path: Path) -> None:
    other = row(tmp_path, sample_id="c", method="control", role="control", media_type="video", parents=("k2",))
    swap = row(tmp_path, media_type="video", parents=("k1", "k2"), target_id="t", source_id="s", apparent_id="s")
    assert stage._source(swap, {"k2": other}) is other
    assert stage._source(swap, {"k1": other}) is None  # its control was dropped
    driven = replace(swap, apparent_id="t")
    nobody = replace(swap, source_id=None, apparent_id=None)
    spoken = replace(swap, media_type="audio")
    assert [stage._source(one, {"k2": other}) for one in (driven, nobody, spoken)] == [None] * 3
    write_sound(tmp_path / "a.flac", Sound(np.zeros(800, np.float32), 16000))
    plain = row(tmp_path)
    assert stage._pair(plain, plain).source is None
    assert stage._pair(plain, plain, plain).source is not None


def test_sound_alone_is_opened_with_its_words(tmp_path: Path) -> None:
    tone = Sound((0.3 * np.sin(np.arange(16000) / 9)).astype(np.float32), 16000)
    write_sound(tmp_path / "a.flac", tone)
    words, phonemes = (Said(0, 1, "hum"),), (Said(0, 1, "m"),)
    one = stage._pair(row(tmp_path, words=words, phonemes=phonemes), row(tmp_path))
    assert (one.fake.words, one.fake.phonemes, one.control.words) == (words, phonemes, ())
    sound = one.sounds[1]
    assert sound is not None
    assert np.allclose(sound.samples, tone.samples, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "rests_on"),
    [
        ("speech_quality", {"evaluators.speech", "evaluators.figure", "forgeline.hearing", "forgeline.audio"}),
        ("speaker_similarity", {"evaluators.speech", "evaluators.net", "forgeline.hearing", "forgeline.weights"}),
        ("prosody", {"evaluators.speech", "forgeline.hearing"}),
        ("character_errors", {"evaluators.speech", "forgeline.model_folder"}),
        ("identity", {"evaluators.faces", "evaluators.net", "forgeline.faces", "forgeline.likeness"}),
    ],
)
def test_the_code_of_an_evaluator_is_all_that_it_rests_on(name: str, rests_on: set[str]) -> None:
    assert rests_on <= closure(EVALUATORS[name].__module__)
