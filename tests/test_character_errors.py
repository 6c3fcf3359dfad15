"""What can be heard of what is said: the distance by its definition, and recognizers of a few thousand numbers."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators import character_errors
from evaluators.character_errors import CharacterErrors, errors, letters_of
from evaluators.figure import measure
from forgeline.errors import ModelError, WeightsError
from forgeline.model_folder import GivenFolder, tree_sha256
from tests.spoken import clip_of, figures, noisy, pair, said, set_figures, value, voice

VOCABULARY = ["[PAD]", "[UNK]", "|", "A", "B", "C"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    character_errors._recognizer.cache_clear()
    return tmp_path


@cache
def _net(only: str | None) -> Any:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(80, 4),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    net = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        net.lm_head.weight.mul_(20)  # so that it says more than one letter
        if only:
            net.lm_head.weight.zero_()
            net.lm_head.bias.copy_(torch.tensor([float(letter == only) for letter in VOCABULARY]))
    return net


def recognizer(folder: Path, only: str | None = None, rate: int = 16000) -> GivenFolder:
    """Written as a team's would be: one that hears one letter, `only`, or what its random weights make of it."""
    import transformers

    library: Any = transformers
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({letter: at for at, letter in enumerate(VOCABULARY)}))
    tokenizer = library.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="[PAD]", unk_token="[UNK]")
    extractor = library.Wav2Vec2FeatureExtractor(sampling_rate=rate)
    library.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    _net(only).save_pretrained(folder)
    return as_given(folder)


def as_given(folder: Path) -> GivenFolder:
    return GivenFolder(folder=folder.name, sha256=tree_sha256(folder), licence="of the tests")


# --- The distance


def slow_errors(said: str, heard: str) -> int:
    if not said or not heard:
        return len(said) + len(heard)
    kept = slow_errors(said[1:], heard[1:]) + (said[0] != heard[0])
    return min(kept, slow_errors(said[1:], heard) + 1, slow_errors(said, heard[1:]) + 1)


@settings(max_examples=60, deadline=None)
@given(st.text("ab你", max_size=6), st.text("ab你", max_size=6))
def test_errors_are_the_least_edits(one: str, other: str) -> None:
    assert errors(one, other) == slow_errors(one, other)


def test_the_distance_of_the_textbook() -> None:
    assert errors("kitten", "sitting") == 3
    assert errors("", "abc") == errors("abc", "") == 3


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Bin blue, at F-2 now!", "binblueatf2now"),
        ("Straße", "strasse"),
        ("हिन्दी में", "हिन्दीमें"),
        ("ｱ", "ア"),
        ("e\u0301", "é"),
        ("… — |", ""),
    ],
)
def test_letters_marks_and_digits_count(text: str, letters: str) -> None:
    assert letters_of(text) == letters


# --- The figure


def test_a_recognizer_that_hears_one_letter_has_the_rate_of_the_others(root: Path) -> None:
    evaluator = CharacterErrors(asr=recognizer(root / "asr", only="A"))
    one = pair(clip_of(voice(), said("a", "a")), clip_of(voice(), said("ab", "ca", "a")))
    figure = figures(one, evaluator)["character_error_rate"]
    assert value(figure) == pytest.approx(4 / 5)  # what is the same over and over is one letter in CTC
    assert evaluator.asr is not None
    assert figure.fingerprint["weights"] == evaluator.asr.sha256
    both = set_figures([one], evaluator)
    assert value(both["character_error_rate_control"]) == pytest.approx(1 / 2)


def test_a_set_counts_letters(root: Path) -> None:
    evaluator = CharacterErrors(asr=recognizer(root / "asr", only="A"))
    texts = {"a": "a", "b": "abcabcabcabc", "c": ""}
    pairs = [pair(clip_of(voice()), clip_of(voice(), said(text) if text else ()), name) for name, text in texts.items()]
    found = set_figures(pairs, evaluator)
    assert value(found["character_error_rate"]) == pytest.approx(11 / 13)
    assert found["character_error_rate"].n == 2
    assert found["character_error_rate_control"].reason == character_errors.NO_WORDS


