"""How often a fingerprint takes other content for the same, and changed files for other content.

    OMP_NUM_THREADS=1 python -m benchmarks.fingerprint [FOLDER OF IMAGES OR VIDEOS ...]

Of videos, which may lie in subfolders, it takes the middle picture. Beside the folders it renders 32 demo people. All are
marked first, as what is released is. The first table says how far each attack moves a fingerprint from that of the
release; the second what is said of parts, when the mark has told how they lie, and of parts that are said to be of another
item; the third how far whole items of one folder are apart, and how many pairs count as the same content.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, islice
from pathlib import Path

import cv2
import numpy as np

from benchmarks.attacks import PICTURE_ATTACKS, VIDEO_ATTACKS, decoded, encoded
from forgeline.clip import Picture
from forgeline.image import open_image
from forgeline.video import open_video
from sources import heads
from watermark.find import Place
from watermark.fingerprint import SAME, Fingerprint, difference
from watermark.keys import DEMO, master
from watermark.payload import Mark
from watermark.strength import Marker
from watermark.tile import TILE, bits_for

KEY = master(DEMO).shard("benchmark")
CUTS = (
    ("90 %", 0.9, Place()),
    ("80 %", 0.8, Place()),
    ("80 %, halved", 0.8, Place(scale_x=0.5, scale_y=0.5)),
    ("80 %, mirrored, turned 2°", 0.8, Place(mirrored=True, turn=2)),
    ("70 %", 0.7, Place()),
    ("60 %", 0.6, Place()),
    ("50 %", 0.5, Place()),
)


def items(folder: Path) -> Iterator[Picture]:
    """One picture of each file."""
    for path in sorted(folder.rglob("*.*")):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            yield next(open_image(path).pictures())
        elif path.suffix.lower() in (".mp4", ".mpg", ".avi", ".mkv", ".mov"):
            clip = open_video(path)
            yield next(islice(clip.pictures(), clip.frames // 2, None))


def people() -> Iterator[Picture]:
    """Demo people, 256 pixels a side."""
    for number in range(32):
        rng = np.random.default_rng(number)
        who, where = heads.person(rng, *rng.random(3)), heads.scene(rng)
        yield heads.frame(who, heads.Expression(jaw=0.3), heads.Pose(yaw=rng.uniform(-0.2, 0.2)), where, 256, rng)


def collected(picture: Picture) -> Fingerprint:
    """The fingerprint of a still."""
    found = Fingerprint(1)
    found.add(picture)
    return found


def cut(picture: Picture, place: Place, left: float, top: float, share: float) -> tuple[Picture, Place]:
    """`share` of the picture each way, from the pixel (left, top) on, mirrored, scaled and turned; and how its mark lies."""
    height, width = picture.shape[:2]
    size = round(share * width * place.scale_x), round(share * height * place.scale_y)
    turn = place.matrix()
    middle = turn @ (left + share * width / 2, top + share * height / 2)
    part = cv2.warpAffine(picture, np.column_stack([turn, np.array(size) / 2 - middle]), size)
    return np.asarray(part, np.uint8), replace(place, right=-left % TILE, down=-top % TILE)


def main() -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    groups = {folder: list(items(Path(folder))) for folder in sys.argv[1:]} | {"demo people": list(people())}
    released = {
        name: [Marker(KEY, Mark(number, bits_for(*p.shape[1::-1])))(p) for number, p in enumerate(pictures)]
        for name, pictures in groups.items()
    }
    known = {name: [collected(picture).hex for picture in pictures] for name, pictures in released.items()}
    every = [(picture, print_) for name in groups for picture, print_ in zip(released[name], known[name], strict=True)]

    print(f"attack on {len(every)} items         mean   largest   taken for other content")
    rng = np.random.default_rng(0)
    for attack, how in PICTURE_ATTACKS.items():
        row(attack, [difference(print_, collected(how.do(picture, rng)).hex) for picture, print_ in every])
    for attack, with_ in VIDEO_ATTACKS.items():
        coded = (next(decoded(encoded([picture] * 2, Fraction(25), with_))) for picture, _ in every)
        row(attack, [difference(print_, collected(one).hex) for one, (_, print_) in zip(coded, every, strict=True)])

    print("\nparts, of one item         same   unknown   different      said to be of another: same   unknown   different")
    for name, share, place in CUTS:
        own, foreign = Counter[str](), Counter[str]()
        for number, (picture, print_) in enumerate(every):
            height, width = picture.shape[:2]
            left, top = rng.uniform(0, 1 - share, 2) * (width, height)
            part, lies = cut(picture, place, left, top, share)
            seen = collected(part)
            own[seen.shows(print_, (width, height), lies)] += 1
            other, its = every[number - 7]
            if difference(its, print_) > SAME:  # several clips show one speaker of GRID
                foreign[seen.shows(its, (other.shape[1], other.shape[0]), lies)] += 1
        print(f"{name:24} {own['same']:6} {own['unknown']:9} {own['different']:11} {foreign['same']:33}", end="")
        print(f" {foreign['unknown']:9} {foreign['different']:11}")

    print("\npairs within              count   mean   smallest   taken for the same")
    for name, prints in known.items():
        apart = [difference(a, b) for a, b in combinations(prints, 2)]
        same = sum(one <= SAME for one in apart)
        print(f"{name[-24:]:24} {len(apart):6}   {np.mean(apart):.3f}   {min(apart):.3f}   {same:6}")


def row(attack: str, moved: list[float]) -> None:
    """Print what an attack did."""
    print(f"{attack:24} {np.mean(moved):11.3f}   {max(moved):.3f}   {sum(one > SAME for one in moved):6}")


if __name__ == "__main__":
    main()
