"""Generators one after the other: what is seen, what is said of it, and what it may cost."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from flows.params import load_params
from forgeline.clip import Clip, Made, Mask, Picture, Segment, spans
from forgeline.errors import ParamsError, PromiseError
from forgeline.section import Section
from generators.attributes import Attributes
from generators.blend_swap import BlendSwap
from generators.chain import Chain, Step, learner, modules
from generators.dcgan import DCGAN
from generators.lip_sync import LipSync
from generators.plugin import Generator
from generators.self_swap import SelfSwap
from tests.people import FPS, FRAMES, UNSEEN, drawn


class Stripe(Section):
    """Makes some rows of every second frame brighter; looks at the whole clip first where it is told to."""

    top: int
    looks: int = 0

    role: ClassVar[str] = "augmentation"
    content_class: ClassVar[str] = "augmented_real"
    makes: ClassVar[str] = "video"
    casting: ClassVar[str] = "own"
    changes: ClassVar[frozenset[str]] = frozenset()
    apparent: ClassVar[str] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "algorithmicallyEnhanced"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        (target,) = parents
        for _ in range(self.looks):
            assert sum(1 for _ in target.pictures()) == target.frames
        lift = int(rng.integers(1, 100))

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            for frame, picture in enumerate(target.pictures()):
                mask = np.zeros(picture.shape[:2], np.uint8)
                if frame % 2 == self.top % 2:
                    picture, mask[self.top] = picture.copy(), 100
                    picture[self.top] ^= lift
                yield picture, mask

        changed = np.arange(target.frames) % 2 == self.top % 2
        whole = (target.media_type, target.width, target.height, target.fps, target.frames)
        return Made(*whole, pictures(), target.sound(), spans(changed, target.fps, "video"), {"lift": lift})


def chain(*sections: Section) -> Chain:
    return Chain(steps=tuple(Step(name=f"step_{i}", section=section) for i, section in enumerate(sections)))


def run(generator: Any, parents: Sequence[Clip], seed: int = 5) -> tuple[Made, list[tuple[Picture, NDArray[np.uint8]]]]:
    made = generator(parents, np.random.default_rng(seed))
    return made, list(made.pictures)


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_each_step_works_on_what_the_one_before_it_made(looks: int) -> None:
    target = drawn(1)
    made, frames = run(chain(Stripe(top=10), Stripe(top=21, looks=looks), Stripe(top=32, looks=looks)), [target])
    assert made.frames == len(frames) == FRAMES
    for frame, ((picture, mask), original) in enumerate(zip(frames, target.pictures(), strict=True)):
        rows = {10, 32} if frame % 2 == 0 else {21}
        assert set(np.flatnonzero(mask.any(1))) == rows
        assert set(np.flatnonzero((picture != original).any((1, 2)))) == rows
    assert made.segments == (Segment(0.0, float(FRAMES / FPS), "video"),)


def test_looking_first_changes_nothing() -> None:
    plain, looking = (run(chain(Stripe(top=10), Stripe(top=21, looks=n)), [drawn(1)])[1] for n in (0, 1))
    for (a, _), (b, _) in zip(plain, looking, strict=True):
        assert np.array_equal(a, b)


def test_a_first_step_in_a_chain_makes_what_its_own_chance_says() -> None:
    one, other, again = (run(chain(Stripe(top=10), Stripe(top=21)), [drawn(1)], seed)[1] for seed in (5, 6, 5))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    first, second = (picture.astype(int)[row] for picture, row in ((one[0][0], 10), (one[1][0], 21)))
    originals = list(drawn(1).pictures())
    assert np.ptp(first ^ originals[0][10]) == np.ptp(second ^ originals[1][21]) == 0
    lifts = {"step_0.lift": int((first ^ originals[0][10])[0, 0]), "step_1.lift": int((second ^ originals[1][21])[0, 0])}
    assert len(set(lifts.values())) == 2, "both steps drew the same"
    made, _ = run(chain(Stripe(top=10), Stripe(top=21)), [drawn(1)])
    assert made.drawn == lifts


def test_real_steps_keep_what_generators_promise() -> None:
    """A swap, then other speech: everything of both, nothing where the mask is 0."""
    parents = [drawn(1), drawn(2)]
    made, frames = run(chain(BlendSwap(), LipSync()), parents)
    swap, swapped = run(BlendSwap(), parents)
    spoken, _ = run(LipSync(), parents)
    assert made.sound is not None
    assert spoken.sound is not None
    alike = np.corrcoef(made.sound.samples, spoken.sound.samples)[0, 1]
    assert alike > 0.9, "but for the noise of the room, which is drawn"
    assert {s.modality for s in made.segments} == {"video", "audio"}
    mouths = 0
    for (picture, mask), original, (face, its_mask) in zip(frames, parents[0].pictures(), swapped, strict=True):
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        assert (mask >= its_mask).all()
        mouths += not np.array_equal(picture, face)
    assert not frames[UNSEEN][1].any()
    assert mouths > FRAMES / 3
    assert swap.segments == tuple(s for s in made.segments if s.modality == "video")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (("own", "own"), ("augmentation", "augmented_real", "own", frozenset(), "target", "algorithmicallyEnhanced")),
        (("swap", "own"), ("forgery", "partially_synthetic", "pair", {"video"}, "source", "compositeCapture")),
        (("twin", "own"), ("null_twin", "augmented_real", "own", frozenset(), "target", "compositeCapture")),
        (("swap", "lips"), ("forgery", "partially_synthetic", "pair", {"video", "audio"}, "source", "composite")),
        (("paint", "own"), ("forgery", "fully_synthetic", "nobody", {"video"}, "nobody", "trainedAlgorithmicMedia")),
    ],
)
def test_says_what_it_is_as_a_whole(steps: tuple[str, str], said: tuple[Any, ...]) -> None:
    kinds = {"own": Stripe(top=1), "swap": BlendSwap(), "twin": SelfSwap(), "lips": LipSync(), "paint": DCGAN(size=512)}
    whole = chain(*(kinds[step] for step in steps))
    assert isinstance(whole, Generator)
    found = (whole.role, whole.content_class, whole.casting, whole.changes, whole.apparent, whole.source_type)
    assert found == said
    assert whole.control == ("image_control" if steps[0] == "paint" else "control")
    assert whole.size == (512 if steps[0] == "paint" else None)


def test_its_masks_are_not_kept_longer_than_they_are_needed() -> None:
    """Of a clip of 500 pictures, 17 MB of masks, that is looked at twice."""
    target = drawn(1)
    pictures = list(target.pictures())
    long = replace(target, frames=500, pictures=lambda: (pictures[i % FRAMES] for i in range(500)), track=None)
    made = chain(Stripe(top=10), Stripe(top=21, looks=2))([long], np.random.default_rng(1))
    tracemalloc.start()
    for _ in made.pictures:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


class Hasty(Stripe):
    """Gives a picture of its own before it has seen the target's."""

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        made = super().__call__(parents, rng)
        empty = np.zeros((made.height, made.width), np.uint8)
        return replace(made, pictures=iter([(np.repeat(empty[..., None], 3, 2), empty)] * made.frames))


