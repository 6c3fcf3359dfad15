"""What the watermark costs and what it withstands.

    OMP_NUM_THREADS=1 python -m benchmarks.mark [FOLDER OF PICTURES ...]

CPU milliseconds of one thread, least of five: `embed` marks a picture, `analyse` gathers what one picture shows, `decode`
reads a payload from what was gathered under one key, `key` the same for each of 512 keys at once. Of a folder's pictures,
cut square and scaled, the table says how strongly they were marked, how many give their payload back, and the lowest score.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from forgeline.clip import Picture
from forgeline.image import open_image
from watermark.evidence import Evidence
from watermark.keys import DEMO, ShardKey, master
from watermark.payload import Mark, decode
from watermark.strength import Marker
from watermark.tile import Bins, bits_for, folded, layout

KEY = master(DEMO).shard("benchmark")
STRENGTH = 44.0


def milliseconds(work: Callable[[], object]) -> float:
    """The least of five means."""
    work()
    means = []
    for _ in range(5):
        runs, start = 0, time.process_time()
        while runs < 3 or time.process_time() - start < 0.05:
            work()
            runs += 1
        means.append((time.process_time() - start) / runs * 1000)
    return min(means)


def costs(side: int) -> dict[str, float]:
    """Milliseconds of each step for a noisy picture of `side` x `side` pixels."""
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.uniform(0, 255, (9, 9, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(coarse + rng.normal(0, 3, (side, side, 1)), 0, 255).astype(np.uint8)
    mark = Mark(1, bits_for(side, side))
    marker, plan = Marker(KEY, mark, strength_db=STRENGTH), layout(KEY.layout, mark.bits)

    def analyse() -> Bins:
        return plan.bins(folded(picture))

    evidence = Evidence(plan)
    evidence.add(analyse())
    keys: list[ShardKey] = [master(DEMO).shard(str(index)) for index in range(512)]
    return {
        "embed": milliseconds(lambda: marker(picture)),
        "analyse": milliseconds(analyse),
        "decode": milliseconds(lambda: evidence.carries(KEY, mark)),
        "key": milliseconds(lambda: decode(evidence.soft(keys))) / len(keys),
    }


def squares(folder: Path, side: int) -> Iterator[Picture]:
    """The folder's pictures, the middle cut square and scaled down."""
    for path in sorted(folder.iterdir()):
        picture = next(open_image(path).pictures())
        height, width = picture.shape[:2]
        edge = min(height, width)
        top, left = (height - edge) // 2, (width - edge) // 2
        cut = picture[top : top + edge, left : left + edge]
        yield np.asarray(cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(picture: Picture, quality: int) -> Picture:
    """The picture after JPEG compression."""
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def half(picture: Picture) -> Picture:
    """The picture scaled to half its size and back."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


ATTACKS: dict[str, Callable[[Picture], Picture]] = {
    "none": lambda picture: picture,
    "jpeg 75": lambda picture: jpeg(picture, 75),
    "jpeg 50": lambda picture: jpeg(picture, 50),
    "jpeg 30": lambda picture: jpeg(picture, 30),
    "half and back": half,
}


def robustness(folder: Path, side: int) -> None:
    """Print how many of the folder's pictures read back after each attack, the lowest score, and the mark's
    strength."""
    mark = Mark(1, bits_for(side, side))
    marker, plan = Marker(KEY, mark, strength_db=STRENGTH), layout(KEY.layout, mark.bits)
    pictures = list(squares(folder, side))
    marked = [marker(picture) for picture in pictures]
    psnr = [cv2.PSNR(before, after) for before, after in zip(pictures, marked, strict=True)]
    print(f"{side:5}  {np.mean(psnr):.1f} dB ({min(psnr):.1f} to {max(psnr):.1f})", end="")
    for name, attack in ATTACKS.items():
        read, scores = 0, []
        for picture in marked:
            evidence = Evidence(plan)
            evidence.add(plan.bins(folded(attack(picture))))
            read += evidence.carries(KEY, mark)
            scores.append(evidence.matched(KEY, mark))
        print(f"   {name} {read}/{len(pictures)} {min(scores):.1f}", end="")
    print()


def main() -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    print("pixels   embed  analyse  decode      key   (ms)")
    for side in (256, 512, 1024):
        cost = costs(side)
        print(f"{side:6}  {cost['embed']:6.2f}  {cost['analyse']:7.2f}  {cost['decode']:6.2f}  {cost['key']:7.4f}")
    for folder in sys.argv[1:]:
        print(f"\n{folder}, marked at {STRENGTH:g} dB: payloads read, lowest score")
        for side in (128, 256, 512):
            robustness(Path(folder), side)


if __name__ == "__main__":
    main()
