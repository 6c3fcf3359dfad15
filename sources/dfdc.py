"""The Deepfake Detection Challenge dataset (Dolhansky et al., 2020) and its preview (Dolhansky et al., 2019).

Ten-second clips of 960 paid actors, and forgeries of them, in folders of random names, as Kaggle and the dataset's own site
distribute them:

    dfdc_train_part_0/ … dfdc_train_part_49/    metadata.json, <ten letters>.mp4
    train_sample_videos/                        the same for 400 clips of these parts
    validation/                                 labels.csv (or label.csv), 4000 clips
    test/                                       labels.csv, metadata.json, 5000 clips
    test_videos/                                400 clips without labels: refused

The parts may lie in a `train` folder and be numbered with leading zeros, and clips may lie in a `videos` folder, as
DeepfakeBench has it (`sources/stills.py`). The train metadata say `{"label":"FAKE","split":"train","original":"….mp4"}`; a
`REAL` has no `original`, or null. The csv files say `filename,label` (or `is_fake`, or both), where 1 or `FAKE` is fake, 0 or
`REAL` is real, and other columns may stand beside; test's metadata.json has `is_fake` too.

A `FAKE` has a forged face, a forged voice or both, and nothing says which: both stream labels stay empty. Nor does anything
say who is in a clip: people are unknown, and what must share a split is the part (an original and its forgeries are always in
the same one) or, in the sample, the original. Actors recur between parts all the same. Many clips are upright.

The preview has 66 actors, who have numbers, and two ways of swapping faces. It is read from the same folder:

    dataset.json                                                    what is known of each clip, by its path
    original_videos/643049/643049_A_001.mp4                         person, scene, take
    method_A/1795659/1795659_B/2059066_1795659_B_001.mp4            source, target, scene, take; so method_B

A clip's entry is `{"label":"fake","set":"train","target_id":…,"swapped_id":…,"augmentations":[…],"source_video":…}`, and in a
fake `swapped_id` is whose face is seen. Copies keep the clips in other folders below these three (`method_A/videos/`), so
clips and entries are joined by the first folder and the name. How names are built was seen, not published: who is who is what
`dataset.json` says, and a clip whose name has other people is refused. There is no val.

Licence: Kaggle's competition rules or the agreement of the dataset's site: research on detection; no passing on.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from forgeline.sample import Label, Split
from forgeline.terms import Terms
from sources.corpus import RAW, Corpus, Found, Source, read_json, read_text, unreadable
from sources.stills import Stills

PARTS = 50
PUBLISHED = {"train": 119_154, "train_sample_videos": 400, "validation": 4000, "test": 5000}
PREVIEW = {"original_videos": 1131, "method_A": 3975, "method_B": 144}
"""The preview's folders, and how many clips each has."""
SPLIT: dict[str, Split] = {"train": "train", "train_sample_videos": "train", "validation": "val", "test": "test"}

_PLACE = re.compile(
    r"(?P<folder>(?:train/)?(?:dfdc_train_part_(?P<part>[0-9]{1,3})|train_sample_videos|test_videos|validation|test))"
    r"/(?:videos/)?(?P<file>[^/]+)"
)
_NAME = re.compile(r"[a-z]{10}\.mp4")
_METADATA = ("metadata.json", "labels.csv", "label.csv")
_WORDS: Mapping[str, Label] = {"0": "real", "1": "fake", "real": "real", "fake": "fake"}

_DATASET = "dataset.json"
_ACTORS = re.compile(r"(?:(?P<source>[0-9]+)_)?(?P<target>[0-9]+)_[A-Z]_[0-9]{3}")


