"""How often a fingerprint takes other content for the same, and changed files for other content.

    OMP_NUM_THREADS=1 python -m benchmarks.fingerprint [FOLDER OF IMAGES OR VIDEOS ...]

Of videos, which may lie in subfolders, it takes the middle picture. Beside the folders it renders 32 demo people. All are
marked first, as what is released is. The first table says how far each attack moves a fingerprint from that of the
release; the second how far those of different items of one folder are apart, and how many pairs count as the same content.
"""

import sys
from collections.abc import Iterator
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
from watermark.fingerprint import SAME, Fingerprint, difference
from watermark.keys import DEMO, master
from watermark.payload import Mark
from watermark.strength import Marker
from watermark.tile import bits_for

KEY = master(DEMO).shard("benchmark")


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


def fingerprint(picture: Picture) -> str:
    """The fingerprint of a still."""
    collected = Fingerprint(1)
    collected.add(picture)
    return collected.hex


def main() -> None:
    """Print both tables."""
    cv2.setNumThreads(1)
    groups = {folder: list(items(Path(folder))) for folder in sys.argv[1:]} | {"demo people": list(people())}
    released = {
        name: [Marker(KEY, Mark(number, bits_for(*p.shape[1::-1])))(p) for number, p in enumerate(pictures)]
        for name, pictures in groups.items()
    }
    known = {name: [fingerprint(picture) for picture in pictures] for name, pictures in released.items()}
    every = [(picture, print_) for name in groups for picture, print_ in zip(released[name], known[name], strict=True)]

    print(f"attack on {len(every)} items         mean   largest   taken for other content")
    rng = np.random.default_rng(0)
    for attack, how in PICTURE_ATTACKS.items():
        row(attack, [difference(print_, fingerprint(how.do(picture, rng))) for picture, print_ in every])
    for attack, with_ in VIDEO_ATTACKS.items():
        coded = (next(decoded(encoded([picture] * 2, Fraction(25), with_))) for picture, _ in every)
        row(attack, [difference(print_, fingerprint(one)) for one, (_, print_) in zip(coded, every, strict=True)])

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
