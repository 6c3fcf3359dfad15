"""How well speech is understood, and how clean it is: on sounds whose noise is known, and against the formulas' plain form."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pystoi
import pytest
from numpy.typing import NDArray

from evaluators import speech, speech_quality
from evaluators.figure import Figure
from evaluators.speech_quality import OTHER_WORDS, UNKNOWN_WORDS, SpeechQuality, extended_stoi, harmonicity, stoi
from forgeline.clip import Said, Sound
from forgeline.hearing import traits
from tests.spoken import RATE, clip_of, figures, noisy, pair, said, set_figures, value, voice

PESQ = find_spec("pesq") is not None
"""It has to be compiled, so not everybody has it."""
BESIDE = ("stoi", "estoi", *(["pesq"] if PESQ else []))


def found(control: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, Figure]:
    return figures(pair(control, fake), SpeechQuality())


@pytest.fixture(scope="module")
def spoken() -> NDArray[np.float32]:
    return voice((110.0, 150.0))


def test_equal_speech_has_the_best_values(spoken: NDArray[np.float32]) -> None:
    figure = found(spoken, spoken)
    assert value(figure["stoi"]) == pytest.approx(1)
    assert value(figure["estoi"]) == pytest.approx(1)
    assert not PESQ or value(figure["pesq"]) == pytest.approx(4.6439, abs=1e-3)


def test_noise_lowers_what_it_should(spoken: NDArray[np.float32]) -> None:
    rows = [found(spoken, noisy(spoken, level)) for level in (0, 0.005, 0.05)]
    for name in (*BESIDE, "speech_snr", "speech_hnr"):
        best, middle, worst = (value(row[name]) for row in rows)
        assert best > middle > worst, name


def test_the_control_is_what_is_right(spoken: NDArray[np.float32]) -> None:
    other = noisy(spoken, 0.03)
    right, wrong = (pystoi.stoi(*map(np.float64, sounds), RATE) for sounds in ((spoken, other), (other, spoken)))
    assert abs(right - wrong) > 1e-3
    assert value(found(spoken, other)["stoi"]) == pytest.approx(right, abs=1e-12)


def reference_stoi(control: NDArray[np.float64], fake: NDArray[np.float64]) -> float:
    """Taal 2011, eq. 1 to 5, loop by loop; for sound without silences, by another resampler."""
    from scipy.signal import resample_poly

    window = np.hanning(258)[1:-1]
    bands = []
    centres = 150 * 2 ** (np.arange(15) / 3)
    hertz = np.arange(257) * 10000 / 512
    for sound in (control, fake):
        slow = resample_poly(sound, 5, 8)
        frames = [np.abs(np.fft.rfft(window * slow[at : at + 256], 512)) ** 2 for at in range(0, len(slow) - 256, 128)]
        rows = []
        for centre in centres:
            low, high = (int(np.argmin((hertz - centre * 2 ** (by / 6)) ** 2)) for by in (-1, 1))
            rows.append([np.sqrt(frame[low:high].sum()) for frame in frames])
        bands.append(np.array(rows))
    correlations = []
    for end in range(30, bands[0].shape[1] + 1):
        for x, y in zip(*(band[:, end - 30 : end] for band in bands), strict=True):
            scaled = np.minimum(y * np.linalg.norm(x) / np.linalg.norm(y), x * (1 + 10 ** (15 / 20)))
            correlations.append(np.corrcoef(x, scaled)[0, 1])
    return float(np.mean(correlations))


def test_stoi_is_its_formula() -> None:
    control = voice(100.0, seconds=1.2, quiet=0)
    fake = noisy(control, 0.05)
    expected = reference_stoi(control.astype(np.float64), fake.astype(np.float64))
    assert 0.3 < expected < 0.95
    assert stoi(control, fake) == pytest.approx(expected, abs=0.01)


def test_other_rates_are_brought_to_16_khz(spoken: NDArray[np.float32]) -> None:
    import soxr

    words = said("one")
    high = soxr.resample(spoken, RATE, 44100).astype(np.float32)
    one = pair(clip_of(spoken, words), clip_of(high, words, rate=44100))
    assert value(figures(one, SpeechQuality())["estoi"]) > 0.99


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), UNKNOWN_WORDS),
        (said("one", "three"), OTHER_WORDS),
        (said("one"), OTHER_WORDS),
        (said("one", "two", start=0.25), OTHER_WORDS),
        ((*said("one"), Said(0.5, 0.85, "two")), OTHER_WORDS),
        (said("one", "two", start=0.205), None),
    ],
)
def test_only_the_same_words_at_the_same_times_are_a_reference(words: tuple[Said, ...], reason: str | None) -> None:
    short = voice(120.0, seconds=0.8)
    figure = figures(pair(clip_of(short, said("one", "two")), clip_of(short, words)), SpeechQuality())
    assert {figure[name].reason for name in BESIDE} == {reason}
    assert figure["speech_snr"].value is not None


def test_the_sound_alone_is_measured_as_the_audit_does(spoken: NDArray[np.float32]) -> None:
    loud = np.clip(noisy(spoken, 0.01) * 5, -1, 32767 / 32768).astype(np.float32)
    figure, heard = found(spoken, loud), traits(Sound(loud, RATE))
    assert value(figure["speech_loudness"]) == heard.loudness
    assert value(figure["speech_clipped"]) == heard.clipped > 0.001
    assert value(figure["speech_snr"]) == -heard.noise_floor > 0
    both = set_figures([pair(spoken, loud)], SpeechQuality())
    assert value(both["speech_clipped"]) == heard.clipped
    assert value(both["speech_clipped_control"]) == 0
    assert "speech_clipped_control" not in figure


@pytest.mark.parametrize("ratio", [5.0, 15.0, 25.0])
def test_harmonicity_is_the_ratio_of_what_is_periodic(ratio: float) -> None:
    """A sum of harmonics with white noise: Boersma's own test."""
    at = np.arange(2 * RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 150 * k * at + k) / k for k in range(1, 20))
    noise = np.random.default_rng(0).normal(0, np.sqrt(np.mean(tone**2) / 10 ** (ratio / 10)), len(at))
    sound = Sound((0.1 * (tone + noise)).astype(np.float32), RATE)
    assert value_of(harmonicity(sound)) == pytest.approx(ratio, abs=1)


