"""How alike the face of a fake and that of its control are, frame by frame: the cosine between two embeddings.

Called `identity_similarity` with a recognition net that a team brings. Without one, outlines (histograms of oriented
gradients, Dalal and Triggs 2005) and colours are compared, which see the picture of a face more than whose it is, and the
figure is *called* that: `identity_similarity_hog`. Both faces are cut out where the control's lies, so that a bent face
counts as bent.
"""

from collections.abc import Callable, Iterable

import numpy as np

from evaluators.faces import FINGERPRINT, NO_FACE, cut, faces_of
from evaluators.figure import Figure, Frames, OfFrames, Rows
from evaluators.net import Embedding, embedder
from evaluators.pictures import NOT_ALIGNED, mean
from forgeline.clip import Picture
from forgeline.likeness import SIDE, outlines_and_colours
from forgeline.weights import Given

NET_SIDE = 112
NO_NET = "needs a recognition net: give identity a net"


class Identity(OfFrames):
    """-1 to 1 (the same picture). A clip's figure is the mean over the frames with a face, a set's the mean over its clips."""

    net: Given | None = None
    """A net that knows people by their faces, as ONNX: one RGB face (1, 3, 112, 112) in -1 … 1, aligned as for ArcFace, in;
    an embedding (1, n) out. None compares outlines and colours."""

    def rows(self, frames: Frames) -> Rows:
        if not frames.aligned:
            return {}
        embedded, side = (_by_net(self.net), NET_SIDE) if self.net else (outlines_and_colours, SIDE)
        faces = faces_of(frames)
        alike = np.full(len(frames.fake), np.nan)
        for at, pair in enumerate(zip(frames.control, frames.fake, strict=True)):
            place = faces.place(at, side)
            if place is not None:
                control, fake = (embedded(cut(picture, place, side)) for picture in pair)
                alike[at] = min(max(float(control @ fake), -1.0), 1.0)
        return {"alike": alike}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        alike = rows["alike"] if rows else np.empty(0)
        reason = NO_FACE if rows else NOT_ALIGNED
        return {self._name: mean(alike[~np.isnan(alike)], self._fingerprint, reason)}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        clips = [self.of_sample(pair)[self._name] for pair in rows]
        reason = next((str(clip.reason) for clip in clips if clip.reason), "there are no clips")
        means = np.array([clip.value for clip in clips if clip.value is not None])
        found = {self._name: mean(means, self._fingerprint, reason)}
        if self.net is None:
            found["identity_similarity"] = Figure(None, 0, {}, NO_NET)
        return found

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


def _by_net(given: Given) -> Callable[[Picture], Embedding]:
    """What embeds a face (112, 112, 3) by a team's net; raises WeightsError and ModelError as `embedder` does."""
    todo = "give an ONNX net for (1, 3, 112, 112) that tells people by their faces"
    embedded = embedder(given, (1, 3, NET_SIDE, NET_SIDE), todo)

    def of_face(face: Picture) -> Embedding:
        return embedded((face.transpose(2, 0, 1)[None].astype(np.float32) - np.float32(127.5)) / np.float32(127.5))

    return of_face
