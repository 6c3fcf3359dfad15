"""The mark: what it changes, costs and withstands, beside the package invisible-watermark, and what was promised of it.

    python -m benchmarks.watermark [--quick] [--pictures FOLDER] [--clips FOLDER] [PART ...]

Parts are pictures, videos, sounds, speed and unmarked; without one, all. Photographs come from a folder (the figures in
README.md are of the 24 Kodak images) or from scikit-image, people from the demo corpus, which is rendered first, and more
clips and their speech from another folder (GRID). The rivals need, without what they would pull in,

    pip install --no-deps invisible-watermark==0.2.0 onnxruntime PyWavelets

and PESQ needs `pip install pesq`; what is not installed is left out. Rates have 95 % confidence intervals (Clopper and
Pearson); several payloads in one picture are counted as so many trials. Times are CPU time of one thread.
"""

import argparse
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from forgeline.compute import one_thread

PARTS = ("pictures", "videos", "sounds", "speed", "unmarked")


def main() -> None:
    """Print the tables of the parts, and at the end each goal beside its figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.watermark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a few of each: minutes, and no certainty")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="photographs, such as the Kodak images")
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="filmed people, such as GRID")
    given = parser.parse_args()
    for part in set(given.parts) - set(PARTS):
        parser.error(f"there is no part {part!r}; choose from {', '.join(PARTS)}")
    one_thread()  # before NumPy is imported
    import cv2

    from benchmarks.attacks import missing_encoders
    from benchmarks.watermark import pictures, sounds, speed, unmarked, videos
    from benchmarks.watermark.figures import table
    from benchmarks.watermark.media import Material
    from benchmarks.watermark.methods import HOW_TO_INSTALL, rivals

    cv2.setNumThreads(1)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}", flush=True)
    if missing_encoders():
        raise SystemExit(f"PyAV has no encoder {', '.join(missing_encoders())}: install the wheel from PyPI")
    others = rivals()
    if not others:
        print(f"invisible-watermark: not installed; {HOW_TO_INSTALL}")
    with tempfile.TemporaryDirectory() as scratch:
        material = Material(given.pictures, given.clips, given.quick, Path(scratch))
        parts = {
            "pictures": lambda: pictures.measure(material, others),
            "videos": lambda: videos.measure(material, others),
            "sounds": lambda: sounds.measure(material),
            "speed": lambda: speed.measure(material, others),
            "unmarked": lambda: unmarked.measure(material),
        }
        goals = [goal for part in given.parts or PARTS for goal in parts[part]()]
    table(
        "Goals",
        ("what", "goal", "measured", ""),
        [(goal.what, goal.goal, goal.measured, "met" if goal.met else "**missed**") for goal in goals],
    )


if __name__ == "__main__":
    main()
