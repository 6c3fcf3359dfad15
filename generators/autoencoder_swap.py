"""Face swap by an autoencoder: what a face does is encoded, and decoded as the face of another person.

The classic deepfake has one encoder for two people and a decoder for each. Here all people of the train split share the
encoder, and the decoder is told whose face it paints by that person's usual face, which it changes. So it serves people whom
the training never saw: splits have no person in common, and no model may learn from the test split. With `fit` the nets are
trained on with the two parents of each sample, which is the classic method: the encoder with both, a copy of the decoder with
each. Every sample of every split is made that way, whether or not its people were learned from.

Faces are laid flat (see `unwrap`), so that pose and the outlines of eyes and lips, which the mesh knows, need not be learned:
the nets see and paint the rest. They work on how a frame differs from the person's usual face, in logarithms of the levels:
light and wrinkles then act on all skins alike (Liu et al. 2001), and little of it tells who it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import MediaError, ModelError
from forgeline.mesh import LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import match_colours, membrane, mix, poisson_bend
from generators.blend_swap import SKIN
from generators.grain import lay_grain, noise
from generators.hair import HAIR, bare, likeness
from generators.plugin import Casting, Stream, face_of
from generators.pose import facing, steady, workable
from generators.training import (
    Lesson,
    descend,
    device,
    fast,
    first_weights,
    kept,
    key_of,
    learn,
    moments,
    open_model,
    tensors_of,
)
from generators.unwrap import depth, laid, places, shown, unwrap
from generators.warp import CLOSED, face_box, spread

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns or paints
    from torch import Tensor, nn
    from torch import device as Device  # noqa: N812

    Nets = Mapping[str, nn.Module]

Floats = NDArray[np.float32]

FACES_A_CLIP = 24
MOST_BYTES = 2**29
"""Of faces in memory; of more clips, a sample drawn without regard to their order is learned from."""
DETAIL = 4
"""Usual faces are this much finer than what the nets see and paint, so that a painted face has a skin."""
AHEAD = 16
"""Frames that the nets work on at a time."""
STEADINESS = 0.9
"""Share of what was known of the target's colours that each new frame leaves; 0.9 remembers about ten frames."""
BLACK = 0.1
"""Added to levels of 0 … 1 before their logarithm, so that the noise of dark places does not count."""
SLOPE = 0.3
"""Cosine of a surface's slope from which on it counts as well seen."""
BENT = 0.02
"""How far the nets' inputs are bent in training, in sides of the face, as in the original faceswap."""
HIDDEN = 0.3
"""Share of the inputs in training before which something is held."""
TELLING = 6.0
"""How much more eyes and mouth count in training than skin."""
GAIN = 5.0
"""Of what the encoder sees: brings how a face differs from usual to about 1."""
NEAR_NORMAL = 1e-3
"""Weight of a variational code's distance from the normal distribution."""
FADING = 0.3
"""Change of tones over which fine detail fades."""
RIM = 0.25
"""How wide the seam is, in radii of the face laid flat."""


