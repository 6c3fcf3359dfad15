"""A team's own nets that convert voices: what goes into which input, what comes of it, and what is refused."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from forgeline.clip import Clip, Said, Sound
from forgeline.errors import MediaError, ModelError
from generators import voice_onnx
from generators.plugin import Generator
from generators.recording import speech_span
from generators.voice_onnx import AROUND_S, AT_ONCE_S, VoiceOnnx, spectra_of
from tests import tiny_onnx, tiny_voice
from tests.tiny_voice import BINS, HOP, RATE, WHOSE, WINDOW, content, converter, embedder, vocoder

Make = Callable[..., VoiceOnnx]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Puts nets into the folder that is looked at, and gives the generator that has them."""
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))

    def made(settings: dict[str, int] | None = None, **nets: bytes) -> VoiceOnnx:
        files = {name: tiny_onnx.put(tmp_path, f"{name}.onnx", net) for name, net in nets.items()}
        return VoiceOnnx.model_validate({"rate": RATE, "window": WINDOW, "hop": HOP, **files, **(settings or {})})

    return made


def said(seconds: float, level: float, seed: int = 3, rate: int = RATE) -> Sound:
    """Someone who hums for so long, between half a second of room before and a little more after: no whole frames."""
    samples = np.random.default_rng(seed).standard_normal(round((1 + seconds) * rate) + 7) * 1e-4
    tone = np.sin(2 * np.pi * 120 / rate * np.arange(round(seconds * rate)))
    samples[rate // 2 : rate // 2 + len(tone)] += level * tone
    return Sound(samples.astype(np.float32), rate)


def clip(sound: Sound, name: str, words: tuple[Said, ...] = ()) -> Clip:
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, name, words=words)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


# --- What is made


def test_each_embedding_goes_where_it_belongs(make: Make) -> None:
    """The tiny converter makes the speech as loud as target to speaker."""
    speech, voice = said(2, 0.1), said(2, 0.4)
    for whose in (("src_se", "tgt_se"), ("sid_src", "sid_tgt"), ("source_tone", "dest_tone")):
        section = make(embedder=embedder(), converter=converter(whose=whose))
        made = section.as_spoken_by(speech, voice, rng())
        assert made.rate == RATE
        np.testing.assert_allclose(made.samples, 4 * speech.samples, rtol=0.02, atol=1e-3)


def test_the_order_of_inputs_says_nothing(make: Make) -> None:
    """The speaker's embedding may come second: what is called a source gets it."""
    speech, voice = said(2, 0.2), said(2, 0.1)
    section = make(embedder=embedder(), converter=converter(whose=("tgt_se", "src_se")))
    made = section.as_spoken_by(speech, voice, rng())
    np.testing.assert_allclose(made.samples, 2 * speech.samples, rtol=0.02, atol=1e-3)


def test_a_converter_may_want_the_targets_embedding_alone(make: Make) -> None:
    speech, voice = said(2, 0.1), said(2, 0.4)
    made = make(embedder=embedder(), converter=converter(whose=("g",))).as_spoken_by(speech, voice, rng())
    np.testing.assert_allclose(made.samples, speech.samples, atol=1e-6)


