"""Generators: what their pictures cost, and how good they are.

    python -m benchmarks.generators [--clips FOLDER] [--embedding FILE] [--params FILE] [--steps N] [--only NAME] [PART ...]

Parts are speed, quality, attributes (whether probes that know rendered people see what was edited), and portraits: what
training buys those that paint people who don't exist. Without one, all of them.
The people are those of the demo corpus, rendered first, or those of the clips in a folder, each taken for another person;
everyone is the target of the next one's face. Generators have the defaults of their sections, or what a params file says
(which may hold chains, and nets that a team brings). Those that learn learn from the very clips that are shown. Identities
are compared by a net that knows people by their faces, as ONNX (1, 3, 112, 112) in -1 … 1, aligned as for ArcFace; without
one the columns are empty. Times are CPU time of one thread.
"""

import argparse
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from forgeline.compute import one_thread

PARTS = ("speed", "quality", "attributes", "portraits")


def main() -> None:
    """Print the tables of the parts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="filmed people, such as GRID")
    parser.add_argument("--most", type=int, default=6, metavar="N", help="clips that are taken (6)")
    parser.add_argument("--embedding", type=Path, metavar="FILE", help="a face recognition net (ONNX)")
    parser.add_argument("--params", type=Path, metavar="FILE", help="take the generators of a params file")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps, instead of the sections' own")
    parser.add_argument("--only", action="append", metavar="NAME", help="this generator; may be given again")
    parser.add_argument("--budget", action="append", type=float, metavar="S", help="CPU seconds of training (15, 60, 180)")
    given = parser.parse_args()
    for part in set(given.parts) - set(PARTS):
        parser.error(f"there is no part {part!r}; choose from {', '.join(PARTS)}")
    one_thread()  # before NumPy is imported
    import cv2

    from benchmarks.generators import portraits, probe, quality, speed
    from benchmarks.generators.makers import Makers
    from benchmarks.generators.people import demo_people, filmed_people
    from benchmarks.watermark.figures import table

    cv2.setNumThreads(1)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path | None = given.clips
        people = filmed_people(folder, given.most) if folder else demo_people(given.most, Path(scratch))
        first = people[0]
        shown = f"{folder.name if folder else 'demo'}: {len(people)} people, {first.width}x{first.height}"
        makers = Makers(given.params, given.only, given.steps, people, Path(scratch))
        parts = {
            "speed": lambda: speed.measure(makers, people, Path(scratch), shown),
            "quality": lambda: quality.measure(makers, people, given.embedding, shown),
            "attributes": lambda: probe.measure(makers, people, given.only, shown),
            "portraits": lambda: portraits.measure(people, given.budget or (15, 60, 180), given.only, Path(scratch), shown),
        }
        goals = [goal for part in given.parts or PARTS for goal in parts[part]()]
    said = [(goal.what, goal.goal, goal.measured, "met" if goal.met else "**missed**") for goal in goals]
    table("Goals", ("what", "goal", "measured", ""), said)


if __name__ == "__main__":
    main()
