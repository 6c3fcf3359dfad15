"""Can the classes be told apart by what is not the forgery? Probes on numbers and pictures of pairs, and what they prove.

A *factor* is one number of every finished file. It is a shortcut where it is larger in fakes than in controls, or smaller,
whatever clip they are of: so it is asked by the unpaired AUC, the chance that it is larger in any fake than in any control. A
bias that every pair shows but that drowns in what clips differ by among themselves can't be learned, and leaves this at a half.
Several factors that say little each may say much together, and pictures hold what no factor measures: hence *learned*
probes, which are asked about people that they were not trained on. Everything here is given as pairs, (pairs, 2, ...): the
fake, then its control, so that both classes always show the same people in the same rooms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.errors import FactoryError

if TYPE_CHECKING:
    import torch

Numbers = NDArray[np.float64]
Names = NDArray[np.str_]
Verdict = Literal["passes", "fails", "undecided"]

HARMLESS, LEARNABLE = 0.55, 0.60
"""A probe fails when its AUC is proven to be above the first; it passes when that is not so and its AUC is proven not to be
above the second."""

FEWEST_PAIRS, FEWEST_PEOPLE = 24, 4
"""From so many on a probe is trained, and a method is asked about by itself: fewer prove nothing either way."""

_ERROR = 0.05
_FOLDS = 4
_EPOCHS, _BATCH, _RATE = 6, 64, 5e-3


@dataclass(frozen=True)
class Told:
    """What one probe says. `auc` is NaN where it was not asked, for too few pairs or numbers.

    `spread` is its standard error, which holds for people as they would be drawn anew; `people` and `clips` are how many
    different ones there are, `unlike` in how many pairs fake and control differ at all. `learned`: an AUC below a half is
    then no shortcut turned round but chance.
    """

    factor: str
    pairs: int
    auc: float
    spread: float
    people: int
    clips: int
    unlike: int
    learned: bool = False


@dataclass(frozen=True)
class Judged:
    """A probe's verdict. `auc` is at least a half for a single factor (`larger` says in which class), `low` its lower bound at
    the level at which it was asked beside all others, `high` the upper end of its own interval of 95 %; NaN without an AUC."""

    told: Told
    auc: float
    low: float
    high: float
    larger: Literal["fakes", "controls", ""]
    verdict: Verdict


def ask(factor: str, values: Numbers, clips: Names, people: Names) -> Told:
    """One factor of (pairs, 2): fake and control; `clips` and `people` (pairs,) name what pairs have in common.

    The AUC is Mann and Whitney's, ties half. Its standard error is Obuchowski's (1997, Biometrics 53): DeLong's components,
    added up for each person before they are squared, as what is alike in a person's pairs is one observation and not many.
    A pair in which either number is NaN is left out. Infinite numbers are numbers.
    """
    _check(values, clips, people)
    there = ~np.isnan(values).any(1)
    values, clips, people = values[there], clips[there], people[there]
    count = len(values)
    who, of = np.unique(people, return_inverse=True)
    if not count:
        return Told(factor, 0, float("nan"), float("nan"), 0, 0, 0)
    fakes, controls = values.T
    above, below = _placed(fakes, controls), 1 - _placed(controls, fakes)
    auc = float(above.mean())
    apart = np.bincount(of, above - auc + below - auc) / count
    groups = len(who)
    spread = float(np.sqrt(groups / max(groups - 1, 1) * np.square(apart).sum()))
    unlike = int((fakes != controls).sum())
    return Told(factor, count, auc, spread, groups, len(np.unique(clips)), unlike)


def ask_names(factor: str, values: Sequence[tuple[str, str]], clips: Names, people: Names) -> Told:
    """One factor of names instead of numbers, such as a codec. Each name counts as how often, among the pairs of other
    people, it is a fake's: so one that says nothing of its own is worth what any other is."""
    names = np.array(values, str).reshape(-1, 2)
    _check(names, clips, people)
    numbers = np.full(names.shape, 0.5)
    for _, asked in folds(people):
        known = np.setdiff1d(np.arange(len(names)), asked)
        for name in np.unique(names[asked]):
            fakes, controls = (names[known] == name).sum(0)
            numbers[asked] = np.where(names[asked] == name, (fakes + 1) / (fakes + controls + 2), numbers[asked])
    return ask(factor, numbers, clips, people)


