"""FaceForensics++ (Rössler et al., ICCV 2019) and the DeepFakeDetection set (Google and Jigsaw, 2019) served with it.

1000 sequences from 977 YouTube videos, and five methods' forgeries of them, each in both directions of 500 pairs; 363 videos
of 28 paid actors, and 3068 swaps between these. As the download script lays them out, with level raw (also called c0), c23
or c40:

    original_sequences/youtube/<level>/videos/000.mp4                       sequence
    original_sequences/actors/<level>/videos/01__exit_phone_room.mp4        actor, scene
    manipulated_sequences/<method>/<level>/videos/000_003.mp4               target, source
    manipulated_sequences/DeepFakeDetection/<level>/videos/01_02__exit_phone_room__YVGY8LOK.mp4
    manipulated_sequences/<method>/masks/videos/000_003.mp4                 the same mask for every level
    splits/{train,val,test}.json                                            also directly in the root; the 500 pairs
    conversion_dict.json                                                    optional: sequence → YouTube id

A flat mirror of c23 is read as well: original/000.mp4, <method>/000_003.mp4. It holds a third of DeepFakeDetection and no
actors.

The first number of a forgery is the video it was made from. Deepfakes, FaceSwap, FaceShifter and DeepFakeDetection put the
source's face on it; Face2Face and NeuralTextures only move the target's own. No file has sound. Frames of a forgery pair
with its target's by index: lengths, widths and even frame rates differ by method (Face2Face is as long as its source).
The official splits (720/140/140) cut seven YouTube videos in two: rows carry the video as their origin, so that a split
prover can mend it. DeepFakeDetection has no official split.

Licence: FaceForensics Terms of Use, signed with an affiliation: non-commercial research and education; no passing on.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from forgeline.sample import SPLITS, Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, read_json, unreadable

DFD = "DeepFakeDetection"
SWAPS = ("Deepfakes", "FaceSwap", "FaceShifter")
REENACTMENTS = ("Face2Face", "NeuralTextures")
PUBLISHED = {"youtube": 1000, "actors": 363, **dict.fromkeys((*SWAPS, *REENACTMENTS), 1000), DFD: 3068}

_METHODS = "|".join((*SWAPS, *REENACTMENTS, DFD))
_OFFICIAL = re.compile(
    rf"(?:original_sequences/(?P<real>youtube|actors)|manipulated_sequences/(?P<method>{_METHODS}))"
    r"/(?P<level>raw|c0|c23|c40|masks)/videos/(?P<name>[^/]+)\.mp4"
)
_FLAT = re.compile(rf"(?P<folder>original|{_METHODS})/(?P<name>[^/]+)\.mp4")

_ACTOR = r"0[1-9]|1[0-9]|2[0-8]"
_SCENE = re.compile(rf"(?P<target>{_ACTOR})__(?P<scene>[a-z_]+)")
_SWAPPED_SCENE = re.compile(rf"(?P<target>{_ACTOR})_(?P<source>{_ACTOR})__(?P<scene>[a-z_]+)__[A-Z0-9]{{8}}")
_SEQUENCE = re.compile(r"(?P<target>[0-9]{3})")
_PAIR = re.compile(r"(?P<target>[0-9]{3})_(?P<source>[0-9]{3})")
_NAMES = {"youtube": _SEQUENCE, "actors": _SCENE, DFD: _SWAPPED_SCENE, **dict.fromkeys((*SWAPS, *REENACTMENTS), _PAIR)}

_FOLDERS = ("", "splits/", "dataset/", "dataset/splits/")
_VIDEO = re.compile(r"(?P<id>[A-Za-z0-9_-]{11}) [0-9]+")


class FaceForensics(Source):
    """FaceForensics++ at one level of compression."""

    template: ClassVar = Terms(
        agreement="FaceForensics Terms of Use",
        licence="FaceForensics Terms of Use (non-commercial research and education)",
        permitted_use=("detection", "education", "research"),
        consent="public YouTube videos, people not asked (youtube); paid actors (actors, DeepFakeDetection)",
    )
    kind: Literal["ffpp"] = "ffpp"
    terms: Terms
    """The signed Terms of Use."""
    compression: Literal["raw", "c23", "c40"] = "c23"
    """Level to ingest; other levels are left out. On disk, `raw` may also be called c0."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Originals, actors and their forgeries, with official splits, YouTube ids and masks where these are there."""
        official = _official(root, inventory)
        clips: dict[str, _Clip] = {}
        paths: dict[str, str] = {}
        masks: dict[str, str] = {}
        left_out: list[str] = []
        refused: dict[str, str] = {}
        for path in inventory.files:
            clip = _clip(path)
            if clip is None:
                continue
            if clip.level == "masks":
                masks[clip.key] = path
            elif clip.level != self.compression:
                left_out.append(path)
            elif clip.key in paths:
                refused[path] = f"the same clip as {paths[clip.key]}"
            elif clip.group in (*SWAPS, *REENACTMENTS) and official.pairs and clip.stem not in official.pairs:
                refused[path] = "not one of the published pairs"
            else:
                clips[path] = clip
                paths[clip.key] = path
        if left_out and not clips:
            raise SourceError(
                f"sources.{name}.compression",
                f"there is nothing at level {self.compression}, and {len(left_out)} clips at others",
                "set it to a level that is there",
            )
        found = {path: _found(clip, paths, masks, official) for path, clip in clips.items()}
        wanted = {*_published(official), *(clip.original for clip in clips.values())}
        notes = [f"{len(left_out)} clips at other levels than {self.compression} are left out"] if left_out else []
        notes += [f"{len(lone)} masks are of clips that are not here"] if (lone := masks.keys() - paths.keys()) else []
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*masks.values(), *left_out, *official.files},
            published=PUBLISHED,
            missing=[*official.missing, *(f"{key}.mp4" for key in wanted - paths.keys())],
            notes=(*notes, *_leaks(official)),
        )


