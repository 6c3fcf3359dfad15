"""Faces: found by a detector, followed by a 468-point mesh, and kept as tracks.

The mesh is MediaPipe's Face Mesh (Kartynnik et al. 2019), run by LiteRT; the detectors stand in `detectors`.
"""

import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from forgeline.boxes import Floats, area_of, middle_of, overlap
from forgeline.clip import Clip, Mask, Picture, Track
from forgeline.detectors import Area, Detector, DetectorName, Sighting, detector, sigmoid
from forgeline.errors import MediaError
from forgeline.files import replacing
from forgeline.mesh import (
    LEFT_EYE,
    LEFT_EYE_CORNER,
    LEFT_MOUTH_CORNER,
    NOSE_TIP,
    RIGHT_EYE,
    RIGHT_EYE_CORNER,
    RIGHT_MOUTH_CORNER,
)
from forgeline.nets import Net

CONFIDENCE = 0.5
"""What the mesh net must say for a face to be one."""
MESH_SIDE = 192
MARGIN = 1.5
"""Side of the square that the mesh net sees, in sides of the face."""
SEARCH_EVERY = 10
"""Frames from one search for new faces to the next while a face is being followed."""
GAP_S = 2.0
"""A face that comes back within this time, where it was and as large as it was, is the same face."""
CUT = 12.0
"""Mean change of a picture's coarse colours, of 255, that makes it another scene (GRID: 1 to 4 in a clip, 9 to 50
between clips). No face is followed across a cut, unless the scene from before comes back."""
MOST_FACES = 8
"""Faces followed at a time, and tracks returned."""
MASKED = 48
"""Luma, of 255, from which on a pixel of a mask counts: black is 16, and a lossy file adds to it."""
FEWEST_FRAMES = 3
"""What is seen in fewer frames of a longer clip is a flicker of the nets, not a face."""


Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Face:
    """One face in one picture: `box` (4,), `points` (5, 2), `mesh` (468, 3), as in a Track; `score` in [0, 1]."""

    box: Floats
    points: Floats
    mesh: Floats
    score: float


