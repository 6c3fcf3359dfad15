"""Speech from text, with the time of every word and phoneme, by espeak-ng.

espeak-ng carries noise-generator state from one utterance to the next, so that the same text said twice in one process
gives different samples; the first utterance of a process is always the same. Each utterance therefore gets a process of
its own (`forgeline.espeak`), which also keeps the GPL library out of ours: a request goes in as JSON, and a line of JSON
followed by raw samples comes out.
"""

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from forgeline import espeak
from forgeline.clip import Said, Sound
from forgeline.errors import FactoryError, ParamsError
from forgeline.sentences import SCRIPTS, script_of

MOST_LETTERS = 8000
"""The longest text, in Latin letters: some nine minutes. A digit counts as six, a Chinese character as four, kana as two."""

_SPEAKER = espeak.__file__
_LONGEST_S = 120  # a process that takes longer hangs: a minute of speech takes 0.2 s
_SIGNS = dict(zip(",;:.!?，、；：。！？।،؛؟", ",;:.!?,,;:.!?.,;?", strict=True))
_FINAL = frozenset(".!?")
_LETTERS = {"CJK": 4, "HIRAGANA": 2, "KATAKANA": 2, "DIGIT": 6}


@dataclass(frozen=True)
class Utterance:
    """What was said: mono `sound`, the text's `words` and the `phonemes` in IPA, in order of time.

    Pauses are gaps. Scripts without spaces have a word for each piece that espeak-ng tells apart, mostly one character.
    """

    sound: Sound
    words: tuple[Said, ...]
    phonemes: tuple[Said, ...]


def engine_version() -> str:
    """The version of the espeakng-loader package, which carries espeak-ng and its data; FactoryError where it is missing."""
    try:
        return version("espeakng-loader")
    except PackageNotFoundError:
        todo = "run: pip install espeakng-loader"
        raise FactoryError("espeakng-loader", "espeak-ng, which speaks, is not installed", todo) from None


def speak(text: str, voice: str, *, rate: int = 165, pitch: int = 50) -> Utterance:
    """Says `text` in `voice`: an espeak-ng name such as "en-us", or with a variant such as "en-us+f3".

    `rate` is in words a minute (80-450), `pitch` 0-99 (50 is the voice's own). Equal arguments give equal samples.
    Raises ParamsError for an unknown voice, a value out of bounds, and a text with nothing to say, in a script that the
    voice can't read (for the languages of `forgeline.sentences`; espeak-ng would spell it out letter by letter), or too
    long; FactoryError where espeak-ng is missing or fails.
    """
    which = f'voice "{voice}"'
    if not (80 <= rate <= 450 and 0 <= pitch <= 99):
        raise ParamsError(which, f"rate {rate}, pitch {pitch}", "use a rate of 80 to 450 and a pitch of 0 to 99")
    text = _sayable(text, voice)
    head, _, raw = _asked({"text": text, "voice": voice, "rate": rate, "pitch": pitch}).partition(b"\n")
    answer = json.loads(head)
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)
    words, phonemes = heard(answer["events"], text, answer["rate"], len(samples))
    if not phonemes:
        raise ParamsError(which, f"nothing to say in {text[:40]!r}", "give a text with words in it")
    return Utterance(Sound(samples, answer["rate"]), words, phonemes)


def spell(text: str, voice: str) -> tuple[str, ...]:
    """How `voice` reads the sentences of a text: IPA with stress and tones, spaces between words, and `,;:.!?` as written.

    For voices other than espeak-ng's. Raises as `speak` does.
    """
    answer = json.loads(_asked({"text": _sayable(text, voice), "voice": voice, "spell": True}))
    sentences = [""]
    for ipa, read in answer["clauses"]:
        signs = [_SIGNS[c] for c in read if c in _SIGNS]
        sign = signs[-1] if signs else ""
        plain = re.sub(r"\([a-z-]+\)", "", ipa)  # which language's voice goes on
        sentences[-1] = f"{sentences[-1]} {plain}{sign}".strip()
        if sign in _FINAL:
            sentences.append("")
    return tuple(one for one in sentences if one)


