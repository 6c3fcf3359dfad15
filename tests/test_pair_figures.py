"""Figures of a fake against its control, beside independent implementations of them, and where there is none."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from evaluators import temporal
from evaluators.figure import Evaluator, Figure, Pair, score
from evaluators.lpips import LPIPS, open_lpips
from evaluators.ms_ssim import MSSSIM
from evaluators.psnr import PSNR
from evaluators.temporal import Temporal, small
from flows import score as scoring
from flows.params import load_params
from forgeline.clip import Clip, Said
from forgeline.errors import MediaError, WeightsError
from forgeline.sample import Sample
from forgeline.weights import WEIGHTS
from tests.conftest import Checkout

RNG = np.random.default_rng
Pictures = NDArray[np.uint8]


def clip_of(frames: Pictures) -> Clip:
    n, height, width = frames.shape[:3]
    return Clip("video", width, height, Fraction(25), n, lambda: iter(frames), lambda: None, name="a clip")


def shown(seed: int, n: int = 4, height: int = 60, width: int = 72) -> Pictures:
    """Smooth noise that moves to the right by two pixels a frame."""
    coarse = RNG(seed).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3)).astype(np.uint8)
    whole = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([np.roll(whole, 2 * at, axis=1) for at in range(n)])


def noisy(frames: Pictures, by: int, seed: int = 9) -> Pictures:
    return (frames.astype(int) + RNG(seed).integers(-by, by + 1, frames.shape)).clip(0, 255).astype(np.uint8)


def pair_of(control: Pictures, fake: Pictures, mask: Pictures | None = None, **more: Any) -> Pair:
    masks = None if mask is None else (lambda: iter(mask))
    return Pair("a", clip_of(fake), clip_of(control), "swap", "test", **{"masks": masks} | more)


def figures(pair: Pair, evaluator: Evaluator, frames: int = 99) -> Mapping[str, Figure]:
    return score([pair], {"it": evaluator}, frames).samples[pair.sample_id]


def of_set(pairs: list[Pair], evaluator: Evaluator, frames: int = 99) -> Mapping[str, Figure]:
    named = [replace(pair, sample_id=f"{at}") for at, pair in enumerate(pairs)]
    return score(named, {"it": evaluator}, frames).sets["swap", "master", "test"]


def boxes(frames: Pictures) -> Pictures:
    """Masks with a box in each frame, and nothing in the second."""
    mask = np.zeros(frames.shape[:3], np.uint8)
    mask[:, 10:30, 20:50] = 7
    mask[1] = 0
    return mask


# --- PSNR


def test_psnr_is_scikit_images_of_the_mean_error() -> None:
    control = shown(1)
    fake = np.stack([noisy(frame, by) for frame, by in zip(control, (0, 4, 9, 30), strict=True)])
    found = figures(pair_of(control, fake, boxes(control)), PSNR())
    expected = peak_signal_noise_ratio(control, fake, data_range=255)  # type: ignore[no-untyped-call]
    assert found["psnr"].value == pytest.approx(expected, rel=1e-12)
    inside = [mean_squared_error(control[at, 10:30, 20:50], fake[at, 10:30, 20:50]) for at in (0, 2, 3)]
    assert found["psnr_masked"].value == pytest.approx(10 * np.log10(65025 / np.mean(inside)), rel=1e-12)
    assert (found["psnr"].n, found["psnr_masked"].n) == (4, 3)


def test_psnr_of_every_colour_off_by_one_is_48_decibels() -> None:
    control = np.full((2, 16, 16, 3), 100, np.uint8)
    assert figures(pair_of(control, control + np.uint8(1)), PSNR())["psnr"].value == pytest.approx(48.1308, abs=1e-4)
    assert figures(pair_of(control * np.uint8(0), control * np.uint8(0) + np.uint8(255)), PSNR())["psnr"].value == 0.0


def test_equal_clips_have_no_psnr_and_are_left_out_of_a_sets() -> None:
    control = shown(1)
    equal, other = pair_of(control, control, boxes(control)), pair_of(control, noisy(control, 9), boxes(control))
    for name, figure in figures(equal, PSNR()).items():
        assert figure.value is None, name
        assert figure.reason == "no pixel differs: the ratio is infinite"
    worse = pair_of(control, noisy(control, 30))
    values = [figures(pair, PSNR())["psnr"].value or 0 for pair in (other, worse)]
    found = of_set([equal, other, worse], PSNR())["psnr"]
    assert found.n == 2
    assert found.value == pytest.approx(np.mean(values), rel=1e-12)
    unlike = replace(worse, aligned=False)
    assert of_set([unlike, equal], PSNR())["psnr"].reason == "no pixel differs: the ratio is infinite"


# --- MS-SSIM


def reference_ms_ssim(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The paper's formula, step by step, with SciPy's filters in double precision."""

    def blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(plane, 1.5, radius=5)[5:-5, 5:-5])

    found = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333), start=1):
        mean1, mean2 = blur(one), blur(other)
        var1, var2, cov = blur(one**2) - mean1**2, blur(other**2) - mean2**2, blur(one * other) - mean1 * mean2
        part = (2 * cov + (0.03 * 255) ** 2) / (var1 + var2 + (0.03 * 255) ** 2)
        if scale == 5:
            part = part * (2 * mean1 * mean2 + (0.01 * 255) ** 2) / (mean1**2 + mean2**2 + (0.01 * 255) ** 2)
        found *= max(part.mean(), 0) ** weight
        height, width = (side // 2 * 2 for side in one.shape)
        one, other = (p[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for p in (one, other))
    return float(found)


@pytest.mark.parametrize("size", [(176, 176), (183, 222), (256, 200)])
@pytest.mark.parametrize(
    "spoil", [lambda f: noisy(f, 60), lambda f: f // 2, lambda f: np.stack([cv2.blur(p, (9, 9)) for p in f])]
)
def test_ms_ssim_is_its_formula(size: tuple[int, int], spoil: Callable[[Pictures], Pictures]) -> None:
    control = shown(3, 2, *size)
    fake = spoil(control)
    grey = np.array([0.299, 0.587, 0.114])
    expected = [reference_ms_ssim(a @ grey, b @ grey) for a, b in zip(control, fake, strict=True)]
    assert figures(pair_of(control, fake), MSSSIM())["ms_ssim"].value == pytest.approx(np.mean(expected), abs=1e-6)


def test_ms_ssim_of_equal_clips_is_1_and_of_opposites_0() -> None:
    control = shown(3, 2, 176, 180)
    assert figures(pair_of(control, control), MSSSIM())["ms_ssim"].value == 1.0
    assert figures(pair_of(control, 255 - control), MSSSIM())["ms_ssim"].value == 0.0
    fine = np.where(np.indices((176, 180)).sum(0) % 2, 60, -60)[..., None]
    one, other = ((control // 4 + np.int64(90) + sign * fine).astype(np.uint8) for sign in (1, -1))
    assert figures(pair_of(one, other), MSSSIM())["ms_ssim"].value == 0.0  # opposite in the finest scale alone


def test_ms_ssim_needs_176_pixels() -> None:
    small = shown(3, 2, 175, 300)
    figure = figures(pair_of(small, small), MSSSIM())["ms_ssim"]
    assert figure.reason == "needs 176 pixels on each side, and has 300x175"


# --- LPIPS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Both files as they are published, with random weights, in the place of their own."""
    import torch
    from torchvision.models import alexnet

    folder = tmp_path_factory.mktemp("weights")
    paths = folder / WEIGHTS["alexnet"].file, folder / WEIGHTS["lpips_alexnet"].file
    chance = torch.Generator().manual_seed(0)
    state = alexnet(weights=None).state_dict()
    state = {name: value for name, value in state.items() if name.startswith("features.")}
    state = {name: torch.randn(v.shape, generator=chance) * (2 / max(v[0].numel(), 50)) ** 0.5 for name, v in state.items()}
    torch.save(state, paths[0])
    sizes = (64, 192, 384, 256, 256)
    lins = {f"lin{at}.model.1.weight": torch.rand(1, n, 1, 1, generator=chance) for at, n in enumerate(sizes)}
    torch.save(lins, paths[1])
    with pytest.MonkeyPatch.context() as patch:
        for name, path in zip(("alexnet", "lpips_alexnet"), paths, strict=True):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            patch.setitem(WEIGHTS, name, replace(WEIGHTS[name], sha256_prefix=digest, size=None))
        patch.setenv("FORGELINE_WEIGHTS", str(folder))
        open_lpips.cache_clear()
        yield paths
    open_lpips.cache_clear()


def reference_lpips(one: Pictures, other: Pictures, files: tuple[Path, Path]) -> float:
    """By torchvision's own AlexNet, and the rest in NumPy."""
    import torch
    from torchvision.models import alexnet

    net = alexnet(weights=None).features.eval()
    state = torch.load(files[0], weights_only=True)
    net.load_state_dict({name.removeprefix("features."): value for name, value in state.items()})
    lins = torch.load(files[1], weights_only=True)

    def seen(picture: Pictures) -> list[NDArray[np.float64]]:
        values = (picture.astype(np.float64) / 255 * 2 - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        tensor, found = torch.from_numpy(values).float().permute(2, 0, 1)[None], []
        for layer in net:
            tensor = layer(tensor)
            if isinstance(layer, torch.nn.ReLU):
                found.append(tensor[0].detach().numpy().astype(np.float64).copy())
        return found

    total = 0.0
    for at, (a, b) in enumerate(zip(seen(one), seen(other), strict=True)):
        a, b = (x / (np.sqrt((x**2).sum(0)) + 1e-10) for x in (a, b))
        total += np.tensordot(lins[f"lin{at}.model.1.weight"].numpy().ravel(), (a - b) ** 2, 1).mean()
    return float(total)


def test_lpips_is_its_formula_on_torchvisions_network(files: tuple[Path, Path]) -> None:
    control = shown(6, 2, 70, 95)
    fake = noisy(control, 40)
    expected = [reference_lpips(a, b, files) for a, b in zip(control, fake, strict=True)]
    figure = figures(pair_of(control, fake), LPIPS(network="alexnet"))["lpips"]
    assert expected[0] > 0.01
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-4)
    assert figure.fingerprint["weights"].split(", ") == [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert figures(pair_of(control, control), LPIPS(network="alexnet"))["lpips"].value == 0.0
    small = control[:, :30]
    assert "needs 31 pixels" in str(figures(pair_of(small, small), LPIPS(network="alexnet"))["lpips"].reason)
    assert figures(pair_of(control[:, :31, :31], fake[:, :31, :31]), LPIPS(network="alexnet"))["lpips"].value is not None


def test_without_its_weights_nothing_is_called_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluators.lpips.weights", lambda _: pytest.fail("looked for weights"))
    control = shown(6)
    assert figures(pair_of(control, control), LPIPS())["lpips"].reason == "needs LPIPS's weights: set network to alexnet"


@pytest.mark.parametrize("which", [0, 1])
def test_lpips_refuses_another_networks_file(files: tuple[Path, Path], which: int) -> None:
    import torch

    name, path = ("alexnet", "lpips_alexnet")[which], files[which]
    whole = path.read_bytes()
    torch.save({"a": torch.zeros(1)}, path)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(WEIGHTS, name, replace(WEIGHTS[name], sha256_prefix=""))
            open_lpips.cache_clear()
            with pytest.raises(WeightsError, match="is not what LPIPS needs"):
                open_lpips()
    finally:
        path.write_bytes(whole)
        open_lpips.cache_clear()


# --- From frame to frame


def moving(control: Pictures, speed: int) -> Pictures:
    """The first frame, moved by so many pixels a frame."""
    return np.stack([np.roll(control[0], speed * at, axis=1) for at in range(len(control))])


@pytest.fixture(scope="module")
def steady() -> Pictures:
    """Ten frames of 128 pixels that move by two a frame."""
    return shown(5, 10, 128, 128)


def everywhere(frames: Pictures) -> Pictures:
    return np.full(frames.shape[:3], 255, np.uint8)


def test_what_changes_like_its_control_has_ratios_of_1(steady: Pictures) -> None:
    found = figures(pair_of(steady, steady, everywhere(steady)), Temporal())
    assert {name: figure.value for name, figure in found.items()} == {"flicker": 1.0, "motion": 1.0}
    assert found["flicker"].n == 9


def test_flicker_is_its_formula(steady: Pictures) -> None:
    fake = noisy(steady, 20)
    mask = boxes(steady)
    grey = [[cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(int) for frame in clip] for clip in (steady, fake)]
    region = [(mask[at] > 0) | (mask[at + 1] > 0) for at in range(9)]
    sums = [sum(np.abs(clip[at + 1] - clip[at])[region[at]].mean() for at in range(9)) for clip in grey]
    found = figures(pair_of(steady, fake, mask), Temporal())["flicker"]
    assert found.value == pytest.approx(sums[1] / sums[0], rel=1e-9)
    assert (found.value or 0) > 1.05


def test_light_that_flickers_moves_nothing(steady: Pictures) -> None:
    fake = np.clip(steady.astype(int) // 2 + 60 + np.where(np.arange(10) % 2, 12, -12)[:, None, None, None], 0, 255)
    plain = (steady // 2 + 60).astype(np.uint8)
    found = figures(pair_of(plain, fake.astype(np.uint8), everywhere(steady)), Temporal())
    assert (found["flicker"].value or 0) > 1.5
    assert found["motion"].value == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("speed", "low", "high"), [(0, 0, 0.05), (1, 0.4, 0.6), (4, 1.5, 2.5)])
def test_motion_is_the_speeds_ratio(steady: Pictures, speed: int, low: float, high: float) -> None:
    found = figures(pair_of(steady, moving(steady, speed), everywhere(steady)), Temporal())["motion"]
    assert low <= (found.value if found.value is not None else -1) <= high


def test_what_lies_outside_the_mask_does_not_count(steady: Pictures) -> None:
    mask, fake = boxes(steady), steady.copy()
    fake[:, 60:] = noisy(steady[:, 60:], 80)
    assert figures(pair_of(steady, fake, mask), Temporal())["flicker"].value == 1.0


def test_larger_pictures_are_reduced(steady: Pictures) -> None:
    large, fake = (np.stack([cv2.resize(f, (384, 256)) for f in clip]) for clip in (steady, moving(steady, 1)))
    found = figures(pair_of(large, fake, everywhere(large)), Temporal())
    assert found["motion"].value == pytest.approx(0.5, abs=0.1)
    assert small(large[0]).shape == (128, 192)


def test_no_more_is_decoded_than_the_first_seconds(steady: Pictures) -> None:
    frames = np.concatenate([steady] * 6)
    decoded: list[int] = []

    def counted() -> Iterator[Pictures]:
        for at, frame in enumerate(frames):
            decoded.append(at)
            yield frame

    pair = pair_of(frames, frames, everywhere(frames))
    pair = replace(pair, fake=replace(pair.fake, pictures=counted))
    assert len(Temporal(seconds=1).rows(pair)["flicker"]) == 24
    assert decoded == list(range(25))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"changes": frozenset({"audio"})}, "the picture was left as it is"),
        ({"masks": None}, "it is not known where it was changed"),
        ({"aligned": False}, "the fake was not made from its control frame by frame"),
        ({"masks": lambda: iter(np.zeros((10, 128, 128), np.uint8))}, "nothing is masked in the first 6 s"),
    ],
)
def test_why_nothing_is_said_of_time(steady: Pictures, change: dict[str, Any], reason: str) -> None:
    pair = replace(pair_of(steady, steady, everywhere(steady)), **change)
    assert {figure.reason for figure in figures(pair, Temporal()).values()} == {reason}
    assert {figure.reason for figure in of_set([pair, pair], Temporal()).values()} == {reason}


def test_too_small_or_too_short_has_no_ratio(steady: Pictures) -> None:
    tiny, one = steady[:, :31], steady[:1]
    said = {figure.reason for figure in figures(pair_of(tiny, tiny, everywhere(tiny)), Temporal()).values()}
    assert said == {"needs 32 pixels on each side, and has 128x31"}
    assert {figure.reason for figure in figures(pair_of(one, one, everywhere(one)), Temporal()).values()} == {
        "needs two frames"
    }


def test_a_control_that_stands_still_has_no_ratio(steady: Pictures) -> None:
    still = moving(steady, 0)
    found = figures(pair_of(still, steady, everywhere(steady)), Temporal())
    assert {figure.reason for figure in found.values()} == {"the control hardly changes there"}


@pytest.mark.parametrize("short", ["control", "fake", "masks"])
def test_a_stream_that_ends_early_is_named(steady: Pictures, short: str) -> None:
    pair = pair_of(steady, steady, everywhere(steady))
    if short == "masks":
        pair = replace(pair, masks=lambda: iter(everywhere(steady)[:7]))
    else:
        clip = replace(getattr(pair, short), pictures=lambda: iter(steady[:7]), name=f"the {short}")
        pair = replace(pair, **{short: clip})
    with pytest.raises(MediaError, match="mask of a" if short == "masks" else f"the {short}") as raised:
        Temporal().rows(pair)
    assert raised.value.what == "ends before its frame 7 of 10"


def test_a_controls_frames_are_kept_as_long_as_its_file_stays(
    steady: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal, "_KEPT", OrderedDict())
    monkeypatch.setattr(temporal, "REMEMBERED", 1)
    passes: list[str] = []

    def found(name: str, frames: Pictures) -> list[list[float]]:
        def pictures() -> Iterator[Pictures]:
            passes.append(name)
            return iter(frames)

        pair = pair_of(steady, noisy(steady, 20), everywhere(steady))
        pair = replace(pair, control=replace(pair.control, pictures=pictures, name=str(tmp_path / name)))
        return [values.tolist() for values in Temporal().rows(pair).values()]

    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"1")
    first = found("one.mp4", steady)
    assert found("one.mp4", steady) == first
    assert passes == ["one.mp4"]
    (tmp_path / "one.mp4").write_bytes(b"12")  # made again
    assert found("one.mp4", moving(steady, 1)) != first
    found("two.mp4", steady)
    for _ in range(2):
        found("one.mp4", steady)  # which had to make room, and is kept again
    assert passes == ["one.mp4", "one.mp4", "two.mp4", "one.mp4"]
    assert len(temporal._KEPT) == 1


# Kept ----------------------------------------------------------------------------------------------------------------


def test_what_a_figure_is_measured_with_is_in_its_key(tiny: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake's mask, what is said in its control, the code that pairs them; each fake's own key, for those that have it."""
    monkeypatch.chdir(tiny.path)
    params, usual_made = load_params(), scoring.made

    def keys() -> dict[str, str]:
        return {job.name: job.key for job in scoring._jobs(params)}

    def said(names: Any) -> list[Sample]:
        return [replace(s, words=(Said(0, 1, "other"),)) if s.role == "control" else s for s in usual_made(names)]

    before = keys()
    assert before == keys()
    for name, other in {
        "sha256_of": lambda path: "0" * 64,
        "made": said,
        "code_digest": lambda *names: "x" if "flows.score" in names else "y",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(scoring, name, other)
            now = keys()
        assert now.keys() == before.keys()
        assert any(now[fake] != before[fake] for fake in before), name
        assert name == "sha256_of" or all(now[fake] != before[fake] for fake in before), name
