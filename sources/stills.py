"""Pictures that were taken out of a corpus's videos, and why they are left out.

Benchmarks hand corpora round as pictures. DeepfakeBench (Yan et al., NeurIPS 2023) keeps the corpus's tree, moves its videos
into a folder `videos`, and lays beside it, for at most 32 frames a clip, spread over its whole length:

    <folder>/videos/<clip>.mp4                 read, as if it lay directly in <folder>
    <folder>/frames/<clip>/<frame>.png         the face, cut out and turned upright; <frame> counts from 0 in the clip
    <folder>/landmarks/<clip>/<frame>.npy      81 points of it
    <folder>/masks/<clip>/<frame>.png          its mask, black and white (FaceForensics++ alone)

FaceForensics++'s own script writes whole frames, to `<level>/images/<clip>/0000.png`.

A folder of such pictures is not read as a clip. It has neither frame rate nor sound, half a second lies between two pictures,
and the crop, which was made from the detected face of each class, tells more of that tool than of the forgery. The numbers
are the frames' own, so nothing is lost: the videos they were taken from are what is read.
"""

import re
from dataclasses import dataclass

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from sources.corpus import RAW, media_type

_STILL = re.compile(r"(?:.*/)?(?:frames|images|masks|landmarks)/(?P<clip>[^/]+)/[0-9]+\.(?:png|jpe?g|npy)")


@dataclass(frozen=True)
class Stills:
    """Such files of a corpus: their paths, of how many clips they are, and whether it has no video beside them."""

    files: frozenset[str]
    clips: int
    alone: bool

    @classmethod
    def of(cls, inventory: Inventory) -> "Stills":
        """All in the inventory, by their place and name alone."""
        names = {path: match.start("clip") for path in inventory.files if (match := _STILL.fullmatch(path))}
        clips = {path[: path.index("/", start)] for path, start in names.items()}
        return cls(frozenset(names), len(clips), not any(media_type(path) == "video" for path in inventory.files))

    def notes(self, name: str) -> list[str]:
        """What the report says of them; SourceError where they are all that there is of the corpus `name`."""
        if not self.files:
            return []
        what = f"{len(self.files)} pictures and points taken out of {self.clips} clips"
        if self.alone:
            raise SourceError(
                f"{RAW}/{name}",
                f"{what}, and no video",
                "unpack the corpus's own videos; pictures of them are not read as clips",
            )
        return [f"{what} are left out: the videos themselves are read"]