class AutoencoderSwap(Section):
    """Another person's face, painted by nets that saw what the target's face does."""

    steps: Annotated[int, Field(ge=1)] = 300
    """Of training on the train split, about 30 a CPU second with the other defaults. 300 follow the mouth; blinks take more."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Faces a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3
    """Of Adam."""
    side: Annotated[int, Field(ge=32, le=256, multiple_of=8)] = 64
    """Side in pixels of the faces that the nets see and paint: a face alone, without hair and background."""
    width: Annotated[int, Field(ge=8, le=128)] = 16
    """Channels of the nets at their full size; twice as many, and more, where they are smaller."""
    variational: bool = False
    """Whether codes are drawn around what was encoded, and kept near a normal distribution (Kingma and Welling 2014)."""
    fit: Annotated[int, Field(ge=0)] = 0
    """Steps by which the nets are trained on with the parents of each sample: the classic deepfake has thousands."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it stay as they are."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "source"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    _nets: "Nets | None" = PrivateAttr(default=None)

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples: see `training.learn`.

        Raises ModelError when there are not enough faces for one batch.
        """
        usable = (clip for clip in clips if clip.track is not None and facing(clip.track, self.max_yaw).any())
        people = kept((_coarse(meet(clip, self)) for clip in usable), MOST_BYTES // (4 * FACES_A_CLIP * self.side**2), rng)
        count = sum(len(person.pictures) for person in people)
        if count < self.batch:
            what = f"there are {count} faces to learn from, fewer than a batch of {self.batch}"
            raise ModelError("autoencoder_swap", what, "give it more clips that show faces, or a smaller batch")
        faces, seed = _Faces.of(people), int(rng.integers(2**63))
        learn(
            "autoencoder_swap",
            lambda: _lesson(self, faces, seed),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.autoencoder_swap", self.settings(), seed, *vars(faces).values()),
            folder=folder,
            todo="lower autoencoder_swap's learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "AutoencoderSwap":
        """The same generator, able to swap. Raises ModelError."""
        nets = _new_nets(self)
        open_model(folder, "autoencoder_swap", nets)
        bound = self.model_copy()
        bound._nets = nets
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with the source's face in every frame where it is seen and not turned too far."""
        target, source = parents
        return self.swap(target, source, rng)

    def swap(self, target: Clip, source: Clip, rng: np.random.Generator) -> Made:
        """Raises MediaError when one of the clips has too few frames to work on, or `fit` comes to nothing."""
        changed = workable(target, self.max_yaw)
        people = [meet(clip, self) for clip in ((target,) if source is target else (target, source))]
        if self._nets is None:
            raise ModelError("autoencoder_swap", "has no model yet", "train it, then load the model")
        nets = _fitted(self._nets, people, source.name, self, rng) if self.fit else self._nets
        return Made.of(
            target,
            _pictures(target, _Painter(nets, self, people[0], people[-1]), changed, rng),
            spans(changed, target.fps, "video"),
        )


# --- Faces, laid flat


@dataclass(frozen=True)
class Person:
    """A person as one clip shows them.

    `pictures` uint8 (n, side, side, 4): faces laid flat, and how well each place is seen, 0 … 255. `openings` float32 (n, 3):
    of mouth and eyes. `usual` float32 (DETAIL * side, DETAIL * side, 3): the tones of the person's usual face. `level` float32
    (3,): the mean tone of what they were taken from. `hair` float32 (side, side): 1 where hair hangs into the face, else 0.
    """

    pictures: NDArray[np.uint8]
    openings: Floats
    usual: Floats
    level: Floats
    hair: Floats


def meet(clip: Clip, settings: AutoencoderSwap) -> Person:
    """Raises MediaError when the clip never shows its person from the front."""
    track = face_of(clip)
    frames = facing(track, settings.max_yaw)
    if not frames.any():
        what = f"is never turned less than {settings.max_yaw:g} degrees to the side"
        raise MediaError(clip.name, what, "leave it out as a source")
    side, fine = settings.side, DETAIL * settings.side
    pictures, openings, flats, sights = [], [], [], []
    for frame, picture in moments(replace(clip, track=replace(track, seen=frames)), FACES_A_CLIP):
        mesh = steady(track, frame)
        flat, seen = unwrap(picture, mesh, fine), shown(mesh, side)
        pictures.append(np.dstack([_small(flat, side), (np.clip(seen / SLOPE, 0, 1) * 255).astype(np.uint8)]))
        openings.append(_opening(mesh))
        flats.append(flat)
        sights.append(seen)
    tones, levels = _tones(np.stack(pictures)[..., :3])
    shares = np.square(np.stack(sights))[..., None]
    mean = (shares * tones).sum(0) / (shares.sum(0) + 1e-6)
    apart = (shares * np.abs(tones - mean)).sum((1, 2, 3)) / shares.sum((1, 2, 3))
    nearest = int(apart.argmin())
    skin = pictures[nearest][..., :3][tuple((places()[SKIN] * side).astype(int).T[::-1])].astype(np.float32)
    # Shut lips leave a smear where the mouth is: it is shown as wide open as it ever is.
    lips = cv2.fillPoly(np.zeros((fine, fine), np.uint8), [np.round(laid(fine)[LIPS_INNER, :2]).astype(np.int32)], 255)
    face = mix(flats[nearest], flats[int(np.argmax(openings, axis=0)[0])], np.asarray(cv2.blur(lips, (DETAIL, DETAIL))))
    filled = _filled(_tones(face)[0], sights[nearest], mean, shares.mean(0)[..., 0])
    face, _ = bare(_levels(filled + levels[nearest]).astype(np.uint8), laid(fine), skin)
    (rim,), _ = spread(laid(side), HAIR[:, None].astype(np.float32), CLOSED, (0, 0, side, side))
    hair = rim * (1 - likeness(pictures[nearest][..., :3], skin, 3))
    return Person(np.stack(pictures), np.stack(openings), _tones(face)[0], np.mean(levels, axis=0, dtype=np.float32), hair)


