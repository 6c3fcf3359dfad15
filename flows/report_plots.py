"""The report's pictures, as SVG: the design matrix, and figures with their intervals.

Same data, same bytes: ids are salted, nothing tells when or where it was drawn, and the font is the one that Matplotlib
brings. Their colours follow the reader's choice of light or dark.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flows.coverage import Coverage
from forgeline.sample import SPLITS

STATES = {"empty": "#f0a58f", "thin": "#f2dc9c", "enough": "#a9cdeb"}
"""The fill of a cell."""
_ON_FILL = "#15181b"
_INKS = {"#1c1f22": ("ink", "#e8e9ea"), "#5c636b": ("faint", "#a2a9b0"), "#d9dad6": ("line", "#383d42")}
"""Colours on light paper: their name, and what takes their place on dark."""
_INK, _FAINT, _LINE = _INKS
_SPLIT = {"train": "#8a8f94", "val": "#3f87c9", "test": "#d9641e"}
_CELL = 0.25  # inches
_TEXT = 7.0  # points
_PANELS, _PANEL_WIDTH, _ROW = 3, 3.4, 0.14  # beside each other; inches


@dataclass(frozen=True)
class Dot:
    """One figure: its row's label, the split, the value and its interval, where it has one."""

    row: str
    split: str
    value: float
    low: float | None
    high: float | None


def matrix(cover: Coverage) -> str:
    """Masters: a row a method, a column a level, in a cell the samples; with the words for it where there is nothing."""
    methods = [
        method for method, variant in cover.lines if variant == "master" and any(key[0] == method for key in cover.cells)
    ]
    with _drawing((1.9 + _CELL * max(len(cover.levels), 12), 2.2 + _CELL * max(len(methods), 1))) as (figure, drawn):
        if not methods or not cover.levels:
            return drawn("nothing to count")
        wide, high = figure.get_size_inches()
        across, down = _CELL * len(cover.levels) / wide, _CELL * len(methods) / high
        axes = figure.add_axes((1.7 / wide, 0.1 / high, across, down))
        axes.set(xlim=(0, len(cover.levels)), ylim=(len(methods), 0), xticks=[], yticks=[])
        for y, method in enumerate(methods):
            axes.text(-0.4, y + 0.5, method, ha="right", va="center", color=_INK)
            for x, level in enumerate(cover.levels):
                cell = cover.cells.get((method, "master", level.factor, level.name))
                if cell is not None:
                    axes.add_patch(_rectangle(x, y, STATES[cell.state]))
                    weight = "bold" if cell.state == "empty" else "normal"
                    axes.text(x + 0.5, y + 0.55, str(cell.samples), ha="center", va="center", color=_ON_FILL, weight=weight)
        for x, level in enumerate(cover.levels):
            axes.text(x + 0.5, -0.3, level.name, rotation=60, ha="left", va="bottom", rotation_mode="anchor", color=_INK)
            if x == 0 or cover.levels[x - 1].factor != level.factor:
                axes.plot([x, x], [-6.3, len(methods)], color=_FAINT, lw=0.7, clip_on=False)
                axes.text(
                    x + 0.2, -6.0, level.factor, rotation=25, ha="left", va="bottom", rotation_mode="anchor", color=_FAINT
                )
        axes.set_frame_on(False)
        return drawn()


def intervals(panels: Mapping[str, Sequence[Dot]]) -> str:
    """A panel a figure, a row a method, a dot a split; a line through it is its interval of 95 %."""
    rows = [max(len({dot.row for dot in dots}), 1) for dots in panels.values()]
    lines = [max(rows[i : i + _PANELS]) * _ROW + 0.55 for i in range(0, len(rows), _PANELS)]
    with _drawing((_PANELS * _PANEL_WIDTH, 0.3 + max(sum(lines), 0.5))) as (figure, drawn):
        if not panels:
            return drawn("no figures")
        wide, high = figure.get_size_inches()
        top = 0.3
        for number, (name, dots) in enumerate(panels.items()):
            labels = sorted({dot.row for dot in dots})
            left = (number % _PANELS) * _PANEL_WIDTH + 1.35
            tall = len(labels) * _ROW
            axes = figure.add_axes((left / wide, 1 - (top + 0.2 + tall) / high, (_PANEL_WIDTH - 1.5) / wide, tall / high))
            axes.set_title(name, loc="left", fontsize=_TEXT + 0.5, color=_INK, pad=3, weight="bold", parse_math=False)
            axes.set_yticks(range(len(labels)), labels, parse_math=False)
            axes.set_ylim(len(labels) - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=4)
            axes.tick_params(length=0, pad=2, colors=_FAINT, labelsize=6)
            axes.grid(axis="both", color=_LINE, lw=0.5)
            axes.set_axisbelow(True)
            for spine in axes.spines.values():
                spine.set_visible(False)
            for split in SPLITS:
                some = [dot for dot in dots if dot.split == split]
                at = [labels.index(dot.row) + 0.25 * (SPLITS.index(split) - 1) for dot in some]
                at_and_dot = zip(at, some, strict=True)
                bounds = [(y, dot.low, dot.high) for y, dot in at_and_dot if dot.low is not None and dot.high is not None]
                if bounds:
                    axes.hlines(*zip(*bounds, strict=True), color=_SPLIT[split], lw=1.0)
                axes.plot([dot.value for dot in some], at, "o", ms=2.6, color=_SPLIT[split], mew=0)
            if number % _PANELS == _PANELS - 1:
                top += lines[number // _PANELS]
        for x, split in enumerate(SPLITS):
            figure.text((1.35 + 0.6 * x) / wide, 1 - 0.14 / high, f"● {split}", color=_SPLIT[split])
        return drawn()


@contextmanager
def _drawing(size: tuple[float, float]) -> Iterator[tuple[Any, Callable[..., str]]]:
    """A Matplotlib figure of a size in inches, and what gives its SVG, or one of a few words instead."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {"svg.hashsalt": "forgeline", "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": _TEXT}
    with rc_context(settings | {"text.parse_math": False, "axes.unicode_minus": True}):
        figure = Figure(figsize=size)

        def drawn(words: str = "") -> str:
            if words:
                figure.text(0.02, 0.5, words, color=_FAINT)
            return _svg(figure)

        yield figure, drawn


def _svg(figure: Any) -> str:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the browser has the glyphs that Matplotlib's font lacks
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode().replace("'DejaVu Sans'", "'DejaVu Sans', sans-serif")
    light, dark = [], []
    for colour, (name, other) in _INKS.items():
        text = text.replace(colour, f"var(--{name})")
        light.append(f"--{name}: {colour}")
        dark.append(f"--{name}: {other}")
    style = f"svg {{ {'; '.join(light)} }} @media (prefers-color-scheme: dark) {{ svg {{ {'; '.join(dark)} }} }}"
    return text.replace('<style type="text/css">', f'<style type="text/css">{style} ', 1)


def _rectangle(x: int, y: int, fill: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, facecolor=fill, edgecolor="none")
