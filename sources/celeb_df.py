"""Celeb-DF, versions 1 and 2 (Li et al., CVPR 2020).

Interviews of celebrities found on YouTube, face swaps between them, and more videos of people who are not named:

    Celeb-real/id0_0000.mp4                     person, clip
    Celeb-synthesis/id0_id16_0000.mp4           target, source, clip of the target
    YouTube-real/00000.mp4                      nobody is named
    List_of_testing_videos.txt                  `1 Celeb-real/id0_0000.mp4`: 1 is real and 0 is fake

Folders may be spelt in other cases (`Youtube-real`), and the clips may lie in a `videos` folder in them; a few copies have
`.noaudio.mp4` for some clips. The forgery `<target>_<source>_<clip>` was made from `Celeb-real/<target>_<clip>` and shows the
source's face. (`<source>_<clip>` mostly exists too, and is another video.)

Version 1 has 408 real clips (250 of them YouTube-real) and 795 forgeries of 15 people, version 2 has 890 (300) and 5639 of 59.
The official list names a test set alone, and nearly all of its people appear outside it too: it measures nothing about
unseen people. Rows that are not in the list are marked `train`; there is no official val.

Licence: Terms to Use Celeb-DF, by form: research only, no commercial use; people in it may ask to be removed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.inventory import Inventory
from forgeline.sample import Label, Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, read_text, unreadable

TEST_LIST = "List_of_testing_videos.txt"
PEOPLE = {
    "v1": frozenset(f"id{number}" for number in range(18) if number not in (5, 14, 15)),
    "v2": frozenset(f"id{number}" for number in range(62) if number not in (14, 15, 18)),
}
PUBLISHED = {
    "v1": {"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795},
    "v2": {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639},
}

LISTED = {"v1": 100, "v2": 518}

_PLACE = re.compile(r"(?P<folder>[^/]+)/(?:videos/)?(?P<stem>[^/.]+)(?:\.noaudio)?\.mp4")
_FOLDERS = {folder.lower(): folder for folder in PUBLISHED["v2"]}
_ID = r"id(?:0|[1-9][0-9]*)"
_NAMES = {
    "Celeb-real": re.compile(rf"(?P<target>{_ID})_(?P<clip>[0-9]{{4}})"),
    "Celeb-synthesis": re.compile(rf"(?P<target>{_ID})_(?P<source>{_ID})_(?P<clip>[0-9]{{4}})"),
    "YouTube-real": re.compile(r"[0-9]{5}"),
}
_LINE = re.compile(r"(?P<label>[01]) (?P<path>\S+)")


class CelebDF(Source):
    """Celeb-DF."""

    template: ClassVar = Terms(
        agreement="Terms to Use Celeb-DF",
        licence="Terms to Use Celeb-DF (academic research, no commercial use)",
        permitted_use=("detection", "research"),
        consent="public interviews on YouTube, people not asked; they may ask to be removed",
    )
    kind: Literal["celeb_df"] = "celeb_df"
    terms: Terms
    """The accepted form."""
    version: Literal["v1", "v2"] = "v2"
    """Which release it is: they differ in people and counts."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real clips and swaps, each swap with the clip it was made from; the official test set is split `test`."""
        clips: dict[str, _Clip] = {}
        paths: dict[str, str] = {}
        refused: dict[str, str] = {}
        for path in inventory.files:
            clip = _clip(path)
            if clip is None:
                continue
            if strangers := {person for person in (clip.target, clip.source) if person} - PEOPLE[self.version]:
                refused[path] = f"Celeb-DF {self.version} has nobody called {min(strangers)}"
            elif clip.key in paths:
                refused[path] = f"the same clip as {paths[clip.key]}"
            else:
                clips[path] = clip
                paths[clip.key] = path
        tests = _tests(root, inventory)
        found = {path: _found(clip, paths, tests) for path, clip in clips.items()}
        wanted = {*tests, *(clip.original for clip in clips.values())}
        mismatching = [
            f"{paths[key]}: {label} in {TEST_LIST}"
            for key, label in tests.items()
            if key in paths and found[paths[key]].label != label
        ]
        if tests and len(tests) != LISTED[self.version]:
            mismatching.append(f"{TEST_LIST}: {len(tests)} clips, {LISTED[self.version]} are published")
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={TEST_LIST},
            published=PUBLISHED[self.version],
            missing=[*(f"{key}.mp4" for key in wanted - paths.keys()), *([] if tests else [TEST_LIST])],
            mismatching=mismatching,
        )


@dataclass(frozen=True)
class _Clip:
    """What a path says: one of the three folders, and the parts of its name."""

    folder: str
    stem: str
    target: str | None
    source: str | None
    clip: str | None

    @property
    def key(self) -> str:
        """Names the clip however its folder is spelt."""
        return f"{self.folder}/{self.stem}"

    @property
    def original(self) -> str:
        """The key of the real clip that a forgery was made from; a real clip's own."""
        return self.key if self.source is None else f"Celeb-real/{self.target}_{self.clip}"


def _clip(path: str) -> _Clip | None:
    """None for what is not named as a clip of this corpus."""
    place = _PLACE.fullmatch(path)
    folder = None if place is None else _FOLDERS.get(place["folder"].lower())
    if place is None or folder is None or not (name := _NAMES[folder].fullmatch(place["stem"])):
        return None
    parts = name.groupdict()
    clip = _Clip(folder, place["stem"], parts.get("target"), parts.get("source"), parts.get("clip"))
    return None if clip.source is not None and clip.source == clip.target else clip


def _found(clip: _Clip, paths: Mapping[str, str], tests: Mapping[str, Label]) -> Found:
    fake = clip.source is not None
    split: Split | None = ("test" if clip.key in tests else "train") if tests else None
    return Found(
        group=clip.folder,
        label="fake" if fake else "real",
        video_label="fake" if fake else "real",
        audio_label="real",
        method="Celeb-DF" if fake else "ingest",
        base=paths.get(clip.original) if fake else None,
        target=clip.target,
        source=clip.source,
        apparent=clip.source if fake else clip.target,
        split=split,
    )


def _tests(root: Path, inventory: Inventory) -> dict[str, Label]:
    """Label by key of the official test clips; empty where the list is not there."""
    if TEST_LIST not in inventory.files:
        return {}
    tests: dict[str, Label] = {}
    for number, line in enumerate(read_text(root, inventory, TEST_LIST).splitlines(), start=1):
        where = root / f"{TEST_LIST}:{number}"
        parts = _LINE.fullmatch(line)
        clip = None if parts is None else _clip(parts["path"])
        if parts is None or clip is None:
            unreadable(where, f"{line[:60]!r} is not a label and a clip")
        if clip.key in tests:
            unreadable(where, f"{clip.key} is listed twice")
        tests[clip.key] = "real" if parts["label"] == "1" else "fake"
    return tests
