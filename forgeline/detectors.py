"""What finds faces in a picture: three nets behind one call, each of which says where faces and their eyes are.

`mediapipe` is BlazeFace short range (Bazarevsky et al. 2019), quick and blind to what is small in its 128 pixels; `yunet` is
YuNet (Wu et al. 2023), `mtcnn` the cascade of Zhang et al. (2016), which see smaller faces and cost more. The mesh that
follows a face is the same for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.boxes import Floats, overlap
from forgeline.clip import Picture
from forgeline.nets import Net
from forgeline.weights import weights

Area = tuple[int, int, int, int]
"""x0 y0 x1 y1 of a part of a picture, in pixels."""

DetectorName = Literal["mediapipe", "yunet", "mtcnn"]
FILES: Mapping[DetectorName, tuple[str, ...]] = {
    "mediapipe": ("face_detector",),
    "yunet": ("yunet",),
    "mtcnn": ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"),
}
"""The rows of the table of weights that a detector is made of."""


@dataclass(frozen=True)
class Sighting:
    """What a detector says, in pixels: `box` (4,) brows to chin, `eyes` (2, 2) right and left; `score` in [0, 1]."""

    box: Floats
    eyes: Floats
    score: float


class Detector(Protocol):
    """A net, loaded."""

    side: int
    """Pixels to which the longer side of an area is brought down before it is looked at."""

    def __call__(self, picture: Picture, area: Area, threshold: float) -> list[Sighting]:
        """The faces in an area that the net is surer of than `threshold` in [0, 1], in pixels of the whole picture."""


def detector(name: DetectorName) -> Detector:
    """The detector of that name. Raises WeightsError where its files can't be had."""
    kinds: Mapping[DetectorName, type[Detector]] = {"mediapipe": BlazeFace, "yunet": YuNet, "mtcnn": Mtcnn}
    return kinds[name]()


class BlazeFace:
    """MediaPipe's short-range net."""

    side: int = 128

    def __init__(self) -> None:
        self._net = Net("face_detector", ("regressors", "classificators"))
        self._anchors = _anchors()

    def __call__(self, picture: Picture, area: Area, threshold: float) -> list[Sighting]:
        """The faces of an area, which is put into a black square as a whole."""
        x0, y0, x1, y1 = area
        part = picture[y0:y1, x0:x1]
        height, width = part.shape[:2]
        scale = self.side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (self.side - size[0]) // 2, (self.side - size[1]) // 2
        square = np.zeros((self.side, self.side, 3), np.uint8)
        square[top : top + size[1], left : left + size[0]] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        places, logits = self._net(np.asarray(square / np.float32(127.5) - 1, np.float32))
        scores = sigmoid(logits.reshape(-1))
        sure = np.flatnonzero(scores > threshold)
        # Pairs in a row, in pixels of the square: middle, width and height, right eye, left eye (nose, mouth, ears).
        rows = places.reshape(-1, 8, 2)[sure, :4]
        rows[:, [0, 2, 3]] += self._anchors[sure, None] * self.side - (left, top)
        rows *= (width / size[0], height / size[1])
        rows[:, [0, 2, 3]] += (x0, y0)
        middles, sizes, eyes = rows[:, 0], rows[:, 1], rows[:, 2:]
        boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], 1)
        return _merge(boxes, eyes, scores[sure])


class YuNet:
    """OpenCV's own face net, at its own scale: faces of 10 to some 300 pixels."""

    side: int = 640

    def __init__(self) -> None:
        self._net = cv2.FaceDetectorYN.create(str(weights("yunet")), "", (self.side, self.side))

    def __call__(self, picture: Picture, area: Area, threshold: float) -> list[Sighting]:
        """The faces of an area."""
        part, scale, corner = _reduced(picture, area, self.side)
        self._net.setInputSize(part.shape[1::-1])
        self._net.setScoreThreshold(threshold)
        found = self._net.detect(np.ascontiguousarray(part[..., ::-1]))[1]
        sightings = []
        for row in () if found is None else np.asarray(found, np.float32):
            at = row[:8].reshape(4, 2)  # a corner, width and height, right eye, left eye; nose and mouth come after
            box = np.concatenate([at[0], at[0] + at[1]]) / scale + np.tile(corner, 2)
            sightings.append(Sighting(box, at[2:] / scale + corner, float(row[14])))
        return sightings


