"""Face swap by computer graphics: the source's face, warped point by point onto the target's and blended in.

The method of FaceForensics++'s FaceSwap (Rössler et al. 2019, section 3.1) on a 468-point mesh. The expression, the eyes'
gaze and the inside of the mouth stay the target's: lids and lips have holes in the mesh.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Made, Mask, Picture
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, OVAL, RIGHT_BROW, RIGHT_EYE, TRIANGLES
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import colours_at, match_colours, membrane, mix, multiband, poisson, poisson_bend, shrink
from generators.plugin import Casting, Stream, face_of, spans
from generators.pose import facing, steady, workable
from generators.warp import CLOSED, face_box, spread

Floats = NDArray[np.float32]
Blend = Literal["poisson", "multiband"]

# fmt: off
SKIN = np.array([
    9, 107, 336, 6, 197, 195, 5, 50, 101, 118, 117, 123, 147, 187, 205, 36, 142, 126, 207, 216, 280, 330, 347, 346, 352, 376,
    411, 425, 266, 371, 355, 427, 436, 199, 200, 201, 421, 18, 83, 313, 208, 428,
])
"""Points on bare skin: low forehead, nose, cheeks, chin."""
# fmt: on
BLINK = 0.1
"""How much shut eyes count against a source's frame, in sizes of the face by which its points would be off."""
STEADINESS = 0.9
"""Share of what was known of the target's colours that each new frame leaves; 0.9 remembers about ten frames."""


class BlendSwap(Section):
    """Another person's face, warped onto the target's and blended in, frame by frame."""

    blend: Blend = "poisson"
    """How the seam is hidden: `poisson` bends the new face's colours to meet the target's at the border; `multiband`
    fades coarse detail over a wide seam and fine detail over a narrow one."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it stay as they are."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "source"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeCapture"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with the source's face in every frame where it is seen and not turned too far."""
        target, source = parents
        ranking = fitting_frames(source, target, self.max_yaw)
        return lay_face(target, source, int(ranking[0]), self.blend, self.max_yaw)


def fitting_frames(source: Clip, target: Clip, max_yaw: float) -> NDArray[np.intp]:
    """The source's workable frames, the one first whose face is most like the target's in pose and expression.

    One frame serves the whole clip: nothing jumps or flickers, and what moves is the target's. Raises MediaError when the
    source has no such frame.
    """
    track = face_of(source)
    frames = np.flatnonzero(facing(track, max_yaw))
    if not len(frames):
        raise MediaError(source.name, f"is never turned less than {max_yaw:g} degrees to the side", "leave it out as a source")
    seen = face_of(target).seen
    goal = np.median([_upright(mesh) for mesh in face_of(target).mesh[seen]], axis=0)
    shapes = np.stack([_upright(mesh) for mesh in track.mesh[frames]])
    lids = np.hypot(*np.moveaxis(shapes[:, [159, 386]] - shapes[:, [145, 374]], 2, 0)).sum(1)
    shut = np.clip(1 - lids / max(float(np.percentile(lids, 75)), 1e-6), 0, 1)
    misfit = np.abs(shapes - goal).mean((1, 2)) + BLINK * shut
    return frames[np.argsort(misfit, kind="stable")]


def _upright(mesh: Floats) -> Floats:
    """Points (468, 2) turned, scaled and moved so that the face is upright, centred and of size 1."""
    flat = mesh[:, :2] - mesh[:, :2].mean(0)
    right, down = flat[263] - flat[33], flat[152] - flat[10]
    axis = right / np.hypot(*right)
    turned = np.stack([flat @ axis, flat @ np.array([-axis[1], axis[0]])], 1)
    return np.asarray(turned / np.hypot(*down), np.float32)


def lay_face(target: Clip, source: Clip, frame: int, blend: Blend, max_yaw: float) -> Made:
    """The face in the source's `frame` laid on the target's. Raises MediaError when half of the target can't take it."""
    changed = workable(target, max_yaw)
    face = _cut_out(next(islice(source.pictures(), frame, None)), face_of(source).mesh[frame])
    return Made(
        media_type=target.media_type,
        width=target.width,
        height=target.height,
        fps=target.fps,
        frames=target.frames,
        pictures=_pictures(target, face, changed, blend),
        sound=target.sound(),
        segments=spans(changed, target.fps, "video"),
    )


def _pictures(target: Clip, face: "Face", changed: NDArray[np.bool_], blend: Blend) -> Iterator[tuple[Picture, Mask]]:
    track = face_of(target)
    seam = Seam(face, blend)
    for frame, picture in enumerate(target.pictures()):
        mask = np.zeros(picture.shape[:2], np.uint8)
        if changed[frame]:
            picture = picture.copy()
            seam.lay(picture, mask, steady(track, frame))
        yield picture, mask


def _near(points: NDArray[np.int32], edges: int) -> NDArray[np.bool_]:
    """(468,) which points of the mesh are at most so many edges from some of `points`."""
    near = np.isin(np.arange(468), points)
    for _ in range(edges):
        near[TRIANGLES[near[TRIANGLES].any(1)]] = True
    return near


