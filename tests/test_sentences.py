"""The shipped sentences: enough of them, in their own script, and each of them said."""

import unicodedata

import pytest

from forgeline.sentences import LANGUAGES, SCRIPTS, script_of
from forgeline.speech import speak

CODES = sorted(LANGUAGES)


def test_there_are_many_languages_and_some_have_tones() -> None:
    assert len(LANGUAGES) >= 14
    assert {code for code, language in LANGUAGES.items() if language.tonal} == {"cmn", "yue", "vi"}
    assert {language.script for language in LANGUAGES.values()} == set(SCRIPTS)


@pytest.mark.parametrize("code", CODES)
def test_each_has_a_dozen_sentences_of_its_own(code: str) -> None:
    language = LANGUAGES[code]
    said = {*language.sentences, *language.short}
    assert len(language.sentences) >= 12
    assert len(language.short) >= 5
    assert len(said) == len(language.sentences) + len(language.short)
    assert all(sentence == unicodedata.normalize("NFC", sentence).strip() for sentence in said)
    assert all(sentence[-1] in ".。।" for sentence in said)
    assert all(("  " not in s) and (" " in s) == language.spaced for s in said)
    assert not {s for other, found in LANGUAGES.items() if other != code for s in (*found.sentences, *found.short)} & said


@pytest.mark.parametrize("code", CODES)
def test_words_are_out_of_the_sentences(code: str) -> None:
    language = LANGUAGES[code]
    text = " ".join(language.sentences).lower()
    assert len(language.words) >= 25
    assert all(word in text and word[0].isalpha() and " " not in word for word in language.words)


@pytest.mark.parametrize("code", CODES)
def test_every_sentence_is_said_in_a_few_seconds(code: str) -> None:
    language = LANGUAGES[code]
    for sentence in (*language.sentences, *language.short):
        said = speak(sentence, language.voice)
        least, most, words, phonemes = (1.3, 4.3, 4, 14) if sentence in language.sentences else (0.8, 2.0, 2, 8)
        assert least < said.phonemes[-1].end_s < most, sentence
        assert len(said.words) >= words, sentence
        assert len(said.phonemes) >= phonemes, sentence
        assert not any("(" in one.text for one in said.phonemes), f"another language's voice reads a part of {sentence!r}"
        heard = "".join(word.text for word in said.words).replace(" ", "")
        assert heard == "".join(c for c in sentence if unicodedata.category(c)[0] in "LMN" or c == "'"), sentence


@pytest.mark.parametrize("code", CODES)
def test_each_has_low_and_high_voices(code: str) -> None:
    language = LANGUAGES[code]
    assert len(set(language.low + language.high)) >= 10
    for voice in (language.low[-1], language.high[0]):
        assert script_of(voice) == language.script
        assert speak(language.sentences[0], voice).phonemes


def test_scripts_follow_the_language_of_a_voice() -> None:
    assert script_of("en-gb-x-rp+m3") == script_of("EN-US") == "Latin"
    assert script_of("yue-latn-jyutping") == "Latin"
    assert script_of("vi-vn-x-south") == "Latin"
    assert script_of("el") is None
    assert script_of("") is None
