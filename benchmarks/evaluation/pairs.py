"""What the figures of a pair cost, beside the usual implementations of the same numbers, and how far the two are apart.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation.pairs [FOLDER]

CPU milliseconds of one thread, the least of eight; ours and theirs in turn, in one run. Frames are smooth noise and noise on
top, or the first ones of the films in a folder with themselves, coded as JPEG.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from evaluators.figure import Pair
from evaluators.ms_ssim import WEIGHTS, ms_ssim
from evaluators.psnr import PSNR
from evaluators.ssim import SSIM, luma, ssim_map
from evaluators.temporal import Temporal
from forgeline.clip import Clip
from forgeline.video import open_video

Pictures = NDArray[np.uint8]
Plane = NDArray[np.floating]
SIZES = ((256, 256), (512, 512), (720, 1280), (1080, 1920))
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}


def in_turn(*works: Callable[[], object], rounds: int = 8) -> list[float]:
    """CPU milliseconds of each, the second of two runs in a row: what ran between them has taken the cache."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, spent, strict=True):
            work()
            start = time.process_time()
            work()
            times.append(1000 * (time.process_time() - start))
    return [min(times) for times in spent]


def usual_ssim(one: Plane, other: Plane) -> float:
    return float(structural_similarity(one, other, **WANG))  # type: ignore[no-untyped-call]


def usual_ms_ssim(one: Plane, other: Plane) -> float:
    """The formula of Wang 2003 step by step, in double precision."""

    def blur(plane: Plane) -> Plane:
        return np.asarray(gaussian_filter(plane, 1.5, radius=5)[5:-5, 5:-5])

    found = 1.0
    for scale, weight in enumerate(WEIGHTS, start=1):
        mean1, mean2 = blur(one), blur(other)
        var1, var2, cov = blur(one**2) - mean1**2, blur(other**2) - mean2**2, blur(one * other) - mean1 * mean2
        part = (2 * cov + (0.03 * 255) ** 2) / (var1 + var2 + (0.03 * 255) ** 2)
        if scale == len(WEIGHTS):
            part = part * (2 * mean1 * mean2 + (0.01 * 255) ** 2) / (mean1**2 + mean2**2 + (0.01 * 255) ** 2)
        found *= max(float(part.mean()), 0.0) ** weight
        height, width = (side // 2 * 2 for side in one.shape)
        one, other = (p[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for p in (one, other))
    return found


def compare(name: str, control: Pictures, fake: Pictures) -> None:
    """A line a figure, of one frame (height, width, 3)."""
    one, other = luma(control), luma(fake)
    double = one.astype(np.float64), other.astype(np.float64)
    ours, theirs, single = in_turn(
        lambda: ssim_map(one, other).mean(dtype=float), lambda: usual_ssim(*double), lambda: usual_ssim(one, other)
    )
    apart = abs(float(ssim_map(one, other).mean(dtype=float)) - usual_ssim(*double))
    print(
        f"{name:<12} SSIM     {ours:7.2f} ms   scikit-image {theirs:7.1f} ms ({theirs / ours:4.1f} x), "
        f"in single precision {single:6.1f} ms ({single / ours:4.1f} x)   apart by {apart:.0e}"
    )
    mask = np.ones(control.shape[:2], np.bool_)
    whole, masked = in_turn(lambda: SSIM().values(control, fake, None), lambda: SSIM().values(control, fake, mask))
    print(f"{name:<12} SSIM     {whole:7.2f} ms   with its luma; {masked:.2f} ms with the masked one")

    def usual() -> float:
        return float(peak_signal_noise_ratio(control, fake, data_range=255))  # type: ignore[no-untyped-call]

    ours, theirs = in_turn(lambda: PSNR().values(control, fake, None), usual)
    apart = abs(10 * np.log10(255**2 / PSNR().values(control, fake, None)["psnr"]) - usual())
    print(
        f"{name:<12} PSNR     {ours:7.2f} ms   scikit-image {theirs:7.1f} ms ({theirs / ours:4.1f} x)   apart by {apart:.0e} dB"
    )
    ours, theirs = in_turn(lambda: ms_ssim(one, other), lambda: usual_ms_ssim(*double))
    apart = abs(ms_ssim(one, other) - usual_ms_ssim(*double))
    print(f"{name:<12} MS-SSIM  {ours:7.2f} ms   its formula  {theirs:7.1f} ms ({theirs / ours:4.1f} x)   apart by {apart:.0e}")


def time_temporal(size: tuple[int, int]) -> None:
    """Of a second, without decoding."""
    still = drawn(size)
    shown = np.stack([np.roll(still, at, axis=1) for at in range(25)])
    mask = np.full(shown.shape[:3], 255, np.uint8)
    clip = Clip("video", size[1], size[0], Fraction(25), 25, lambda: iter(shown), lambda: None)
    pair = Pair("a", clip, clip, "swap", "test", masks=lambda: iter(mask))
    (spent,) = in_turn(lambda: Temporal().rows(pair), rounds=3)
    print(f"{size[1]}x{size[0]}: flicker and motion {spent / 25:.2f} ms a frame of the pair, without decoding")


def drawn(size: tuple[int, int], seed: int = 0) -> Pictures:
    height, width = size
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def filmed(folder: Path) -> Iterator[tuple[str, Pictures]]:
    for path in sorted(folder.rglob("*.mp4"))[:4]:
        for picture in islice(open_video(path).pictures(), 1):
            yield path.stem[:12], picture


def main() -> None:
    """Print a line a size, or a film, and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", type=Path, nargs="?")
    films = parser.parse_args().films
    cv2.setNumThreads(1)
    if films:
        for name, control in filmed(films):
            coded = cv2.imencode(".jpg", control, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
            compare(name, control, np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8))
        return
    for size in SIZES:
        control = drawn(size)
        noise = np.random.default_rng(1).integers(-8, 9, control.shape)
        compare(f"{size[1]}x{size[0]}", control, (control + noise).clip(0, 255).astype(np.uint8))
    for size in (SIZES[0], SIZES[-1]):
        time_temporal(size)


if __name__ == "__main__":
    main()
