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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watermark", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a few of each: minutes, and no certainty")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="photographs, such as the Kodak images")
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="filmed people, such as GRID")
    given = parser.parse_args()
    one_thread()  # before NumPy is imported
    import cv2

    from benchmarks.attacks import missing_encoders
    from benchmarks.watermark import media, pictures, sounds, speed, unmarked, videos
    from benchmarks.watermark.figures import Goal, table
    from benchmarks.watermark.methods import HOW_TO_INSTALL, rivals

    cv2.setNumThreads(1)
    parts, quick = given.parts or PARTS, given.quick
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, Python {platform.python_version()}", flush=True)
    others = rivals()
    if not others:
        print(f"invisible-watermark: not installed; {HOW_TO_INSTALL}")
    if missing_encoders():
        raise SystemExit(f"PyAV has no encoder {', '.join(missing_encoders())}: install the wheel from PyPI")
    photographs = media.photographs(given.pictures, 3 if quick else 24)
    few = 1 if quick else 4
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as name:
        rendered = media.rendered_films(Path(name), 1 if quick else 6, 25 if quick else 50)
        if "pictures" in parts:
            repeats = 1 if quick else 2
            large = [pictures.compare("Photographs", photographs, repeats, others, few)]
            for side, more in ((1024, 1), (512, 2)):
                people = media.portraits(side, few if quick else 8)
                rest = others if side == 512 else []
                large.append(pictures.compare(f"Demo frames, {side} px", people, repeats * more, rest, few))
            small = pictures.compare("Demo frames, 256 px", media.portraits(256, few if quick else 8), 4 * repeats, others, few)
            goals += [*pictures.large_goals(large), *pictures.small_goals(small)]
        demo = list(rendered) if {"videos", "speed"} & set(parts) else []
        filmed = list(media.films(given.clips, 3 if quick else 24)) if given.clips else []
        if "videos" in parts:
            for title, films, grows in (
                ("Demo clips, 512 px", demo, True),
                (f"Clips of {given.clips.name}" if given.clips else "", filmed, False),
            ):
                if films:
                    found = videos.tried(films)
                    videos.show(title, found, {rival.name: videos.rivals_tried(films[:few], rival) for rival in others})
                    goals += videos.goals(title, found, grows)
        said = {
            f"{seconds} s of espeak at {rate} Hz": media.speeches(seconds, rate, 2 if quick else 12)
            for seconds, rate in ((10, 16000), (10, 22050), (5, 48000), (3, 16000))
        }
        speech = [film.sound for film in filmed if film.sound is not None]
        if "sounds" in parts:
            sets = {title: sounds.tried(pieces, 1 if quick else 3) for title, pieces in said.items()}
            if speech:
                sets[f"speech of {given.clips.name}"] = sounds.tried(speech, 1 if quick else 2)
                sets["… three clips joined"] = sounds.tried(sounds.joined(speech, 3), 1 if quick else 4)
            sounds.show(sets)
            goals += sounds.goals(sets)
        if "speed" in parts:
            goals += speed.measure(photographs[:6], demo[0], others)
        if "unmarked" in parts:
            every = [*photographs, *media.portraits(512, few if quick else 8)]
            goals += unmarked.count(every, [each for pieces in said.values() for each in pieces], 64 if quick else 4096)
    table(
        "Goals",
        ("what", "goal", "measured", ""),
        [(goal.what, goal.goal, goal.measured, "met" if goal.met else "**missed**") for goal in goals],
    )


if __name__ == "__main__":
    main()
