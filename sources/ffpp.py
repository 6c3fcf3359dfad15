"""FaceForensics++ (Rössler et al., ICCV 2019) and the DeepFakeDetection set (Google and Jigsaw, 2019) served with it.

1000 sequences from 977 YouTube videos, and five methods' forgeries of them, each in both directions of 500 pairs; 363 videos
of 28 paid actors, and 3068 swaps between these. As the download script lays them out, with level raw (also called c0), c23 or
c40:

    original_sequences/youtube/<level>/videos/000.mp4                       sequence
    original_sequences/actors/<level>/videos/01__exit_phone_room.mp4        actor, scene
    manipulated_sequences/<method>/<level>/videos/000_003.mp4               target, source
    manipulated_sequences/DeepFakeDetection/<level>/videos/01_02__exit_phone_room__YVGY8LOK.mp4
    manipulated_sequences/<method>/masks/videos/000_003.mp4                 the same mask for every level
    splits/{train,val,test}.json                                            also directly in the root; the 500 pairs
    conversion_dict.json                                                    sequence → YouTube id

DeepfakeBench keeps this tree, and lays pictures beside the videos (`sources/stills.py`). The script can fetch more, which is
left out: the YouTube videos themselves (downloaded_videos.zip) and the autoencoders (manipulated_sequences/Deepfakes/models).
A flat mirror of c23 is read as well: original/000.mp4, <method>/000_003.mp4, with tables in csv/ that name each clip, its
class and its number of frames. It holds a third of DeepFakeDetection (one clip of 5 frames among them), no actors, masks or
splits.

The first number of a forgery is the video it was made from. Deepfakes, FaceSwap, FaceShifter and DeepFakeDetection put the
source's face on it; Face2Face and NeuralTextures only move the target's own. No file has sound. Frames of a forgery pair with
its target's by index: lengths, widths and even frame rates differ by method (Face2Face is as long as its source), and a mask
can be far shorter than its clip. FaceShifter has no masks, and NeuralTextures has Face2Face's. The official splits
(720/140/140) cut seven YouTube videos in two: rows carry the video as their origin, so that a split prover can mend it.
Without conversion_dict.json only the 45 sequences that share their video have one. DeepFakeDetection has no official split.

Licence: FaceForensics Terms of Use, signed with an affiliation: non-commercial research and education; no passing on.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from forgeline.sample import SPLITS, Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, read_json, read_text, unreadable
from sources.stills import Stills

DFD = "DeepFakeDetection"
SWAPS = ("Deepfakes", "FaceSwap", "FaceShifter")
REENACTMENTS = ("Face2Face", "NeuralTextures")
PUBLISHED = {"youtube": 1000, "actors": 363, **dict.fromkeys((*SWAPS, *REENACTMENTS), 1000), DFD: 3068}

_METHODS = "|".join((*SWAPS, *REENACTMENTS, DFD))
_OFFICIAL = re.compile(
    rf"(?:original_sequences/(?P<real>youtube|actors)|manipulated_sequences/(?P<method>{_METHODS}))"
    r"/(?P<level>raw|c0|c23|c40|masks)/videos/(?P<name>[^/]+)\.mp4"
)
_FLAT_LEVEL = "c23"
_FLAT = re.compile(rf"(?P<folder>original|{_METHODS})/(?P<name>[^/]+)\.mp4")

_ACTOR = r"0[1-9]|1[0-9]|2[0-8]"
_SCENE = re.compile(rf"(?P<target>{_ACTOR})__(?P<scene>[a-z_]+)")
_SWAPPED_SCENE = re.compile(rf"(?P<target>{_ACTOR})_(?P<source>{_ACTOR})__(?P<scene>[a-z_]+)__[A-Z0-9]{{8}}")
_SEQUENCE = re.compile(r"(?P<target>[0-9]{3})")
_PAIR = re.compile(r"(?P<target>[0-9]{3})_(?P<source>[0-9]{3})")
_NAMES = {"youtube": _SEQUENCE, "actors": _SCENE, DFD: _SWAPPED_SCENE, **dict.fromkeys((*SWAPS, *REENACTMENTS), _PAIR)}

_FOLDERS = ("", "splits/", "dataset/", "dataset/splits/")
_NOT_READ = {
    "the YouTube videos that the sequences were cut from": re.compile(
        r"(?:downloaded_videos|downloaded_?videos_?info|original_youtube_videos(?:_info)?)(?:\.zip|/.+)"
    ),
    "Deepfakes' models": re.compile(r"manipulated_sequences/Deepfakes/models/[0-9]{3}_[0-9]{3}/[A-Za-z_]+\.h5"),
}
_TABLE = re.compile(rf"csv/(?:original|{_METHODS}|FF\+\+_Metadata(?:_Shuffled)?|Mean_Data)\.csv")
_SHORT = 10  # frames
_VIDEO = re.compile(r"(?P<id>[A-Za-z0-9_-]{11}) [0-9]+")
_CONVERSION = "conversion_dict.json"

# What conversion_dict.json publishes of the videos that more than one sequence was cut from, for copies without it: nothing
# else would tell that these sequences belong together.
_SHARED = {
    **dict.fromkeys(("331", "332"), "R03Sko97IDE"),
    **dict.fromkeys(("524", "525"), "j8iHnieUckQ"),
    **dict.fromkeys(("566", "567"), "lBZ3BR1tbfo"),
    **dict.fromkeys(("605", "606"), "nUNnFudF2pA"),
    **dict.fromkeys(("614", "615"), "nmfPtUu2nSM"),
    **dict.fromkeys(("618", "619"), "nwY9bp4pVHk"),
    **dict.fromkeys(("639", "640"), "pGmDKODT6V4"),
    **dict.fromkeys(("685", "686", "687"), "r2T0mn64MAU"),
    **dict.fromkeys(("755", "756"), "tR7z_H1qPMc"),
    **dict.fromkeys(("766", "767"), "tuAgtClLSxE"),
    **dict.fromkeys(("769", "770"), "u1L10BSRzVs"),
    **dict.fromkeys(("787", "788"), "ukdxw_rACaw"),
    **dict.fromkeys(("837", "838"), "wERnQNuwQbM"),
    **dict.fromkeys(("875", "876"), "xG9J__APvnY"),
    **dict.fromkeys(("883", "884"), "xQi1olDt7oo"),
    **dict.fromkeys(("937", "938"), "ydPPnou6Frs"),
    **dict.fromkeys(("942", "943"), "yjsNEL7DQuY"),
    **dict.fromkeys(("954", "955"), "yvf0HOswcPk"),
    **dict.fromkeys(("967", "968"), "z4yTbtJTlE0"),
    **dict.fromkeys(("973", "974"), "zD4gR7-ZMhE"),
    **dict.fromkeys(("982", "983"), "zPdvu-SUnbg"),
    **dict.fromkeys(("993", "994"), "ze1aB8sjnvY"),
}


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
        tables = _tables(root, inventory)
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
            elif clip.group in (*SWAPS, *REENACTMENTS) and not official.missing and clip.stem not in official.pairs:
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
        stills = Stills.of(inventory)
        notes = stills.notes(name)
        found = {path: _found(clip, paths, masks, official) for path, clip in clips.items()}
        wanted = {*_published(official), *(clip.original for clip in clips.values())}
        wanted |= tables.clips if self.compression == _FLAT_LEVEL else set()
        notes += [f"{len(left_out)} clips at other levels than {self.compression} are left out"] if left_out else []
        notes += [f"{len(lone)} masks are of clips that are not here"] if (lone := masks.keys() - paths.keys()) else []
        without_ids = not official.conversion and any(clip.scene is None for clip in clips.values())
        not_read: set[str] = set()
        for what, names in _NOT_READ.items():
            if files := {path for path in inventory.files if names.fullmatch(path)}:
                notes.append(f"{what} are left out: {len(files)} files")
                not_read |= files
        short = [
            f"{paths[key]} ({frames})" for key, frames in sorted(tables.frames.items()) if frames < _SHORT and key in paths
        ]
        notes += [f"{len(short)} clips have fewer than {_SHORT} frames: {_few(short)}"] if short else []
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*masks.values(), *left_out, *official.files, *tables.files, *stills.files, *not_read},
            published=PUBLISHED,
            missing=[
                *official.missing,
                *([_CONVERSION] if without_ids else []),
                *(f"{key}.mp4" for key in wanted - paths.keys()),
            ],
            mismatching=[*official.doubled, *tables.mismatching],
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
    """What the metadata say: split and YouTube id by sequence, and both names of each pair; and of the metadata files, which
    are here, which lists of pairs are not, and which are here a second time and differ. `videos` are those of
    conversion_dict.json (`conversion`), without which only those that sequences share are known."""

    splits: Mapping[str, Split]
    pairs: frozenset[str]
    videos: Mapping[str, str]
    conversion: bool
    files: frozenset[str]
    missing: tuple[str, ...]
    doubled: tuple[str, ...]


@dataclass(frozen=True)
class _Tables:
    """What the flat mirror's tables name: clips by key, their numbers of frames; and lines that are at odds with the corpus."""

    clips: set[str] = field(default_factory=set)
    frames: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    mismatching: list[str] = field(default_factory=list)


