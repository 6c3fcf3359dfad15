"""How real the fakes are, and how much of what is real they cover, told apart by nearest neighbours among features.

Precision and recall: the share of fakes within the balls around controls, each as wide as to its k-th nearest control, and the
share of controls within the fakes' (Kynkäänniemi et al. 2019, "Improved precision and recall metric", eq. 1 and 2). Density and
coverage: within how many of the controls' balls a fake is, of the k that are expected, and the share of controls with a fake in
their ball (Naeem et al. 2020, "Reliable fidelity and diversity metrics", eq. 2 and 3), which one outlier can't blow up.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluators import interval
from evaluators.features import MOST, Features, OfFeatures
from evaluators.figure import Figure

Floats = NDArray[np.float64]

_AT_ONCE = 2**22
"""Distances looked at together: 32 MB."""


class PrecisionRecall(OfFeatures):
    """Shares, 0 to 1 (equal sets); density may be above 1."""

    k: Annotated[int, Field(ge=1, le=100)] = 5
    """Neighbours."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("precision", "recall", "density", "coverage")

    def of_features(self, features: Features) -> dict[str, Figure]:
        compared, about = features.at_most(MOST), self.about(features.n)
        if compared.n <= self.k:
            reason = f"needs more than {self.k} frames, there are {compared.n}"
            return {name: Figure(None, features.n, about, reason) for name in self.names}
        found = {}
        sizes = compared.by_pair(np.ones(compared.n))
        for name, values in zip(self.names, neighbours(compared.control, compared.fake, self.k), strict=True):
            between = interval.of_mean(compared.by_pair(values), sizes) or (None, None)
            found[name] = Figure(float(values.mean()), features.n, about, low=between[0], high=between[1])
        return found

    def own(self, n: int) -> Mapping[str, str]:
        return {
            "k": str(self.k),
            "n": str(n) if n <= MOST else f"{MOST} frames of whole clips, seed 0",
            "interval": f"{interval.ABOUT}, with the balls as they are",
        }


def neighbours(control: NDArray[np.float32], fake: NDArray[np.float32], k: int) -> tuple[Floats, Floats, Floats, Floats]:
    """What precision (fakes,), recall (controls,), density (fakes,) and coverage (controls,) are the means of.

    Of features (n, dims) with n > k. A block of distances is held at a time.
    """
    around_controls, around_fakes = _radii(control, k), _radii(fake, k)
    precise, dense = np.zeros(len(fake)), np.zeros(len(fake))
    recalled, covered = np.zeros(len(control)), np.zeros(len(control))
    for part, apart in _distances(fake, control):
        inside = apart <= around_controls
        precise[part], dense[part] = inside.any(axis=1), inside.sum(axis=1) / k
        covered = np.maximum(covered, inside.any(axis=0))
        recalled = np.maximum(recalled, (apart <= around_fakes[part, None]).any(axis=0))
    return precise, recalled, dense, covered


def _radii(rows: NDArray[np.float32], k: int) -> Floats:
    """(n,): the squared distance to the k-th nearest other row."""
    found = np.empty(len(rows))
    for part, apart in _distances(rows, rows):
        apart[np.arange(len(apart)), np.arange(part.start, part.stop)] = np.inf
        found[part] = np.partition(apart, k - 1, axis=1)[:, k - 1]
    return found


def _distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> Iterator[tuple[slice, Floats]]:
    """Squared distances, some rows of `one` at a time. Those that rounding leaves of 0 are 0, or equal frames would lie outside
    each other's balls."""
    others = other.astype(np.float64)
    their_squares = np.square(others).sum(axis=1)
    some = max(1, _AT_ONCE // len(other))
    for start in range(0, len(one), some):
        part = slice(start, min(start + some, len(one)))
        rows = one[part].astype(np.float64)
        squares = np.square(rows).sum(axis=1)[:, None] + their_squares
        apart = squares - 2 * (rows @ others.T)
        yield part, np.where(apart < 1e-13 * squares, 0.0, apart)