def test_what_is_heard_is_what_the_net_says(root: Path) -> None:
    """By the likeliest letters of its own logits: repeated ones once, blanks out (Graves et al. 2006)."""
    import torch

    spoken = noisy(voice((100.0, 200.0)), 0.05)
    given = recognizer(root / "asr")
    levels = (spoken - spoken.mean()) / np.sqrt(spoken.var() + 1e-7)
    with torch.inference_mode():
        likely = _net(None).eval()(torch.from_numpy(levels)[None]).logits[0].argmax(-1).tolist()
    kept = [new for old, new in zip([None, *likely], likely, strict=False) if new != old]
    text = "".join(VOCABULARY[at] for at in kept if at > 2)
    assert len(set(text)) > 1
    evaluator = CharacterErrors(asr=given)
    rates = [
        value(figures(pair(clip_of(spoken), clip_of(spoken, said(words))), evaluator)["character_error_rate"])
        for words in (text.lower(), text + "c")
    ]
    assert rates == [0.0, pytest.approx(1 / (len(text) + 1))]


def test_long_speech_is_heard_in_parts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character_errors, "PART_S", 0.8)
    evaluator = CharacterErrors(asr=recognizer(root / "asr", only="A"))
    spoken = voice(120.0, seconds=1.6)  # 2 s with what is around it
    assert value(figures(pair(clip_of(spoken), clip_of(spoken, said("aaa"))), evaluator)["character_error_rate"]) == 0


def test_without_a_recognizer_there_is_the_reason() -> None:
    one = pair(voice(), voice())
    found = [*figures(one, CharacterErrors()).values(), *set_figures([one], CharacterErrors()).values()]
    assert {figure.reason for figure in found} == {character_errors.NO_RECOGNIZER}


# --- What is refused


def refused(given: GivenFolder, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        measure(pair(clip_of(None), clip_of(None)), {"it": CharacterErrors(asr=given)}, 8)


def test_a_folder_that_is_not_the_one_is_refused(root: Path) -> None:
    given = recognizer(root / "asr")
    refused(
        given.model_copy(update={"folder": "nowhere"}), WeightsError, "nowhere: is not on this machine; set FORGELINE_WEIGHTS"
    )
    (root / "asr/vocab.json").write_text("{}")
    refused(given, WeightsError, r"has SHA-256 .*…, not .*…; copy it again")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pytorch_model.bin", "x", "is a pickle"),
        ("model.py", "x", "is code, which is never run"),
        ("more.json", '{"auto_map": {}}', "asks for code of its own"),
        ("more.json", "{", "is no JSON"),
    ],
)
def test_what_could_run_code_is_refused(root: Path, name: str, content: str, words: str) -> None:
    given = recognizer(root / "asr")
    (root / "asr" / name).write_text(content)
    refused(given, WeightsError, words)


def test_links_are_refused_and_dots_are_not_read(root: Path) -> None:
    given = recognizer(root / "asr")
    (root / "asr/.cache").mkdir()
    (root / "asr/.cache/notes.py").write_text("x")
    assert as_given(root / "asr") == given
    (root / "asr/link.json").symlink_to("config.json")
    refused(given, WeightsError, "is a link")


def test_another_kind_of_net_is_refused(root: Path) -> None:
    recognizer(root / "asr")
    config = json.loads((root / "asr/config.json").read_text())
    (root / "asr/config.json").write_text(json.dumps(config | {"architectures": ["WhisperForConditionalGeneration"]}))
    refused(as_given(root / "asr"), ModelError, r"holds \['WhisperFor.*give a folder with a Wav2Vec2ForCTC")


def test_missing_tensors_are_not_made_up(root: Path) -> None:
    from safetensors.numpy import load_file, save_file

    recognizer(root / "asr")
    tensors = load_file(root / "asr/model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, root / "asr/model.safetensors", metadata={"format": "pt"})
    refused(as_given(root / "asr"), ModelError, "lacks tensors of its net")


def test_another_rate_is_refused(root: Path) -> None:
    refused(recognizer(root / "asr", rate=8000), ModelError, "hears speech at 8000 Hz; give one for 16000 Hz")
