"""The four cells of real and forged sound and picture, made of the same streams."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from forgeline.clip import Made, Picture, Segment, Sound
from forgeline.errors import MediaError
from generators.cross_modal import WORD_S, CrossModal, CrossModalAudio, CrossModalVideo
from tests.people import drawn, speaking

CELLS = {"both": CrossModal, "audio": CrossModalAudio, "video": CrossModalVideo}


@cache
def cell(name: str, words: float) -> tuple[Made, tuple[Picture, ...]]:
    made = CELLS[name](words=words)([speaking(1)], np.random.default_rng(len(name)))
    return made, tuple(picture for picture, _ in made.pictures)


def of(made: Made, modality: str) -> list[Segment]:
    return [segment for segment in made.segments if segment.modality == modality]


@pytest.mark.parametrize("words", [0.0, 1.0])
def test_cells_are_crossed_from_the_same_streams(words: float) -> None:
    (both, lips), (heard, still), (seen, moved) = (cell(name, words) for name in ("both", "audio", "video"))
    real = speaking(1)
    own = real.sound()
    assert both.sound is not None
    assert heard.sound is not None
    assert seen.sound is not None
    assert own is not None
    assert np.array_equal(both.sound.samples, heard.sound.samples)
    assert np.array_equal(seen.sound.samples, own.samples)
    assert not np.array_equal(both.sound.samples, own.samples)
    assert all(np.array_equal(a, b) for a, b in zip(lips, moved, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(still, real.pictures(), strict=True))
    assert of(both, "audio") == of(heard, "audio") != []
    assert of(both, "video") == of(seen, "video") != []
    assert not of(heard, "video")
    assert not of(seen, "audio")
    assert both.drawn == heard.drawn == seen.drawn
    assert both.words == heard.words != real.words
    assert seen.words == real.words, "what is heard is what it said"


def test_one_word_is_exchanged_and_the_rest_stays() -> None:
    made, pictures = cell("both", 1.0)
    real = speaking(1)
    (segment,) = of(made, "audio")
    assert made.drawn["unit"] == "word"
    (old,) = [
        word for word in real.words if (word.start_s, word.end_s) == pytest.approx((segment.start_s, segment.end_s), abs=1e-4)
    ]
    assert WORD_S[0] <= old.end_s - old.start_s <= WORD_S[1]
    assert made.drawn["instead_of"] == old.text != made.drawn["text"]
    assert [word for word in made.words if word in real.words] == [word for word in real.words if word != old]
    (new,) = [word for word in made.words if word not in real.words]
    assert old.start_s <= new.start_s < new.end_s <= old.end_s
    fps = float(real.fps)
    for number, (picture, own) in enumerate(zip(pictures, real.pictures(), strict=True)):
        if not any(s.start_s <= (number + 0.5) / fps < s.end_s for s in of(made, "video")):
            assert np.array_equal(picture, own)
    assert all(s.start_s > old.start_s - 0.15 and s.end_s < old.end_s + 0.15 for s in of(made, "video"))


def test_lips_follow_around_a_sentence_too() -> None:
    """They move before speech is heard: what the own mouth prepared is no longer said."""
    target = speaking(1)
    own = target.sound()
    assert own is not None
    late = own.samples.copy()
    late[:14000] = np.random.default_rng(0).normal(0, 1e-3, 14000)
    made = CrossModal(words=0.0)([replace(target, sound=lambda: Sound(late, own.rate))], np.random.default_rng(0))
    (heard,) = of(made, "audio")
    before = (np.arange(made.frames) + 0.5) / float(target.fps) < heard.start_s - 0.1
    assert before.sum() > 10
    assert np.array([mask.any() for _, mask in made.pictures])[before].mean() > 0.5, "a drawn mouth talks all the time"


def test_without_words_a_whole_sentence_is_said() -> None:
    mute = replace(speaking(1), words=(), phonemes=())
    made = CrossModalAudio(words=1.0)([mute], np.random.default_rng(0))
    assert made.drawn["unit"] == "sentence"
    assert len(made.words) > 3


def test_another_clip_says_something_else() -> None:
    one, other = (CrossModalAudio(words=0.0)([speaking(person)], np.random.default_rng(0)) for person in (1, 2))
    assert (one.drawn["text"], one.drawn["voice"]) != (other.drawn["text"], other.drawn["voice"])


def test_the_share_of_words_is_kept_and_the_silences_are() -> None:
    """Over many clips, whose sounds differ by a hair; of three words that fit, the first and the last stay."""

    def units() -> Iterator[object]:
        base = speaking(1)
        own = base.sound()
        assert own is not None
        for number in range(12):
            sound = Sound(own.samples * np.float32(1 - 1e-3 * number), own.rate)
            clip = replace(base, sound=lambda sound=sound: sound, words=fitting)
            yield CrossModalAudio(words=0.5, engine="stft")([clip], np.random.default_rng(0)).drawn.get("instead_of")

    fitting = tuple(word for word in speaking(1).words if WORD_S[0] <= word.end_s - word.start_s <= WORD_S[1])[:3]
    assert len({word.text for word in fitting}) == 3
    found = list(units())
    assert 2 <= found.count(fitting[1].text) <= 10
    assert {*found} == {None, fitting[1].text}


@pytest.mark.parametrize("fault", ["still", "silent", "noise", "short"])
def test_what_can_not_be_made_to_say_anything_is_refused(fault: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
    clip = {
        "still": replace(speaking(1), media_type="image", fps=speaking(1).fps * 0),
        "silent": replace(speaking(1), sound=lambda: Sound(np.zeros(48000, np.float32), 16000)),
        "noise": replace(speaking(1), sound=lambda: Sound(noise, 16000)),
        "short": drawn(1),
    }[fault]
    with pytest.raises(MediaError):
        CrossModal()([clip], np.random.default_rng(0))
