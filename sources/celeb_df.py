"""Celeb-DF, versions 1 and 2 (Li et al., CVPR 2020), and Celeb-DF++ (Li et al., 2025), which others call version 3.

Interviews of celebrities found on YouTube, forgeries of them, and more videos of people who are not named:

    Celeb-real/id0_0000.mp4                     person, clip
    Celeb-synthesis/id0_id16_0000.mp4           target, source, clip of the target
    YouTube-real/00000.mp4                      nobody is named
    List_of_testing_videos.txt                  `1 Celeb-real/id0_0000.mp4`: 1 is real and 0 is fake

In Celeb-DF++ the forgeries lie one folder a method, of 22:

    Celeb-synthesis/FaceSwap/<method>/id0_id16_0000.mp4         Celeb-DF (version 2's own), BlendFace, GHOST, HifiFace, …
    Celeb-synthesis/FaceReenact/<method>/id3_id28_0001.mp4      DaGAN, FSRT, HyperReenact, LIA, LivePortrait, MCNET, TPSMM
    Celeb-synthesis/TalkingFace/<method>/id0_0000_test_….mp4    AniTalker, EchoMimic, EDTalk, FLOAT, IP_LAP, …

Folders may be spelt in other cases (`Youtube-real`), `Celeb-synthesis` may be called `Celeb-fake` and `FaceSwap/Celeb-DF`
after its version (`Celeb-DF-v2`), and the clips may lie in a `videos` folder in them, as DeepfakeBench has it
(`sources/stills.py`). A few copies have `.noaudio.mp4` for some clips. The list comes with and without a byte order mark,
quotes, CRLF and a last newline.

The swap `<target>_<source>_<clip>` was made from `Celeb-real/<target>_<clip>` and shows the source's face. (`<source>_<clip>`
mostly exists too, and is another video.) How Celeb-DF++ names the other two families is not published. What is read is what
was seen of copies: reenactments are named as swaps are, and show their target, moved as the source does; whose clip the
number counts is not known, so they have no base. A talking face begins with the name of the clip of its target that was made
to speak, and goes on with the speech: who is named there is its source; voices of people who are not in Celeb-DF have none.
Nothing says which of these files have sound, nor whose. A name of another shape is refused, and reported as unexpected.

Version 1 has 408 real clips (250 of them YouTube-real) and 795 forgeries of 15 people, version 2 has 890 (300) and 5639 of
59; Celeb-DF++ has version 2's and 53,196 forgeries in all, as somebody counted their copy. The official list names a test set
alone (100, 518 or 5418 clips), and nearly all of its people appear outside it too: it measures nothing about unseen people.
Rows that are not in the list are marked `train`; there is no official val. Who was swapped with whom ties version 2's people
into four groups, and only those can be told apart by a split: the report names them.

Licence: Terms to Use Celeb-DF (Celeb-DF++), by form: research only, no commercial use; people in it may ask to be removed.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.inventory import Inventory
from forgeline.sample import Label, Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, read_text, unreadable
from sources.stills import Stills

_Family = Literal["real", "FaceSwap", "FaceReenact", "TalkingFace"]

TEST_LIST = "List_of_testing_videos.txt"
METHODS: dict[_Family, tuple[str, ...]] = {
    "FaceSwap": ("Celeb-DF", "BlendFace", "GHOST", "HifiFace", "InSwapper", "MobileFaceSwap", "SimSwap", "UniFace"),
    "FaceReenact": ("DaGAN", "FSRT", "HyperReenact", "LIA", "LivePortrait", "MCNET", "TPSMM"),
    "TalkingFace": ("AniTalker", "EchoMimic", "EDTalk", "FLOAT", "IP_LAP", "Real3DPortrait", "SadTalker"),
}
"""Celeb-DF++'s, by family."""
PLUS = frozenset(f"id{number}" for number in range(62) if number not in (14, 15, 18))
PEOPLE = {"v1": frozenset(f"id{number}" for number in range(18) if number not in (5, 14, 15)), "v2": PLUS, "++": PLUS}
PUBLISHED = {
    "v1": {"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795},
    "v2": {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639},
    "++": {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639},
}
"""By group. Of Celeb-DF++, what it has of version 2: how many clips each of the other methods has is not published."""
LISTED = {"v1": 100, "v2": 518, "++": 5418}

_PLACE = re.compile(r"(?P<folder>[^/]+(?:/[^/]+/[^/]+)?)/(?:videos/)?(?P<stem>[^/.]+)(?:\.noaudio)?\.mp4")
_SYNTHESIS = ("celeb-synthesis", "celeb-fake")
_FORGED: dict[str, tuple[_Family, str]] = {
    f"{top}/{family}/{method}".lower(): (family, method)
    for top in _SYNTHESIS
    for family, methods in METHODS.items()
    for method in methods
}
_FORGED |= {f"{top}/faceswap/celeb-df-v2": ("FaceSwap", "Celeb-DF") for top in _SYNTHESIS}
_ID = r"id(?:0|[1-9][0-9]*)"
_TWO = re.compile(rf"(?P<target>{_ID})_(?P<source>{_ID})_(?P<clip>[0-9]{{4}})")
_REAL = re.compile(rf"(?P<target>{_ID})_(?P<clip>[0-9]{{4}})")
_NOBODY = re.compile(r"[0-9]{5}")
_TALKING = re.compile(rf"(?P<target>{_ID})_(?P<clip>[0-9]{{4}})(?:_(?P<speech>[A-Za-z0-9_-]+))?")
_SPEAKER = re.compile(r"(?:^|_)(id[0-9]{1,2})(?=_|$)")
_LINE = re.compile(r"(?P<label>[01])\s+(?P<path>\S+)")


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
    version: Literal["v1", "v2", "++"] = "v2"
    """Which release it is, as its authors call it: they differ in people, methods and counts."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real clips and forgeries, each with the clip it was made from; the official test set is split `test`."""
        clips: dict[str, _Clip] = {}
        paths: dict[str, str] = {}
        refused: dict[str, str] = {}
        elsewhere = 0
        for path in inventory.files:
            clip = _clip(path)
            if clip is None:
                continue
            if clip.key.count("/") > 1 and self.version != "++":
                elsewhere += 1
            elif strangers := {person for person in (clip.target, clip.source) if person} - PEOPLE[self.version]:
                refused[path] = f"Celeb-DF {self.version} has nobody called {min(strangers)}"
            elif clip.key in paths:
                refused[path] = f"the same clip as {paths[clip.key]}"
            else:
                clips[path] = clip
                paths[clip.key] = path
        stills = Stills.of(inventory)
        notes = stills.notes(name)
        if elsewhere:
            notes.append(
                f"{elsewhere} clips lie as in Celeb-DF++, and this is read as {self.version}: set version: ++ to read them"
            )
        tests = _tests(root, inventory, self.version)
        found = {path: _found(clip, paths, tests) for path, clip in clips.items()}
        wanted = {*tests, *(clip.base for clip in clips.values() if clip.base)}
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
            known={TEST_LIST, *stills.files},
            published=PUBLISHED[self.version],
            missing=[
                *(file for key in wanted - paths.keys() if (file := f"{key}.mp4") not in inventory.files),
                *([] if tests else [TEST_LIST]),
            ],
            mismatching=mismatching,
            notes=(*notes, *_tied(found.values())),
        )


