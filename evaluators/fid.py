"""Fréchet distance between the features of fakes and of their controls (Heusel et al. 2017, "GANs trained by a two
time-scale update rule", eq. 6).

It is called `fid` with Inception's features, `frechet_random` with the random network's. Both are biased by the
number of frames, so that number is in the fingerprint. Below as many frames as there are features, 2048, the bias is larger
than what is measured, and there is no `fid`.

`fid_infinity` is what the distance would be of endlessly many frames (Chong and Forsyth 2020, "Effectively unbiased FID and
Inception Score and where to find them", section 4): the distances of subsets of growing size lie on a line over one by their
number, which is followed to 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluators import interval
from evaluators.features import Features, OfFeatures, blocks
from evaluators.figure import Figure

Matrix = NDArray[np.float64]

ENOUGH = 2048
"""Frames of a `fid`: with fewer than features, the covariances are singular."""

INEXACT = 1e-8
"""Of a distance: by how much eigenvalues may be off before singular values are taken."""
LEAST, POINTS = 2.5, 15
"""Frames of the least subset for `fid_infinity`, in features (5120 of Inception's; the paper takes 5000), and how many subsets.
Below twice as many frames in all, there is too little of the line to follow. Frames of a clip are alike and count for less: the
least subset is a third of all, too, where the line is straighter."""


class FID(OfFeatures):
    """Distance between two sets of frames; 0 for equal sets, no upper bound."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("fid", "fid_infinity")

    def called(self, name: str) -> str:
        return super().called(name if self.network == "inception" else name.replace("fid", "frechet"))

    def of_features(self, features: Features) -> dict[str, Figure]:
        about = self.about(features.n)
        if self.network == "inception" and features.n < ENOUGH:
            reason = f"{features.n} frames are too few, it takes {ENOUGH}: use kid, which small sets don't bias"
            return {name: Figure(None, features.n, about, reason) for name in self.names}
        one, other = gaussian_of(features.control), gaussian_of(features.fake)
        value = frechet_distance(one, other)
        between = interval.of_influences(value, features.by_pair(influences(features, one, other)))
        low, high = (max(0.0, end) for end in between) if between else (None, None)
        whole = Figure(value, features.n, about, low=low, high=high)
        return {"fid": whole, "fid_infinity": self._infinity(features, value, between)}

    def _infinity(self, features: Features, value: float, between: interval.Interval | None) -> Figure:
        """Not biased by the number of frames, which its fingerprint leaves out. `between`, wider by what the line is off."""
        least = int(LEAST * features.control.shape[1])
        about = self.about(features.n) | {
            "n": "any: followed to endlessly many",
            "subsets": f"{POINTS} of whole clips, from a third of all and at least {least} frames, seed 0",
        }
        if features.n < 2 * least or between is None:
            reason = f"{features.n} frames of {len(features.sizes)} clips are too few, it takes {2 * least} of two"
            return Figure(None, features.n, about, reason)
        found, error = followed(features, value, max(least, features.n // 3))
        low, high = (found + sign * np.hypot(end - value, 1.96 * error) for sign, end in zip((-1, 1), between, strict=True))
        return Figure(found, features.n, about, low=float(low), high=float(high))

    def own(self, n: int) -> Mapping[str, str]:
        return {"n": str(n), "interval": f"{interval.ABOUT}, to first order"}


@dataclass(frozen=True)
class Gaussian:
    """`mean` (dims,) and a `root` (any number of rows, dims) of the covariance: `root.T @ root`."""

    mean: Matrix
    root: Matrix


class Moments:
    """Mean and covariance of rows that arrive in any portions, in float64 and in the memory of two (dims, dims)
    matrices.

    As long as there are no more rows than dims the rows themselves are kept: centred, they are a root of the
    covariance.
    """

    def __init__(self, dims: int) -> None:
        self.n = 0
        self._kept = np.empty((dims, dims))
        self._filled = 0
        self._shift: Matrix | None = None
        self._sum = np.zeros(dims)
        self._products = np.zeros((0, 0))

    def add(self, features: NDArray[np.floating]) -> None:
        """Rows (n, dims)."""
        self.n += len(features)
        while len(features):
            if self._filled == len(self._kept):
                self._fold()  # always the same portions, whatever portions the rows came in
            taken = features[: len(self._kept) - self._filled]
            self._kept[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            features = features[len(taken) :]

    def gaussian(self) -> Gaussian:
        """Of at least two rows, with the covariance's divisor n - 1. Ends the adding."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 rows, there are {self.n}")
        if self._shift is None:
            rows = self._kept[: self._filled]
            mean = rows.mean(axis=0)
            return Gaussian(mean, (rows - mean) / np.sqrt(self.n - 1))
        self._fold()
        mean = self._sum / self.n
        self._products -= np.outer(self.n * mean, mean).T  # both in Fortran's order
        self._products /= self.n - 1
        return Gaussian(self._shift + mean, _root(self._products))

    def _fold(self) -> None:
        from scipy.linalg.blas import dsyrk

        rows = self._kept[: self._filled]
        if self._shift is None:
            self._shift = rows.mean(axis=0)  # sums of squares round least around the mean
            self._products = np.zeros(self._kept.shape, order="F")
        rows -= self._shift
        self._sum += rows.sum(axis=0)
        # The upper half alone, added to where it lies: half the work, and no copies.
        self._products = dsyrk(1.0, rows.T, beta=1.0, c=self._products, overwrite_c=1)
        self._filled = 0


def gaussian_of(features: NDArray[np.floating]) -> Gaussian:
    """Of rows (n, dims), n at least 2, a block at a time."""
    moments = Moments(features.shape[1])
    for _, rows in blocks(features):
        moments.add(rows)
    return moments.gaussian()


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½).

    With S = RᵀR, the trace of (S1 S2)^½ is the sum of the singular values of M = R1 R2ᵀ: no matrix square root, and no
    more rows than frames. They are the roots of the eigenvalues of the smaller of MᵀM and MMᵀ, four times as fast, as long as
    what those may be off by could not be seen in the distance; where small ones are many, as of equal sets, M's own are taken.
    Rounding may leave less than 0, which a distance can't be.
    """
    shift = one.mean - other.mean
    apart = float(shift @ shift + np.square(one.root).sum() + np.square(other.root).sum())
    cross = one.root @ other.root.T
    squares = np.linalg.eigvalsh(cross.T @ cross if cross.shape[0] >= cross.shape[1] else cross @ cross.T)
    if squares[0] > 0:
        roots = np.sqrt(squares)
        distance = apart - 2 * float(roots.sum())
        # An eigenvalue is off by about the largest's rounding, its root by that over twice the root; the sum counts twice.
        if np.finfo(np.float64).eps * squares[-1] * float((1 / roots).sum()) < INEXACT * distance:
            return distance
    return max(0.0, apart - 2 * float(np.linalg.svd(cross, compute_uv=False).sum()))


def followed(features: Features, value: float, least: int) -> tuple[float, float]:
    """The distance at endlessly many frames, by a line through those of subsets, and its standard error.

    Subsets are of whole pairs, drawn anew for each, of both sides alike; their frames grow evenly from `least` to all, of
    which the distance is `value`. The line is fitted by least squares, as in the paper.
    """
    rng = np.random.default_rng(0)
    sizes, distances = [features.n], [value]
    ends = np.cumsum(features.sizes)
    for wanted in np.linspace(least, features.n, POINTS)[:-1]:
        drawn = rng.permutation(len(ends))
        taken = np.sort(drawn[: max(2, int(np.searchsorted(np.cumsum(features.sizes[drawn]), wanted)) + 1)])
        one, other = (Moments(features.control.shape[1]) for _ in range(2))
        for at in taken:
            rows = slice(ends[at] - features.sizes[at], ends[at])
            one.add(features.control[rows].astype(np.float64))
            other.add(features.fake[rows].astype(np.float64))
        sizes.append(one.n)
        distances.append(frechet_distance(one.gaussian(), other.gaussian()))
    line = np.column_stack([np.ones(POINTS), 1 / np.array(sizes)])
    (found, slope), *_ = np.linalg.lstsq(line, np.array(distances), rcond=None)
    off = np.square(np.array(distances) - line @ (found, slope)).sum() / (POINTS - 2)
    return float(found), float(np.sqrt(off * np.linalg.inv(line.T @ line)[0, 0]))


def influences(features: Features, one: Gaussian, other: Gaussian) -> NDArray[np.float64]:
    """(n,), sum 0: how much more the distance is, to first order, where a frame and its control's are counted once more.

    With M = R1 R2ᵀ = U diag(s) Vᵀ, rows z of centred features over √(n - 1), and as U and V stay at right angles to equal
    weights, one more of frame i makes the sum of s larger by half of (U diag(s) Uᵀ)ii + (V diag(s) Vᵀ)ii, each found as the
    square of a projection of z.
    """
    cross = one.root @ other.root.T
    squares, right = np.linalg.eigh(cross.T @ cross)
    kept = squares > 1e-12 * squares[-1]
    if not kept.any():  # one of the two never changes
        right, singular = np.zeros((len(right), 1)), np.ones(1)
    else:
        right, singular = right[:, kept], np.sqrt(squares[kept])
    to_one = other.root.T @ right / np.sqrt(singular)
    to_other = one.root.T @ (cross @ right) / singular**1.5
    shift, scale = one.mean - other.mean, features.n - 1
    found = np.empty(features.n)
    for part, rows in blocks(features.control):
        ours, theirs = rows - one.mean, features.fake[part] - other.mean
        moved = 2 * (ours - theirs) @ shift / features.n
        spread = np.square(ours).sum(axis=1) + np.square(theirs).sum(axis=1)
        common = np.square(ours @ to_one).sum(axis=1) + np.square(theirs @ to_other).sum(axis=1)
        found[part] = moved + (spread - common) / scale
    return np.asarray(found - found.mean())


def _root(covariance: Matrix) -> Matrix:
    """From the upper half of a covariance in Fortran's order."""
    from scipy.linalg.lapack import dpotrf

    root, stopped = dpotrf(covariance, lower=0, clean=1)
    if not stopped:
        return np.asarray(root)
    # Features that never change: slower, and exact.
    values, vectors = np.linalg.eigh(covariance, UPLO="U")
    return np.asarray(np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T)
