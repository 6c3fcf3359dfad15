"""Whether the mark gives away what is real and what is fake: a net that sees nothing but the mark tries to tell.

    OMP_NUM_THREADS=1 python -m benchmarks.leakage [FOLDER]

Renders 100 demo people in four clips each (kept in FOLDER, where one is given), has each generator below make a fake of
every clip, marks fakes and controls as the seal does, and keeps of one picture of each what the mark changed: before the
encoder, and in the decoded file (against the same pictures encoded without a mark). A small CNN learns to tell fake from
control on half of the people and is asked about the others, and the other way round, with three seeds, whose answers are
averaged.

What is told in the file may be the encoder's doing, which treats smoother faces otherwise: for comparison the same is asked of
what the encoder alone changed in files without a mark. The last two rows show that a leak would be found: fakes marked 1 dB
stronger, and fakes with a key of their own. That one was real: what the code repeats makes a pattern of each key, and every
generator had its own keys.

Printed for each generator: the pairs; the AUC (0.5 is chance) by seed and of all seeds; its 95 % interval, from 4000
draws of people; and the one-sided lower bound at a family-wise 5 %, after Holm. The goal: no AUC above 0.55, and no lower
bound. It takes nine minutes on one core, the rendering another four.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from forgeline.clip import Clip, Made, Picture
from forgeline.errors import MediaError
from forgeline.faces import FaceFinder, track_faces
from forgeline.video import VideoWriter, open_video
from generators.attributes import Attributes
from generators.blend_swap import BlendSwap
from generators.control import Control
from generators.lip_sync import LipSync
from generators.plugin import Generator
from sources.demo import Demo, jobs, render
from watermark.keys import DEMO, ShardKey, master
from watermark.payload import MAC_BITS, Mark
from watermark.seal import Seal
from watermark.strength import Marker
from watermark.tile import bits_for

Residual = NDArray[np.float32]
"""(height, width) at half resolution, where all of the mark is: what it changed in grey levels."""

PEOPLE = Demo(people=100, clips=4, frames=3, fps=5, size=256, seed=7)
METHODS: dict[str, Generator] = {"blend_swap": BlendSwap(), "lip_sync": LipSync(), "attributes": Attributes()}
KEY = master(DEMO).shard("test-0000")
"""Of controls and fakes alike."""
SHOWN = 1  # the picture of a clip that is looked at
STRONGER_DB = 1.0
FOLDS, SEEDS, EPOCHS, BATCH = 2, 3, 16, 32
DRAWS = 4000
FAMILY_ERROR = 0.05
ENCODING = Seal().encoding


@dataclass(frozen=True)
class Seen:
    """What the mark changed in one picture of one clip, before the encoder and in the file; what the encoder alone did."""

    before: Residual
    encoded: Residual
    encoder: Residual


@dataclass(frozen=True)
class Pair:
    """A control and a fake made from the same clip of a person (by number)."""

    person: int
    control: Residual
    fake: Residual


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        clips = tracked(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch))
        controls = residuals("control", Control(), clips, KEY, Path(scratch))
        fakes = {name: residuals(name, method, clips, KEY, Path(scratch)) for name, method in METHODS.items()}
        some = {clip: media for clip, media in clips.items() if clip[1] < 2}
        own_key = residuals("attributes", METHODS["attributes"], some, master(DEMO).shard("attributes"), Path(scratch))
    asked, unmarked = {}, {}
    for name, made in fakes.items():
        both = [(clip[0], controls[clip], seen) for clip, seen in made.items() if clip in controls]
        asked[f"{name}, before the encoder"] = [Pair(person, real.before, fake.before) for person, real, fake in both]
        asked[f"{name}, in the file"] = [Pair(person, real.encoded, fake.encoded) for person, real, fake in both]
        unmarked[f"{name}, the encoder alone"] = [Pair(person, real.encoder, fake.encoder) for person, real, fake in both]
    gain = np.float32(10 ** (STRONGER_DB / 20))
    planted = {
        f"planted: {STRONGER_DB:g} dB stronger": [
            replace(pair, fake=pair.fake * gain) for pair in asked["attributes, before the encoder"]
        ],
        "planted: a key of their own": [Pair(clip[0], controls[clip].before, seen.before) for clip, seen in own_key.items()],
    }
    print(f"{'':32} pairs    AUC by seed         AUC   95 % interval   lower bound")
    for family in (asked, unmarked, planted):
        report(family)


def tracked(folder: Path) -> dict[tuple[int, int], Clip]:
    """The clips by (person, clip), rendered where they are not there yet, each with its face."""
    finder = FaceFinder()
    clips = {}
    for job in jobs(PEOPLE):
        path = folder / job.path
        if not path.exists():
            render(job, folder)
        clip = open_video(path)
        tracks = track_faces(clip, finder)
        if tracks:
            clips[job.person, job.clip] = replace(clip, track=tracks[0])
    return clips


def residuals(
    name: str, method: Generator, clips: dict[tuple[int, int], Clip], key: ShardKey, scratch: Path
) -> dict[tuple[int, int], Seen]:
    """What the mark changes in what the method makes of each clip; those it can't use are left out."""
    found = {}
    for (person, number), target in clips.items():
        # Sources are people of the target's own half, so that no person is on both sides.
        source = clips.get(((person + FOLDS) % PEOPLE.people, number), target)
        rng = np.random.default_rng([person, number, *name.encode()])
        try:
            made = method([target, source] if method.casting == "pair" else [target], rng)
            seen = marked(made, key, rng, scratch, everything=method.role == "control")
        except MediaError:
            continue
        if seen is not None:
            found[person, number] = seen
    return found


