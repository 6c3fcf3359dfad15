"""What the pictures of one clip say together: their spectra added up, each by how much of the mark has come through in
it.

In moving video the pictures between key pictures carry almost nothing, so a plain mean is worse than the best picture
alone; maximum-ratio combining (Brennan 1959) weighs each by signal over noise, which the template's frequencies
measure.
"""

import numpy as np

from watermark.keys import ShardKey
from watermark.payload import Mark, Soft, decode, encode, payload, proven
from watermark.tile import Bins, Layout, signs


class Evidence:
    """Collects the aligned bins of a clip's pictures, and reads what they carry."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._sum: Bins = np.zeros(len(layout.ky), np.complex64)

    def add(self, bins: Bins) -> None:
        """Take in one picture's bins, shifted to where the tiles belong."""
        agreement = max(float(self._layout.agreement(bins).mean()) - 0.02, 0.0) + 1e-3
        self._sum += np.float32(agreement / (1 - min(agreement, 0.9) ** 2)) * bins

    def soft(self, keys: list[ShardKey]) -> Soft:
        """(keys, code bits): the soft code bits under each key."""
        every = np.stack([signs(key, self._layout.bits) for key in keys])
        return self._layout.soft(self._sum, every, self._layout.trust(self._sum))

    def matched(self, key: ShardKey, mark: Mark) -> float:
        """How far an expected mark stands out: standard normal where it is not there, and at most sqrt(code bits)."""
        return score(self.soft([key])[0], payload(mark, key.secret))

    def carries(self, key: ShardKey, mark: Mark) -> bool:
        """Whether the payload that is read, without knowing what to expect, is this mark's to the last bit."""
        return proven(decode(self.soft([key]))[0], key.secret) == mark


def score(soft: Soft, bits: np.typing.NDArray[np.uint8]) -> float:
    """How soft code bits (code bits,) correlate with a payload's code, in standard deviations of chance."""
    signs = 1 - 2 * encode(bits).astype(np.float32)
    return float(soft @ signs / (np.linalg.norm(soft) + 1e-12))