def ask_together(values: Numbers, clips: Names, people: Names) -> Told:
    """All factors, (pairs, 2, factors), NaN where one is missing: gradient boosting, asked about people it has not seen."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    _check(values, clips, people)
    values = np.nan_to_num(values, nan=np.nan, posinf=1e30, neginf=-1e30)
    useful = [at for at in range(values.shape[2]) if (values[:, 0, at] != values[:, 1, at]).any()]
    if not worth_training(len(values), people):
        return _unasked("all factors together", values, clips, people)
    scores = np.full(values.shape[:2], 0.5)
    for trained, asked in folds(people) if useful else ():
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=8, min_samples_leaf=10, l2_regularization=1.0, early_stopping=False, random_state=0
        )
        shown = values[trained][:, :, useful]
        model.fit(np.concatenate([shown[:, 0], shown[:, 1]]), np.repeat([1, 0], len(shown)))
        for member in range(2):
            scores[asked, member] = model.predict_proba(values[asked][:, member][:, useful])[:, 1]
    return _learned("all factors together", scores, clips, people)


def ask_net(factor: str, pictures: NDArray[np.float32], clips: Names, people: Names, rng: np.random.Generator) -> Told:
    """A small net, trained on pictures (pairs, 2, looks, channels, 32, 32) and asked about people it has not seen.

    It has 2 000 weights and looks at each of a file's pictures by itself; its mean says what the file is held to be. One
    thread, and the same to the bit for the same generator; 400 pairs with four looks each take some five CPU seconds.
    """
    _check(pictures, clips, people)
    if not worth_training(len(pictures), people):
        return _unasked(factor, pictures, clips, people)
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scores = np.full(pictures.shape[:2], 0.5)
        for trained, asked in folds(people):
            scores[asked] = _net_scores(pictures[trained], pictures[asked], rng)
    finally:
        torch.set_num_threads(before)
    return _learned(factor, scores, clips, people)


def judge(told: Sequence[Told]) -> list[Judged]:
    """The verdicts of all probes of a release, in their order.

    *Fails*: its AUC is above `HARMLESS`. Of all that are asked, one wrong such verdict or more is given in at most 5 % of
    releases (Holm 1979): the k-th clearest of m, from 0, is asked at 5 % / (m - k), and after the first that does not fail
    none does. *Undecided*: not that, but the upper end of its 95 % interval is above `LEARNABLE`, so that nothing is proven. An
    interval allows for other people by Student's t, and for a kind of clip that was not among those seen, by what share of
    clips there could be of it (Clopper and Pearson's bound for none seen): four clips prove nothing, however clear. A factor
    that is equal within every pair of a release passes, as there is nothing in it to be learned, and is not counted above.
    """
    asked = [one for one in told if not np.isnan(one.auc) and one.unlike]
    order = sorted(asked, key=lambda one: (_chance(one), one.factor))
    levels, failing = {}, set()
    for step, one in enumerate(order):
        levels[id(one)] = _ERROR / (len(order) - step)
        if _chance(one) > levels[id(one)]:
            break
        failing.add(id(one))
    judged = []
    for one in told:
        if np.isnan(one.auc):
            judged.append(Judged(one, one.auc, one.auc, one.auc, "", "undecided"))
            continue
        if not one.unlike:
            judged.append(Judged(one, 0.5, 0.5, 0.5, "", "passes"))
            continue
        auc = _strength(one)
        low = _bounds(one, levels.get(id(one), _ERROR / max(len(order) - len(failing), 1)))[0]
        high = _bounds(one, _ERROR)[1]
        verdict: Verdict = "fails" if id(one) in failing else "undecided" if high > LEARNABLE else "passes"
        judged.append(Judged(one, auc, low, high, _larger(one), verdict))
    return judged


def folds(people: Names) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Four times (pairs to learn from, pairs to be asked), everyone's pairs on one side only; fewer times for fewer people."""
    names, counts = np.unique(people, return_counts=True)
    order = sorted(zip(-counts, names, strict=True))
    load = np.zeros(min(_FOLDS, len(names)), int)
    fold = {}
    for count, name in order:  # whoever has most pairs first, each to where fewest are
        fold[name] = int(load.argmin())
        load[fold[name]] -= count
    of = np.array([fold[name] for name in people], int)
    for number in range(len(load) if len(load) > 1 else 0):
        yield np.flatnonzero(of != number), np.flatnonzero(of == number)


def worth_training(pairs: int, people: Names) -> bool:
    """Whether a probe that learns from so many pairs of these people could prove anything."""
    return pairs >= FEWEST_PAIRS and len(np.unique(people)) >= FEWEST_PEOPLE


def _check(values: NDArray[np.generic], clips: Names, people: Names) -> None:
    if values.ndim < 2 or values.shape[1] != 2 or not len(values) == len(clips) == len(people):
        what = f"values of {values.shape} for {len(clips)} clips and {len(people)} people"
        raise FactoryError("a shortcut probe", what, "give it (pairs, 2, ...): each fake, then its control")


def _unasked(factor: str, values: NDArray[np.generic], clips: Names, people: Names) -> Told:
    nan, count = float("nan"), len(values)
    return Told(factor, count, nan, nan, len(np.unique(people)), len(np.unique(clips)), count, learned=True)


def _learned(factor: str, scores: Numbers, clips: Names, people: Names) -> Told:
    """Each fold has a net of its own, so that scores are compared within folds only: their AUCs' mean, weighed by pairs."""
    every = [ask(factor, scores[asked], clips[asked], people[asked]) for _, asked in folds(people)]
    total = sum(one.pairs for one in every)
    auc = sum(one.pairs * one.auc for one in every) / total
    # Errors of different people are independent; what a fold with one person alone would give for others is not known.
    spread = float(np.sqrt(sum((one.pairs / total * (one.spread if one.people > 1 else 0.5)) ** 2 for one in every)))
    unlike = sum(one.unlike for one in every)
    return Told(factor, total, auc, spread, len(np.unique(people)), len(np.unique(clips)), unlike, learned=True)


def _placed(ones: Numbers, others: Numbers) -> Numbers:
    """For each of the ones, the share of the others that are smaller, ties half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, ones, "left") + np.searchsorted(ordered, ones, "right")) / (2 * len(ordered))


def _strength(one: Told) -> float:
    return one.auc if one.learned else max(one.auc, 1 - one.auc)


def _larger(one: Told) -> Literal["fakes", "controls", ""]:
    return "" if one.learned or one.auc == 0.5 else "fakes" if one.auc > 0.5 else "controls"


def _bounds(one: Told, error: float) -> tuple[float, float]:
    """From where to where the strength may be, both missed in `error` of cases together."""
    from scipy.stats import t

    auc = _strength(one)
    reach = float(t.isf(error / 2, max(one.people - 1, 1))) * one.spread
    unseen = 1 - (error / 2) ** (1 / one.clips)
    return max(min(auc - reach, auc * (1 - unseen)), 0.0), min(max(auc + reach, auc + (1 - auc) * unseen), 1.0)


def _chance(one: Told) -> float:
    """At which error the lower bound is `HARMLESS`; 1 where it never is above."""
    from scipy.stats import t

    auc = _strength(one)
    if auc <= HARMLESS:
        return 1.0
    by_people = 2 * float(t.sf((auc - HARMLESS) / one.spread, max(one.people - 1, 1))) if one.spread > 0 else 0.0
    return min(max(by_people, 2 * (HARMLESS / auc) ** one.clips), 1.0)


def _net_scores(known: NDArray[np.float32], asked: NDArray[np.float32], rng: np.random.Generator) -> Numbers:
    """(pairs, 2): how fake a net that learned from the known pairs holds the asked ones to be."""
    import torch
    from torch import nn

    looks, channels = known.shape[2:4]
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from torch's global state only
        torch.manual_seed(int(rng.integers(2**31)))
        net = nn.Sequential(
            *(nn.Conv2d(channels, 12, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16 * 4, 1)),
        )
    middle, scale = known.mean((0, 1, 2, 4, 5)), known.std((0, 1, 2, 4, 5)) + 1e-6

    def shown(pictures: NDArray[np.float32]) -> "torch.Tensor":
        """(pictures, channels, height, width), each channel about 0 and of deviation 1."""
        even = (pictures - middle[:, None, None]) / scale[:, None, None]
        return torch.from_numpy(even.reshape(-1, *even.shape[3:]).astype(np.float32))

    pictures = shown(known)
    labels = torch.from_numpy(np.tile(np.repeat([1.0, 0.0], looks), len(known)).astype(np.float32))
    steps = _EPOCHS * -(-len(pictures) // _BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=_RATE, total_steps=steps)
    for _ in range(_EPOCHS):
        for batch in torch.split(torch.from_numpy(rng.permutation(len(pictures))), _BATCH):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(net(pictures[batch])[:, 0], labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.inference_mode():
        scores: Numbers = net(shown(asked))[:, 0].double().numpy().reshape(len(asked), 2, looks).mean(2)
    return scores