def test_samples_may_go_through_what_is_said_and_a_vocoder(make: Make) -> None:
    """Whichever way round the nets have their frames."""
    speech, voice = said(2, 0.1), said(2, 0.4)
    plain = make(embedder=embedder(), converter=converter()).as_spoken_by(speech, voice, rng())
    for axes in ((0, 1, 2), (0, 2, 1)):
        nets = {"embedder": embedder(axes=3), "content": content(axes)}
        for last in (
            {"converter": converter("frames", axes=3)},
            {"converter": converter("frames", "frames", axes=3), "vocoder": vocoder()},
        ):
            made = make(**nets, **last).as_spoken_by(speech, voice, rng())
            np.testing.assert_allclose(made.samples, plain.samples, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("free", [False, True], ids=["sizes told", "sizes free"])
def test_nets_may_hear_spectra_as_openvoice_does(make: Make, free: bool) -> None:
    """An embedder (1, n, bins), a converter (1, bins, n) with a length and a tau, embeddings (1, d, 1)."""
    net = converter("spectra", whose=("src_tone", "dest_tone"), axes=3, others=("tau",), free=free)
    section = make(embedder=embedder("spectra", axes=3, free=free), converter=net)
    speech, voice = said(2, 0.1), said(2, 0.1)
    made = section.as_spoken_by(speech, voice, rng())
    padded = np.pad(speech.samples, (0, -len(speech.samples) % HOP))
    means = spectra_of(padded, WINDOW, HOP).mean(1)
    np.testing.assert_allclose(made.samples, np.repeat(means, HOP)[: len(speech.samples)] / max(means.max(), 1), atol=1e-5)


@pytest.mark.parametrize(("hears", "length"), [("samples", RATE), ("spectra", RATE // HOP), ("frames", RATE // HOP)])
def test_a_length_is_that_of_what_goes_in(make: Make, hears: Any, length: int) -> None:
    nets = {"content": content()} if hears == "frames" else {}
    section = make(embedder=embedder(), converter=converter(hears, others=("length",)), **nets)
    who = np.array([0.1, 1, 0, 0], np.float32)
    made = section._opened(rng()).converter_to(who, who)(np.full(RATE, 0.1, np.float32))
    assert made[0] == length


def test_spectra_are_those_of_vits() -> None:
    """By torch's own transform: `spectrogram_torch` of the published code, whose frames are not centred."""
    torch = pytest.importorskip("torch")
    samples = np.random.default_rng(5).standard_normal(5 * 256 * 4).astype(np.float32) * 0.1
    around = torch.nn.functional.pad(torch.from_numpy(samples)[None, None], (384, 384), mode="reflect")[0]
    with torch.no_grad():
        found = torch.stft(
            around, 1024, 256, 1024, torch.hann_window(1024), center=False, onesided=True, return_complex=True
        )  # fmt: skip
    wanted = torch.sqrt(found.abs().square() + 1e-6)[0].T.numpy()
    made = spectra_of(samples, 1024, 256)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


def test_words_are_the_speakers_in_the_targets_recording(make: Make) -> None:
    section = make(embedder=embedder(), converter=converter(noise=0.001))
    assert isinstance(section, Generator)
    target = clip(said(2.5, 0.3, rate=44100), "target.wav")
    speaker = clip(said(2, 0.2, seed=4), "speaker.wav", (Said(0.5, 1.5, "hum"), Said(1.5, 2.5, "drum")))
    made = section([target, speaker], rng())
    before = target.sound()
    assert before is not None
    assert made.sound is not None
    assert (made.sound.rate, len(made.sound.samples)) == (44100, len(before.samples))
    assert [word.text for word in made.words] == ["hum", "drum"]
    start, end = speech_span(before)
    assert made.words[0].start_s == pytest.approx(start, abs=0.05)
    assert made.words[1].end_s == pytest.approx(end, abs=0.05)


# --- Long speech, chance, other rates


def test_long_speech_is_converted_in_pieces_that_fit_together(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = said(2.3 * AT_ONCE_S, 0.1)
    section = make(embedder=embedder(), converter=converter())
    heard: list[int] = []
    convert = voice_onnx._Nets.converter_to

    def listening(self: Any, theirs: Any, mine: Any) -> Any:
        inner = convert(self, theirs, mine)

        def counted(samples: Any) -> Any:
            heard.append(len(samples))
            return inner(samples)

        return counted

    monkeypatch.setattr(voice_onnx._Nets, "converter_to", listening)
    made = section.as_spoken_by(speech, speech, rng())
    assert len(heard) == 3
    assert max(heard) <= (AT_ONCE_S + 2 * AROUND_S) * RATE + 2 * HOP
    assert all(count % HOP == 0 for count in heard)
    np.testing.assert_allclose(made.samples, speech.samples, atol=1e-6)


def test_spectra_of_long_speech_are_never_held_at_once(make: Make) -> None:
    section = make(embedder=embedder("spectra"), converter=converter("spectra"))
    speech = said(90, 0.1)
    tracemalloc.start()
    try:
        section.as_spoken_by(speech, speech, rng())
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()


def test_pieces_give_way_softly(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets that make each piece another constant: at the cuts there is a ramp, and no click."""
    section = make(embedder=embedder(), converter=converter())
    level = iter((0.2, 0.4, 0.6))
    made = section._in_pieces(np.zeros(round(2.5 * AT_ONCE_S * RATE), np.float32), lambda s: np.full(len(s), next(level), "f4"))
    assert np.abs(np.diff(made)).max() < 0.2 / (voice_onnx.EASE_S * RATE)
    assert [made[round(share * AT_ONCE_S * RATE)] for share in (0.5, 1.0, 1.5, 2.0, 2.3)] == pytest.approx(
        [0.2, 0.3, 0.4, 0.5, 0.6], abs=1e-3
    )


def test_noise_of_a_graph_hangs_on_the_rng_and_not_on_what_was_made_before(make: Make) -> None:
    section = make(embedder=embedder(), converter=converter(noise=0.01))
    speech = said(2, 0.1)
    first = section.as_spoken_by(speech, speech, rng())
    section.as_spoken_by(said(1.5, 0.2), speech, np.random.default_rng(2))
    again = section.as_spoken_by(speech, speech, rng())
    other = section.as_spoken_by(speech, speech, np.random.default_rng(2))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert np.abs(first.samples - other.samples).std() > 0.005
    assert np.std(first.samples - speech.samples) == pytest.approx(0.01, rel=0.1)


def test_tau_is_zero(make: Make) -> None:
    section = make(embedder=embedder(), converter=converter(others=("tau",)))
    speech = said(2, 0.1)
    np.testing.assert_allclose(section.as_spoken_by(speech, speech, rng()).samples, speech.samples, atol=1e-6)


def test_nets_may_make_another_rate_than_they_hear(make: Make) -> None:
    section = make({"made_rate": 48000}, embedder=embedder(), converter=converter(longer=3))
    speech = said(1.3 * AT_ONCE_S, 0.1, rate=44100)
    made = section.as_spoken_by(speech, speech, rng())
    assert made.rate == 48000
    assert len(made.samples) / 48000 == pytest.approx(len(speech.samples) / 44100, abs=0.001)
    start, end = speech_span(speech)
    assert speech_span(made) == pytest.approx((start, end), abs=0.02)


def test_only_speech_is_listened_to_and_not_for_ever(make: Make) -> None:
    section = make(embedder=embedder(), converter=converter())
    assert len(section._speech_in(said(2, 0.1), "x")) / RATE == pytest.approx(2, abs=0.05)
    assert len(section._speech_in(said(40, 0.1, rate=44100), "x")) == 30 * RATE


def test_loud_answers_are_brought_down(make: Make) -> None:
    section = make(embedder=embedder(), converter=converter(louder=32767.0))
    speech = said(2, 0.1)
    made = section.as_spoken_by(speech, speech, rng())
    assert float(np.abs(made.samples).max()) == pytest.approx(1.0)


# --- What is refused


def copier(kind: int = TensorProto.FLOAT, **takes: list[Any]) -> bytes:
    """A net that gives back its `speech`, whatever else it takes."""
    copy = helper.make_node("Cast", ["speech"], ["audio"], to=TensorProto.FLOAT)
    return tiny_voice._file([copy], {name: (kind, shape) for name, shape in takes.items()}, {}, "audio")


BEFORE = "and the net before it makes"


@pytest.mark.parametrize(
    ("nets", "what"),
    [
        ({"converter": b"no graph"}, r"converter\.onnx: can't be opened"),
        ({"converter": converter(louder=float("nan"))}, "gives something that is no finite number"),
        ({"converter": converter(louder=0.0)}, "makes silence of speech"),
        ({"converter": converter(longer=2)}, r"makes \d+ samples of \d+, where \d+ are as long; set rate, made_rate"),
        ({"converter": converter(gives="frames")}, r"makes \(1, \d+, 160\), which is no row of samples"),
        ({"converter": converter(whose=("one", "other"))}, "takes two embeddings, one and other, and not one of them"),
        ({"converter": converter(whose=("src_a", "src_b"))}, "takes two embeddings, src_a and src_b, and not one of them"),
        ({"converter": converter(whose=("src", "tgt", "more"))}, "not one input for speech, and one or two for embeddings"),
        ({"converter": copier(speech=[1, "n"])}, "for embeddings of 4 numbers; give the embedder that belongs to it"),
        ({"converter": copier(speech=[1, 80, "n"], g=[1, WHOSE])}, "neither samples nor spectra of 321 bins; set window"),
        ({"converter": copier(speech=[1, WHOSE, "n"], g=[1, WHOSE])}, "neither samples nor spectra of 321 bins; set window"),
        ({"converter": copier(speech=[2, "n"], g=[1, WHOSE])}, r"not only floats of \(1, …\)"),
        ({"converter": copier(TensorProto.INT64, speech=[1, "n"], g=[1, WHOSE])}, r"not only floats of \(1, …\)"),
        ({"converter": converter("frames")}, "neither samples nor spectra of 321 bins"),
        ({"converter": converter(), "content": content()}, rf"takes speech \(float\) of \(1, any\), {BEFORE}"),
        ({"converter": converter("frames", "frames"), "content": content(), "vocoder": content()}, BEFORE),
        ({"embedder": copier(speech=[1, "n"])}, r"for embeddings of \d\d+ numbers"),
        ({"embedder": copier(speech=[1, "n"], more=[1, 3])}, "is wanted to have one input for speech"),
        ({"embedder": copier(speech=[1, "n", BINS])}, r"makes \(1, \d+, 321\), which is no embedding"),
    ],
)  # fmt: skip
def test_a_net_that_does_not_fit_is_refused(make: Make, nets: dict[str, bytes], what: str) -> None:
    section = make(**{"embedder": embedder(), "converter": converter()} | nets)
    with pytest.raises(ModelError, match=what):
        section.as_spoken_by(said(2, 0.1), said(2, 0.1), rng())


def test_an_embedding_of_zeros_is_refused(make: Make) -> None:
    zeros = tiny_voice._file(
        [
            helper.make_node("Sub", ["speech", "speech"], ["none"]),
            helper.make_node("Slice", ["none", "a", "b", "x"], ["audio"]),
        ],
        {"speech": (TensorProto.FLOAT, [1, "n"])},
        {"a": np.array([0]), "b": np.array([WHOSE]), "x": np.array([1])},
        "audio",
    )
    with pytest.raises(ModelError, match="makes an embedding of zeros"):
        make(embedder=zeros, converter=converter()).as_spoken_by(said(2, 0.1), said(2, 0.1), rng())


def test_who_hardly_speaks_is_named(make: Make) -> None:
    section = make(embedder=embedder(), converter=converter())
    long, short = clip(said(2, 0.1), "long.wav"), clip(said(0.5, 0.1), "short.wav")
    for parents in ([long, short], [short, long]):
        with pytest.raises(MediaError, match=r"short\.wav: has 0\.\d+ s of speech in it, and 1 are needed"):
            section(parents, rng())
    with pytest.raises(MediaError, match="long"):
        section([long, replace(long, sound=lambda: None)], rng())
