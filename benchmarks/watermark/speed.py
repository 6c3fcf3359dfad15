"""What marking and reading cost one thread, beside dwtDctSvd in the same run."""

import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from benchmarks.attacks import cropped
from benchmarks.watermark.figures import Goal, milliseconds, table
from benchmarks.watermark.media import Film, Material
from benchmarks.watermark.methods import Ours, Rival, gather, key, mark, reads_file
from forgeline.clip import Picture
from forgeline.image import write_image
from forgeline.video import Encoding
from watermark.payload import Mark
from watermark.strength import Marker
from watermark.tile import bits_for

_SIDES = (256, 512, 1024)
_FIXED_DB = 44.0


def measure(material: Material, rivals: Sequence[Rival]) -> list[Goal]:
    """Print the table of times, and give the goals for speed."""
    pictures, film = material.photographs[:6], material.rendered[0]
    rows: dict[str, dict[int, str]] = {}
    goals: list[Goal] = []
    for side in _SIDES:
        times = _ours([_square(picture, side) for picture in pictures])
        picture = _square(pictures[0], side)
        for rival in rivals:
            if rival.name == "rivaGan" and side != 512:  # seconds a picture
                continue
            marked = rival.mark(picture, 0)
            times[f"{rival.name}: mark"] = milliseconds(lambda rival=rival, picture=picture: rival.mark(picture, 0))  # type: ignore[misc]
            times[f"{rival.name}: read"] = milliseconds(
                lambda rival=rival, marked=marked: rival.reads(marked, 0, "aligned", False)  # type: ignore[misc]
            )
        for name, value in times.items():
            rows.setdefault(name, {})[side] = f"{value:.2f}"
        if side == 512:
            goals += _goals(times)
    frame = _frame_ms(film)
    goals.append(Goal("video, a frame of 512 px", "≤ 5 ms", f"{frame:.2f} ms", frame <= 5))
    table(
        "CPU milliseconds of one thread",
        ("step", *(f"{side} px" for side in _SIDES)),
        [(name, *(row.get(side, "–") for side in _SIDES)) for name, row in rows.items()],
    )
    return goals


def _goals(times: dict[str, float]) -> list[Goal]:
    found = [
        Goal("closed loop at 512 px", "≤ 50 ms", f"{times['closed loop']:.0f} ms", times["closed loop"] <= 50),
        Goal(
            "blind read at 512 px, nothing there",
            "≤ 500 ms",
            f"{times['blind read, nothing there']:.0f} ms",
            times["blind read, nothing there"] <= 500,
        ),
    ]
    if "dwtDctSvd: mark" in times:
        mark_ratio = times["dwtDctSvd: mark"] / times["one embedding pass"]
        read_ratio = times["dwtDctSvd: read"] / times["aligned read"]
        found = [
            Goal("embedding pass at 512 px", "≥ 10 × dwtDctSvd", f"{mark_ratio:.0f} ×", mark_ratio >= 10),
            Goal("aligned read at 512 px", "≥ 10 × dwtDctSvd", f"{read_ratio:.0f} ×", read_ratio >= 10),
            *found,
        ]
    return found


def _ours(pictures: Sequence[Picture]) -> dict[str, float]:
    """Milliseconds of each step; of those whose cost depends on the picture, the mean over all of them."""
    side = len(pictures[0])
    expected = mark(0, bits_for(side, side))
    fixed, loop = Marker(key(0), expected, strength_db=_FIXED_DB), Ours()
    marked = [loop.mark(picture, 0) for picture in pictures]
    one = pictures[0]
    turns = cycle(pictures)
    cut = [cropped(picture, 0.8, np.random.default_rng(0)) for picture in marked]
    return {
        "one embedding pass": milliseconds(lambda: fixed(one)),
        "closed loop": float(np.mean([milliseconds(lambda p=p: loop.mark(p, 0)) for p in pictures])),  # type: ignore[misc]
        "aligned read": milliseconds(lambda: gather([next(turns)], 0, expected.bits).carries(key(0), expected)),
        "blind read, crop 80 %": _blind(cut, expected),
        "blind read, nothing there": _blind(pictures, expected),
    }


def _blind(pictures: Sequence[Picture], expected: Mark) -> float:
    """Milliseconds to look for the mark in a PNG file, reading the file included."""
    with tempfile.TemporaryDirectory() as folder:
        spent = []
        for number, picture in enumerate(pictures[:4]):
            path = Path(folder) / f"{number}.png"
            write_image(path, picture)
            spent.append(milliseconds(lambda path=path: reads_file(path, 0, expected)))  # type: ignore[misc]
    return float(np.mean(spent))


def _frame_ms(film: Film) -> float:
    """Milliseconds a picture of a video, the search for its strength included."""
    height, width = film.pictures[0].shape[:2]

    def marked() -> None:
        marker = Marker(key(0), mark(0, bits_for(width, height)), Encoding().gop)
        for picture in film.pictures[:48]:
            marker(picture)

    return milliseconds(marked) / len(film.pictures[:48])


def _square(picture: Picture, side: int) -> Picture:
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    way = cv2.INTER_AREA if side < edge else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture[top : top + edge, left : left + edge], (side, side), interpolation=way), np.uint8)