INSIDE = (2 - _near(OVAL, 0) - _near(OVAL, 1).astype(np.float32)) / 2
"""(468,) how far inside the face each point is: 0 on its outline, 0.5 one edge inwards, 1 from there on."""
_BROWS_AND_EYES = np.concatenate([RIGHT_BROW, LEFT_BROW, RIGHT_EYE, LEFT_EYE])
HAIR = _near(OVAL, 1) | (_near(OVAL, 2) & ~_near(_BROWS_AND_EYES, 1))
"""(468,) where a target's hair may hang into the face and is left as it is; brows are hair that belongs there."""
STRAND = _near(OVAL, 3) & ~_near(_BROWS_AND_EYES, 0)
"""(468,) where a source's hair is painted over: further inside, because here nothing but a strand would be lost."""


@dataclass(frozen=True)
class Face:
    """A face cut out of one picture, its mesh in pixels of the cut-out, and the colour (3,) of its skin."""

    picture: Picture
    mesh: Floats
    colour: Floats


def _cut_out(picture: Picture, mesh: Floats) -> Face:
    """The face without the hair that hangs into it: what is not of the skin's colour at the rim becomes smooth skin."""
    box = x0, y0, x1, y1 = face_box(mesh, picture.shape, margin=0.1)
    part = picture[y0:y1, x0:x1]
    local = mesh - np.array([x0, y0, 0], np.float32)
    skin = colours_at(part, local)[SKIN]
    (hair,), covered = spread(mesh, STRAND[:, None].astype(np.float32), CLOSED, box)
    reach = 1 + 2 * round(0.02 * max(part.shape))
    likeness = _likeness(part, skin, reach + 2)
    likeness = np.asarray(cv2.erode(likeness, np.ones((reach, reach), np.uint8)), np.float32)
    wrong = (1 - likeness) * np.maximum(hair, 1 - covered)
    smooth = membrane(shrink(part), 10 * shrink(likeness))
    smooth = np.clip(cv2.resize(smooth, part.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 255)
    alpha = np.asarray(cv2.blur(wrong, (reach, reach)) * 255).astype(np.uint8)
    painted = mix(part, smooth.astype(np.uint8), alpha)
    return Face(painted, local, np.median(skin, axis=0))


def _likeness(picture: NDArray[np.uint8] | Floats, skin: Floats, thin: int) -> Floats:
    """How much each pixel (h, w, 3) looks like the colours `skin` (n, 3), 0 … 1: hair and background do not.

    Lines of less than `thin` pixels count as what is around them: a frame of glasses that is half hair is no glasses.
    """

    def split(colours: NDArray[np.uint8] | Floats) -> Floats:
        light = colours.mean(-1, dtype=np.float32)
        return np.stack([light, colours[..., 0] - light, colours[..., 2] - light], -1)

    parts = split(skin)
    middle = np.median(parts, axis=0)
    width = np.maximum(1.5 * np.median(np.abs(parts - middle), axis=0), (12, 5, 5))
    distance = np.sqrt(np.square((split(picture) - middle) / width).sum(-1))
    likeness = np.clip((5 - distance) / 2, 0, 1).astype(np.float32)
    return np.asarray(cv2.morphologyEx(likeness, cv2.MORPH_CLOSE, np.ones((thin, thin), np.uint8)), np.float32)


class Seam:
    """Lays one face on frame after frame; what it learns of the target's colours changes slowly, so that nothing flickers."""

    def __init__(self, face: Face, blend: Blend) -> None:
        self._face, self._blend = face, blend
        self._known: dict[str, Floats] = {}

    def lay(self, picture: Picture, mask: Mask, mesh: Floats) -> None:
        """Change `picture` and set `mask`, both in place."""
        box = x0, y0, x1, y1 = face_box(mesh, picture.shape)
        under, face = picture[y0:y1, x0:x1], self._face
        skin = self._slowly("skin", colours_at(under, mesh - np.array([x0, y0, 0], np.float32))[SKIN])
        bare = self._slowly("bare", _likeness(shrink(under), skin, 3))
        values = np.concatenate([face.mesh[:, :2], INSIDE[:, None], HAIR[:, None]], 1)
        (map_x, map_y, inside, hair), covered = spread(mesh, values, CLOSED, box)
        over = np.asarray(cv2.remap(face.picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        over = match_colours(over, face.colour, np.median(skin, axis=0))
        lips = np.round((mesh[LIPS_INNER, :2] - (x0, y0)) * 16).astype(np.int32)
        mouth = cv2.fillPoly(np.zeros_like(covered), [lips], 1, shift=4)
        pixel = 1 + 2 * round((x1 - x0) / 200)
        bare = np.asarray(cv2.resize(bare, covered.shape[::-1], interpolation=cv2.INTER_LINEAR))
        depth = inside * (1 - hair * (1 - bare))
        start, end = (0.2, 0.9) if self._blend == "multiband" else (0.25, 0.5)
        alpha = np.clip((depth - start) / (end - start), 0, 1) * (1 - mouth)
        alpha = np.asarray(cv2.blur(alpha, (pixel, pixel)) * covered * 255).round().astype(np.uint8)
        if self._blend == "multiband":
            laid = multiband(under, over, alpha)
        else:
            bend = poisson_bend(under, over, bare * (depth < 0.5) * covered)
            laid = poisson(under, over, alpha, self._slowly("bend", bend))
        picture[y0:y1, x0:x1], mask[y0:y1, x0:x1] = laid, alpha

    def _slowly(self, name: str, now: Floats) -> Floats:
        known = self._known.get(name, now)
        self._known[name] = STEADINESS * known + (1 - STEADINESS) * now
        return self._known[name]
