"""Edits of a face by diffusion: a pipeline that a team brings paints part of one picture anew, and the clip follows it.

The pipeline is one that fills a masked part (as Stable Diffusion's inpainting does: Rombach et al. 2022), that repaints a
picture (img2img), or that follows an instruction (InstructPix2Pix: Brooks et al. 2023). Painted frame by frame it would
flicker. So one frame is painted, and what that changed is carried to all frames by the mesh.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Track, spans
from forgeline.errors import MediaError, ModelError
from forgeline.mesh import LEFT_BROW, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_BROW
from forgeline.sample import Role
from forgeline.section import Section
from generators.align import Place, cut, in_picture, laid, mask_of
from generators.blend import broad, mix, shrink
from generators.grain import noise, smooth
from generators.pipeline import GivenPipeline, Guarded, Pipeline, open_pipeline
from generators.plugin import Casting, Stream, face_of
from generators.pose import axes, pitch, steady, workable, yaw
from generators.warp import CLOSED, face_box, spread, trim

Floats = NDArray[np.float32]
Region = Literal["face", "eyes", "mouth", "beard", "hair"]

SPAN = 500
"""Frames of which one is painted: the clip is decoded up to it first."""
ROOM = 1.6
"""Side of the square that the pipeline sees, in sides of the face."""
WIDE, HIGH = 1.15, 1.5
"""How far from the middle of the face the band of hair ends at its sides and above, in distances of the face's outline."""
UNDER = 0.3
"""How far over the jaw's outline a beard goes, as a share of the way to that band."""
EDGE = 0.07
"""Width of the soft edge, which lies inside the region, in widths of the face."""
SMALL, LARGE = 8.0, 32.0
"""Levels: up to the first a change is added to what each frame shows; from the second on it replaces that."""
TURN, BLINK, DISTANCE = 1.0, 40.0, 40.0
"""What counts against painting a frame: a degree that the head is turned, eyes shut, e times nearer or farther than usual."""

WIDER = 0.08
"""A mouth that opens by so much more than the painted one, in distances from nose to chin, shows its own inside."""

# fmt: off
_FOREHEAD = np.array([71, 68, 104, 69, 108, 151, 337, 299, 333, 298, 301])
"""A row across the forehead, from the person's right."""
_CHEEKS = np.array([323, 376, 411, 425, 423, 327, 2, 98, 203, 205, 187, 147, 93])
"""Where a beard ends, from the left ear below the nose to the right ear."""
_AROUND_LIPS = np.array([
    164, 167, 165, 92, 186, 57, 43, 106, 182, 83, 18, 313, 406, 335, 273, 287, 410, 322, 391, 393,
])
_AROUND_EYES = np.concatenate([RIGHT_BROW, LEFT_BROW, [143, 372, 111, 340, 117, 346, 118, 347]])
# fmt: on
_SKIRT = np.arange(468, 468 + len(OVAL))
_RIM = np.stack([OVAL, _SKIRT, np.roll(OVAL, -1), np.roll(OVAL, -1), _SKIRT, np.roll(_SKIRT, -1)], 1).reshape(-1, 3)
_SKIRTED = np.concatenate([CLOSED, _RIM]).astype(np.int32)
"""Triangles of the face without holes, and of the band around it."""


class Edit(Section):
    """What is to be painted, and where."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """What the sample's row calls it."""
    prompt: Annotated[str, Field(pattern=r"\S")]
    """What the pipeline is told: a description, or an instruction for a pipeline that follows those."""
    region: Region
    """Where: the whole `face`, `eyes` with brows, `mouth`, `beard` (chin, jaw and upper lip), or forehead and `hair`."""


