"""Voice conversion by a team's own nets: what the second parent says, said by whoever an embedding tells of.

The kind of nets that FreeVC (Li et al. 2023) and OpenVoice's tone converter (Qin et al. 2023) are, as ONNX files: an embedder
hears whose voice it is, in speech of either; a converter takes the speech, or what a third net finds that is said in it, and
the embedding of the target's voice (some want the speaker's, too), and makes the speech anew. What each of its inputs is, is
told by type and size; names differ from export to export. Nets hear samples, or the linear spectra that VITS and its kin are
taught with; one that hears anything else is exported with that in its graph.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.audio import resample
from forgeline.clip import Clip, Made, MediaType, Sound
from forgeline.errors import MediaError, ModelError
from forgeline.hearing import span
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.weights import Given
from generators.onnx import COUNTS, FLOATS, Floats, Net, Port, open_seeded
from generators.plugin import Casting, Stream, sound_of
from generators.voice import in_place

LEAST_S, MOST_S = 1.0, 30.0
"""Seconds of speech without which nobody's voice is known, and more of which is not listened to."""
AT_ONCE_S, AROUND_S = 10, 0.5
"""Seconds that are converted in one go, and that are heard with them before and after."""
EASE_S = 0.02
"""Seconds before and after a cut in which one piece gives way to the next."""
QUIETEST = 1e-4
"""Largest sample of what counts as silence."""

_LEVEL = 1e-6  # added to power before its root, as in VITS
_SOURCE = ("src", "source")
_FRAMES_OFF = 4  # by how many of its frames what a net makes may be longer or shorter


