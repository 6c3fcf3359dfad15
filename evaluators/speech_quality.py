"""How well a fake's speech can be understood and how clean it is.

Beside its control, where that says the same words at the same times: short-time objective intelligibility (STOI, Taal et al.
2011; the extended one, Jensen and Taal 2016) and the listening quality of ITU-T P.862.2, wide band PESQ (by the package `pesq`,
which is optional). Alone, with the control's numbers beside a set's: its level, how much of it is clipped, how far its noise
lies below its speech, and how harmonic its voice is. A set in which the latter differ much between fakes and controls may
teach a detector that instead of the forgery.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Pair
from evaluators.speech import FINGERPRINT, HIGHEST, LOWEST, RATE, Floats, OfSpeech, parts
from forgeline.audio import SILENT_LUFS
from forgeline.clip import Clip, Sound
from forgeline.hearing import traits

UNKNOWN_WORDS: Final = "it is not known what the fake says, or what its control does"
OTHER_WORDS: Final = "the fake says other words than its control, or at other times"
NO_PESQ: Final = "needs the package pesq: run pip install pesq"
TOO_LITTLE: Final = "there is too little speech (0.4 s)"
NO_SPEECH: Final = "there is no speech, or less than 0.4 s"
NOT_VOICED: Final = "nothing is voiced"

PART_S = 10.0
"""PESQ is made for 8 to 12 s (P.862.3), and its code goes astray in minutes of speech."""
SAME_TIME_S = 0.01
VOICED = 0.45
"""Share of a frame that has to be periodic for it to be voiced (Boersma 1993)."""
_WINDOW, _STEP, _FFT, _AT_ONCE = 960, 160, 2048, 2000

_PARTS = {"parts": "at most 10 s each, their mean"}


class SpeechQuality(OfSpeech):
    """STOI and its extension up to 1 (equal), PESQ 1 to 4.64 (equal); LUFS, a share, and two levels in dB."""

    of_control: ClassVar[tuple[str, ...]] = ("speech_loudness", "speech_clipped", "speech_snr", "speech_hnr")

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        pesq = _pesq_version() or "none"
        own = {
            "stoi": {"definition": "Taal 2011, pystoi", "reference": "control", **_PARTS},
            "estoi": {"definition": "Jensen and Taal 2016, pystoi", "reference": "control", **_PARTS},
            "pesq": {"definition": f"ITU-T P.862.2, wide band, pesq {pesq}", "reference": "control", **_PARTS},
            "speech_loudness": {"unit": "LUFS, ITU-R BS.1770-4"},
            "speech_clipped": {"unit": "share of samples at full scale with a neighbour there"},
            "speech_snr": {"unit": "dB between the level that 5 % of 20 ms frames exceed and the quietest tenth's power"},
            "speech_hnr": {"unit": "dB, median of voiced frames of 60 ms (autocorrelation, Boersma 1993)"},
        }
        return {name: FINGERPRINT | more for name, more in own.items()}

    def values(self, pair: Pair, control: Sound, fake: Sound) -> Mapping[str, float | str]:
        found: dict[str, float | str] = {}
        for sound, end in ((fake, ""), (control, "_control")):
            heard = traits(sound)
            speaks = heard.loudness > SILENT_LUFS
            found[f"speech_loudness{end}"] = heard.loudness if speaks else NO_SPEECH
            found[f"speech_clipped{end}"] = heard.clipped
            found[f"speech_snr{end}"] = -heard.noise_floor if speaks else NO_SPEECH
            found[f"speech_hnr{end}"] = harmonicity(sound)
        return found | _beside(pair, control, fake)


def _beside(pair: Pair, control: Sound, fake: Sound) -> dict[str, float | str]:
    reason = unlike(pair.control, pair.fake)
    if reason:
        return {"stoi": reason, "estoi": reason, "pesq": reason}
    n = min(len(control.samples), len(fake.samples))
    both = [tuple(parts(sound.samples[:n], PART_S)) for sound in (control, fake)]
    measures: dict[str, Callable[..., float | None]] = {"stoi": stoi, "estoi": extended_stoi, "pesq": wide_band_pesq}
    found: dict[str, float | str] = {}
    for name, measured in measures.items():
        if name == "pesq" and not _pesq_version():
            found[name] = NO_PESQ
            continue
        values = [value for one, other in zip(*both, strict=True) if (value := measured(one, other)) is not None]
        found[name] = float(np.mean(values)) if values else TOO_LITTLE
    return found


def unlike(control: Clip, fake: Clip) -> str | None:
    """Why one can't be the other's reference: words that differ in text, or by more than `SAME_TIME_S`; None where it can."""
    if not control.words or not fake.words:
        return UNKNOWN_WORDS
    same = len(control.words) == len(fake.words) and all(
        one.text == other.text and max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s)) <= SAME_TIME_S
        for one, other in zip(control.words, fake.words, strict=True)
    )
    return None if same else OTHER_WORDS


def stoi(control: NDArray[np.float32], fake: NDArray[np.float32]) -> float | None:
    """STOI of samples at `RATE`, the control being what is right. None where its frames hold less than 0.4 s of speech."""
    return _stoi(control, fake, False)


def extended_stoi(control: NDArray[np.float32], fake: NDArray[np.float32]) -> float | None:
    """As `stoi`, extended: for noise that comes and goes."""
    return _stoi(control, fake, True)


def _stoi(control: NDArray[np.float32], fake: NDArray[np.float32], extended: bool) -> float | None:
    import pystoi

    if len(control) < 0.4 * RATE or not control.any():
        return None
    chance = np.random.get_state()
    np.random.seed(0)  # the package adds noise of 1e-16 out of numpy's own chance
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Not enough STFT frames")
            return float(pystoi.stoi(control.astype(np.float64), fake.astype(np.float64), RATE, extended=extended))
    except RuntimeWarning:
        return None
    finally:
        np.random.set_state(chance)


def wide_band_pesq(control: NDArray[np.float32], fake: NDArray[np.float32]) -> float | None:
    """PESQ of samples at `RATE`; None where it finds no utterance in them. The package pesq must be there."""
    import pesq

    if len(control) < 0.25 * RATE or not control.any() or not fake.any():
        return None
    found = float(pesq.pesq(RATE, control, fake, "wb", on_error=pesq.PesqError.RETURN_VALUES))
    return found if found >= 1 else None  # errors are negative


def _pesq_version() -> str | None:
    try:
        return version("pesq")
    except PackageNotFoundError:
        return None


def harmonicity(sound: Sound) -> float | str:
    """Median over the voiced frames of 10 log10 r / (1 - r), in dB, r being the periodic share of a frame's power.

    That share is the highest peak of the frame's autocorrelation over that of its Hann window (Boersma 1993, "Accurate
    short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound", eq. 4 and 9), at
    periods of 60 to 500 Hz.
    """
    shares = periodic_shares(sound.samples)
    voiced = shares[shares > VOICED]
    return float(np.median(10 * np.log10(voiced / (1 - voiced)))) if len(voiced) else NOT_VOICED


def periodic_shares(samples: NDArray[np.float32]) -> Floats:
    """(n,) in 0 … 1, of frames of 60 ms every 10 ms at `RATE`; 0 for frames 40 dB below the loudest one."""
    window = np.hanning(_WINDOW + 1)[:-1]
    first, last = int(RATE / HIGHEST), int(RATE / LOWEST) + 1
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, _FFT))))[: last + 2]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (0, _WINDOW)), _WINDOW)[::_STEP]
    power, shares = [], []
    for start in range(0, len(frames), _AT_ONCE):
        block = frames[start : start + _AT_ONCE].astype(np.float64)
        block = (block - block.mean(1, keepdims=True)) * window
        alike = np.fft.irfft(np.square(np.abs(np.fft.rfft(block, _FFT))))[:, : last + 2]
        power.append(alike[:, 0])
        alike = alike / np.maximum(alike[:, :1], 1e-12) * (own[0] / own)
        before, at, after = alike[:, first - 1 : last], alike[:, first : last + 1], alike[:, first + 1 : last + 2]
        bend = np.minimum(before - 2 * at + after, -1e-12)
        peak = (at >= before) & (at >= after)
        height = np.where(peak, at - np.square(before - after) / (8 * bend), 0)  # of the parabola through the three
        shares.append(np.clip(height.max(1), 0, 1 - 1e-6))
    loud = np.concatenate(power)
    return np.where(loud > 1e-4 * loud.max(), np.concatenate(shares), 0.0)
