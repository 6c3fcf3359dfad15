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

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_EYE, LIPS_INNER, OVAL, RIGHT_EYE
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import broad, half, match_colours, mix, multiband, poisson_bend
from generators.cover import Layout, Usual
from generators.grain import blurred, excess, lay_grain, noise, sharpness, smooth
from generators.hair import HAIR, INSIDE, bare, likeness
from generators.plugin import Casting, Stream, face_of
from generators.pose import facing, inside, steady, workable
from generators.warp import CLOSED, face_box, spread

Floats = NDArray[np.float32]
Blend = Literal["poisson", "multiband"]

# fmt: off
SKIN = np.array([
    9, 107, 336, 6, 197, 195, 5, 50, 101, 118, 117, 123, 147, 187, 205, 36, 142, 126, 207, 216, 280, 330, 347, 346, 352, 376,
    411, 425, 266, 371, 355, 427, 436, 199, 200, 201, 421, 18, 83, 313, 208, 428,
])
"""Points on bare skin: low forehead, nose, cheeks, chin."""
BETWEEN_EYES = np.array([8, 9, 168, 6, 122, 351, 193, 417, 107, 336])
"""Points between the eyes and the brows: skin that no mask covers."""
LIPS = np.array([11, 72, 302, 73, 303, 16, 85, 315, 15, 86, 316])
# fmt: on
PALE = 0.03
"""By how much less red than the skin, as a share of the three channels, lips may be (GRID and the demo: 0.00 to 0.09 more)."""
BLINK = 0.1
"""How much shut eyes count against a source's frame, in sizes of the face by which its points would be off."""
CHOICE = 9
"""Frames of the source that are looked at, and one taken."""
SPAN, LOOKS = 500, 15
"""From how many frames the target's usual look is learnt, and how many of them are looked at."""
FINER = 1.5
"""A source's face is scaled down to this many times the size of the target's."""
SHADE = 0.7
"""Share of the target's broad light and shade that the new face takes over."""
FAINT = 0.1
"""Shares below about this one change no pixel of two pictures that look alike, and so they don't belong into a mask."""
LIDS = 0.12
"""How far around an eye the target's lids stay, in widths of the eye: a mesh is late to shut, and lashes belong to the eye."""


class BlendSwap(Section):
    """Another person's face, warped onto the target's and blended in, frame by frame."""

    blend: Blend = "poisson"
    """How the seam is hidden: `poisson` bends the new face's colours to meet the target's at the border; `multiband` also
    fades coarse detail over a wide seam and fine detail over a narrow one."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it stay as they are."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "source"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeCapture"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with the source's face in every frame where it is seen and not turned too far."""
        target, source = parents
        moments = fitting_frames(source, target, self.max_yaw)
        return lay_face(target, source, moments, self.blend, self.max_yaw, rng)


def fitting_frames(source: Clip, target: Clip, max_yaw: float) -> NDArray[np.intp]:
    """The source's workable frames, the one first whose face is most like the target's in pose and expression.

    One frame serves the whole clip: nothing jumps or flickers, and what moves is the target's. Raises MediaError when the
    source has no such frame.
    """
    track = face_of(source)
    frames = np.flatnonzero(facing(track, max_yaw) & inside(source))
    if not len(frames):
        what = f"never shows a whole face turned less than {max_yaw:g} degrees"
        raise MediaError(source.name, what, "leave it out as a source, or allow a larger max_yaw")
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


def lay_face(
    target: Clip, source: Clip, moments: NDArray[np.intp], blend: Blend, max_yaw: float, rng: np.random.Generator
) -> Made:
    """The source's face of one of the first of these frames laid on the target's; the two may be one clip.

    Raises MediaError when half of the target can't take it, or when a mouth is covered.
    """
    changed = workable(target, max_yaw)
    moments = moments[:CHOICE]
    looks = np.flatnonzero(changed)[:SPAN]
    looks = looks[np.unique(np.linspace(0, len(looks) - 1, LOOKS).round().astype(int))]
    if source is target:
        donors = taker = _cut_out(target, np.union1d(moments, looks))
    else:
        donors, taker = _cut_out(source, moments), _cut_out(target, looks)
    face = _clearest(source.name, [donors[moment] for moment in moments])
    seam = _Seam(face, target.name, [taker[look] for look in looks], blend, rng)
    return Made.of(target, _pictures(target, seam, changed), spans(changed, target.fps, "video"))