class Mtcnn:
    """Three nets that look at ever fewer windows, ever closer: at a pyramid of the picture, at 24 and at 48 pixels.

    The weights are facenet-pytorch's, which were carried over from the authors' own and so count columns before rows.
    """

    side: int = 640
    smallest: ClassVar[int] = 20
    """Pixels of the smallest face that is looked for, once the picture is reduced."""
    step: ClassVar[float] = 0.709
    """From one scale of the pyramid to the next: half the area."""
    sure: ClassVar[tuple[float, float]] = (0.6, 0.7)
    """What the first two nets must say of a window."""
    most: ClassVar[int] = 512
    """Windows that the second net looks at, the surest: the bound of memory, 15 MB."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)  # more threads add in another order
        self._nets = [torch.load(weights(row), map_location="cpu", weights_only=True) for row in FILES["mtcnn"]]

    def __call__(self, picture: Picture, area: Area, threshold: float) -> list[Sighting]:
        """The faces of an area."""
        import torch

        part, scale, corner = _reduced(picture, area, self.side)
        with torch.inference_mode():
            boxes = self._windows(part)
            boxes, _, _ = self._looked(part, boxes, 1, 24, (3, 3, 0), self.sure[0])
            boxes, scores, points = self._looked(part, boxes, 2, 48, (3, 3, 2, 0), threshold)
        sightings = []
        for box, score, at in zip(boxes, scores, points, strict=True):
            eyes = at.reshape(2, 5).T[:2]  # five x, then five y, of right eye, left eye, nose and mouth
            sightings.append(Sighting(box / scale + np.tile(corner, 2), eyes / scale + corner, float(score)))
        return sightings

    def _windows(self, part: Picture) -> Floats:
        """What the first net, convolved over the pyramid, takes for faces: squares (n, 4)."""
        import torch

        found, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        scale = 12 / self.smallest
        while min(part.shape[:2]) * scale >= 12:
            size = int(part.shape[1] * scale + 1), int(part.shape[0] * scale + 1)
            small = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
            seen = _layers(self._nets[0], _tensor(small[None]), (2, 0, 0))
            sure = torch.softmax(_conv(self._nets[0], "conv4_1", seen), 1)[0, 1].numpy()
            moves = _conv(self._nets[0], "conv4_2", seen)[0].permute(1, 2, 0).numpy()
            y, x = np.nonzero(sure >= self.sure[0])
            corners = 2 * np.stack([x, y], 1).astype(np.float32)
            boxes = np.concatenate([corners, corners + 12], 1) / scale
            kept = _apart(boxes, sure[y, x], 0.5)
            found.append(_moved(boxes[kept], moves[y, x][kept]))
            scores.append(sure[y, x][kept])
            scale *= self.step
        boxes, sure = np.concatenate(found), np.concatenate(scores)
        return boxes[_apart(boxes, sure, 0.7)[: self.most]]

    def _looked(
        self, part: Picture, boxes: Floats, number: int, pixels: int, pools: tuple[int, ...], threshold: float
    ) -> tuple[Floats, Floats, Floats]:
        """The windows that net 1 or 2 takes for faces, moved to where it says they are: boxes, scores, points (n, 10)."""
        import torch
        from torch.nn.functional import linear, prelu

        if not len(boxes):
            return boxes, np.zeros(0, np.float32), np.zeros((0, 10), np.float32)
        net, at = self._nets[number], len(pools) + 1
        squares = _squares(boxes)
        seen = _layers(net, _tensor(np.stack([_window(part, square, pixels) for square in squares])), pools)
        flat = linear(seen.permute(0, 3, 2, 1).flatten(1), net[f"dense{at}.weight"], net[f"dense{at}.bias"])
        flat = prelu(flat, net[f"prelu{at}.weight"])

        def said(part: int) -> Any:
            name = f"dense{at + 1}_{part}"
            return linear(flat, net[f"{name}.weight"], net[f"{name}.bias"])

        scores = torch.softmax(said(1), 1)[:, 1].numpy()
        moved = _moved(squares, said(2).numpy())
        points = np.zeros((len(squares), 10), np.float32)
        if number == 2:
            points = said(3).numpy() * np.repeat(squares[:, 2:] - squares[:, :2], 5, 1) + np.repeat(squares[:, :2], 5, 1)
        sure = np.flatnonzero(scores > threshold)
        kept = sure[_apart(moved[sure], scores[sure], 0.3 if number == 2 else 0.7)]
        return moved[kept], scores[kept], points[kept]


def _reduced(picture: Picture, area: Area, side: int) -> tuple[Picture, float, Floats]:
    """An area with its longer side brought down to `side`, how much smaller it became, and where its corner lay."""
    x0, y0, x1, y1 = area
    part = picture[y0:y1, x0:x1]
    scale = min(1.0, side / max(part.shape[:2]))
    if scale < 1:
        size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    return part, scale, np.array([x0, y0], np.float32)


def _tensor(pictures: NDArray[np.uint8]) -> Any:
    """Pictures (n, height, width, 3) as torch has them, from -1 to 1."""
    import torch

    return torch.from_numpy((pictures.astype(np.float32) - 127.5) / 128).permute(0, 3, 1, 2)


def _conv(net: Mapping[str, Any], name: str, seen: Any) -> Any:
    from torch.nn.functional import conv2d

    return conv2d(seen, net[f"{name}.weight"], net[f"{name}.bias"])


def _layers(net: Mapping[str, Any], seen: Any, pools: tuple[int, ...]) -> Any:
    """Convolutions, each with its PReLU and, where `pools` says so, the maximum of that many pixels, every other one."""
    from torch.nn.functional import max_pool2d, prelu

    for number, pool in enumerate(pools, start=1):
        seen = prelu(_conv(net, f"conv{number}", seen), net[f"prelu{number}.weight"])
        seen = max_pool2d(seen, pool, 2, ceil_mode=True) if pool else seen
    return seen


def _moved(boxes: Floats, moves: Floats) -> Floats:
    """Each side moved by a share of the box's size."""
    return np.asarray(boxes + moves * np.tile(boxes[:, 2:] - boxes[:, :2], 2), np.float32)


