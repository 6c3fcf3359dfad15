"""GRID (Cooke, Barker, Cunningham and Shao, JASA 2006): 34 people in a studio, each of whom says 1000 short sentences.

Every sentence is six words, and its file is named by them: `bbaf2n` is "bin blue at f two now". As the archives unpack, or as
people lay them out:

    s1/bbaf2n.mpg, s1/video/mpg_6000/bbaf2n.mpg     speaker, sentence: films of 3 s, 25 pictures a second, with sound
    id2_vcd_swwp2s.mpg                              some films of the first release name the speaker themselves
    audio_25k/s1/bbaf2n.wav, s1_50kHz/…             sound alone
    alignments/s1/bbaf2n.align, s1/align/…          `23750 29500 bin`: a word from 0.95 to 1.18 s, 25 000 units a second

The speaker is the nearest folder called s1 to s34 (also `s1_50kHz` and the like). Speaker 21 was not filmed. Words come from
the alignment, which is the same for film and sound; without one that can be read, the text comes from the name. An alignment
that says other words than the name is reported, and believed. There is one row for a film of a sentence and one for its sound,
of one origin: a second film (VCD beside the larger MPEG) or a second sound is refused, so unpack one of each. There are no
official splits.

Licence: CC BY 4.0 (Zenodo, record 3625687), which asks to name the authors: `credit` does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.errors import UnreadableError
from forgeline.inventory import Inventory
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, media_type
from sources.folder import aligned

SPEAKERS = 34
SENTENCES = 1000
PUBLISHED = {"audio": SPEAKERS * SENTENCES, "video": (SPEAKERS - 1) * SENTENCES}
CREDIT = "Cooke, Barker, Cunningham and Shao: GRID audiovisual sentence corpus, 2006, CC BY 4.0"

_WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},  # no w, whose name is long
    dict(zip("z123456789", ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
_NAME = re.compile(r"(?:id(?P<id>[1-9][0-9]?)_[a-z0-9]+_)?(?P<sentence>[a-z]{4}[z1-9][a-z])\.(?P<suffix>mpg|wav|align)")
_SPEAKER = re.compile(r"s(?P<number>[1-9][0-9]?)(?:[._].*)?")


class GRID(Source):
    """GRID's films and recordings."""

    template: ClassVar = Terms(
        agreement="Creative Commons Attribution 4.0",
        licence="CC-BY-4.0",
        permitted_use=("commercial", "detection", "education", "research", "training"),
        consent="volunteers, recorded for a corpus to be published; their names are not",
    )
    kind: Literal["grid"] = "grid"
    terms: Terms
    """The licence, and who took it on."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real films and recordings by speaker, with what is said in them."""
        clips = list(_clips(inventory))
        aligns: dict[str, str] = {}
        for clip in clips:
            if clip.path.endswith(".align"):
                aligns.setdefault(clip.key, clip.path)
        found: dict[str, Found] = {}
        paths: dict[tuple[str, str], str] = {}
        refused: dict[str, str] = {}
        mismatching: dict[str, str] = {}
        for clip in clips:
            kind = media_type(clip.path)
            if kind is None:
                continue
            if (clip.key, kind) in paths:
                refused[clip.path] = f"the same sentence as {paths[clip.key, kind]}"
                continue
            paths[clip.key, kind] = clip.path
            try:
                words = aligned(root, inventory, aligns.get(clip.key, ""))
            except UnreadableError as error:
                words, mismatching[clip.key] = (), f"{aligns[clip.key]}: {error.what}"
            if words and " ".join(word.text for word in words) != clip.text:
                mismatching[clip.key] = f"{aligns[clip.key]}: it does not say {clip.text!r}"
            found[clip.path] = Found(
                group=kind,
                label="real",
                video_label="real" if kind == "video" else None,
                audio_label="real",
                target=clip.speaker,
                apparent=clip.speaker,
                origin=f"grid:{clip.key}",
                words=words,
                text="" if words else clip.text,
                credit=CREDIT,
            )
        here = {clip.target for clip in found.values()}
        lone = aligns.keys() - {key for key, _ in paths}
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*aligns.values()},
            media_types=("audio", "video"),
            published=PUBLISHED,
            missing=[
                *(f"s{number}/" for number in range(1, SPEAKERS + 1) if f"s{number}" not in here),
                *sorted({f"{key}.align" for key, _ in paths} - {f"{key}.align" for key in aligns}),
            ],
            mismatching=[*mismatching.values()],
            notes=(f"{len(lone)} alignments are of sentences that are not here",) if lone else (),
        )


@dataclass(frozen=True)
class _Clip:
    """A film, a recording or an alignment: who says what in it."""

    path: str
    speaker: str
    sentence: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.speaker}/{self.sentence}"


def _clips(inventory: Inventory) -> Iterator[_Clip]:
    for path in inventory.files:
        *folders, file = path.split("/")
        name = _NAME.fullmatch(file)
        if name is None or any(sign not in words for sign, words in zip(name["sentence"], _WORDS, strict=True)):
            continue
        numbers = [speaker["number"] for folder in reversed(folders) if (speaker := _SPEAKER.fullmatch(folder))][:1]
        numbers += [name["id"]] if name["id"] else []
        if len({*numbers}) != 1 or int(numbers[0]) > SPEAKERS:
            continue  # nobody says whose it is, or two say different things
        text = " ".join(words[sign] for sign, words in zip(name["sentence"], _WORDS, strict=True))
        yield _Clip(path, f"s{numbers[0]}", name["sentence"], text)