def _clip(path: str) -> _Clip | None:
    """None for what is not named as a clip of this corpus."""
    if place := _OFFICIAL.fullmatch(path):
        group, level = place["real"] or place["method"], place["level"].replace("c0", "raw")
    elif place := _FLAT.fullmatch(path):
        group, level = place["folder"].replace("original", "youtube"), _FLAT_LEVEL
    else:
        return None
    name = _NAMES[group].fullmatch(place["name"])
    if name is None:
        return None
    parts = name.groupdict()
    if level == "masks" and "source" not in parts:
        return None  # there is nothing to mask in a real clip
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
    wanted = {f"{split}.json": split for split in SPLITS} | {_CONVERSION: None}
    places = {file: [f"{folder}{file}" for folder in _FOLDERS if f"{folder}{file}" in inventory.files] for file in wanted}
    splits: dict[str, Split] = {}
    pairs: set[str] = set()
    missing = [f"splits/{split}.json" for split in SPLITS if not places[f"{split}.json"]]
    for split in SPLITS:
        path = next(iter(places[f"{split}.json"]), None)
        if path is None:
            continue
        for a, b in _pairs(root / path, read_json(root, inventory, path)):
            if a == b or a in splits or b in splits:
                unreadable(root / path, f"a sequence of the pair {a}, {b} is in another pair too")
            splits[a] = splits[b] = split
            pairs |= {f"{a}_{b}", f"{b}_{a}"}
    videos = _SHARED
    for path in places[_CONVERSION][:1]:
        videos = _videos(root / path, read_json(root, inventory, path))
    files = frozenset(path for found in places.values() for path in found)
    doubled = [
        f"{path}: not the same as {found[0]}, which is used"
        for found in places.values()
        for path in found[1:]
        if inventory.files[path].sha256 != inventory.files[found[0]].sha256
    ]
    return _Official(splits, frozenset(pairs), videos, bool(places[_CONVERSION]), files, tuple(missing), tuple(doubled))