class DFDC(Source):
    """DFDC: any folders of the full dataset, of the preview, or of both."""

    template: ClassVar = Terms(
        agreement="DFDC dataset agreement (Kaggle competition rules or the dataset's site)",
        licence="DFDC dataset agreement (research on detection, no redistribution)",
        permitted_use=("detection", "research"),
        consent="paid actors who agreed to be in this dataset and to be manipulated for it",
    )
    kind: Literal["dfdc"] = "dfdc"
    terms: Terms
    """The accepted agreement."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Labelled clips of all folders that are here, forgeries with their originals."""
        full, preview = _full(root, inventory), _preview(root, inventory)
        found = {**full.found, **preview.found}
        refused = {**full.refused, **preview.refused}
        stills = Stills.of(inventory)
        notes = stills.notes(name)
        if refused and not found:
            what = f"no metadata give a label to any of its {len(refused)} clips (the first: {min(refused.values())})"
            raise SourceError(f"{RAW}/{name}", what, "put metadata.json, labels.csv or dataset.json where the corpus has them")
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*full.known, *preview.known, *stills.files},
            published=(PUBLISHED if full.known else {}) | (PREVIEW if preview.known else {}),
            missing=[*full.missing, *preview.missing],
            mismatching=[*full.mismatching, *preview.mismatching],
            notes=(*notes, *preview.notes),
        )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What one of the two has: clips, clips that can't be used, metadata files, and what the report says of them."""

    found: Mapping[str, Found]
    refused: Mapping[str, str]
    known: Collection[str] = ()
    missing: Collection[str] = ()
    mismatching: Collection[str] = ()
    notes: Collection[str] = ()


# The full dataset


@dataclass(frozen=True)
class _Folder:
    """A folder of clips: where it is, what the report calls it, its number if it is a part, its clips' names by path."""

    path: str
    group: str
    part: int | None
    clips: dict[str, str]

    @property
    def silence(self) -> str:
        """Why a clip that the metadata don't name can't be used."""
        if self.group not in SPLIT:
            return "the corpus publishes no label for it"
        return f"the metadata of {self.path}/ don't name it, or are not there"


@dataclass(frozen=True)
class _Entry:
    """What the metadata say of a clip. `original` is the name of the clip that a train forgery was made from."""

    label: Label
    original: str | None = None


_Said = dict[str, _Entry | str]
"""By clip: what the metadata say, or why that can't be used."""


def _full(root: Path, inventory: Inventory) -> _Read:
    folders = _folders(inventory)
    said = {folder.path: _said(root, inventory, folder) for folder in folders}
    home = {clip: folder for folder in reversed(folders) for clip in said[folder.path]}  # the parts come first
    accepted: list[tuple[_Folder, str, str, _Entry]] = []
    paths: dict[str, str] = {}
    refused: dict[str, str] = {}
    mismatching: list[str] = []
    for folder in folders:
        for path, clip in folder.clips.items():
            entry = said[folder.path].get(clip, folder.silence)
            if isinstance(entry, str):
                refused[path] = entry
            elif clip in paths:
                refused[path] = f"the same clip as {paths[clip]}"
            elif entry.original is not None and (wrong := _wrong(entry.original, folder, home, said)):
                refused[path] = wrong
            else:
                accepted.append((folder, path, clip, entry))
                paths[clip] = path
                if entry.original is not None and entry.original not in home and folder.part is not None:
                    mismatching.append(f"{path}: no metadata name its original {entry.original}")
    found = {path: _clip(clip, entry, folder, paths) for folder, path, clip, entry in accepted}
    missing = [f"{folder.path}/{clip}" for folder in folders for clip in said[folder.path].keys() - folder.clips.values()]
    missing += [f"the labels of {folder.path}/" for folder in folders if not said[folder.path] and folder.group in SPLIT]
    parts = {folder.part for folder in folders if folder.part is not None}
    missing += [f"dfdc_train_part_{part}/" for part in range(PARTS) if parts and part not in parts]
    known = {f"{folder.path}/{file}" for folder in folders if folder.group in SPLIT for file in _METADATA}
    return _Read(found=found, refused=refused, known=known, missing=missing, mismatching=mismatching)


def _folders(inventory: Inventory) -> list[_Folder]:
    """The folders that have clips or metadata: parts by number, then the others."""
    folders: dict[str, _Folder] = {}
    for path in inventory.files:
        place = _PLACE.fullmatch(path)
        if place is None or (place["part"] and int(place["part"]) >= PARTS):
            continue
        part = int(place["part"]) if place["part"] else None
        group = "train" if part is not None else PurePosixPath(place["folder"]).name
        folder = folders.setdefault(place["folder"], _Folder(place["folder"], group, part, {}))
        if _NAME.fullmatch(place["file"]):
            folder.clips[path] = place["file"]
    return sorted(folders.values(), key=lambda folder: (folder.part is None, folder.part or 0, folder.path))


