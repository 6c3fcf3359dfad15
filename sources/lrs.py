"""LRS2 and LRS3 (Chung et al., CVPR 2017; Afouras et al., 2018): sentences from BBC television, and from TED and TEDx talks.

Films of faces (25 pictures a second, with sound) and what is said in them:

    mvlrs_v1/main/6330311066473698535/00011.mp4, .txt       LRS2: BBC programme, clip
    mvlrs_v1/pretrain/6330311066473698535/00011.mp4, .txt   longer ones, with the times of words
    train.txt, val.txt, test.txt, pretrain.txt              LRS2: which clips; a second column (NF, MV) of test.txt is ignored
    {pretrain,trainval,test}/0Fi83BHQsMA/00002.mp4, .txt    LRS3: YouTube video, clip
    lrs3-valid.id                                           optional: the val that most work on LRS3 shares (av_hubert's)

Folders above `main`, `pretrain` and so on may be called anything, and lists may lie anywhere. The subset names a clip too, as
LRS2 has one number in main and in pretrain for different clips. A transcript begins `Text:  AND FOR ME`, `Conf:  4`, in LRS3's
text-only copy also `Ref:`, and may go on with tables FRAME (boxes in the source) and WORD (`AND 0.08 0.49 7.3`: start, end,
score). Any of it may be missing. Words with times go into `words`; where there are none, the text goes into `text`, without the
`{…}` that mark what is no word. A transcript that is wrong is reported, and its clip kept with what could be read.
Conf, boxes and scores are not kept: a row has no place for them.

LRS2 says nobody's name and splits by date of broadcast, so speakers recur between its splits: it measures nothing about unseen
people. LRS3 names nobody either; the speaker of a talk is taken to be one person, called by the YouTube video, so that someone
who gave two talks is two people here. `pretrain` and `trainval` become train, `test` test. LRS3 has no official val; the clips
of `lrs3-valid.id` are val where that is there. A programme or video in two splits goes to the strictest as a whole.

Licence: LRS2 by agreement with the BBC: academic research alone, no passing on. LRS3 was withdrawn by its publishers, and
copies name several Creative Commons licences: take it as non-commercial, without derivatives, until you know better.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.clip import Said
from forgeline.errors import SourceError, UnreadableError
from forgeline.inventory import Inventory
from forgeline.sample import Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, printable, read_text, unreadable
from sources.metadata import places

PUBLISHED = {
    "lrs2": {"train": 45_839, "val": 1_082, "test": 1_243, "pretrain": 96_318},
    "lrs3": {"pretrain": 118_516, "trainval": 31_982, "test": 1_321},
}
LISTS: Mapping[str, Mapping[str, tuple[Split, str]]] = {
    "lrs2": {
        "train.txt": ("train", "main"),
        "val.txt": ("val", "main"),
        "test.txt": ("test", "main"),
        "pretrain.txt": ("train", "pretrain"),
    },
    "lrs3": {"lrs3-valid.id": ("val", "trainval")},
}
"""Split and subset of the clips in a list, by its name."""

_CLIP = {
    "lrs2": re.compile(r"(?:.*/)?(?P<key>(?P<subset>main|pretrain)/(?P<video>[0-9]{19})/[0-9]{5})\.(?P<form>mp4|txt)"),
    "lrs3": re.compile(
        r"(?:.*/)?(?P<key>(?P<subset>pretrain|trainval|test)/(?P<video>[A-Za-z0-9_-]{11})/[0-9]{5})\.(?P<form>mp4|txt)"
    ),
}
_OFFICIAL: Mapping[str, Split] = {"pretrain": "train", "trainval": "train", "test": "test"}
_LONGEST = 100_000  # characters of a transcript's text
_NO_WORD = re.compile(r"\{[^{}]*\}|[{}]")
_WORD = re.compile(r"(?P<text>\S+)\s+(?P<start>[0-9]{1,9}(?:\.[0-9]+)?)\s+(?P<end>[0-9]{1,9}(?:\.[0-9]+)?)(?:\s+\S+)?")


class LRS(Source):
    """LRS2 or LRS3."""

    template: ClassVar = Terms(
        agreement="LRS2: agreement with the BBC; LRS3: the terms it was obtained under",
        licence="LRS terms (non-commercial research, no redistribution)",
        permitted_use=("detection", "research"),
        consent="broadcasts and public talks, people not asked",
    )
    kind: Literal["lrs"] = "lrs"
    terms: Terms
    """The accepted agreement."""
    version: Literal["lrs2", "lrs3"] = "lrs2"
    """Which of the two it is: they differ in layout, lists and what is known of speakers."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real films with their transcripts and official splits."""
        lists = places(inventory, LISTS[self.version])
        listed: dict[str, str] = {}
        for file, where in lists.items():
            for number, key in self._listed(root, inventory, where[:1], LISTS[self.version][file][1]):
                if key in listed:
                    unreadable(root / f"{where[0]}:{number}", f"{key} is listed twice")
                listed[key] = file
        clips: dict[str, str] = {}
        texts: dict[str, list[str]] = {}
        parts: dict[str, re.Match[str]] = {}
        refused: dict[str, str] = {}
        for path in inventory.files:
            if not (clip := _CLIP[self.version].fullmatch(path)):
                continue
            if clip["form"] == "txt":
                texts.setdefault(clip["key"], []).append(path)
            elif clip["key"] in clips:
                refused[path] = f"the same clip as {clips[clip['key']]}"
            else:
                clips[clip["key"]], parts[clip["key"]] = path, clip
        if not clips and any(grammar.fullmatch(path) for grammar in _CLIP.values() for path in inventory.files):
            what = f"no film of {self.version.upper()} is here, and other files of LRS are"
            raise SourceError(f"sources.{name}.version", what, "set it to what is there")
        found: dict[str, Found] = {}
        mismatching: list[str] = []
        for key, path in clips.items():
            beside = path.removesuffix(".mp4") + ".txt"
            told = texts.get(key, [])
            said = _Told()
            for text in [beside] if beside in told else told[:1]:
                try:
                    said = _told(read_text(root, inventory, text))
                except UnreadableError as error:
                    said = _Told(wrong=(error.what,))
                mismatching += [f"{text}: {wrong}" for wrong in said.wrong]
                if said.reference not in ("", parts[key]["video"]):
                    mismatching.append(f"{text}: it is of {said.reference[:20]!r}")
            found[path] = self._found(parts[key], listed.get(key), said)
        if self.version == "lrs2" and all(lists.values()):
            mismatching += [f"{path}: in no list" for key, path in clips.items() if key not in listed]
        missing = [f"{key}.mp4" for key in listed if key not in clips]
        missing += [f"{key}.txt" for key in clips if key not in texts]
        missing += [file for file, where in lists.items() if not where and self.version == "lrs2"]
        lone = texts.keys() - clips.keys()
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={path for where in (*texts.values(), *lists.values()) for path in where},
            published=PUBLISHED[self.version],
            missing=missing,
            mismatching=mismatching,
            notes=(f"{len(lone)} transcripts are of clips that are not here",) if lone else (),
        )

    def _listed(self, root: Path, inventory: Inventory, paths: list[str], subset: str) -> Iterator[tuple[int, str]]:
        """Line and key of the clips in a list; `subset` is theirs, whether or not the list says so."""
        for path in paths:
            for number, line in enumerate(read_text(root, inventory, path).splitlines(), start=1):
                if not line.strip():
                    continue
                key = f"{subset}/{line.split()[0].removeprefix(f'{subset}/')}"
                if not (clip := _CLIP[self.version].fullmatch(f"{key}.mp4")) or clip["key"] != key:
                    unreadable(root / f"{path}:{number}", f"{line[:60]!r} is not a clip of {subset}")
                yield number, key

    def _found(self, clip: re.Match[str], listed: str | None, told: "_Told") -> Found:
        speaker = clip["video"] if self.version == "lrs3" else None
        split = LISTS[self.version][listed][0] if listed else _OFFICIAL.get(clip["subset"])
        return Found(
            group=listed.removesuffix(".txt") if listed and self.version == "lrs2" else clip["subset"],
            label="real",
            video_label="real",
            audio_label="real",
            target=speaker,
            apparent=speaker,
            origin=f"{'youtube' if self.version == 'lrs3' else 'bbc'}:{clip['video']}",
            split=split,
            words=told.words,
            text="" if told.words else told.text,
        )


