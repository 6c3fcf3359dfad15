"""What runs in the process that speaks: one request to espeak-ng, and what it answers.

`forgeline.speech` starts it by its path, with no packages to look for: an interpreter that imports nothing of ours starts
in 20 ms, ours in 350, and an utterance itself takes a hundredth of that. Constants and layouts: espeak-ng's speak_lib.h.
"""

import ctypes
import json
import os
import sys

UNKNOWN_VOICE = 3
"""Exit status where espeak-ng has no such voice."""
WORD, PHONEME = 1, 7
"""Types of events (`espeak_EVENT_TYPE`)."""

_LAST_EVENT = 0
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: no thread of its own
_PHONEME_EVENTS_IN_IPA = 1 | 2
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_UTF8 = 1
_IPA = 2  # of espeak_TextToPhonemes


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
    """Says one request, or spells it: JSON from standard input; a line of JSON, then 16-bit samples, to standard output.

    The answer's events, of words and phonemes, are [type, position in the text (characters, from 1), sample, IPA]; clauses,
    where the text is only spelled, [IPA, the text that was read for it].
    """
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, request["data"].encode(), _PHONEME_EVENTS_IN_IPA)
    if sample_rate <= 0:
        print("espeak-ng found none of its data", file=sys.stderr)
        return 1
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it has just seeded the noise of breathy voices with the clock
    # espeak-ng reads on in the voice it had before, or without the variant, where it does not find the one asked for.
    _, plus, variant = request["voice"].partition("+")
    known = not plus or variant in os.listdir(os.path.join(request["data"], "voices", "!v"))
    if not known or library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return UNKNOWN_VOICE
    text = request["text"].encode(errors="replace")
    if request.get("spell"):
        sys.stdout.buffer.write(json.dumps({"clauses": _clauses(library, text)}).encode() + b"\n")
        return 0
    blocks: list[bytes] = []
    events: list[tuple[int, int, int, str]] = []

    def collect(samples: int | None, count: int, found: "ctypes._Pointer[_Event]") -> int:
        if samples and count > 0:
            blocks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while found[index].type != _LAST_EVENT:
            event = found[index]
            if event.type in (WORD, PHONEME):
                ipa = event.id.string.decode(errors="ignore") if event.type == PHONEME else ""
                events.append((event.type, event.text_position, event.sample, ipa))
            index += 1
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetParameter(_RATE, request["rate"], 0)
    library.espeak_SetParameter(_PITCH, request["pitch"], 0)
    if library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8, None, None) != 0:
        print("espeak-ng could not say the text", file=sys.stderr)
        return 1
    head = json.dumps({"rate": sample_rate, "events": events})
    sys.stdout.buffer.write(head.encode() + b"\n" + b"".join(blocks))
    return 0


def _clauses(library: ctypes.CDLL, text: bytes) -> list[tuple[str, str]]:
    """Clause by clause, its IPA and the text that was read for it (which goes a letter into the next)."""
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    buffer = ctypes.create_string_buffer(text)
    start = ctypes.addressof(buffer)
    at, done = ctypes.c_void_p(start), 0
    clauses = []
    while at.value:
        ipa = library.espeak_TextToPhonemes(ctypes.byref(at), _UTF8, _IPA)
        now = at.value - start if at.value else len(text)
        clauses.append((ipa.decode(errors="ignore"), text[done:now].decode(errors="ignore")))
        done = now
    return clauses


if __name__ == "__main__":
    sys.exit(_main())