def _wrong(original: str, folder: _Folder, home: Mapping[str, _Folder], said: Mapping[str, _Said]) -> str | None:
    """Why a forgery can't have been made from this original, if the metadata say so."""
    if original not in home:
        return None
    if folder.part is not None and home[original].part != folder.part:
        return f"its original {original} is in {home[original].path}/, not in its own part"
    entry = said[home[original].path][original]
    if isinstance(entry, str) or entry.label == "fake":
        return f"its original {original} is not a real clip"
    return None


def _clip(clip: str, entry: _Entry, folder: _Folder, paths: Mapping[str, str]) -> Found:
    real = entry.label == "real"
    origin = None if folder.part is None else f"dfdc:part_{folder.part}"
    if folder.group == "train_sample_videos":
        origin = f"dfdc:{PurePosixPath(entry.original or clip).stem}"
    return Found(
        group=folder.group,
        label=entry.label,
        video_label="real" if real else None,
        audio_label="real" if real else None,
        method="ingest" if real else "DFDC",
        base=None if entry.original is None else paths.get(entry.original),
        origin=origin,
        split=SPLIT[folder.group],
    )


def _said(root: Path, inventory: Inventory, folder: _Folder) -> _Said:
    said: _Said = {}
    for file in _METADATA if folder.group in SPLIT else ():
        path = f"{folder.path}/{file}"
        if path not in inventory.files:
            continue
        for clip, entry in _json(root, inventory, path) if file.endswith(".json") else _csv(root, inventory, path):
            if not _NAME.fullmatch(clip):
                unreadable(root / path, f"{clip[:60]!r} is not the name of a clip")
            before = said.setdefault(clip, entry)
            if isinstance(before, str) or isinstance(entry, str) or before.label != entry.label:
                said[clip] = before if before is entry else f"{file} and metadata.json disagree on it"
    return said


def _json(root: Path, inventory: Inventory, path: str) -> Iterator[tuple[str, _Entry | str]]:
    value = read_json(root, inventory, path)
    if not isinstance(value, dict):
        unreadable(root / path, "not an object of clips")
    for clip, entry in value.items():
        match entry:
            case {"label": "REAL", "split": "train"} if entry.get("original") is None:
                yield clip, _Entry("real")
            case {"label": "FAKE", "split": "train", "original": str(original)} if _NAME.fullmatch(original):
                yield clip, _Entry("fake", original)
            case {"is_fake": int(fake)} if type(fake) is int and fake in (0, 1):
                yield clip, _Entry("fake" if fake else "real")
            case _:
                yield clip, f"metadata.json says {str(entry)[:80]!r} of it"


def _csv(root: Path, inventory: Inventory, path: str) -> Iterator[tuple[str, _Entry | str]]:
    reader = csv.reader(io.StringIO(read_text(root, inventory, path), newline=""))
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        said_in = [column for column, name in enumerate(header) if name in ("label", "is_fake")]
        if header.count("filename") != 1 or not said_in or len({header[column] for column in said_in}) < len(said_in):
            unreadable(root / path, "its first line does not name filename, and label or is_fake, once each")
        clips: set[str] = set()
        for row in reader:
            if not any(row):
                continue
            clip, *words = (row[n].strip() if n < len(row) else "" for n in (header.index("filename"), *said_in))
            label, *more = (_WORDS.get(word.lower()) for word in words)
            where, what = root / f"{path}:{reader.line_num}", f"{','.join(row)[:60]!r}"
            if label is None or None in more or clip in clips:
                unreadable(where, f"{what} is not a new clip and 0 or 1, REAL or FAKE")
            if any(each != label for each in more):
                unreadable(where, f"label and is_fake disagree in {what}")
            clips.add(clip)
            yield clip, _Entry(label)
    except csv.Error as error:
        unreadable(root / f"{path}:{reader.line_num}", f"not a table ({error})")


# The preview


@dataclass(frozen=True)
class _Scene:
    """What dataset.json says of a clip. `original` is the key of the clip that a forgery was made from."""

    label: Label
    split: Split
    target: str
    source: str | None = None
    original: str | None = None
    augmentations: tuple[str, ...] = ()


