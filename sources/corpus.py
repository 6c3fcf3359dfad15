"""What every adapter gives back: an account of all of a corpus's files, as rows and as a report.

An adapter says what it knows of the clips; `Corpus` sees to it that nothing is dropped in silence: a media file that the
adapter did not understand becomes a row with a reason, and any other file is reported as unexpected.
"""

import csv
import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar, NoReturn

from forgeline.clip import MediaType, Said
from forgeline.errors import SourceError, UnreadableError
from forgeline.inventory import Inventory
from forgeline.recipe import Recipe, recipe_id
from forgeline.sample import Label, Sample, Split
from forgeline.section import Section
from forgeline.terms import Joined, Terms, Use, join, non_commercial, of_clip

RAW = "data/raw"

LARGEST = 16 << 20
"""Bytes of a metadata file that is read whole; to read any such takes less than 2 GiB."""

MEDIA: dict[str, MediaType] = {
    **dict.fromkeys((".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"), "video"),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), "image"),
    **dict.fromkeys((".wav", ".flac", ".m4a"), "audio"),
}
"""Media type by suffix, in lower case."""

OUTSIDE = "not named as this corpus names its clips"


class Source(Section):
    """One corpus, read from disk as it is distributed; its fields are `sources.<name>` in params, beside its `kind`."""

    template: ClassVar[Terms]
    """What is known of its terms, for the operator to complete; nothing may be made from it until then."""
    terms: Terms
    """What was agreed to, and what that permits."""

    @abstractmethod
    def __call__(self, name: str, root: Path, inventory: Inventory) -> "Corpus":
        """All files of the corpus `name`, which lies at `root` (`data/raw/<name>`) and is listed in `inventory`.

        SourceError when its own metadata are not as published.
        """


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an adapter knows of one clip before anyone opens it.

    `video_label` and `audio_label` are those of the streams if there are such: None is a stream that the corpus does not
    have, and in a fake with both None the corpus does not say which stream was changed. People and `origin` are named as
    the corpus names them. `base` is the path of the real video that a fake was made from, where that is here.
    `group` is what the report counts it under. `attributes` are what the corpus declares of the target, by name; `words` and
    `phonemes` what is said, in order of time, and `text` what is said where no times are known. `licence`, `permitted_use`
    and `credit` (whom to name) are the clip's own, where the corpus gives each clip such; they narrow the corpus's terms.
    `sensors` are readings that go with it, by name.
    """

    group: str
    label: Label
    video_label: Label | None = None
    audio_label: Label | None = None
    method: str = "ingest"
    base: str | None = None
    target: str | None = None
    source: str | None = None
    apparent: str | None = None
    origin: str | None = None
    split: Split | None = None
    mask: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    words: tuple[Said, ...] = ()
    phonemes: tuple[Said, ...] = ()
    text: str = ""
    licence: str | None = None
    permitted_use: tuple[Use, ...] | None = None
    credit: str = ""
    sensors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Names:
    """How many there are, and the first few of them."""

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is here against what is published.

    `have` and `published` count clips by group. `missing`: published or named by the corpus's own metadata, and not here;
    `unexpected`: here, and not part of the corpus as it is published; `mismatching`: here, and at odds with the corpus's
    metadata. `notes` are things to know that are not faults of this copy.
    """

    have: Mapping[str, int]
    published: Mapping[str, int]
    missing: Names
    unexpected: Names
    mismatching: Names
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All files of one corpus. Iterating it gives the rows, in order of path; media are probed later, by ingest.

    `found` are its clips and `refused` those that can't be used (path → reason). `known` are files that are no clips, or
    that params leave out; `media_types` are those that the corpus is made of. Where one that is not `growing` has no clip at
    all, something else is unpacked there: SourceError.
    """

    name: str
    terms: Terms
    inventory: Inventory
    found: Mapping[str, Found]
    refused: Mapping[str, str] = field(default_factory=dict)
    known: Collection[str] = frozenset()
    media_types: tuple[MediaType, ...] = ("video",)
    published: Mapping[str, int] = field(default_factory=dict)
    missing: Collection[str] = ()
    mismatching: Collection[str] = ()
    notes: tuple[str, ...] = ()
    growing: bool = False

    def __post_init__(self) -> None:
        if not self.found and not self.growing:
            what = f"none of its {len(self.inventory.files)} files is a clip of this corpus as it is distributed"
            for path, why in sorted(self.refused.items())[:1]:
                what += f" (the first, {printable(path)}: {printable(why)})"
            raise SourceError(
                f"{RAW}/{self.name}",
                what,
                "see the layout at the head of its module in sources/, and check kind and what is unpacked where",
            )

    def __iter__(self) -> Iterator[Sample]:
        refused = {**self.inventory.refused, **self._strays(), **self.refused}
        terms = join(self.terms)
        for path in sorted({*self.found, *refused}):
            yield self._refuse(path, refused[path]) if path in refused else self._row(path, self.found[path], terms)

    def report(self) -> Report:
        """What is here against what is published."""
        others = (p for p in self.inventory.files if p not in self.found and p not in self.refused and p not in self.known)
        return Report(
            have=dict(sorted(Counter(clip.group for clip in self.found.values()).items())),
            published=dict(sorted(self.published.items())),
            missing=_names(self.missing),
            unexpected=_names([*others, *self.inventory.refused]),
            mismatching=_names([*self.mismatching, *(f"{path}: {why}" for path, why in self.refused.items())]),
            notes=self.notes,
        )

    def _strays(self) -> dict[str, str]:
        """Media of the corpus's types that its adapter did not account for."""
        return {
            path: OUTSIDE
            for path in self.inventory.files
            if path not in self.found and path not in self.known and media_type(path) in self.media_types
        }

    def _recipe(self, path: str, parents: tuple[str, ...] = ()) -> Recipe:
        return Recipe("ingest", parents, seed=0, params={"source": self.name, "path": path})

    def _row(self, path: str, clip: Found, corpus: Joined) -> Sample:
        parents = () if clip.base is None else (self._recipe(clip.base).id,)
        recipe = self._recipe(path, parents).canonical()
        file = self.inventory.files[path]
        terms = _narrowed(corpus, clip.licence, clip.permitted_use)
        return Sample(
            sample_id=recipe_id(recipe),
            media=f"{RAW}/{self.name}/{path}",
            media_type=MEDIA[PurePosixPath(path).suffix.lower()],
            label=clip.label,
            role="ingested",
            method=clip.method,
            source=self.name,
            recipe=recipe,
            video_label=clip.video_label,
            audio_label=clip.audio_label,
            target_id=self._qualified(clip.target),
            source_id=self._qualified(clip.source),
            apparent_id=self._qualified(clip.apparent),
            parents=parents,
            origin=clip.origin,
            split=clip.split,
            attributes=clip.attributes,
            words=clip.words,
            phonemes=clip.phonemes,
            text=clip.text,
            credit=clip.credit,
            sensors=clip.sensors,
            mask=None if clip.mask is None else f"{RAW}/{self.name}/{clip.mask}",
            licence=terms.licence,
            permitted_use=terms.permitted_use,
            sha256=file.sha256,
            bytes=file.bytes,
        )

    def _refuse(self, path: str, reason: str) -> Sample:
        recipe = self._recipe(path)
        return Sample(
            sample_id=recipe.id,
            media=f"{RAW}/{self.name}/{path}",
            media_type=media_type(path) or self.media_types[0],
            # Its class is not known. Nobody uses a row with a reason; were it used after all, a real must not be invented.
            label="fake",
            role="ingested",
            method="ingest",
            source=self.name,
            recipe=recipe.canonical(),
            reason=printable(reason),
        )

    def _qualified(self, person: str | None) -> str | None:
        return None if person is None else f"{self.name}:{person}"


