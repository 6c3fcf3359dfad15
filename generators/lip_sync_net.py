"""Lip sync by a network: the lower half of the target's face is painted anew to say what the second parent says.

The method of Wav2Lip (Prajwal et al. 2020). First an expert learns to tell lips that go with a sound from lips of another
moment. Then the painter learns from faces whose lower half is hidden, the sound, and another moment of the same person; what
it paints has to look like the face that was hidden and to convince the expert, which learns no further.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Track, spans
from forgeline.errors import MediaError, ModelError
from forgeline.mesh import OVAL
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.syncnet import expert_boxes, face_boxes, face_crop, lips_apart, mel, mel_window
from forgeline.weights import Given, given_weights
from generators.blend import mix, poisson_bend
from generators.plugin import Casting, Stream, face_of, sound_of
from generators.pose import facing, steady, workable
from generators.recording import placed
from generators.training import (
    CURVES,
    LOSSES,
    MODEL,
    SAMPLES,
    Lesson,
    descend,
    device,
    fast,
    first_weights,
    kept,
    key_of,
    learn,
    open_model,
    tensors_of,
)
from generators.warp import face_box, trim

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns
    from torch import Tensor, nn

    from forgeline.sync_nets import Expert
    from generators.lip_net import LipNet

Floats = NDArray[np.float32]
Boxes = NDArray[np.float64]

SIDE, FRAMES, FPS = 96, 5, 25
"""Pixels of a face's side; frames that the expert sees at a time, and how many there are in a second."""
COLUMNS = 80
"""Of mel spectrum, in a second."""
MOMENTS = 100
"""Of each clip, 25 a second, its middle ones, are learned from."""
MOST_BYTES = 2**29
"""Of faces in memory; of more clips, a sample drawn without regard to their order is learned from."""
SYNC = 0.03
"""The expert's share of what the painter has to please; the rest is likeness (the paper, section 3.3)."""
SPOT, SPREAD, MORE_THERE = (48.0, 66.0), (14.0, 10.0), 4.0
"""Where the mouth is in a cut-out, how far around it lips go, and how much more than the rest it counts in training."""
TOGETHER, MORE = 8, 3
"""Windows of one clip that the expert compares all with all; how many times the painter's batch it sees."""
SYNCED = 0.2
"""Share of the steps, the last ones, in which the expert is heeded; a painter of blots would only learn to deceive it."""
HELD_BACK = 8
"""Of so many clips one is held back from the expert, to see whether it can tell what it never saw."""
TELLING = 0.85
"""Share of the expert's verdicts on those that must be right before it is heeded at all: the authors' is right in 91 % (section
3.2). One that knows few people teaches stripes that please it alone."""
LAST = 0.3
"""Share of the steps, the last ones, in which the learning rate falls to nothing."""
AHEAD = 16
"""Frames that the painter works on at a time."""
TOP, BELOW = 50, 60
"""Rows of the cut-out between which what is painted fades in; all below the 48th is hidden from the painter."""
WIDER, EDGE = 1.06, 0.1
"""How much wider than the face's outline is painted, and over how much of the cut-out's side that fades out."""
FADING = 24.0
"""Levels of change over which the picture's own fine detail fades."""
STEADINESS = 0.9
"""Share of what was known of the target's colours that each new frame leaves."""


