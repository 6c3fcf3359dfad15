"""What the figures of sets share: the features of a pair's frames, computed and kept once for all of them.

FID, KID, precision and recall, and the Inception Score look at the same rows; `OfFeatures` gives them. For a set they are laid
into a temporary file, so that memory holds a few blocks of them however large the set is: 8 KB a frame on disk with Inception.
"""

import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from evaluators.figure import Figure, Frames, OfFrames, Rows
from evaluators.inception import Network, NetworkName, Precision, Resize, open_network

Floats = NDArray[np.float64]
Side = Literal["control", "fake"]

MOST = 10_000
"""Frames of each side that are compared each with each, which takes the square of as many steps."""
BLOCK = 1024
NO_FRAMES: Final = "there are no frames"
NO_INCEPTION: Final = "needs Inception's weights: set network to inception"


@dataclass(frozen=True, eq=False)
class Features:
    """Of n frames, the pairs' one after the other: `control` and `fake` (n, dims); `sizes` (pairs,): how many each has."""

    control: NDArray[np.float32]
    fake: NDArray[np.float32]
    sizes: NDArray[np.int64]

    @property
    def n(self) -> int:
        return len(self.fake)

    @property
    def pair(self) -> NDArray[np.int64]:
        """(n,): which pair a frame is of."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def by_pair(self, values: NDArray[Any]) -> Floats:
        """Sums over each pair's frames of `values` (n, …)."""
        return np.add.reduceat(np.asarray(values, np.float64), np.cumsum(self.sizes) - self.sizes, axis=0)

    def at_most(self, n: int) -> "Features":
        """Itself, or about `n` of its frames: whole pairs, drawn with seed 0."""
        if self.n <= n:
            return self
        drawn = np.random.default_rng(0).permutation(len(self.sizes))
        kept = np.sort(drawn[: max(2, int(np.searchsorted(np.cumsum(self.sizes[drawn]), n, side="right")))])
        rows = np.flatnonzero(np.isin(self.pair, kept))
        return Features(self.control[rows], self.fake[rows], self.sizes[kept])


class OfFeatures(OfFrames):
    """Scores sets of frames by what a network sees in them, fakes against their controls."""

    network: NetworkName = "random"
    """`inception` gives the figures of the literature and needs its weights (95 MB); `random` needs no file and gives numbers
    of its own, which are called so."""
    precision: Precision = "fp32"
    """Of Inception. `bf16` is faster on processors that have it, and gives other figures: it is in the fingerprint."""
    resize: Resize = "pytorch-fid"
    """How pictures come to Inception's size. `clean` is clean-fid's way, and ends the figures' names: `fid_clean`."""

    clipwise: ClassVar[bool] = False
    least: ClassVar[int] = 2
    """Frames without which there is no figure."""

    @model_validator(mode="after")
    def _resized(self) -> Self:
        if self.resize == "clean" and self.network == "random":
            raise ValueError("the random network has a resizing of its own: take network inception, or leave resize out")
        return self

    @property
    def shared(self) -> str:
        return f"features, {self.network}, {self.precision}, {self.resize}"

    def rows(self, frames: Frames) -> Rows:
        control, fake = frames.through(self.opened)
        return {"control": control, "fake": fake}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        with tempfile.TemporaryFile() as control, tempfile.TemporaryFile() as fake:
            found = _gathered(rows, {"control": control, "fake": fake}, self.opened.dims)
            n = found.n if isinstance(found, Features) else 0
            if isinstance(found, Features) and n < self.least:
                found = f"needs at least {self.least} frames, there are {n}"
            if isinstance(found, Features):
                figures = self.of_features(found)
            else:
                about = self.about(n)
                figures = {name: Figure(None, n, about, found) for name in self.names}
            if self.network == "inception":
                figures = {self.called(name): figure for name, figure in figures.items()}
            else:
                absent = {name: Figure(None, 0, {}, NO_INCEPTION) for name in figures}
                figures = absent | {self.called(name): figure for name, figure in figures.items()}
            return figures

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of its figures, with Inception's features."""

    def called(self, name: str) -> str:
        """A figure's name with the features of this network: that of the literature is Inception's alone."""
        end = "_random" if self.network == "random" else "_clean" if self.resize == "clean" else ""
        return name + end

    @abstractmethod
    def of_features(self, features: Features) -> dict[str, Figure]:
        """The figures, by `names`, of at least `least` frames whose features are finite."""

    def about(self, n: int) -> dict[str, str]:
        """The fingerprint of figures of n frames."""
        return {**self.opened.fingerprint, "against": "the matched controls", **self.own(n)}

    def own(self, n: int) -> Mapping[str, str]:
        """What the evaluator itself adds to the fingerprint. Where frames bias it, their number is part of it."""
        return {"n": str(n)}

    @property
    def opened(self) -> Network:
        return open_network(self.network, self.precision, self.resize)


def blocks(rows: NDArray[np.float32], size: int = BLOCK) -> Iterator[tuple[slice, Floats]]:
    """The rows as float64, some at a time."""
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        yield part, rows[part].astype(np.float64)


def _gathered(rows: Iterable[Rows], files: Mapping[Side, Any], dims: int) -> Features | str:
    """All pairs' features, mapped from the files; or why there are none."""
    sizes, odd = [], 0
    for pair in rows:
        if not pair or not len(pair["fake"]):
            continue
        for side, file in files.items():
            file.write(np.ascontiguousarray(pair[side], np.float32))
        sizes.append(len(pair["fake"]))
        odd += sum(int((~np.isfinite(pair[side])).any(axis=1).sum()) for side in files)
    if not sizes:
        return NO_FRAMES
    if odd:
        return f"the features of {odd} frames are not numbers"
    mapped = {}
    for side, file in files.items():
        file.flush()
        mapped[side] = np.memmap(file, np.float32, "r", shape=(sum(sizes), dims))
    return Features(mapped["control"], mapped["fake"], np.array(sizes))