@dataclass(frozen=True)
class _Clip:
    """What a path says: who made it and how, whatever its folders are called here, and the parts of its name.

    `key` names the clip in this module: its folder as published, and its stem. `base` is the key of the real clip that a
    forgery was made from.
    """

    key: str
    group: str
    family: _Family
    method: str
    target: str | None
    source: str | None
    base: str | None


def _clip(path: str) -> _Clip | None:
    """None for what is not named as a clip of this corpus."""
    place = _PLACE.fullmatch(path)
    if place is None:
        return None
    folder, stem = place["folder"].lower(), place["stem"]
    if folder == "youtube-real" and _NOBODY.fullmatch(stem):
        return _Clip(f"YouTube-real/{stem}", "YouTube-real", "real", "ingest", None, None, None)
    if folder == "celeb-real" and (name := _REAL.fullmatch(stem)):
        return _Clip(f"Celeb-real/{stem}", "Celeb-real", "real", "ingest", name["target"], None, None)
    if folder in _SYNTHESIS:
        return _forged(f"Celeb-synthesis/{stem}", "Celeb-synthesis", "FaceSwap", "Celeb-DF", stem)
    if folder not in _FORGED:
        return None
    family, method = _FORGED[folder]
    if method == "Celeb-DF":  # the very files of version 2, wherever they lie
        return _forged(f"Celeb-synthesis/{stem}", "Celeb-synthesis", family, method, stem)
    return _forged(f"Celeb-synthesis/{family}/{method}/{stem}", f"{family}/{method}", family, method, stem)


