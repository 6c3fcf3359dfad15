"""Reenactment by a network of first-order motion: the target's head takes on the other's movement, pose included.

The method of Siarohin et al. 2019: keypoints that nobody named, with how the picture is turned and stretched around them,
make a dense movement; what it uncovers is painted. It learns to make one frame of a clip from another. Seen are squares
around heads that stay where they are through a clip, so that the background stays, too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Track, spans
from forgeline.errors import MediaError, ModelError
from forgeline.mesh import LEFT_EYE, LIPS_OUTER, RIGHT_EYE
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.weights import Given, given_weights
from generators.expression import Replay, counterparts, expression_of, fade
from generators.plugin import Casting, Stream, face_of
from generators.reenact import castable
from generators.training import (
    Lesson,
    descend,
    device,
    first_weights,
    kept,
    key_of,
    learn,
    moments,
    open_model,
    tensors_of,
)

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns
    from torch import Tensor, nn

    from generators.motion_net import Detector, Keypoints, Painter, Size

Floats = NDArray[np.float32]

FRAMES_A_CLIP = 32
MOST_BYTES = 2**27
"""Of squares in memory; of more clips, a sample drawn without regard to their order is learned from."""
MARGIN = 0.12
"""How much wider than the face, in all the places where it goes, the square is on every side."""
FEATURES, SPOT = 10.0, 0.2
"""How much more than the rest the lips and eyes count in training, and how far around their middles, in places (-1 … 1)."""
DETAIL, EQUIVARIANCE, SMOOTH = 10.0, 10.0, 20.0
"""Weights of the differences between pictures, of keypoints that don't follow when a picture is bent, and of tears."""
LAST = 0.3
"""Share of the steps, the last ones, in which the learning rate falls to nothing."""
AFFINE, BUMPS = 0.05, 0.005
"""Deviations by which pictures are turned and stretched as a whole, and bent at 25 points, to see whether keypoints follow."""
RIM = 0.12
"""Share of the square, along its border, within which what the net does fades out."""
LEAST = 0.002
"""Places (-1 … 1) by which a keypoint must move, or its jacobian change; a frame in which none does stays as it is."""
HARDLY = 0.02
"""Places, or radians, by which a head that hardly moves does; see `Motion.posed`."""
STILL, PAINTED = 0.15, 0.05
"""Pixels that a place must have moved, or share of it that must have been painted, to count as changed."""


class ReenactNet(Section):
    """The target with the head's movement and expression of the second parent, by a network of first-order motion."""

    steps: Annotated[int, Field(ge=0)] = 3000
    """Of training, about five a CPU second. Fewer than 2000 move the head more than the mouth, and so do few clips of heads
    that keep still. With `weights` 0 uses them as they are."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Pairs of frames a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of Adam."""
    weights: Given | None = None
    """The authors' model for talking heads of 256 pixels, as safetensors (see `generators.published`), to begin with; none
    trains a small one of 64 pixels."""
    pose: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the way from its own pose to the other's that the head goes."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; a target's frames beyond it stay as they are, a driver's count as lost."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    _nets: "Nets | None" = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _learned(self) -> "ReenactNet":
        if not self.steps and self.weights is None:
            raise ValueError("steps: 0 needs weights to begin with")
        return self

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples: see `training.learn`.

        Raises ModelError when no clip shows a face.
        """
        side = self.nets_size.side
        usable = (clip for clip in clips if clip.track is not None and clip.track.seen.sum() > 1)
        clips_shown = kept((shown(clip, side) for clip in usable), MOST_BYTES // (3 * side**2 * FRAMES_A_CLIP), rng)
        if not clips_shown:
            raise ModelError("reenact_net", "there is no clip with a face to learn from", "give it clips that show faces")
        seed = int(rng.integers(2**63))
        seen = [part for clip in clips_shown for part in (clip.pictures, clip.spots)]
        learn(
            "reenact_net",
            lambda: _lesson(self, clips_shown, seed),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.reenact_net", self.settings(), seed, *seen),
            folder=folder,
            todo="lower reenact_net's learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "ReenactNet":
        """The same generator, able to animate. Raises ModelError."""
        nets = Nets.new(self.nets_size)
        open_model(folder, "reenact_net", nets.named())
        bound = self.model_copy()
        bound._nets = nets
        return bound

    @property
    def nets_size(self) -> "Size":
        """Of the nets."""
        from generators.motion_net import PUBLISHED, SMALL

        return SMALL if self.weights is None else PUBLISHED

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target, its head moved wherever it and the other's are seen and not turned too far; its sound stays."""
        target, driver = parents
        able, followed = castable(target, driver, self.max_yaw)
        nets = self._nets
        if nets is None:
            raise ModelError("reenact_net", "has no model yet", "train it, then load the model")
        fps = float(target.fps)
        replay = Replay.of(followed, counterparts(target.frames, fps, driver.frames, float(driver.fps)), float(driver.fps))
        square = square_of(face_of(target))
        own = watch(nets, target, able)
        other = watch(nets, driver, followed)
        wanted = own.driven(other, replay, replay.trust * fade(able, fps), self.pose)
        changed = able & (np.abs(wanted - own.keypoints).max((1, 2)) > LEAST)
        if not changed.any():
            raise MediaError(driver.name, f"does nothing but what {target.name} does", "leave it out as a driver")

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            for frame, picture in enumerate(target.pictures()):
                mask = np.zeros(picture.shape[:2], np.uint8)
                if changed[frame]:
                    picture = picture.copy()
                    animate(nets, picture, mask, square, own.keypoints[frame], wanted[frame])
                yield picture, mask

        return Made.of(target, pictures(), spans(changed, target.fps, "video"))


