"""What the figures of sets cost beside pytorch-fid, torch-fidelity and clean-fid: same PNG files, same weights, one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.evaluation.sets [--images N] [PART ...]

Parts are whole (from files to figures), resize (clean-fid's, by both), distance (the Fréchet step alone) and again (scoring
anew where one pair of a hundred changed); without one, all. The weights are random, in pytorch-fid's format, as the cost
doesn't depend on them. Photographs are cut-outs of those that come with scikit-image, 256 pixels wide. CPU seconds.
torch-fidelity and clean-fid are left out where they aren't installed (`pip install --no-deps torch-fidelity==0.4.0
clean-fid==0.1.35`).
"""

import argparse
import contextlib
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forgeline.compute import one_thread

PARTS = ("whole", "resize", "distance", "again")
SIDE = 256


def main() -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--images", type=int, default=100, metavar="N", help="a side (100)")
    given = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = random_weights(folder)
        chosen = given.parts or PARTS
        if "whole" in chosen:
            whole(folder, weights, given.images)
        if "resize" in chosen and find_spec("cleanfid"):
            resize()
        if "distance" in chosen:
            distance()
        if "again" in chosen:
            again()


def random_weights(folder: Path) -> Path:
    """A file as pytorch-fid publishes it, put where the factory looks for it."""
    import torch
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
    from torchvision.models import inception_v3

    from forgeline import weights as table

    torch.set_num_threads(1)
    net = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    net.Mixed_5b, net.Mixed_5c, net.Mixed_5d = FIDInceptionA(192, 32), FIDInceptionA(256, 64), FIDInceptionA(288, 64)
    net.Mixed_6b, net.Mixed_6c = FIDInceptionC(768, 128), FIDInceptionC(768, 160)
    net.Mixed_6d, net.Mixed_6e = FIDInceptionC(768, 160), FIDInceptionC(768, 192)
    net.Mixed_7b, net.Mixed_7c = FIDInceptionE_1(1280), FIDInceptionE_2(2048)
    chance = torch.Generator().manual_seed(0)
    state = net.state_dict()
    for name, value in state.items():
        if value.ndim >= 2:
            state[name] = torch.randn(value.shape, generator=chance) * (2 / value[0].numel()) ** 0.5
        elif name.endswith("bn.bias"):
            state[name] = torch.randn(value.shape, generator=chance) * 0.1
    row = table.WEIGHTS["inception"]
    path = folder / row.file
    torch.save(dict(state), path)
    table.WEIGHTS["inception"] = replace(row, sha256_prefix=hashlib.sha256(path.read_bytes()).hexdigest())
    os.environ["FORGELINE_WEIGHTS"] = str(folder)
    return path


def whole(folder: Path, weights: Path, n: int) -> None:
    sides = [folder / name for name in ("one", "other")]
    draw(sides, n)
    rivals = dict(_rivals(sides, weights))
    ours: dict[str, Callable[[], str]] = {
        "Forgeline, FID": lambda: _ours(sides, "fp32", ("fid",)),
        "Forgeline, FID, KID, IS": lambda: _ours(sides, "fp32", ("fid", "kid", "inception_score")),
        "Forgeline, FID, KID, IS, precision, recall": lambda: _ours(
            sides, "fp32", ("fid", "kid", "inception_score", "precision_recall")
        ),
        "Forgeline, FID, bf16": lambda: _ours(sides, "bf16", ("fid",)),
    }
    print(f"{2 * n} PNG files of {SIDE} px, from files to figures")
    apart = [0.0]
    roots = (("evaluators.fid", "frechet_distance"), ("scipy.linalg", "sqrtm"), ("numpy.linalg", "eigvals"))
    with contextlib.ExitStack() as stack:
        for root in roots:
            stack.enter_context(_timed(*root, apart))
        for name, work in (ours | rivals).items():
            start, apart[0] = time.process_time(), 0.0
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found = work()
            spent = time.process_time() - start
            rate = f"{2 * n / (spent - apart[0]):.2f} images/s without the root of matrices"
            print(f"  {name}: {spent:.1f} s, {apart[0]:.1f} s of it for a root of matrices; {rate}; {found}", flush=True)


