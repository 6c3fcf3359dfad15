"""What proving splits of 10 000 and 100 000 clips costs, what it finds of planted copies, and what it ties by mistake.

    OMP_NUM_THREADS=1 python -m benchmarks.splits [CLIPS [OF_A_PERSON]]

No media: prints are drawn, of clips of 10 s. Motion is as wide and as fast as that of 27 clips of GRID, and a sound's bits
change as often (`SWAY`, `SIGMA`); a person's looks are alike, and all people's somewhat. Of every hundred clips one is there
a second time under another person's name: 50 to 100 % of it, from anywhere between two moments, half of them mirrored; with
noise in motion as re-encoding at crf 40 makes it (`prints.TREMBLE`), in looks of 3 grey levels, and with 15 % of the sound's
bits wrong (AAC of 16 kbit/s makes 19 % at most). OF_A_PERSON is 10 by default; 1000 is as in GRID, where a thousand clips of
one person in one room all look alike.

Then the plan's own code runs in a process of its own: `look_alike` reads all prints and compares them, splits are assigned
and proven, and the certificate is made. Told are CPU seconds of each step, the peak of the process's memory, how many of the
copies were found by picture and by sound, and how many ties there are between clips that have nothing in common.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from benchmarks.manifest import recipe, sample
from flows import workspace
from flows.params import Params, Plan, load_params
from flows.splits import assign_splits, certify, look_alike, prove_disjoint
from forgeline import near
from forgeline.prints import CHANNELS, LOOK, MOTION_HZ, SOUND_HZ, Print
from forgeline.sample import Sample

SECONDS = 10.0
ONE_IN = 100
SWAY = np.array([1.9, 1.6, 1.9, 2.5, 2.6, 2.6])
"""Standard deviation of each channel of motion, in units of `TREMBLE`: the median of 27 clips of GRID."""
SIGMA = {"motion": 2.5, "sound": 2.0}
"""Moments by which noise is smoothed: motion is 0.96 like itself a moment later, 0.37 five later (GRID: 0.96, 0.54), and 81 and
63 % of a sound's bits are the same one moment later and two (GRID: 80, 62)."""
WRONG_BITS, GREY_LEVELS = 0.15, 3.0
ALL_FACES, PERSON = 0.6, 0.34
"""Of the variance of looks, what all faces share and what a person's clips do; the rest is the recording's."""
ROOM = 0.99
"""The same with a thousand clips of a person, of people and room together."""

Floats = NDArray[np.float64]


def main(sizes: list[int], of_a_person: int) -> None:
    names = ("clips", "of a person", "reading", "pictures", "sound", "splits", "peak MiB", "by picture", "by sound", "false")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    context = multiprocessing.get_context("spawn")
    params = load_params(Path("params.tiny.yaml").resolve())
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder, context.Pool(1) as pool:
            pool.apply(write, (Path(folder), count, of_a_person))
            with context.Pool(1) as alone:
                told = alone.apply(prove, (Path(folder), count, of_a_person, params))
        print(f"| {count} | {of_a_person} | {' | '.join(told)} |", flush=True)


def copies(count: int) -> int:
    return count // ONE_IN


def samples(count: int, of_a_person: int) -> list[Sample]:
    """Clips of so many people, and then the copies under names of their own."""
    made = []
    for number in range(count + copies(count)):
        who = f"p{number // of_a_person}" if number < count else f"copied {number - count}"
        row = sample(recipe("ingest", {"clip": number}), "real", role="ingested", target_id=f"demo:{who}")
        made.append(row)
    return made


def write(folder: Path, count: int, of_a_person: int) -> None:
    """Draw all prints."""
    os.chdir(folder)
    rows = samples(count, of_a_person)
    workspace.print_file("demo", rows[0].sample_id).parent.mkdir(parents=True)
    for number, row in enumerate(rows):
        copied = number >= count
        made = drawn((number - count) * ONE_IN if copied else number, of_a_person, copied)
        with workspace.print_file("demo", row.sample_id).open("wb") as file:
            np.savez_compressed(file, motion=made.motion, look=made.look, sound=made.sound, loud=made.loud)


