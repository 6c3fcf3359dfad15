"""Figures of sets against independent implementations, their intervals, what is kept of them, and sets that can't be scored."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

import evaluators.features
from evaluators import interval
from evaluators.features import Features, OfFeatures
from evaluators.fid import FID, frechet_distance, gaussian_of, influences
from evaluators.figure import Evaluator, Figure, Measured, OfFrames, Pair, Rows, change, figures_of_sets, measure, score
from evaluators.inception import Network
from evaluators.inception_score import InceptionScore
from evaluators.kid import KID, kernel_distance, subset_distances
from evaluators.precision_recall import PrecisionRecall, neighbours
from evaluators.ssim import SSIM
from evaluators.table import EVALUATORS
from flows import score as stage
from forgeline.clip import Clip

Floats = NDArray[np.float64]
RNG = np.random.default_rng
DIMS = 6
SETS: list[OfFeatures] = [FID(), KID(), PrecisionRecall(k=3)]


def features(seed: int, sizes: Sequence[int] = (5,) * 12, moved: float = 0.4, dims: int = DIMS) -> Features:
    """Clips whose frames are alike; fakes lie beside their controls."""
    rng, n = RNG(seed), sum(sizes)
    of_clip = np.repeat(rng.normal(size=(len(sizes), dims)), sizes, axis=0)
    control = of_clip + 0.3 * rng.normal(size=(n, dims))
    fake = control * 1.1 + moved + 0.2 * rng.normal(size=(n, dims))
    return Features(control.astype(np.float32), fake.astype(np.float32), np.array(sizes))


def rows(of: Features) -> list[Rows]:
    ends = np.cumsum(of.sizes)[:-1]
    return [{"control": c, "fake": f} for c, f in zip(np.split(of.control, ends), np.split(of.fake, ends), strict=True)]


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a few numbers, in the place of a network's; its name is the random one's."""
    net = Network(lambda pictures: pictures[:, 0, :2].reshape(len(pictures), -1).astype(np.float32), DIMS, {"network": "small"})
    monkeypatch.setattr(evaluators.features, "open_network", lambda *_: net)


def ends(figure: Figure) -> tuple[float, float]:
    """The interval's; the value lies between them."""
    low, value, high = (end if end is not None else math.nan for end in (figure.low, figure.value, figure.high))
    assert low < value < high
    return low, high


# --- KID