def _pictures(target: Clip, seam: "_Seam", changed: NDArray[np.bool_]) -> Iterator[tuple[Picture, Mask]]:
    track = face_of(target)
    for frame, picture in enumerate(target.pictures()):
        mask = np.zeros(picture.shape[:2], np.uint8)
        if changed[frame]:
            picture = picture.copy()
            seam.lay(picture, mask, steady(track, frame))
        yield picture, mask


# --------------------------------------------------------------------------------------------- faces and their looks


@dataclass(frozen=True)
class Face:
    """A face cut out of one picture, and its mesh in pixels of the cut-out."""

    picture: Picture
    mesh: Floats

    @property
    def size(self) -> float:
        """Pixels from the forehead to the chin."""
        return float(np.ptp(self.mesh[OVAL, 1]))

    @property
    def inner(self) -> NDArray[np.bool_]:
        """(height, width) where the face is, well inside its outline."""
        middle = self.mesh[OVAL, :2].mean(0)
        outline = np.round((middle + 0.8 * (self.mesh[OVAL, :2] - middle)) * 16).astype(np.int32)
        return cv2.fillPoly(np.zeros(self.picture.shape[:2], np.uint8), [outline], 1, shift=4) > 0

    def shrunk(self, by: float) -> "Face":
        """The face at `by` times its size, not larger."""
        height, width = self.picture.shape[:2]
        size = max(1, round(min(by, 1) * width)), max(1, round(min(by, 1) * height))
        scale = np.array([size[0] / width, size[1] / height, min(by, 1)], np.float32)
        half_a_pixel = np.array([0.5, 0.5, 0], np.float32)
        small = cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA)
        return Face(np.asarray(small, np.uint8), (self.mesh + half_a_pixel) * scale - half_a_pixel)


def _cut_out(clip: Clip, frames: NDArray[np.intp]) -> dict[int, Face]:
    """The faces of these frames, in one pass that ends at the last of them."""
    track, faces = face_of(clip), {}
    for frame, picture in enumerate(islice(clip.pictures(), int(frames.max()) + 1)):
        if frame in frames:
            x0, y0, x1, y1 = face_box(track.mesh[frame], picture.shape, margin=0.1)
            faces[frame] = Face(picture[y0:y1, x0:x1].copy(), track.mesh[frame] - np.array([x0, y0, 0], np.float32))
    return faces


def _usual(name: str, layout: Layout, faces: Sequence[Face]) -> Usual:
    """How the face of the clip `name` usually looks. Raises MediaError when what one sees of the mouth is no lips."""
    usual = Usual([layout(face.picture, face.mesh) for face in faces], layout.within)
    lips, skin = (np.median(layout.at(points, usual.colours), axis=0) for points in (LIPS, BETWEEN_EYES))
    if lips[0] / max(lips.sum(), 1) < skin[0] / max(skin.sum(), 1) - PALE:
        raise MediaError(name, "shows a mouth that is covered", "leave it out of the methods that swap faces")
    return usual


def _clearest(name: str, faces: Sequence[Face]) -> Face:
    """The first of these faces of one person that nothing covers, or the one that is covered least."""
    layout = Layout(faces[0].mesh)
    usual = _usual(name, layout, faces)
    covered = [float(usual.cover(layout(face.picture, face.mesh)).mean()) for face in faces]
    return next(face for face, share in zip(faces, covered, strict=True) if share <= min(covered) + 0.02)


