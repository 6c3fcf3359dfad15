"""Attribute edits in the codes of a variational autoencoder: the same person smiling, or as if old, all through the clip.

An attribute is a direction among the codes (attribute vectors, Larsen et al. 2016; InterFaceGAN, Shen et al. 2020): how codes
change with it while the other attributes stay, by least squares. What faces do is measured on their meshes, frame by frame, as
each person's change from their own usual face; what people are is what their corpus declares of them, and is never guessed.

Codes are of faces of 64 pixels, so what they paint is never shown. A face is painted twice, as it is and as it is edited, and
the frame gets the difference: what moved between the two is moved in the frame (dense flow, Kroeger et al. 2016), what else
changed is added to it. So the frame keeps its own detail, and whatever of a person the codes can't say.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PrivateAttr

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import ModelError
from forgeline.mesh import LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE
from forgeline.sample import Role
from forgeline.section import Section
from generators import latent
from generators.align import Place, cut, mask_of, oval, place
from generators.plugin import Casting, Stream, face_of
from generators.portrait import NATIVE
from generators.pose import facing, steady, workable
from generators.training import kept, key_of, learn, moments, open_model
from generators.warp import face_box, trim

if TYPE_CHECKING:  # torch takes seconds, and most of what imports this module never learns or paints
    from torch import Tensor, nn

    Nets = Mapping[str, nn.Module]

Floats = NDArray[np.float32]

MOST_FACES = 8192
"""100 MB of faces; of more, a sample drawn without regard to their order is learned from."""
FACES_A_CLIP = 64
MEASURED = ("smile", "open_mouth", "raised_brows", "wide_eyes")
"""What is measured of every face, in distances between the eyes: see `measured`."""
ONE_WAY = ("open_mouth", "wide_eyes")
"""Of these there is only more: a mouth that is shut can't be shut further."""
ALIKE = 1e-3
"""Deviation of what is measured below which all faces do the same."""
EDGE = 0.12
"""Width of the soft edge, in widths of the face."""
STILL, SAME = 0.15, 1.0
"""Pixels of movement and levels of change below which a place stays as it is."""
CHANCE = 4.0
"""Levels that any difference of two painted faces is lessened by: of what little data say of a direction, so much is noise."""
STEADINESS = 0.75
"""Share of the frames' difference before that each new frame leaves."""
FOLDS = 4
"""Parts in which clips are left out in turn, to see how well codes tell an attribute."""
SHORT = 3.0
"""How many times longer a direction may be made."""
AHEAD = 16
"""Frames that the nets work on at a time."""
FINER = 2
"""How much finer than the nets see faces their movement is looked for."""
PULL = 1e-2
"""Of the ridge regression by which attributes are told from codes, for each face and code of unit variance."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("names an attribute twice")
    return names


Attribute = Annotated[str, Field(pattern=r"^[^=]+(=[^=]+)?$")]


class LatentAttributes(Section):
    """The target's face moved along an attribute's direction among the codes of a net that learned how faces vary."""

    attributes: Annotated[tuple[Attribute, ...], Field(strict=False, min_length=1), AfterValidator(_each_once)] = (
        "smile",
        "open_mouth",
    )
    """One of these is drawn a clip. `smile`, `open_mouth`, `raised_brows` and `wide_eyes` are measured in all corpora; others
    are what the corpora declare of people: a number (`age`), or one value against the others (`glasses=round`)."""
    strength: Annotated[float, Field(gt=0, le=10)] = 3.0
    """The largest edit, in deviations of the attribute among the faces learned from. Each clip's is between half of it and
    all of it, in either direction; but mouths and eyes only open, and who has a value loses it while others get it."""
    steps: Annotated[int, Field(ge=1)] = 400
    """Of training, about 35 a CPU second. It begins with principal components, so even few make faces."""
    batch: Annotated[int, Field(ge=2, le=256)] = 16
    """Faces a step."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Of Adam."""
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

    _nets: "Nets | None" = PrivateAttr(default=None)
    _directions: Mapping[str, Floats] = PrivateAttr(default_factory=dict)

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model into `folder`, with its losses and a sheet of samples: see `training.learn`.

        Raises ModelError when there are not enough faces for one batch, or an attribute is not declared or does not vary.
        """
        faces = _Faces.of(clips, self, rng)
        if len(faces.pictures) < self.batch:
            what = f"there are {len(faces.pictures)} faces to learn from, fewer than a batch of {self.batch}"
            raise ModelError("latent_attributes", what, "give it more clips that show faces, or a smaller batch")
        wanted = {name: faces.labels(name) for name in self.attributes}
        seed = int(rng.integers(2**63))
        learn(
            "latent_attributes",
            lambda: latent.lesson(faces.pictures, self.learning_rate, seed, lambda nets: _directions(nets, faces, wanted)),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            key=key_of("generators.latent_attributes", self.settings(), seed, faces.pictures, faces.whose, *wanted.values()),
            folder=folder,
            todo="lower latent_attributes' learning_rate, or end before that step",
        )

    def load(self, folder: Path) -> "LatentAttributes":
        """The same generator, able to edit. Raises ModelError."""
        nets = latent.new_nets()
        held = open_model(folder, "latent_attributes", nets)
        directions = {name: held[f"direction/{name}"].numpy() for name in self.attributes if f"direction/{name}" in held}
        if len(directions) < len(self.attributes):
            what = f"holds no direction for {', '.join(sorted(set(self.attributes) - set(directions)))}"
            raise ModelError(folder, what, "run the train stage of latent_attributes")
        bound = self.model_copy()
        bound._nets, bound._directions = nets, directions
        return bound

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with one attribute changed, by one amount, in every frame where it is seen and not turned too far."""
        (target,) = parents
        changed = workable(target, self.max_yaw)
        if self._nets is None:
            raise ModelError("latent_attributes", "has no model yet", "train it, then load the model")
        attribute = self.attributes[int(rng.integers(len(self.attributes)))]
        amount = self.strength * float(rng.uniform(0.5, 1) * rng.choice([-1, 1]))
        name, _, value = attribute.partition("=")
        if value or attribute in ONE_WAY:
            amount = -abs(amount) if value and target.attributes.get(name) == value else abs(amount)
        edit = _Edit(self._nets, np.float32(amount) * self._directions[attribute])
        drawn: dict[str, str | float] = {"attribute": attribute, "amount": amount}
        return Made.of(target, _pictures(target, edit, changed), spans(changed, target.fps, "video"), drawn)