def naive_kid(one: Floats, other: Floats) -> float:
    """Bińkowski et al. 2018, eq. 4, term by term."""

    def k(x: Floats, y: Floats) -> float:
        return float((np.dot(x, y) / len(x) + 1) ** 3)

    m, n = len(one), len(other)
    within = sum(k(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j) / (m * (m - 1))
    within += sum(k(x, y) for i, x in enumerate(other) for j, y in enumerate(other) if i != j) / (n * (n - 1))
    return within - 2 * sum(k(x, y) for x in one for y in other) / (m * n)


@pytest.mark.parametrize("sizes", [(2,), (5, 1, 3, 8), (1,) * 20])
def test_kid_is_its_formula(sizes: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    of = features(1, sizes)
    monkeypatch.setattr(evaluators.features, "BLOCK", 7)
    value, low, high = kernel_distance(of)
    assert value == pytest.approx(naive_kid(of.control.astype(float), of.fake.astype(float)), rel=1e-9)
    assert (low is None) == (len(sizes) == 1)
    assert low is None or high is None or low < value < high


def test_an_interval_of_kid_is_of_pairs_that_are_drawn_and_never_compared_with_themselves() -> None:
    of = features(1, (2, 3, 4, 1, 2))
    one, other = of.control.astype(float), of.fake.astype(float)
    kernels = [(a @ b.T / DIMS + 1) ** 3 for a, b in ((one, one), (other, other), (one, other))]
    same, twice = of.pair[:, None] == of.pair, np.eye(of.n, dtype=bool)
    found = []
    for drawn in interval.draws(5):
        times = drawn[of.pair]
        weights = np.where(same, times[:, None], np.outer(times, times))
        others = np.where(twice, 0, weights)
        means = [np.average(k, weights=w) for k, w in zip(kernels, (others, others, weights), strict=True) if w.any()]
        found.append(means[0] + means[1] - 2 * means[2] if len(means) == 3 else -2 * means[0])
    assert kernel_distance(of)[1:] == pytest.approx(interval.percentiles(np.array(found)), rel=1e-9)


def test_kid_of_subsets_is_the_formula_on_each() -> None:
    of = features(2, (4,) * 5)
    whole = list(subset_distances(of.control, of.fake, 3, of.n))
    assert whole == pytest.approx([naive_kid(of.control.astype(float), of.fake.astype(float))] * 3, rel=1e-9)
    some = list(subset_distances(of.control, of.fake, 3000, 4))
    assert np.mean(some) == pytest.approx(whole[0], abs=4 * np.std(some) / np.sqrt(3000))  # they have no bias
    assert list(subset_distances(of.control, of.fake, 7, 4)) == some[:7]


def test_kid_of_sets_from_the_same_people_is_about_0() -> None:
    rng = RNG(1)
    found = []
    for _ in range(40):
        one, other = (rng.normal(size=(30, DIMS)).astype(np.float32) for _ in range(2))
        found.append(kernel_distance(Features(one, other, np.ones(30, int)))[0])
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40)


def test_kids_of_unlike_numbers_compare_and_frechets_do_not() -> None:
    few, many = (KID().of_set(rows(features(1, (4,) * n)))["kid_random"] for n in (6, 9))
    assert few.fingerprint == many.fingerprint
    few, many = (FID().of_set(rows(features(1, (4,) * n)))["frechet_random"] for n in (6, 9))
    assert {key for key in few.fingerprint if few.fingerprint[key] != many.fingerprint[key]} == {"n"}


def test_of_very_large_sets_whole_pairs_are_compared() -> None:
    of = features(1, (3, 5) * 10)
    some = of.at_most(30)
    assert 20 < some.n <= 30
    assert some.n == sum(some.sizes)
    kept = {tuple(row) for row in some.fake.tolist()}
    for pair in rows(of):
        assert len({tuple(row) for row in pair["fake"].tolist()} & kept) in (0, len(pair["fake"]))
    assert of.at_most(80) is of


# --- Precision, recall, density, coverage


def naive_neighbours(real: Floats, fake: Floats, k: int) -> list[float]:
    """Kynkäänniemi et al. 2019, eq. 1 and 2; Naeem et al. 2020, eq. 2 and 3."""
    real_radii = np.sort(cdist(real, real), axis=1)[:, k]
    fake_radii = np.sort(cdist(fake, fake), axis=1)[:, k]
    apart = cdist(real, fake)
    inside = apart <= real_radii[:, None]
    covered = apart.min(axis=1) <= real_radii
    recalled = (apart <= fake_radii[None]).any(axis=1)
    return [inside.any(axis=0).mean(), recalled.mean(), inside.sum() / (k * len(fake)), covered.mean()]


@pytest.mark.parametrize("at_once", [1, 200, 2**22])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_recall_density_coverage_are_their_formulas(k: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluators.precision_recall._AT_ONCE", at_once)
    of = features(3, (1,) * 60, moved=0.7)
    found = [float(values.mean()) for values in neighbours(of.control, of.fake, k)]
    expected = naive_neighbours(of.control.astype(float), of.fake.astype(float), k)
    assert found == pytest.approx(expected, rel=1e-12)
    assert len({0.0, 1.0, *found}) > 3
    figures = PrecisionRecall(k=k).of_set(rows(of))
    assert [figures[f"{n}_random"].value for n in ("precision", "recall", "density", "coverage")] == pytest.approx(found)


def test_frames_that_are_alike_are_within_their_own_balls() -> None:
    """Also where rounding leaves something of their distance, which is 0."""
    still = np.repeat(RNG(1).normal(100, 30, (40, 301)).astype(np.float32), 4, axis=0)
    assert [values.min() for values in neighbours(still, still[::-1].copy(), 2)] == [1.0, 1.0, 2.0, 1.0]


# --- Intervals


def test_an_interval_of_a_mean_is_the_bootstraps() -> None:
    values = RNG(1).normal(size=40) ** 2
    rng = RNG(7)
    means = [rng.choice(values, 40).mean() for _ in range(20_000)]
    assert interval.of_mean(values) == pytest.approx(np.quantile(means, (0.025, 0.975)), rel=0.05)
    sizes = RNG(2).integers(1, 9, 40).astype(float)
    drawn = rng.integers(0, 40, (20_000, 40))
    ratios = values[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    assert interval.of_mean(values, sizes) == pytest.approx(np.quantile(ratios, (0.025, 0.975)), rel=0.05)
    assert interval.of_mean(values[:1]) is None


def test_clips_beyond_a_number_are_drawn_together_and_give_the_same_interval() -> None:
    values = RNG(1).normal(3, 1, 3000)
    low, high = interval.of_mean(values) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(1.96 / math.sqrt(3000), rel=0.15)
    assert len(interval.in_units(values)) == interval.UNITS
    assert interval.in_units(values).sum() == pytest.approx(values.sum())


@pytest.mark.parametrize("sizes", [(6,) * 60, (3, 9) * 30])
def test_an_interval_of_frechets_distance_is_the_bootstraps(sizes: Sequence[int]) -> None:
    """Where there are many frames, so that sets that are drawn anew have little bias of their own."""
    of = features(4, sizes, dims=3)
    figure = FID().of_set(rows(padded(of)))["frechet_random"]
    rng, pairs = RNG(5), rows(of)
    drawn = []
    for _ in range(400):
        some = [pairs[at] for at in rng.integers(0, len(pairs), len(pairs))]
        sides = [gaussian_of(np.concatenate([pair[side] for pair in some])) for side in ("control", "fake")]
        drawn.append(frechet_distance(*sides))
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert ends(figure) == pytest.approx((low, high), abs=0.12 * (high - low))


def drawn_apart(seed: int, clips: int, frames: int) -> tuple[Features, float]:
    """Sets of clips whose frames are alike, of 16 features that change unequally, and their distance without end."""
    rng, scale = RNG(seed), np.geomspace(1, 0.1, 16)

    def side(shift: float, wider: float) -> NDArray[np.float32]:
        own = np.repeat(rng.normal(size=(clips, 16)), frames, axis=0)
        rows = (np.sqrt(0.7) * own + np.sqrt(0.3) * rng.normal(size=own.shape)) if frames > 1 else own
        return (rows * scale * wider + shift).astype(np.float32)

    of = Features(side(0, 1), side(0.02, 1.1), np.full(clips, frames))
    return of, float(16 * 0.02**2 + np.square(0.1 * scale).sum())


@pytest.mark.parametrize(("clips", "frames"), [(160, 1), (100, 8)])
def test_frechets_distance_without_end_has_hardly_a_bias(clips: int, frames: int) -> None:
    plain, endless, held = [], [], 0
    for seed in range(40):
        of, true = drawn_apart(seed, clips, frames)
        figures = FID().of_features(of)
        plain.append((figures["fid"].value or 0) - true)
        endless.append((figures["fid_infinity"].value or 0) - true)
        low, high = ends(figures["fid_infinity"])
        held += low <= true <= high
    assert abs(np.mean(endless)) < 0.1 * np.mean(plain) + 2 * np.std(endless) / math.sqrt(40)
    assert np.mean(np.abs(endless)) < 0.5 * np.mean(np.abs(plain))
    assert held >= 34


def test_frechets_distance_without_end_takes_frames_enough_and_names_no_number() -> None:
    few, enough, more = (FID().of_features(drawn_apart(1, clips, 1)[0])["fid_infinity"] for clips in (79, 80, 90))
    assert few.value is None
    assert few.reason == "79 frames of 79 clips are too few, it takes 80 of two"
    assert enough.value is not None
    assert change(enough, more) == pytest.approx((more.value or 0) - enough.value)
    assert FID().of_features(drawn_apart(1, 80, 1)[0])["fid_infinity"] == enough
    whole, _ = drawn_apart(1, 90, 1)
    one = FID().of_features(replace(whole, sizes=np.array([90])))
    assert "1 clips" in str(one["fid_infinity"].reason)


def padded(of: Features) -> Features:
    """As many dims as the small network has: the rest never change."""
    more = ((0, 0), (0, DIMS - of.control.shape[1]))
    return Features(np.pad(of.control, more), np.pad(of.fake, more), of.sizes)


@pytest.mark.parametrize("sizes", [(7,) * 9, (2,) * 4])
def test_influences_are_slopes(sizes: Sequence[int]) -> None:
    """What one frame more of each would do, by weights, also where there are fewer frames than dims."""
    of = features(6, sizes, dims=12)

    def distance(weights: Floats) -> float:
        share = weights / weights.sum()
        sides = []
        for side in (of.control.astype(float), of.fake.astype(float)):
            mean = share @ side
            sides.append((mean, (side - mean) * np.sqrt(share * of.n / (of.n - 1))[:, None]))
        (m1, r1), (m2, r2) = sides
        cross = np.linalg.svd(r1 @ r2.T, compute_uv=False).sum()
        return float((m1 - m2) @ (m1 - m2) + np.square(r1).sum() + np.square(r2).sum() - 2 * cross)

    one, other = gaussian_of(of.control), gaussian_of(of.fake)
    found = influences(of, one, other)
    step = 1e-4
    slopes = [(distance(np.ones(of.n) + step * at) - distance(np.ones(of.n) - step * at)) / (2 * step) for at in np.eye(of.n)]
    assert found == pytest.approx(slopes, rel=1e-3, abs=1e-3 * np.abs(slopes).max())


class Classes(InceptionScore):
    """With the small network in the place of Inception."""

    @property
    def opened(self) -> Network:
        return Network(lambda _: np.empty(0, np.float32), DIMS, {}, RNG(0).normal(size=(DIMS, 1008)))


def test_inception_score_has_an_interval() -> None:
    of = features(7, (4,) * 40)
    figure = Classes(network="inception").of_set(rows(of))["inception_score"]
    classes, rng, pairs = RNG(0).normal(size=(DIMS, 1008)), RNG(3), rows(of)

    def plain(fakes: Floats) -> float:
        chances = np.exp(fakes @ classes)
        chances /= chances.sum(axis=1, keepdims=True)
        return float(np.exp((chances * np.log(chances / chances.mean(0))).sum(axis=1).mean()))

    assert figure.value == pytest.approx(plain(of.fake.astype(float)), rel=1e-9)
    drawn = [plain(np.concatenate([pairs[at]["fake"] for at in rng.integers(0, 40, 40)])) for _ in range(300)]
    # sets that are drawn anew hold fewer different clips and score less: only their width can be compared
    assert -np.subtract(*ends(figure)) == pytest.approx(np.subtract(*np.quantile(drawn, (0.975, 0.025))), rel=0.25)


class Values(OfFrames):
    """The mean of the clips, and their median, which is no mean."""

    def rows(self, frames: Any) -> Rows:
        return {}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        values = [float(one["value"][0]) for one in rows if one]
        if not values:
            return {name: Figure(None, 0, {}, "none") for name in ("mean", "median")}
        return {"mean": Figure(float(np.mean(values)), len(values), {}), "median": Figure(float(np.median(values)), 1, {})}


def of_values(values: Sequence[float | None], **more: Any) -> list[Measured]:
    def one(at: int, value: float | None) -> Measured:
        found: Rows = {"reason": np.array(["why"])} if value is None else {"value": np.array([value])}
        return Measured(f"clip{at:02}", ("swap", "master", "test"), lambda: {"it": found}, f"key{at} {value}", **more)

    return [one(at, value) for at, value in enumerate(values)]


def test_means_of_clips_have_intervals_and_nothing_else_has() -> None:
    values = [1.0, 2.0, 4.0, 10.0, 11.0]
    figures = figures_of_sets(of_values([*values, None]), {"it": Values()}, 4, {})["swap", "master", "test", ""]
    mean = figures["mean"]
    assert (mean.low, mean.high) == interval.of_mean(np.array(values))
    assert mean.fingerprint["interval"] == interval.ABOUT
    assert figures["median"].low is None
    assert "interval" not in figures["median"].fingerprint


# --- What is kept, groups


def test_features_are_computed_and_kept_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = []

    def network(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        runs.append(len(pictures))
        return np.zeros((len(pictures), DIMS), np.float32)

    net = Network(network, DIMS, {})
    monkeypatch.setattr(evaluators.features, "open_network", lambda *_: net)
    shown = RNG(1).integers(0, 255, (3, 16, 16, 3), np.uint8)
    clip = Clip("video", 16, 16, Fraction(25), 3, lambda: iter(shown), lambda: None)
    asked: dict[str, Evaluator] = {"fid": FID(), "kid": KID(), "precision_recall": PrecisionRecall(), "ssim": SSIM()}
    found = measure(Pair("a", clip, clip, "swap", "test"), asked, 3)
    assert runs == [3, 3]
    assert found["fid"] is found["kid"] is found["precision_recall"]
    assert found["ssim"] is not found["fid"]
    assert FID(precision="bf16").shared != FID().shared


def test_figures_of_a_set_that_did_not_change_are_known() -> None:
    measured = of_values([1.0, 2.0, 3.0])
    other = [replace(one, group=("other", "master", "test")) for one in of_values([5.0, 6.0])]
    known: dict[str, Any] = {}
    before = figures_of_sets([*measured, *other], {"it": Values()}, 4, known)
    assert len(known) == 2
    untouchable = [replace(one, rows=lambda: pytest.fail("looked at rows")) for one in measured]
    assert figures_of_sets([*untouchable, *other], {"it": Values()}, 4, known) == before
    changed = [*untouchable[:2], replace(measured[2], key="new")]
    with pytest.raises(pytest.fail.Exception, match="looked at rows"):
        figures_of_sets([*changed, *other], {"it": Values()}, 4, known)
    others: list[tuple[OfFrames, int]] = [(Values(), 5), (SSIM(), 4)]
    for evaluator, frames in others:
        with pytest.raises(pytest.fail.Exception, match="looked at rows"):
            figures_of_sets(untouchable, {"it": evaluator}, frames, known)
    figures_of_sets(of_values([1.0, 2.0]), {"it": Values()}, 4, known)
    assert len(known) == 1  # what is no longer there is forgotten


def test_without_keys_nothing_is_known() -> None:
    known: dict[str, Any] = {}
    figures_of_sets([replace(one, key="") for one in of_values([1.0, 2.0])], {"it": Values()}, 4, known)
    found = figures_of_sets([replace(one, key="") for one in of_values([1.0, 4.0])], {"it": Values()}, 4, known)
    assert found["swap", "master", "test", ""]["mean"].value == 2.5


def test_groups_are_of_those_that_share_a_value() -> None:
    values = of_values([1.0, 2.0, 6.0, 9.0])
    kept = [replace(one, values=(kind,)) for one, kind in zip(values, ("g=none", "g=none", "g=round", "g=round"), strict=True)]
    kept[3] = replace(kept[3], values=())
    found = figures_of_sets(kept, {"it": Values()}, 4, {})
    assert {key[3]: figures["mean"].value for key, figures in found.items()} == {"": 4.5, "g=none": 1.5, "g=round": 6.0}


def test_an_evaluator_that_did_not_measure_a_set_has_no_figures_of_it() -> None:
    found = figures_of_sets(of_values([1.0, 2.0], by=frozenset({"it"})), {"it": Values(), "ssim": SSIM()}, 4, {})
    assert set(found["swap", "master", "test", ""]) == {"mean", "median"}


# --- Sets that can't be scored


@pytest.mark.parametrize("evaluator", SETS)
@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "there are no frames"),
        ([{}], "there are no frames"),
        (rows(features(1, (1,))), "needs "),
        (
            [*rows(features(1)), {"control": np.zeros((1, DIMS)), "fake": np.full((1, DIMS), np.nan)}],
            "1 frames are not numbers",
        ),
        (
            [*rows(features(1)), {"control": np.full((1, DIMS), np.inf), "fake": np.zeros((1, DIMS))}],
            "1 frames are not numbers",
        ),
    ],
)
def test_sets_that_cannot_be_scored_say_why(evaluator: OfFeatures, pairs: list[Rows], reason: str) -> None:
    figures = evaluator.of_set(pairs)
    own = {name: figure for name, figure in figures.items() if name.endswith("_random")}
    assert own
    assert all(figure.value is None and reason in str(figure.reason) for figure in own.values()), own


def test_small_sets_say_what_they_need() -> None:
    found = PrecisionRecall(k=5).of_set(rows(features(1, (5,))))["precision_random"]
    assert found.reason == "needs more than 5 frames, there are 5"
    found = KID().of_set(rows(features(1, (3,))))["kid_spread_random"]
    assert found.reason == "needs at least 4 frames, there are 3"
    found = FID(network="inception").of_set(rows(features(1)))["fid"]
    assert found.reason == "60 frames are too few, it takes 2048: use kid, which small sets don't bias"


def test_equal_sets() -> None:
    of = features(1)
    same = rows(Features(of.control, of.control, of.sizes))
    found = FID().of_set(same)["frechet_random"]
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-9)
    figures = PrecisionRecall().of_set(same)
    assert [figures[f"{n}_random"].value for n in ("precision", "recall", "coverage")] == [1.0, 1.0, 1.0]
    assert -1 < (KID().of_set(same)["kid_random"].value or 0) < 0


