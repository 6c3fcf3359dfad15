"""Inception Score (Salimans et al. 2016, "Improved techniques for training GANs", section 4): exp of the mean
Kullback-Leibler divergence between a picture's classes and the set's.

It means little for faces, which are no class of ImageNet; it is here because it is asked for, with the controls' own
score beside it.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Figure, Frames, OfFrames, Rows
from evaluators.inception import NetworkName, open_network

REASON = "needs the classes of Inception: set network to inception"


class InceptionScore(OfFrames):
    """1 (all frames alike, or none of any class) to 1008; one split, as it depends on the number of frames."""

    network: NetworkName = "random"
    """Only `inception` knows classes."""

    def rows(self, frames: Frames) -> Rows:
        network = open_network(self.network)
        if network.classes is None:
            return {}
        return {
            name: _log_softmax(features.astype(np.float64) @ network.classes)
            for name, features in zip(("control", "fake"), frames.through(network), strict=True)
        }

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        names = {"fake": "inception_score", "control": "inception_score_control"}
        network = open_network(self.network)
        if network.classes is None:
            return {figure: Figure(None, 0, {}, REASON) for figure in names.values()}
        scores = {key: _Score() for key in names}
        for pair in rows:
            for key in names if pair else ():
                scores[key].add(pair[key])
        return {figure: scores[key].figure(dict(network.fingerprint)) for key, figure in names.items()}


class _Score:
    """Sums over frames, so that a set of any size takes two numbers a class."""

    def __init__(self) -> None:
        self.n = 0
        self._negentropy = 0.0
        self._classes = np.zeros(1008)

    def add(self, logs: NDArray[np.float64]) -> None:
        for log in logs:  # frame by frame, so that portions leave no trace in the rounding
            self.n += 1
            self._negentropy += float(np.exp(log) @ log)
            self._classes += np.exp(log)

    def figure(self, fingerprint: dict[str, str]) -> Figure:
        fingerprint |= {"classes": "1008, no bias", "splits": "1", "n": str(self.n)}
        if not self.n:
            return Figure(None, 0, fingerprint, "no frames")
        mean = self._classes / self.n
        divergence = self._negentropy / self.n - float(mean @ np.log(mean, where=mean > 0, out=np.zeros_like(mean)))
        return Figure(float(np.exp(divergence)), self.n, fingerprint)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
