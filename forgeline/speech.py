"""Speech from text, with the time of every phoneme, by espeak-ng.

espeak-ng carries noise-generator state from one utterance to the next, so that the same text said twice in one process
gives different samples; the first utterance of a process is always the same. Each utterance therefore gets a process of
its own (`python -m forgeline.speech`), which also keeps the GPL library out of ours: a request goes in as JSON, and a
line of JSON followed by raw samples comes out.
"""

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from forgeline.clip import Sound
from forgeline.errors import FactoryError, ParamsError

_CHECKOUT = Path(__file__).resolve().parents[1]
_UNKNOWN_VOICE = 3  # exit status of the speaking process
_LONGEST_S = 120  # a process that takes longer hangs: a minute of speech takes 0.2 s


@dataclass(frozen=True)
class Utterance:
    """What was said: mono `sound` and `phonemes`, pairs of (start in seconds, IPA symbol), in order of time."""

    sound: Sound
    phonemes: tuple[tuple[float, str], ...]


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
    Raises ParamsError for an unknown voice or a value out of bounds, FactoryError where espeak-ng is missing or fails.
    """
    which = f'voice "{voice}"'
    if not (80 <= rate <= 450 and 0 <= pitch <= 99):
        raise ParamsError(which, f"rate {rate}, pitch {pitch}", "use a rate of 80 to 450 and a pitch of 0 to 99")
    engine_version()
    request = {"text": text, "voice": voice, "rate": rate, "pitch": pitch}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "forgeline.speech"],
            input=json.dumps(request).encode(),
            capture_output=True,
            cwd=_CHECKOUT,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FactoryError(which, f"espeak-ng said nothing within {_LONGEST_S} s", "try a shorter text") from None
    if child.returncode == _UNKNOWN_VOICE:
        raise ParamsError(which, "espeak-ng knows no such voice", "use a name such as en-us, de, fr or en-us+f3")
    if child.returncode != 0:
        last = (child.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        what = f"espeak-ng died with status {child.returncode} ({last})"
        raise FactoryError(which, what, "reinstall espeakng-loader")
    head, _, raw = child.stdout.partition(b"\n")
    answer = json.loads(head)
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)
    if not samples.size:
        raise FactoryError(which, f"nothing to say in {text!r}", "give a text with words in it")
    return Utterance(Sound(samples, answer["rate"]), tuple((start, ipa) for start, ipa in answer["phonemes"]))


# What follows runs in the speaking process. Constants and layouts: espeak-ng's speak_lib.h.

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: no thread of its own
_PHONEME_EVENTS_IN_IPA = 1 | 2
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_UTF8 = 1
_PHONEME_EVENT, _LAST_EVENT = 7, 0


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


def _main() -> int:
    """Says one request: JSON from standard input; a line of JSON, then 16-bit samples, to standard output."""
    import espeakng_loader

    request = json.load(sys.stdin)
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = str(espeakng_loader.get_data_path()).encode()
    sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS_IN_IPA)
    if sample_rate <= 0:
        print("espeak-ng found none of its data", file=sys.stderr)
        return 1
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it has just seeded the noise of breathy voices with the clock
    # espeak-ng reads on in the voice it had before, or without the variant, where it does not find the one asked for.
    _, plus, variant = request["voice"].partition("+")
    known = not plus or variant in os.listdir(Path(espeakng_loader.get_data_path(), "voices", "!v"))
    if not known or library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return _UNKNOWN_VOICE
    blocks: list[bytes] = []
    phonemes: list[tuple[float, str]] = []

    def collect(samples: int | None, count: int, events: "ctypes._Pointer[_Event]") -> int:
        if samples and count > 0:
            blocks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _LAST_EVENT:
            if events[index].type == _PHONEME_EVENT:
                ipa = events[index].id.string.decode(errors="ignore")
                phonemes.append((events[index].audio_position / 1000, ipa))
            index += 1
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetParameter(_RATE, request["rate"], 0)
    library.espeak_SetParameter(_PITCH, request["pitch"], 0)
    text = request["text"].replace("\0", " ").encode(errors="replace")
    if library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8, None, None) != 0:
        print("espeak-ng could not say the text", file=sys.stderr)
        return 1
    head = json.dumps({"rate": sample_rate, "phonemes": phonemes})
    sys.stdout.buffer.write(head.encode() + b"\n" + b"".join(blocks))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
