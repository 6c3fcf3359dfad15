"""The one form of all sound, and sound alone on its way into a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile

from forgeline.audio import SoundForm, open_sound, write_sound
from forgeline.clip import Made, Said, Segment, Sound
from forgeline.degrade import Variant
from forgeline.errors import MediaError, PromiseError
from watermark.gate import examine
from watermark.keys import DEMO, master
from watermark.metadata import Tag, read_tag
from watermark.payload import Mark
from watermark.seal import Seal, seal, seal_variant
from watermark.sound import sound_carries

KEY, MARK = master(DEMO).shard("tests"), Mark(4711, 32)
TAG = Tag("0" * 20, "algorithmicMedia", "CC0-1.0", ("research",))


def speech(seconds: float = 3.5, rate: int = 44100, gain: float = 1.0) -> Sound:
    """A hum with the rhythm of syllables, in a quiet room."""
    times = np.arange(round(seconds * rate)) / rate
    hum = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 25))
    room = np.random.default_rng(0).normal(0, 0.002, len(times))
    return Sound((gain * (0.05 * hum * np.abs(np.sin(9 * times)) + room)).astype(np.float32), rate)


def made(sound: Sound) -> Made:
    said = (Said(0.5, 1.0, "hum"),)
    return Made.heard(sound, (Segment(0.5, 1.0, "audio"),), {"language": "en"}, said, said)


# ------------------------------------------------------------------------------------------------------- its form


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_all_sound_gets_one_form(rate: int) -> None:
    form = SoundForm()
    formed = form(speech(rate=rate, gain=0.2), 3.5)
    assert formed.rate == 16000
    assert len(formed.samples) == 56000
    assert formed.samples.dtype == np.float32
    heard = pyloudnorm.Meter(16000).integrated_loudness(formed.samples.astype(np.float64))
    assert heard == pytest.approx(-26, abs=0.15), "its weighting at 16 kHz is 0.12 LU off FFmpeg's, for all sounds alike"
    again = form(speech(rate=rate, gain=0.2), 3.5)
    assert np.array_equal(formed.samples, again.samples)


def test_an_offset_and_rumble_are_gone() -> None:
    plain, sound = speech(rate=16000), speech(rate=16000)
    rumble = 0.1 + 0.1 * np.sin(2 * np.pi * 20 * np.arange(56000) / 16000)
    low = np.abs(np.fft.rfft(SoundForm()(Sound((sound.samples + rumble).astype(np.float32), 16000), 3.5).samples))[: 40 * 3]
    kept = np.abs(np.fft.rfft(SoundForm()(plain, 3.5).samples))
    assert low.max() < 0.05 * kept.max()


def test_even_silence_is_dithered_and_stays_silent() -> None:
    form = SoundForm()
    silent = form(Sound(np.zeros(48000, np.float32), 48000), 1.0)
    steps = silent.samples * 32768
    assert 0 < np.abs(steps).max() <= 1
    assert np.std(steps) == pytest.approx(np.sqrt(1 / 6), rel=0.05), "triangular, of one step either way"
    assert len(form(Sound(np.zeros(0, np.float32), 48000), 0.0).samples) == 0
    assert len(form(Sound(np.ones(100, np.float32), 16000), 100 / 16000).samples) == 100


def test_peaks_are_never_cut_off() -> None:
    clicks = np.zeros(48000, np.float32)
    clicks[::8000] = 1
    formed = SoundForm(loudness=-16)(Sound(clicks, 16000), 3.0)
    assert np.abs(formed.samples).max() <= 0.981


# ---------------------------------------------------------------------------------------------------- its file


def test_sound_alone_is_sealed_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sealed = seal(made(speech()), path, MARK, KEY, TAG, Seal())
    assert list(tmp_path.iterdir()) == [path]
    assert (sealed.sample_rate, sealed.duration_s, sealed.frames, sealed.width, sealed.mask) == (16000, 3.5, 0, 0, None)
    assert (sealed.verdict.mark_read, sealed.verdict.sound_mark_read) == ("payload", "payload")
    assert sealed.verdict.attacked is not None
    assert sealed.fingerprint is None
    assert (sealed.words, sealed.phonemes) == (made(speech()).words, made(speech()).phonemes)
    assert read_tag(path) == TAG
    samples, rate = soundfile.read(path, dtype="float32")
    assert (rate, len(samples)) == (16000, 56000)
    assert sound_carries(Sound(samples, rate), KEY, MARK)
    first = path.read_bytes()
    seal(made(speech()), path, MARK, KEY, TAG, Seal())
    assert path.read_bytes() == first


@pytest.mark.parametrize("sound", [speech(1.0), Sound(np.zeros(160000, np.float32), 16000)])
def test_sound_that_carries_no_mark_is_refused(sound: Sound, tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        seal(made(sound), tmp_path / "a.flac", MARK, KEY, TAG, Seal())
    assert not list(tmp_path.iterdir())


def test_a_control_that_carries_no_mark_is_refused_where_it_is_sound_alone(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="can't carry a mark"):
        seal(Made.heard(speech(1.0)), tmp_path / "a.flac", MARK, KEY, TAG, Seal())


def test_sound_that_is_no_numbers_is_refused(tmp_path: Path) -> None:
    broken = speech()
    broken.samples[7] = np.nan
    with pytest.raises(MediaError, match="finite"):
        seal(made(broken), tmp_path / "a.flac", MARK, KEY, TAG, Seal())


def test_another_mark_is_not_taken_for_ours(tmp_path: Path) -> None:
    seal(made(speech()), tmp_path / "a.flac", MARK, KEY, TAG, Seal())
    with pytest.raises(MediaError, match="does not give its mark back"):
        examine(tmp_path / "a.flac", KEY, Mark(4712, 32), TAG, True)
    with pytest.raises(PromiseError, match="tag"):
        examine(tmp_path / "a.flac", KEY, MARK, replace(TAG, licence="other"), True)


@pytest.mark.parametrize("variant", [Variant(sound_kbps=24), Variant(sound_kbps=16, sound_codec="opus")])
def test_a_variant_of_sound_alone_keeps_its_mark(variant: Variant, tmp_path: Path) -> None:
    path, copy = tmp_path / "a.flac", tmp_path / "b.flac"
    seal(made(speech()), path, MARK, KEY, TAG, Seal())
    clip, segments = open_sound(path), made(speech()).segments
    sealed = seal_variant(
        lambda: variant(clip, None, segments, np.random.default_rng(0)), copy, MARK, KEY, TAG, variant.encoding, True
    )
    assert sealed.verdict.mark_read == "payload"
    assert sealed.segments == segments
    before, after = (soundfile.read(p)[0] for p in (path, copy))
    assert len(before) == len(after)
    assert not np.array_equal(before, after)
    assert variant.alters("audio")
    assert not Variant().alters("audio")


# --------------------------------------------------------------------------------------------------- what is given


def test_files_of_sound_are_read_whole(tmp_path: Path) -> None:
    wave = speech(rate=22050)
    write_sound(tmp_path / "a.flac", wave)
    soundfile.write(tmp_path / "b.wav", np.stack([wave.samples, wave.samples], 1), 22050, "PCM_24")
    for name in ("a.flac", "b.wav"):
        clip = open_sound(tmp_path / name)
        sound = clip.sound()
        assert sound is not None
        assert (clip.media_type, clip.frames, clip.width, list(clip.pictures())) == ("audio", 0, 0, [])
        assert sound.rate == 22050
        assert np.abs(sound.samples - wave.samples).max() < 1e-4


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WAVE", b"<html>", b"#EXTM3U\nfile:///etc/passwd\n"])
def test_what_is_no_sound_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.wav"):
        open_sound(path)
    with pytest.raises(MediaError, match="is not there"):
        open_sound(tmp_path / "b.wav")