class FaceFinder:
    """The nets, loaded. OpenCV's thread pool is switched off, so that equal pictures give equal bytes.

    `first` finds faces; where it finds none in a whole picture `second` looks too, if there is one.
    """

    def __init__(self, first: DetectorName = "mediapipe", second: DetectorName | None = None) -> None:
        cv2.setNumThreads(1)
        self._detector = detector(first)
        self._second = detector(second) if second else None
        self._mesher = Net("face_mesh", ("conv2d_21", "conv2d_31"))

    def find(self, picture: Picture, threshold: float = 0.5) -> list[Face]:
        """The faces of a picture, the largest first.

        MediaPipe's detector sees 128 pixels: it finds faces down to about 8 % of the longer side of what it is given. So the
        whole picture comes first, then tiles of half and of a quarter of the longer side, until something is found; the
        others see 640, and tiles of larger pictures alone.
        """
        height, width = picture.shape[:2]
        for detect in (self._detector, self._second):
            for parts in (1, 2, 4):
                if detect is None or (parts > 1 and max(height, width) < parts * detect.side):
                    break
                if faces := self._meshed(picture, detect, _tiles(width, height, parts), threshold):
                    return faces
        return []

    def look(self, picture: Picture, areas: Iterable[Area], threshold: float = 0.5, known: Sequence[Face] = ()) -> list[Face]:
        """The faces in some areas of a picture, the largest first, without those that are `known` already."""
        return self._meshed(picture, self._detector, areas, threshold, known)

    def _meshed(
        self, picture: Picture, detect: Detector, areas: Iterable[Area], threshold: float, known: Sequence[Face] = ()
    ) -> list[Face]:
        sightings = [sighting for area in areas for sighting in detect(picture, area, threshold)]
        faces: list[Face] = []
        for sighting in sorted(sightings, key=lambda sighting: -sighting.score):
            if any(_covers(face.box, sighting.box) for face in [*known, *faces]):
                continue
            face = self._settle(picture, sighting)
            if face.score >= CONFIDENCE and not any(overlap(face.box, other.box) > 0.3 for other in [*known, *faces]):
                faces.append(face)
        return sorted(faces, key=lambda face: -area_of(face.box))

    def confidence(self, picture: Picture) -> float:
        """How sure the detector is, in [0, 1], of the surest face that it sees in the whole picture; 0 for none."""
        height, width = picture.shape[:2]
        return max((sighting.score for sighting in self._detector(picture, (0, 0, width, height), 0.05)), default=0.0)

    def follow(self, picture: Picture, face: Face) -> Face:
        """The face that lies where `face` was in the picture before; its `score` says whether there is one."""
        mesh = face.mesh[:, :2]
        along = mesh[LEFT_EYE_CORNER] - mesh[RIGHT_EYE_CORNER]
        along = along / max(float(np.hypot(*along)), 1e-6)
        axes = np.stack([along, [-along[1], along[0]]])
        upright = mesh @ axes.T
        low, high = upright.min(0), upright.max(0)
        return self._mesh(picture, (low + high) / 2 @ axes, float((high - low).max()), along)

    def _settle(self, picture: Picture, sighting: Sighting) -> Face:
        """The mesh of a face that was sighted, at least two passes, until it stays where it is."""
        side = float((sighting.box[2:] - sighting.box[:2]).max())
        face = self._mesh(picture, middle_of(sighting.box), side, sighting.eyes[1] - sighting.eyes[0])
        for _ in range(3):
            before, face = face, self.follow(picture, face)
            if overlap(before.box, face.box) > 0.9:
                break
        return face

    def _mesh(self, picture: Picture, middle: Floats, side: float, along: Floats) -> Face:
        """One pass of the mesh net over a square of MARGIN * `side` pixels, turned so that `along` lies level."""
        scale = MESH_SIDE / max(side * MARGIN, 1.0)
        angle = float(np.arctan2(along[1], along[0]))
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        shift = MESH_SIDE / 2 - turn @ middle
        square = cv2.warpAffine(
            picture,
            np.column_stack([turn, shift]),
            (MESH_SIDE, MESH_SIDE),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        places, logit = self._mesher(np.asarray(square / np.float32(255), np.float32))
        mesh = places.reshape(468, 3).astype(np.float64)
        mesh[:, :2] = (mesh[:, :2] - shift) @ np.linalg.inv(turn).T
        mesh[:, 2] /= scale
        return _face(mesh.astype(np.float32), float(sigmoid(logit.reshape(-1))[0]))


def _face(mesh: Floats, score: float) -> Face:
    flat = mesh[:, :2]
    points = [flat[RIGHT_EYE].mean(0), flat[LEFT_EYE].mean(0), flat[NOSE_TIP]]
    points += [flat[RIGHT_MOUTH_CORNER], flat[LEFT_MOUTH_CORNER]]
    return Face(np.concatenate([flat.min(0), flat.max(0)]), np.stack(points), mesh, score)


def _tiles(width: int, height: int, parts: int) -> list[Area]:
    """Squares of 1/`parts` of the longer side that overlap by half; one part is the whole picture."""
    if parts == 1:
        return [(0, 0, width, height)]
    side = math.ceil(max(width, height) / parts)

    def starts(length: int) -> list[int]:
        rest = max(0, length - side)
        return [round(start) for start in np.linspace(0, rest, 1 + math.ceil(2 * rest / side))]

    return [(x, y, min(x + side, width), min(y + side, height)) for y in starts(height) for x in starts(width)]


def _covers(box: Floats, other: Floats) -> bool:
    x, y = middle_of(other)
    return bool(box[0] < x < box[2] and box[1] < y < box[3])


@dataclass
class _Path:
    """A face being followed: what it was in which frame, and how the scene looked when it was seen last."""

    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    measured: list[Any] = field(default_factory=list)
    scene: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    def add(self, frame: int, face: Face, scene: Floats) -> None:
        self.frames.append(frame)
        self.faces.append(face)
        self.scene = scene

    @property
    def expected(self) -> Face:
        """The face where it is next if it moves on as it did."""
        now = self.faces[-1]
        if len(self.frames) < 2 or self.frames[-2] != self.frames[-1] - 1:
            return now
        way = middle_of(now.box) - middle_of(self.faces[-2].box)
        return replace(now, box=now.box + np.tile(way, 2), points=now.points + way, mesh=now.mesh + np.append(way, 0))

    @property
    def area(self) -> float:
        return sum(area_of(face.box) for face in self.faces)


def track_faces(clip: Clip, finder: FaceFinder) -> list[Track]:
    """The faces of a clip, as `tracks_measured` follows them."""
    return [track for track, _ in tracks_measured(clip, finder, lambda picture, mesh: None)]


def tracks_measured(
    clip: Clip, finder: FaceFinder, measure: Callable[[Picture, Floats], Measured]
) -> list[tuple[Track, list[Measured]]]:
    """The faces of a clip in one pass, the main one (area times frames seen) first, at most MOST_FACES.

    A face is followed by its mesh alone, one pass a frame, as long as the mesh net is sure and the face has not jumped.
    The detector looks for new faces every SEARCH_EVERY frames and after a cut, in tiles too while there is none, and in
    the frames between for lost ones around where they were. Memory grows by 6 KB a face and frame. With each track comes
    what `measure` says of each picture that it is seen in and its mesh.
    """
    paths: list[_Path] = []
    scene: Floats = np.zeros(0, np.float32)
    cut = 0
    for number, picture in enumerate(clip.pictures()):
        before, scene = scene, _scene(picture)
        if number and not _same_scene(before, scene):
            cut = number
        lately = [path for path in paths if number - path.frames[-1] <= 1 + GAP_S * clip.fps]
        lately = [path for path in lately if path.frames[-1] >= cut or _same_scene(path.scene, scene)]
        held = _follow(finder, picture, [path for path in lately if path.frames[-1] == number - 1])
        known = [face for _, face in held]
        lost = [path for path in lately if all(path is not other for other, _ in held)]
        for path, face in held:
            path.add(number, face, scene)
        due = number % SEARCH_EVERY == 0 or number == cut
        for face in _search(finder, picture, due, known, [path.faces[-1].box for path in lost]):
            near = [path for path in lost if path.frames[-1] < number and _is_near(path.faces[-1].box, face.box)]
            if near:
                path = max(near, key=lambda path: overlap(path.faces[-1].box, face.box))
            else:
                paths.append(path := _Path())
            path.add(number, face, scene)
        for path in paths:
            if path.frames[-1] == number:
                path.measured.append(measure(picture, path.faces[-1].mesh))
    fewest = min(FEWEST_FRAMES, clip.frames)
    kept = sorted((path for path in paths if len(path.frames) >= fewest), key=lambda path: -path.area)
    return [(_track(path, clip.frames), path.measured) for path in kept[:MOST_FACES]]


def _follow(finder: FaceFinder, picture: Picture, paths: Sequence[_Path]) -> list[tuple[_Path, Face]]:
    """The paths that go on in this picture. Where two would run into one face, it is that of the one that moved less.

    Faces that cross are looked for where their movement takes them, else each would be nearest to the other's place.
    """
    moves = []
    for path in paths:
        face = path.faces[-1]
        if any(overlap(path.expected.box, other.expected.box) > 0 for other in paths if other is not path):
            face = path.expected
        moves.append((face, path, finder.follow(picture, face)))
    held: list[tuple[_Path, Face]] = []
    for before, path, face in sorted(moves, key=lambda move: -overlap(move[0].box, move[2].box)):
        sure = face.score >= CONFIDENCE and overlap(before.box, face.box) > 0.3
        if sure and not any(overlap(face.box, other.box) > 0.5 for _, other in held):
            held.append((path, face))
    return held


def _search(finder: FaceFinder, picture: Picture, due: bool, known: Sequence[Face], lost: Sequence[Floats]) -> list[Face]:
    """New and regained faces of a picture: everywhere when a search is `due`, else around where faces were lost."""
    if due and not known:
        return finder.find(picture)[:MOST_FACES]
    areas = [_around(box, picture) for box in lost]
    if due or not known:
        areas += _tiles(picture.shape[1], picture.shape[0], 1)
    return finder.look(picture, areas, known=known)[: max(0, MOST_FACES - len(known))]


def _around(box: Floats, picture: Picture) -> Area:
    """Where to look for a lost face: four of its sides wide, inside the picture."""
    middle, side = middle_of(box), float((box[2:] - box[:2]).max())
    x0, y0 = np.maximum(middle - 2 * side, 0).astype(int)
    x1, y1 = np.minimum(middle + 2 * side + 1, picture.shape[1::-1]).astype(int)
    return min(x0, picture.shape[1] - 1), min(y0, picture.shape[0] - 1), max(x1, 1), max(y1, 1)


def _is_near(before: Floats, now: Floats) -> bool:
    """Whether a face that comes back may be the lost one: within one of its sides, at half to twice its size."""
    sides = np.sqrt([area_of(before), area_of(now)])
    way = float(np.hypot(*((before[:2] + before[2:]) - (now[:2] + now[2:])) / 2))
    return bool(way < sides[0] and 0.5 < sides[1] / max(sides[0], 1e-6) < 2)


def _scene(picture: Picture) -> Floats:
    """The picture's coarse colours, float32 (16, 16, 3): a cut changes them, a moving face hardly does."""
    step = max(1, max(picture.shape[:2]) // 96)
    return cv2.resize(picture[::step, ::step], (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)


def _same_scene(before: Floats, now: Floats) -> bool:
    return float(np.abs(before - now).mean()) < CUT


def _track(path: _Path, frames: int) -> Track:
    def spread(values: Sequence[Floats]) -> Floats:
        rows = np.full((frames, *values[0].shape), np.nan, np.float32)
        rows[path.frames] = np.stack(values)
        return rows

    seen = np.zeros(frames, np.bool_)
    seen[path.frames] = True
    return Track(
        box=spread([face.box for face in path.faces]),
        points=spread([face.points for face in path.faces]),
        mesh=spread([face.mesh for face in path.faces]),
        score=spread([np.array(face.score) for face in path.faces]),
        seen=seen,
    )


def under_mask(tracks: Sequence[Track], masks: Iterable[Mask], size: tuple[int, int]) -> list[Track]:
    """The tracks with the one under a forgery's masks first: a fake's main face is the one that was changed.

    Mask i is of frame i, of any size; there may be fewer or more than the clip of `size` (width, height) has frames. Overlap
    is intersection over union of the masked pixels and a face's box, each summed over the frames that are masked. Where
    nothing is masked while a face is seen the order stays; none of the tracks is given where all that is masked lies beside
    them.
    """
    common, either = np.zeros(len(tracks)), np.zeros(len(tracks))
    judged = False
    for number, mask in zip(range(len(tracks[0].seen)), masks, strict=False):
        masked = mask > MASKED
        if not masked.any():
            continue
        either += masked.sum()
        ends = np.tile(mask.shape[::-1], 2)
        for which, track in enumerate(tracks):
            if track.seen[number]:
                judged = True
                place = track.box[number] * ends / np.tile(size, 2)
                x0, y0, x1, y1 = np.clip(np.round(place), 0, ends).astype(int)
                inside = int(masked[y0:y1, x0:x1].sum())
                common[which] += inside
                either[which] += (y1 - y0) * (x1 - x0) - inside
        if len(tracks) == 1 and common.any():
            break  # there is nobody to choose from: the other masks need not be decoded
    if judged and not common.any():
        return []
    first = int(np.argmax(common / np.maximum(either, 1)))
    return [tracks[first], *tracks[:first], *tracks[first + 1 :]]


def face_share(track: Track) -> float:
    """The share of frames in which the face is seen, in [0, 1]."""
    return float(track.seen.mean())


def save_tracks(path: Path, tracks: Sequence[Track]) -> None:
    """Write the tracks of one clip as `.npz`, in one step; equal tracks make equal bytes."""
    parts = {}
    for face, track in enumerate(tracks):
        for name in ("box", "points", "mesh", "score"):
            parts[f"{face}/{name}"] = getattr(track, name)[track.seen].astype(np.float32)
        parts[f"{face}/seen"] = track.seen
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **parts)


def load_track(path: Path, face: int = 0) -> Track:
    """Read one track of a clip, the main face by default. Raises MediaError where there is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            if f"{face}/seen" not in parts:
                raise MediaError(path, f"holds no face number {face}", "choose a clip with a face, or ingest it again")
            seen = parts[f"{face}/seen"]
            read = {}
            for name in ("box", "points", "mesh", "score"):
                rows = parts[f"{face}/{name}"]
                read[name] = np.full((len(seen), *rows.shape[1:]), np.nan, np.float32)
                read[name][seen] = rows
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise MediaError(path, f"is not a file of tracks ({error})", "ingest its clip again") from error
    return Track(seen=seen, **read)
