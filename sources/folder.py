"""Recordings of one's own, of people who agreed to it; and the demo corpus, which lies on disk in the same way.

    <root>/<person>/<clip>.mp4              also .mov .m4v .mkv .webm .avi .mpg .mpeg, .png .jpg .jpeg, .wav .flac
    <root>/<person>/<clip>.align            what is said in it and when, as the GRID corpus tells it; optional
    <root>/<person>/<clip>.truth.json, .key what is known of the clip (the demo's renderer writes them); optional
    <root>/attributes.csv                   what people declared of themselves; optional

A line of an `.align` file is a word: `23750 29500 bin`, from 0.95 to 1.18 s, as a second has 25 000 units. `sil` and `sp` are
pauses.

`attributes.csv` begins with a column `person` and goes on with a column an attribute, in words or numbers: `person,glasses`,
then `anna,none`. An empty cell says nothing. The attribute `language` is the one that someone speaks (docs/languages.md). What
a face looks like is never guessed from pictures.

`<person>` is a name or a number: letters, digits, `_`, `-` and `.`, beginning with a letter or digit. Every one of them has
a record under `terms.people`: on what basis they agreed, to the use of their face, voice or both, until when. A folder
without a record is refused, clip by clip. There must be at least four people: this is a factory for detection data, not
for forgeries of one person.

Licence: what the people's contracts say; the operator writes it into `terms`. Nothing is known but that the clips are real
recordings: neither splits nor what was cut from the same recording.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator

from forgeline.clip import Said
from forgeline.errors import SourceError, UnreadableError
from forgeline.inventory import Inventory
from forgeline.terms import Consent, Terms
from sources.corpus import RAW, Corpus, Found, Source, media_type, printable, read_json, read_table, read_text, unreadable

_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FEWEST = 4
_ATTRIBUTES = "attributes.csv"
_ALIGN_HZ = 25_000  # units a second
_ALIGNED = re.compile(r"(?P<start>[0-9]{1,9})\s+(?P<end>[0-9]{1,9})\s+(?P<word>\S+)")
_PAUSES = {"sil", "sp"}

TEMPLATE = Terms(
    agreement="name of the release form that everyone signed",
    licence="what the release forms say",
    permitted_use=("detection", "research"),
    consent="signed release forms, one a person",
    people={
        f"person_{number}": Consent(basis="signed release form", scope=("face", "voice"), expires="2026-12-31")
        for number in range(1, _FEWEST + 1)
    },
)

DEMO_TERMS = Terms(
    agreement="CC0 1.0 Universal",
    licence="CC0-1.0",
    accepted_by="nobody has to: CC0 asks for no acceptance",
    accepted_on="2026-11-20",
    permitted_use=("commercial", "detection", "education", "research", "training"),
    generate=True,
    redistribute=True,
    consent="rendered people who don't exist",
)


class Folder(Source):
    """Clips of people with recorded consent, a folder a person."""

    template: ClassVar = TEMPLATE
    kind: Literal["folder"] = "folder"
    terms: Terms
    """The release forms, with one entry under `people` for each person."""

    @field_validator("terms")
    @classmethod
    def _four_people_with_consent(cls, terms: Terms) -> Terms:
        if len(terms.people) < _FEWEST:
            raise ValueError(f"people: at least {_FEWEST} people with recorded consent are needed")
        for person in terms.people:
            if not _PERSON.fullmatch(person):
                raise ValueError(f"people: {person!r} can't be a folder's name here (letters, digits, '_', '-', '.')")
        return terms

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real clips of the people under `terms.people`; SourceError when fewer than four of them have any."""
        declared = _declared(root, inventory) if _ATTRIBUTES in inventory.files else {}
        said: dict[str, _Told] = {}
        mismatching: dict[str, str] = {}
        for path in filter(media_type, inventory.files):
            align = f"{path.rpartition('.')[0]}.align"
            words: tuple[Said, ...] = ()
            try:
                words = aligned(root, inventory, align)
            except UnreadableError as error:
                mismatching[align] = f"{align}: {error.what}"
            said[path] = _Told(declared.get(path.partition("/")[0], {}), words)
        corpus = replace(_people(name, self.terms, inventory, said), mismatching=[*mismatching.values()])
        here = {clip.target for clip in corpus.found.values()}
        if len(here) < _FEWEST:
            raise SourceError(f"{RAW}/{name}", f"clips of {len(here)} people with consent", f"have at least {_FEWEST} people")
        return corpus