# --- Faces, and what they do


_TEMPLATE = np.array([[20.5, 21.0], [42.5, 21.0], [31.5, 19.2], [31.5, 38.0]])
"""Where the eyes' middles, the nose's bridge and its base lie in 64 x 64 pixels: points that no expression moves."""


def upright(mesh: Floats) -> Place:
    """The place of the face of this mesh (468, 3), from forehead to chin, in 64 x 64 pixels."""
    flat = mesh[:, :2]
    return place(np.stack([flat[RIGHT_EYE].mean(0), flat[LEFT_EYE].mean(0), flat[168], flat[2]]), _TEMPLATE)


def seen_by_nets(picture: Picture, mesh: Floats) -> Picture:
    """The face (64, 64, 3) on grey: hair and what is behind it would take most of the codes."""
    at = upright(mesh)
    outline = np.column_stack([mesh[:, :2] @ at[:, :2].T + at[:, 2], mesh[:, 2]])
    share = oval(np.asarray(outline, np.float32), (0, 0, NATIVE, NATIVE), EDGE / 2)[..., None]
    return np.asarray((cut(picture, at, NATIVE) * share + 127.5 * (1 - share)).round(), np.uint8)


def measured(mesh: Floats) -> Floats:
    """What faces (…, 468, 3) do, as MEASURED says, (…, 4), in distances between the eyes.

    How far the mouth's corners are above its middle, and a quarter of how far apart; how far the lips are apart; how far the
    brows are above the eyes; and how far the lids are apart.
    """
    flat = mesh[..., :2]
    right, left = flat[..., RIGHT_EYE, :].mean(-2), flat[..., LEFT_EYE, :].mean(-2)
    across = (left - right)[..., None, :]
    size = np.square(across).sum(-1)
    x = (flat * across).sum(-1) / size
    y = (flat[..., 1] * across[..., 0] - flat[..., 0] * across[..., 1]) / size
    lips, corners = y[..., [13, 14]].mean(-1), y[..., [61, 291]].mean(-1)
    eyes = y[..., [*RIGHT_EYE, *LEFT_EYE]].mean(-1)
    smile = lips - corners + (x[..., 291] - x[..., 61]) / 4
    brows = eyes - y[..., [*RIGHT_BROW, *LEFT_BROW]].mean(-1)
    lids = y[..., [145, 374]].mean(-1) - y[..., [159, 386]].mean(-1)
    return np.asarray(np.stack([smile, y[..., 14] - y[..., 13], brows, lids], -1), np.float32)


