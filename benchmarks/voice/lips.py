"""How well the lips of `lip_sync` follow what is put under them, and how well the pictures hold.

    python -m benchmarks.voice.lips [FOLDER]

FOLDER holds videos of people who speak (GRID), at least two; without one the demo's people are rendered. Each clip says what
the next one says: by its sound, and where it has a truth beside it by its phonemes too. The lips are found anew in the made
pictures: `r` and `lag` (frames) are those of their gap with what was to be done; `static` is the r of a target that does not
move, which is as well as the mesh net sees lips at all. `flicker` is the change from picture to picture where something was
changed, in the target's own there. Times are CPU ms a frame of one thread, at the clips' own size and scaled to 512 pixels,
without decoding and tracking.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.generators.measures import Changes
from benchmarks.generators.people import demo_people, filmed_people, scaled
from forgeline.audio import fit
from forgeline.clip import Clip, Said, Track
from forgeline.faces import FaceFinder
from generators.lip_sync import LipSync, driven, speaking
from generators.mouth import gap

SIDE, FRAMES = 512, 24
LAGS = range(-6, 7)
HEAD = ("target", "speaker", "r", "static", "lag", "without a face", "flicker", "PSNR outside", "ms", "ms at 512 px")


@dataclass(frozen=True)
class Found:
    """What was measured of one made clip."""

    r: float
    lag: int
    lost: int
    flicker: float
    psnr: float
    cost: float


def main(folder: Path | None) -> None:
    """Print a table a way of driving, with a row a clip."""
    finder = FaceFinder()
    with tempfile.TemporaryDirectory() as scratch:
        people = filmed_people(folder, 100) if folder else _heard(demo_people(6, Path(scratch)), Path(scratch))
    ways = ("sound", "phonemes") if all(person.phonemes for person in people) else ("sound",)
    for way in ways:
        print(f"\nBy {way}:\n\n| {' | '.join(HEAD)} |\n" + "| --- " * len(HEAD) + "|")
        rows = []
        for number, target in enumerate(people):
            speaker = people[(number + 1) % len(people)]
            phonemes = speaker.phonemes if way == "phonemes" else ()
            found, static = measured(target, speaker, phonemes, finder), measured(_still(target), speaker, phonemes, finder)
            large = _cost(scaled(target, SIDE, FRAMES), speaker, phonemes)
            rows.append((found.r, static.r, found.flicker, found.cost, large))
            print(
                f"| {Path(target.name).stem} | {Path(speaker.name).stem} "
                f"| {found.r:.3f} | {static.r:.3f} | {found.lag} | {found.lost} "
                f"| {found.flicker:.2f} | {found.psnr:.1f} | {found.cost:.1f} | {large:.1f} |",
                flush=True,
            )
        r, static_r, flicker, cost, large = np.mean(rows, axis=0)
        print(f"| mean | | {r:.3f} | {static_r:.3f} | | | {flicker:.2f} | | {cost:.1f} | {large:.1f} |")


def measured(target: Clip, speaker: Clip, phonemes: Sequence[Said], finder: FaceFinder) -> Found:
    """The target saying what the speaker says."""
    sound = speaker.sound()
    if sound is None:
        raise SystemExit(f"{speaker.name}: has no sound; leave it out")
    drive = driven(fit(sound, float(target.duration)), phonemes, target.frames, float(target.fps))[:, 0]
    cost = _cost(target, speaker, phonemes)
    spoken = speaking(target, fit(sound, float(target.duration)), phonemes, LipSync())
    changes = Changes()
    with np.errstate(divide="ignore"):
        faces = [finder.find(picture) for picture in changes.add(spoken.pictures, target.pictures())]
        flicker = changes.flicker
    gaps = np.array([gap(np.asarray(found[0].mesh, np.float32)) if found else np.nan for found in faces])
    seen = ~np.isnan(gaps)
    r = float(np.corrcoef(gaps[seen], drive[seen])[0, 1])
    return Found(r, _lag(np.nan_to_num(gaps), drive), int((~seen).sum()), flicker, changes.psnr_outside, cost)


def _lag(gaps: NDArray[np.floating], drive: NDArray[np.floating]) -> int:
    """By how many frames the gap comes after what drives it."""
    edge = len(LAGS) // 2
    return max(LAGS, key=lambda lag: float(np.corrcoef(gaps[edge:-edge], np.roll(drive, lag)[edge:-edge])[0, 1]))


def _cost(target: Clip, speaker: Clip, phonemes: Sequence[Said]) -> float:
    """CPU ms a frame, of the second run: the first one compiles."""
    sound, cost = speaker.sound(), float("nan")
    if sound is not None:
        for _ in range(2):
            start = time.process_time()
            frames = sum(1 for _ in speaking(target, fit(sound, float(target.duration)), phonemes, LipSync()).pictures)
            cost = 1000 * (time.process_time() - start) / frames
    return cost


def _still(target: Clip) -> Clip:
    """The clip with the picture in which its mouth is shut most, over and over."""
    track = target.track
    if track is None:
        return target
    frame = int(np.nanargmin([gap(mesh) for mesh in track.mesh]))
    picture = next(p for i, p in enumerate(target.pictures()) if i == frame)
    box, points, mesh, score = (
        np.repeat(part[frame : frame + 1], target.frames, 0) for part in (track.box, track.points, track.mesh, track.score)
    )
    still = Track(box, points, mesh, score, np.ones(target.frames, np.bool_))
    return replace(target, track=still, pictures=lambda: iter([picture] * target.frames))


def _heard(people: Sequence[Clip], folder: Path) -> list[Clip]:
    """The demo's clips with their phonemes, out of the truths beside them."""
    truths = [json.loads(path.read_text())["phonemes"] for path in sorted(folder.rglob("*.truth.json"))]
    if len(truths) != len(people):  # someone's face was not found
        return list(people)
    return [replace(p, phonemes=tuple(Said(*said) for said in truth)) for p, truth in zip(people, truths, strict=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
