"""The payload and its code, against a shift register and a decoder by exhaustion."""

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.evidence import false_accept, score
from watermark.payload import MAC_BITS, Mark, code_length, decode, encode, payload, proven

marks = st.sampled_from([64, 32]).flatmap(
    lambda bits: st.builds(Mark, st.integers(0, (1 << (bits - MAC_BITS[bits])) - 1), st.just(bits))
)


def shift_register(bits: list[int]) -> list[int]:
    """The textbook encoder: newest bit first in a register of seven, one output for each generator's taps."""
    taps = ("1011011", "1111001", "1110101")  # 133, 171, 165 octal
    register = [0] * 7
    out = []
    for bit in [*bits, 0, 0, 0, 0, 0, 0]:
        register = [bit, *register[:6]]
        out += [sum(r for r, tap in zip(register, word, strict=True) if tap == "1") % 2 for word in taps]
    return out


def signs(bits: np.ndarray) -> np.ndarray:
    return 1 - 2 * np.asarray(bits, np.float32)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=80))
def test_the_encoder_is_the_textbook_shift_register(bits: list[int]) -> None:
    assert encode(np.array(bits, np.uint8)).tolist() == shift_register(bits)


def test_the_code_has_free_distance_fifteen() -> None:
    """The published figure for this code: a wrong generator or tap order gives another."""
    queue = [(sum(shift_register([1])[:3]), 0b1)]  # after a first 1; state: the last six inputs, newest lowest
    best = {0b1: queue[0][0]}
    distance = None
    while queue:
        weight, state = heapq.heappop(queue)
        if state == 0:
            distance = weight
            break
        history = [state >> shift & 1 for shift in range(5, -1, -1)]
        for bit in (0, 1):
            step = shift_register([*history, bit])[18:21]
            after = (state << 1 | bit) & 63
            if weight + sum(step) < best.get(after, 1 << 30):
                best[after] = weight + sum(step)
                heapq.heappush(queue, (best[after], after))
    assert distance == 15


@given(st.integers(0, 2**32 - 1))
def test_the_decoder_finds_the_likeliest_of_all_payloads(seed: int) -> None:
    soft = np.random.default_rng(seed).normal(0, 1, code_length(6)).astype(np.float32)
    every = [np.array(bits, np.uint8) for bits in itertools.product([0, 1], repeat=6)]
    likeliest = max(every, key=lambda bits: float(soft @ signs(np.array(shift_register(bits.tolist())))))
    assert decode(soft[None])[0].tolist() == likeliest.tolist()


@given(marks, st.binary(min_size=32, max_size=32), st.data())
def test_a_payload_comes_back_through_any_seven_wrong_code_bits(mark: Mark, secret: bytes, data: st.DataObject) -> None:
    soft = signs(encode(payload(mark, secret)))
    wrong = data.draw(st.lists(st.integers(0, len(soft) - 1), max_size=7, unique=True))
    soft[wrong] *= -1
    assert proven(decode(soft[None])[0], secret) == mark


@given(marks, st.integers(0, 63))
def test_a_changed_payload_or_another_key_proves_nothing(mark: Mark, at: int) -> None:
    bits = payload(mark, b"k" * 32)
    assert proven(bits, b"k" * 32) == mark
    assert proven(bits, b"l" * 32) != mark
    bits[at % mark.bits] ^= 1
    assert proven(bits, b"k" * 32) is None


def test_payloads_are_what_they_were() -> None:
    """A released mark must be readable by every later version."""
    assert np.packbits(payload(Mark(0x123456789A, 64), bytes(32))).tobytes().hex() == "123456789a77fe01"
    assert np.packbits(payload(Mark(0x1234, 32), bytes(32))).tobytes().hex() == "1234b929"


@pytest.mark.parametrize("mark", [(1 << 40, 64), (1 << 16, 32), (-1, 64), (1, 48)])
def test_a_mark_that_does_not_fit_is_refused(mark: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"bits"):
        Mark(*mark)


@pytest.mark.parametrize("bits", [64, 32])
def test_noise_scores_no_higher_than_is_said_of_it(bits: int) -> None:
    soft = np.random.default_rng(bits).normal(0, 1, (6_000, code_length(bits))).astype(np.float32)
    scores = [score(row, likeliest) for row, likeliest in zip(soft, decode(soft), strict=True)]
    unproven = 2.0 ** MAC_BITS[bits]
    rare = [false_accept(bits, reached, 1) * unproven for reached in scores]
    assert 1 <= sum(chance < 1e-3 for chance in rare) <= 16  # 6 are expected
    assert sum(chance < 3e-4 for chance in rare) <= 6  # 1.8
    assert false_accept(bits, 0.0, 5) == pytest.approx(5 / unproven)  # the proof alone


def test_a_false_accept_is_the_likelier_the_more_was_tried() -> None:
    assert false_accept(64, 11.0, 3000) == pytest.approx(3000 * false_accept(64, 11.0, 1))
    assert false_accept(64, 5.0, 10**9) == 1.0
    assert false_accept(32, 8.6, 32 * 100) < 1e-6 < false_accept(32, 7.0, 32 * 100)