# --- What it sees


@dataclass(frozen=True)
class Square:
    """A part of a picture: its left upper corner and its side in pixels; it may reach over the picture's border."""

    x: int
    y: int
    side: int

    def cut(self, picture: Picture) -> Picture:
        """(side, side, 3); what lies outside the picture is its mirror image."""
        height, width = picture.shape[:2]
        before = max(0, -self.x), max(0, -self.y)
        after = max(0, self.x + self.side - width), max(0, self.y + self.side - height)
        x, y = max(self.x, 0), max(self.y, 0)
        part = picture[y : self.y + self.side, x : self.x + self.side]
        if max(*before, *after) == 0:
            return part
        return np.asarray(cv2.copyMakeBorder(part, before[1], after[1], before[0], after[0], cv2.BORDER_REFLECT_101))

    def inside(self, picture: Picture) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """What of the square lies in the picture: where in the square, and where in the picture."""
        height, width = picture.shape[:2]
        x0, y0 = max(self.x, 0), max(self.y, 0)
        x1, y1 = min(self.x + self.side, width), min(self.y + self.side, height)
        return (slice(y0 - self.y, y1 - self.y), slice(x0 - self.x, x1 - self.x)), (slice(y0, y1), slice(x0, x1))


def square_of(track: Track) -> Square:
    """The square in which the face is through its whole clip."""
    box = track.box[track.seen]
    low, high = box[:, :2].min(0), box[:, 2:].max(0)
    side = round(float((high - low).max() * (1 + 2 * MARGIN)))
    x, y = np.round((low + high - side) / 2).astype(int)
    return Square(int(x), int(y), side)


def small(picture: Picture, side: int) -> Picture:
    """A square as the nets see it: (side, side, 3)."""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))


@dataclass(frozen=True)
class Shown:
    """What is learned from of one clip: `pictures` (n, side, side, 3), and `spots` (n, 3, 2), the places (-1 … 1) of the lips,
    the right and the left eye."""

    pictures: NDArray[np.uint8]
    spots: Floats


def shown(clip: Clip, side: int) -> Shown:
    """Up to FRAMES_A_CLIP frames of a clip that shows a face."""
    track = face_of(clip)
    square = square_of(track)
    pictures, spots = [], []
    for frame, picture in moments(clip, FRAMES_A_CLIP):
        pictures.append(small(square.cut(picture), side))
        middles = np.stack([track.mesh[frame, ring, :2].mean(0) for ring in (LIPS_OUTER, RIGHT_EYE, LEFT_EYE)])
        spots.append((middles - (square.x, square.y)) * 2 / square.side - 1)
    return Shown(np.stack(pictures), np.stack(spots).astype(np.float32))


# --- What it does


