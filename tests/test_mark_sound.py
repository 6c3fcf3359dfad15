"""The mark in sound: that it is read after what files go through, never where it is not, and hardly heard."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest

from forgeline.audio import resample, to_int16
from forgeline.clip import Sound
from forgeline.errors import MediaError
from forgeline.video import open_video
from watermark.evidence import score
from watermark.keys import DEMO, MasterKey, master
from watermark.payload import Mark, code_length, decode
from watermark.sound import (
    _hull,
    _spectra,
    bits_for_sound,
    mark_sound,
    needed,
    read_sound,
    sound_bits,
    sound_carries,
    sound_matched,
)

GRID = Path(__file__).parents[2] / "shared" / "media" / "grid"
DEMO_KEY = master(DEMO)
KEY = DEMO_KEY.shard("tests")
LONG, SHORT = Mark(0xABCDEF0123, 64), Mark(0xBEEF, 32)

Attack = Callable[[Sound], Sound]


def voice(seconds: float, rate: int, seed: int = 0) -> Sound:
    """Something like speech: syllables of harmonics under wandering formants, breath between, and room noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    knots = np.arange(0, seconds + 0.5, 0.25)
    pitch = np.interp(time, knots, rng.uniform(95, 180, len(knots)))
    formants = [
        np.interp(time, knots, rng.uniform(low, high, len(knots))) for low, high in ((300, 900), (900, 2300), (2300, 3400))
    ]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sung = np.zeros(len(time))
    for harmonic in range(1, 40):
        height = harmonic * pitch
        gain = sum(np.exp(-(((height - formant) / 180) ** 2)) / (k + 1) for k, formant in enumerate(formants))
        sung += np.where(height < min(rate / 2, 4500), gain + 0.02, 0) * np.sin(harmonic * phase)
    syllable = np.clip(np.interp(time, knots, rng.uniform(-0.3, 1, len(knots))), 0, 1)
    breath = rng.normal(0, 0.15, len(time)) * np.interp(time, knots, rng.uniform(0, 1, len(knots)) ** 3)
    whole = syllable * sung + breath + rng.normal(0, 0.002, len(time))
    return Sound((0.6 * whole / np.abs(whole).max()).astype(np.float32), rate)