def _forged(key: str, group: str, family: _Family, method: str, stem: str) -> _Clip | None:
    name = (_TALKING if family == "TalkingFace" else _TWO).fullmatch(stem)
    if name is None:
        return None
    target = name["target"]
    others = {name["source"]} if family != "TalkingFace" else {*_SPEAKER.findall(name["speech"] or "")} - {target}
    if target in others or len(others) > 1:
        return None
    base = None if family == "FaceReenact" else f"Celeb-real/{target}_{name['clip']}"
    return _Clip(key, group, family, method, target, min(others, default=None), base)


def _found(clip: _Clip, paths: Mapping[str, str], tests: Mapping[str, Label]) -> Found:
    fake = clip.family != "real"
    split: Split | None = ("test" if clip.key in tests else "train") if tests else None
    return Found(
        group=clip.group,
        label="fake" if fake else "real",
        video_label="fake" if fake else "real",
        audio_label="real" if clip.family in ("real", "FaceSwap") else None,
        method=clip.method,
        base=None if clip.base is None else paths.get(clip.base),
        target=clip.target,
        source=clip.source,
        apparent=clip.source if clip.family == "FaceSwap" else clip.target,
        split=split,
    )


def _tests(root: Path, inventory: Inventory, version: str) -> dict[str, Label]:
    """Label by key of the official test clips; empty where the list is not there."""
    if TEST_LIST not in inventory.files:
        return {}
    tests: dict[str, Label] = {}
    for number, line in enumerate(read_text(root, inventory, TEST_LIST).split("\n"), start=1):
        if not (text := line.replace('"', "").strip()):
            continue
        where = root / f"{TEST_LIST}:{number}"
        parts = _LINE.fullmatch(text)
        key = None if parts is None else _listed(parts["path"], version)
        if parts is None or key is None:
            unreadable(where, f"{line[:60]!r} is not a label and a clip")
        if key in tests:
            unreadable(where, f"{key} is listed twice")
        tests[key] = "real" if parts["label"] == "1" else "fake"
    return tests


def _listed(path: str, version: str) -> str | None:
    """The key of a clip in the list. Celeb-DF++'s list may name files that are refused for their names."""
    if clip := _clip(path):
        return clip.key
    place = _PLACE.fullmatch(path)
    forged = place is not None and version == "++" and place["folder"].lower() in _FORGED
    return path.removesuffix(".mp4") if forged else None


def _tied(found: Iterable[Found]) -> Iterator[str]:
    """The groups of people whom forgeries tie together, largest first, and how many forgeries each has."""
    group: dict[str, set[str]] = {}
    forgeries: defaultdict[str, int] = defaultdict(int)
    for clip in found:
        if clip.target is None:
            continue
        both = {clip.target, clip.source or clip.target}
        forgeries[clip.target] += clip.label == "fake"
        together = set().union(both, *(group[person] for person in both if person in group))
        if together != group.get(clip.target):
            group |= dict.fromkeys(together, together)
    groups = {min(people, key=_number): people for people in group.values()}
    if len(groups) < 2 or not any(forgeries.values()):
        return
    each = [
        f"{_people(people)} ({len(people)} people, {sum(forgeries[person] for person in people)} forgeries)"
        for _, people in sorted(groups.items(), key=lambda item: (-len(item[1]), _number(item[0])))
    ]
    more = f"; and {len(each) - 8} more" if len(each) > 8 else ""
    yield f"forgeries tie people together, and a split by people can only part these groups: {'; '.join(each[:8])}{more}"


def _number(person: str) -> int:
    return int(person.removeprefix("id"))


def _people(people: Iterable[str]) -> str:
    """`id0-id13, id16`."""
    runs: list[list[int]] = []
    for number in sorted(map(_number, people)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"id{first}" if first == last else f"id{first}-id{last}" for first, last in runs)