def value_of(found: float | str) -> float:
    assert isinstance(found, float)
    return found


def test_noise_is_not_voiced() -> None:
    noise = noisy(np.zeros(RATE, np.float32), 0.1)
    assert harmonicity(Sound(noise, RATE)) == speech_quality.NOT_VOICED
    assert found(voice(), noise)["speech_hnr"].reason == speech_quality.NOT_VOICED


def test_what_is_too_short_has_the_reason() -> None:
    short = voice(120.0, seconds=0.2, quiet=0.02)
    figure = found(short, short)
    for name in ("stoi", "estoi", "speech_loudness", "speech_snr"):
        assert "0.4 s" in str(figure[name].reason), name


def test_long_speech_is_taken_in_parts(spoken: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_quality, "PART_S", 1.1)
    other = np.concatenate([spoken[:RATE], noisy(spoken[RATE:], 0.02)])
    halves = [np.array_split(sound, 2) for sound in (spoken, other)]
    values = [extended_stoi(one, two) for one, two in zip(*halves, strict=True)]
    assert value(found(spoken, other)["estoi"]) == pytest.approx(np.mean([v for v in values if v is not None]))
    whole = list(speech.parts(np.arange(50000, dtype=np.float32), 1.0))
    assert [len(part) for part in whole] == [12500] * 4
    assert np.array_equal(np.concatenate(whole), np.arange(50000))


def test_chance_is_left_as_it_was(spoken: NDArray[np.float32]) -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    first = extended_stoi(spoken, noisy(spoken, 0.02))
    assert np.random.random() == expected
    assert extended_stoi(spoken, noisy(spoken, 0.02)) == first


def test_without_pesq_the_rest_is_there(spoken: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_quality, "_pesq_version", lambda: None)
    figure = found(spoken, spoken)
    assert "pip install pesq" in str(figure["pesq"].reason)
    assert value(figure["stoi"]) == pytest.approx(1)


def test_what_was_not_changed_is_not_listened_to(spoken: NDArray[np.float32]) -> None:
    def never() -> Sound:
        raise RuntimeError("decoded")

    one = pair(spoken, spoken)
    fake = replace(one.fake, sound=never)
    figure = figures(replace(one, fake=fake, changes=frozenset({"video"})), SpeechQuality())
    assert {f.reason for f in figure.values()} == {speech.SAME_SOUND}


@pytest.mark.parametrize(("other", "reason"), [(None, speech.NO_SOUND), (np.zeros(RATE, np.float32), speech.SILENCE)])
def test_no_sound_is_the_reason(other: NDArray[np.float32] | None, reason: str) -> None:
    for control, fake in ((clip_of(other), clip_of(voice())), (clip_of(voice()), clip_of(other))):
        figure = figures(pair(control, fake), SpeechQuality())
        assert {f.reason for f in figure.values()} == {reason}
