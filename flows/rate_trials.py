"""What raters are shown: a few samples of each method, their controls, and scrambled ones that nobody takes for real.

A rater is given `SINGLES` samples by themselves, half of them controls, `PAIRS` of a fake and its control, scrambled ones among
both (`SCRAMBLED`, `SCRAMBLED_PAIRS`), and at the end `REPEATS` of what this rater has seen already, in an order drawn for the
rater. Methods come in turn: nobody gets one a second time before all were shown, and the next rater goes on where the last one
stopped.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from forgeline.audio import open_sound, write_sound
from forgeline.clip import MediaType, Picture, Sound
from forgeline.errors import FactoryError
from forgeline.image import open_image, write_image
from forgeline.recipe import digest
from forgeline.video import Encoding, VideoWriter, open_video

SINGLES, PAIRS = 24, 12
SCRAMBLED, SCRAMBLED_PAIRS = 4, 2
REPEATS = 3
MOST_SAMPLES = 24
"""Of each method. Few, so that each is rated by several people: agreement can't be told otherwise."""
KINDS = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".flac": "audio/flac"}
"""Of the files that are served, by their names' ends."""

_COLUMNS = ("sample_id", "pair_id", "method", "media_type", "role", "variant", "sha256")
_MADE, _TILES, _PIECE_S, _LONGEST_S = 12, 4, 0.08, 5


@dataclass(frozen=True)
class Shown:
    """A sample that raters see. A scrambled one has no role and no method, and an id that no sample has."""

    sample_id: str
    pair_id: str
    method: str
    media_type: MediaType
    role: str
    file: str = ""


@dataclass(frozen=True)
class Trial:
    """One screen: the sample `left`, or a pair of which one is a fake (or scrambled). `catch` says what it is for, if so."""

    kind: Literal["single", "pair"]
    left: str
    right: str = ""
    catch: Literal["", "scrambled", "repeat"] = ""


@dataclass(frozen=True)
class Release:
    """A release's name, a digest of what it holds, and the samples that are shown of it, sorted by id."""

    name: str
    digest: str
    samples: tuple[Shown, ...]


def open_release(folder: Path) -> Release:
    """Choose the samples of a release: at most `MOST_SAMPLES` of each method, as it made them, and their controls.

    FactoryError for what is no release, or one without forgeries and controls.
    """
    try:
        name = str(json.loads((folder / "croissant.json").read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FactoryError(folder, "is no release", "name the folder of one, such as data/release") from error
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,100}", name):
        raise FactoryError(folder, f"has a name that can't be a file's: {name!r}", "set `name` under release in params.yaml")
    rows = [row for path in _shards(folder) for row in pq.read_table(path, columns=list(_COLUMNS)).to_pylist()]
    by_id = {row["sample_id"]: row for row in rows if row["variant"] == "master"}
    methods: dict[str, list[str]] = defaultdict(list)
    for sample_id in sorted(by_id, key=lambda each: hashlib.sha256(each.encode()).digest()):
        if by_id[sample_id]["role"] != "control":
            methods[by_id[sample_id]["method"]].append(sample_id)
    chosen = {each for some in methods.values() for each in some[:MOST_SAMPLES]}
    chosen |= {pair for each in chosen if (pair := by_id[each]["pair_id"]) in by_id}
    roles = {by_id[each]["role"] for each in chosen}
    if not {"forgery", "control"} <= roles:
        raise FactoryError(folder, "has no forgeries with controls", "name a whole release")
    told = digest(sorted((row["sample_id"], row["sha256"]) for row in rows))
    return Release(name, told, tuple(_shown(by_id[each]) for each in sorted(chosen)))


def _shown(row: Mapping[str, Any]) -> Shown:
    return Shown(row["sample_id"], row["pair_id"] or "", row["method"], row["media_type"], row["role"])


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.parquet"))


# Media ---------------------------------------------------------------------------------------------------------------


def write_media(folder: Path, release: Release, to: Path) -> list[Shown]:
    """Write the samples' files, and scrambled ones, to a folder; the samples with their files' names, scrambled ones last."""
    left = {sample.sample_id: sample for sample in release.samples}
    written = []
    for path in _shards(folder):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=16, columns=["sample_id", "media"]):
                for row in batch.to_pylist():
                    sample = left.pop(row["sample_id"], None)
                    if sample is not None:
                        written.append(_written(sample, row["media"], to))
    return [*sorted(written, key=lambda sample: sample.sample_id), *_scrambled(written, to)]


