"""Portraits by a variational autoencoder: what its nets know from the first step on, and that nobody is copied."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from forgeline.errors import MediaError, ModelError
from generators import latent, training
from generators.plugin import Trained
from generators.portrait import portraits
from generators.vae import VAE
from tests.people import drawn

RNG = np.random.default_rng
SMALL = VAE(steps=3, batch=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    SMALL.train((drawn(i) for i in range(1, 5)), RNG(0), folder)
    return folder


def test_it_begins_with_the_best_linear_codes() -> None:
    faces = portraits([drawn(i) for i in range(1, 5)], RNG(0), 99)
    nets = latent.lesson(faces, 1e-3, 0, lambda _: {}).nets
    codes = latent.encode(nets, faces)
    assert codes.mean(0) == pytest.approx(0, abs=1e-2)
    used = codes.std(0) > 0.1
    assert used.sum() >= 3
    assert codes[:, used].std(0).max() < 1.5
    error = float(np.sqrt(np.square(latent.decode(nets, codes) - faces).mean()))
    assert error < 0.3 * faces.std(0).mean()
    assert np.square(latent.decode(nets, np.zeros((1, latent.CODES))) - faces.mean(0)).max() < 1


def test_training_lessens_the_loss() -> None:
    faces = RNG(0).integers(0, 256, (1, 64, 64, 3), np.uint8) // 2 + portraits([drawn(1), drawn(2)], RNG(0), 99) // 2
    lesson = latent.lesson(faces, 1e-3, 0, lambda _: {})
    losses = [sum(part.item() for part in lesson.step(n, RNG(n), 8).values()) for n in range(24)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_a_picture_is_made_whole_and_only_by_its_rng(model: Path) -> None:
    bound = SMALL.load(model)
    made = bound((), RNG(1))
    ((picture, mask),) = made.pictures
    assert (made.media_type, made.frames, made.fps, made.width, made.height) == ("image", 1, Fraction(0), 256, 256)
    assert mask is not None
    assert mask.min() == 255
    assert np.array_equal(next(iter(bound((), RNG(1)).pictures))[0], picture)
    assert not np.array_equal(next(iter(bound((), RNG(2)).pictures))[0], picture)
    assert isinstance(bound, Trained)
    assert bound.settings() == SMALL.settings()


def test_no_portrait_is_a_copy(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = SMALL.load(model)
    seen = bound._seen
    assert seen is not None
    face = portraits([drawn(1)], RNG(0), 1)[0]
    assert seen.nearness(face) < 1
    assert all(float(bound((), RNG(seed)).drawn["nearest_face"]) >= 1 for seed in range(4))
    monkeypatch.setattr(type(seen), "nearness", lambda *_: 0.5)
    with pytest.raises(MediaError, match="is a copy"):
        bound((), RNG(0))


def test_less_truncation_gives_more_variety(model: Path) -> None:
    painter = SMALL.load(model)._painter
    assert painter is not None
    spread = [np.std([painter(RNG(seed), share) for seed in range(6)], axis=0).mean() for share in (0.2, 1.0)]
    assert spread[1] > 2 * spread[0]


def test_without_a_model_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train it"):
        VAE()((), RNG(0))
    with pytest.raises(ModelError, match="run the train stage"):
        VAE().load(tmp_path)
    (tmp_path / training.MODEL).write_bytes(b"not a model")
    with pytest.raises(ModelError, match="is not a model"):
        VAE().load(tmp_path)


def test_too_few_faces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there are 9 faces"):
        VAE().train([drawn(1)], RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())
