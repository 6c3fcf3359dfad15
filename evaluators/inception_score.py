"""Inception Score (Salimans et al. 2016, "Improved techniques for training GANs", section 4): exp of the mean
Kullback-Leibler divergence between a picture's classes and the set's.

It means little for faces, which are no class of ImageNet; it is here because it is asked for, with the controls' own
score beside it.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from evaluators import interval
from evaluators.features import Features, OfFeatures, blocks
from evaluators.figure import Figure, Rows

REASON = "needs the classes of Inception: set network to inception"


class InceptionScore(OfFeatures):
    """1 (all frames alike, or none of any class) to 1008; one split, as it depends on the number of frames.

    Only `inception` knows classes.
    """

    @property
    def names(self) -> tuple[str, ...]:
        return ("inception_score", "inception_score_control")

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        if self.network == "random":
            return {name: Figure(None, 0, {}, REASON) for name in self.names}
        return super().of_set(rows)

    def of_features(self, features: Features) -> dict[str, Figure]:
        sides = zip(self.names, (features.fake, features.control), strict=True)
        return {name: self._figure(features, side) for name, side in sides}

    def own(self, n: int) -> Mapping[str, str]:
        return {"classes": "1008, no bias", "splits": "1", "n": str(n), "interval": f"{interval.ABOUT}, to first order"}

    def _figure(self, features: Features, side: NDArray[np.float32]) -> Figure:
        """From two passes over the set's features: the mean of the classes first, then how far each frame is from it."""
        mean = sum((np.exp(self._logs(rows)).sum(axis=0) for _, rows in blocks(side)), np.zeros(1008)) / features.n
        told = np.log(mean, where=mean > 0, out=np.zeros_like(mean))
        apart = np.empty(features.n)
        for part, rows in blocks(side):
            logs = self._logs(rows)
            apart[part] = (np.exp(logs) * (logs - told)).sum(axis=1)
        divergence = float(apart.mean())
        between = interval.of_influences(divergence, features.by_pair((apart - divergence) / features.n))
        low, high = np.exp(between).tolist() if between else (None, None)
        return Figure(float(np.exp(divergence)), features.n, self.about(features.n), low=low, high=high)

    def _logs(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        classes = self.opened.classes
        if classes is None:
            raise ValueError(REASON)
        logits = features @ classes
        logits = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
