"""How many hard faces each detector finds, by itself and as second of two, and what a search costs.

    python -m benchmarks.ingest.detectors [VIDEO ...]

Heads are drawn in front of a larger background; the first picture of each video that is named is made hard in the same ways.
A face is found where its mesh lies over it (0.4 of what both cover); a face elsewhere is false. Times are CPU milliseconds
of one single-threaded process a picture of 1280x720. Nets that this machine lacks are fetched.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from forgeline.boxes import Floats, overlap
from forgeline.clip import Picture
from forgeline.detectors import DetectorName
from forgeline.faces import Face, FaceFinder
from forgeline.video import open_video
from sources.heads import Expression, Pose, frame, person, scene

PAIRS: tuple[tuple[DetectorName, DetectorName | None], ...] = (
    ("mediapipe", None),
    ("mediapipe", "yunet"),
    ("mediapipe", "mtcnn"),
    ("yunet", None),
    ("mtcnn", None),
)
HEADS = 6
STAGE = (1280, 720)


Case = tuple[Picture, Floats]
"""A picture, and the box of the face in it."""


def main(paths: list[Path]) -> None:
    finders = {f"{first}, then {second}" if second else first: FaceFinder(first, second) for first, second in PAIRS}
    print(f"| pictures | {' | '.join(finders)} |")
    print("|---|" + "---|" * len(finders))
    usual = finders["mediapipe"]
    people = [head(seed) for seed in range(HEADS)] + [next(open_video(path).pictures()) for path in paths]
    shown = [(picture, usual.find(picture)[0]) for picture in people]
    spent, wrong, looked = dict.fromkeys(finders, 0.0), dict.fromkeys(finders, 0), 0
    for name, cases in [*hard(shown), *sides(usual)]:
        cells = []
        for which, finder in finders.items():
            hits = 0
            for picture, truth in cases:
                start = time.process_time()
                found = finder.find(picture)
                spent[which] += time.process_time() - start
                over = [overlap(face.box, truth) > 0.4 for face in found]
                hits += any(over)
                wrong[which] += len(over) - sum(over)
            cells.append(f"{hits} of {len(cases)}")
        looked += len(cases)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"| false faces, of {looked} pictures | {' | '.join(map(str, wrong.values()))} |")
    print(f"| ms a picture | {' | '.join(f'{1000 * each / looked:.0f}' for each in spent.values())} |")


def hard(shown: list[tuple[Picture, Face]]) -> Iterator[tuple[str, list[Case]]]:
    """What makes a face hard, by name, with every person's picture made so."""
    rng = np.random.default_rng(0)
    for share in (0.10, 0.04, 0.025, 0.018):
        yield f"{share:.1%} of the width", [placed(*each, share) for each in shown]
    for light in (0.1, 0.05, 0.03):
        yield f"light {light:.0%}", [(dark(picture, light, rng), box) for picture, box in (placed(*e, 0.15) for e in shown)]
    yield "4 % of the width, light 10 %", [(dark(p, 0.1, rng), box) for p, box in (placed(*each, 0.04) for each in shown)]
    for degrees in (30, 60, 90):
        yield f"{degrees}° to the shoulder", [placed(*each, 0.15, turn) for each in shown for turn in (degrees, -degrees)]


def sides(finder: FaceFinder) -> Iterator[tuple[str, list[Case]]]:
    """Drawn heads that look to the side; where they are is known from the same heads seen from the front."""
    for degrees in (30, 45, 60, 75):
        cases = []
        for seed in range(HEADS):
            front = finder.find(head(seed))[0]
            for yaw in (degrees, -degrees):
                picture, box = placed(head(seed, np.radians(yaw)), front, 0.15)
                cases.append((picture, box))
        yield f"{degrees}° to the side", cases


def placed(picture: Picture, face: Face, share: float, degrees: float = 0.0) -> Case:
    """A picture, turned and scaled so that its face is `share` of the stage's width, with the face's middle off centre."""
    x0, y0, x1, y1 = face.box
    turn = cv2.getRotationMatrix2D(((x0 + x1) / 2, (y0 + y1) / 2), degrees, share * STAGE[0] / max(x1 - x0, y1 - y0))
    turn[:, 2] += np.array([0.4 * STAGE[0], 0.45 * STAGE[1]]) - ((x0 + x1) / 2, (y0 + y1) / 2)
    soft = cv2.GaussianBlur(picture, (0, 0), max(0.01, 0.4 / np.hypot(*turn[0, :2])))  # else a small one is all edges
    there = cv2.warpAffine(soft, turn, STAGE, borderMode=cv2.BORDER_CONSTANT, borderValue=(118, 112, 105))
    mesh = face.mesh[:, :2] @ turn[:, :2].T + turn[:, 2]
    return np.asarray(there, np.uint8), np.concatenate([mesh.min(0), mesh.max(0)])


def dark(picture: Picture, light: float, rng: np.random.Generator) -> Picture:
    """What a camera without enough light gives: little, and noise of 1.5 levels."""
    return np.clip(picture * light + rng.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)


def head(seed: int, yaw: float = 0.0) -> Picture:
    rng = np.random.default_rng(seed)
    return frame(person(rng, *rng.random(3)), Expression(), Pose(yaw=yaw), scene(rng), 320, rng)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
