"""What every net that learns here relies on: the same bits after an interruption, and a clear word when it can't go on."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from forgeline.clip import Clip, Track
from forgeline.errors import MediaError, ModelError
from generators import training
from generators.training import (
    CHECKPOINT,
    CURVES,
    LOSSES,
    MODEL,
    SAMPLES,
    Lesson,
    descend,
    fast,
    first_weights,
    kept,
    learn,
    moments,
    open_model,
    tensors_of,
)

STEPS, BATCH = 9, 8


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)


def small_net() -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
    return net.to(memory_format=torch.channels_last)


Watch = Callable[[int, int], object]
Scale = Callable[[int], float]


def begun(watch: Watch = lambda step, batch: None, scale: Scale = lambda step: 1.0) -> Lesson:
    """A net that learns to give back what it is shown; `watch` sees every step, `scale` multiplies its loss."""
    where = training.device()
    with first_weights(5):
        net = small_net()
    adam = torch.optim.Adam(net.parameters(), 1e-2)

    def step(number: int, rng: np.random.Generator, batch: int) -> Mapping[str, Tensor]:
        watch(number, batch)
        shown = torch.from_numpy(rng.random((batch, 3, 8, 8), np.float32))
        with fast(where):
            given = net(shown)
        loss = (given.float() - shown).square().mean() * scale(number)
        descend(adam, loss)
        return {"z": loss, "a": loss * 2}

    sheet = np.zeros((8, 8, 3), np.uint8)
    return Lesson({"net": net}, {"adam": adam}, step, lambda: sheet, lambda: tensors_of({"net": net}))


def run(folder: Path, lesson: Callable[[], Lesson] = begun, key: str = "key", seed: int = 0, steps: int = STEPS) -> None:
    learn("test", lesson, steps=steps, batch=BATCH, seed=seed, key=key, folder=folder, todo="do less")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stopping(at: int) -> Callable[[], Lesson]:
    def watch(step: int, _: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    return lambda: begun(watch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_STEPS", 2)
        run(folder)
    return files(folder)


def test_what_is_left_are_the_model_its_losses_and_samples(whole: dict[str, bytes]) -> None:
    assert set(whole) == {MODEL, LOSSES, CURVES, SAMPLES}
    head, *rows = csv.reader(whole[LOSSES].decode().splitlines())
    assert head == ["step", "a", "z"]
    assert [int(row[0]) for row in rows] == list(range(1, STEPS + 1))
    losses = [float(row[2]) for row in rows]
    assert losses[-1] < losses[0]
    assert all(float(row[1]) == pytest.approx(2 * float(row[2])) for row in rows)


@pytest.mark.parametrize("at", [1, 2, 5, 8])
def test_an_interruption_changes_nothing(at: int, whole: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(at))
    assert (tmp_path / CHECKPOINT).exists() == (at >= 2)
    assert not (tmp_path / MODEL).exists()
    taken: list[int] = []
    run(tmp_path, lambda: begun(lambda step, _: taken.append(step)))
    assert taken == list(range(at - at % 2, STEPS))  # it did go on
    assert files(tmp_path) == whole


def test_a_kill_changes_nothing(whole: dict[str, bytes], tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
import test_training as t
t.training.CHECKPOINT_STEPS = 2
t.run(Path(sys.argv[1]), lambda: t.begun(lambda step, _: os.kill(os.getpid(), signal.SIGKILL) if step == 7 else None))
"""
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": folders}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / CHECKPOINT).exists()
    run(tmp_path)
    assert files(tmp_path) == whole


@pytest.mark.parametrize("fault", ["cut short", "empty", "another key"])
def test_a_checkpoint_that_is_not_whole_or_not_of_this_is_not_used(
    fault: str, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopping(5), key="other" if fault == "another key" else "key")
    path = tmp_path / CHECKPOINT
    if fault != "another key":
        path.write_bytes(path.read_bytes()[: 1000 if fault == "cut short" else 0])
    taken: list[int] = []
    run(tmp_path, lambda: begun(lambda step, _: taken.append(step)))
    assert taken == list(range(STEPS))
    assert files(tmp_path) == whole
    assert ("cut short or not ours" in capsys.readouterr().err) == (fault != "another key")


def test_a_finished_model_is_left_alone_and_another_is_not(whole: dict[str, bytes], tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, stopping(0))
    assert files(tmp_path) == whole
    run(tmp_path, key="other", seed=1)
    assert files(tmp_path)[MODEL] != whole[MODEL]


