"""How alike the face of a fake and that of its control are, frame by frame: the cosine between two embeddings.

Called `identity_similarity` with a recognition net that a team brings. Without one, outlines (histograms of oriented
gradients, Dalal and Triggs 2005) and colours are compared, which see the picture of a face more than whose it is, and the
figure is *called* that: `identity_similarity_hog`. Both faces are cut out where the control's lies, so that a bent face
counts as bent.

The control shows the fake's target. A swap is to show its source: `…_source` is how alike the fake is to that person, to the
mean of the embeddings of some frames of their own control; `…_source_control` says it of the control, and is what a swap that
does nothing would have.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from evaluators.faces import FINGERPRINT, NO_FACE, cut, faces_of
from evaluators.figure import OF_SOURCE, Figure, Frames, Pictures, Rows
from evaluators.net import Embedding, embedder
from evaluators.pictures import NOT_ALIGNED, FrameMeans, kept, mean, unmeasured
from forgeline.clip import Picture
from forgeline.likeness import SIDE, outlines_and_colours
from forgeline.weights import Given

NET_SIDE = 112
NO_NET = "needs a recognition net: give identity a net"
NO_SOURCE = "it is to show nobody else, or there is no clip of that person"
NO_SOURCE_FACE = "no face is found in the frames of the control, or of the source"


class Identity(FrameMeans):
    """-1 to 1 (the same picture). A clip's figure is the mean over the frames with a face, a set's the mean over its clips."""

    net: Given | None = None
    """A net that knows people by their faces, as ONNX: one RGB face (1, 3, 112, 112) in -1 … 1, aligned as for ArcFace, in;
    an embedding (1, n) out. None compares outlines and colours."""

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        source = {"source": f"mean embedding of at most {OF_SOURCE} frames, each cut where its own face lies"}
        to_source = {f"{self._name}_source{side}": self._fingerprint | source for side in ("", "_control")}
        return {self._name: self._fingerprint, **to_source}

    def rows(self, frames: Frames) -> Rows:
        if not frames.aligned:
            return unmeasured(frames, NOT_ALIGNED)
        embedded, side = (by_net(self.net), NET_SIDE) if self.net else (outlines_and_colours, SIDE)
        source = None if frames.source is None else _of_source(frames.source, embedded, side)
        faces = faces_of(frames)
        alike = {
            name: np.full(len(frames.fake), np.nan) for name in (self.about if frames.source is not None else (self._name,))
        }
        for at, pair in enumerate(zip(frames.control, frames.fake, strict=True)):
            place = faces.place(at, side)
            if place is not None:
                control, fake = (embedded(cut(picture, place, side)) for picture in pair)
                alike[self._name][at] = _cosine(control, fake)
                if source is not None:
                    alike[f"{self._name}_source"][at] = _cosine(source, fake)
                    alike[f"{self._name}_source_control"][at] = _cosine(source, control)
        return alike

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        found = {}
        for name, about in self.about.items():
            reason = NO_FACE if name in rows and name == self._name else NO_SOURCE_FACE if name in rows else NO_SOURCE
            found[name] = mean(kept(rows, name), about, reason)
        return found

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        found = super().of_set(rows)
        return found if self.net else found | {"identity_similarity": Figure(None, 0, {}, NO_NET)}

    @property
    def _name(self) -> str:
        return "identity_similarity" if self.net else "identity_similarity_hog"

    @property
    def _fingerprint(self) -> dict[str, str]:
        if self.net:
            made = {"embedding": f"{self.net.file}, RGB in -1 … 1, unit length", "weights": self.net.sha256}
        else:
            made = {
                "embedding": "HOG (grey; blocks 32, steps and cells 16, 9 bins), and colours of 16x16 cells less their mean",
                "weights": "none",
            }
        side = NET_SIDE if self.net else SIDE
        return {**FINGERPRINT, **made, "alignment": f"ArcFace's five points in {side}x{side}, the control's for both"}


def _of_source(pictures: Pictures, embedded: Callable[[Picture], Embedding], side: int) -> Embedding | None:
    """The mean of the embeddings of the largest face in each picture; None where there is none."""
    faces = faces_of(Frames(pictures, pictures, None, aligned=True))
    places = [faces.place(at, side) for at in range(len(pictures))]
    found = [embedded(cut(picture, at, side)) for picture, at in zip(pictures, places, strict=True) if at is not None]
    if not found:
        return None
    whole = np.mean(found, axis=0)
    return np.asarray(whole / max(float(np.linalg.norm(whole)), 1e-12))


def _cosine(one: Embedding, other: Embedding) -> float:
    return min(max(float(one @ other), -1.0), 1.0)


def by_net(given: Given) -> Callable[[Picture], Embedding]:
    """What embeds a face (112, 112, 3) by a team's net; raises WeightsError and ModelError as `embedder` does."""
    todo = "give an ONNX net for (1, 3, 112, 112) that tells people by their faces"
    embedded = embedder(given, (1, 3, NET_SIDE, NET_SIDE), todo)

    def of_face(face: Picture) -> Embedding:
        return embedded((face.transpose(2, 0, 1)[None].astype(np.float32) - np.float32(127.5)) / np.float32(127.5))

    return of_face