@dataclass(frozen=True)
class Nets:
    """The nets, under the names that they have in models."""

    detector: "Detector"
    painter: "Painter"

    @classmethod
    def new(cls, size: "Size") -> "Nets":
        from generators.motion_net import Detector, Painter

        return cls(Detector(size), Painter(size))

    def named(self) -> "dict[str, nn.Module]":
        return {"kp_detector": self.detector, "generator": self.painter}

    def fill(self, given: Given) -> None:
        """Take the weights of a model that a team brings. Raises WeightsError, and ModelError when it is of other nets."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = given_weights(given)
        try:
            tensors = load_file(path)
            for name, net in self.named().items():
                start = f"{name}."
                net.load_state_dict({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
        except (SafetensorError, RuntimeError) as error:
            what = f"is not a model of first-order motion ({' '.join(str(error).split())[:300]})"
            raise ModelError(path, what, "convert the authors' model with `python -m generators.published`") from error


@dataclass(frozen=True)
class Motion:
    """Keypoints through a clip, and where the head is meanwhile; 0 in frames that are not `known` (frames,).

    `keypoints` (frames, k, 6): places and jacobians. `poses` (frames, 7): a face's middle in places, the logarithm of its
    size, three small angles in radians, and 1. `share` is how much of the square the face fills.
    """

    keypoints: Floats
    poses: Floats
    known: NDArray[np.bool_]
    share: float

    def posed(self) -> Floats:
        """(7, k, 6) how keypoints follow the head's pose: least squares, held to 0 where the head hardly moves."""
        poses = self.poses[self.known].astype(np.float64)
        hold = len(poses) * np.diag(np.square([HARDLY] * 6 + [0]))
        wanted = poses.T @ self.keypoints[self.known].reshape(len(poses), -1)
        return np.asarray(np.linalg.solve(poses.T @ poses + hold, wanted).reshape(7, -1, 6), np.float32)

    def driven(self, other: "Motion", replay: Replay, strength: Floats, pose: float) -> Floats:
        """The keypoints that `other` gives, (frames, k, 6), as far as `strength` (frames,) says.

        What follows the pose stays as it is, but for the share `pose` of the way to the other's; the rest is the other's.
        (The paper, section 3.3, moves all of them from their own rest as the other's move from theirs: that is too far for
        a net that saw few heads.)
        """
        own, of_other = self.posed(), other.posed()
        rest = replay(other.keypoints - np.tensordot(other.poses, of_other, 1))
        rest[..., :2] *= self.share / other.share
        way = replay(other.poses - other.poses[other.known].mean(0)) - (self.poses - self.poses[self.known].mean(0))
        wanted = np.tensordot(self.poses + pose * way, own, 1) + rest
        return np.asarray(self.keypoints + strength[:, None, None] * (wanted - self.keypoints), np.float32)


def watch(nets: Nets, clip: Clip, frames: NDArray[np.bool_]) -> Motion:
    """What moves in a clip, in some of its frames. Reads the pictures once."""
    import torch

    track, found = face_of(clip), []
    square, side = square_of(track), nets.painter.side
    with torch.inference_mode():
        for frame, picture in enumerate(clip.pictures()):
            if frames[frame]:
                places, jacobians = nets.detector(tensor(small(square.cut(picture), side)[None]).to(device()))
                found.append(torch.cat([places, jacobians.flatten(2)], 2).cpu().numpy())
    face = expression_of(track, frames, float(clip.fps))
    size = face.scale * float(np.linalg.norm(face.rest[152] - face.rest[10])) / square.side
    middles = (track.mesh[..., :2].mean(1) - (square.x, square.y)) * 2 / square.side - 1
    angles = 0.5 * (face.turn - face.turn.transpose(0, 2, 1))[:, [2, 0, 1], [1, 2, 0]]
    poses = np.column_stack([middles, np.log(size), angles, np.ones(len(frames))])[frames].astype(np.float32)
    return Motion(_calmed(np.concatenate(found), frames), _calmed(poses, frames), frames, float(np.nanmedian(size)))


def _calmed(values: Floats, frames: NDArray[np.bool_]) -> Floats:
    """Values of some frames, each averaged a little with its neighbours, among as many as there are frames."""
    known = np.zeros((len(frames), *values.shape[1:]), np.float32)
    known[frames] = values
    weight = frames.astype(np.float32).reshape(-1, *[1] * (known.ndim - 1))
    total, weights = 2 * known, 2 * weight
    total[1:], weights[1:] = total[1:] + known[:-1], weights[1:] + weight[:-1]
    total[:-1], weights[:-1] = total[:-1] + known[1:], weights[:-1] + weight[1:]
    return np.asarray(weight * total / np.maximum(weights, 1))


def keypoints_of(values: Floats) -> "Keypoints":
    """Of one frame, (k, 6)."""
    import torch

    from generators.motion_net import Keypoints

    both = torch.from_numpy(values[None]).to(device())
    return Keypoints(both[..., :2], both[..., 2:].reshape(1, -1, 2, 2))


def animate(nets: Nets, picture: Picture, mask: Mask, square: Square, own: Floats, wanted: Floats) -> None:
    """Move what `square` shows so that its keypoints go from `own` to `wanted` (k, 6), in place; `mask` says where.

    The movement is the net's, the pixels are the picture's own, at its own fineness; the net paints what they don't show.
    """
    import torch

    from generators.motion_net import composed, grid

    where, side = device(), nets.painter.side
    cut = square.cut(picture)
    with torch.inference_mode():
        painted = nets.painter(tensor(small(cut, side)[None]).to(where), keypoints_of(own), keypoints_of(wanted))
        laid, origin, hidden = composed(painted, tensor(cut[None]).to(where), torch.from_numpy(rim(square.side)).to(where))
        way = (origin - grid(square.side, square.side, origin)).norm(dim=-1)[0] * (square.side - 1) / 2
        changed = ((way > STILL) | (hidden[0, 0] > PAINTED)).cpu().numpy().astype(np.uint8)
        out = (laid[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    changed = np.asarray(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)))
    inside, there = square.inside(picture)
    picture[there] = cv2.copyTo(out[inside], changed[inside], picture[there])
    mask[there] = 255 * changed[inside]