def _filled(face: Floats, seen: Floats, mean: Floats, ever: Floats) -> Floats:
    """A face (n, n, 3) with what is not `seen` in it (side, side) taken from the mean face (side, side, 3), and what is hardly
    `ever` seen made up from what lies around it.
    """
    within = depth(len(mean)) > 0
    known = np.minimum(ever / SLOPE**2, 1) * within
    around = membrane(mean, known)
    around += (mean - around) * known[..., None]
    share = np.clip(seen / SLOPE - 1, 0, 1) * within
    fine = face.shape[:2]
    smooth, own = (cv2.resize(plane, fine, interpolation=cv2.INTER_LINEAR) for plane in (around, share))
    return np.asarray(smooth + (face - smooth) * own[..., None], np.float32)


def _coarse(person: Person) -> Person:
    """The person with a usual face as the nets see it."""
    return replace(person, usual=_small(person.usual, person.pictures.shape[1]))


def _small(flat: NDArray[Any], side: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(flat, (side, side), interpolation=cv2.INTER_AREA))


def _opening(mesh: Floats) -> Floats:
    """How far mouth, right eye and left eye are open, (3,), about 0 … 1."""
    gaps = np.hypot(*(mesh[[13, 159, 386]] - mesh[[14, 145, 374]])[:, :2].T)
    return np.asarray(gaps * (4, 20, 20) / max(float(np.hypot(*(mesh[10] - mesh[152])[:2])), 1e-6), np.float32)


