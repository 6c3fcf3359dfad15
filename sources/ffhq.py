"""Flickr-Faces-HQ (Karras et al., CVPR 2019): 70 000 faces from photographs that were published on Flickr under free licences.

    images1024x1024/00000/00000.png             aligned faces; folders of a thousand, named by their first
    00000/00000.png, 00000.png                  the same in flat copies, in any folder
    ffhq-dataset-v2.json                        who took each photograph, under which licence; sizes of files. It is needed
    thumbnails128x128/, in-the-wild-images/     left out
    tfrecords/, LICENSE.txt                     known, and not used

Each picture has a licence of its own (CC BY, CC BY-NC, public domain mark, CC0, work of the US government), which rows carry
beside the dataset's CC BY-NC-SA 4.0, and CC BY asks to name the author: `credit` has title, author and address. What is made
from a picture under CC BY-NC is not for gain, whatever `permitted_use` says. So a picture that the JSON does not name is
refused, and without the JSON all are. It has 267 MB and is read piece by piece.

Files of other sizes than the JSON says are reported (copies that were scaled or saved again); its MD5 sums are not computed, as
the inventory has a SHA-256 of every file already.

Nobody is named in it. Several faces may come from one photograph, which is the rows' `origin`: they share a split. One author's
photographs may show the same people all the same, and the JSON can't tell. `training` is train, `validation` val; there is
no test.

Licence: CC BY-NC-SA 4.0 by NVIDIA for the dataset. It is not meant for face recognition. Its authors remove pictures on
request: look at the JSON of their site again before each release.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal, get_args

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from forgeline.sample import Split
from forgeline.terms import Terms, Use
from sources.corpus import Corpus, Found, Source, printable, unique, unreadable
from sources.metadata import places

TABLE = "ffhq-dataset-v2.json"
PUBLISHED = {"training": 60_000, "validation": 10_000}
SPLIT: Mapping[str, Split] = {"training": "train", "validation": "val"}
LICENCES = {
    "creativecommons.org/licenses/by/2.0": "CC-BY-2.0",
    "creativecommons.org/licenses/by-nc/2.0": "CC-BY-NC-2.0",
    "creativecommons.org/publicdomain/mark/1.0": "CC-PDM-1.0",
    "creativecommons.org/publicdomain/zero/1.0": "CC0-1.0",
    "www.usa.gov/copyright.shtml": "United States Government Work",
}
"""SPDX identifier, where there is one, by the address that the JSON gives."""

NOT_FOR_GAIN: tuple[Use, ...] = tuple(use for use in get_args(Use) if use != "commercial")

_PIECE = 1 << 20
_LONGEST = 1 << 22
"""Characters that one picture's entry may have; they have about 4000."""

_PICTURE = re.compile(r"(?:(?P<before>.*)/)?(?P<number>[0-9]{5})\.png")
_OTHER = re.compile(r"(?:.*/)?(?:thumbnails128x128|in-the-wild-images)/.*|(?:.*/)?tfrecords/.*|(?:.*/)?LICENSE\.txt")
_SPACE = re.compile(r"[ \t\r\n]*")
_ADDRESS = re.compile(r"https?://|/*$")


class FFHQ(Source):
    """FFHQ's aligned faces of 1024 pixels, or a copy of another size."""

    template: ClassVar = Terms(
        agreement="FFHQ licence",
        licence="CC-BY-NC-SA-4.0",
        permitted_use=("detection", "education", "research", "training"),
        consent="photographs published on Flickr under free licences by who took them; people in them not asked",
    )
    kind: Literal["ffhq"] = "ffhq"
    terms: Terms
    """The dataset's licence; each picture's own is added to it."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real faces of nobody who is named, each with its photograph's address, licence and author."""
        tables = places(inventory, [TABLE])[TABLE]
        if not tables:
            what = "is not here, and it alone says under which licence each picture is, and whom to name"
            raise SourceError(root / TABLE, what, "put it there, then run python -m flows scan again")
        pictures: dict[str, str] = {}
        refused: dict[str, str] = {}
        others: list[str] = []
        for path in inventory.files:
            if _OTHER.fullmatch(path):
                others.append(path)
            elif picture := _PICTURE.fullmatch(path):
                number, folder = picture["number"], (picture["before"] or "").rpartition("/")[2]
                if re.fullmatch("[0-9]{5}", folder) and folder != f"{number[:2]}000":
                    refused[path] = f"it belongs into the folder {number[:2]}000"
                elif number in pictures:
                    refused[path] = f"the same picture as {pictures[number]}"
                else:
                    pictures[number] = path
        found: dict[str, Found] = {}
        mismatching: list[str] = []
        missing: list[str] = []
        for index, entry in _entries(root, inventory, tables[0]):
            number = index.zfill(5)
            if number not in pictures:
                missing.append(f"{number}.png")
                continue
            path = pictures.pop(number)
            clip = _found(entry)
            if isinstance(clip, str):
                refused[path] = clip
                continue
            found[path] = clip
            match entry:
                case {"image": {"file_size": int(size)}} if size != inventory.files[path].bytes:
                    mismatching.append(f"{path}: {inventory.files[path].bytes} bytes, {size} are published")
        refused |= {path: f"{TABLE} does not name it" for path in pictures.values()}
        left_out = [path for path in others if path.endswith(".png")]
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*others, *tables},
            media_types=("image",),
            published=PUBLISHED,
            missing=missing,
            mismatching=mismatching,
            notes=(f"{len(left_out)} thumbnails and whole photographs are left out",) if left_out else (),
        )


