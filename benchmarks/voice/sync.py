"""How well the judges of lips and voice find by how much a sound was moved, and what judging costs.

    python -m benchmarks.voice.sync FOLDER [--network mesh|syncnet|expert] [--expert FILE]

FOLDER holds videos of people who speak (GRID), at least two. The sound of each is moved by -5 to 5 frames, positive where it
becomes late; `error` is what is measured less what was done. `another's` is the sound of the next clip in the folder. Times are
CPU seconds of one single-threaded process, sound and pictures decoded included.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluators.lip_sync_error import Judged, LipSyncError
from forgeline.clip import Clip, Sound, Track
from forgeline.syncnet import offset
from forgeline.video import open_video

SUFFIXES = {".mpg", ".mp4", ".avi", ".mov", ".mkv", ".webm"}
SHIFTS = range(-5, 6)


@dataclass(frozen=True)
class Speaker:
    """A clip, what is said in it, and its main face."""

    clip: Clip
    sound: Sound
    track: Track


def main(folder: Path, judge: LipSyncError) -> None:
    start = time.process_time()
    speakers = [found for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES and (found := speaker(path, judge))]
    looking = (time.process_time() - start) / len(speakers)
    print(f"{len(speakers)} clips, judged by {judge.network}\n")
    print("| sound | error 0 | within 1 | within 2 | median error | distance | confidence | error rate of spans |")
    print("|---|---|---|---|---|---|---|---|")
    start = time.process_time()
    for late in SHIFTS:
        print(row(f"{late:+d} frames", [judge.judged(s.clip, moved(s.sound, late), s.track) for s in speakers], late))
    judging = (time.process_time() - start) / len(speakers) / len(SHIFTS)
    others = [*speakers[1:], speakers[0]]
    print(row("another's", [judge.judged(s.clip, o.sound, s.track) for s, o in zip(speakers, others, strict=True)], None))
    print(f"\n{looking:.2f} s of CPU a clip to find the face, {judging:.2f} s to judge")


def speaker(path: Path, judge: LipSyncError) -> Speaker | None:
    clip = open_video(path)
    sound, tracks = clip.sound(), judge.faces(clip)
    return Speaker(clip, sound, tracks[0]) if sound and tracks else None


def moved(sound: Sound, late: int) -> Sound:
    """By frames at 25 a second; what comes in at an end is silent."""
    by = late * sound.rate // 25
    samples = np.zeros_like(sound.samples)
    samples[max(0, by) : len(samples) + min(0, by)] = sound.samples[max(0, -by) : len(samples) - max(0, by)]
    return Sound(samples, sound.rate)


def row(name: str, judged: list[Judged], late: int | None) -> str:
    clips = [offset(one.distances) for one in judged if not np.isnan(one.distances).any()]
    spans = np.concatenate([one.spans for one in judged])
    distance, confidence = (np.mean([getattr(clip, key) for clip in clips]) for key in ("distance", "confidence"))
    shares = ["", "", "", ""]
    if late is not None:
        errors = np.array([clip.offset + late for clip in clips])
        shares = [f"{(np.abs(errors) <= most).mean():.0%}" for most in range(3)] + [f"{np.median(errors):+g}"]
    rate = f"{(np.abs(spans) > 1).mean():.0%} of {len(spans)}" if len(spans) else "no spans"
    return f"| {name} | {' | '.join(shares)} | {distance:.3f} | {confidence:.3f} | {rate} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=["mesh", "syncnet", "expert"], default="mesh")
    parser.add_argument("--expert", default=LipSyncError().expert)
    arguments = parser.parse_args()
    main(arguments.folder, LipSyncError(network=arguments.network, expert=arguments.expert))
