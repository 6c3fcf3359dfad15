"""Pictures of numbers: whole, to scale, and readable without a script."""

from xml.etree import ElementTree

import numpy as np
import pytest

from forgeline.plot import bars, curves

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_their_values() -> None:
    drawn = ElementTree.fromstring(bars({"a <b>": {"one": 1.0, "four & more": 4.0, "below": -2.0}, "none": {}}, "of & all"))
    _, *rects = drawn.iter(f"{SVG}rect")
    widths = [float(rect.get("width", "")) for rect in rects]
    assert widths == [pytest.approx(widths[1] / 4, abs=0.1), max(widths), 0]
    assert {"a <b>", "four & more", "of & all", "4"} <= {text.text for text in drawn.iter(f"{SVG}text")}


def points(drawn: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [line.get("points", "") for line in drawn.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (at.split(",") for at in line.split())] for line in lines]


def test_curves_go_from_their_first_value_to_their_last() -> None:
    drawn = ElementTree.fromstring(curves({"falls": [8.0, 4.0, 2.0], "still": [1.0] * 3}, "losses"))
    falls, still = points(drawn)
    (first, second, last), heights = falls, [y for _, y in falls]
    assert heights == sorted(heights), "y grows downwards"
    assert (second[1] - first[1]) == pytest.approx(2 * (last[1] - second[1]), abs=0.3)
    assert (second[0] - first[0]) == pytest.approx(last[0] - second[0], abs=0.3)
    assert len({y for _, y in still}) == 1
    assert {"8", "2", "3 steps"} <= {text.text for text in drawn.iter(f"{SVG}text")}


def test_long_curves_are_means_of_neighbours() -> None:
    values = np.random.default_rng(1).normal(5, 1, 100_000)
    (line,) = points(ElementTree.fromstring(curves({"noisy": list(values)}, "losses")))
    assert 100 < len(line) < 1000
