"""Bars as SVG: a page that needs no script and no network, for `dvc plots show`."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

_ROW, _LABEL, _BAR, _NUMBER = 18, 190, 360, 90
_INK, _FILL = "#333", "#4c78a8"


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
    size = f'width="{_LABEL + _BAR + _NUMBER}" height="{y + 20}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"
