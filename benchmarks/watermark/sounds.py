"""What the mark does to speech, and which codecs it survives there. No other package's sound mark runs without weights
from the net, so ours stands alone."""

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from benchmarks.attacks import SOUND_ATTACKS
from benchmarks.watermark.figures import Goal, Rate, lowest, mean_least, table
from benchmarks.watermark.media import Material
from benchmarks.watermark.methods import key, mark
from forgeline.audio import resample
from forgeline.clip import Sound
from watermark.sound import mark_sound, sound_bits, sound_carries

_LISTENED = 16000  # Hz, what wide-band PESQ takes


@dataclass
class Found:
    """What was found on some pieces of sound; times in seconds of sound for each second of CPU."""

    bits: list[int] = field(default_factory=list)
    refused: int = 0
    snr: list[float] = field(default_factory=list)
    pesq: list[float] = field(default_factory=list)
    marked_at: list[float] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    read: dict[str, list[bool]] = field(default_factory=lambda: {name: [] for name in SOUND_ATTACKS})


def measure(material: Material) -> list[Goal]:
    """Print the tables of all sets of sound, and give the goals for sound."""
    repeats = 1 if material.quick else 2
    sets = {title: _tried(pieces, repeats) for title, pieces in material.speech.items()}
    if material.filmed:
        sets[material.filmed_name] = _tried(material.recorded(1), repeats)
        sets[f"{material.filmed_name}, three joined"] = _tried(material.recorded(3), 2 * repeats)
    _show(sets)
    return _goals(sets)


def _tried(sounds: Sequence[Sound], repeats: int) -> Found:
    """Each piece marked with `repeats` payloads, each marked piece attacked in every way and looked for blindly."""
    found = Found()
    mark_sound(sounds[0], key(0), mark(0, 32))  # what is made once is made now
    for number in range(len(sounds) * repeats):
        sound = sounds[number % len(sounds)]
        bits = sound_bits(sound)
        if bits is None:
            found.refused += 1
            continue
        seconds, expected = len(sound.samples) / sound.rate, mark(number, bits)
        start = time.process_time()
        marked = mark_sound(sound, key(number), expected)
        found.marked_at.append(seconds / (time.process_time() - start))
        found.bits.append(bits)
        change = marked.samples - sound.samples
        found.snr.append(float(10 * np.log10(np.mean(sound.samples**2) / np.mean(change**2))))
        if find_spec("pesq") is not None:
            found.pesq.append(_pesq(sound, marked))
        for name, attack in SOUND_ATTACKS.items():
            attacked = attack(marked, np.random.default_rng(number))
            start = time.process_time()
            found.read[name].append(sound_carries(attacked, key(number), expected))
            if name == "none":
                found.read_at.append(seconds / (time.process_time() - start))
    return found


def _pesq(before: Sound, after: Sound) -> float:
    one, other = (resample(sound, _LISTENED).samples for sound in (before, after))
    return float(importlib.import_module("pesq").pesq(_LISTENED, one, other, "wb"))


def _show(sets: dict[str, Found]) -> None:
    """Print both tables."""
    if not any(each.pesq for each in sets.values()):
        print("\nPESQ: not measured, as the package pesq is not installed (pip install pesq)")
    table(
        "Sound: what marking changes, mean (least)",
        ("sounds", "bits", "pieces", "refused", "PESQ", "SNR, dB", "marking, × real time", "blind read, × real time"),
        [
            (
                name,
                "/".join(map(str, sorted(set(each.bits)))),
                len(each.bits),
                each.refused,
                mean_least(each.pesq, ".2f"),
                mean_least(each.snr),
                mean_least(each.marked_at, ".0f"),
                mean_least(each.read_at, ".0f"),
            )
            for name, each in sets.items()
        ],
    )
    table(
        "Sound: payloads read to the last bit, blindly",
        ("attack", *sets),
        [(name, *(Rate.of(each.read[name]) for each in sets.values())) for name in SOUND_ATTACKS],
    )


def _goals(sets: dict[str, Found]) -> list[Goal]:
    """The goals for sound: rates over all sets, PESQ and speed in the set where they are lowest."""
    rates = {name: Rate.of(hit for each in sets.values() for hit in each.read[name]) for name in SOUND_ATTACKS}
    pesq = {name: each.pesq for name, each in sets.items() if each.pesq}
    slowest = min(float(np.mean(each.marked_at)) for each in sets.values())
    slowest_read = min(float(np.mean(each.read_at)) for each in sets.values())
    reached = [
        lowest("sound, MP3 64k", 0.99, {"MP3 64k": rates["MP3 64k"]}),
        *(
            lowest(f"sound, {name}", 0.95, {name: rates[name]})
            for name in ("MP3 32k", "AAC 48k", "Opus 24k", "speed +1 %", "speed -1 %")
        ),
        Goal("sound, marking", "≥ 100 × real time", f"{slowest:.0f} ×", slowest >= 100),
        Goal("sound, blind read", "≥ 100 × real time", f"{slowest_read:.0f} ×", slowest_read >= 100),
    ]
    if pesq:
        name = min(pesq, key=lambda name: float(np.mean(pesq[name])))
        text = f"{mean_least(pesq[name], '.2f')}, {name}"
        reached.insert(0, Goal("sound, PESQ, mean (least)", "≥ 4.3", text, bool(np.mean(pesq[name]) >= 4.3)))
    return reached