def _tables(root: Path, inventory: Inventory) -> _Tables:
    tables = _Tables(files=[path for path in inventory.files if _TABLE.fullmatch(path)])
    for path in tables.files:
        if path.endswith("Mean_Data.csv"):
            continue
        reader = csv.DictReader(io.StringIO(read_text(root, inventory, path), newline=""))
        try:
            if not {"File Path", "Label"} <= set(reader.fieldnames or ()):
                unreadable(root / path, "its first line does not name File Path and Label")
            for row in reader:
                _listed(row, f"{path}:{reader.line_num}", tables)
        except csv.Error as error:
            unreadable(root / f"{path}:{reader.line_num}", f"not a table ({error})")
    return tables


def _listed(row: Mapping[str, str | None], where: str, tables: _Tables) -> None:
    """Take over a line of a table; the class is what the folder says, and a line that says otherwise is reported."""
    clip = _clip((row["File Path"] or "").strip().replace("\\", "/"))
    label = {"REAL": "real", "FAKE": "fake"}.get((row["Label"] or "").strip())
    if clip is None or label != ("real" if clip.source is None else "fake"):
        tables.mismatching.append(f"{where}: {str(row['File Path'])[:80]!r} is called {str(row['Label'])[:20]!r}")
        return
    tables.clips.add(clip.key)
    if re.fullmatch(r"[0-9]{1,9}", frames := (row.get("Frame Count") or "").strip()):
        tables.frames[clip.key] = int(frames)


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


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


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
