"""Face swap by a team's own net: a one-shot swapper that is told by an embedding whose face to make.

The kind of net that SimSwap (Chen et al. 2020) and InsightFace's swappers are: it sees the target's face, upright and cut
out, and what an ArcFace-like net (Deng et al. 2019) says of the source's; it gives back the cut-out with the other face.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import MediaError, ModelError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.weights import Given
from generators.align import arcface, cut, five, in_picture, inside, laid, mask_of, oval, place
from generators.blend import mix
from generators.onnx import Floats, Levels, Net, Port, inputs_of, open_net, planes, shown, side_of, stored
from generators.plugin import Casting, Stream, face_of
from generators.pose import facing, steady, workable, yaw
from generators.warp import face_box

EDGE = 0.1
"""Width of the soft edge, in widths of the face and of the cut-out."""
MOMENTS = 8
"""Frames of the source, at most, from which is learned whose face it is."""
ARCFACE_SIDE = 112
"""Side of what an embedder sees, unless its graph says otherwise."""


class OnnxSwap(Section):
    """Another person's face by a team's own one-shot swapper, one frame after the other; colours are the net's."""

    swapper: Given
    """The team's ONNX file of the swapper: the target's face (1, 3, side, side) and an embedding (1, n) in, the face out."""
    embedder: Given
    """The ONNX file of the net whose embeddings the swapper was taught with: a face (1, 3, 112, 112) in -1 … 1 in, n out."""
    levels: Levels = "0..1"
    """What the swapper takes and gives for 0 … 255."""
    matrix: str | None = None
    """Name of an array in the swapper's graph by which embeddings are multiplied before, as InsightFace's inswapper needs."""
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

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with the source's face in every frame where it is seen and not turned too far."""
        target, source = parents
        return self.put_on(target, source)

    def put_on(self, target: Clip, source: Clip) -> Made:
        """The face that `source` shows on `target`. Raises MediaError for a clip, ModelError for a net that can't be used."""
        changed = in_picture(target, workable(target, self.max_yaw))
        moments = _good_frames(source, self.max_yaw)
        embed = _open_embedder(self.embedder)
        swap = _open_swapper(self.swapper, self.matrix, embed.length)
        who = swap.told(embed(source, moments))
        return Made.of(
            target,
            _pictures(target, changed, lambda face: swap(face, who, self.levels), swap.side),
            spans(changed, target.fps, "video"),
        )


def _good_frames(source: Clip, max_yaw: float) -> list[int]:
    """Up to MOMENTS frames, each the one that faces the camera most in its part of the clip. Raises MediaError."""
    track = face_of(source)
    ahead = facing(track, max_yaw)
    if not ahead.any():
        raise MediaError(source.name, f"is never turned less than {max_yaw:g} degrees to the side", "leave it out as a source")
    frames = np.flatnonzero(in_picture(source, ahead))
    turned = np.abs(yaw(track.mesh[frames]))
    parts = np.array_split(np.arange(len(frames)), min(MOMENTS, len(frames)))
    return [int(frames[part[np.argmin(turned[part])]]) for part in parts]


def _pictures(
    target: Clip, changed: NDArray[np.bool_], swap: Callable[[Picture], Picture], side: int
) -> Iterator[tuple[Picture, Mask]]:
    track = face_of(target)
    for frame, picture in enumerate(target.pictures()):
        mask = np.zeros(picture.shape[:2], np.uint8)
        if changed[frame]:
            mesh = steady(track, frame)
            at = place(five(mesh), arcface(side))
            box = x0, y0, x1, y1 = face_box(mesh, picture.shape, margin=0.05)
            over = laid(swap(cut(picture, at, side)), at, box)
            alpha = mask_of(oval(mesh, box, EDGE) * inside(at, side, box, EDGE))
            picture = picture.copy()
            picture[y0:y1, x0:x1] = mix(picture[y0:y1, x0:x1], over, alpha)
            mask[y0:y1, x0:x1] = alpha
        yield picture, mask


# --- The nets


@dataclass(frozen=True)
class _Embedder:
    """Says whom a face cut out at `side` pixels shows."""

    net: Net
    port: Port
    side: int
    length: int

    def __call__(self, source: Clip, moments: Sequence[int]) -> Floats:
        """(length,) of norm 1: the mean over some frames of the clip, each counting alike."""
        track, known = face_of(source), []
        for frame, picture in enumerate(islice(source.pictures(), moments[-1] + 1)):
            if frame in moments:
                at = place(five(steady(track, frame)), arcface(self.side))
                known.append(_unit(self.net([(self.port, planes(cut(picture, at, self.side), "-1..1"))]).ravel()))
        if len(known) < len(moments):
            raise MediaError(source.name, f"ends before its frame {moments[-1]} of {source.frames}", "ingest it again")
        return _unit(np.mean(known, axis=0))


@dataclass(frozen=True)
class _Swapper:
    """Puts the person of an embedding of `length` numbers into a face cut out at `side` pixels."""

    net: Net
    picture: Port
    embedding: Port
    side: int
    matrix: Floats | None

    def __call__(self, face: Picture, who: Floats, levels: Levels) -> Picture:
        """The other face (side, side, 3), as bright and as turned as the net makes it."""
        return shown(self.net([(self.picture, planes(face, levels)), (self.embedding, who[None])]), levels)

    def told(self, who: Floats) -> Floats:
        """An embedding as the net was taught to be given it."""
        return who if self.matrix is None else _unit(who @ self.matrix)


@lru_cache(maxsize=2)
def _open_embedder(given: Given) -> _Embedder:
    net = open_net(given)
    kind = "embedder of faces"
    (port,) = inputs_of(net, kind, 4)
    side = side_of(net, port) or ARCFACE_SIDE
    made = net([(port, np.zeros((1, 3, side, side), np.float32))]).shape
    if len(made) != 2 or made[0] != 1:
        raise ModelError(net.name, f"is no {kind}: it makes {made} of (1, 3, {side}, {side})", "give one that makes (1, n)")
    return _Embedder(net, port, side, made[1])


@lru_cache(maxsize=2)
def _open_swapper(given: Given, matrix: str | None, length: int) -> _Swapper:
    """For embeddings of `length` numbers. Raises ModelError."""
    net = open_net(given)
    kind = "one-shot swapper"
    picture, embedding = inputs_of(net, kind, 4, 2)
    side = side_of(net, picture)
    if side is None:
        what = "takes pictures of any size, so that nobody knows how large it was taught that faces are"
        raise ModelError(net.name, what, "export it for the size that it was trained at")
    factor = None if matrix is None else stored(given, matrix)
    if factor is not None and (factor.ndim != 2 or factor.shape[0] != length):
        what = f"stores {matrix} as {factor.shape}, which can't be multiplied with {length} numbers"
        raise ModelError(net.name, what, "name the right array, or give the embedder that belongs to this swapper")
    told = length if factor is None else factor.shape[1]
    if embedding.shape[1] not in (told, None):
        what = f"takes an embedding of {embedding.shape[1]} numbers, and the embedder makes {told}"
        raise ModelError(net.name, what, "give the embedder that belongs to this swapper")
    anybody = _unit(np.ones((1, told)))  # of zeros, a net that divides by the length would make nothing
    made = net([(picture, np.zeros((1, 3, side, side), np.float32)), (embedding, anybody)]).shape
    if made != (1, 3, side, side):
        raise ModelError(net.name, f"is no {kind}: it makes {made} of (1, 3, {side}, {side})", f"give a {kind}")
    return _Swapper(net, picture, embedding, side, factor)


def _unit(vector: NDArray[np.floating]) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
