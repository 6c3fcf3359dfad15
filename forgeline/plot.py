"""Bars and curves as SVG, for `dvc plots show`: its own curves need a script from the network, these need none."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import numpy as np

_ROW, _LABEL, _BAR, _NUMBER = 18, 190, 360, 90
_HEIGHT, _POINTS = 80, 240
_INK, _FILL, _FAINT = "#333", "#4c78a8", "#ddd"


def bars(panels: Mapping[str, Mapping[str, float]], title: str) -> str:
    """An SVG with a panel for each of `panels`: horizontal bars from 0 to the panel's largest value, with their numbers."""
    y = 34
    parts = [f'<text x="10" y="22" font-size="15" fill="{_INK}">{escape(title)}</text>']
    for name, values in panels.items():
        y += 2 * _ROW
        parts.append(f'<text x="10" y="{y - 6}" font-weight="bold" fill="{_INK}">{escape(name)}</text>')
        longest = max((abs(v) for v in values.values()), default=0.0) or 1.0
        for label, value in values.items():
            width = max(value, 0.0) / longest * _BAR
            parts.append(f'<text x="{_LABEL}" y="{y + 12}" text-anchor="end" fill="{_INK}">{escape(label)}</text>')
            parts.append(f'<rect x="{_LABEL + 8}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 5}" fill="{_FILL}"/>')
            parts.append(f'<text x="{_LABEL + 14 + width:.1f}" y="{y + 12}" fill="{_INK}">{value:.4g}</text>')
            y += _ROW
    return _svg(parts, y + 20)


def curves(panels: Mapping[str, Sequence[float]], title: str) -> str:
    """An SVG with a panel for each of `panels`: a curve through its values, means of neighbours where they are many."""
    y = 34
    parts = [f'<text x="10" y="22" font-size="15" fill="{_INK}">{escape(title)}</text>']
    for name, values in panels.items():
        y += _ROW
        shown = [float(part.mean()) for part in np.array_split(np.asarray(values), min(_POINTS, len(values)))]
        low, high = min(shown), max(shown)
        at = [
            (_LABEL + i / max(len(shown) - 1, 1) * _BAR, (high - v) / ((high - low) or 1) * _HEIGHT + y)
            for i, v in enumerate(shown)
        ]
        parts.append(f'<text x="10" y="{y + _HEIGHT / 2 + 4}" font-weight="bold" fill="{_INK}">{escape(name)}</text>')
        for level, value in ((y, high), (y + _HEIGHT, low)):
            parts.append(f'<line x1="{_LABEL}" x2="{_LABEL + _BAR}" y1="{level}" y2="{level}" stroke="{_FAINT}"/>')
            parts.append(f'<text x="{_LABEL - 8}" y="{level + 4}" text-anchor="end" fill="{_INK}">{value:.3g}</text>')
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_FILL}" stroke-width="1.5"/>')
        y += _HEIGHT
    steps = max(map(len, panels.values()), default=0)
    parts.append(f'<text x="{_LABEL + _BAR}" y="{y + 16}" text-anchor="end" fill="{_INK}">{steps} steps</text>')
    return _svg(parts, y + 30)


def _svg(parts: Sequence[str], height: int) -> str:
    size = f'width="{_LABEL + _BAR + _NUMBER}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"