def _preview(root: Path, inventory: Inventory) -> _Read:
    clips = {path: key for path in inventory.files if path.partition("/")[0] in PREVIEW and (key := _key(path))}
    if not clips and _DATASET not in inventory.files:
        return _Read(found={}, refused={})
    said, mismatching = _scenes(root, inventory)
    paths: dict[str, str] = {}
    refused: dict[str, str] = {}
    scenes: dict[str, _Scene] = {}
    for path, key in clips.items():
        scene = said.get(key, f"{_DATASET} does not name it, or is not there")
        if isinstance(scene, str):
            refused[path] = scene
        elif key in paths:
            refused[path] = f"the same clip as {paths[key]}"
        else:
            scenes[path] = scene
            paths[key] = path
    missing = said.keys() - clips.values()
    missing |= {scene.original for scene in scenes.values() if scene.original and scene.original not in paths}
    changed = Counter(name for scene in scenes.values() for name in scene.augmentations)
    kinds = ", ".join(f"{name!r} {count} times" for name, count in changed.most_common(8))
    return _Read(
        found={path: _taken(path, scene, paths) for path, scene in scenes.items()},
        refused=refused,
        known={_DATASET},
        missing=[*(f"{key}.mp4" for key in missing), *([] if _DATASET in inventory.files else [_DATASET])],
        mismatching=mismatching,
        notes=[f"clips of the preview were changed afterwards: {kinds}"] if kinds else [],
    )


def _key(path: str) -> str | None:
    """The folder and name of a clip of the preview, without its suffix; None for what is not named as such."""
    *folders, file = path.removesuffix(".mp4").split("/")
    folder = next((folder for folder in folders if folder in PREVIEW), None)
    name = _ACTORS.fullmatch(file) if path.endswith(".mp4") else None
    if folder is None or name is None or name["source"] == name["target"]:
        return None
    return f"{folder}/{file}" if (folder == "original_videos") == (name["source"] is None) else None


def _taken(path: str, scene: _Scene, paths: Mapping[str, str]) -> Found:
    folder = str(_key(path)).partition("/")[0]
    real = scene.label == "real"
    return Found(
        group=folder,
        label=scene.label,
        video_label=scene.label,
        audio_label="real" if real else None,
        method="ingest" if real else f"DFDC-{folder}",
        base=None if scene.original is None else paths.get(scene.original),
        target=scene.target,
        source=scene.source,
        apparent=scene.source or scene.target,
        split=scene.split,
    )


def _scenes(root: Path, inventory: Inventory) -> tuple[dict[str, _Scene | str], list[str]]:
    """By key: what dataset.json says, or why that can't be used; and what in it is at odds with itself."""
    if _DATASET not in inventory.files:
        return {}, []
    value = read_json(root, inventory, _DATASET)
    if not isinstance(value, dict):
        unreadable(root / _DATASET, "not an object of clips")
    said: dict[str, _Scene | str] = {}
    odd: list[str] = []
    for path, entry in value.items():
        key = _key(path)
        if key is None:
            odd.append(f"{_DATASET}: {path[:80]!r} is not the path of a clip")
            continue
        scene = _scene(key, entry)
        if said.setdefault(key, scene) != scene:
            said[key] = f"{_DATASET} says two things of it"
        if not isinstance(scene, str) and scene.source and entry.get("source_video") and scene.original is None:
            odd.append(f"{path}: its source_video {str(entry['source_video'])[:80]!r} is not a video of its target")
    return said, odd


def _scene(key: str, entry: object) -> _Scene | str:
    strange = f"{_DATASET} says {str(entry)[:80]!r} of it"
    name = _ACTORS.fullmatch(key.partition("/")[2])
    if name is None or not isinstance(entry, dict) or entry.get("set") not in ("train", "test"):
        return strange
    split: Split = entry["set"]
    target, source = str(entry.get("target_id")), str(entry.get("swapped_id"))  # numbers, or text
    augmentations = entry.get("augmentations")
    changed = tuple(str(each)[:40] for each in augmentations) if isinstance(augmentations, list) else ()
    if entry.get("label") == "real" and name["source"] is None and target == name["target"]:
        return _Scene("real", split, target, augmentations=changed)
    if entry.get("label") != "fake" or {target, source} != {name["target"], name["source"]}:
        return strange
    video = entry.get("source_video")
    stem = PurePosixPath(video).stem if isinstance(video, str) else ""
    of = _ACTORS.fullmatch(stem)
    own = of is not None and of["source"] is None and of["target"] == target
    return _Scene("fake", split, target, source, f"original_videos/{stem}" if own else None, changed)
