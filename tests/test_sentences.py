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
    assert len(set(language.sentences)) == len(language.sentences) >= 12
    assert all(sentence == unicodedata.normalize("NFC", sentence).strip() for sentence in language.sentences)
    assert all(sentence[-1] in ".。।" for sentence in language.sentences)
    assert all(("  " not in s) and (" " in s) == language.spaced for s in language.sentences)
    others = {s for other, found in LANGUAGES.items() if other != code for s in found.sentences}
    assert not others & set(language.sentences)


@pytest.mark.parametrize("code", CODES)
def test_words_are_out_of_the_sentences(code: str) -> None:
    language = LANGUAGES[code]
    text = " ".join(language.sentences).lower()
    assert len(language.words) >= 25
    assert all(word in text and word[0].isalpha() and " " not in word for word in language.words)


@pytest.mark.parametrize("code", CODES)
def test_every_sentence_is_said_in_a_few_seconds(code: str) -> None:
    language = LANGUAGES[code]
    for sentence in language.sentences:
        said = speak(sentence, language.voice)
        assert 1.3 < said.phonemes[-1].end_s < 4.3, sentence
        assert len(said.words) >= 4
        assert len(said.phonemes) >= 14
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
