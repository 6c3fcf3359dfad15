"""Voice conversion by an autoencoder: what a voice does is encoded, and decoded as the doing of another voice.

The kind of net that AutoVC is (Qian et al. 2019): an encoder of what is said, through so narrow a bottleneck that whose voice
says it does not fit; an encoder of whose voice it is, which hears any few seconds of it and so serves people whom the training
never heard; and a decoder. All hear spectral envelopes on the mel scale, as they differ from what is usual for the voice.
AutoVC finds the bottleneck's width by trying; here each example is also heard with its formants moved, as by a longer or
shorter vocal tract (Jaitly and Hinton 2013): the nets must find the same said in both, and learn to give it back in either.

What is decoded is smoother than a voice. So the words are decoded in both voices, and the speech's own envelopes get the
difference. Pitch, breath and what has no pitch are those of `voice`, whose vocoder this is, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, MediaType, Picture, Sound
from forgeline.errors import MediaError, ModelError
from forgeline.sample import Role
from forgeline.section import Section
from generators.pitch import RATE
from generators.plugin import Casting, Stream, sound_of
from generators.training import Lesson, descend, device, first_weights, kept, key_of, learn, open_model, tensors_of
from generators.vocoder import BINS, Change, Engine, Speech
from generators.voice import MOST, Manner, heard, hiss_to, in_place, spoken, warped

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns or speaks
    from torch import Tensor, nn

    Nets = Mapping[str, nn.Module]

Floats = NDArray[np.float32]

BANDS = 64
STRIDE = 2
"""Frames of five milliseconds to one of the nets' own."""
LENGTH = 64
"""The nets' frames that are learned from together, 0.64 s; even."""
CONTENT, WHO = 12, 32
"""Numbers that say what is said in each two of the nets' frames, and whose voice says it."""
MOST_CLIPS = 512
"""Of more, a sample is learned from that is drawn without regard to their order."""
MOST_S = 20
"""Seconds of a clip that are learned from."""
SCALE = 3.0
"""Deviation of envelopes, as natural logarithms: brings what nets hear to about 1."""
RATIOS = np.exp(np.linspace(-0.2, 0.2, 17))
"""By which formants are moved in training."""
SAME = 0.5
"""Weight of that the same is found in two hearings of one example."""
AT_ONCE = 1024
"""The nets' frames that are converted in one go, ten seconds."""
_AROUND = 64


class VoiceNet(Section):
    """The second parent's words in the target's voice by nets that learned from the train split's, within its recording."""

    engine: Engine = "world"
    """Takes speech apart and puts it together: `world` makes voiced sounds anew, `stft` filters them."""
    steps: Annotated[int, Field(ge=1)] = 300
    """Of training, about 20 a CPU second."""
    batch: Annotated[int, Field(ge=2, le=256)] = 16
    """Pieces of 0.64 s a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3
    """Of Adam."""
    width: Annotated[int, Field(ge=16, le=512)] = 96
    """Channels of the nets."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "audio"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "sound_control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    _nets: "Nets | None" = PrivateAttr(default=None)

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of spectra: see `training.learn`.

        Raises ModelError when no clip can be heard to speak.
        """
        voices = [voice for clip in kept(clips, MOST_CLIPS, rng) if (voice := _voice_of(clip, self.engine)) is not None]
        if not voices:
            raise ModelError("voice_net", "there is no speech to learn from", "give it clips in which people speak")
        seed = int(rng.integers(2**63))
        learn(
            "voice_net",
            lambda: _lesson(self, voices, seed),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.voice_net", self.settings(), seed, *(v.frames for v in voices), *(v.loud for v in voices)),
            folder=folder,
            todo="lower voice_net's learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "VoiceNet":
        """The same generator, able to speak. Raises ModelError."""
        nets = _new_nets(self.width)
        open_model(folder, "voice_net", nets)
        bound = self.model_copy()
        bound._nets = nets
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """Sound as long as the target's. Raises MediaError when one of the two can't be heard speaking."""
        target, speaker = parents
        recording = sound_of(target)
        speech = self.as_spoken_by(sound_of(speaker), recording, (speaker.name, target.name))
        return in_place(speech, recording, speaker, rng)

    def as_spoken_by(self, speech: Sound, voice: Sound, names: tuple[str, str] = ("the speech", "the voice")) -> Sound:
        """As `voice.as_spoken_by`. Raises ModelError before it is trained."""
        if self._nets is None:
            raise ModelError("voice_net", "has no model yet", "train it, then load the model")
        said, other = (heard(sound, self.engine, name) for sound, name in zip((speech, voice), names, strict=True))
        own, wanted = Manner.of(said), Manner.of(other)
        change = _change_to(self._nets, said, own, other, wanted)
        return spoken(speech, said, self.engine, own, wanted, change)


# --- What the nets hear


@dataclass(frozen=True)
class Voice:
    """A voice in one clip: `frames` (n, BANDS) of logarithms of power on the mel scale, and how `loud`ly voiced each is (n,).

    `usual` (BANDS,) is their mean.
    """

    frames: Floats
    loud: Floats
    usual: Floats

    @classmethod
    def of(cls, speech: Speech, manner: Manner) -> "Voice":
        """Of speech, every STRIDE-th frame."""
        part = slice(None, None, STRIDE)
        level = speech.envelope[part].max(1)
        quiet = float(np.percentile(speech.envelope[speech.voiced].max(1), 95)) - MOST
        loud = np.clip((level - quiet) / MOST, 0.01, 1) * speech.voiced[part]
        return cls(speech.envelope[part] @ _to_mel().T, loud.astype(np.float32), _to_mel() @ manner.envelope.astype(np.float32))


def _voice_of(clip: Clip, engine: Engine) -> Voice | None:
    """The voice in a clip's beginning, None where none can be heard."""
    try:
        sound = sound_of(clip)
        speech = heard(Sound(sound.samples[: MOST_S * sound.rate], sound.rate), engine, clip.name)
    except MediaError:
        return None
    return Voice.of(speech, Manner.of(speech))


