"""How alike the voices of a fake and of its control are: the cosine between two embeddings of their speech.

Called `speaker_similarity` with a net that knows speakers, which a team brings. Without one, the mean mel-frequency cepstra of
what is voiced are compared, which see the length and shape of a throat as well as the microphone and what was said, and the
figure is *called* that: `speaker_similarity_mfcc`. It ranks, and does not recognize. Of 26 clips of 3 s of the GRID corpus, a
pair of one speaker (median 0.90) is more alike than a pair of two (median 0.57, a tenth over 0.80) in 95 of 100 cases; of 14 of
espeak's voices, in 98. `python -m benchmarks.scoring FOLDER` says it of other recordings. Other microphones make it worse.

The control of a forged voice is a recording of the person whose voice it is to be: a figure near 1 says that it is like that
one's, and nothing of whom it is unlike.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final

import numpy as np

from evaluators.figure import Figure, Pair, Rows
from evaluators.net import Embedding, embedder
from evaluators.speech import FINGERPRINT, LEAST, NOT_VOICED, PITCH, RATE, STEP_S, Floats, OfSpeech, pitch
from forgeline.clip import Sound
from forgeline.hearing import spectra
from forgeline.weights import Given

NO_NET: Final = "needs a net that knows speakers: give speaker_similarity a net"
CEPSTRA, BANDS, SIZE = 20, 40, 512
LONGEST_S = 60.0
"""Of a sound goes into a net: what it needs grows with that."""


class SpeakerSimilarity(OfSpeech):
    """-1 to 1 (the same speech). A set's figure is the mean over its clips."""

    net: Given | None = None
    """A net that knows people by their voices, as ONNX: mono speech (1, n) at 16 kHz in -1 … 1, of any length n, in; an
    embedding (1, m) out. None compares mean cepstra."""

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        if self.net:
            made = {
                "embedding": f"{self.net.file}, the first {LONGEST_S:.0f} s as they are, unit length",
                "weights": self.net.sha256,
            }
        else:
            made = {
                "embedding": "means of MFCC 1 to 20 of voiced frames (40 mel bands, 60 to 7600 Hz, 32 ms) by their deviations",
                "pitch": PITCH,
                "weights": "none",
            }
        return {self._name: FINGERPRINT | made}

    def rows(self, pair: Pair) -> Rows:
        if self.net:
            _by_net(self.net)  # one that is not there is refused before any speech is
        return super().rows(pair)

    def values(self, pair: Pair, control: Sound, fake: Sound) -> Mapping[str, float | str]:
        if self.net:
            embedded = _by_net(self.net)
            return {self._name: _cosine(embedded(control), embedded(fake))}
        one, other = voiced_cepstra(control), voiced_cepstra(fake)
        return {self._name: NOT_VOICED if min(len(one), len(other)) < LEAST else alike(one, other)}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        found = super().of_set(rows)
        return found if self.net else found | {"speaker_similarity": Figure(None, 0, {}, NO_NET)}

    @property
    def _name(self) -> str:
        return "speaker_similarity" if self.net else "speaker_similarity_mfcc"


def alike(one: Floats, other: Floats) -> float:
    """The cosine between the mean cepstra of two sounds (n, CEPSTRA), each number by its deviation within the two."""
    spread = np.sqrt((one.var(0) + other.var(0)) / 2) + 1e-9
    return _cosine(one.mean(0) / spread, other.mean(0) / spread)


def voiced_cepstra(sound: Sound) -> Floats:
    """Mel-frequency cepstra 1 to 20 of the frames in which there is a voice: (n, CEPSTRA).

    Davis and Mermelstein 1980, without the first number, which is the level.
    """
    from scipy.fft import dct

    step = round(STEP_S * RATE)
    padded = np.pad(sound.samples, SIZE // 2)  # so that a frame is around its value of the pitch
    rows = [dct(np.log(block @ _mels() + 1e-10), norm="ortho")[:, 1 : CEPSTRA + 1] for block in spectra(padded, SIZE, step)]
    cepstra, voice = np.concatenate(rows), pitch(sound)
    n = min(len(cepstra), len(voice))
    return np.asarray(cepstra[:n][voice[:n] > 0], np.float64)


@cache
def _mels() -> Floats:
    """(SIZE // 2 + 1, BANDS): triangles that are equally wide in mel, 60 to 7600 Hz (O'Shaughnessy 1987)."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60, 7600))
    corners = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.arange(SIZE // 2 + 1)[:, None] * RATE / SIZE
    rising = (hertz - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - hertz) / (corners[2:] - corners[1:-1])
    return np.asarray(np.maximum(np.minimum(rising, falling), 0))


def _by_net(given: Given) -> Callable[[Sound], Embedding]:
    """What embeds speech at `RATE` by a team's net; raises WeightsError and ModelError as `embedder` does."""
    todo = "give an ONNX net for speech (1, n) at 16 kHz, of any length n, that tells people by their voices"
    embedded = embedder(given, (1, None), todo)
    return lambda sound: embedded(np.ascontiguousarray(sound.samples[None, : round(LONGEST_S * RATE)]))


def _cosine(one: Floats, other: Floats) -> float:
    lengths = max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12)
    return min(max(float(one @ other) / lengths, -1.0), 1.0)
