"""How well lips and voice belong together: by SyncNet as the literature does, or by judges that need no published weights.

LSE-D and LSE-C (Prajwal et al. 2020, section 4) are called `lse_d` and `lse_c` with SyncNet's own weights alone. With the
expert that is trained here they are `lse_d_expert` and `lse_c_expert`: other vectors, other numbers. Without a network the
opening of the lips is compared with the loudness: `lip_gap_r` is their correlation (1 is best), `lip_gap_c` its confidence.

Each is given for the fake and for its control (`…_control`), and as the share of the control's confidence that the fake's
has (`…_ratio`). With every judge `av_offset` is measured, the frames at 25 a second by which the sound comes too early, and
`lip_sync_error_rate`, the share of 1.4 s spans whose own offset is more than one frame. A judge errs: what a rate means is said
by the control's.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluators.figure import Figure, OfClips, Pair, Rows, unmeasured
from forgeline import syncnet
from forgeline.audio import fit, resample
from forgeline.boxes import overlap
from forgeline.clip import Clip, Sound, Track
from forgeline.errors import ModelError
from forgeline.faces import FaceFinder, track_faces
from forgeline.syncnet import FPS, FRAMES, RATE, SHIFTS, SPAN, SPAN_SHIFTS, Apart, at_25, offset
from forgeline.weights import WEIGHTS, weights, weights_sha256

Floats = NDArray[np.floating]
Found = TypeVar("Found")

NO_LSE: Final = "needs SyncNet's weights: set network to syncnet"
NO_SPAN: Final = f"no {SPAN} frames with a face have {SPAN_SHIFTS} frames of sound before and after them"
NOTHING: Final = "there are no such clips"
NOT_JUDGED: Final = "only methods that change lips or voice are judged"
FLAT: Final = "a face is seen in too few frames, or neither lips nor sound change"
_LSE: Final = ("lse_d", "lse_c")
_NAMES: Final = {"mesh": ("lip_gap_r", "lip_gap_c"), "syncnet": _LSE, "expert": ("lse_d_expert", "lse_c_expert")}
_JUDGES: Final = {
    "mesh": "correlation of the root of the gap between the lips, over the face's height, with the mean of 80 mels in dB",
    "syncnet": "SyncNet; squares of 224 pixels, 1.4 sides of the face's box; 13 cepstra, 100 a second; Euclidean",
    "expert": "Wav2Lip's expert; lower halves of 96 pixels of the face's box, and 8 % below; 80 mels, 80 a second; Euclidean",
}
SHORTEST: Final = SPAN + FRAMES
"""Frames at 25 a second below which nothing is said of a clip."""
_BATCH: Final = 16
_REMEMBERED = 32
"""Answers about controls that are kept, tracks (1 MB) and figures: many fakes share one, and finding its face costs most."""


class LipSyncError(OfClips):
    """Of videos with sound whose lips or voice were changed. A set's figures are the means over its clips, its offset the
    median, its rate that of all spans together."""

    network: Literal["mesh", "syncnet", "expert"] = "mesh"
    """`syncnet` gives LSE-D and LSE-C and needs SyncNet's weights (55 MB); `expert` is the one that `lip_sync_net` trains here;
    `mesh` compares the opening of the lips with the syncnet.loudness and needs neither."""
    expert: Annotated[str, Field(pattern=r"\.(safetensors|pth)$")] = "data/models/lip_sync_net/expert.safetensors"
    """The expert's file."""
    methods: Annotated[tuple[str, ...], Field(strict=False)] = (
        "lip_sync",
        "lip_sync_net",
        "cross_modal",
        "cross_modal_audio",
        "cross_modal_video",
    )
    """Whose fakes are judged: those that change lips or voice. Following a face costs half a second of CPU a clip."""
    seconds: Annotated[int, Field(ge=2, le=60)] = 6
    """How much of a clip is looked at, from its start."""

    def rows(self, pair: Pair) -> Rows:
        if pair.method not in self.methods:
            return unmeasured(NOT_JUDGED)
        if pair.fake.media_type != "video" or pair.control.media_type != "video":
            return unmeasured("the fake or its control is no video")
        sound_of_control, sound_of_fake = pair.sounds
        if sound_of_control is None or not sound_of_control.samples.any():
            return unmeasured("the control has no sound")
        if sound_of_fake is None or not sound_of_fake.samples.any():
            return unmeasured("the fake has no sound")
        if min(at_25(clip, self.seconds).frames for clip in (pair.control, pair.fake)) < SHORTEST:
            return unmeasured(f"lasts less than {SHORTEST / FPS} s")
        file = _file(pair.control)
        theirs = _remembered((file, "faces", self.seconds), lambda: self.faces(pair.control))
        ours = self.faces(pair.fake)
        if not theirs or not ours:
            return unmeasured(f"no face is found in the {'fake' if theirs else 'control'}")
        meant = _meant(theirs, pair)
        nearest = max(ours, key=lambda track: _closeness(track, theirs[meant]))
        key = (file, "lips", self._fingerprint["judge"], self._fingerprint["weights"], self.seconds, meant)
        found = {
            "_control": _remembered(key, lambda: self.judged(pair.control, sound_of_control, theirs[meant])),
            "": self.judged(pair.fake, sound_of_fake, nearest),
        }
        for side, (distances, _) in found.items():
            if np.isnan(distances).any():
                return unmeasured(f"in the {'control' if side else 'fake'} {FLAT}")
        return {
            f"{name}{side}": np.asarray(value) for side, values in found.items() for name, value in values._asdict().items()
        }

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return self._figures([rows])

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        found = self._figures(rows)
        if self.network != "syncnet":
            found |= {name: Figure(None, 0, {}, NO_LSE) for name in _LSE}
        return found

    def _figures(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        pairs = [pair for pair in rows if pair]
        found = self._of_side(pairs, "")
        if pairs:
            found |= self._of_side(pairs, "_control")
            confidence = _NAMES[self.network][1]
            ours, theirs = (found[f"{confidence}{side}"].value or 0.0 for side in ("", "_control"))
            ratio = ours / theirs if theirs > 1e-6 else None
            found[f"{confidence}_ratio"] = self._figure(ratio, len(pairs), "the control's lips go with no sound")
        return found

    def _of_side(self, pairs: Sequence[Rows], side: str) -> dict[str, Figure]:
        clips = [offset(pair[f"distances{side}"]) for pair in pairs]
        spans = np.concatenate([np.empty(0), *(pair[f"spans{side}"] for pair in pairs)])
        distance, confidence = _NAMES[self.network]
        distances = [1 - clip.distance if self.network == "mesh" else clip.distance for clip in clips]
        values = {
            distance: float(np.mean(distances)) if clips else None,
            confidence: float(np.mean([clip.confidence for clip in clips])) if clips else None,
            "av_offset": float(np.median([clip.offset for clip in clips])) if clips else None,
        }
        found = {f"{name}{side}": self._figure(value, len(clips), NOTHING) for name, value in values.items()}
        rate = float((np.abs(spans) > 1).mean()) if len(spans) else None
        found[f"lip_sync_error_rate{side}"] = self._figure(rate, len(spans), NO_SPAN if clips else NOTHING)
        return found

    def _figure(self, value: float | None, n: int, reason: str) -> Figure:
        return Figure(value, n, self._fingerprint, reason if value is None else None)

    @property
    def _fingerprint(self) -> dict[str, str]:
        return {
            "judge": _JUDGES[self.network],
            "weights": self._weights,
            "detector": WEIGHTS["face_detector"].sha256_prefix,
            "mesh": WEIGHTS["face_mesh"].sha256_prefix,
            "looked at": f"the first {self.seconds} s, {FPS} frames a second, sound at {RATE} Hz",
            "shifts": f"{-SHIFTS} to {SHIFTS} frames, positive where the sound is early",
            "still": f"lips that change by less than {syncnet.STILL}, or sound by {syncnet.EVEN}"
            if self.network == "mesh"
            else "none",
            "spans": f"{SPAN} frames every {syncnet.STEP}, shifts {-SPAN_SHIFTS} to {SPAN_SHIFTS}",
        }

    @property
    def _weights(self) -> str:
        if self.network == "mesh":
            return "none"
        return weights_sha256("syncnet") if self.network == "syncnet" else _sha256(*_state(_expert_file(self.expert)))

    def faces(self, clip: Clip) -> list[Track]:
        """The faces in what is looked at of a clip, at 25 frames a second, the main one first."""
        return track_faces(at_25(clip, self.seconds), _finder())

    def judged(self, clip: Clip, sound: Sound, track: Track) -> "Judged":
        """What lips of a clip, which has this track at 25 frames a second, and a sound are to each other."""
        clip = at_25(clip, self.seconds)
        heard = fit(resample(sound, RATE), clip.frames / FPS)
        if self.network == "mesh":
            frames = clip.frames
            apart = syncnet.by_lips(syncnet.lips_apart(track.mesh), syncnet.loudness(syncnet.mel(heard), frames))
        else:
            frames = clip.frames - FRAMES  # as syncnet_python, which leaves the last window out
            apart = self._by_network(clip, heard, track, frames)
        return Judged(apart(0, frames), syncnet.span_offsets(apart, frames))

    def _by_network(self, clip: Clip, sound: Sound, track: Track, frames: int) -> Apart:
        boxes = syncnet.face_boxes(track.mesh)
        if self.network == "syncnet":
            net, side, window = _syncnet(weights("syncnet")), syncnet.SYNCNET_SIDE, syncnet.syncnet_window
            boxes = syncnet.syncnet_boxes(boxes)
            cepstra = syncnet.mfcc(sound)
            heard = (cepstra[:, 4 * frame : 4 * frame + syncnet.MFCC_STEPS] for frame in range(frames))
        else:
            net, side, window = _expert(*_state(_expert_file(self.expert))), syncnet.EXPERT_SIDE, syncnet.expert_window
            boxes = syncnet.expert_boxes(boxes)
            spectrum = syncnet.mel(sound)
            heard = (syncnet.mel_window(spectrum, frame, FPS) for frame in range(frames))
        sounds = np.concatenate([_vectors(net.of_sounds, [part[None] for part in batch]) for batch in _batches(heard)])
        lips = np.full((frames, sounds.shape[1]), np.nan, np.float32)
        seen = _windows(clip, boxes, side, window, frames)
        for batch in _batches(seen):
            lips[[frame for frame, _ in batch]] = _vectors(net.of_faces, [faces for _, faces in batch])
        return syncnet.by_vectors(lips, sounds)


class Judged(NamedTuple):
    """What is kept of one clip: mean distances (2 * SHIFTS + 1,), and the offsets of its spans."""

    distances: Floats
    spans: NDArray[np.int64]


def _windows(
    clip: Clip, boxes: Floats, side: int, window: Callable[[NDArray[np.uint8]], NDArray[np.float32]], frames: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The windows of lips, in order, by the number of their first frame; without those in which the face is not always seen."""
    recent: deque[NDArray[np.uint8]] = deque(maxlen=FRAMES)
    for last, (picture, box) in enumerate(zip(clip.pictures(), boxes, strict=False)):
        if np.isnan(box[0]):
            recent.clear()
            continue
        recent.append(syncnet.face_crop(picture, box, side))
        if len(recent) == FRAMES and last - FRAMES + 1 < frames:
            yield last - FRAMES + 1, window(np.stack(recent))


def _batches(items: Iterable[Found]) -> Iterator[list[Found]]:
    stream = iter(items)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def _vectors(half: Any, windows: Sequence[NDArray[np.float32]]) -> Floats:
    """What half a network says of some windows, (n, d)."""
    import torch

    torch.set_num_threads(1)  # more threads add in another order
    with torch.inference_mode():
        return np.asarray(half(torch.from_numpy(np.stack(windows))).numpy(), np.float32)


def _meant(tracks: Sequence[Track], pair: Pair) -> int:
    """Which face of a control was changed: the one that the masks cover most, else the main one."""
    if len(tracks) == 1 or pair.masks is None:
        return 0
    covered = np.zeros(len(tracks))
    frames = len(tracks[0].seen)
    for frame, mask in enumerate(syncnet.every_40_ms(pair.masks(), pair.fake.fps, frames)):
        for at, track in enumerate(tracks):
            if track.seen[frame]:
                x0, y0, x1, y1 = np.clip(track.box[frame], 0, None).astype(int)
                covered[at] += mask[y0:y1, x0:x1].sum(dtype=np.float64)
    return int(covered.argmax())


def _closeness(track: Track, other: Track) -> float:
    """How far two tracks cover each other, summed over the frames that both are seen in."""
    n = min(len(track.seen), len(other.seen))
    both = np.flatnonzero(track.seen[:n] & other.seen[:n])
    return sum(overlap(track.box[frame], other.box[frame]) for frame in both)


# --- What is loaded, or measured, once a process


def _remembered(key: tuple[Hashable, ...], make: Callable[[], Found]) -> Found:
    """What was made before for the key; nothing is kept where its first part, the file, is None."""
    if key[0] is None:
        return make()
    if key in _KEPT:
        _KEPT.move_to_end(key)
    else:
        _KEPT[key] = make()
        if len(_KEPT) > _REMEMBERED:
            _KEPT.popitem(last=False)
    found: Found = _KEPT[key]
    return found


_KEPT: OrderedDict[tuple[Hashable, ...], Any] = OrderedDict()


def _file(clip: Clip) -> tuple[Path, int, int] | None:
    """What tells a clip's file from another, or from itself after a change; None where it lies in no file."""
    path = Path(clip.name)
    return _state(path) if clip.name and path.is_file() else None


def _state(path: Path) -> tuple[Path, int, int]:
    state = path.stat()
    return path, state.st_size, state.st_mtime_ns


@cache
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expert_file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ModelError(path, "the expert that judges lips is not there", "train lip_sync_net, or set network to mesh")
    return path


@lru_cache(maxsize=1)
def _expert(path: Path, size: int, changed_ns: int) -> Any:
    return syncnet.expert(path)


@lru_cache(maxsize=1)
def _syncnet(path: Path) -> Any:
    return syncnet.syncnet(path)


@cache
def _finder() -> FaceFinder:
    return FaceFinder()
