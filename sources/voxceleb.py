"""VoxCeleb 1 and 2 (Nagrani et al., Interspeech 2017; Chung et al., Interspeech 2018): celebrities speaking, cut from YouTube.

Sound of 1251 and 6112 speakers, and for VoxCeleb2 films of their faces too, as the archives unpack:

    {dev,test}/wav/id10001/1zcIwhmdeo4/00001.wav        VoxCeleb1: speaker, YouTube video, clip
    {dev,test}/aac/id00012/21Uxsk56VDQ/00001.m4a        VoxCeleb2, sound
    {dev,test}/mp4/id00012/21Uxsk56VDQ/00001.mp4        VoxCeleb2, faces (224x224)
    {dev,test}/txt/id00012/21Uxsk56VDQ/00001.txt        tracks: where the face was in the YouTube video
    vox1_meta.csv, vox2_meta.csv                        `id10001 <tab> name <tab> m <tab> Ireland <tab> dev`
    veri_test.txt and other lists of trials             not needed

Folders before the speaker may be missing or called otherwise (copies lack `dev`, `aac` or both); what counts is the right end
of a path. VoxCeleb1's old form `<Name>/<YouTube video>_0000001.wav` is read with the help of `vox1_meta.csv`. Ids up to id09999
are VoxCeleb2's, later ones VoxCeleb1's; nobody is in both. The tables are about in many spellings: with a byte order mark,
tabs or commas, padded cells, lines in quotes, Windows line ends, no `Set`; columns are found by their names.

A clip's film and its sound are two rows of one origin, the YouTube video. Where a clip is here as m4a and as wav (many
convert them) the wav is left out; the same form twice is refused. The tables' names, genders and nationalities are personal
data: no row has them. In the old form, paths have the name; rows of data/real, which never leave the machine, must say where
the file lies, and nothing else does.

`dev` becomes train and `test` test, as in the benchmark: no speaker is in both, and there is no official val (`plan.assign`
can make one). Who is test is said by the table, the folder and for VoxCeleb1 by the paper (id10270 to id10309, names in E); if
any says test it is test, and a disagreement is reported.

Tracks are checked and not kept: their boxes lie in the YouTube video, not in the clip, and a row has no place for the offset
of sound to lips and the confidences. VoxCeleb1 has boxes in pixels, VoxCeleb2 in fractions of the picture. A clip whose track
names somebody else is refused.

Licence: CC BY 4.0 for the annotation; the videos remain their owners', and nobody in them was asked. The official site has
withdrawn the files. Cite both papers.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.clip import MediaType
from forgeline.errors import UnreadableError
from forgeline.inventory import Inventory
from forgeline.sample import Split
from forgeline.terms import Terms
from sources.corpus import MEDIA, Corpus, Found, Source, read_text, unreadable
from sources.metadata import cells, places

TABLES = {"VoxCeleb1": "vox1_meta.csv", "VoxCeleb2": "vox2_meta.csv"}
TRIALS = (
    *("veri_test.txt", "veri_test2.txt", "iden_split.txt"),
    *("list_test_all.txt", "list_test_all2.txt", "list_test_hard.txt", "list_test_hard2.txt"),
)
PUBLISHED = {
    "VoxCeleb1 dev audio": 148_642,
    "VoxCeleb1 test audio": 4_874,
    **{f"VoxCeleb2 dev {kind}": 1_092_009 for kind in ("audio", "video")},
    **{f"VoxCeleb2 test {kind}": 36_237 for kind in ("audio", "video")},
}
NEVER_RELEASED = frozenset({"id04170", "id05348"})
"""Speakers of `vox2_meta.csv` of whom there are no clips."""

_END = re.compile(
    r"(?:(?P<before>.*)/)?(?P<speaker>id[0-9]{5})/(?P<video>[A-Za-z0-9_-]{11})/(?P<clip>[0-9]{5})\.(?P<form>wav|m4a|mp4|txt)"
)
_OLD = re.compile(r"(?:(?P<before>.*)/)?(?P<name>[^/]+)/(?P<video>[A-Za-z0-9_-]{11})_00(?P<clip>[0-9]{5})\.(?P<form>wav)")
_SPEAKER = re.compile(r"id[0-9]{5}")
_SETS: Mapping[str, Split] = {"dev": "train", "test": "test"}
_NAMES_IN_E = frozenset(f"id{number}" for number in range(10270, 10310))
_FORMS = ("m4a", "wav", "mp4", "txt")  # as published before what people convert it to


class VoxCeleb(Source):
    """VoxCeleb1, VoxCeleb2 or both."""

    template: ClassVar = Terms(
        agreement="VoxCeleb's terms (CC BY 4.0; the videos remain their owners')",
        licence="CC-BY-4.0",
        permitted_use=("detection", "research"),
        consent="public YouTube videos of celebrities, people not asked",
    )
    kind: Literal["voxceleb"] = "voxceleb"
    terms: Terms
    """What was accepted when the corpus was obtained."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real clips, sound and film, by speaker, with the official test set."""
        files = places(inventory, {*TABLES.values(), *TRIALS})
        tables = {version: _table(root, inventory, files[file][:1]) for version, file in TABLES.items()}
        speakers = {speaker: row for table in tables.values() for speaker, row in table.items()}
        mismatching = {f"{row.where}: the set of {who} is {row.set[:20]!r}" for who, row in speakers.items() if row.unknown}
        clips = sorted(_clips(inventory, tables["VoxCeleb1"]), key=lambda clip: (_FORMS.index(clip.form), clip.path))
        tracks = {clip.place: clip.path for clip in clips if clip.form == "txt"}
        strangers: dict[str, str] = {}
        for place, path in tracks.items():
            try:
                identity, wrong = _track(read_text(root, inventory, path), place)
            except UnreadableError as error:
                identity, wrong = place.partition("/")[0], [error.what]
            mismatching.update(f"{path}: {each}" for each in wrong)
            if identity != place.partition("/")[0]:
                strangers[place] = f"its track {path} is of {identity[:20]}"
        found: dict[str, Found] = {}
        paths: dict[str, str] = {}
        refused: dict[str, str] = {}
        converted: list[str] = []
        for clip in (clip for clip in clips if clip.form != "txt"):
            key = f"{clip.place} {clip.media_type}"
            row = speakers.get(clip.speaker, _Row())
            said = _said(clip, row)
            if not clip.speaker:
                refused[clip.path] = f"no {TABLES['VoxCeleb1']} says whose voice it is"
            elif key in paths and not paths[key].endswith(clip.form):
                converted.append(clip.path)
            elif key in paths:
                refused[clip.path] = f"the same clip as {paths[key]}"
            elif clip.place in strangers:
                refused[clip.path] = strangers[clip.place]
            elif row.unknown and not said:
                refused[clip.path] = f"{row.where} puts its speaker into {row.set[:20]!r}, not into dev or test"
            else:
                paths[key] = clip.path
                found[clip.path] = _found(clip, said)
                if tables[clip.version] and clip.speaker not in speakers:
                    mismatching.add(f"{clip.speaker}/: not in {TABLES[clip.version]}")
                if len({*said.values()}) > 1:
                    mismatching.add(f"{clip.speaker}/: " + ", ".join(f"{split} by its {by}" for by, split in said.items()))
        versions = sorted({clip.version for clip in clips if clip.path in found})
        here = {clip.target for clip in found.values()}
        lone = tracks.keys() - {key.partition(" ")[0] for key in paths}
        old = sum(clip.old for clip in clips if clip.path in found)
        notes = [f"{len(lone)} tracks are of clips that are not here"] if lone else []
        notes += [f"{len(converted)} wav files of clips that are here as m4a are left out"] if converted else []
        notes += [f"{old} clips lie in folders with names of people: only paths in data/real have these"] if old else []
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*tracks.values(), *converted, *(path for where in files.values() for path in where)},
            media_types=("audio", "video"),
            published={group: count for group, count in PUBLISHED.items() if group.partition(" ")[0] in versions},
            missing=[
                *(f"{who}/" for version in versions for who in tables[version].keys() - here - NEVER_RELEASED),
                *(TABLES[version] for version in versions if not tables[version]),
            ],
            mismatching=sorted(mismatching),
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class _Row:
    """What a table says of a speaker: name (VoxCeleb1 only) and set, as written; and which table."""

    name: str = ""
    set: str = ""
    where: str = ""

    @property
    def unknown(self) -> bool:
        return bool(self.set) and self.set not in _SETS


