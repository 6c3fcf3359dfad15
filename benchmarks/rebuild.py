"""What `dvc repro` costs when nothing changed, and when one source clip of a hundred did.

    python -m benchmarks.rebuild

In a temporary checkout of this code, 100 clips of 50 people at 256 pixels (each is one of four rendered people, told apart
by brightness) go through every stage with the generators that are not trained, scores and release included. Then a clip is
exchanged for another, three times. All figures are CPU seconds of the commands and of every process they started, the
inventory's among them.

That is done with clips of 8 and of 24 frames. What a build costs with 75 frames (3 s) is drawn from the two by a straight
line: a clip costs something by itself, and something a frame. (Such a build takes a quarter of an hour, and says the same.)

The yardstick of a build in which nothing changed is the same pipeline with nothing in it: as many stages with as many
dependencies and outputs, each a file of one line, and commands that write them.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from forgeline.clip import Clip
from forgeline.video import Encoding, VideoWriter, open_video
from sources.demo import Demo, jobs, render
from watermark.keys import new_key

ROOT = Path(__file__).resolve().parents[1]
CORPUS = "recordings"
GENERATORS = ("control", "blend_swap", "self_swap", "lip_sync", "attributes")
CLIPS, SIZE, LENGTHS, LIKE = 100, 256, (8, 24), 75
EXCHANGED = (7, 42, 90)
PEOPLE = 4
REPEATS = 5
REPRO = ("dvc", "repro")


@dataclass(frozen=True)
class Checkout:
    """A git repository with a pipeline in it, and the environment of someone who has configured nothing."""

    path: Path
    env: dict[str, str]

    def spend(self, *commands: Sequence[str]) -> float:
        """Run commands; the CPU seconds of all processes that they started."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for command in commands:
            done = subprocess.run(command, cwd=self.path, env=self.env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def rebuild(self) -> float:
        """Take the inventory and bring everything up to date."""
        return self.spend((sys.executable, "-m", "flows", "scan"), REPRO)


def environment(home: Path) -> dict[str, str]:
    mine = ("PREFECT", "DVC", "GIT_", "FORGELINE_KEY", "PYTHONDONTWRITEBYTECODE")
    env = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
    return env | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
        "DVC_SITE_CACHE_DIR": str(home / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "global"),
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "FORGELINE_KEY_FILE": str(home / "key"),
    }