def drawn(number: int, of_a_person: int, copied: bool = False) -> Print:
    """The print of a clip, or of a copy of it."""
    rng = np.random.default_rng((1, number))
    moments, heard = round(SECONDS * MOTION_HZ), round(SECONDS * SOUND_HZ)
    motion = smooth(rng.normal(size=(moments, len(CHANNELS))), SIGMA["motion"]) * SWAY
    tones = np.diff(np.diff(smooth(rng.normal(size=(heard + 1, 33)), SIGMA["sound"]), axis=1), axis=0)
    level = smooth(rng.normal(size=(heard, 1)), 4)[:, 0]
    look = face(number, of_a_person)
    if copied:
        rng = np.random.default_rng((2, number))
        share = rng.uniform(0.5, 1)
        start = rng.uniform(0, 1 - share) * SECONDS
        motion, tones, level = (
            cut(each, start * rate, round(share * len(each) - 1))
            for each, rate in ((motion, MOTION_HZ), (tones, SOUND_HZ), (level, SOUND_HZ))
        )
        motion = motion + smooth(rng.normal(size=motion.shape), 1)
        motion[:, -1] *= rng.choice([-1, 1])
        look = look + rng.normal(size=LOOK) * GREY_LEVELS
    bits = (tones > 0) ^ (rng.random(tones.shape) < (WRONG_BITS if copied else 0))
    return Print(
        motion.astype(np.float16),
        look.clip(0, 255).round().astype(np.uint8),
        (bits @ (1 << np.arange(32, dtype=np.uint64))).astype(np.uint32),
        level > -0.7,
    )


def smooth(noise: Floats, sigma: float) -> Floats:
    """Smoothed along time, of variance 1."""
    return np.asarray(gaussian_filter1d(noise, sigma, axis=0, mode="nearest") * np.sqrt(2 * sigma * np.sqrt(np.pi)))


def cut(rows: Floats, start: float, count: int) -> Floats:
    """So many rows from a moment on that may lie between two."""
    at = np.arange(count) + start
    whole = np.floor(at).astype(int)
    part = (at - whole).reshape(-1, *[1] * (rows.ndim - 1))
    after = np.minimum(whole + 1, len(rows) - 1)
    return np.asarray(rows[whole] * (1 - part) + rows[after] * part)


@lru_cache(maxsize=4)
def field(*seed: int) -> Floats:
    return smooth(smooth(np.random.default_rng(seed).normal(size=LOOK), 2).T, 2).T


def face(number: int, of_a_person: int) -> Floats:
    own = 1 - ALL_FACES - PERSON
    shared = np.sqrt(ALL_FACES) * field(3) + np.sqrt(PERSON) * field(4, number // of_a_person)
    if of_a_person >= 1000:
        shared, own = shared * np.sqrt(ROOM / (1 - own)), 1 - ROOM
    return np.asarray(128 + 31 * (shared + np.sqrt(own) * field(5, number)))


def prove(folder: Path, count: int, of_a_person: int, params: Params) -> list[str]:
    """What the plan does with them; the cells of the table."""
    os.chdir(folder)
    rows = samples(count, of_a_person)
    spent: defaultdict[str, float] = defaultdict(float)

    def timed(name: str) -> Any:
        run: Callable[[Any], Any] = getattr(near, name)

        def measured(prints: Any) -> Any:
            start = time.process_time()
            found = run(prints)
            spent[name] += time.process_time() - start
            return found

        return mock.patch.object(near, name, measured)

    with timed("same_picture"), timed("same_sound"):
        start = time.process_time()
        alike = look_alike(rows, params)
        spent["reading"] = time.process_time() - start - spent["same_picture"] - spent["same_sound"]
    start = time.process_time()
    components = assign_splits(rows, Plan(), alike)
    prove_disjoint(components, rows, alike)
    certify(components, rows, alike)
    spent["splits"] = time.process_time() - start
    place = {row.sample_id: number for number, row in enumerate(rows)}
    right: Counter[str] = Counter()
    false = 0
    for tie in alike.proof:
        rule, *both = tie.split()
        one, other = sorted(place[clip] for clip in both)
        planted = other >= count and one == (other - count) * ONE_IN
        right[rule] += planted
        false += not planted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    steps = [f"{spent[name]:.0f}" for name in ("reading", "same_picture", "same_sound", "splits")]
    found = [f"{right[rule]} of {copies(count)}" for rule in ("picture", "sound")]
    return [*steps, f"{peak:.0f}", *found, str(false)]


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(given[:1] or [10_000, 100_000], given[1] if len(given) > 1 else 10)