@dataclass(frozen=True)
class _Clip:
    """What a path says. `speaker` is empty where it names a person whom no table has; `form` is the suffix."""

    path: str
    folders: tuple[str, ...]
    speaker: str
    video: str
    clip: str
    form: str
    old: bool

    @property
    def place(self) -> str:
        """Names the clip wherever it lies and whatever its form."""
        return f"{self.speaker}/{self.video}/{self.clip}"

    @property
    def version(self) -> str:
        return "VoxCeleb2" if self.speaker < "id1" else "VoxCeleb1"

    @property
    def media_type(self) -> MediaType:
        return MEDIA[f".{self.form}"]


def _clips(inventory: Inventory, table: Mapping[str, _Row]) -> Iterator[_Clip]:
    """Clips and tracks; `table` is VoxCeleb1's."""
    speaker_of = {row.name: speaker for speaker, row in table.items() if row.name}
    for path in inventory.files:
        if not (parts := _END.fullmatch(path) or _OLD.fullmatch(path)):
            continue
        said = parts.groupdict()
        speaker = said.get("speaker") or speaker_of.get(said["name"], "")
        folders = tuple((said["before"] or "").split("/"))
        yield _Clip(path, folders, speaker, said["video"], said["clip"], said["form"], "name" in said)


def _said(clip: _Clip, row: _Row) -> dict[str, str]:
    """The set that a clip's speaker is in, by who says so."""
    said = {"table": row.set} if row.set in _SETS else {}
    if folders := [folder for folder in clip.folders if folder in _SETS]:
        said["folder"] = folders[-1]
    if clip.version == "VoxCeleb1":
        said["paper"] = "test" if clip.speaker in _NAMES_IN_E else "dev"
    return said