class Demo(Source):
    """The rendered demo corpus: whole, small and free of terms."""

    template: ClassVar = DEMO_TERMS
    kind: Literal["demo"] = "demo"
    terms: Terms = DEMO_TERMS
    """CC0; nothing else can be said of people who don't exist."""

    @field_validator("terms")
    @classmethod
    def _fixed(cls, terms: Terms) -> Terms:
        if terms != DEMO_TERMS:
            raise ValueError("the demo's terms are fixed: leave them out")
        return terms

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real clips, as far as rendered people can be called real."""
        said = {path: _rendered(root, inventory, path) for path in inventory.files if media_type(path)}
        return _people(name, self.terms, inventory, said)


@dataclass(frozen=True)
class _Told:
    """What is known of a clip beside its media."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    words: tuple[Said, ...] = ()
    phonemes: tuple[Said, ...] = ()


def aligned(root: Path, inventory: Inventory, align: str) -> tuple[Said, ...]:
    """The words of an `.align` file, without pauses; none where it is not there."""
    if align not in inventory.files:
        return ()
    words = []
    for number, line in enumerate(read_text(root, inventory, align).splitlines(), 1):
        if not line.strip():
            continue
        said = _ALIGNED.fullmatch(line.strip())
        if said is None or not int(said["start"]) <= int(said["end"]) or not said["word"].isprintable():
            unreadable(root / align, f"line {number} is not `start end word`")
        if said["word"] not in _PAUSES:
            words.append(Said(int(said["start"]) / _ALIGN_HZ, int(said["end"]) / _ALIGN_HZ, said["word"]))
    return tuple(sorted(words, key=lambda word: word.start_s))


def _declared(root: Path, inventory: Inventory) -> dict[str, dict[str, str]]:
    """What each person declared, by attribute."""
    where = f"{RAW}/{root.name}/{_ATTRIBUTES}"
    head, *others = read_table(root, inventory, _ATTRIBUTES) or [[]]
    if head[:1] != ["person"] or len(set(head)) != len(head) or not all(_ATTRIBUTE.fullmatch(name) for name in head):
        what = f"begins with {','.join(head)[:80]!r}"
        raise SourceError(where, what, "begin with `person,` and a column an attribute, named in small letters, digits and _")
    declared: dict[str, dict[str, str]] = {}
    for row in others:
        if len(row) != len(head) or row[0] in declared:
            what = f"{row[0][:60]!r} has {len(row)} cells, or more than one row"
            raise SourceError(where, what, f"give each person one row of {len(head)} cells")
        declared[row[0]] = {name: cell for name, cell in zip(head[1:], row[1:], strict=True) if cell}
    return declared


def _rendered(root: Path, inventory: Inventory, path: str) -> _Told:
    """What the renderer says of a clip and the person in it."""
    truth = str(Path(path).with_suffix(".truth.json"))
    told = read_json(root, inventory, truth) if truth in inventory.files else {}
    if not isinstance(told, dict):
        return _Told()
    try:
        attributes = {printable(name): printable(value) for name, value in told.get("attributes", {}).items()}
        words, phonemes = (
            tuple(_spoken(start, end, text) for start, end, text in told.get(name, [])) for name in ("words", "phonemes")
        )
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        unreadable(root / truth, f"not the renderer's ({error})")
    return _Told(attributes, words, phonemes)


def _spoken(start: float, end: float, text: object) -> Said:
    if not -math.inf < start <= end < math.inf:
        raise ValueError("a word that ends before it begins")
    return Said(float(start), float(end), printable(text))


def _people(name: str, terms: Terms, inventory: Inventory, told: Mapping[str, _Told]) -> Corpus:
    found: dict[str, Found] = {}
    refused: dict[str, str] = {}
    known = {path for path in inventory.files if path.endswith((".truth.json", ".key", ".align")) or path == _ATTRIBUTES}
    for path in inventory.files:
        person, _, clip = path.partition("/")
        kind = media_type(path)
        if kind is None or "/" in clip or not clip or not _PERSON.fullmatch(person):
            continue
        if terms.people and person not in terms.people:
            refused[path] = f"no consent is recorded for {person}"
            continue
        found[path] = Found(
            group=kind,
            label="real",
            video_label=None if kind == "audio" else "real",
            audio_label=None if kind == "image" else "real",
            target=person,
            apparent=person,
            attributes=told[path].attributes,
            words=told[path].words,
            phonemes=told[path].phonemes,
        )
    with_clips = {clip.target for clip in found.values()}
    return Corpus(
        name=name,
        terms=terms,
        inventory=inventory,
        found=found,
        refused=refused,
        known=known,
        media_types=("video", "image", "audio"),
        missing=[f"{person}/" for person in terms.people if person not in with_clips],
    )