def test_sets_of_mixed_sizes_are_scored() -> None:
    def clip(side: int, seed: int) -> Clip:
        shown = RNG(seed).integers(0, 255, (4, side, side, 3), np.uint8)
        return Clip("video", side, side, Fraction(25), 4, lambda: iter(shown), lambda: None)

    pairs = [
        Pair(f"s{at}", clip(side, at), clip(64, 9 + at), "dcgan", "test", aligned=False) for at, side in enumerate((16, 40))
    ]
    figures = dict(score(pairs, {"fid": FID(), "kid": KID(), "pr": PrecisionRecall()}, 4).sets["dcgan", "master", "test"])
    assert {name for name, figure in figures.items() if figure.value is None} >= {"fid", "kid", "precision"}
    assert "too few" in str(figures.pop("frechet_infinity_random").reason)
    assert all(figure.value is not None and figure.n == 8 for name, figure in figures.items() if name.endswith("_random"))


def test_every_figure_tells_what_made_it() -> None:
    shown = RNG(1).integers(0, 255, (4, 32, 32, 3), np.uint8)
    clip = Clip("video", 32, 32, Fraction(25), 4, lambda: iter(shown), lambda: None)
    asked = {name: kind() for name, kind in EVALUATORS.items() if issubclass(kind, OfFrames)}
    sets = score([Pair("a", clip, clip, "swap", "test", variant="c40")], asked, 4).sets["swap", "c40", "test"]
    for figure in sets.values():
        assert figure.fingerprint["variant"] == "c40"
        assert len(figure.fingerprint["code"]) == 16
        assert figure.fingerprint["frames"].startswith("at most 4")


# --- The stage


def test_rows_that_are_shared_lie_in_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    kept = {"fid": "features", "kid": "features", "ssim": "ssim"}
    arrays = {"features/control": np.ones((2, 3)), "features/fake": np.zeros((2, 3)), "ssim/whole": np.ones(2)}
    np.savez(path, allow_pickle=False, evaluators=np.array(sorted(kept.items())), **arrays)
    stored = stage._Stored(path)
    assert sorted(stored) == ["fid", "kid", "ssim"]
    assert len(stored) == 3
    assert set(stored["kid"]) == {"control", "fake"}
    assert np.array_equal(stored["fid"]["control"], np.ones((2, 3)))


def test_a_broken_file_of_known_figures_is_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "KNOWN", tmp_path / "figures.json")
    assert stage._known() == {}
    for text in ("", "[]", '{"a": {"b": {"value": 1}}}', '{"a": 1}'):
        (tmp_path / "figures.json").write_text(text)
        assert stage._known() == {}