def _tones(flat: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Logarithms of the levels of (…, side, side, 3), less their mean over the middle of each face, and these means (…, 3)."""
    tones = _LOGARITHMS[flat]
    level = tones[..., _middle(flat), :].mean(-2)
    return tones - level[..., None, None, :], level


def _middle(flat: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(depth(flat.shape[-2]) > 0.3)


_LOGARITHMS = np.log(np.arange(256) / 255 + BLACK).astype(np.float32)


def _levels(tones: NDArray[Any]) -> Floats:
    """The levels in 0 … 255 whose logarithms are `tones`."""
    return np.asarray(((np.exp(np.minimum(tones, 1)) - BLACK) * 255).clip(0, 255), np.float32)


# --- The nets


def _new_nets(settings: AutoencoderSwap) -> "dict[str, nn.Module]":
    """`encoder`: from (n, 3, side, side) to codes (n, c, side/4, side/4), twice as many channels where they are variational.

    `decoder`: see `_decode`. It begins with painting nothing: the usual face as it is, all of it seen.
    """
    import torch
    from torch import nn

    wide = settings.width

    def narrowing(channels: int) -> "nn.Sequential":
        return nn.Sequential(
            nn.Conv2d(3, wide, 5, 2, 2), nn.LeakyReLU(0.1),
            nn.Conv2d(wide, 2 * wide, 3, 2, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(2 * wide, channels, 3, 1, 1),
        )  # fmt: skip

    def doubling(narrow: int, channels: int) -> "list[nn.Module]":
        return [nn.Conv2d(narrow, 4 * channels, 3, 1, 1), nn.LeakyReLU(0.1), nn.PixelShuffle(2)]

    last = nn.Conv2d(wide, 4, 3, 1, 1)
    last.weight = nn.Parameter(torch.zeros_like(last.weight))
    last.bias = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, 2.0]))  # no change of three tones, and all is seen
    decoder = nn.ModuleDict(
        {
            "who": narrowing(2 * wide),
            "grow": nn.Sequential(*doubling(4 * wide + 3, 2 * wide), *doubling(2 * wide, wide)),
            "paint": nn.Sequential(nn.Conv2d(wide + 3, wide, 3, 1, 1), nn.LeakyReLU(0.1), last),
        }
    )
    nets = {"encoder": narrowing(2 * wide * (1 + settings.variational)), "decoder": decoder}
    for layer in [layer for net in nets.values() for layer in net.modules() if isinstance(layer, nn.Conv2d)]:
        if layer is not last:
            nn.init.kaiming_normal_(layer.weight, 0.1)  # torch's own start lets signals fade, and learns half as fast
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nets


def _decode(decoder: "nn.Module", codes: "Tensor", openings: "Tensor", means: "Tensor") -> "tuple[Tensor, Tensor]":
    """What to add to the tones of `means` (n, 3, side, side), and the logits (n, 1, side, side) of where the face is seen.

    `codes` (n, c, side/4, side/4) and `openings` (n, 3) say what the face does, `means` whose it is.
    """
    import torch

    who, grow, paint = (decoder.get_submodule(part) for part in ("who", "grow", "paint"))
    grown = grow(torch.cat([codes, who(means), openings[..., None, None].expand(-1, -1, *codes.shape[2:])], 1))
    painted = paint(torch.cat([grown, means], 1)).float()
    return painted[:, :3], painted[:, 3:]


# --- Learning


@dataclass(frozen=True)
class _Faces:
    """What is learned from: `pictures` and `openings` as in Person, of people `whose` (n,), with their coarse `usual` faces."""

    pictures: NDArray[np.uint8]
    openings: Floats
    whose: NDArray[np.int64]
    usual: Floats

    @staticmethod
    def of(people: Sequence[Person]) -> "_Faces":
        return _Faces(
            np.concatenate([person.pictures for person in people]),
            np.concatenate([person.openings for person in people]),
            np.repeat(np.arange(len(people)), [len(person.pictures) for person in people]),
            np.stack([person.usual for person in people]),
        )


def _lesson(settings: AutoencoderSwap, faces: _Faces, seed: int) -> Lesson:
    import torch

    where = device()
    with first_weights(seed):
        nets = _new_nets(settings)
    for net in nets.values():
        net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam([p for net in nets.values() for p in net.parameters()], settings.learning_rate)

    def step(_: int, rng: np.random.Generator, batch: int) -> "Mapping[str, Tensor]":
        losses = _losses(nets, faces, settings, rng, batch, where)
        descend(adam, torch.stack([*losses.values()]).sum())
        return losses

    return Lesson(nets, {"adam": adam}, step, lambda: _sheet(nets, faces, settings), lambda: tensors_of(nets))


def _fitted(nets: "Nets", people: Sequence[Person], name: str, settings: AutoencoderSwap, rng: np.random.Generator) -> "Nets":
    """The nets for the last of the `people` after training on: an encoder for all, a copy of the decoder for each."""
    import torch

    where = device()
    encoder, decoders = deepcopy(nets["encoder"]), [deepcopy(nets["decoder"]) for _ in people]
    weights = [p for net in (encoder, *decoders) for p in net.parameters()]
    adam = torch.optim.Adam(weights, settings.learning_rate)
    lessons = [
        ({"encoder": encoder, "decoder": decoder}, _Faces.of([_coarse(person)]))
        for decoder, person in zip(decoders, people, strict=True)
    ]
    for _ in range(settings.fit):
        losses = [
            loss for pair, faces in lessons for loss in _losses(pair, faces, settings, rng, settings.batch, where).values()
        ]
        descend(adam, torch.stack(losses).sum())
    if not all(bool(p.isfinite().all()) for p in weights):
        raise MediaError(name, "the nets' weights are no longer numbers after fit", "lower learning_rate")
    return lessons[-1][0]


def _losses(
    nets: "Nets", faces: _Faces, settings: AutoencoderSwap, rng: np.random.Generator, batch: int, where: "Device"
) -> "dict[str, Tensor]":
    """How far the nets are from giving back `batch` faces that they see bent and partly hidden."""
    import torch
    from torch.nn import functional

    chosen = rng.integers(len(faces.pictures), size=batch)
    pictures, openings, means = faces.pictures[chosen], faces.openings[chosen], faces.usual[faces.whose[chosen]]
    mirrored = rng.random(batch) < 0.5
    pictures[mirrored], means[mirrored] = pictures[mirrored, :, ::-1], means[mirrored, :, ::-1]
    openings[mirrored] = openings[mirrored][:, [0, 2, 1]]
    colours = pictures[..., :3]
    given, free = _hidden(colours, rng)
    seen = torch.from_numpy(pictures[..., 3] / np.float32(255) * (depth(settings.side) > 0))[:, None].to(where)
    weight = seen * torch.from_numpy(_telling(settings.side)).to(where)
    wanted, own = _tensor(_tones(colours)[0], where), _tensor(means, where)
    losses = {}
    with fast(where):
        codes = nets["encoder"](_tensor(GAIN * _bent(_tones(given)[0] - means, rng), where))
        if settings.variational:
            middle, log_width = codes.float().chunk(2, 1)
            noise = torch.from_numpy(rng.standard_normal(middle.shape, np.float32)).to(where)
            codes = middle + (log_width / 2).exp() * noise
            losses["code"] = NEAR_NORMAL * (middle.square() + log_width.exp() - 1 - log_width).mean() / 2
        change, logits = _decode(nets["decoder"], codes, torch.from_numpy(openings).to(where), own)
    losses["l1"] = ((own + change - wanted).abs() * weight).sum() / (3 * weight.sum())
    losses["ssim"] = _unlike(own + change, wanted, weight)
    uncovered = seen * torch.from_numpy(free)[:, None].to(where)
    losses["mask"] = functional.binary_cross_entropy_with_logits(logits, uncovered)
    return losses


@cache
def _telling(side: int) -> Floats:
    """How much each place of a flat face counts: eyes and mouth, which are small and do most, more than skin."""
    telling = np.ones((side, side), np.float32)
    for ring in (RIGHT_EYE, LEFT_EYE, LIPS_OUTER):
        cv2.fillPoly(telling, [np.round(laid(side)[ring, :2]).astype(np.int32)], TELLING)
    return np.asarray(cv2.blur(telling, (3, 3)))


def _hidden(pictures: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Floats]:
    """Faces (n, side, side, 3), some behind a blot of another; and (n, side, side) 0 where there is one, else 1."""
    count, side = pictures.shape[:2]
    given, free = pictures.copy(), np.ones((count, side, side), np.float32)
    for i in np.flatnonzero(rng.random(count) < HIDDEN):
        (x, y), (wide, high), angle = rng.integers(0, side, 2), rng.integers(side // 16, side // 3, 2), rng.integers(180)
        cv2.ellipse(free[i], (int(x), int(y)), (int(wide), int(high)), float(angle), 0, 360, 0, -1)
        blot = np.roll(pictures[rng.integers(count)], rng.integers(0, side, 2), (0, 1))
        given[i][free[i] == 0] = blot[free[i] == 0]
    return given, free


def _bent(planes: Floats, rng: np.random.Generator) -> Floats:
    """Planes (n, side, side, 3), each bent a little, so that small faults of the mesh don't count later."""
    side = planes.shape[1]
    straight = np.stack(np.meshgrid(np.arange(side), np.arange(side)), 2).astype(np.float32)
    bent = np.empty_like(planes)
    for i, plane in enumerate(planes):
        pull = rng.normal(0, BENT * side, (5, 5, 2)).astype(np.float32)
        at = straight + cv2.resize(pull, (side, side), interpolation=cv2.INTER_CUBIC)
        bent[i] = cv2.remap(plane, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return bent


def _unlike(a: "Tensor", b: "Tensor", weight: "Tensor") -> "Tensor":
    """Half of what structural similarity (Wang et al. 2004) lacks to 1, of tones, over windows of 8 x 8 places every 4."""
    from torch.nn import functional

    def mean(values: "Tensor") -> "Tensor":
        return functional.avg_pool2d(values, 8, 4)

    first, second = 0.02**2, 0.06**2  # tones reach from about -1 to 1
    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b = mean(a * a) - mean_a.square(), mean(b * b) - mean_b.square()
    both = mean(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + first) * (2 * both + second)
    alike = alike / ((mean_a.square() + mean_b.square() + first) * (spread_a + spread_b + second))
    return ((1 - alike).mean(1, keepdim=True) * mean(weight)).sum() / (2 * mean(weight).sum())


def _tensor(pictures: Floats, where: "Device") -> "Tensor":
    """(n, side, side, 3) as (n, 3, side, side), stored as it was."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).to(where)


# --- Painting


class _Painter:
    """Paints the source's face doing what the target's does.

    What it knows of the target's colours changes slowly, and in the places of the face laid flat, so that nothing flickers.
    """

    def __init__(self, nets: "Nets", settings: AutoencoderSwap, target: Person, source: Person) -> None:
        self._nets, self._settings, self._target, self._source = nets, settings, _coarse(target), _coarse(source)
        lit = _lit(source.usual, self._source.usual, self._target.usual) + source.level
        self._lit, self._colour = _small(lit, settings.side), _levels(source.level)
        self._brightest = np.percentile(self._lit[_middle(self._lit)], 98, axis=0).astype(np.float32)
        self._detail = lit - cv2.resize(self._lit, lit.shape[:2], interpolation=cv2.INTER_LINEAR)
        self._inside = np.clip(depth(settings.side) / RIM, 0, 1) * (1 - target.hair)
        self._known: dict[str, Floats] = {}

    def paint(self, pictures: Sequence[Picture], meshes: Sequence[Floats]) -> list[NDArray[np.uint8]]:
        """For each picture and mesh a face laid flat, (n, n, 4): its colours, and how much of them replaces the target's."""
        if not pictures:
            return []
        side = self._settings.side
        flat = np.stack([_small(unwrap(p, m, DETAIL * side), side) for p, m in zip(pictures, meshes, strict=True)])
        tones, levels = _tones(flat)
        openings = np.stack([_opening(mesh) for mesh in meshes])
        change, logits = _painted(self._nets, self._settings, tones - self._target.usual, openings, self._source.usual[None])
        masks = np.clip((1 / (1 + np.exp(-logits)) - 0.1) / 0.3, 0, 1)  # only what is surely something else stays before it
        return [self._finish(*each) for each in zip(change, masks, flat, _levels(levels), strict=True)]

    def _finish(self, change: Floats, seen: Floats, target: Picture, colour: Floats) -> NDArray[np.uint8]:
        """The source's usual face with its tones changed, (side, side, 3), in the target's light.

        Fine detail fades where much is changed: of an open mouth nothing may be left when it is shut.
        """
        fine = self._detail.shape[:2]
        detail = cv2.resize(np.exp(-np.abs(change) / FADING), fine, interpolation=cv2.INTER_LINEAR) * self._detail
        painted = np.minimum(self._lit + change, self._brightest)
        face = _levels(cv2.resize(painted, fine, interpolation=cv2.INTER_LINEAR) + detail).astype(np.uint8)
        face = match_colours(face, self._colour, self._slowly("colour", colour))
        rim = seen * self._inside * (self._inside < 1)
        bend = self._slowly("bend", poisson_bend(np.float32(target) - _small(face, len(target)), rim))
        bent = cv2.add(face, cv2.resize(bend, fine, interpolation=cv2.INTER_LINEAR), dtype=cv2.CV_8U)
        share = cv2.resize(seen * self._inside * 255, fine, interpolation=cv2.INTER_LINEAR)
        return np.dstack([bent, share]).round().astype(np.uint8)

    def _slowly(self, name: str, now: Floats) -> Floats:
        known = self._known.get(name, now)
        self._known[name] = STEADINESS * known + (1 - STEADINESS) * now
        return self._known[name]


def _lit(face: Floats, coarse: Floats, target: Floats) -> Floats:
    """A usual face, given fine and coarse, in the light of the `target`'s (coarse), and gleaming no more than that."""
    own, wanted = _light(coarse), _light(target)
    fine = face.shape[:2]
    relief = face - cv2.resize(own, fine, interpolation=cv2.INTER_LINEAR)
    usual, gleam = _gleam(coarse - own)
    damp = 1 - min(1.0, _gleam(target - wanted)[1] / max(gleam, 1e-6))
    relief -= damp * np.maximum(relief - usual, 0)
    return np.asarray(relief + cv2.resize(wanted, fine, interpolation=cv2.INTER_LINEAR), np.float32)


def _gleam(relief: Floats) -> tuple[Floats, float]:
    """The usual tone (3,) of a face, and how much brighter its brightest places are."""
    tones = relief[_middle(relief)]
    usual = np.median(tones, axis=0)
    return usual, float(np.percentile((tones - usual).mean(-1), 95))


def _light(usual: Floats) -> Floats:
    """How a face is lit: the smooth surface (of second degree in x and y) that is nearest to its tones, (n, n, 3).

    Light from all around a round body varies about so (Ramamoorthi and Hanrahan 2001); lips and beards do not.
    """
    within = _middle(usual)
    at = np.linspace(-1, 1, len(usual), dtype=np.float32)
    x, y = np.meshgrid(at, at)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 2)
    shares, *_ = np.linalg.lstsq(terms[within], usual[within], rcond=None)
    return np.asarray(terms @ shares, np.float32)


def _painted(nets: "Nets", settings: AutoencoderSwap, seen: Floats, openings: Floats, means: Floats) -> tuple[Floats, Floats]:
    """What to add to the tones of `means`, (n, side, side, 3), and the logits (n, side, side) of where the face is seen.

    `seen` (n, side, side, 3) is how the faces differ from their own persons' usual faces.
    """
    import torch

    where = device()
    with torch.inference_mode(), fast(where):
        codes = nets["encoder"](_tensor(GAIN * seen, where))
        codes = codes.chunk(2, 1)[0] if settings.variational else codes
        whose = _tensor(means, where).expand(len(seen), -1, -1, -1)
        change, logits = _decode(nets["decoder"], codes, torch.from_numpy(openings).to(where), whose)
    return change.permute(0, 2, 3, 1).cpu().numpy(), logits[:, 0].cpu().numpy()


def _pictures(
    target: Clip, painter: _Painter, changed: NDArray[np.bool_], rng: np.random.Generator
) -> Iterator[tuple[Picture, Mask]]:
    track, frames, grain = face_of(target), enumerate(target.pictures()), _Grain(rng)
    while ahead := list(islice(frames, AHEAD)):
        work = [(frame, picture) for frame, picture in ahead if changed[frame]]
        faces = iter(painter.paint([picture for _, picture in work], [steady(track, frame) for frame, _ in work]))
        for frame, picture in ahead:
            mask = np.zeros(picture.shape[:2], np.uint8)
            if changed[frame]:
                picture = picture.copy()
                _lay(picture, mask, steady(track, frame), next(faces), grain)
            yield picture, mask


def _lay(picture: Picture, mask: Mask, mesh: Floats, face: NDArray[np.uint8], grain: "_Grain") -> None:
    """Lay a flat face (n, n, 4) on a picture, and set `mask` where it did, both in place."""
    box = x0, y0, x1, y1 = face_box(mesh, picture.shape)
    (map_x, map_y), covered = spread(mesh, places() * len(face) - 0.5, CLOSED, box)
    laid_on = np.asarray(cv2.remap(face, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    over, alpha = np.ascontiguousarray(laid_on[..., :3]), laid_on[..., 3] * covered
    part = slice(y0, y1), slice(x0, x1)
    picture[part], mask[part] = mix(picture[part], grain.lay(over, picture[part], alpha > 200), alpha), alpha


class _Grain:
    """The grain that a painted face lacks beside the picture around it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._known: float | None = None

    def lay(self, over: Picture, under: Picture, where: NDArray[np.bool_]) -> Picture:
        """What is painted, with grain as what is under it has, by the places `where` it will be seen."""
        if where.any():
            now = max(noise(under, where) ** 2 - noise(over, where) ** 2, 0.0)
            self._known = now if self._known is None else STEADINESS * self._known + (1 - STEADINESS) * now
        return lay_grain(over, (self._known or 0.0) ** 0.5, self._rng)


def _sheet(nets: "Nets", faces: _Faces, settings: AutoencoderSwap) -> Picture:
    """Eight faces in three rows: as they are, as the nets paint them, and as they paint them with another's usual face."""
    chosen = np.linspace(0, len(faces.pictures) - 1, 8).astype(int)
    own, openings = faces.usual[faces.whose[chosen]], faces.openings[chosen]
    tones, levels = _tones(faces.pictures[chosen, :, :, :3])
    rows = [tones]
    for means in (own, np.roll(own, 1, 0)):
        rows.append(means + _painted(nets, settings, tones - own, openings, means)[0])
    return np.vstack([np.hstack(list(_levels(row + levels[:, None, None]).round().astype(np.uint8))) for row in rows])
