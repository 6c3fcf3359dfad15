"""What scoring costs, and what the shortcuts in it save over the usual implementations.

    OMP_NUM_THREADS=1 python -m benchmarks.scoring

CPU seconds of one thread, least of three.
"""

import time
import warnings
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance
from skimage.metrics import structural_similarity

from evaluators.fid import Moments, frechet_distance
from evaluators.figure import Pair, measure
from evaluators.ssim import luma, ssim_map
from evaluators.table import EVALUATORS
from forgeline.clip import Clip

Features = NDArray[np.float64]


def seconds(work: Callable[[], object], times: int = 3) -> float:
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def distance(one: Features, other: Features) -> float:
    found = []
    for rows in (one, other):
        moments = Moments(rows.shape[1])
        moments.add(rows)
        found.append(moments.gaussian())
    return frechet_distance(*found)


def usual_distance(one: Features, other: Features) -> float:
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # sqrtm(disp=…)
        return float(calculate_frechet_distance(one.mean(0), first, other.mean(0), second))


def usual_ssim(one: Features, other: Features) -> float:
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return float(structural_similarity(one, other, **wang))  # type: ignore[no-untyped-call]


def time_pair(rng: np.random.Generator, size: int) -> None:
    shown = rng.integers(0, 256, (75, size, size, 3), np.uint8)
    mask = np.full((75, size, size), 255, np.uint8)
    clip = Clip("video", size, size, Fraction(25), 75, lambda: iter(shown), lambda: None)
    pair = Pair("a", clip, clip, "swap", "test", masks=lambda: iter(mask))
    evaluators = {name: kind() for name, kind in EVALUATORS.items()}
    few, all_ = (seconds(lambda k=k: measure(pair, evaluators, k)) for k in (8, 75))  # type: ignore[misc]
    print(f"a pair of 75 frames of {size} px, without decoding: {few:.3f} s for 8 of them, {all_:.3f} s for all")
    one, other = luma(shown[0]), luma(shown[1])
    ours, theirs = seconds(lambda: ssim_map(one, other)), seconds(lambda: usual_ssim(one, other))
    print(f"SSIM of one frame of {size} px: {1000 * ours:.1f} ms, scikit-image {1000 * theirs:.1f} ms")


def time_distance(rng: np.random.Generator, n: int) -> None:
    mixing = 0.05 * rng.normal(size=(256, 2048))
    one, other = (rng.normal(size=(n, 256)) @ mixing + 0.1 * rng.normal(size=(n, 2048)) for _ in range(2))
    ours, theirs = seconds(lambda: distance(one, other), 1), seconds(lambda: usual_distance(one, other), 1)
    print(f"Fréchet distance of 2 x {n} frames, 2048 features: {ours:.2f} s, pytorch-fid {theirs:.2f} s")
    print(f"  {distance(one, other):.9f}, pytorch-fid {usual_distance(one, other):.9f}")


def main() -> None:
    rng = np.random.default_rng(0)
    for size in (256, 1080):
        time_pair(rng, size)
    for n in (500, 5000):
        time_distance(rng, n)


if __name__ == "__main__":
    main()