def _asked(request: dict[str, object]) -> bytes:
    """What the speaking process answers. Raises ParamsError for an unknown voice, FactoryError where the process fails."""
    which = f'voice "{request["voice"]}"'
    engine_version()
    import espeakng_loader

    paths = {"library": str(espeakng_loader.get_library_path()), "data": str(espeakng_loader.get_data_path())}
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-S", _SPEAKER],
            input=json.dumps({**request, **paths}).encode(),
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FactoryError(which, f"espeak-ng said nothing within {_LONGEST_S} s", "try a shorter text") from None
    if child.returncode == espeak.UNKNOWN_VOICE:
        raise ParamsError(which, "espeak-ng knows no such voice", "use a name such as en-us, de, fr or en-us+f3")
    if child.returncode != 0:
        last = (child.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        what = f"espeak-ng died with status {child.returncode} ({last})"
        raise FactoryError(which, what, "reinstall espeakng-loader")
    return child.stdout


def _sayable(text: str, voice: str) -> str:
    """The text as it is said. Raises ParamsError for one that is not to be said in this voice."""
    which = f'voice "{voice}"'
    text = unicodedata.normalize("NFC", text.replace("\0", " "))
    counted = [c for c in text if unicodedata.category(c)[0] == "L" or c.isdecimal()]
    if not counted:
        raise ParamsError(which, f"nothing to say in {text[:40]!r}", "give a text with words in it")
    kinds = {c: "DIGIT" if c.isdecimal() else unicodedata.name(c, "?").partition(" ")[0] for c in set(counted)}
    if sum(_LETTERS.get(kinds[c], 1) for c in counted) > MOST_LETTERS:
        what = f"a text of {len(counted)} letters and digits, which is more than nine minutes"
        raise ParamsError(which, what, "say it in pieces")
    script = script_of(voice)
    if script is not None:
        for c in counted:
            if kinds[c] != "DIGIT" and kinds[c].partition("-")[0] not in SCRIPTS[script]:
                what = f"it can't read {c!r} ({kinds[c].lower()}) in {text[:40]!r}"
                raise ParamsError(which, what, f"give a text in {script} script, or another voice")
    return text


def heard(
    events: Sequence[tuple[int, int, int, str]], text: str, rate: int, samples: int
) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """Words and phonemes of what espeak-ng reports, (type, position in `text`, sample, IPA) each.

    Measured of espeak-ng 1.52: positions are characters from 1; a long number is several words, at positions within it; a
    tone, and the release between two consonants, is a nameless phoneme at its word's position, and a pause one elsewhere;
    signs such as ʲ can come alone; a switch of language is a phoneme in brackets; what melts into its neighbour, as l into
    the vowel of "all", takes no time, and is given half of the neighbour's here.
    """
    words: list[tuple[int, int, int]] = []  # position, first sample, end
    phonemes: list[tuple[int, int, str, int]] = []  # first sample, end, IPA, its word's number
    place = 0
    ends = [at for _, _, at, _ in events[1:]] + [samples]
    for (kind, position, at, ipa), end in zip(events, ends, strict=True):
        if kind == espeak.WORD:
            if not words or (position > words[-1][0] and not re.search(r"\d\d$", text[:position])):
                words.append((position, at, at))
            place = position
            continue
        ipa = "" if ipa.startswith("(") else ipa
        same = phonemes and position == place and phonemes[-1][3] == len(words)
        if same and all(unicodedata.category(c) == "Lm" for c in ipa):
            first, _, before, number = phonemes[-1]
            phonemes[-1] = first, end, before + ipa, number
        elif ipa:
            phonemes.append((at, end, ipa, len(words)))
        else:
            continue
        if words:
            words[-1] = (*words[-1][:2], end)
    stops = [position - 1 for position, _, _ in words[1:]] + [len(text)]
    return (
        tuple(
            Said(start / rate, end / rate, word)
            for (position, start, end), stop in zip(words, stops, strict=True)
            if end > start and (word := _bare(text[position - 1 : stop]))
        ),
        _shared(phonemes, rate),
    )


def _bare(word: str) -> str:
    """A word without the spaces and signs around it."""
    kept = [index for index, c in enumerate(word) if unicodedata.category(c)[0] in "LNM"]
    return word[kept[0] : kept[-1] + 1] if kept else ""


def _shared(phonemes: Sequence[tuple[int, int, str, int]], rate: int) -> tuple[Said, ...]:
    """The phonemes in seconds; one that takes no time has half of the one before in its word, else of the one after."""
    said: list[Said] = []
    words = [word for _, _, _, word in phonemes]
    owed: Said | None = None
    for index, (start, end, ipa, word) in enumerate(phonemes):
        one = Said(start / rate, end / rate, ipa)
        if owed is not None:
            middle = (one.start_s + one.end_s) / 2
            said.append(replace(owed, start_s=one.start_s, end_s=middle))
            one, owed = replace(one, start_s=middle), None
        elif end <= start and said and words[index - 1] == word:
            middle = (said[-1].start_s + said[-1].end_s) / 2
            one = replace(one, start_s=middle, end_s=said[-1].end_s)
            said[-1] = replace(said[-1], end_s=middle)
        elif end <= start:
            owed = one
            continue
        said.append(one)
    return tuple(one for one in said if one.end_s > one.start_s)