class LipSyncNet(Section):
    """The target with the second parent's speech, the mouth painted by a network that learned lips from sound."""

    steps: Annotated[int, Field(ge=0)] = 1500
    """Of the painter's training, about five a CPU second with the other defaults. 700 keep the person and the light, but hardly
    move the lips. With `weights` 0 uses them as they are."""
    expert_steps: Annotated[int, Field(ge=1)] | None = None
    """Of the expert's training before that, about seven a CPU second; none is as many as `steps`."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    """Windows of five frames a step; the expert, which is small, sees thrice as many."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of Adam, for both."""
    width: Annotated[float, Field(ge=0.05, le=1)] = 0.25
    """Of the nets, in widths of the published ones; with `weights` or `expert` those are as wide as published."""
    weights: Given | None = None
    """The authors' painter (`wav2lip.pth` or `wav2lip_gan.pth`) as safetensors, see `generators.published`, to begin with."""
    expert: Given | None = None
    """The authors' expert (`lipsync_expert.pth`) likewise; none trains one here."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it keep their mouth."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video", "audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    _net: "LipNet | None" = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _learned(self) -> "LipSyncNet":
        if not self.steps and self.weights is None:
            raise ValueError("steps: 0 needs weights to begin with")
        return self

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples, and the expert with its own: see
        `training.learn`.

        Raises ModelError when no clip shows a speaking face.
        """
        usable = (found for clip in clips if (found := shown(clip, self.max_yaw)) is not None) if self.steps else iter(())
        clips_shown = kept(usable, MOST_BYTES // (3 * SIDE**2 * MOMENTS), rng)
        if self.steps and not clips_shown:
            what = "there is no clip in which a face is seen for half a second that is heard, too"
            raise ModelError("lip_sync_net", what, "give it clips that show people who speak")
        seeds = [int(seed) for seed in rng.integers(2**63, size=2)]
        seen = [part for clip in clips_shown for part in (clip.pictures, clip.heard, clip.starts)]
        if self.steps and self.expert is None:
            _teach_expert(self, clips_shown, seeds[0], key_of(__name__, self.of_expert(), seeds[0], *seen), folder)
        learn(
            "lip_sync_net",
            lambda: _lesson(self, clips_shown, seeds[1], folder),
            steps=self.steps,
            batch=self.batch,
            seed=seeds[1],
            key=key_of(__name__, self.settings(), seeds[1], *seen),
            folder=folder,
            todo="lower lip_sync_net's learning_rate, or end before that step",
        )

    def of_expert(self) -> dict[str, Any]:
        """The settings that make the expert."""
        shared = {name: getattr(self, name) for name in ("batch", "learning_rate", "width", "max_yaw")}
        return {"steps": self.steps if self.expert_steps is None else self.expert_steps, **shared}

    def load(self, folder: Path) -> "LipSyncNet":
        """The same generator, able to speak. Raises ModelError."""
        net = self.new_net()
        open_model(folder, "lip_sync_net", {"wav2lip": net})
        bound = self.model_copy()
        bound._net = net
        return bound

    def new_net(self) -> "LipNet":
        """The painter before it has learned anything."""
        from generators.lip_net import LipNet

        return LipNet(self.width if self.weights is None else 1.0)

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target's picture, its lower face painted to the other's speech, which takes the place of the target's own."""
        target, speaker = parents
        if not target.fps:
            raise MediaError(target.name, "is a still image", "leave it out as a target")
        track = face_of(target)
        changed = workable(target, self.max_yaw)
        speech = placed(sound_of(speaker), sound_of(target), rng)
        net = self._net
        if net is None:
            raise ModelError("lip_sync_net", "has no model yet", "train it, then load the model")
        heard, boxes = mel(speech.sound), lower_boxes(track)
        look = shut(target, changed, boxes)

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            frames, layer = enumerate(target.pictures()), _Layer()
            while ahead := list(islice(frames, AHEAD)):
                work = [frame for frame, _ in ahead if changed[frame]]
                faces = [face_crop(picture, boxes[frame], SIDE) for frame, picture in ahead if changed[frame]]
                sounds = [window(heard, frame, target.fps) for frame in work]
                painted = iter(paint(net, faces, [look] * len(faces), sounds))
                for frame, picture in ahead:
                    mask = np.zeros(picture.shape[:2], np.uint8)
                    if changed[frame]:
                        original, picture = picture, picture.copy()
                        layer.lay(picture, mask, boxes[frame], steady(track, frame), next(painted))
                        trim(mask, original, picture)
                    yield picture, mask

        return replace(
            Made.of(target, pictures(), (*spans(changed, target.fps, "video"), *speech.segments)),
            sound=speech.sound,
            words=tuple(speech.when(said) for said in speaker.words),
            phonemes=tuple(speech.when(said) for said in speaker.phonemes),
        )


# --- What it sees and hears


@dataclass(frozen=True)
class Shown:
    """What is learned from of one clip, 25 moments a second.

    `pictures` uint8 (moments, 96, 96, 3): faces, black where none is seen. `heard` float32 (80, n): the mel spectrum of the
    whole sound from the first of the moments on. `starts` int (m,): the moments with which five begin that all show the face.
    """

    pictures: NDArray[np.uint8]
    heard: Floats
    starts: NDArray[np.int64]


def shown(clip: Clip, max_yaw: float) -> Shown | None:
    """Up to MOMENTS of a clip; None where no face is seen for six moments, or nothing is heard.

    A moment at which the face is lost is shown by its neighbour. Raises MediaError when the clip is shorter than it says.
    """
    sound = clip.sound() if clip.fps and clip.track is not None else None
    if clip.track is None or sound is None or not sound.samples.any():
        return None
    able = np.flatnonzero(facing(clip.track, max_yaw))
    total = int(clip.duration * FPS)
    first = max(0, (total - MOMENTS) // 2)
    wanted = np.arange(first, min(total, first + MOMENTS)) * float(clip.fps / FPS)
    if not len(able) or not len(wanted):
        return None
    nearest = able[np.abs(able - wanted[:, None]).argmin(1)]
    near = np.abs(nearest - wanted) <= max(1.0, float(clip.fps / FPS))
    starts = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(np.pad(near, (0, FRAMES - 1)), FRAMES).all(1))
    if len(starts) < 2:
        return None
    boxes, pictures = lower_boxes(clip.track), np.zeros((len(wanted), SIDE, SIDE, 3), np.uint8)
    last = int(nearest[near].max())
    for frame, picture in enumerate(islice(clip.pictures(), last + 1)):
        if (now := near & (nearest == frame)).any():
            pictures[now] = face_crop(picture, boxes[frame], SIDE)
    if frame < last:
        raise MediaError(clip.name, f"ends before its frame {last} of {clip.frames}", "ingest it again")
    begin = round(Fraction(first, FPS) * sound.rate)
    return Shown(pictures, mel(replace(sound, samples=sound.samples[begin:])), starts)


def lower_boxes(track: Track) -> Boxes:
    """Where the face is cut out, frame by frame, (frames, 4): its box with a little below the chin; NaN where it isn't seen."""
    return expert_boxes(face_boxes(track.mesh))


def shut(clip: Clip, frames: NDArray[np.bool_], boxes: Boxes) -> Picture:
    """The face (96, 96, 3) in that of some frames (frames,) in which the lips are nearest to each other.

    The painter is shown one look for all frames of a clip. The authors' script shows it each frame itself, from which a net
    that learned little copies the mouth.
    """
    apart = np.where(frames, lips_apart(face_of(clip).mesh), np.inf)
    frame = int(apart.argmin())
    picture = next(islice(clip.pictures(), frame, None))
    return face_crop(picture, boxes[frame], SIDE)


def window(heard: Floats, frame: int, fps: Fraction | int) -> Floats:
    """What is heard around a frame, (80, 16) of `syncnet.mel`: the 0.2 s that begin 40 ms before it.

    So it is in the authors' training (`get_segmented_mels`). Their script for use begins with the frame itself, which brings
    lips 40 ms too early.
    """
    return mel_window(heard, int(max(Fraction(0), (Fraction(frame) / fps - Fraction(1, FPS)) * COLUMNS)), COLUMNS)


def paint(net: "LipNet", hidden: Sequence[Picture], looks: Sequence[Picture], sounds: Sequence[Floats]) -> list[Floats]:
    """Faces (96, 96, 3) in 0 … 255 that say the `sounds` (80, 16): the lower halves of `hidden` painted, the person as in
    `looks`."""
    import torch

    if not hidden:
        return []
    where = device()
    with torch.inference_mode(), fast(where):
        seen, look = (colours(np.stack(pictures)).to(where) for pictures in (hidden, looks))
        painted = net(torch.from_numpy(np.stack(sounds)[:, None]).to(where), given(seen, look))
        return list(255 * painted.float().permute(0, 2, 3, 1).flip(3).cpu().numpy())


def colours(pictures: NDArray[np.uint8]) -> "Tensor":
    """Pictures (n, h, w, 3) in 0 … 255 as (n, 3, h, w) in 0 … 1, blue, green, red."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255)


def given(faces: "Tensor", looks: "Tensor") -> "Tensor":
    """What the painter is given, (n, 6, 96, 96): faces with their lower halves black, and how the person looks."""
    import torch

    hidden = faces.clone()
    hidden[:, :, SIDE // 2 :] = 0
    return torch.cat([hidden, looks], 1)


# --- How it is laid back


class _Layer:
    """Lays painted lower faces into a target's pictures, in its light, which it learns slowly so that nothing flickers."""

    def __init__(self) -> None:
        self._bend: Floats | None = None

    def lay(self, picture: Picture, mask: Mask, box: NDArray[np.float64], mesh: Floats, painted: Floats) -> None:
        """Lay a painted face (96, 96, 3) where `box` is, and set `mask` where it did, both in place.

        What is laid is 96 pixels fine; the picture's own finer detail stays where hardly anything changes.
        """
        own = face_crop(picture, box, SIDE).astype(np.float32)
        place = _place(box)
        share = lower_face(mesh[:, :2] @ place[:, :2].T + place[:, 2])
        bend = poisson_bend(own - painted, 4 * share * (1 - share))
        self._bend = bend if self._bend is None else STEADINESS * self._bend + (1 - STEADINESS) * bend
        painted = np.clip(painted + self._bend, 0, 255)
        apart = cv2.GaussianBlur(np.abs(painted - own).max(2), (0, 0), 2)
        fine = np.clip(1 - apart / FADING, 0, 1)[..., None]
        x0, y0, x1, y1 = part = face_box(np.array([box[:2], box[2:]], np.float32), picture.shape)
        planes = _laid(np.dstack([painted - fine * own, fine, share]), place, part)
        there = slice(y0, y1), slice(x0, x1)
        over = planes[..., :3] + planes[..., 3:4] * picture[there]
        alpha = np.clip(planes[..., 4] * 255, 0, 255).round().astype(np.uint8)
        picture[there] = mix(picture[there], np.clip(over, 0, 255).round().astype(np.uint8), alpha)
        mask[there] = alpha


def _place(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (2, 3) matrix that takes points of the picture to points of the cut-out; whole numbers are pixel centres."""
    scale = SIDE / np.maximum(box[2:] - box[:2], 1.0)
    return np.column_stack([np.diag(scale), 0.5 * (scale - 1) - scale * box[:2]])


def _laid(planes: Floats, place: NDArray[np.float64], box: tuple[int, int, int, int]) -> Floats:
    """Planes (96, 96, k) of the cut-out as they lie in the picture, over `box` of it."""
    x0, y0, x1, y1 = box
    here = place.copy()
    here[:, 2] += here[:, :2] @ (x0, y0)
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (x1 - x0, y1 - y0)
    parts = [
        cv2.warpAffine(np.ascontiguousarray(part), here, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for part in (planes[..., :3], planes[..., 3:])
    ]
    return np.concatenate(parts, 2)


def lower_face(points: NDArray[np.floating]) -> Floats:
    """(96, 96) how much of what is painted is shown, 0 … 1, of a face whose mesh has these `points` (468, 2) in the cut-out.

    The lower part of the face and a little around it; 0 on the cut-out's border, and softly rising.
    """
    outline = points[OVAL].mean(0) + WIDER * (points[OVAL] - points[OVAL].mean(0))
    filled = cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    filled[[0, -1]] = filled[:, [0, -1]] = 0
    within = np.clip(cv2.distanceTransform(filled, cv2.DIST_L2, 5) / (EDGE * SIDE), 0, 1)
    below = np.clip((np.arange(SIDE) - TOP) / (BELOW - TOP), 0, 1)[:, None]
    eased = [depth * depth * (3 - 2 * depth) for depth in (within, below)]
    return np.asarray(eased[0] * eased[1], np.float32)


# --- How it learns


EXPERT = "expert"


def _teach_expert(settings: LipSyncNet, clips: Sequence[Shown], seed: int, key: str, folder: Path) -> None:
    """Write `expert.safetensors` into `folder`, with its losses and a sheet, unless the one there has this key.

    It learns in the same folder as the painter does after it, so that either goes on from the one checkpoint there.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_expert_file(folder, MODEL), "numpy") as file:
            if key in (file.metadata() or {}).get("forgeline", ""):
                return
    except (OSError, SafetensorError):
        pass  # there is none yet, or no whole one
    learn(
        "lip_sync_net's expert",
        lambda: _expert_lesson(settings, learned_from(clips), seed),
        steps=settings.of_expert()["steps"],
        batch=MORE * settings.batch,
        seed=seed,
        key=key,
        folder=folder,
        todo="lower lip_sync_net's learning_rate, or expert_steps",
    )
    for name in (LOSSES, CURVES, SAMPLES, MODEL):
        if (folder / name).exists():
            (folder / name).replace(_expert_file(folder, name))


def _expert_file(folder: Path, name: str) -> Path:
    return folder / (EXPERT + Path(name).suffix)


def _expert_lesson(settings: LipSyncNet, clips: Sequence[Shown], seed: int) -> Lesson:
    import torch

    from generators.lip_net import expert_of

    with first_weights(seed):
        expert = at_work(expert_of(settings.width))
    adam = torch.optim.Adam(expert.parameters(), settings.learning_rate)
    steps = settings.of_expert()["steps"]

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        likeness = likenesses(expert, *compared(clips, rng, batch))
        _slow(adam, settings.learning_rate, number, steps)
        loss = unsure(likeness)
        descend(adam, loss)
        return {"sync": loss, "right": right(likeness)}

    def sheet() -> Picture:
        """For some clips how alike each window of lips (down) and of sound (across) are: white is 1."""
        some = clips[:: max(1, len(clips) // 6)][:6]
        expert.eval()
        with torch.inference_mode():
            squares = [likenesses(expert, *windows_of(clip, _spread(clip.starts, 24)))[0] for clip in some]
        expert.train()
        plane = np.kron(torch.cat(squares, 1).cpu().numpy(), np.ones((4, 4)))
        return np.repeat((255 * plane).round().astype(np.uint8)[..., None], 3, 2)

    return Lesson({EXPERT: expert}, {"adam": adam}, step, sheet, lambda: tensors_of({EXPERT: expert}))


Net = TypeVar("Net", bound="nn.Module")


def at_work(net: Net) -> Net:
    """The net where it is to be computed, with a place's channels beside each other: half the time on a CPU."""
    import torch

    return net.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def beside(planes: "Tensor") -> "Tensor":
    """Planes (n, c, h, w) there and stored likewise."""
    import torch

    return planes.to(device(), memory_format=torch.channels_last)


def _slow(adam: Any, rate: float, number: int, steps: int) -> None:
    """Let the learning rate fall to nothing in the LAST steps."""
    for group in adam.param_groups:
        group["lr"] = rate * min(1, (steps - number) / (LAST * steps))


def _spread(starts: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.asarray(starts[np.linspace(0, len(starts) - 1, count).astype(int)])


def windows_of(clip: Shown, starts: NDArray[np.int64]) -> "tuple[Tensor, Tensor]":
    """What the expert is shown of a clip at some moments: lips (1, n, 15, 48, 96) and sounds (1, n, 1, 80, 16)."""
    import torch

    lips = lips_of(colours(clip.pictures[(starts[:, None] + np.arange(FRAMES)).ravel()]))
    return lips[None], torch.from_numpy(np.stack([mel_window(clip.heard, int(start), FPS) for start in starts])[None, :, None])


def compared(clips: Sequence[Shown], rng: np.random.Generator, count: int) -> "tuple[Tensor, Tensor]":
    """What the expert learns from: lips (c, n, 15, 48, 96) and sounds (c, n, 1, 80, 16) of n moments of each of c clips.

    About `count` in all. Lips and sounds of a clip are compared all with all: of one moment they go together, else not. (The
    paper compares each window with one sound, which takes many more steps to learn the same.)
    """
    import torch

    each = min(TOGETHER, count, *(len(clip.starts) for clip in clips))
    windows: list[NDArray[np.uint8]] = []
    sounds: list[Floats] = []
    picked = rng.choice(len(clips), max(1, count // each), replace=count // each > len(clips))
    for clip in [clips[i] for i in picked]:
        starts = rng.choice(clip.starts, each, replace=False)
        windows.append(clip.pictures[(starts[:, None] + np.arange(FRAMES)).ravel()])
        sounds.extend(mel_window(clip.heard, int(start), FPS) for start in starts)
    lips = lips_of(varied(np.stack(windows), rng).flatten(0, 1))
    shape = len(picked), each
    return lips.reshape(*shape, *lips.shape[1:]), torch.from_numpy(np.stack(sounds)).reshape(*shape, 1, *sounds[0].shape)


def likenesses(expert: "Expert", lips: "Tensor", sounds: "Tensor") -> "Tensor":
    """How alike, 0 … 1, the lips (c, n, 15, 48, 96) of each clip are to its sounds (c, n, 1, 80, 16): (c, n, n)."""
    from generators.lip_net import alike

    with fast(device()):
        seen, heard = expert.of_faces(beside(lips.flatten(0, 1))), expert.of_sounds(beside(sounds.flatten(0, 1)))
    seen, heard = (found.reshape(*lips.shape[:2], -1) for found in (seen, heard))
    return alike(heard[:, None], seen[:, :, None])


def unsure(likeness: "Tensor") -> "Tensor":
    """The cross entropy of verdicts (c, n, n), of which those on the diagonal should be 1, with half of the weight, else 0."""
    import torch

    surely = likeness.clamp(1e-6, 1 - 1e-6)
    apart = 1 - torch.eye(likeness.shape[1], device=likeness.device)
    together = surely.diagonal(dim1=1, dim2=2).log().mean()
    return -(together + ((1 - surely).log() * apart).sum() / (len(likeness) * apart.sum())) / 2


def right(likeness: "Tensor") -> "Tensor":
    """The share of right verdicts (c, n, n), a likeness above 0.5 or not; what goes together has half of the weight."""
    import torch

    apart = 1 - torch.eye(likeness.shape[1], device=likeness.device)
    together = (likeness.diagonal(dim1=1, dim2=2) > 0.5).float().mean()
    return (together + ((likeness <= 0.5) * apart).sum() / (len(likeness) * apart.sum())) / 2


def varied(windows: NDArray[np.uint8], rng: np.random.Generator) -> "Tensor":
    """Windows (n, frames, 96, 96, 3) as (n, frames, 3, 96, 96) in 0 … 1, half of them mirrored, each in another light."""
    import torch

    mirrored = rng.random(len(windows)) < 0.5
    windows = np.where(mirrored[:, None, None, None, None], windows[:, :, :, ::-1], windows)
    light = torch.from_numpy(rng.uniform(0.8, 1.2, (len(windows), 1, 3, 1, 1)).astype(np.float32))
    faces = colours(windows.reshape(-1, *windows.shape[2:])).reshape(*windows.shape[:2], 3, SIDE, SIDE)
    return (faces * light).clamp(0, 1)


def lips_of(faces: "Tensor") -> "Tensor":
    """Faces (5 n, 3, 96, 96), five a window, as the expert sees them: (n, 15, 48, 96)."""
    return faces[:, :, SIDE // 2 :].reshape(-1, 3 * FRAMES, SIDE // 2, SIDE)


def _lesson(settings: LipSyncNet, clips: Sequence[Shown], seed: int, folder: Path) -> Lesson:
    """The painter's. Its loss `sync` is 0 as long as the expert is not heeded."""
    import torch

    from generators.lip_net import alike

    where = device()
    with first_weights(seed):
        net = settings.new_net()
    if settings.weights is not None:
        fill(net, settings.weights, "Wav2Lip")
    at_work(net)
    expert = _expert_of(settings, folder) if settings.steps else None
    if expert is not None and telling(expert, clips[::HELD_BACK], seed) < TELLING:
        expert = None
    adam = torch.optim.Adam(net.parameters(), settings.learning_rate)
    weight = torch.from_numpy(mouth_weight()).to(where)
    alone = settings.steps if expert is None else int((1 - SYNCED) * settings.steps)

    def step(number: int, rng: np.random.Generator, batch: int) -> "dict[str, Tensor]":
        faces, looks, each, whole = scenes(clips, rng, batch)
        if number < alone:  # frames of one window are much alike: one of them teaches nearly as much
            faces, looks, each = faces[:, :1], looks[:, :1], each[::FRAMES]
        faces, looks = faces.flatten(0, 1).to(where), looks.flatten(0, 1).to(where)
        with fast(where):
            painted = net(beside(each), beside(given(faces, looks))).float()
        unlike = ((painted - faces).abs() * weight).mean()
        loss, unsynced = unlike, torch.zeros(())
        if expert is not None and number >= alone:
            with fast(where):
                likeness = alike(*expert(beside(whole), beside(lips_of(painted))))
            unsynced = -likeness.clamp(min=1e-6).log().mean()
            loss = (1 - SYNC) * unlike + SYNC * unsynced
        _slow(adam, settings.learning_rate, number, settings.steps)
        descend(adam, loss)
        return {"picture": unlike, "sync": unsynced}

    def sheet() -> Picture:
        """Row by row of some clips: what is hidden but for its upper half, how the person looks, what is painted of that."""
        some = clips[:: max(1, len(clips) // 6)][:6]
        hidden = np.stack([clip.pictures[clip.starts[-1]] for clip in some])
        looks = np.stack([clip.pictures[clip.starts[0]] for clip in some])
        net.eval()
        painted = paint(net, list(hidden), list(looks), [window(clip.heard, int(clip.starts[-1]), FPS) for clip in some])
        net.train()
        rows = np.concatenate([hidden, looks, np.stack(painted).round().astype(np.uint8)], 2)
        return np.concatenate(list(rows))

    return Lesson({"wav2lip": net}, {"adam": adam}, step, sheet, lambda: tensors_of({"wav2lip": net}))


def mouth_weight() -> Floats:
    """(96, 96): how much each place of a face counts, 1 on average."""
    x, y = (np.square((np.arange(SIDE) - at) / spread) for at, spread in zip(SPOT, SPREAD, strict=True))
    weight = 1 + MORE_THERE * np.exp(-(x + y[:, None]) / 2)
    return np.asarray(weight / weight.mean(), np.float32)


def scenes(clips: Sequence[Shown], rng: np.random.Generator, count: int) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """What the painter learns from: faces and, of another moment, looks, each (count, 5, 3, 96, 96); what is heard in each
    frame, (5 count, 1, 80, 16), and in all five, (count, 1, 80, 16).
    """
    import torch

    windows: list[NDArray[np.uint8]] = []
    each: list[Floats] = []
    whole: list[Floats] = []
    for clip in [clips[i] for i in rng.integers(len(clips), size=count)]:
        start, other = (int(moment) for moment in rng.choice(clip.starts, 2, replace=False))
        windows.append(np.concatenate([clip.pictures[at : at + FRAMES] for at in (start, other)]))
        each.extend(window(clip.heard, start + i, FPS) for i in range(FRAMES))
        whole.append(mel_window(clip.heard, start, FPS))
    both = varied(np.stack(windows), rng)
    sounds = [torch.from_numpy(np.stack(parts)[:, None]) for parts in (each, whole)]
    return both[:, :FRAMES], both[:, FRAMES:], sounds[0], sounds[1]


def learned_from(clips: Sequence[Shown]) -> list[Shown]:
    """The clips without every HELD_BACK-th; all where there are fewer."""
    return [clip for number, clip in enumerate(clips) if number % HELD_BACK or len(clips) < HELD_BACK]


def telling(expert: "Expert", clips: Sequence[Shown], seed: int) -> float:
    """The share of right verdicts of an expert on some clips."""
    import torch

    rng = np.random.default_rng(seed)
    with torch.inference_mode():
        return float(np.mean([right(likenesses(expert, *compared(clips, rng, 4 * TOGETHER))).item() for _ in range(8)]))


def _expert_of(settings: LipSyncNet, folder: Path) -> "Expert":
    """The expert as it judges: it learns no further. Raises ModelError."""
    from safetensors.torch import load_file

    from generators.lip_net import expert_of

    if settings.expert is not None:
        expert = expert_of()
        fill(expert, settings.expert, "Wav2Lip's expert")
    else:
        expert = expert_of(settings.width)
        tensors = load_file(_expert_file(folder, MODEL))
        expert.load_state_dict({name.removeprefix(f"{EXPERT}/"): value for name, value in tensors.items()})
    return at_work(expert).eval().requires_grad_(False)


def fill(net: "nn.Module", given: Given, kind: str) -> None:
    """Take the weights of a model that a team brings. Raises WeightsError, and ModelError when it is of another net."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = given_weights(given)
    try:
        net.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        what = f"is not a model of {kind} ({' '.join(str(error).split())[:300]})"
        raise ModelError(path, what, "convert the authors' model with `python -m generators.published`") from error