@dataclass(frozen=True)
class _Faces:
    """What is learned from: `pictures` uint8 (n, 64, 64, 3), of the clips `whose` (n,), which do `done` (n, 4) as `measured`,
    less what is usual in their clip; and what is `declared` of each clip.
    """

    pictures: NDArray[np.uint8]
    whose: NDArray[np.int64]
    done: Floats
    declared: Sequence[Mapping[str, str]]

    @staticmethod
    def of(clips: Iterable[Clip], settings: LatentAttributes, rng: np.random.Generator) -> "_Faces":
        declared: list[Mapping[str, str]] = []
        faces = kept(_met(clips, settings.max_yaw, declared), MOST_FACES, rng)
        pictures, whose = (
            np.array([face for face, _, _ in faces], np.uint8),
            np.array([number for _, number, _ in faces], np.int64),
        )
        done = np.array([does for _, _, does in faces], np.float32).reshape(-1, len(MEASURED))
        return _Faces(pictures, whose, done - _usual(done, whose), declared)

    def labels(self, attribute: str) -> Floats:
        """(n,) float32, NaN where nothing is declared. Raises ModelError where faces don't differ by it."""
        name, _, value = attribute.partition("=")
        if attribute in MEASURED:
            labels = self.done[:, MEASURED.index(attribute)]
            if labels.std() < ALIKE:
                raise ModelError(
                    f"attribute {attribute}", "is the same in all faces", "leave it out, or give clips of people who move"
                )
            return labels
        texts = [told.get(name) for told in self.declared]
        values = sorted({text for text in texts if text is not None})
        if not values:
            there = sorted({known for told in self.declared for known in told})
            what = "is not declared of anyone, and not measured"
            todo = f"choose one that is measured ({', '.join(MEASURED)}) or declared ({', '.join(there) or 'here nothing is'})"
            raise ModelError(f"attribute {attribute}", what, todo)
        some = ", ".join(values[:10])
        if value and value not in values:
            raise ModelError(f"attribute {attribute}", f"is a value that nobody has ({name} is {some})", "choose one of these")
        try:
            numbers = [np.nan if text is None else float(text == value if value else text) for text in texts]
        except ValueError as error:
            what = f"is declared in words ({some})"
            raise ModelError(f"attribute {attribute}", what, f"say which, as in {name}={values[0]}") from error
        labels = np.array(numbers, np.float32)[self.whose]
        if np.nanstd(labels) == 0:
            raise ModelError(f"attribute {attribute}", "is the same in all clips", "leave it out, or give more people")
        return labels


def _met(clips: Iterable[Clip], max_yaw: float, declared: list[Mapping[str, str]]) -> Iterator[tuple[Picture, int, Floats]]:
    """Faces with the number of their clip and what they do; puts what is `declared` of each clip into the list."""
    for clip in clips:
        if clip.track is None:
            continue
        able = facing(clip.track, max_yaw)
        if not able.any():
            continue
        declared.append(clip.attributes)
        for frame, picture in moments(replace(clip, track=replace(clip.track, seen=able)), FACES_A_CLIP):
            mesh = steady(clip.track, frame)
            yield seen_by_nets(picture, mesh), len(declared) - 1, measured(mesh)