def _found(entry: Mapping[str, object]) -> Found | str:
    """What an entry says, or why its picture can't be used."""
    match entry:
        case {"category": "training" | "validation" as category, "metadata": {"photo_url": str(address), **more}} if (
            address and address == printable(address)
        ):
            pass
        case _:
            return f"{TABLE} does not say in which part it is, and from which photograph"
    where = _ADDRESS.sub("", str(more.get("license_url", "")))
    licence = LICENCES.get(where)
    if licence is None:
        return f"{TABLE} gives it the licence {where[:60]!r}, which is not known here"
    title, author = (printable(more.get(key) or "") for key in ("photo_title", "author"))
    return Found(
        group=category,
        label="real",
        video_label="real",
        origin=address,
        split=SPLIT[category],
        licence=licence,
        permitted_use=NOT_FOR_GAIN if "-NC-" in licence else None,
        credit=f"{title or 'untitled'}, by {author or 'an author who is not named'}, {address}, {licence}",
    )


def _entries(root: Path, inventory: Inventory, path: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Index and entry of each picture as they come, with two pieces of the file in memory.

    SourceError where it is not JSON as published or, after the last entry, not the file in the inventory.
    """
    where = root / path
    seen: set[str] = set()
    try:
        with where.open("rb") as file:
            text = _Text(file)
            text.take("{")
            while text.next() != "}":
                if seen:
                    text.take(",")
                index = text.value()
                text.take(":")
                entry = text.value()
                if not isinstance(index, str) or not re.fullmatch("0|[1-9][0-9]{0,4}", index) or index in seen:
                    unreadable(where, f"{str(index)[:20]!r} is not the number of a new picture")
                if not isinstance(entry, dict):
                    unreadable(where, f"the entry of {index} is no object")
                seen.add(index)
                yield index, entry
            text.take("}")
            if text.next():
                unreadable(where, "there is something after its end")
    except OSError as error:
        raise SourceError(where, f"can't be read ({error.strerror})", "run python -m flows scan again") from error
    except UnicodeDecodeError:
        unreadable(where, "not UTF-8 text")
    except RecursionError:
        unreadable(where, "JSON nested too deeply")
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else error  # its place is that in a piece
        unreadable(where, f"not the JSON of this corpus, after {len(seen)} pictures ({why})")
    if text.sha256.hexdigest() != inventory.files[path].sha256:
        raise SourceError(where, "it is not the file in the inventory", "run python -m flows scan again")


class _Text:
    """A file's JSON, read a piece at a time. ValueError where it is none."""

    def __init__(self, file: BinaryIO) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file
        self._characters = codecs.getincrementaldecoder("utf-8-sig")()
        self._decode = json.JSONDecoder(object_pairs_hook=unique).raw_decode
        self._held = ""
        self._at = 0

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        piece = self._file.read(_PIECE)
        self.sha256.update(piece)
        self._held = self._held[self._at :] + self._characters.decode(piece, final=not piece)
        self._at = 0
        return bool(piece)

    def next(self) -> str:
        """The next sign that is no space, not yet taken; empty at the end."""
        while True:
            space = _SPACE.match(self._held, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._held) or not self._more():
                return self._held[self._at : self._at + 1]

    def take(self, sign: str) -> None:
        if (found := self.next()) != sign:
            raise ValueError(f"{found!r} where {sign!r} should be")
        self._at += 1

    def value(self) -> object:
        """The next string or object: both say themselves where they end, so that none is taken for whole that isn't."""
        if (sign := self.next()) not in ('"', "{"):
            raise ValueError(f"{sign!r} where a string or an object should be")
        while True:
            try:
                value, self._at = self._decode(self._held, self._at)
            except json.JSONDecodeError:
                if len(self._held) - self._at > _LONGEST or not self._more():
                    raise
            else:
                return value
