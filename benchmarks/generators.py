"""CPU time a frame and peak memory of the generators that need no training, on one thread, at several picture sizes.

Run `python -m benchmarks.generators`. The parents are two demo people, rendered once at 256 pixels and enlarged: what a
generator does depends on the size of the face in pixels, not on what the face shows. Decoding and tracking are not counted
(see `benchmarks/faces.py`), the generator's own decoding passes are not either, since the pictures lie in memory.
"""

import resource
import time
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np

from forgeline.clip import Clip, Picture, Sound
from forgeline.faces import FaceFinder, track_faces
from generators.table import GENERATORS
from sources import heads

FRAMES, SIZES = 24, (256, 512, 1080)


def parent(seed: int, size: int, pictures: list[Picture], finder: FaceFinder) -> Clip:
    """A clip of these pictures, enlarged to `size`, with its track and some noise as speech."""
    large = [np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8) for picture in pictures]
    noise = np.random.default_rng(seed).normal(0, 0.1, 16000).astype(np.float32)
    speech = Sound(noise * np.abs(np.sin(np.arange(16000) / 1500)).astype(np.float32), 16000)
    clip = Clip("video", size, size, Fraction(25), FRAMES, lambda: iter(large), lambda: speech, name=f"person {seed}")
    return replace(clip, track=track_faces(clip, finder)[0])


def rendered(seed: int) -> list[Picture]:
    """A head that turns and talks, at 256 pixels; every fourth frame is rendered, the rest repeat it."""
    rng = np.random.default_rng(seed)
    who, where = heads.person(rng, seed / 3, seed / 3, 0.3), heads.scene(rng)
    frames = []
    for step in range(FRAMES // 4):
        expression = heads.Expression(jaw=0.5 + 0.5 * np.sin(step))
        frames += [heads.frame(who, expression, heads.Pose(yaw=0.05 * step), where, 256, rng)] * 4
    return frames


def main() -> None:
    """Print a table: generator, picture size, CPU milliseconds a frame."""
    cv2.setNumThreads(1)
    finder = FaceFinder()
    people = [rendered(seed) for seed in (1, 2)]
    print(f"{'generator':14} {'picture':>8} {'face':>5} {'ms/frame':>9}")
    for size in SIZES:
        parents = [parent(seed, size, pictures, finder) for seed, pictures in enumerate(people, 1)]
        track = parents[0].track
        face = 0 if track is None else round(float(np.nanmean(track.box[:, 2] - track.box[:, 0])))
        for name, section in GENERATORS.items():
            generator = section()
            cast = parents[: {"own": 1, "pair": 2}.get(getattr(generator, "casting", "nobody"), 0)]
            if not cast:
                continue
            for _ in range(2):  # the first time compiles
                start = time.process_time()
                for _ in generator(cast, np.random.default_rng(0)).pictures:  # type: ignore[operator]
                    pass
                spent = time.process_time() - start
            print(f"{name:14} {size:8} {face:5} {1000 * spent / FRAMES:9.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