class Inpaint(Guarded):
    """The target with something about its face painted anew by a team's diffusion pipeline, steady all through the clip."""

    pipeline: GivenPipeline
    """The team's folder: of inpainting, img2img or instruction editing, as diffusers saves it."""
    edits: Annotated[list[Edit], Field(min_length=1)]
    """Of these one is drawn for each clip."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    """Of denoising; one picture of a clip is painted, whatever its length."""
    strength: Annotated[float, Field(gt=0, le=1)] = 0.9
    """How far inpainting and img2img go from what was there; an instruction pipeline has no such number."""
    guidance: Annotated[float, Field(ge=0, le=50)] = 7.5
    """How closely it keeps to the prompt."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it stay as they are."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len({edit.name for edit in self.edits}) < len(self.edits):
            raise ValueError("has two edits of one name")
        if int(self.steps * self.strength) < 1:
            raise ValueError("has so small a strength that less than one of its steps is taken")
        return self

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with one edit, in every frame where its face is seen and not turned too far.

        Raises MediaError also when the pipeline's safety checker flags what it painted.
        """
        (target,) = parents
        changed = in_picture(target, workable(target, self.max_yaw))
        edit = self.edits[int(rng.integers(len(self.edits)))]
        seed, chance = int(rng.integers(2**31)), np.random.default_rng(rng.integers(2**63))
        change = self._painted(target, _key(face_of(target), changed), edit, seed)
        return Made.of(
            target,
            _pictures(target, changed, change, chance),
            spans(changed, target.fps, "video"),
            {"edit": edit.name, "region": edit.region},
        )

    def _painted(self, target: Clip, key: int, edit: Edit, seed: int) -> "_Change":
        """What the edit makes of the frame `key`."""
        pipeline = _opened(self.pipeline)
        picture = next(islice(target.pictures(), key, None), None)
        if picture is None:
            raise MediaError(target.name, f"ends before its frame {key} of {target.frames}", "ingest it again")
        mesh = _skirted(steady(face_of(target), key))
        at = _upright(mesh[:468], pipeline.side)
        box = x0, y0, x1, y1 = face_box(mesh, picture.shape)
        here = mesh - np.array([x0, y0, 0], np.float32)
        region = _filled(edit.region, here, (y1 - y0, x1 - x0))
        outline = _filled("face", here, region.shape) > 0
        grain = noise(picture[y0:y1, x0:x1], outline)
        shown = picture.copy()
        shown[y0:y1, x0:x1] = smooth(picture[y0:y1, x0:x1], outline)  # its grain would stand still on all frames
        seen = cut(shown, at, pipeline.side)
        there = _filled(edit.region, _moved(mesh, at), seen.shape[:2])
        painted = self._paint(pipeline, seen, there * np.uint8(255), edit, seed)
        if painted is None:
            todo = "leave it out, or word the prompt otherwise"
            raise MediaError(target.name, f"with the edit {edit.name} is what the pipeline's safety checker flags", todo)
        before, after = (laid(side, at, box).astype(np.float32) for side in (seen, painted))
        change = _Change.of(here, before, after, region, grain)
        if not len(change.triangles):
            what = f"shows nothing in the region {edit.region} that the edit {edit.name} changes"
            raise MediaError(target.name, what, "leave it out, or let the edit be stronger")
        return change

    def _paint(self, pipeline: Pipeline, seen: Picture, there: Mask, edit: Edit, seed: int) -> Picture | None:
        from PIL import Image

        told: dict[str, Any] = {"mask_image": Image.fromarray(there), "strength": self.strength}
        told |= {"guidance_scale": self.guidance, "height": pipeline.side, "width": pipeline.side}
        known = {name: value for name, value in told.items() if name in pipeline.takes}
        painted = pipeline(seed, prompt=edit.prompt, image=Image.fromarray(seen), num_inference_steps=self.steps, **known)
        if painted is not None and painted.shape != seen.shape:
            what = f"paints {painted.shape[1]} x {painted.shape[0]} pixels of {seen.shape[1]} x {seen.shape[0]}"
            raise ModelError(pipeline.name, what, "give one that keeps the size of what it edits")
        return painted


def _opened(given: GivenPipeline) -> Pipeline:
    """Raises ModelError for a pipeline that edits no pictures."""
    pipeline = open_pipeline(given)
    if not {"prompt", "image", "num_inference_steps"} <= pipeline.takes:
        todo = "give one of inpainting, img2img or instruction editing"
        raise ModelError(pipeline.name, f"is a {pipeline.kind}, which edits no picture by a prompt", todo)
    return pipeline


def _key(track: Track, frames: NDArray[np.bool_]) -> int:
    """The one of these frames (frames,) in which most of the face is seen: facing the camera, open-eyed, as near as usual."""
    able = np.flatnonzero(frames)[:SPAN]
    mesh = track.mesh[able]
    size = np.hypot(*(mesh[:, 152] - mesh[:, 10])[:, :2].T)
    lids = np.hypot(*np.moveaxis(mesh[:, [159, 386]] - mesh[:, [145, 374]], 2, 0)[:2]).sum(1) / size
    shut = np.clip(1 - lids / max(float(np.percentile(lids, 75)), 1e-6), 0, 1)
    against = (
        TURN * (np.abs(yaw(mesh)) + np.abs(pitch(mesh))) + BLINK * shut + DISTANCE * np.abs(np.log(size / np.median(size)))
    )
    return int(able[np.argmin(against)])


# --- Where


def _skirted(mesh: Floats) -> Floats:
    """The mesh (468, 3) and, after it, a ring of points around the face: (504, 3)."""
    middle = mesh.mean(0)
    down = axes(mesh)[1]
    ring = WIDE * (mesh[OVAL] - middle)
    ring[:, :2] += (HIGH / WIDE - 1) * (ring[:, :2] @ down)[:, None] * down
    return np.concatenate([mesh, middle + ring])


def _upright(mesh: Floats, side: int) -> Place:
    """Where a square of ROOM times the face's size, as upright as the face, fills `side` pixels."""
    right, down, _ = axes(mesh)
    basis = np.stack([right, down]).astype(np.float64)
    points = mesh[:, :2] @ basis.T
    low, high = points.min(0), points.max(0)
    scale = side / (ROOM * max(float((high - low).max()), 1.0))
    return np.column_stack([scale * basis, (side - 1) / 2 - scale * (low + high) / 2])