def _softened(face: Face, looks: Sequence[Face]) -> tuple[Face, float]:
    """The face without its grain, which would stand still on it, and no sharper than these; and the grain to lay on it."""
    look, face = looks[len(looks) // 2], Face(smooth(face.picture, face.inner), face.mesh)
    (map_x, map_y), _ = spread(look.mesh, face.mesh[:, :2], CLOSED, (0, 0, *look.picture.shape[1::-1]))
    laid = _looked_up(face.picture, map_x, map_y)
    blur = excess(laid, look.inner, float(np.median([sharpness(other.picture, other.inner) for other in looks])))
    wanted = float(np.median([noise(other.picture, other.inner) for other in looks]))
    missing = max(wanted**2 - noise(blurred(laid, blur), look.inner) ** 2, 0.0) ** 0.5
    return Face(blurred(face.picture, blur * face.size / look.size), face.mesh), missing


def _looked_up(picture: Picture, map_x: Floats, map_y: Floats) -> Picture:
    return np.asarray(cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


# ------------------------------------------------------------------------------------------- laying it on the target


class _Seam:
    """Lays one face on frame after frame of a target.

    What varies slowly (colours, their bend, what hair hides) is kept on the cells of the face's layout: there the same
    place on the face is the same cell in every frame, so that nothing flickers.
    """

    def __init__(self, face: Face, target: str, looks: Sequence[Face], blend: Blend, rng: np.random.Generator) -> None:
        self._blend, self._layout = blend, Layout(face.mesh)
        self._rng = np.random.default_rng(rng.integers(2**63))  # whoever gave `rng` may go on with it between two pictures
        layout, usual = self._layout, _usual(target, self._layout, looks)
        face = face.shrunk(FINER * float(np.median([look.size for look in looks])) / face.size)
        own = layout.at(SKIN, layout(face.picture, face.mesh).astype(np.float32))
        clean, painted = bare(face.picture, face.mesh, own)
        self._face, self._grain = _softened(Face(clean, face.mesh), looks)
        self._usual, self._colour, self._flat = usual, np.median(own, axis=0), layout(self._face.picture, face.mesh)

        skin = likeness(usual.colours, layout.at(SKIN, usual.colours), 5)
        inside, hair = layout.spread(np.stack([INSIDE, HAIR], 1).astype(np.float32))
        depth = inside * (1 - hair * (1 - skin)) * (1 - layout(painted, face.mesh) / np.float32(255))
        start, end = (0.2, 0.9) if blend == "multiband" else (0.25, 0.5)
        self._alpha = np.clip((depth - start) / (end - start), 0, 1)
        self._trust = half(skin * (depth < 0.5) * layout.within)
        self._both_skin = half(skin * likeness(self._flat, own, 5) * layout.within)

    def lay(self, picture: Picture, mask: Mask, mesh: Floats) -> None:
        """Change `picture` and set `mask`, both in place."""
        layout, usual = self._layout, self._usual
        seen = layout(picture, mesh)
        covered = usual.cover(seen)
        usual.follow(seen, covered)

        box = x0, y0, x1, y1 = face_box(mesh, picture.shape)
        under = picture[y0:y1, x0:x1]
        places = np.concatenate([self._face.mesh[:, :2], layout.mesh[:, :2]], 1)
        (map_x, map_y, cell_x, cell_y), within = spread(mesh, places, CLOSED, box)
        over = _looked_up(self._face.picture, map_x, map_y)
        skin = np.median(layout.at(SKIN, usual.colours), axis=0)
        over = match_colours(over, self._colour, skin)
        difference = half(usual.colours - match_colours(self._flat, self._colour, skin))
        shade = SHADE * broad(difference, self._both_skin)
        bend = shade + poisson_bend(difference - shade, self._trust)
        bend = np.asarray(cv2.resize(bend, covered.shape, interpolation=cv2.INTER_LINEAR), np.float32)
        slow = cv2.remap(np.dstack([bend, self._alpha * (1 - covered)]), cell_x, cell_y, cv2.INTER_LINEAR)
        over = np.asarray(cv2.add(over, slow[..., :3], dtype=cv2.CV_8U), np.uint8)
        over = lay_grain(over, self._grain, self._rng)

        pixel = 1 + 2 * round((x1 - x0) / 200)
        alpha = slow[..., 3] * (1 - _holes(mesh - np.array([x0, y0, 0], np.float32), within.shape))
        alpha = cv2.blur(alpha, (pixel, pixel)) * within
        alpha = np.clip(((1 + FAINT) * alpha - FAINT) * 255, 0, 255).round().astype(np.uint8)
        laid = multiband(under, over, alpha) if self._blend == "multiband" else mix(under, over, alpha)
        picture[y0:y1, x0:x1], mask[y0:y1, x0:x1] = laid, alpha


def _holes(mesh: Floats, shape: tuple[int, ...]) -> Mask:
    """1 between the lips and around the eyes, where the target's teeth, gaze and lids stay: (height, width) of `shape`."""
    holes = np.zeros(shape[:2], np.uint8)
    rings = [np.round(mesh[ring, :2] * 16).astype(np.int32) for ring in (LIPS_INNER, RIGHT_EYE, LEFT_EYE)]
    cv2.fillPoly(holes, rings, 1, shift=4)
    for eye in rings[1:]:
        cv2.polylines(holes, [eye], True, 1, 1 + round(2 * LIDS * np.ptp(eye[:, 0]) / 16), shift=4)
    return holes