def test_a_step_that_does_not_follow_the_one_before_it_is_a_broken_promise() -> None:
    made = chain(Stripe(top=10), Hasty(top=3))([drawn(1)], np.random.default_rng(1))
    with pytest.raises(PromiseError, match="before it took the target's"):
        list(made.pictures)


# In params -----------------------------------------------------------------------------------------------------------


def written(folder: Path, **generators: Any) -> Path:
    params = yaml.safe_load((Path(__file__).parents[1] / "params.tiny.yaml").read_text())
    params["generators"] |= generators
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder / "params.yaml"


def test_a_step_named_alone_has_the_settings_of_its_section(tmp_path: Path) -> None:
    told: list[Any] = ["blend_swap", {"attributes": {"smile": 0.2}}]
    path = written(tmp_path, blend_swap={"blend": "multiband"}, self_swap={"blend": "multiband"}, smiling={"steps": told})
    smiling = load_params(path).generators["smiling"]
    assert isinstance(smiling, Chain)
    assert smiling.steps[0].section == BlendSwap(blend="multiband")
    assert smiling.steps[1].section == Attributes(smile=0.2)
    assert smiling.settings() == {
        "steps": [{"blend_swap": BlendSwap(blend="multiband").settings()}, {"attributes": Attributes(smile=0.2).settings()}]
    }
    assert modules(smiling) == ("generators.chain", "generators.blend_swap", "generators.attributes")
    assert learner(smiling) is None


@pytest.mark.parametrize(
    ("section", "where", "what"),
    [
        ({"steps": ["blend_swap"]}, "smiling", "fewer than two"),
        ({"steps": "blend_swap"}, "smiling", "no chain"),
        ({"steps": ["blend_swap", "attributes"], "seed": 1}, "smiling", "no chain"),
        ({"steps": ["blend_swap", "atributes"]}, r"smiling.steps.1", "did you mean attributes"),
        ({"steps": ["blend_swap", {"attributes": {"smil": 1}}]}, r"smiling.steps.1.smil", "did you mean smile"),
        ({"steps": ["blend_swap", {"attributes": {}, "self_swap": {}}]}, r"smiling.steps.1", "does not exist"),
        ({"steps": ["control", "attributes"]}, "smiling", "changes nothing"),
        ({"steps": ["attributes", "dcgan"]}, "smiling", "paint over"),
        ({"steps": ["dcgan", "blend_swap"]}, "smiling", "two people"),
    ],
)
def test_a_wrong_chain_is_refused_by_name(tmp_path: Path, section: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ParamsError, match=f"generators.{where}.*{what}"):
        load_params(written(tmp_path, smiling=section))


def test_a_null_twin_has_the_settings_of_its_swap(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"generators.self_swap.*other settings than blend_swap"):
        load_params(written(tmp_path, blend_swap={"max_yaw": 20.0}))
    load_params(written(tmp_path, blend_swap={"max_yaw": 20.0}, self_swap={"max_yaw": 20.0}))


def test_a_chain_learns_with_its_one_step_that_learns() -> None:
    painter = DCGAN(steps=3)
    assert learner(chain(painter, Stripe(top=1))) is painter