# --- Directions


def _directions(nets: "Nets", faces: _Faces, wanted: Mapping[str, Floats]) -> "dict[str, Tensor]":
    """The direction (64,) of each wanted attribute, by name: what one deviation of it adds to the codes. And how well codes
    tell the attribute of faces that it was not learned from, which is also printed.
    """
    import torch

    codes = latent.encode(nets, faces.pictures)
    moved = codes - _usual(codes, faces.whose)
    held: dict[str, Tensor] = {}
    for name, labels in wanted.items():
        given = np.isfinite(labels)
        rows = (moved if name in MEASURED else codes)[given]
        others = [column for other, column in zip(MEASURED, faces.done.T, strict=True) if other != name]
        terms = np.column_stack([labels, *others])[given]
        held[f"direction/{name}"] = torch.from_numpy(_direction(rows, terms))
        figure, told = _told(rows, labels[given], faces.whose[given])
        held[f"told/{name}"] = torch.tensor(told)
        print(f"latent_attributes: {name} is told from codes with {figure} {told:.2f}", file=sys.stderr, flush=True)
    return held


def _usual(rows: Floats, whose: NDArray[np.int64]) -> Floats:
    """For each row (n, k) the mean of those of the same clip; stills, of which a clip has but one, are one clip together."""
    _, place_of, count = np.unique(whose, return_inverse=True, return_counts=True)
    _, place_of, count = np.unique(np.where(count[place_of] == 1, -1, place_of), return_inverse=True, return_counts=True)
    total = np.zeros((len(count), rows.shape[1]))
    np.add.at(total, place_of, rows)
    return np.asarray((total / count[:, None])[place_of], np.float32)


def _direction(codes: Floats, terms: Floats) -> Floats:
    """What one deviation of the first of the terms (n, k) adds to the codes (n, 64) while the others stay, by least squares.

    What meshes tell trembles, and so directions come out too short: each is as long as its attribute, told from the codes that
    it leads to, says, but at most SHORT times longer.
    """
    scaled = (terms - terms.mean(0)) / np.maximum(terms.std(0), ALIKE)
    step = _ridge(scaled, codes - codes.mean(0))[0]
    teller = _ridge(codes - codes.mean(0), scaled[:, 0])
    return np.asarray(step / max(float(step @ teller), 1 / SHORT), np.float32)