@contextlib.contextmanager
def _timed(module: str, name: str, spent: list[float]) -> Iterator[None]:
    """What a function costs while it is in use is added to `spent`."""
    home = import_module(module)
    work = getattr(home, name)

    def timed(*given: Any, **more: Any) -> Any:
        start = time.process_time()
        try:
            return work(*given, **more)
        finally:
            spent[0] += time.process_time() - start

    setattr(home, name, timed)
    yield
    setattr(home, name, work)


def draw(sides: list[Path], n: int) -> None:
    """Cut-outs of photographs; those of the second folder are noisier."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    photographs = import_module("skimage.data")
    shots = [getattr(photographs, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    for noise, folder in enumerate(sides):
        folder.mkdir()
        for at in range(n):
            shot = shots[at % len(shots)]
            y, x = (int(rng.integers(0, size - SIDE + 1)) for size in shot.shape[:2])
            cut = shot[y : y + SIDE, x : x + SIDE] + 20.0 * noise * rng.normal(size=(SIDE, SIDE, 3))
            cv2.imwrite(str(folder / f"{at:05}.png"), cut.clip(0, 255).astype(np.uint8)[..., ::-1])


def _ours(sides: list[Path], precision: Any, names: tuple[str, ...]) -> str:
    import numpy as np

    import evaluators.fid
    from evaluators.fid import FID
    from evaluators.figure import Frames, Measured, figures_of_sets
    from evaluators.inception import open_network
    from evaluators.table import EVALUATORS
    from forgeline.image import open_image

    evaluators.fid.ENOUGH = 2  # rivals give it for any number
    open_network.cache_clear()
    files = [sorted(side.iterdir()) for side in sides]
    chosen = {name: EVALUATORS[name].model_validate({"network": "inception", "precision": precision}) for name in names}
    first = FID(network="inception", precision=precision)
    measured = []
    for one, other in zip(*files, strict=True):
        control, fake = (np.stack(list(open_image(path).pictures())) for path in (one, other))
        rows = first.rows(Frames(control, fake, None, aligned=False))
        measured.append(Measured(one.name, ("a", "master", "test"), partial(dict, {name: rows for name in names})))
    (figures,) = figures_of_sets(measured, chosen, 1, {}).values()
    return ", ".join(f"{name} {figure.value:.9g}" for name, figure in figures.items() if figure.value is not None)


def _rivals(sides: list[Path], weights: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    import torch
    from pytorch_fid import fid_score
    from pytorch_fid import inception as net

    net.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    folders = [str(side) for side in sides]

    def pytorch_fid() -> str:
        return f"fid {fid_score.calculate_fid_given_paths(folders, 50, 'cpu', 2048, num_workers=0):.9g}"

    yield "pytorch-fid, FID", pytorch_fid
    if find_spec("torch_fidelity"):
        import torch_fidelity  # type: ignore[import-not-found]

        def fidelity(more: bool) -> str:
            size = min(1000, len(list(sides[0].iterdir())))
            found = torch_fidelity.calculate_metrics(
                input1=folders[1],
                input2=folders[0],
                cuda=False,
                fid=True,
                kid=more,
                isc=more,
                kid_subset_size=size,
                batch_size=50,
                cache=False,
                verbose=False,
                save_cpu_ram=True,
                feature_extractor_weights_path=str(weights),
            )
            return ", ".join(f"{name} {value:.9g}" for name, value in found.items())

        yield "torch-fidelity, FID, KID, IS", lambda: fidelity(True)
        yield "torch-fidelity, FID", lambda: fidelity(False)
    if find_spec("cleanfid"):
        from cleanfid import fid as clean  # type: ignore[import-not-found]
        from cleanfid import inception_pytorch

        inception_pytorch.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)

        def clean_fid() -> str:
            how = {"mode": "legacy_pytorch", "num_workers": 0, "device": torch.device("cpu"), "use_dataparallel": False}
            return f"fid {clean.compute_fid(*folders, verbose=False, **how):.9g}"

        yield "clean-fid, FID", clean_fid


def resize() -> None:
    """Photographs and noise made smaller, larger and narrower: how far the two are apart, on the scale of 0 to 255."""
    import cv2
    import numpy as np
    from cleanfid.resize import build_resizer  # type: ignore[import-not-found]

    from evaluators.inception import clean

    theirs, photographs, rng = build_resizer("clean"), import_module("skimage.data"), np.random.default_rng(0)
    apart, spent = 0.0, [0.0, 0.0]
    for size in ((720, 1280), (512, 512), (256, 256), (90, 300)):
        for shot in (photographs.astronaut(), photographs.coffee(), rng.integers(0, 256, (512, 512, 3), np.uint8)):
            shown = np.ascontiguousarray(cv2.resize(shot, size[::-1]))
            found = []
            for at, way in enumerate((clean, theirs)):
                start = time.process_time()
                found.append(way(shown))
                spent[at] += time.process_time() - start
            apart = max(apart, float(np.abs(found[0] - found[1]).max()))
    print(
        f"clean resize of 12 pictures: at most {apart:.3g} of 255 apart; {spent[0]:.2f} s, clean-fid {spent[1]:.2f} s",
        flush=True,
    )


def distance() -> None:
    import warnings

    import numpy as np
    from pytorch_fid.fid_score import calculate_frechet_distance

    from evaluators.features import Features
    from evaluators.fid import frechet_distance, gaussian_of, influences

    rng = np.random.default_rng(0)
    mixing = 0.05 * rng.normal(size=(256, 2048))
    for n in (500, 5000):
        drawn = [rng.normal(size=(n, 256)) @ mixing + 0.1 * rng.normal(size=(n, 2048)) + at / 50 for at in (0, 1)]
        one, other = (side.astype(np.float32) for side in drawn)
        start = time.process_time()
        first, second = gaussian_of(one), gaussian_of(other)
        ours = frechet_distance(first, second)
        middle = time.process_time()
        influences(Features(one, other, np.ones(n, np.int64)), first, second)
        end = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # sqrtm(disp=…)
            about = [(side.mean(0), np.cov(side, rowvar=False)) for side in (one.astype(float), other.astype(float))]
            theirs = float(calculate_frechet_distance(*about[0], *about[1]))
        usual = time.process_time() - end
        print(
            f"Fréchet distance of 2 x {n} frames, 2048 features: {middle - start:.2f} s, {end - middle:.2f} s more for its "
            f"interval; pytorch-fid {usual:.2f} s; {ours:.9g}, pytorch-fid {theirs:.9g}",
            flush=True,
        )


def again() -> None:
    """Ten sets of ten pairs of one frame: all scored, then one pair of another key."""
    import numpy as np

    from evaluators.fid import FID
    from evaluators.figure import Evaluator, Measured, Pair, figures_of_sets, measure
    from evaluators.kid import KID
    from evaluators.precision_recall import PrecisionRecall
    from forgeline.clip import Clip

    rng = np.random.default_rng(0)
    chosen: dict[str, Evaluator] = {
        "fid": FID(network="inception"),
        "kid": KID(network="inception"),
        "precision_recall": PrecisionRecall(network="inception"),
    }
    kept: dict[int, Measured] = {}

    def pair(at: int) -> Pair:
        shown = rng.integers(0, 256, (2, 1, SIDE, SIDE, 3), np.uint8)
        one, other = (Clip("image", SIDE, SIDE, Fraction(0), 1, partial(iter, side), lambda: None) for side in shown)
        return Pair(f"{at:03}", one, other, f"method{at % 10}", "test")

    def scored(changed: range, key: str, known: dict[str, Any]) -> float:
        start = time.process_time()
        for at in changed:
            one = pair(at)
            kept[at] = Measured(one.sample_id, one.group, partial(dict, measure(one, chosen, 1)), key)
        figures_of_sets(kept.values(), chosen, 1, known)
        return time.process_time() - start

    known: dict[str, Any] = {}
    measure(pair(0), chosen, 1)  # loads the network
    all_, one, none = scored(range(100), "first", known), scored(range(1), "second", known), scored(range(0), "", known)
    print(f"100 pairs: {all_:.2f} s; one of them changed: {one:.2f} s ({100 * one / all_:.1f} %); none: {none:.3f} s")


if __name__ == "__main__":
    main()