@pytest.mark.parametrize(("at", "told", "step"), [(0, "none was kept yet", 1), (6, "the checkpoint before it is kept", 7)])
def test_what_is_no_number_stops_the_training(at: int, told: str, step: int, tmp_path: Path) -> None:
    kinds: list[Scale] = [
        lambda number: float("nan") if number == at else 1.0,
        lambda number: float("inf") if number == at else 1.0,
    ]
    for kind, scale in enumerate(kinds):
        folder = tmp_path / str(kind)
        with pytest.raises(ModelError, match=f"no longer a number at step {step}; {told}.*; do less"):
            run(folder, partial(begun, scale=scale))
        if at:
            kept_there = load_file(folder / CHECKPOINT)
            assert len(kept_there["loss z"]) == 6
            assert all(bool(value.isfinite().all()) for value in kept_there.values())
        assert not (folder / MODEL).exists()


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path) -> None:
    def broken() -> Lesson:
        lesson = begun()

        def step(number: int, rng: np.random.Generator, batch: int) -> Mapping[str, Tensor]:
            losses = lesson.step(number, rng, batch)
            if number == 3:  # a loss tells of the weights before its step
                next(lesson.nets["net"].parameters()).data[0] = float("nan")
            return losses

        return replace(lesson, step=step)

    with pytest.raises(ModelError, match="test: net is no longer a number at step 4"):
        run(tmp_path, broken)
    assert len(load_file(tmp_path / CHECKPOINT)["loss z"]) == 2


def test_when_memory_is_full_the_batch_is_halved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batches: list[int] = []

    def watch(step: int, batch: int) -> None:
        if step == 4 and batches.count(2) == 4:
            raise KeyboardInterrupt
        batches.append(batch)
        if batch > 2:
            raise torch.OutOfMemoryError("full")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, lambda: begun(watch))
    assert batches == [8, 4, 2, 2, 2, 2]
    assert "on with a batch of 2" in capsys.readouterr().err
    batches.clear()
    run(tmp_path, lambda: begun(watch))
    assert batches == [2] * (STEPS - 4)  # what was found out is remembered


def test_when_nothing_fits_it_says_so(tmp_path: Path) -> None:
    def watch(*_: int) -> None:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(ModelError, match="does not fit the GPU's memory with a batch of 2; use a larger GPU"):
        run(tmp_path, lambda: begun(watch))


def test_a_model_of_other_nets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not there; run the train stage of test"):
        open_model(tmp_path, "test", {"net": small_net()})
    run(tmp_path)
    net = small_net()
    open_model(tmp_path, "test", {"net": net})
    assert not net.training
    for other in (nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9)), nn.Linear(2, 2)):
        with pytest.raises(ModelError, match="is not a model of this generator"):
            open_model(tmp_path, "test", {"net": other})
    (tmp_path / MODEL).write_bytes((tmp_path / MODEL).read_bytes()[:-3])
    with pytest.raises(ModelError, match="is not a model of this generator"):
        open_model(tmp_path, "test", {"net": net})


def clip_of(seen: list[bool], frames: int | None = None) -> Clip:
    n = len(seen)
    shapes = {"box": (4,), "points": (5, 2), "mesh": (468, 3), "score": ()}
    nothing: Any = {name: np.full((n, *shape), np.nan, np.float32) for name, shape in shapes.items()}
    pictures = [np.full((2, 2, 3), i, np.uint8) for i in range(n if frames is None else frames)]
    track = Track(**nothing, seen=np.array(seen))
    return Clip("video", 2, 2, Fraction(25), n, lambda: iter(pictures), lambda: None, track, "a clip")


def test_moments_are_spread_over_the_frames_that_show_the_face() -> None:
    seen = [False] * 3 + [True] * 9
    frames = [(frame, int(picture[0, 0, 0])) for frame, picture in moments(clip_of(seen), 3)]
    assert frames == [(3, 3), (7, 7), (11, 11)]
    assert [frame for frame, _ in moments(clip_of(seen), 100)] == list(range(3, 12))
    assert not list(moments(clip_of([False]), 3))
    assert not list(moments(replace(clip_of(seen), track=None), 3))
    with pytest.raises(MediaError, match="ends before its frame 11 of 12"):
        list(moments(clip_of(seen, 10), 3))


def test_of_many_examples_each_is_as_likely_kept() -> None:
    assert kept(range(5), 5, np.random.default_rng(0)) == list(range(5))
    counts = np.zeros(20)
    for seed in range(600):
        held = kept(range(20), 4, np.random.default_rng(seed))
        assert len(held) == len(set(held)) == 4
        counts[held] += 1
    assert abs(counts - 120).max() < 45  # four and a half standard deviations