def rim(side: int) -> Floats:
    """(side, side): 0 on the border of a square, rising to 1 within RIM of its side."""
    off = np.minimum(np.arange(side), np.arange(side)[::-1]) / (RIM * side)
    return np.minimum(np.minimum(off, off[:, None]), 1).astype(np.float32)


# --- How it learns


def _lesson(settings: ReenactNet, clips: Sequence[Shown], seed: int) -> Lesson:
    import torch

    from generators.motion_net import Bend, Keypoints, composed, grid, inverse, pyramid, sample, tearing

    where = device()
    with first_weights(seed):
        nets = Nets.new(settings.nets_size)
    if settings.weights is not None:
        nets.fill(settings.weights)
    for net in nets.named().values():
        net.to(where)
    weights = [weight for net in nets.named().values() for weight in net.parameters()]
    adam = torch.optim.Adam(weights, settings.learning_rate, betas=(0.5, 0.999))
    side = settings.nets_size.side
    places, free = grid(side, side, torch.zeros(1, device=where)), torch.from_numpy(rim(side)).to(where)

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        picked = [(clips[c], *rng.integers(len(clips[c].pictures), size=2)) for c in rng.integers(len(clips), size=batch)]
        pairs = np.stack([[clip.pictures[i], clip.pictures[j]] for clip, i, j in picked])
        spots = np.stack([clip.spots[j] for clip, _, j in picked])
        if rng.random() < 0.5:
            pairs, spots = pairs[..., ::-1, :], spots * np.array([-1, 1], np.float32)
        light = torch.from_numpy(rng.uniform(0.8, 1.2, (batch, 3, 1, 1)).astype(np.float32))
        before, after = ((tensor(pairs[:, i]) * light).clamp(0, 1).to(where) for i in (0, 1))
        away = (places - torch.from_numpy(spots).to(where)[:, :, None, None]).square().sum(-1)
        weight = 1 + FEATURES * torch.exp(-away / (2 * SPOT**2)).amax(1, keepdim=True)
        bend = Bend.drawn(rng, batch, AFFINE, BUMPS).to(where)
        bent = sample(after, bend(places.reshape(1, -1, 2).expand(batch, -1, -1)).reshape(batch, side, side, 2))
        found = nets.detector(torch.cat([before, after, bent]))
        of, to, of_bent = (Keypoints(*parts) for parts in zip(*(values.chunk(3) for values in found), strict=True))
        painted = nets.painter(before, of, to)
        laid, _, _ = composed(painted, before, free)
        unlike = pyramid(laid, after, weight) + pyramid(painted.picture, after, weight)
        # Keypoints of a bent picture are bent keypoints (equations 7 and 8).
        strayed = (to.places - bend(of_bent.places)).abs().mean()
        turned = inverse(to.jacobians) @ bend.jacobians(of_bent.places) @ of_bent.jacobians
        strayed = strayed + (turned - torch.eye(2, device=where)).abs().mean()
        torn = tearing(painted.origin)
        for group in adam.param_groups:
            group["lr"] = settings.learning_rate * min(1, (settings.steps - number) / (LAST * settings.steps))
        descend(adam, DETAIL * unlike + EQUIVARIANCE * strayed + SMOOTH * torn)
        return {"picture": unlike, "keypoints": strayed, "tears": torn}

    def sheet() -> Picture:
        """Row by row of some clips: a frame, the one that it is to become, and what it becomes."""
        some = clips[:: max(1, len(clips) // 6)][:6]
        before, after = (tensor(np.stack([clip.pictures[i] for clip in some])).to(where) for i in (0, -1))
        for net in nets.named().values():
            net.eval()
        with torch.inference_mode():
            laid, _, _ = composed(nets.painter(before, nets.detector(before), nets.detector(after)), before, free)
        for net in nets.named().values():
            net.train()
        rows = torch.cat([before, after, laid], 3).permute(0, 2, 3, 1).flatten(0, 1)
        return np.asarray((rows * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())

    return Lesson(nets.named(), {"adam": adam}, step, sheet, lambda: tensors_of(nets.named()))


def tensor(pictures: NDArray[np.uint8]) -> "Tensor":
    """Pictures (n, side, side, 3) in 0 … 255 as (n, 3, side, side) in 0 … 1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32) / 255)
