"""The Deepfake Detection Challenge dataset (Dolhansky et al., 2020), as Kaggle and its own site distribute it.

Ten-second clips of 960 paid actors, and forgeries of them, in folders of random names:

    dfdc_train_part_0/ … dfdc_train_part_49/    metadata.json, <ten letters>.mp4
    train_sample_videos/                        the same for 400 clips of these parts
    validation/                                 labels.csv (or label.csv), 4000 clips
    test/                                       labels.csv, metadata.json, 5000 clips
    test_videos/                                400 clips without labels: refused

The parts may lie in a `train` folder and be numbered with leading zeros, and clips may lie in a `videos` folder. The train
metadata say `{"label":"FAKE","split":"train","original":"….mp4"}`; a `REAL` has no `original`, or null. The csv files say
`filename,label` (also `is_fake`), where 1 is fake.

A `FAKE` has a forged face, a forged voice or both, and nothing says which: both stream labels stay empty. Nor does anything
say who is in a clip: people are unknown, and what must share a split is the part (an original and its forgeries are always
in the same one) or, in the sample, the original. Actors recur between parts all the same. Many clips are upright.

Licence: Kaggle's competition rules or the agreement of the dataset's site: research on detection; no passing on.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from forgeline.inventory import Inventory
from forgeline.sample import Label, Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, read_json, read_text, unreadable

PARTS = 50
PUBLISHED = {"train": 119_154, "train_sample_videos": 400, "validation": 4000, "test": 5000}
SPLIT: dict[str, Split] = {"train": "train", "train_sample_videos": "train", "validation": "val", "test": "test"}

_PLACE = re.compile(
    r"(?P<folder>(?:train/)?(?:dfdc_train_part_(?P<part>[0-9]{1,3})|train_sample_videos|test_videos|validation|test))"
    r"/(?:videos/)?(?P<file>[^/]+)"
)
_NAME = re.compile(r"[a-z]{10}\.mp4")
_METADATA = ("metadata.json", "labels.csv", "label.csv")


class DFDC(Source):
    """The full DFDC, any of its folders."""

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
        folders = _folders(inventory)
        said = {folder.path: _said(root, inventory, folder.path) for folder in folders}
        home = {clip: folder.path for folder in reversed(folders) for clip in said[folder.path]}  # the parts come first
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
        found = {path: _found(clip, entry, folder, paths) for folder, path, clip, entry in accepted}
        missing = [f"{folder.path}/{clip}" for folder in folders for clip in said[folder.path].keys() - folder.clips.values()]
        missing += [f"the labels of {folder.path}/" for folder in folders if not said[folder.path] and folder.group in SPLIT]
        parts = {folder.part for folder in folders if folder.part is not None}
        missing += [f"dfdc_train_part_{part}/" for part in range(PARTS) if parts and part not in parts]
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={f"{folder.path}/{file}" for folder in folders for file in _METADATA},
            published=PUBLISHED,
            missing=missing,
            mismatching=mismatching,
        )


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


def _wrong(original: str, folder: _Folder, home: Mapping[str, str], said: Mapping[str, _Said]) -> str | None:
    """Why a forgery can't have been made from this original, if the metadata say so."""
    if original not in home:
        return None
    if folder.part is not None and home[original] != folder.path:
        return f"its original {original} is in {home[original]}/, not in its own part"
    entry = said[home[original]][original]
    if isinstance(entry, str) or entry.label == "fake":
        return f"its original {original} is not a real clip"
    return None


def _found(clip: str, entry: _Entry, folder: _Folder, paths: Mapping[str, str]) -> Found:
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


def _said(root: Path, inventory: Inventory, folder: str) -> _Said:
    said: _Said = {}
    for file in _METADATA:
        path = f"{folder}/{file}"
        if path not in inventory.files:
            continue
        for clip, entry in _json(root, inventory, path) if file.endswith(".json") else _csv(root, inventory, path):
            if not _NAME.fullmatch(clip):
                unreadable(root / path, f"{clip[:60]!r} is not the name of a clip")
            if said.setdefault(clip, entry) != entry:
                said[clip] = f"{file} and metadata.json disagree on it"
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
    header, *rows = read_text(root, inventory, path).splitlines() or [""]
    if header not in ("filename,label", "filename,is_fake"):
        unreadable(root / path, "its first line is not filename,label")
    clips: set[str] = set()
    for number, row in enumerate(rows, start=2):
        clip, _, fake = row.partition(",")
        if fake not in ("0", "1") or clip in clips:
            unreadable(root / f"{path}:{number}", f"{row[:60]!r} is not a new clip and 0 or 1")
        clips.add(clip)
        yield clip, _Entry("fake" if fake == "1" else "real")