def _written(sample: Shown, media: Mapping[str, Any], to: Path) -> Shown:
    suffix = Path(media["path"]).suffix.lower()
    if not re.fullmatch(r"[A-Za-z0-9_-]+", sample.sample_id) or suffix not in KINDS:
        raise FactoryError(f"{sample.sample_id}{suffix}", "is no sample of a release of this factory", "name another release")
    (to / f"{sample.sample_id}{suffix}").write_bytes(media["bytes"])
    return replace(sample, file=f"{sample.sample_id}{suffix}")


def _scrambled(samples: Sequence[Shown], to: Path) -> Iterator[Shown]:
    """Controls torn into tiles and pieces that changed places, in false colours: media in turn."""
    controls = _by(sorted((s for s in samples if s.role == "control"), key=lambda s: s.sample_id), "media_type")
    for number, medium in zip(range(_MADE), cycle(sorted(controls)), strict=False):
        control = controls[medium][number // len(controls) % len(controls[medium])]
        rng = np.random.default_rng(number)
        name = f"scrambled-{number:02d}"
        file = f"{name}{Path(control.file).suffix}"
        _scramble(to / control.file, to / file, control.media_type, rng)
        yield Shown(name, control.sample_id, "", control.media_type, "", file)


def _scramble(path: Path, to: Path, medium: MediaType, rng: np.random.Generator) -> None:
    tiles = rng.permutation(_TILES**2)

    def torn(picture: Picture) -> Picture:
        high, wide = picture.shape[0] // _TILES, picture.shape[1] // _TILES
        out = 255 - picture
        for place, tile in enumerate(tiles):
            (y, x), (v, u) = divmod(place, _TILES), divmod(int(tile), _TILES)
            piece = picture[v * high : (v + 1) * high, u * wide : (u + 1) * wide]
            out[y * high : (y + 1) * high, x * wide : (x + 1) * wide] = 255 - piece[::-1]
        return np.ascontiguousarray(out)

    if medium == "image":
        write_image(to, torn(next(iter(open_image(path).pictures()))))
    elif medium == "audio":
        sound = open_sound(path).sound()
        write_sound(to, _shuffled(sound, rng) if sound else Sound(np.zeros(16000, np.float32), 16000))
    else:
        clip = open_video(path)
        frames = min(clip.frames, int(_LONGEST_S * clip.fps))
        sound = clip.sound()
        heard = _shuffled(sound, rng) if sound else None
        with VideoWriter(to, clip.width, clip.height, clip.fps, Encoding(preset="veryfast"), heard) as writer:
            for picture in islice(clip.pictures(), frames):
                writer.write(torn(picture))


def _shuffled(sound: Sound, rng: np.random.Generator) -> Sound:
    """Pieces of a sound in another order, each backwards and louder than can be held."""
    samples = sound.samples[: _LONGEST_S * sound.rate]
    pieces = np.array_split(samples, max(int(len(samples) / (_PIECE_S * sound.rate)), 1))
    joined = np.concatenate([pieces[each][::-1] for each in rng.permutation(len(pieces))])
    return Sound(np.clip(joined * 4, -0.5, 0.5).astype(np.float32), sound.rate)


# Trials --------------------------------------------------------------------------------------------------------------


def trials(samples: Sequence[Shown], number: int, rng: np.random.Generator) -> list[Trial]:
    """The trials of the rater with this number, 0 for the first one; fewer than planned where the release has few samples."""
    known = {sample.sample_id: sample for sample in samples}
    controls = _by([s for s in samples if s.role == "control"], "media_type")
    paired = [s for s in samples if s.role == "forgery" and s.pair_id in known]
    alone = _in_turn([s for s in samples if s.role not in ("control", "")], number, SINGLES // 2, set())
    taken = {sample.sample_id for sample in alone}
    pairs = _in_turn(paired, number, PAIRS, taken)
    avoided = {sample.pair_id for sample in (*alone, *pairs)}
    singles = [Trial("single", sample.sample_id) for sample in alone]
    for place, sample in enumerate(alone):
        ready = [c for c in _from(controls.get(sample.media_type, []), number * len(alone) + place) if c.sample_id not in taken]
        if ready:  # one whose fake this rater doesn't see, if there is such a one
            control = next((c for c in ready if c.sample_id not in avoided), ready[0])
            taken.add(control.sample_id)
            singles.append(Trial("single", control.sample_id))
    order = [*singles, *_sided([(sample.sample_id, sample.pair_id) for sample in pairs], rng)]
    order = [order[place] for place in rng.permutation(len(order))]
    early = [trial for trial in order[: len(order) // 3] if trial.kind == "single"]
    for place in rng.permutation(len(early))[:REPEATS]:
        again = Trial("single", early[place].left, catch="repeat")
        order.insert(int(rng.integers(2 * len(order) // 3, len(order) + 1)), again)
    return _with_catches(order, [s for s in samples if not s.role], number, rng)


def _with_catches(order: list[Trial], scrambled: Sequence[Shown], number: int, rng: np.random.Generator) -> list[Trial]:
    """The trials with scrambled ones spread among them: one in each stretch of equal length, anywhere in it."""
    several = list(islice(_from(scrambled, number * (SCRAMBLED + SCRAMBLED_PAIRS)), SCRAMBLED + SCRAMBLED_PAIRS))
    catches = [Trial("single", sample.sample_id, catch="scrambled") for sample in several[:SCRAMBLED]]
    for trial in _sided([(sample.sample_id, sample.pair_id) for sample in several[SCRAMBLED:]], rng):
        catches.append(Trial("pair", trial.left, trial.right, "scrambled"))
    edges = np.linspace(0, len(order), len(catches) + 1).astype(int)
    for stretch, place in reversed(list(enumerate(rng.permutation(len(catches))))):
        order.insert(int(rng.integers(edges[stretch] + 1, max(edges[stretch + 1], edges[stretch] + 1) + 1)), catches[place])
    return order


def _sided(pairs: Sequence[tuple[str, str]], rng: np.random.Generator) -> list[Trial]:
    """Pairs, as many with the first of the two on the left as on the right."""
    sides = rng.permutation(len(pairs)) % 2
    return [Trial("pair", *(pair if side else pair[::-1])) for pair, side in zip(pairs, sides, strict=True)]


def _in_turn(samples: Sequence[Shown], number: int, count: int, taken: set[str]) -> list[Shown]:
    """`count` samples for a rater, a method after the other, and of each the one whose turn it is; none of `taken`."""
    methods = _by(samples, "method")
    names = sorted(methods, key=lambda name: hashlib.sha256(name.encode()).digest())
    found: list[Shown] = []
    for place in range(number * count, (number + 1) * count) if names else ():
        ready = _from(methods[names[place % len(names)]], place // len(names))
        pick = next((s for s in ready if s.sample_id not in taken and s not in found), None)
        if pick is not None:
            found.append(pick)
    return found


def _from(samples: Sequence[Shown], start: int) -> list[Shown]:
    """The samples, from one of them on, and round."""
    at = start % max(len(samples), 1)
    return [*samples[at:], *samples[:at]]


def _by(samples: Sequence[Shown], name: str) -> dict[str, list[Shown]]:
    found: dict[str, list[Shown]] = defaultdict(list)
    for sample in samples:
        found[getattr(sample, name)].append(sample)
    return dict(found)