@dataclass(frozen=True)
class _Told:
    """What a transcript says, and what is wrong with it."""

    text: str = ""
    words: tuple[Said, ...] = ()
    reference: str = ""
    wrong: tuple[str, ...] = ()


def _told(transcript: str) -> _Told:
    head: dict[str, str] = {}
    words: list[Said] = []
    wrong: list[str] = []
    table = ""
    for number, line in enumerate(transcript.splitlines(), start=1):
        first, *others = line.split() or [""]
        if (first, *others[:1]) in (("FRAME", "X"), ("WORD", "START")):
            table = first
        elif table == "WORD" and first:
            word = _WORD.fullmatch(line.strip())
            if word is None or float(word["start"]) > float(word["end"]):
                wrong.append(f"line {number} is not a word, its start and its end")
            elif text := _spoken(word["text"]):
                words.append(Said(float(word["start"]), float(word["end"]), sys.intern(text)))
        elif not table:
            key, colon, value = line.partition(":")
            if colon:
                head.setdefault(key.strip(), value.strip())
    if "Text" not in head and not words:
        wrong.append("it says nothing")
    # With a word missing, times would tell less than the text does.
    timed = () if wrong else tuple(sorted(words, key=lambda word: word.start_s))
    return _Told(_spoken(head.get("Text", "")), timed, head.get("Ref", ""), tuple(wrong))


def _spoken(text: str) -> str:
    """Without what is marked as no word, or can't be printed."""
    return printable(_NO_WORD.sub(" ", text), _LONGEST)