def coded(name: str, container: str, bits_s: int, rate: int | None = None) -> Attack:
    """Through a codec of FFmpeg and back, at its own delay."""

    def through(sound: Sound) -> Sound:
        sound = resample(sound, rate or sound.rate)
        file = io.BytesIO()
        with av.open(file, "w", format=container) as out:
            stream = out.add_stream(name, rate=sound.rate, layout="mono", bit_rate=bits_s)
            fitted = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=sound.rate)
            frame = av.AudioFrame.from_ndarray(to_int16(sound.samples)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = sound.rate, 0, Fraction(1, sound.rate)
            pieces = av.AudioFifo()
            for piece in [*fitted.resample(frame), *fitted.resample(None)]:
                pieces.write(piece)
            while piece := pieces.read(stream.codec_context.frame_size, partial=True):
                out.mux(stream.encode(piece))
            out.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as source:
            stream = source.streams.audio[0]
            floats = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
            heard = [piece.to_ndarray().ravel() for frame in source.decode(stream) for piece in floats.resample(frame)]
        return Sound(np.concatenate(heard).astype(np.float32), stream.rate)

    return through


def played(speed: float) -> Attack:
    return lambda sound: Sound(soxr.resample(sound.samples, sound.rate * speed, sound.rate).astype(np.float32), sound.rate)


def changed(change: Callable[[np.ndarray, int], np.ndarray]) -> Attack:
    return lambda sound: Sound(change(sound.samples, sound.rate).astype(np.float32), sound.rate)


def echoed(samples: np.ndarray, rate: int) -> np.ndarray:
    late = np.concatenate([np.zeros(rate // 7), samples])[: len(samples)]
    return 0.7 * samples + 0.3 * late


def noisy(samples: np.ndarray, rate: int) -> np.ndarray:
    return samples + np.random.default_rng(1).normal(0, 0.1 * samples.std(), len(samples))


ATTACKS: dict[str, Attack] = {
    "none": lambda sound: sound,
    "MP3 64k": coded("libmp3lame", "mp3", 64000),
    "MP3 32k": coded("libmp3lame", "mp3", 32000),
    "AAC 48k": coded("aac", "adts", 48000),
    "Opus 24k": coded("libopus", "ogg", 24000, 48000),
    "8 kHz": lambda sound: resample(sound, 8000),
    "16 bits": changed(lambda samples, rate: to_int16(samples) / 32768),
    "8 bits": changed(lambda samples, rate: np.rint(samples * 127) / 127),
    "trimmed": changed(lambda samples, rate: samples[round(0.237 * rate) :]),
    "half as loud": changed(lambda samples, rate: samples / 2),
    "upside down": changed(lambda samples, rate: -samples),
    "echo": changed(echoed),
    "noise": changed(noisy),
    "1 % faster": played(1.01),
    "1 % slower": played(0.99),
    "2 % faster": played(1.02),
    "2 % slower": played(0.98),
}


@pytest.fixture(scope="module")
def marked() -> Sound:
    return mark_sound(voice(6, 22050), KEY, LONG)


@pytest.mark.parametrize("attack", ATTACKS)
def test_six_seconds_carry_64_bits_through(attack: str, marked: Sound) -> None:
    attacked = ATTACKS[attack](marked)
    found = read_sound(attacked, [KEY])
    assert found is not None
    assert (found.mark, found.key) == (LONG, KEY)
    assert sound_carries(attacked, KEY, LONG)
    assert sound_matched(attacked, KEY, LONG) >= 8


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_three_seconds_carry_32_bits_at_every_rate_and_through_another(rate: int) -> None:
    marked = mark_sound(voice(3, rate, seed=rate), KEY, SHORT)
    assert sound_carries(marked, KEY, SHORT)
    for other in (8000, 16000, 44100):
        assert sound_carries(resample(marked, other), KEY, SHORT)
    assert sound_carries(ATTACKS["MP3 32k"](marked), KEY, SHORT)


@pytest.mark.skipif(not GRID.is_dir(), reason="no GRID clips under ../shared/media/grid")
def test_recorded_speech_carries_the_mark() -> None:
    for path in sorted(GRID.glob("*.mpg"))[:3]:
        sound = open_video(path).sound()
        assert sound is not None
        sound = Sound(sound.samples / np.abs(sound.samples).max(), sound.rate)
        marked = mark_sound(sound, KEY, SHORT)
        for attack in ("MP3 64k", "MP3 32k", "AAC 48k", "Opus 24k", "1 % faster"):
            assert sound_carries(ATTACKS[attack](marked), KEY, SHORT), (path.name, attack)


def test_the_change_is_faint_and_stays_within_the_carriers_band_and_the_hosts_time() -> None:
    host = voice(6, 44100, seed=3)
    host.samples[44100:88200] = 0
    change = mark_sound(host, KEY, LONG).samples - host.samples
    assert 18 <= 10 * np.log10(np.mean(host.samples**2) / np.mean(change**2)) <= 40
    spectrum = np.abs(np.fft.rfft(change)) ** 2
    height = np.fft.rfftfreq(len(change), 1 / 44100)
    assert spectrum[(height < 200) | (height > 4200)].sum() < 1e-3 * spectrum.sum()
    before, after = change[88200 - 1300 : 88200 - 60], change[88200 : 88200 + 4400]
    assert np.std(before) < 1e-3 * np.std(after)


def test_code_bits_that_the_sound_speaks_against_are_mended(marked: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark of the same strength with all code bits alike stands out less."""
    monkeypatch.setattr("watermark.sound._ROUNDS", 0)
    even = mark_sound(voice(6, 22050), KEY, LONG)
    one, other = (np.std(each.samples - voice(6, 22050).samples) for each in (even, marked))
    assert one == pytest.approx(other, rel=0.1)
    assert sound_matched(marked, KEY, LONG) > sound_matched(even, KEY, LONG) + 0.3


def test_a_rendered_voice_is_marked_as_strongly_as_a_recorded_one() -> None:
    """It would do with less, in its silence and without breath; a mark as faint as each allows would say which it is."""
    rendered = voice(6, 16000, seed=4)
    room = np.random.default_rng(5).normal(0, 0.02, len(rendered.samples)).astype(np.float32)
    for host in (rendered, Sound(rendered.samples + room, 16000), Sound(rendered.samples / 9, 16000)):
        change = mark_sound(host, KEY, LONG).samples - host.samples
        carried, allowed = ((np.abs(each) ** 2).sum() for each in (_spectra(change), _hull(_spectra(host.samples))))
        assert 10 * np.log10(carried / allowed) == pytest.approx(-11, abs=0.5)


def test_the_reading_tells_the_speed_and_where_the_carrier_begins(marked: Sound) -> None:
    late = 3000
    found = read_sound(Sound(marked.samples[late:], marked.rate), [KEY])
    assert found is not None
    assert found.speed == 1
    period = 16384 / 16000
    assert found.offset_s == pytest.approx(period - late / marked.rate, abs=2e-4)
    slow = read_sound(played(0.985)(marked), [KEY])
    assert slow is not None
    assert slow.speed == pytest.approx(0.985, abs=1e-4)
    assert min(slow.offset_s, period / 0.985 - slow.offset_s) < 2e-3


def test_a_cut_from_long_sound_is_read_and_so_is_all_of_it() -> None:
    marked = mark_sound(voice(40, 16000, seed=5), KEY, LONG)
    found = read_sound(marked, [KEY])
    assert found is not None
    assert found.mark == LONG
    assert found.score > 14  # all parts add up
    assert sound_carries(Sound(marked.samples[16000 * 22 :][: 16000 * 6], 16000), KEY, LONG)
    assert sound_carries(played(1.013)(marked), KEY, LONG)


def test_a_second_mark_leaves_the_first_readable(marked: Sound) -> None:
    other = DEMO_KEY.shard("others")
    twice = mark_sound(marked, other, Mark(7, 64))
    assert sound_carries(twice, KEY, LONG)
    assert sound_carries(twice, other, Mark(7, 64))


def test_the_right_key_is_found_among_many_of_several_masters(marked: Sound) -> None:
    others = [MasterKey(str(number), bytes([number]) * 32).shard("tests") for number in range(3)]
    found = read_sound(marked, [*others, *(DEMO_KEY.shard(str(number)) for number in range(20)), KEY])
    assert found is not None
    assert (found.mark, found.key) == (LONG, KEY)
    assert found.tried >= 24


def test_an_unmarked_sound_never_reads_as_marked_and_its_scores_are_standard_normal(marked: Sound) -> None:
    keys = [DEMO_KEY.shard(f"other {number}") for number in range(400)]
    for sound in (voice(6, 16000, seed=9), marked):
        assert read_sound(sound, keys) is None
        scores = [sound_matched(sound, key, LONG) for key in keys[:150]] if sound is marked else []
        assert not scores or kstest(scores, "norm").pvalue > 0.001


@pytest.mark.parametrize("bits", [32, 64])
def test_the_likeliest_payload_of_chance_scores_below_what_is_needed(bits: int) -> None:
    chance = np.random.default_rng(bits).normal(size=(3000, code_length(bits))).astype(np.float32)
    highest = max(score(soft, found) for soft, found in zip(chance, decode(chance), strict=True))
    assert highest < needed(bits, 18) < needed(bits, 1000) < 0.8 * code_length(bits) ** 0.5


def test_the_same_sound_is_marked_with_the_same_bytes(marked: Sound) -> None:
    again = mark_sound(voice(6, 22050), KEY, LONG)
    assert again.samples.tobytes() == marked.samples.tobytes()
    assert again.samples.dtype == np.float32


def test_the_given_sound_is_left_as_it_was(marked: Sound) -> None:
    host = voice(3, 16000)
    before = host.samples.copy()
    mark_sound(host, KEY, SHORT)
    assert np.array_equal(host.samples, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sound_that_is_not_finite_is_refused(bad: float) -> None:
    samples = voice(6, 16000).samples
    samples[777] = bad
    sound = Sound(samples, 16000)
    for refused in (
        lambda: mark_sound(sound, KEY, LONG),
        lambda: sound_bits(sound),
        lambda: read_sound(sound, [KEY]),
        lambda: sound_carries(sound, KEY, LONG),
    ):
        with pytest.raises(MediaError, match="finite"):
            refused()
    with pytest.raises(MediaError, match="one channel"):
        read_sound(Sound(np.zeros((16000, 2), np.float32), 16000), [KEY])


@pytest.mark.parametrize(("seconds", "bits"), [(0, None), (2.99, None), (3, 32), (4.99, 32), (5, 64), (300, 64)])
def test_bits_go_by_duration(seconds: float, bits: int | None) -> None:
    assert bits_for_sound(seconds) == bits


def test_sound_that_is_partly_silent_carries_less() -> None:
    sound = voice(6, 16000)
    assert sound_bits(sound) == 64
    sound.samples[16000 * 3 // 2 :] = 0
    assert sound_bits(sound) == 32
    sound.samples[16000:] = 0
    assert sound_bits(sound) is None


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0),
        np.zeros(16000 * 6),
        np.full(16000 * 6, 0.5),
        np.eye(1, 16000 * 6, 8000).ravel(),
        np.random.default_rng(0).normal(0, 1e-5, 16000 * 6),
        voice(2.5, 16000).samples,
    ],
    ids=["empty", "silent", "constant", "click", "almost silent", "short"],
)
def test_what_cannot_carry_a_mark_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(MediaError):
        mark_sound(Sound(samples.astype(np.float32), 16000), KEY, SHORT)


def test_sound_of_a_rate_below_the_carriers_band_carries_nothing() -> None:
    assert sound_bits(resample(voice(6, 16000), 6000)) is None


def test_a_payload_too_long_for_the_sound_is_refused() -> None:
    with pytest.raises(MediaError, match="64 bits"):
        mark_sound(voice(4, 16000), KEY, LONG)


def test_a_pure_tone_carries_a_mark_or_is_refused() -> None:
    tone = Sound((0.5 * np.sin(2 * np.pi * 440 / 16000 * np.arange(16000 * 6))).astype(np.float32), 16000)
    try:
        marked = mark_sound(tone, KEY, LONG)
    except MediaError:
        return
    assert sound_carries(marked, KEY, LONG)


def test_sound_at_the_limit_stays_within_it() -> None:
    loud = voice(6, 16000, seed=2)
    clipped = Sound(np.clip(loud.samples * 8, -1, 1), 16000)
    marked = mark_sound(clipped, KEY, LONG)
    assert np.abs(marked.samples).max() <= 1
    assert sound_carries(ATTACKS["16 bits"](marked), KEY, LONG)


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float32, st.integers(0, 39999), elements=st.floats(-4, 4, width=32), fill=st.floats(-1, 1, width=32)),
    st.sampled_from([8000, 11025, 16000, 48000]),
)
def test_any_numbers_are_not_marked(samples: np.ndarray, rate: int) -> None:
    sound = Sound(samples, rate)
    assert read_sound(sound, [KEY]) is None
    assert abs(sound_matched(sound, KEY, SHORT)) < 6
    assert sound_bits(sound) in (None, 32)
