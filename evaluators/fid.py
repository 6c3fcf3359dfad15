"""Fréchet distance between the features of fakes and of their controls (Heusel et al. 2017, "GANs trained by a two
time-scale update rule", eq. 6).

It is called `fid` with Inception's features, `frechet_random` with the random network's. Both are biased by the
number of frames, so that number is in the fingerprint.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Figure, Frames, OfFrames, Rows
from evaluators.inception import NetworkName, open_network

Matrix = NDArray[np.float64]

NO_FID = "needs Inception's weights: set network to inception"


class FID(OfFrames):
    """Distance between two sets of frames; 0 for equal sets, no upper bound."""

    network: NetworkName = "random"
    """`inception` gives the FID of the literature and needs its weights (95 MB); `random` needs no file and gives a
    number of its own."""

    def rows(self, frames: Frames) -> Rows:
        control, fake = frames.through(open_network(self.network))
        return {"control": control, "fake": fake}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        network = open_network(self.network)
        controls, fakes = Moments(network.dims), Moments(network.dims)
        for pair in rows:
            if pair:
                controls.add(pair["control"])
                fakes.add(pair["fake"])
        fingerprint = dict(network.fingerprint) | {"against": "the matched controls", "n": str(fakes.n)}
        name = "fid" if self.network == "inception" else "frechet_random"
        if fakes.n < 2:
            figure = Figure(None, fakes.n, fingerprint, f"needs at least 2 frames, there are {fakes.n}")
        else:
            figure = Figure(frechet_distance(controls.gaussian(), fakes.gaussian()), fakes.n, fingerprint)
        found = {name: figure}
        if name != "fid":
            found["fid"] = Figure(None, fakes.n, {}, NO_FID)
        return found


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
        return Gaussian(self._shift + mean, _root((self._products - self.n * np.outer(mean, mean)) / (self.n - 1)))

    def _fold(self) -> None:
        rows = self._kept[: self._filled]
        if self._shift is None:
            self._shift = rows.mean(axis=0)  # sums of squares round least around the mean
            self._products = np.zeros_like(self._kept)
        rows = rows - self._shift
        self._sum += rows.sum(axis=0)
        self._products += rows.T @ rows
        self._filled = 0


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½).

    With S = RᵀR, the trace of (S1 S2)^½ is the sum of the singular values of R1 R2ᵀ: no matrix square root, and no
    more rows than frames. Rounding may leave less than 0, which a distance can't be.
    """
    shift = one.mean - other.mean
    cross = np.linalg.svd(one.root @ other.root.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + np.square(one.root).sum() + np.square(other.root).sum() - 2 * cross))


def _root(covariance: Matrix) -> Matrix:
    try:
        return np.asarray(np.linalg.cholesky(covariance).T)
    except np.linalg.LinAlgError:  # features that never change: twice as slow, and exact
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T)
