"""Recordings of one's own, of people who agreed to it; and the demo corpus, which lies on disk in the same way.

    <root>/<person>/<clip>.mp4              also .mov .m4v .mkv .webm .avi .mpg .mpeg, .png .jpg .jpeg, .wav .flac
    <root>/<person>/<clip>.truth.json, .key what is known of the clip (the demo's renderer writes them); optional

`<person>` is a name or a number: letters, digits, `_`, `-` and `.`, beginning with a letter or digit. Every one of them has
a record under `terms.people`: on what basis they agreed, to the use of their face, voice or both, until when. A folder
without a record is refused, clip by clip. There must be at least four people: this is a factory for detection data, not
for forgeries of one person.

Licence: what the people's contracts say; the operator writes it into `terms`. Nothing is known but that the clips are real
recordings: neither splits nor what was cut from the same recording.
"""

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from forgeline.terms import Consent, Terms
from sources.corpus import RAW, Corpus, Found, Source, media_type

_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FEWEST = 4

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
        corpus = _people(name, self.terms, inventory)
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
        return _people(name, self.terms, inventory)


def _people(name: str, terms: Terms, inventory: Inventory) -> Corpus:
    found: dict[str, Found] = {}
    refused: dict[str, str] = {}
    known = {path for path in inventory.files if path.endswith((".truth.json", ".key"))}
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
