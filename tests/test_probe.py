"""The probes of edited attributes: what they are taught, how they are tested, and what they take for drawn."""

from functools import cache

import numpy as np
import pytest

from benchmarks.generators.probe import PROBES, Lesson, Probe, drawn_directions, taught
from generators.features import EMOTIONS

NAMES = {name for probed in PROBES.values() for name in probed.features}


@cache
def lesson(people: int = 96) -> Lesson:
    """Features that tell of smiles and glasses, and of age nothing."""
    rng = np.random.default_rng(1)
    smile, age, glasses = rng.random(people), rng.uniform(20, 80, people), np.arange(people) % 2
    seen = {name: rng.normal(size=(people, 30)) for name in NAMES}
    seen["shape"][:, 0] = smile + rng.normal(0, 0.05, people)
    seen["outlines"][:, 0] = glasses
    truths = [{"smile": s, "age": a, "glasses": float(g)} for s, a, g in zip(smile, age, glasses, strict=True)]
    return Lesson(seen, truths)


@cache
def learned() -> dict[str, Probe]:
    return taught(lesson())


def test_a_probe_is_tested_on_people_whom_it_does_not_know() -> None:
    probes = learned()
    assert set(probes) == {"smile", "age", "glasses"}
    assert probes["smile"].skill > 0.8
    assert probes["glasses"].skill > 0.95
    assert probes["age"].skill < 0.2  # those whom it was taught on it would know by 30 numbers
    assert [probes[name].counts for name in ("smile", "glasses", "age")] == [True, True, False]


def test_a_probe_speaks_in_deviations_of_its_truth() -> None:
    given = lesson()
    probe = learned()["smile"]
    more = {name: rows.copy() for name, rows in given.seen.items()}
    more["shape"][:, 0] += 0.1
    moved = probe(more) - probe(given.seen)
    assert moved.mean() == pytest.approx(0.1 / np.std([truth["smile"] for truth in given.truth]), rel=0.1)


@pytest.mark.parametrize(
    ("drawn", "declared", "expected"),
    [
        ({"smile": -0.08, "jaw": 0.1, "weather": "rain"}, {}, {"smile": -1, "jaw": 1}),
        ({"age": -0.6, "skin_tone": 0.4}, {}, {"age": -1, "skin_tone": 1}),
        ({"glasses": "round", "frame": "metal"}, {"glasses": "none"}, {"glasses": 1}),
        ({"glasses": "round"}, {"glasses": "square"}, {}),
        ({"hair_colour": "blond", "hair_amount": 0.8}, {"hair_colour": "black"}, {"hair_colour": 1}),
        ({"hair_colour": "black"}, {"hair_colour": "grey"}, {"hair_colour": -1}),
        ({"hair_colour": "black"}, {}, {}),
        ({"emotion": "surprised", "emotion_amount": 0.9}, {}, {"brow": 1, "eyes_open": 1, "mouth_open": 1}),
        ({"attribute": "open_mouth", "amount": -2.0}, {}, {"mouth_open": -1}),
        ({"attribute": "glasses=round", "amount": -2.0}, {"glasses": "round"}, {"glasses": -1}),
        ({"attribute": "hair_colour=blond", "amount": 2.0}, {"hair_colour": "brown"}, {"hair_colour": 1}),
        ({"attribute": "smile", "amount": 2.5}, {}, {"smile": 1}),
        ({}, {}, {}),
    ],
)
def test_what_was_drawn_has_a_direction(
    drawn: dict[str, str | float], declared: dict[str, str], expected: dict[str, int]
) -> None:
    assert drawn_directions(drawn, declared) == expected


def test_every_emotion_is_seen_by_a_probe() -> None:
    assert all(drawn_directions({"emotion": emotion}, {}) for emotion in EMOTIONS)