def _ridge(terms: NDArray[np.floating], wanted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weights (k, …) by which terms (n, k) give what is wanted (n, …), by least squares with a pull towards 0."""
    rows = np.asarray(terms, np.float64)
    return np.asarray(np.linalg.solve(rows.T @ rows + PULL * len(rows) * np.eye(rows.shape[1]), rows.T @ wanted))


def _told(codes: Floats, labels: Floats, whose: NDArray[np.int64]) -> tuple[str, float]:
    """How well the labels (n,) are told by ridge regression from codes (n, 64) of clips that it did not see.

    Of two values, the chance that a face with the higher is told from one with the lower ("AUC"), 0.5 by guessing; of more,
    the share of their variance that is explained ("R²"), 0 by guessing.
    """
    numbers = np.unique(whose)
    fold = np.searchsorted(numbers, whose) % FOLDS if len(numbers) > 1 else np.arange(len(whose)) % FOLDS
    guessed = np.zeros(len(codes))
    for number in np.unique(fold):
        out = fold == number
        middle, usual = codes[~out].mean(0), float(labels[~out].mean())
        guessed[out] = usual + (codes[out] - middle) @ _ridge(codes[~out] - middle, labels[~out] - usual)
    if len(np.unique(labels)) == 2:
        high, low = guessed[labels == labels.max()], guessed[labels == labels.min()]
        return "AUC", float((high[:, None] > low).mean() + (high[:, None] == low).mean() / 2)
    return "R²", float(1 - np.square(labels - guessed).sum() / np.square(labels - labels.mean()).sum())


# --- Editing


def _pictures(target: Clip, edit: "_Edit", changed: NDArray[np.bool_]) -> Iterator[tuple[Picture, Mask]]:
    track, frames = face_of(target), enumerate(target.pictures())
    while ahead := list(islice(frames, AHEAD)):
        work = [(picture, steady(track, frame)) for frame, picture in ahead if changed[frame]]
        changes = iter(edit.changes(work))
        for frame, picture in ahead:
            mask = np.zeros(picture.shape[:2], np.uint8)
            if changed[frame]:
                original, picture = picture, picture.copy()
                _lay(picture, mask, steady(track, frame), next(changes))
                trim(mask, original, picture)
            yield picture, mask


class _Edit:
    """What moving the codes of one clip's faces by `step` (64,) changes in them; it changes slowly from frame to frame."""

    def __init__(self, nets: "Nets", step: Floats) -> None:
        self._nets, self._step = nets, step
        self._known: Floats | None = None

    def changes(self, work: Sequence[tuple[Picture, Floats]]) -> Iterator[Floats]:
        """For each picture and mesh the change (64, 64, 5) of the face: see `_change`."""
        if not work:
            return
        codes = latent.encode(self._nets, np.stack([seen_by_nets(picture, mesh) for picture, mesh in work]))
        painted = latent.decode(self._nets, np.concatenate([codes, codes + self._step]))
        for now, then in zip(painted[: len(work)], painted[len(work) :], strict=True):
            change = _change(now, then)
            self._known = change if self._known is None else STEADINESS * self._known + (1 - STEADINESS) * change
            yield self._known


def _change(now: Floats, then: Floats) -> Floats:
    """(64, 64, 5): from where in `now` each place of `then` came, less the place itself, and the levels added to it."""
    flow = _flow(then, now)
    x, y = np.arange(NATIVE, dtype=np.float32), np.arange(NATIVE, dtype=np.float32)[:, None]
    came = cv2.remap(now, flow[..., 0] + x, flow[..., 1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    added = then - came
    return np.dstack([flow, np.sign(added) * np.maximum(np.abs(added) - CHANCE, 0)])


def _flow(one: Floats, other: Floats) -> Floats:
    """Where the places of one face (64, 64, 3) lie in another, less the places themselves: (64, 64, 2)."""
    side = FINER * NATIVE
    greys = [cv2.cvtColor(face.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY) for face in (one, other)]
    fine = [cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC) for grey in greys]
    flow = _flow_finder().calc(fine[0], fine[1], None)  # type: ignore[call-overload]
    return np.asarray(cv2.resize(flow, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA) / FINER, np.float32)


@cache
def _flow_finder() -> cv2.DISOpticalFlow:
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(0)
    return finder


def _lay(picture: Picture, mask: Mask, mesh: Floats, change: Floats) -> None:
    """Change the face of this mesh as `change` says, and set the mask where that was done, both in place."""
    box = x0, y0, x1, y1 = face_box(mesh, picture.shape)
    at, size = upright(mesh), (x1 - x0, y1 - y0)
    share = oval(mesh, box, EDGE)
    here = at.copy()
    here[:, 2] += here[:, :2] @ (x0, y0)
    back = np.linalg.inv(at[:, :2])  # from the face's own pixels and directions to those of the picture
    change = np.dstack([change[..., :2] @ np.float32(back.T), change[..., 2:]])
    flow, added = (
        cv2.warpAffine(part, here, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) * share[..., None]
        for part in (change[..., :2], change[..., 2:])
    )
    moved = np.square(flow).sum(2) > STILL**2
    brighter = np.abs(added).max(2) > SAME
    whole = np.ascontiguousarray(picture[y0:y1, x0:x1])
    flow[~moved] = 0
    added[~brighter] = 0
    x, y = np.arange(x1 - x0, dtype=np.float32), np.arange(y1 - y0, dtype=np.float32)[:, None]
    bent = cv2.remap(whole, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    picture[y0:y1, x0:x1] = cv2.add(bent, added, dtype=cv2.CV_8U)
    mask[y0:y1, x0:x1] = mask_of(share) * (moved | brighter)