def _found(clip: _Clip, said: Mapping[str, str]) -> Found:
    part = "test" if "test" in said.values() else "dev" if said else ""
    return Found(
        group=" ".join(filter(None, (clip.version, part, clip.media_type))),
        label="real",
        video_label="real" if clip.media_type == "video" else None,
        audio_label="real",
        target=clip.speaker,
        apparent=clip.speaker,
        origin=f"youtube:{clip.video}",
        split=_SETS.get(part),
    )


def _table(root: Path, inventory: Inventory, paths: list[str]) -> dict[str, _Row]:
    """The rows of the table at the first of these paths by speaker; none where there is no path."""
    rows: dict[str, _Row] = {}
    for path in paths:
        head, *lines = read_text(root, inventory, path).splitlines() or [""]
        columns = [cell.replace(" ", "").lower() for cell in cells(head)]
        ids = [column for column in columns if column in ("voxceleb1id", "voxceleb2id")]
        if len(ids) != 1:
            unreadable(root / path, "its first line has no column `VoxCeleb1 ID` or `VoxCeleb2 ID`")
        for number, line in enumerate(lines, start=2):
            if not line.strip():
                continue
            row = dict(zip(columns, found := cells(line), strict=False))
            speaker = row.get(ids[0], "")
            if len(found) > len(columns) or not _SPEAKER.fullmatch(speaker) or speaker in rows:
                unreadable(root / f"{path}:{number}", "it is not one new speaker and as many cells as the first line")
            rows[speaker] = _Row(row.get("vggface1id", ""), row.get("set", ""), f"{path}:{number}")
    return rows


def _track(text: str, place: str) -> tuple[str, list[str]]:
    """Who a track says is in the clip, and what is wrong with it."""
    head, _, table = text.partition("FRAME")
    said = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in head.splitlines()) if colon}
    speaker, video, _ = place.split("/")
    wrong = [] if said.get("Reference", video) == video else [f"it is of the video {said['Reference'][:20]!r}"]
    wrong += [
        f"{key} is no number" for key in ("Offset", "FV Conf", "ASD Conf") if not _numbers(said.get(key, "0").split()[:1])
    ]
    boxes = [_numbers(line.split()) for line in table.splitlines()[1:] if line.strip()]
    if any(len(box) != 5 or min(box[0], box[3], box[4]) < 0 or not box[3] * box[4] for box in boxes):
        wrong.append("a line is not a frame and a box")
    elif boxes and (max(max(box[1:]) for box in boxes) <= 2) != (speaker < "id1"):
        wrong.append("its boxes are in fractions of the picture" if speaker > "id1" else "its boxes are in pixels")
    return said.get("Identity", speaker), wrong


def _numbers(words: list[str]) -> list[float]:
    """Empty where one of the words is not a number."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