@cache
def _centres() -> NDArray[np.float64]:
    """Bins (BANDS,) in the middle of the mel scale's bands."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (40, RATE / 2))
    mel = np.linspace(lowest, highest, BANDS)
    return np.asarray((10 ** (mel / 2595) - 1) * 700 / (RATE / 2) * (BINS - 1))


@cache
def _to_mel() -> Floats:
    """(BANDS, BINS): from bins to bands, each the mean around its middle."""
    at, middle = np.arange(BINS), _centres()
    width = np.maximum(np.gradient(middle), 1.0)
    shares = np.maximum(1 - np.abs(at - middle[:, None]) / width[:, None], 0)
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)


@cache
def _from_mel() -> Floats:
    """(BINS, BANDS): from bands to bins, in straight lines."""
    lines = [np.interp(np.arange(BINS), _centres(), unit) for unit in np.eye(BANDS)]
    return np.stack(lines, 1).astype(np.float32)


@cache
def _moves() -> Floats:
    """(len(RATIOS), BANDS, BANDS): what moves the formants of bands by each of the ratios."""
    return np.stack([_to_mel() @ warped(_from_mel().T, ratio).T for ratio in RATIOS]).astype(np.float32)


# --- The nets


def _new_nets(width: int) -> "dict[str, nn.Module]":
    """`content`: from (n, BANDS + 1, 2 m), what differs from usual and how loudly voiced, to (n, CONTENT, m).

    `ears`: from the same to (n, WHO, 2 m), which is averaged. `who`: from that and the usual, (n, WHO + BANDS), to (n, WHO).
    `decoder`: from (n, CONTENT + WHO, 2 m) to (n, BANDS, 2 m). It begins with what is usual.
    """
    from torch import nn

    def layer(channels: int, stride: int = 1) -> "list[nn.Module]":
        return [nn.Conv1d(channels, width, 5, stride, 2), nn.LeakyReLU(0.1)]

    last = nn.Conv1d(width, BANDS, 5, 1, 2)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return {
        "content": nn.Sequential(*layer(BANDS + 1), *layer(width, 2), nn.Conv1d(width, CONTENT, 5, 1, 2)),
        "ears": nn.Sequential(*layer(BANDS + 1), nn.Conv1d(width, WHO, 5, 1, 2)),
        "who": nn.Sequential(nn.Linear(WHO + BANDS, width), nn.LeakyReLU(0.1), nn.Linear(width, WHO)),
        "decoder": nn.Sequential(*layer(CONTENT + WHO), *layer(width), last),
    }


def _heard(frames: "Tensor", usual: "Tensor", loud: "Tensor") -> "Tensor":
    """What nets hear (n, BANDS + 1, m) of frames (n, m, BANDS), the usual (n, BANDS), and how loud they are (n, m)."""
    import torch

    apart = (frames - usual[:, None]) / SCALE * (loud > 0)[..., None]
    return torch.cat([apart, loud[..., None]], 2).transpose(1, 2)


def _who(nets: "Nets", told: "Tensor", usual: "Tensor") -> "Tensor":
    """Whose voice is heard (n, WHO)."""
    import torch

    loud = told[:, -1:]
    mean = (nets["ears"](told) * loud).sum(2) / (loud.sum(2) + 1e-3)
    level = usual - usual.mean(1, keepdim=True)
    who: Tensor = nets["who"](torch.cat([mean, level / SCALE], 1))
    return who


def _decoded(nets: "Nets", content: "Tensor", who: "Tensor") -> "Tensor":
    """What differs from usual (n, BANDS, 2 m) where `who` says the `content` (n, CONTENT, m)."""
    import torch

    said = content.repeat_interleave(2, 2)
    made: Tensor = nets["decoder"](torch.cat([said, who[..., None].expand(-1, -1, said.shape[2])], 1))
    return made


# --- Learning


def _lesson(settings: VoiceNet, voices: Sequence[Voice], seed: int) -> Lesson:
    import torch

    where = device()
    with first_weights(seed):
        nets = _new_nets(settings.width)
    for net in nets.values():
        net.to(where).train()
    optimizer = torch.optim.Adam([p for net in nets.values() for p in net.parameters()], settings.learning_rate)
    moves = torch.from_numpy(_moves()).to(where)

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        chosen = [voices[i] for i in rng.integers(len(voices), size=batch)]
        usual = torch.from_numpy(np.stack([voice.usual for voice in chosen])).to(where)

        def pieces() -> "tuple[Tensor, Tensor]":
            frames, loud = zip(*(_piece(voice, rng) for voice in chosen), strict=True)
            return torch.from_numpy(np.stack(frames)).to(where), torch.from_numpy(np.stack(loud)).to(where)

        (frames, loud), (others, others_loud) = pieces(), pieces()
        one, two = (moves[torch.from_numpy(rng.integers(len(RATIOS), size=batch)).to(where)] for _ in range(2))

        def in_voice(frames: "Tensor", loud: "Tensor", move: "Tensor") -> "tuple[Tensor, Tensor]":
            moved = torch.einsum("nij,nj->ni", move, usual)
            return _heard(torch.einsum("nij,nmj->nmi", move, frames), moved, loud), moved

        (first, _), (wanted, _) = in_voice(frames, loud, one), in_voice(frames, loud, two)
        content, again = nets["content"](first), nets["content"](wanted)
        made = _decoded(nets, content, _who(nets, *in_voice(others, others_loud, two)))
        weight = loud[:, None]
        error = ((made - wanted[:, :BANDS]).abs() * weight).sum() / (weight.sum() * BANDS + 1e-3)
        same = (content - again).square().mean() / (content.var() + 1e-3)
        descend(optimizer, error + SAME * same)
        return {"error": error, "same": same}

    return Lesson(
        nets=nets,
        optimizers={"all": optimizer},
        step=step,
        sheet=lambda: _sheet(nets, voices),
        model=lambda: tensors_of(nets),
    )


def _piece(voice: Voice, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """LENGTH frames of a voice, and how loud they are; a shorter clip is heard over and over."""
    first = int(rng.integers(max(len(voice.frames) - LENGTH, 0) + 1))
    at = (first + np.arange(LENGTH)) % len(voice.frames)
    return voice.frames[at], voice.loud[at]


def _sheet(nets: "Nets", voices: Sequence[Voice]) -> Picture:
    """Envelopes of up to four voices, time to the right and pitch upwards: as they are, and in the next one's voice."""
    rows = []
    few = voices[:4]
    for voice, other in zip(few, [*few[1:], few[0]], strict=True):
        at = np.arange(4 * LENGTH) % len(voice.frames)
        own = Voice(voice.frames[at], voice.loud[at], voice.usual)
        made = own.frames + _difference(nets, own, other) + (other.usual - own.usual)
        for frames in (own.frames, made):
            shown = np.where(own.loud[:, None] > 0, frames - frames.mean(), -4 * SCALE)
            rows.append(np.repeat(np.repeat(shown.T[::-1], 2, 0), 2, 1))
    grey = np.clip(np.concatenate(rows) / (4 * SCALE) * 127.5 + 127.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))