def checkout(home: Path) -> Checkout:
    """This code as it lies here, with a key, and params for the corpus."""
    new = Checkout(home / "checkout", environment(home))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (new.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, new.path / name)
    new.spend(("git", "init", "--quiet"))
    consent = {"basis": "nobody was recorded", "scope": ["face", "voice"]}
    terms = {
        "agreement": "none",
        "licence": "CC0-1.0",
        "accepted_by": "nobody has to",
        "accepted_on": "2026-11-20",
        "permitted_use": ["detection"],
        "generate": True,
        "consent": "rendered people who don't exist",
        "people": {f"p{number:02d}": consent for number in range(CLIPS // 2)},
    }
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["sources"] = {CORPUS: {"kind": "folder", "terms": terms}}
    params["generators"] = {name: {} for name in GENERATORS}
    params["seal"]["key"] = new_key(home / "key").id
    (new.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return new


def empty(home: Path, full: Checkout) -> Checkout:
    """The same stages with the same dependencies and outputs, each a file of one line."""
    new = Checkout(home / "empty", full.env)
    new.path.mkdir()
    graph: dict[str, Any] = yaml.safe_load((full.path / "dvc.yaml").read_text(encoding="utf-8"))
    params = yaml.safe_load((full.path / "params.yaml").read_text(encoding="utf-8"))
    stages = [
        (s.get("do", s), list(params[s["foreach"].strip("${}")]) if "foreach" in s else [""]) for s in graph["stages"].values()
    ]
    needed = {dep.replace("${key}", name) for body, names in stages for dep in body["deps"] for name in names}
    made: set[str] = set()
    for body, names in stages:
        listed = [out for kind in ("outs", "metrics", "plots") for out in body.get(kind, ())]
        outs = [out if isinstance(out, str) else next(iter(out)) for out in listed]
        files = [path for out in outs for path in [p for p in sorted(needed) if p.startswith(f"{out}/")] or [out]]
        body["cmd"] = [f"mkdir -p {Path(file).parent} && echo > {file}" for file in files]
        made |= {out.replace("${key}", name) for out in outs for name in names}
    for path in needed:
        is_folder = any(other.startswith(f"{path}/") for other in needed | made)
        if not is_folder and not any(path == out or path.startswith(f"{out}/") for out in made):
            (new.path / path).parent.mkdir(parents=True, exist_ok=True)
            (new.path / path).write_text("\n")
    (new.path / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False), encoding="utf-8")
    shutil.copy2(full.path / "params.yaml", new.path / "params.yaml")
    new.spend(("git", "init", "--quiet"), ("dvc", "init", "--quiet"), REPRO)
    return new


def record(people: Sequence[Clip], folder: Path, number: int, frames: int, light: float) -> None:
    """Clip `number` of the corpus: the first frames of a rendered person, darker or brighter."""
    person = people[number % len(people)]
    path = folder / f"p{number // 2:02d}/c{number % 2}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, SIZE, SIZE, person.fps, Encoding(crf=12, preset="veryfast"), person.sound()) as out:
        for picture in islice(person.pictures(), frames):
            out.write(np.asarray(cv2.convertScaleAbs(picture, alpha=light), np.uint8))


def measure(home: Path, people: Sequence[Clip], frames: int) -> tuple[float, float]:
    """CPU seconds of a build of everything, and of one after a clip was exchanged; prints them, and those of no change."""
    full = checkout(home)
    corpus = full.path / "data/raw" / CORPUS
    for number in range(CLIPS):
        record(people, corpus, number, frames, 0.8 + 0.004 * number)
    everything = full.rebuild()
    print(f"{frames:3} frames  everything                {everything:8.1f} s", flush=True)
    blank = empty(home, full)
    pairs = [(full.spend(REPRO), blank.spend(REPRO)) for _ in range(REPEATS)]
    ours, bare = (min(column) for column in zip(*pairs, strict=True))
    print(f"{frames:3} frames  nothing changed           {ours:8.2f} s   an empty pipeline {bare:.2f} s: {ours / bare:.2f}x")
    changes = []
    for number in EXCHANGED:
        record(people, corpus, number, frames, 0.9 + 0.004 * number)
        changes.append(full.rebuild())
    changed = sum(changes) / len(changes)
    print(
        f"{frames:3} frames  one clip of {CLIPS} changed   {changed:8.2f} s   {changed / everything:.1%} of everything",
        flush=True,
    )
    return everything, changed


def main() -> None:
    """Print the figures for both lengths, and the line through them."""
    with tempfile.TemporaryDirectory() as name:
        demo = Demo(people=PEOPLE, clips=1, frames=max(LENGTHS), size=SIZE)
        for job in jobs(demo):
            render(job, Path(name))
        people = [open_video(Path(name) / job.path) for job in jobs(demo)]
        found = []
        for frames in LENGTHS:
            home = Path(name) / str(frames)
            home.mkdir()
            found.append(measure(home, people, frames))
        shorter, longer = LENGTHS
        step = (LIKE - longer) / (longer - shorter)
        everything, changed = (b + (b - a) * step for a, b in zip(*found, strict=True))
        print(f"{LIKE:3} frames  everything                {everything:8.1f} s   by the straight line through both")
        print(f"{LIKE:3} frames  one clip of {CLIPS} changed   {changed:8.2f} s   {changed / everything:.1%} of everything")


if __name__ == "__main__":
    main()