def _squares(boxes: Floats) -> Floats:
    """The squares around the same middles, as long as the longer sides."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.concatenate([middles - half, middles + half], 1)


def _window(part: Picture, square: Floats, pixels: int) -> Picture:
    """A square of a picture, black where it reaches out of it, at `pixels` a side."""
    x0, y0 = np.floor(square[:2]).astype(int)
    x1, y1 = np.maximum(np.ceil(square[2:]).astype(int), (x0 + 1, y0 + 1))
    height, width = part.shape[:2]
    inside = part[min(max(y0, 0), height) : min(max(y1, 0), height), min(max(x0, 0), width) : min(max(x1, 0), width)]
    if inside.shape[:2] != (y1 - y0, x1 - x0):
        whole = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        top, left = max(-y0, 0), max(-x0, 0)
        whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        inside = whole
    return np.asarray(cv2.resize(inside, (pixels, pixels), interpolation=cv2.INTER_AREA), np.uint8)


def _apart(boxes: Floats, scores: Floats, most: float) -> NDArray[np.intp]:
    """Which boxes are left, the surest first, when none may overlap a surer one by more than `most`."""
    left = np.argsort(-scores, kind="stable")
    sizes = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    kept = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        corners = np.maximum(boxes[first, :2], boxes[left, :2]), np.minimum(boxes[first, 2:], boxes[left, 2:])
        common = np.clip(corners[1] - corners[0], 0, None).prod(1)
        left = left[common <= most * (sizes[first] + sizes[left] - common)]
    return np.array(kept, np.intp)


def sigmoid(logits: Floats) -> Floats:
    """What a net is sure of, in [0, 1]."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))), np.float32)


def _anchors() -> Floats:
    """What BlazeFace's places are relative to: (896, 2) centres in sides of its square, 2 a cell of 16², 6 of 8²."""
    grids = []
    for cells, each in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, 0) / cells + 0.5 / cells)
    return np.concatenate(grids).astype(np.float32)


def _merge(boxes: Floats, eyes: Floats, scores: Floats) -> list[Sighting]:
    """Overlapping answers become their mean, weighted by score (BlazeFace, section 3.5)."""
    sightings = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = np.array([overlap(boxes[left[0]], boxes[i]) > 0.3 for i in left])
        same[0] = True
        group, left = left[same], left[~same]
        share = scores[group] / scores[group].sum()
        box, pair = np.tensordot(share, boxes[group], 1), np.tensordot(share, eyes[group], 1)
        sightings.append(Sighting(box, pair, float(scores[group[0]])))
    return sightings
