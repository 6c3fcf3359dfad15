"""One row of a manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from forgeline.clip import MediaType, Said, Segment

Label = Literal["real", "fake"]
Role = Literal["ingested", "control", "null_twin", "forgery", "augmentation"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
DENOISED = "denoised"
"""In `drawn` of an ingested clip: by how much noise is taken out of its sound when something is made of it; of what was made:
the ids of the parents that this was done to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A clip of a corpus (`role` is `ingested`) or one that the factory made; or, with a `reason`, why there is none.

    Ids of people are `<source>:<name>`. `media`, `mask` and `track` are paths relative to the checkout, with `/`.
    `origin` names what several clips of a corpus were cut from (a YouTube video, a DFDC part): they share a split.
    `split` of an ingested sample is the corpus's official one, or None. `ingredients` are the marks that were found in
    what it was made from, as `<master key id>/<shard>/<mark id>`, or the key's id alone where no more could be read.
    `sound_mark_read` is how the mark in the sound was read back, None where the sound is absent or can't carry one;
    `fingerprint` what the mark was issued for (`watermark.fingerprint`). `attributes` are what the corpus declares of the
    target, by name (`glasses`: `round`); `drawn` what chance decided when the sample was made (`weather`: `rain`, numbers as
    text); `words` and `phonemes` what is said in it, as far as that is known, `text` the same where no times are. `credit` says
    whom the licence asks to name; `sensors` what was measured meanwhile where it was recorded (`temperature`: `21.5`), numbers
    as text. `scores` are figures by name: of what was made, its mark's and its evaluators'; of an ingested clip what its sound
    is like (`forgeline.activity.heard`). Rows compare by value.
    """

    sample_id: str
    media: str
    media_type: MediaType
    label: Label
    role: Role
    method: str
    source: str
    recipe: str
    video_label: Label | None = None
    audio_label: Label | None = None
    content_class: str | None = None
    variant: str = "master"
    pair_id: str | None = None
    target_id: str | None = None
    source_id: str | None = None
    apparent_id: str | None = None
    parents: tuple[str, ...] = ()
    origin: str | None = None
    split: Split | None = None
    shard: str | None = None
    mask: str | None = None
    segments: tuple[Segment, ...] = ()
    width: int = 0
    height: int = 0
    fps: Fraction = Fraction(0)
    frames: int = 0
    duration_s: float = 0.0
    sample_rate: int = 0
    mark_id: str | None = None
    mark_key_id: str | None = None
    mark_read: Literal["payload", "matched"] | None = None
    sound_mark_read: Literal["payload", "matched"] | None = None
    fingerprint: str | None = None
    ingredients: tuple[str, ...] = ()
    licence: str = ""
    permitted_use: tuple[str, ...] = ()
    sha256: str = ""
    bytes: int = 0
    track: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    drawn: Mapping[str, str] = field(default_factory=dict)
    words: tuple[Said, ...] = ()
    phonemes: tuple[Said, ...] = ()
    text: str = ""
    credit: str = ""
    sensors: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
