"""Kernel distance between the features of fakes and of their controls (Bińkowski et al. 2018, "Demystifying MMD GANs",
section 4.1): the squared maximum mean discrepancy under (x·y / dims + 1)³, without bias.

Small sets don't bias it, so that it is what to look at where there are too few frames for a `fid`, and sets of unlike sizes
compare. It is about 0, and may be less, where both sets are drawn from the same; for *equal* sets it is a little below 0.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from evaluators import interval
from evaluators.features import MOST, Features, OfFeatures, blocks
from evaluators.figure import Figure

Floats = NDArray[np.float64]

SUBSETS = 100
SUBSET = 1000
_AT_ONCE = 2**20


class KID(OfFeatures):
    """`kid` over all frames, and `kid_spread`: its deviation over random subsets of 1000 frames, or half of them."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("kid", "kid_spread")

    def of_features(self, features: Features) -> dict[str, Figure]:
        compared = features.at_most(MOST)
        about = self.about(features.n)
        value, low, high = kernel_distance(compared)
        size = min(SUBSET, compared.n // 2)
        spread = about | {"subsets": f"{SUBSETS} of {size}, seed 0"}
        if size < 2:
            told = f"needs at least 4 frames, there are {compared.n}"
            return {"kid": Figure(value, features.n, about), "kid_spread": Figure(None, features.n, spread, told)}
        over = np.fromiter(subset_distances(compared.control, compared.fake, SUBSETS, size), np.float64)
        return {
            "kid": Figure(value, features.n, about, low=low, high=high),
            "kid_spread": Figure(float(over.std()), features.n, spread),
        }

    def own(self, n: int) -> Mapping[str, str]:
        return {
            "kernel": "(x·y / dims + 1)³",
            "estimate": "unbiased, over all frames" if n <= MOST else f"unbiased, over {MOST} frames of whole clips, seed 0",
            "interval": interval.ABOUT,
        }


def kernel(one: Floats, other: Floats) -> Floats:
    """(n, m) of features (n, dims) and (m, dims)."""
    return np.asarray((one @ np.swapaxes(other, -1, -2) / one.shape[-1] + 1) ** 3)


def kernel_distance(features: Features) -> tuple[float, float | None, float | None]:
    """The unbiased estimate, and the ends of its interval, None where there are fewer than two pairs.

    Kernels are summed between pairs, and pairs are drawn; two draws of one pair are never compared, as they would be the same
    frames.
    """
    ones = np.ones(features.n)
    size = interval.in_units(features.by_pair(ones))
    place = np.repeat(np.arange(len(size)), size.astype(np.int64))
    own = [_sums(rows, rows, place, len(size)) for rows in (features.control, features.fake)]
    for sums, rows in zip(own, (features.control, features.fake), strict=True):
        alike = np.concatenate([(np.square(part).sum(axis=1) / part.shape[1] + 1) ** 3 for _, part in blocks(rows)])
        np.fill_diagonal(sums, sums.diagonal() - np.bincount(place, alike, len(size)))
    cross = _sums(features.control, features.fake, place, len(size))
    pairs, all_pairs = np.outer(size, size), np.outer(size, size)
    np.fill_diagonal(pairs, size * (size - 1))

    def estimate(drawn: Floats) -> Floats:
        def mean(sums: Floats, count: Floats) -> Floats:
            return np.asarray(_drawn_sum(drawn, sums) / np.maximum(_drawn_sum(drawn, count), 1))

        return mean(own[0], pairs) + mean(own[1], pairs) - 2 * mean(cross, all_pairs)

    value = float(estimate(np.ones((1, len(size))))[0])
    if len(features.sizes) < 2:
        return value, None, None
    return value, *interval.percentiles(estimate(interval.draws(len(size))))


def subset_distances(control: NDArray[np.float32], fake: NDArray[np.float32], subsets: int, size: int) -> Iterator[float]:
    """The unbiased estimate in each of so many subsets of each side, drawn without replacement, seed 0."""
    rng = np.random.default_rng(0)
    some = max(1, _AT_ONCE // (size * size))
    for start in range(0, subsets, some):
        at = [[rng.permutation(len(rows))[:size] for rows in (control, fake)] for _ in range(min(some, subsets - start))]
        one = np.stack([control[first] for first, _ in at]).astype(np.float64)
        other = np.stack([fake[second] for _, second in at]).astype(np.float64)
        within = 0.0
        for rows in (one, other):
            k = kernel(rows, rows)
            within = within + (k.sum(axis=(1, 2)) - np.trace(k, axis1=1, axis2=2)) / (size * (size - 1))
        yield from np.asarray(within - 2 * kernel(one, other).mean(axis=(1, 2)))


def _drawn_sum(drawn: Floats, sums: Floats) -> Floats:
    """Σ w w' sums over two different pairs, and w sums over a pair with itself: (draws,)."""
    diagonal = sums.diagonal()
    both = ((drawn @ sums) * drawn).sum(axis=1)
    return np.asarray(both - drawn**2 @ diagonal + drawn @ diagonal)


def _sums(one: NDArray[np.float32], other: NDArray[np.float32], place: NDArray[np.int64], units: int) -> Floats:
    """(units, units): the kernel summed over the frames of each two units; `place` (n,) ascends."""
    found = np.zeros((units, units))
    for part, rows in blocks(one):
        starts, into = _starts(place[part])
        for beside, others in blocks(other):
            columns, across = _starts(place[beside])
            summed = np.add.reduceat(np.add.reduceat(kernel(rows, others), starts, axis=0), columns, axis=1)
            found[np.ix_(into, across)] += summed
    return found


def _starts(place: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each unit of a part begins, and which it is."""
    units, starts = np.unique(place, return_index=True)
    return starts, units