@dataclass(frozen=True)
class _Clip:
    """What a path says: `youtube`, `actors` or a method; its level (`masks` for a mask); and the parts of its name."""

    group: str
    level: str
    stem: str
    target: str
    source: str | None
    scene: str | None

    @property
    def key(self) -> str:
        """Names the clip at any level."""
        return f"{self.group}/{self.stem}"

    @property
    def original(self) -> str:
        """The key of the real video that a forgery was made from; a real video's own."""
        return f"youtube/{self.target}" if self.scene is None else f"actors/{self.target}__{self.scene}"


@dataclass(frozen=True)
class _Official:
    """What the metadata say: split and YouTube id by sequence, both names of each pair, and which files were read."""

    splits: Mapping[str, Split]
    pairs: frozenset[str]
    videos: Mapping[str, str]
    files: frozenset[str]
    missing: tuple[str, ...]


def _clip(path: str) -> _Clip | None:
    """None for what is not named as a clip of this corpus."""
    if place := _OFFICIAL.fullmatch(path):
        group, level = place["real"] or place["method"], place["level"].replace("c0", "raw")
    elif place := _FLAT.fullmatch(path):
        group, level = place["folder"].replace("original", "youtube"), "c23"
    else:
        return None
    name = _NAMES[group].fullmatch(place["name"])
    if name is None:
        return None
    parts = name.groupdict()
    clip = _Clip(group, level, place["name"], parts["target"], parts.get("source"), parts.get("scene"))
    return None if clip.source == clip.target else clip