class VoiceOnnx(Section):
    """The second parent's words in the target's voice by nets that the team brings, within the target's recording."""

    embedder: Given
    """The team's ONNX file of the net that tells whose voice it is: speech in, an embedding (1, d) or (1, d, 1) out."""
    converter: Given
    """The ONNX file of the net that makes the speech: speech (or `content`) and one or two embeddings in, samples out."""
    content: Given | None = None
    """The ONNX file of the net that finds what is said, for converters that want it: speech in, (1, n, c) or (1, c, n) out."""
    vocoder: Given | None = None
    """The ONNX file of the net that makes samples of what the converter makes, for converters that make none."""
    rate: Annotated[int, Field(ge=8000, le=48000)] = 22050
    """Samples a second of what the nets hear."""
    made_rate: Annotated[int, Field(ge=8000, le=48000)] | None = None
    """Samples a second of what they make, where that is another."""
    window: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Samples of a short spectrum, for nets that hear spectra."""
    hop: Annotated[int, Field(ge=16, le=4096)] = 256
    """Samples from one frame of the nets to the next."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "audio"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "sound_control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """Sound as long as the target's. MediaError when one of the two can't be heard speaking, ModelError for the nets."""
        target, speaker = parents
        recording = sound_of(target)
        speech = self.as_spoken_by(sound_of(speaker), recording, rng, (speaker.name, target.name))
        return in_place(speech, recording, speaker, rng)

    def as_spoken_by(
        self, speech: Sound, voice: Sound, rng: np.random.Generator, names: tuple[str, str] = ("the speech", "the voice")
    ) -> Sound:
        """What `speech` says in the voice that speaks in `voice`: as long, at the rate that the nets make.

        Pieces of AT_ONCE_S seconds are converted with AROUND_S before and after: five minutes take 160 MB, beside what
        the nets take for eleven seconds. Scales of noise that a net takes (VITS's tau) are 0; what its graph draws itself comes
        from `rng`. Raises MediaError, with one of the `names`, where less than LEAST_S seconds of either are speech,
        WeightsError and ModelError.
        """
        heard = [self._speech_in(sound, name) for sound, name in zip((speech, voice), names, strict=True)]
        nets = self._opened(rng)
        mine, theirs = (nets.who(samples) for samples in heard)
        convert = nets.converter_to(theirs, mine)
        samples = self._in_pieces(resample(speech, self.rate).samples, convert)
        peak = float(np.abs(samples).max(initial=0))
        if peak < QUIETEST:
            raise ModelError(self.converter.file, "makes silence of speech", "give an embedder and a converter of one kind")
        return Sound(samples / np.float32(max(peak, 1.0)), self._makes)

    @property
    def _makes(self) -> int:
        return self.made_rate or self.rate

    def _speech_in(self, sound: Sound, name: str) -> Floats:
        """From where somebody speaks, at the nets' rate."""
        start, end = span(sound) or (0.0, 0.0)
        if end - start < LEAST_S:
            what = f"has {end - start:.2f} s of speech in it, and {LEAST_S:g} are needed"
            raise MediaError(name, what, "leave this clip out of the methods that work on voices")
        part = slice(round(start * sound.rate), round(min(end, start + MOST_S) * sound.rate))
        return resample(Sound(sound.samples[part], sound.rate), self.rate).samples

    def _opened(self, rng: np.random.Generator) -> "_Nets":
        content, vocoder = (None if file is None else open_seeded(file, rng) for file in (self.content, self.vocoder))
        return _Nets(open_seeded(self.embedder, rng), open_seeded(self.converter, rng), content, vocoder, self)

    def _in_pieces(self, samples: Floats, convert: Callable[[Floats], Floats]) -> Floats:
        """The samples (n,), converted piece by piece to (m,) at the rate that is made: as many seconds."""
        step, around = (-(-round(seconds * self.rate) // self.hop) * self.hop for seconds in (AT_ONCE_S, AROUND_S))
        ratio = self._makes / self.rate
        ease = EASE_S * self._makes
        total = np.zeros(round(len(samples) * ratio), np.float32)
        for start in range(0, len(samples), step):
            stop = start + step
            first, end = max(start - around, 0), min(stop + around, len(samples))
            piece = np.pad(samples[first:end], (0, -(end - first) % self.hop))  # whole frames
            made = convert(piece)
            if abs(len(made) - len(piece) * ratio) > _FRAMES_OFF * self.hop * ratio:
                what = f"makes {len(made)} samples of {len(piece)}, where {len(piece) * ratio:.0f} are as long"
                todo = "set rate, made_rate, window and hop as the nets were taught with"
                raise ModelError(self.converter.file, what, todo)
            at = np.arange(round(first * ratio), round(end * ratio))
            share = np.ones(len(at))
            if start > 0:
                share *= np.interp(at, [start * ratio - ease, start * ratio + ease], [0, 1])
            if stop < len(samples):
                share *= np.interp(at, [stop * ratio - ease, stop * ratio + ease], [1, 0])
            made = np.pad(made, (0, max(len(at) - len(made), 0)))[: len(at)]
            total[at[0] : at[0] + len(at)] += (share * made).astype(np.float32)
        return total


@dataclass(frozen=True)
class _Nets:
    """The nets, opened, and the settings by which they hear."""

    embedder: Net
    converter: Net
    content: Net | None
    vocoder: Net | None
    settings: VoiceOnnx

    def who(self, samples: Floats) -> Floats:
        """(d,): whose voice speaks in the samples (n,)."""
        net, inputs = self.embedder, _Inputs.of(self.embedder)
        (port,) = inputs.those(1, "one input for speech")
        heard = self._heard(net, port, samples, "n bins")
        told = net([(port, heard), *inputs.others(_length(heard, port))])
        if told.ndim not in (2, 3) or told.size != told.shape[1] or told.shape[0] != 1:
            raise ModelError(net.name, f"makes {told.shape}, which is no embedding (1, d)", "give an embedder of voices")
        if not told.any():
            raise ModelError(net.name, "makes an embedding of zeros", "give an embedder of voices")
        return told.ravel()

    def converter_to(self, theirs: Floats, mine: Floats) -> Callable[[Floats], Floats]:
        """What makes samples of samples, of nearly the same length. Raises ModelError where nets don't fit together."""
        net, inputs, size = self.converter, _Inputs.of(self.converter), len(theirs)
        whose = [port for port in inputs.sounds if port.shape[1] == size and port.shape[2:] in ((), (1,))]
        rest = [port for port in inputs.sounds if port not in whose]
        if len(rest) != 1 or len(whose) not in (1, 2):
            what = f"takes {inputs}: not one input for speech, and one or two for embeddings of {size} numbers"
            todo = f"give the embedder that belongs to it, or export it for embeddings of (1, {size}) or (1, {size}, 1)"
            raise ModelError(net.name, what, todo)
        (port,) = rest
        told = self._told(whose, theirs, mine)

        def convert(samples: Floats) -> Floats:
            last, said = net, self._said(port, samples)
            made = net([(port, said), *told, *inputs.others(_length(said, port))])
            if self.vocoder is not None:
                last, ears = self.vocoder, _Inputs.of(self.vocoder)
                (into,) = ears.those(1, "one input for what the converter makes")
                frames = _turned(last, into, made)
                made = last([(into, frames), *ears.others(_length(frames, into))])
            if made.size != max(made.shape, default=0):
                what, todo = f"makes {made.shape}, which is no row of samples", "give one that makes samples, or its vocoder"
                raise ModelError(last.name, what, todo)
            return made.ravel()

        return convert

    def _told(self, whose: Sequence[Port], theirs: Floats, mine: Floats) -> list[tuple[Port, Floats]]:
        """Which embedding goes where: where there are two, that of the speaker to the one that is called a source."""
        of_source = [len(whose) == 2 and any(word in port.name.lower() for word in _SOURCE) for port in whose]
        if sum(of_source) != len(whose) - 1:
            what = f"takes two embeddings, {whose[0].name} and {whose[1].name}, and not one of them is called a source's"
            raise ModelError(self.converter.name, what, f"export it with {_SOURCE[0]} in the name of the source's alone")
        owners = ((port, mine if source else theirs) for port, source in zip(whose, of_source, strict=True))
        return [(port, who.reshape([1, -1, 1][: len(port.shape)])) for port, who in owners]

    def _said(self, port: Port, samples: Floats) -> Floats:
        """What the converter's port takes of samples (n,): speech, or what `content` finds in it."""
        if self.content is None:
            return self._heard(self.converter, port, samples, "bins n")
        net, inputs = self.content, _Inputs.of(self.content)
        (ear,) = inputs.those(1, "one input for speech")
        heard = self._heard(net, ear, samples, "bins n")
        return _turned(self.converter, port, net([(ear, heard), *inputs.others(_length(heard, ear))]))

    def _heard(self, net: Net, port: Port, samples: Floats, free: Literal["n bins", "bins n"]) -> Floats:
        """The samples as the port takes them: (1, n), (1, 1, n), or spectra; `free` where no size says which way round."""
        if len(port.shape) == 2:
            return samples[None]
        _, second, third = port.shape
        if second == 1:
            return samples[None, None]
        bins = self.settings.window // 2 + 1
        if bins not in (second, third) and (second, third) != (None, None):
            what = f"takes {port}, neither samples nor spectra of {bins} bins"
            todo = "set window and hop as it was taught with, or export it with what it hears made of samples in its graph"
            raise ModelError(net.name, what, todo)
        spectra = spectra_of(samples, self.settings.window, self.settings.hop)
        turn = second == bins or (third != bins and free == "bins n")
        return spectra.T[None] if turn else spectra[None]


@dataclass(frozen=True)
class _Inputs:
    """A net's inputs by what they are for: `sounds` (speech, embeddings, frames), `lengths`, and `scales` of noise."""

    net: Net
    sounds: tuple[Port, ...]
    lengths: tuple[Port, ...]
    scales: tuple[Port, ...]

    @classmethod
    def of(cls, net: Net) -> "_Inputs":
        """Raises ModelError for a net with an input that is none of these."""
        sounds = tuple(port for port in net.inputs if port.type in FLOATS and len(port.shape) in (2, 3))
        lengths = tuple(port for port in net.inputs if port.type in COUNTS and len(port.shape) == 1)
        scales = tuple(port for port in net.inputs if port.type in FLOATS and len(port.shape) < 2)
        inputs = cls(net, sounds, lengths, scales)
        if len(sounds) + len(lengths) + len(scales) != len(net.inputs) or any(p.shape[0] not in (1, None) for p in sounds):
            what = f"takes {inputs}: not only floats of (1, …), a length, and scales of noise"
            raise ModelError(net.name, what, "export it for one speech at a time, without other inputs")
        return inputs

    def __str__(self) -> str:
        return ", ".join(map(str, self.net.inputs))

    def those(self, count: int, wanted: str) -> tuple[Port, ...]:
        """The `sounds`. Raises ModelError where there are others than so many."""
        if len(self.sounds) != count:
            raise ModelError(self.net.name, f"takes {self}, and is wanted to have {wanted}", "give a net of that kind")
        return self.sounds

    def others(self, length: int) -> list[tuple[Port, NDArray[Any]]]:
        """Values for the lengths, and zeros for the scales of noise."""
        scales = [(port, np.zeros([1] * len(port.shape))) for port in self.scales]
        return [*((port, np.array([length])) for port in self.lengths), *scales]


def spectra_of(samples: Floats, window: int, hop: int) -> Floats:
    """Magnitudes (n // hop, window // 2 + 1) of short spectra under a Hann window, as VITS has them (its `mel_processing`)."""
    around = np.pad(samples, (window - hop) // 2, "reflect")
    pieces = np.lib.stride_tricks.sliding_window_view(around, window)[::hop]
    bell = np.hanning(window + 1)[:-1].astype(np.float32)
    return np.sqrt(np.square(np.abs(np.fft.rfft(pieces * bell))) + _LEVEL).astype(np.float32)


def _length(said: Floats, port: Port) -> int:
    """How many samples or frames there are in what a port takes: along the axis whose size is free, else the last one."""
    return int(said.shape[1] if len(port.shape) == 3 and port.shape[2] is not None else said.shape[-1])


def _turned(net: Net, port: Port, frames: Floats) -> Floats:
    """Frames of numbers (1, n, c) or (1, c, n) the way round that the port takes them. Raises ModelError."""
    if frames.ndim == len(port.shape) == 3 and frames.shape[0] == 1:
        for one in (frames, frames.transpose(0, 2, 1)):
            if all(size in (None, own) for size, own in zip(port.shape, one.shape, strict=True)):
                return one
    what = f"takes {port}, and the net before it makes {frames.shape}"
    raise ModelError(net.name, what, "give nets that were taught together")
