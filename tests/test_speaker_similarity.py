"""How alike two voices are: by hand, on throats of known length, on filmed people, and by a net of a few numbers."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from evaluators import speaker_similarity, speech
from evaluators.figure import FigureError, change, measure
from evaluators.speaker_similarity import SpeakerSimilarity, alike, voiced_cepstra
from evaluators.speech import pitch
from forgeline.audio import SoundForm
from forgeline.clip import Sound
from forgeline.errors import ModelError, WeightsError
from forgeline.video import open_video
from forgeline.weights import Given
from tests.people import SHARED
from tests.spoken import RATE, Samples, clip_of, figures, noisy, pair, set_figures, value, voice
from tests.tiny_onnx import graph, put

MFCC = "speaker_similarity_mfcc"


def likeness(one: Samples, other: Samples) -> float:
    return value(figures(pair(one, other), SpeakerSimilarity())[MFCC])


def test_a_throat_counts_more_than_a_melody() -> None:
    me = voice(110.0)
    assert likeness(me, me) == pytest.approx(1)
    assert likeness(me, voice((105.0, 125.0))) > likeness(me, voice(110.0, throat=1.15)) + 0.05
    assert likeness(me, voice(110.0, throat=1.03)) > likeness(me, voice(110.0, throat=1.15)) + 0.05


def test_loudness_has_no_say() -> None:
    me = voice(110.0)
    assert likeness(me, (me * 0.3).astype(np.float32)) > 0.999


def test_it_is_the_cosine_of_means_by_deviations() -> None:
    """On clouds of known means and deviations."""
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=(2, 20)), rng.uniform(0.5, 2, (2, 20))
    one, other = (rng.normal(m, d, (40_000, 20)) for m, d in zip(means, deviations, strict=True))
    x, y = means / np.sqrt(np.square(deviations).mean(0))
    assert alike(one, other) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=0.01)


def test_the_cepstra_are_librosas() -> None:
    import librosa

    spoken = noisy(voice((100.0, 140.0)), 0.001)
    power = librosa.feature.melspectrogram(
        y=spoken, sr=RATE, n_fft=512, hop_length=160, n_mels=40, fmin=60, fmax=7600, htk=True, norm=None, pad_mode="constant"
    )
    expected = librosa.feature.mfcc(S=np.log(power + 1e-10), n_mfcc=21).T[:, 1:]
    voiced = pitch(Sound(spoken, RATE)) > 0
    found = voiced_cepstra(Sound(spoken, RATE))
    assert 100 < len(found) < len(expected)
    assert np.allclose(found, expected[: len(voiced)][voiced[: len(expected)]], atol=2e-3)


def test_filmed_people_are_told_apart() -> None:
    folder = SHARED / "media/grid"
    if not folder.is_dir():
        pytest.skip("no GRID clips here")
    form = SoundForm()

    def spoken(path: Path) -> Samples:
        sound = open_video(path).sound()
        assert sound is not None
        return form(sound, len(sound.samples) / sound.rate).samples

    me = [voiced_cepstra(Sound(spoken(p), RATE)) for p in sorted((folder / "s1").glob("*.mpg"))[:6]]
    others = [
        voiced_cepstra(Sound(spoken(folder / f"{n}.mpg"), RATE)) for n in ("brbk7n", "lbax4n", "lwbsza", "pwij3p", "sbia1a")
    ]
    same = np.array([alike(x, y) for x, y in combinations(me, 2)])
    apart = np.array([alike(x, y) for x in me for y in others])
    assert (same[:, None] > apart).mean() > 0.93
    assert np.median(same) > np.median(apart) + 0.2


def test_what_is_not_voiced_has_the_reason() -> None:
    whisper = noisy(np.zeros(RATE, np.float32), 0.1)
    for one, other in ((voice(), whisper), (whisper, voice()), (voice(120.0, seconds=0.1), voice())):
        assert figures(pair(one, other), SpeakerSimilarity())[MFCC].reason == speech.NOT_VOICED


def test_a_set_is_the_mean_of_its_clips() -> None:
    me, you = voice(110.0), voice(200.0, throat=1.3)
    found = set_figures([pair(me, me, "a"), pair(me, you, "b")], SpeakerSimilarity())
    assert found[MFCC].n == 2
    assert value(found[MFCC]) == pytest.approx((1 + likeness(me, you)) / 2)
    assert found["speaker_similarity"].reason == speaker_similarity.NO_NET


# --- A team's net


def knower(size: object = "n", rank: int = 2) -> bytes:
    """Knows a voice by its mean and its power."""
    nodes = [
        helper.make_node("ReduceMean", ["speech"], ["mean"], axes=[-1]),
        helper.make_node("Mul", ["speech", "speech"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["power"], axes=[-1]),
        helper.make_node("Concat", ["mean", "power"], ["made"], axis=1),
    ]
    return graph(nodes, {}, {"speech": [1, size] if rank == 2 else [1, 1, size]})  # type: ignore[list-item]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def given(folder: Path, content: bytes) -> Given:
    return Given.model_validate(put(folder, "voices.onnx", content))


def test_a_net_says_how_alike_they_are(folder: Path) -> None:
    me, you = voice(110.0) + np.float32(0.05), voice(200.0) - np.float32(0.01)
    evaluator = SpeakerSimilarity(net=given(folder, knower()))
    rows = [np.array([x.mean(dtype=np.float64), np.square(x, dtype=np.float64).mean()]) for x in (me, you)]
    expected = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    figure = figures(pair(me, you), evaluator)["speaker_similarity"]
    assert figure.value == pytest.approx(expected, abs=1e-5)
    assert evaluator.net is not None
    assert figure.fingerprint["weights"] == evaluator.net.sha256
    assert set(set_figures([pair(me, you)], evaluator)) == {"speaker_similarity"}


def test_cepstra_are_not_compared_with_a_net(folder: Path) -> None:
    me = voice()
    plain = figures(pair(me, me), SpeakerSimilarity())[MFCC]
    by_net = figures(pair(me, me), SpeakerSimilarity(net=given(folder, knower())))["speaker_similarity"]
    with pytest.raises(FigureError, match="embedding, pitch, weights"):
        change(plain, by_net)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (knower(size=16000), r"takes speech tensor\(float\) \[1, 16000\]; .* any length"),
        (knower(rank=3), r"takes speech tensor\(float\) \[1, 1, 'n'\]"),
        (b"no graph", "can't be opened"),
    ],
)
def test_another_kind_of_net_is_refused(folder: Path, content: bytes, said: str) -> None:
    evaluator = SpeakerSimilarity(net=given(folder, content))
    with pytest.raises(ModelError, match=said):
        measure(pair(clip_of(None), clip_of(None)), {"it": evaluator}, 8)


def test_a_net_that_is_not_there_is_refused_even_without_speech(folder: Path) -> None:
    missing = SpeakerSimilarity(net=Given(file="nowhere.onnx", sha256="0" * 64, licence="none"))
    with pytest.raises(WeightsError, match=r"nowhere.onnx: is not on this machine"):
        measure(pair(clip_of(None), clip_of(None)), {"it": missing}, 8)