@lru_cache(maxsize=1024)
def _narrowed(terms: Joined, licence: str | None, permitted_use: tuple[Use, ...] | None) -> Joined:
    """A corpus's terms, narrowed by a clip's own; its licence alone says so much: NC is never commercial."""
    own = licence or ""
    uses = terms.permitted_use if permitted_use is None else permitted_use
    return of_clip(terms, own, [use for use in uses if not (use == "commercial" and non_commercial(own))])


def media_type(path: str) -> MediaType | None:
    """Media type by suffix; None for other files."""
    return MEDIA.get(PurePosixPath(path).suffix.lower())


def read_text(root: Path, inventory: Inventory, path: str, largest: int = LARGEST) -> str:
    """A metadata file, which must be the one in the inventory, of at most so many bytes; a byte order mark is left out."""
    where, size = root / path, inventory.files[path].bytes
    if size > largest:
        unreadable(where, f"it has {size} bytes, and the corpus's own has less than {largest}")
    try:
        with where.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise SourceError(where, f"can't be read ({error.strerror})", "run python -m flows scan again") from error
    if hashlib.sha256(data).hexdigest() != inventory.files[path].sha256:
        raise SourceError(where, "it is not the file in the inventory", "run python -m flows scan again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        unreadable(where, f"not UTF-8 text (byte {error.start})")


def read_table(root: Path, inventory: Inventory, path: str) -> list[list[str]]:
    """The rows of a table of comma-separated values that an operator wrote, without empty ones, nor spaces around cells."""
    try:
        rows = [[printable(cell) for cell in row] for row in csv.reader(read_text(root, inventory, path).splitlines())]
    except csv.Error as error:
        raise SourceError(root / path, f"not a table ({error})", "mend it, then run python -m flows scan again") from error
    return [row for row in rows if any(row)]


def read_json(root: Path, inventory: Inventory, path: str) -> object:
    """A small metadata file of JSON; a doubled key is an error, as the second would silently win."""
    try:
        value: object = json.loads(read_text(root, inventory, path), object_pairs_hook=unique)
    except RecursionError:
        unreadable(root / path, "JSON nested too deeply")
    except ValueError as error:
        unreadable(root / path, f"not the JSON of this corpus ({error})")
    return value


def unreadable(where: Path, what: str) -> NoReturn:
    """Raise UnreadableError for a metadata file that is not as published."""
    raise UnreadableError(where, printable(what), "put the corpus's own file there, then run python -m flows scan again")


def printable(text: object, most: int = 300) -> str:
    """One line of what can be printed, of at most so many characters: metadata may hold anything, terminals' codes too."""
    short = str(text)[: 4 * most]
    told = " ".join("".join(sign if sign.isprintable() else " " for sign in short).split())
    return told if len(told) <= most else f"{told[: most - 1]}…"


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON; ValueError where a key is there twice."""
    doubled = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    if doubled:
        raise ValueError(f"the key {doubled[0]!r} is there twice")
    return dict(pairs)


def _names(names: Iterable[str]) -> Names:
    ordered = sorted(names)
    return Names(len(ordered), tuple(printable(name) for name in ordered[:10]))