def _found(clip: _Clip, paths: Mapping[str, str], masks: Mapping[str, str], official: _Official) -> Found:
    people = "" if clip.scene is None else "actor_"  # actors and sequences are both numbered
    target = f"{people}{clip.target}"
    source = None if clip.source is None else f"{people}{clip.source}"
    video = official.videos.get(target)
    fake = source is not None
    return Found(
        group=clip.group,
        label="fake" if fake else "real",
        video_label="fake" if fake else "real",
        method=clip.group if fake else "ingest",
        base=paths.get(clip.original) if fake else None,
        target=target,
        source=source,
        apparent=target if source is None or clip.group in REENACTMENTS else source,
        origin=None if video is None else f"youtube:{video}",
        split=official.splits.get(target),
        mask=masks.get(clip.key),
    )


def _published(official: _Official) -> Iterator[str]:
    """The keys of clips whose names are published; the splits name the forgeries."""
    yield from (f"youtube/{number:03}" for number in range(1000))
    yield from (f"{method}/{pair}" for method in (*SWAPS, *REENACTMENTS) for pair in sorted(official.pairs))


def _official(root: Path, inventory: Inventory) -> _Official:
    wanted = {f"{split}.json": split for split in SPLITS} | {"conversion_dict.json": None}
    places = {file: [f"{folder}{file}" for folder in _FOLDERS if f"{folder}{file}" in inventory.files] for file in wanted}
    splits: dict[str, Split] = {}
    pairs: set[str] = set()
    missing = [f"splits/{split}.json" for split in SPLITS if not places[f"{split}.json"]]
    for split in SPLITS if not missing else ():
        path = places[f"{split}.json"][0]
        for a, b in _pairs(root / path, read_json(root, inventory, path)):
            if a == b or a in splits or b in splits:
                unreadable(root / path, f"a sequence of the pair {a}, {b} is in another pair too")
            splits[a] = splits[b] = split
            pairs |= {f"{a}_{b}", f"{b}_{a}"}
    videos: dict[str, str] = {}
    for path in places["conversion_dict.json"][:1]:
        videos = _videos(root / path, read_json(root, inventory, path))
    files = frozenset(path for found in places.values() for path in found)
    return _Official(splits, frozenset(pairs), videos, files, tuple(missing))


def _pairs(where: Path, value: object) -> list[tuple[str, str]]:
    if not isinstance(value, list):
        unreadable(where, "not a list of pairs")
    pairs = []
    for pair in value:
        match pair:
            case [str(a), str(b)] if _SEQUENCE.fullmatch(a) and _SEQUENCE.fullmatch(b):
                pairs.append((a, b))
            case _:
                unreadable(where, f"{str(pair)[:40]!r} is not a pair of sequences")
    return pairs


def _videos(where: Path, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        unreadable(where, "not an object of sequence and YouTube id")
    videos = {}
    for sequence, text in value.items():
        video = _VIDEO.fullmatch(text) if isinstance(text, str) else None
        if video is None or not _SEQUENCE.fullmatch(sequence):
            unreadable(where, f"{str(sequence)[:20]!r}: {str(text)[:40]!r} is not a sequence and a YouTube id")
        videos[sequence] = video["id"]
    return videos


def _leaks(official: _Official) -> list[str]:
    """The YouTube videos that the official splits cut in two, each with all that must share a split because of it."""
    cut: defaultdict[str, list[str]] = defaultdict(list)
    for sequence, video in sorted(official.videos.items()):
        cut[video].append(sequence)
    partner = dict(pair.split("_") for pair in official.pairs)
    notes = []
    for video, sequences in cut.items():
        if len({official.splits[sequence] for sequence in sequences if sequence in official.splits}) < 2:
            continue
        together: set[str] = set()
        more = set(sequences)
        while more > together:
            together = more
            more = together | {partner.get(sequence, sequence) for sequence in together}
            more |= {other for sequence in more if sequence in official.videos for other in cut[official.videos[sequence]]}
        where = " and ".join(f"{sequence} ({official.splits.get(sequence, 'no split')})" for sequence in sequences)
        notes.append(f"{where} are from one YouTube video, {video}: {', '.join(sorted(together))} must share a split")
    return notes