# --- Speaking


def _difference(nets: "Nets", own: Voice, other: Voice) -> Floats:
    """What to add to frames (n, BANDS), beside what is usual, so that another voice says what they say."""
    import torch

    where = device()

    def told(voice: Voice, part: slice) -> "tuple[Tensor, Tensor]":
        frames, loud = voice.frames[part], voice.loud[part]
        more = -len(frames) % 2
        frames, loud = np.pad(frames, ((0, more), (0, 0)), "edge"), np.pad(loud, (0, more))
        usual = torch.from_numpy(voice.usual).to(where)[None]
        return _heard(torch.from_numpy(frames).to(where)[None], usual, torch.from_numpy(loud).to(where)[None]), usual

    with torch.inference_mode():
        mine, theirs = (_who(nets, *told(voice, slice(0, 4 * AT_ONCE))) for voice in (own, other))
        out = np.zeros_like(own.frames)
        for start in range(0, len(out), AT_ONCE):
            first, end = max(start - _AROUND, 0), min(start + AT_ONCE, len(out))
            content = nets["content"](told(own, slice(first, min(end + _AROUND, len(out))))[0])
            made = (_decoded(nets, content, theirs) - _decoded(nets, content, mine))[0].cpu().numpy().T
            out[start:end] = SCALE * made[start - first : end - first]
    return out


def _change_to(nets: "Nets", said: Speech, own: Manner, other: Speech, wanted: Manner) -> Change:
    """What brings the envelopes of `said`, of which `own` is the manner, to those of the voice in `other`."""
    mine, theirs = Voice.of(said, own), Voice.of(other, wanted)
    bands = _difference(nets, mine, theirs) + (theirs.usual - mine.usual)
    hiss = hiss_to(own, wanted)

    def change(part: slice) -> Floats:
        at = np.arange(part.start, part.stop) / STRIDE
        low = np.minimum(at.astype(int), len(bands) - 1)
        high = np.minimum(low + 1, len(bands) - 1)
        share = (at - low).astype(np.float32)[:, None]
        moved = (bands[low] * (1 - share) + bands[high] * share) @ _from_mel().T
        return np.where(said.voiced[part, None], np.clip(moved, -MOST, MOST), hiss)

    return change