def marked(made: Made, key: ShardKey, rng: np.random.Generator, scratch: Path, everything: bool) -> Seen | None:
    """The mark's residual in one picture of a made clip; None where nothing was changed in it, unless `everything`."""
    pairs = list(made.pictures)
    mask = pairs[SHOWN][1]
    if not everything and (mask is None or not mask.any()):
        return None
    pictures = [picture for picture, _ in pairs]
    bits = bits_for(made.width, made.height)
    marker = Marker(key, Mark(int(rng.integers(1 << (bits - MAC_BITS[bits]))), bits), ENCODING.gop)
    after = [marker(picture) for picture in pictures]
    plain, both = coded(pictures, made.fps, scratch / "plain.mp4"), coded(after, made.fps, scratch / "marked.mp4")
    return Seen(changed(pictures[SHOWN], after[SHOWN]), changed(plain, both), changed(pictures[SHOWN], plain))


def coded(pictures: Sequence[Picture], fps: Fraction, path: Path) -> Picture:
    """The shown picture as it comes back from the release's encoder."""
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, fps, ENCODING) as out:
        for picture in pictures:
            out.write(picture)
    return next(islice(open_video(path).pictures(), SHOWN, None))


def changed(before: Picture, after: Picture) -> Residual:
    """What was changed, at half resolution."""
    height, width = before.shape[:2]
    change = after.mean(2, dtype=np.float32) - before.mean(2, dtype=np.float32)
    return np.asarray(cv2.resize(change, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.float32)


def probe() -> nn.Module:
    """Four million multiplications for a residual of 128 x 128: it sees strength, place and pattern."""
    layers: list[nn.Module] = []
    for narrow, wide, kernel in ((1, 8, 5), (8, 16, 3), (16, 32, 3), (32, 32, 3)):
        layers += [nn.Conv2d(narrow, wide, kernel, stride=2, padding=kernel // 2), nn.BatchNorm2d(wide), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4, 1))
    return net.to(memory_format=torch.channels_last)  # half as long on a CPU


def told(train: Sequence[Pair], test: Sequence[Pair], seed: int) -> NDArray[np.float64]:
    """(pairs, 2) how fake a probe trained on some pairs holds the control and the fake of others to be."""
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from torch's global state only
        torch.manual_seed(seed)
        net = probe()
        shown, labels = stacked(train)
        steps = EPOCHS * -(-len(shown) // BATCH)
        optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
        for batch in batches(len(shown), np.random.default_rng(seed)):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(net(shown[batch])[:, 0], labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        net.eval()
        with torch.inference_mode():
            scores: NDArray[np.float64] = net(stacked(test)[0])[:, 0].double().numpy().reshape(2, -1).T
    return scores


def stacked(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """All controls, then all fakes, in units of the usual change; and their labels."""
    both = [pair.control for pair in pairs] + [pair.fake for pair in pairs]
    labels = torch.cat([torch.zeros(len(pairs)), torch.ones(len(pairs))])
    return torch.from_numpy(np.stack(both)[:, None] / 2), labels


def batches(count: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    """Each epoch's batches, newly shuffled."""
    for _ in range(EPOCHS):
        order = torch.from_numpy(rng.permutation(count))
        yield from torch.split(order, BATCH)


def auc(scores: NDArray[np.float64]) -> float:
    """How often a fake is held to be more fake than a control, of all fakes and controls of scores (pairs, 2)."""
    real, fake = np.sort(scores[:, 0]), scores[:, 1]
    below = np.searchsorted(real, fake, "left") + np.searchsorted(real, fake, "right")
    return float(below.mean() / (2 * len(real)))


def report(asked: dict[str, list[Pair]]) -> None:
    """Train and ask the probes, and print a row for each question; all questions are one family."""
    draws, rows = {}, {}
    for name, pairs in asked.items():
        by_seed = np.zeros((SEEDS, len(pairs), 2))
        people = np.array([pair.person for pair in pairs])
        for fold in range(FOLDS):
            inside = people % FOLDS == fold
            train = [pair for pair, held in zip(pairs, inside, strict=True) if not held]
            test = [pair for pair, held in zip(pairs, inside, strict=True) if held]
            for seed in range(SEEDS):
                scores = told(train, test, seed)
                by_seed[seed, inside] = (scores - scores.mean()) / scores.std()  # each net has a scale of its own
        mean = by_seed.mean(0)
        seeds = [np.mean([auc(one[people % FOLDS == fold]) for fold in range(FOLDS)]) for one in by_seed]
        overall = float(np.mean([auc(mean[people % FOLDS == fold]) for fold in range(FOLDS)]))
        draws[name] = np.sort(resampled(mean, people))
        rows[name] = f"{name:32} {len(pairs):5}    {' '.join(f'{one:.3f}' for one in seeds)}   {overall:.3f}"
    # Holm: the question with the clearest answer is tested at the strictest level, the next at the next, and so on.
    clearest = sorted(draws, key=lambda name: float((draws[name].mean() - 0.5) / (draws[name].std() + 1e-9)), reverse=True)
    for name, row in rows.items():
        low, high = np.quantile(draws[name], [0.025, 0.975])
        bound = np.quantile(draws[name], FAMILY_ERROR / (len(asked) - clearest.index(name)))
        print(f"{row}   {low:.3f} to {high:.3f}   {bound:.3f}", flush=True)


def resampled(scores: NDArray[np.float64], people: NDArray[np.int_]) -> NDArray[np.float64]:
    """(draws,) the AUC with people drawn again and again, each with all of their pairs."""
    rng = np.random.default_rng(0)
    found = np.empty(DRAWS)
    for draw in range(DRAWS):
        folds = []
        for fold in range(FOLDS):
            there = np.unique(people[people % FOLDS == fold])
            drawn = rng.choice(there, len(there))
            folds.append(auc(np.concatenate([scores[people == person] for person in drawn])))
        found[draw] = np.mean(folds)
    return found


if __name__ == "__main__":
    main()
