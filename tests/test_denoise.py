"""Noise is taken out of speech without making it worse, from controls and forgeries alike, and the rows say so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flows import generate, ingest, plan
from flows.items import SPREAD
from flows.params import Denoise
from forgeline.activity import activity
from forgeline.audio import open_sound, write_sound
from forgeline.clip import Sound
from forgeline.denoise import denoised
from forgeline.files import sha256_of
from forgeline.recipe import Recipe
from forgeline.sample import Sample
from generators.sound_control import SoundControl
from tests.test_activity import RATE, noise_at, said
from watermark.payload import Mark
from watermark.seal import Seal

VOICES = ("en-us", "es")


def ratio(clean: NDArray[np.float32], heard: NDArray[np.float32], scaled: bool) -> float:
    """SNR in dB, or SI-SDR (Le Roux, Wisdom, Erdogan and Hershey 2019)."""
    one, other = clean.astype("f8"), heard.astype("f8")
    part = (one @ other) / (one @ one) * one if scaled else one
    return float(10 * np.log10((part @ part) / np.square(other - part).sum()))


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("pink", [False, True])
@pytest.mark.parametrize(("snr_db", "gain"), [(0, 4.0), (10, 3.5), (20, 2.0)])
def test_speech_stands_out_more_than_before(voice: str, pink: bool, snr_db: float, gain: float) -> None:
    samples, spoken = said(voice)
    noisy = samples + noise_at(samples, spoken, snr_db, pink)
    quiet = denoised(Sound(noisy, RATE))
    assert quiet is not None
    for scaled in (True, False):
        assert ratio(samples, quiet.samples, scaled) - ratio(samples, noisy, scaled) >= gain
    assert activity(quiet).snr_db > snr_db + 5, "as ingest measures it, too"


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 25000, 44100, 48000])
def test_it_stays_in_step_to_the_sample(rate: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1e-3, 3 * rate + 7).astype(np.float32)
    samples[rate : 2 * rate] += rng.normal(0, 0.1, rate).astype(np.float32)
    quiet = denoised(Sound(samples, rate))
    assert quiet is not None
    assert (quiet.rate, len(quiet.samples)) == (rate, len(samples))
    middle = quiet.samples[rate + 500 : 2 * rate - 500]
    agree = [float(middle @ samples[rate + 500 + off : 2 * rate - 500 + off]) for off in range(-3, 4)]
    assert int(np.argmax(agree)) == 3
    assert middle @ middle == pytest.approx(agree[3], rel=0.02)


def test_what_does_not_tell_its_noise_is_left_alone() -> None:
    samples, spoken = said("es")
    assert denoised(Sound(samples[np.repeat(spoken, RATE // 100).argmax() :][: RATE // 2], RATE)) is None, "no pauses"
    assert denoised(Sound(np.zeros(5 * RATE, np.float32), RATE)) is None
    for count in (0, 1, 300, 2000):
        assert denoised(Sound(np.full(count, 1e-3, np.float32), RATE)) is None
    assert denoised(Sound(samples, RATE)) is None, "pauses of zeros"


@pytest.mark.parametrize(("pause_s", "known"), [(0.2, False), (0.5, True)])
def test_short_pauses_do_not_tell_the_noise(pause_s: float, known: bool) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    samples[: round(pause_s * RATE)] *= 0.01
    assert (denoised(Sound(samples, RATE)) is not None) == known


def test_the_same_sound_gives_the_same_samples() -> None:
    samples, spoken = said("es")
    noisy = Sound(samples + noise_at(samples, spoken, 10, False), RATE)
    before = noisy.samples.copy()
    one, other = denoised(noisy), denoised(noisy)
    assert one is not None
    assert other is not None
    assert np.array_equal(one.samples, other.samples)
    assert np.array_equal(noisy.samples, before)


def clip(path: Path, snr_db: float) -> Sample:
    samples, spoken = said("en-us")
    write_sound(path, Sound(samples + noise_at(samples, spoken, snr_db, False), RATE))
    return Sample(
        sample_id=path.stem,
        media=path.as_posix(),
        media_type="audio",
        label="real",
        role="ingested",
        method="ingest",
        source="own",
        recipe="",
        sha256=sha256_of(path),
    )


def test_ingest_says_what_is_to_be_done_and_generating_does_it(tmp_path: Path) -> None:
    """Only where it is asked for, and only to the noisy clip; both files stay as they are."""
    rows = [clip(tmp_path / "noisy.flac", 10), clip(tmp_path / "clean.flac", 28)]
    before = SPREAD.set(lambda work, todo: ((job, work(job)) for job in todo))
    as_it_is = ingest._with_prints(tmp_path / "prints", rows, None)
    noisy, clean = ingest._with_prints(tmp_path / "prints", rows, Denoise())
    SPREAD.reset(before)
    assert not any(row.drawn or "snr_db_denoised" in row.scores for row in (*as_it_is, clean))
    assert noisy.drawn == {"denoised": "12 dB"}
    assert noisy.scores["snr_db_denoised"] > noisy.scores["snr_db"] + 5
    assert [sha256_of(Path(row.media)) for row in (noisy, clean)] == [row.sha256 for row in rows]

    for row, ids in ((noisy, {"denoised": "noisy"}), (clean, {})):
        parent = plan._parent(row, {})
        own, found = open_sound(Path(row.media)).sound(), generate._opened(parent).sound()
        assert own is not None
        assert found is not None
        wanted = denoised(own) if ids else own
        assert wanted is not None
        assert np.array_equal(found.samples, wanted.samples)

        recipe = Recipe("sound_control", (row.sample_id,), 0, {})
        planned = replace(
            row,
            media=(tmp_path / f"{row.sample_id}.made.flac").as_posix(),
            role="control",
            recipe=recipe.canonical(),
            mark_id=str(Mark(7, 32)),
            mark_key_id="demo/train-0000",
            licence="CC0-1.0",
            permitted_use=("research",),
            drawn={},
            scores={},
        )
        job = generate._Job("it", "key", planned, (parent,), "digitalCapture", "r", SoundControl(), Seal(), tmp_path, None)
        made = generate._make(job).sample
        assert made.reason is None
        assert made.drawn == ids
