"""What a mark says: an opaque id and its proof, protected by a convolutional code.

64 bits: 40 of id and 24 of HMAC-SHA256; 32 bits, for small pictures: 16 and 16. The code is the terminated rate 1/3
code of constraint length 7 with generators 133, 171, 165 (octal), free distance 15 (Proakis, Digital Communications,
table 8.2-2); the decoder is the maximum-likelihood one (Viterbi 1967) over soft values.
"""

import hmac
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Soft = NDArray[np.float32]
"""(code bits,) how much the picture speaks for each code bit being 0 (positive) or 1 (negative), in any one unit."""

MAC_BITS = {64: 24, 32: 16}
"""Bits of proof in a payload of that many bits."""

_DIGITS = {bits: (bits - proof) // 4 for bits, proof in MAC_BITS.items()}

GENERATORS = (0o133, 0o171, 0o165)
_MEMORY = 6
_STATES = 1 << _MEMORY


@dataclass(frozen=True)
class Mark:
    """What a sample's mark carries: `id` within a payload of `bits` (64: below 2**40; 32: below 2**16)."""

    id: int
    bits: int

    def __post_init__(self) -> None:
        if self.bits not in MAC_BITS:
            raise ValueError(f"a payload has {' or '.join(map(str, MAC_BITS))} bits, not {self.bits}")
        if not 0 <= self.id < 1 << (self.bits - MAC_BITS[self.bits]):
            raise ValueError(f"mark id {self.id} does not fit a payload of {self.bits} bits")

    @classmethod
    def of(cls, text: str) -> Self:
        """The mark that a row's `mark_id` names: 10 hexadecimal digits where the payload has 64 bits, 4 where it has 32."""
        return cls(int(text, 16), 64 if len(text) == _DIGITS[64] else 32)

    def __str__(self) -> str:
        return f"{self.id:0{_DIGITS[self.bits]}x}"


def code_length(bits: int) -> int:
    """Code bits of a payload."""
    return (bits + _MEMORY) * len(GENERATORS)


def payload(mark: Mark, secret: bytes) -> NDArray[np.uint8]:
    """The mark's payload (bits,) of 0 and 1: id, then the first bits of its HMAC under the shard's `secret`."""
    size = MAC_BITS[mark.bits]
    mac = hmac.digest(secret, b"forgeline payload %d/%d" % (mark.bits, mark.id), "sha256")
    value = mark.id << size | int.from_bytes(mac[: size // 8], "big")
    return np.unpackbits(np.frombuffer(value.to_bytes(mark.bits // 8, "big"), np.uint8))


def proven(bits: NDArray[np.uint8], secret: bytes) -> Mark | None:
    """The mark that a payload (bits,) carries, or None when its proof is not the shard's."""
    value = int.from_bytes(np.packbits(bits).tobytes(), "big")
    mark = Mark(value >> MAC_BITS[len(bits)], len(bits))
    return mark if np.array_equal(payload(mark, secret), bits) else None


def encode(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The code bits (code_length,) of a payload (bits,), of 0 and 1."""
    stream = np.concatenate([bits, np.zeros(_MEMORY, np.uint8)])
    taps = [[generator >> shift & 1 for shift in range(_MEMORY, -1, -1)] for generator in GENERATORS]
    # The generator's highest bit taps the newest input bit, as a polynomial product taken modulo 2.
    return np.stack([np.convolve(stream, tap)[: len(stream)] & 1 for tap in taps], 1).astype(np.uint8).reshape(-1)


def decode(soft: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The likeliest payloads (n, bits) behind n rows of soft values (n, code_length): one pass for all rows."""
    rows, length = soft.shape
    steps = length // len(GENERATORS)
    gains = soft.reshape(rows, steps, -1) @ _OUTPUTS  # (rows, steps, 2 * states): what each branch would add
    metric = np.full((rows, _STATES), -np.inf, np.float32)
    metric[:, 0] = 0
    choices = np.empty((steps, rows, _STATES), np.bool_)
    for step in range(steps):
        branches = metric[:, _FROM] + gains[:, step]
        low, high = branches[:, :_STATES], branches[:, _STATES:]
        choices[step] = high > low
        metric = np.maximum(low, high)
    state = np.zeros(rows, np.intp)  # the encoder ends in state 0
    bits = np.empty((rows, steps), np.uint8)
    every = np.arange(rows)
    for step in range(steps - 1, -1, -1):
        bits[:, step] = state >> (_MEMORY - 1)
        state = _FROM[state + _STATES * choices[step, every, state]]
    return bits[:, : steps - _MEMORY]


def _branches() -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The trellis: for each new state its two predecessors (2 * states,), and the signs (3, 2 * states) of those
    branches.

    A state holds the last six inputs, the newest in the highest bit.
    """
    new = np.arange(_STATES)
    before = np.concatenate([(new << 1) & (_STATES - 1), (new << 1) & (_STATES - 1) | 1])
    register = np.concatenate([new, new]) >> (_MEMORY - 1) << _MEMORY | before
    ones = [[bin(int(word) & generator).count("1") & 1 for word in register] for generator in GENERATORS]
    return before.astype(np.intp), (1 - 2 * np.array(ones)).astype(np.float32)


_FROM, _OUTPUTS = _branches()