def _moved(mesh: Floats, at: Place) -> Floats:
    """A mesh in the pixels of the cut-out at a place."""
    flat = mesh[:, :2] @ at[:, :2].T + at[:, 2]
    return np.column_stack([flat, mesh[:, 2]]).astype(np.float32)


def _filled(region: Region, mesh: Floats, shape: tuple[int, ...]) -> Mask:
    """1 in a region of the face with this mesh (504, 3), else 0: (height, width) of `shape`."""
    flat, top = mesh[:, :2], [*range(len(OVAL) - 6, len(OVAL)), *range(7)]
    jaw = OVAL[10:27]
    rings = {
        "face": flat[OVAL],
        "eyes": cv2.convexHull(flat[_AROUND_EYES])[:, 0],
        "mouth": flat[_AROUND_LIPS],
        "beard": np.concatenate([flat[jaw] + UNDER * (flat[_SKIRT[10:27]] - flat[jaw]), flat[_CHEEKS[::-1]]]),
        "hair": np.concatenate([flat[_SKIRT[top]], flat[_FOREHEAD[::-1]]]),
    }
    filled = _polygon(rings[region], shape)
    if region in ("eyes", "mouth"):  # lids and lips have the whole change, the skin around them has the soft edge
        reach = 1 + 2 * round(EDGE * float(np.ptp(mesh[OVAL, 0])))
        wide = cv2.dilate(filled, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        filled = np.asarray(wide * _polygon(flat[OVAL], shape), np.uint8)
    return filled * (1 - _polygon(flat[LIPS_OUTER], shape)) if region == "beard" else filled


def _polygon(points: Floats, shape: tuple[int, ...]) -> Mask:
    return np.asarray(cv2.fillPoly(np.zeros(shape[:2], np.uint8), [np.round(points * 16).astype(np.int32)], 1, shift=4))


# --- From one frame to all


@dataclass(frozen=True)
class _Change:
    """What was painted on one frame, over the box of the face there."""

    mesh: Floats
    """(504, 3), in the box's pixels."""
    triangles: NDArray[np.int32]
    """Those that anything was painted on."""
    after: Floats
    """(h, w, 4): the painted colours, and how much they count, 0 … 1, with a soft edge."""
    before: Floats
    """(h, w, 4): the colours that were there, and how much the new ones replace instead of adding to them, 0 … 1."""
    grain: float
    """Deviation of the picture's noise in levels."""

    @classmethod
    def of(cls, mesh: Floats, before: Floats, after: Floats, region: Mask, grain: float) -> "_Change":
        """From the colours before and after (h, w, 3), and where they count."""
        width = float(np.ptp(mesh[OVAL, 0]))
        depth = cv2.distanceTransform(region, cv2.DIST_L2, 5) / max(EDGE * width, 1.0)
        alpha = _eased(np.asarray(depth, np.float32))
        off = np.abs(after - before).max(2)
        near = cv2.GaussianBlur(off * alpha, (0, 0), width / 25) / (cv2.GaussianBlur(alpha, (0, 0), width / 25) + 1e-3)
        large = _eased((near - SMALL) / (LARGE - SMALL))
        counts = alpha * off >= 1
        low = np.clip(np.floor(mesh[_SKIRTED, :2].min(1)), 0, None).astype(int)
        high = np.ceil(mesh[_SKIRTED, :2].max(1)).astype(int) + 1
        on = [bool(counts[y0:y1, x0:x1].any()) for (x0, y0), (x1, y1) in zip(low, high, strict=True)]
        return cls(mesh, _SKIRTED[on], np.dstack([after, alpha]), np.dstack([before, large]), grain)

    def lay(self, picture: Picture, mask: Mask, mesh: Floats, chance: np.random.Generator) -> None:
        """Change a face with this mesh (468, 3) and set `mask`, both in place."""
        mesh = _skirted(mesh)
        box = x0, y0, x1, y1 = face_box(mesh[np.unique(self.triangles)], picture.shape)
        if x0 >= x1 or y0 >= y1:
            return
        (map_x, map_y), within = spread(mesh, self.mesh[:, :2], self.triangles, box)
        after, before = (
            cv2.remap(plane, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for plane in (self.after, self.before)
        )
        alpha = after[..., 3] * within * self._known(mesh, box)
        large = before[..., 3:]
        under = picture[y0:y1, x0:x1]
        # What each frame shows otherwise than the painted one: all of that stays where the change is small, and only its
        # light where it is large, or the old would shine through the new.
        other = under - before[..., :3]
        light = cv2.resize(broad(shrink(other), shrink(alpha)), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        noisy = self.grain * chance.standard_normal(under.shape[:2], dtype=np.float32)[..., None]
        over = after[..., :3] + other + large * (light + noisy - other)
        share = mask_of(alpha)
        laid_on = mix(under, np.clip(over + 0.5, 0, 255).astype(np.uint8), share)
        picture[y0:y1, x0:x1], mask[y0:y1, x0:x1] = laid_on, share

    def _known(self, mesh: Floats, box: tuple[int, int, int, int]) -> Floats:
        """(h, w) over the box: less than 1 between lips that are further open than those that were painted."""
        x0, y0, x1, y1 = box
        painted, now = (float(np.hypot(*(m[14] - m[13])[:2])) / axes(m)[2] for m in (self.mesh, mesh))
        unknown = float(np.clip((now - painted) / WIDER - 0.25, 0, 1))
        mouth = _polygon(mesh[LIPS_INNER, :2] - np.array([x0, y0], np.float32), (y1 - y0, x1 - x0))
        return 1 - unknown * np.asarray(cv2.blur(mouth.astype(np.float32), (3, 3)), np.float32)


def _pictures(
    target: Clip, changed: NDArray[np.bool_], change: _Change, chance: np.random.Generator
) -> Iterator[tuple[Picture, Mask]]:
    track = face_of(target)
    for frame, picture in enumerate(target.pictures()):
        mask = np.zeros(picture.shape[:2], np.uint8)
        if changed[frame]:
            original, picture = picture, picture.copy()
            change.lay(picture, mask, steady(track, frame), chance)
            trim(mask, original, picture)
        yield picture, mask


def _eased(share: Floats) -> Floats:
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
