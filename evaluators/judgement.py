"""What people say of fakes: opinion scores, how realistic, how well told from controls; and which raters can be believed.

The rows are those of `data/ratings/<release>.csv` (`docs/rating.md`). Raters are set aside by how they answer, never by
whether they are right about real and fake, so that no figure is made better by leaving people out.

All intervals are of 95 % and speak of other raters and other samples of the same kind. Raters are drawn anew, with repetition,
and so are samples; the two bootstrap variances are added, and the chance in single answers, which is in both, is taken off once
(Cameron, Gelbach and Miller, Journal of Business & Economic Statistics 29(2), 2011), but for opinions. Student's t with
Satterthwaite's degrees of freedom, those of what is left, stands in for the normal quantile, and no interval is narrower than
that of as many independent answers. Fewer than two raters or two samples give none.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    *("rater", "order", "question", "sample_id", "pair_id", "method", "media_type", "role"),
    *("answer", "catch", "right", "seconds"),
)
"""Of the table of answers. `role` is the sample's (`forgery`, `control`, …), empty for a scrambled catch."""

CHANCE_SINGLE, CHANCE_PAIR = 3 / 5 * 3 / 5 * 1 / 2, 1 / 2
"""Of passing a scrambled single sample (both scales at most 3, and fake) and a pair, for one who clicks at random."""
MOST_CHANCE = 0.01
"""A rater is kept whose catch trials one who clicks at random would pass as well with this probability at most."""
LEAST_SECONDS = {"single": 2.0, "pair": 1.0}
"""A trial that took less was answered too fast: no clip was looked at, or the questions were not read."""

_DRAWS = 1000
_SEED = 1
_SAME, _LEAST_SINGLES = 0.9, 8
_LEAST_PAIRS, _POSITION_P = 8, 0.001

Values = NDArray[np.float64]
Rows = Sequence[Mapping[str, str]]
Metric = Literal["nominal", "ordinal", "interval"]
Interval = tuple[float, float | None, float | None]
"""A value, and what it lies between."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, the answers it is made of, and how many raters gave them.

    `value` is None where nobody answered; `low` and `high` where raters or samples are fewer than two.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    answers: int = 0
    raters: int = 0


@dataclass(frozen=True)
class Figures:
    """What was said of a method's samples, or of all forgeries; `docs/rating.md` defines each.

    `naturalness`, `realism`: mean opinion scores, 1 to 5. `realism_score`: the chance that one is rated more realistic than a
    control by the same rater, ties half; 0.5 is as realistic as controls (Vargha and Delaney 2000). `called_fake`: share.
    `deceived`: the mean of the shares of its samples called real and of controls called fake; 0.5 is chance (HYPE∞, Zhou et al.
    2019, who count in percent). `d_prime`: of it against controls (Hautus 1995); `two_afc`: the share of pairs in which the
    fake was found; 0.5 is chance. `alpha_…`: agreement of raters (`alpha`), ordinal for the scales and nominal for `fake`.
    """

    naturalness: Estimate
    realism: Estimate
    realism_score: Estimate
    called_fake: Estimate
    deceived: Estimate
    d_prime: Estimate
    two_afc: Estimate
    confidence: Estimate
    rated_auc: Estimate
    alpha_naturalness: Estimate
    alpha_realism: Estimate
    alpha_fake: Estimate


@dataclass(frozen=True)
class Rater:
    """How one rater answered, and the `reasons` to set the rater aside, if any.

    `caught` of `catches` scrambled trials were passed, as one who clicks at random would with probability `chance`. `seconds`
    is the median of a trial, `left` the share of pairs answered so, `agrees` that of repeated trials answered as before.
    """

    name: str
    trials: int
    catches: int
    caught: int
    chance: float
    seconds: float
    left: float | None
    agrees: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """Of all forgeries (with the agreement on all samples), of each method, and of the raters, those set aside included."""

    overall: Figures
    methods: Mapping[str, Figures]
    raters: tuple[Rater, ...]

    @property
    def kept(self) -> tuple[Rater, ...]:
        return tuple(rater for rater in self.raters if not rater.reasons)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def read_ratings(path: Path) -> list[dict[str, str]]:
    """The rows of a table of answers."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judged(rows: Iterable[Mapping[str, str]]) -> Judgement:
    """What the answers say, whatever their order; equal answers give equal numbers.

    A figure counts the raters who are kept, and neither catch trials nor repeated ones. Memory: some 30 times that of the rows.
    """
    rows = sorted(rows, key=lambda row: (row["rater"], int(row["order"]), row["question"]))
    grouped: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        grouped[row["rater"], row["order"]].append(row)
    trials: dict[str, list[Rows]] = defaultdict(list)
    for (name, _), some in grouped.items():
        trials[name].append(some)
    raters = tuple(_rater(name, some) for name, some in trials.items())
    kept = {rater.name for rater in raters if not rater.reasons}
    counted = [row for row in rows if row["rater"] in kept and row["catch"] == "0"]
    controls = [row for row in counted if row["role"] == "control"]
    forgeries = [row for row in counted if row["role"] == "forgery"]
    methods = {}
    for method in sorted({row["method"] for row in counted}):
        own = [row for row in counted if row["method"] == method]
        media = {row["media_type"] for row in own}
        others = [] if own[0]["role"] == "control" else [row for row in controls if row["media_type"] in media]
        methods[method] = _figures(own, others, own)
    return Judgement(_figures(forgeries, controls, counted), methods, raters)


# Raters --------------------------------------------------------------------------------------------------------------


def _rater(name: str, trials: Sequence[Rows]) -> Rater:
    catches = [rows for rows in trials if rows[0]["catch"] == "1" and not rows[0]["role"]]
    repeats = [rows for rows in trials if rows[0]["catch"] == "1" and rows[0]["role"]]
    passed = sum(all(row["right"] == "1" for row in rows if row["question"] != "confidence") for rows in catches)
    chance = at_least(passed, [CHANCE_PAIR if _kind(rows) == "pair" else CHANCE_SINGLE for rows in catches])
    pairs = [rows[0]["answer"] for rows in trials if _kind(rows) == "pair"]
    singles = [
        tuple(row["answer"] for row in rows if row["question"] != "confidence") for rows in trials if _kind(rows) == "single"
    ]
    seconds = [float(rows[0]["seconds"]) for rows in trials]
    fast = sum(float(rows[0]["seconds"]) < LEAST_SECONDS[_kind(rows)] for rows in trials)
    left = pairs.count("left")
    reasons = []
    if chance > MOST_CHANCE:
        if passed == len(catches):
            reasons.append(f"answered {len(catches)} catch trials, too few to tell from clicking at random")
        else:
            reasons.append(
                f"passed {passed} of {len(catches)} catch trials, as clicking at random does in {chance:.0%} of cases"
            )
    if fast > len(trials) / 2:
        reasons.append(f"answered {fast} of {len(trials)} trials too fast")
    if len(singles) >= _LEAST_SINGLES:
        most = max(singles.count(each) for each in set(singles))
        if most >= _SAME * len(singles):
            reasons.append(f"gave the same answers to {most} of {len(singles)} samples")
    if len(pairs) >= _LEAST_PAIRS and 2 * at_least(max(left, len(pairs) - left), [0.5] * len(pairs)) < _POSITION_P:
        reasons.append(f"chose the left of {left} of {len(pairs)} pairs, on whose sides chance decides")
    agrees = [all(row["right"] == "1" for row in rows if row["question"] != "confidence") for rows in repeats]
    return Rater(
        name=name,
        trials=len(trials),
        catches=len(catches),
        caught=passed,
        chance=chance,
        seconds=float(np.median(seconds)),
        left=left / len(pairs) if pairs else None,
        agrees=sum(agrees) / len(agrees) if agrees else None,
        reasons=tuple(reasons),
    )


def _kind(rows: Rows) -> str:
    return "pair" if rows[0]["question"] == "pair" else "single"


def at_least(passed: int, chances: Sequence[float]) -> float:
    """The probability that at least so many of independent events happen, each with its own: the Poisson binomial's tail."""
    counts = np.ones(1)
    for chance in chances:
        counts = np.convolve(counts, (1 - chance, chance))
    return float(counts[passed:].sum())


# Figures -------------------------------------------------------------------------------------------------------------


def _figures(own: Rows, controls: Rows, compared: Rows) -> Figures:
    """Of `own` rows against those of `controls`; agreement on `compared`."""
    yes, no = _answers(own, "fake"), _answers(controls, "fake")
    return Figures(
        naturalness=_mean(_answers(own, "naturalness")),
        realism=_mean(_answers(own, "realism")),
        realism_score=_superiority(_answers(own, "realism"), _answers(controls, "realism")),
        called_fake=_share(yes),
        deceived=_deceived(yes, no),
        d_prime=_d_prime(yes, no),
        two_afc=_share(_answers(own, "pair")),
        confidence=_mean(_answers(own, "confidence")),
        rated_auc=_superiority(_answers(own, "rated"), _answers(controls, "rated")),
        **{f"alpha_{name}": _agreement(compared, name) for name in ("naturalness", "realism", "fake")},
    )


@dataclass(frozen=True)
class _Answers:
    """Of one question: who said what of which sample. `fake` is 1 for yes; `pair` 1 where the fake was found; `rated` is
    `confidence`, negative for real."""

    raters: tuple[str, ...]
    samples: tuple[str, ...]
    media: tuple[str, ...]
    values: Values

    def of(self, raters: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
        """Numbers of each answer's rater, in `raters`, and sample; how many samples there are."""
        numbers = {name: number for number, name in enumerate(raters)}
        samples, each = np.unique(np.array(self.samples, str), return_inverse=True)
        return np.array([numbers[name] for name in self.raters], np.intp), each, len(samples)

    def tables(self, raters: Sequence[str]) -> tuple[Values, Values]:
        """Sums and counts of the answers, (raters, samples)."""
        rows, columns, count = self.of(raters)
        sums, counts = np.zeros((2, len(raters), count))
        np.add.at(sums, (rows, columns), self.values)
        np.add.at(counts, (rows, columns), 1)
        return sums, counts


def _answers(rows: Rows, question: str) -> _Answers:
    said = {(row["rater"], row["order"]): row["answer"] for row in rows if row["question"] == "fake"}
    asked = "confidence" if question == "rated" else question
    rows = [row for row in rows if row["question"] == asked]
    if question == "rated":
        values = [float(row["answer"]) * (1 if said[row["rater"], row["order"]] == "yes" else -1) for row in rows]
    elif question == "pair":
        values = [float(row["right"]) for row in rows]
    elif question == "fake":
        values = [float(row["answer"] == "yes") for row in rows]
    else:
        values = [float(row["answer"]) for row in rows]
    raters, samples, media = (tuple(row[name] for row in rows) for name in ("rater", "sample_id", "media_type"))
    return _Answers(raters, samples, media, np.array(values))


def _everyone(*answers: _Answers) -> list[str]:
    return sorted({name for each in answers for name in each.raters})


Statistic = Callable[..., Values]
"""Of weights of raters, (draws, raters), and of the samples of each group, (draws, samples): its value in each draw."""


def _spread(statistic: Statistic, alone: float, raters: int, samples: Sequence[int]) -> tuple[float, float] | None:
    """The statistic's standard error and its degrees of freedom; None for too few raters or samples.

    `alone` is its variance if all answers were independent.
    """
    if raters < 2 or min(samples) < 2:
        return None
    rng = np.random.default_rng(_SEED)
    drawn = [rng.multinomial(count, np.full(count, 1 / count), _DRAWS).astype(float) for count in (raters, *samples)]
    same = [np.ones((_DRAWS, count)) for count in (raters, *samples)]
    least = min(samples)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Draws of n scatter by n - 1 of n parts of what others would.
        by_rater = float(np.nanvar(statistic(drawn[0], *same[1:]), ddof=1)) * raters / (raters - 1)
        by_sample = float(np.nanvar(statistic(same[0], *drawn[1:]), ddof=1)) * least / (least - 1)
    both = by_rater + by_sample
    if both == 0:
        return 0.0, min(raters, least) - 1
    # Of the difference, as what is taken off is known and leaves the scatter of the rest: fewer than of the sum of both.
    rest = max(both - alone, alone)
    freedom = rest**2 / (by_rater**2 / (raters - 1) + by_sample**2 / (least - 1))
    return float(rest**0.5), max(freedom, min(raters, least) - 1)


def _quantile(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def _around(value: float, spread: tuple[float, float] | None, least: float, bounds: tuple[float, float]) -> Interval:
    """The value with an interval of its standard error, at least `least`, cut to what is possible."""
    if spread is None:
        return value, None, None
    wide = _quantile(spread[1]) * max(spread[0], least)
    return value, max(value - wide, bounds[0]), min(value + wide, bounds[1])


def _wilson(value: float, spread: tuple[float, float] | None, answers: int) -> Interval:
    """A share with Wilson's interval (1927) for as many independent answers as would scatter as these do, `answers` at most."""
    if spread is None:
        return value, None, None
    smooth = (value * answers + 1) / (answers + 2)
    alone = smooth * (1 - smooth)
    count = alone / max(spread[0] ** 2, alone / answers)
    z2 = _quantile(spread[1]) ** 2
    middle = (value + z2 / (2 * count)) / (1 + z2 / count)
    wide = (z2 * (value * (1 - value) / count + z2 / (4 * count**2))) ** 0.5 / (1 + z2 / count)
    return value, max(middle - wide, 0.0), min(middle + wide, 1.0)


def _weighted(table: Values, by_rater: Values, by_sample: Values) -> Values:
    """Sums of the table in each draw."""
    total: Values = ((by_rater @ table) * by_sample).sum(axis=1)
    return total


def _mean(answers: _Answers) -> Estimate:
    """The mean of a scale of 1 to 5. As if one rater more had said 1 and one 5, unanimous answers have a width, too."""
    # The chance in single answers stays in twice: without it, intervals of few raters hold 92 in 100 (`benchmarks.judgement`).
    return _average(answers, 0.0, lambda value, spread: _around(value, spread, _least_of(answers.values), (1.0, 5.0)))


def _least_of(values: Values) -> float:
    padded = np.array([*values, 1.0, 5.0])
    return float(padded.std() / len(padded) ** 0.5)


def _share(answers: _Answers) -> Estimate:
    alone = float(answers.values.var() / len(answers.values)) if len(answers.values) else 0.0
    return _average(answers, alone, lambda value, spread: _wilson(value, spread, len(answers.values)))


def _average(answers: _Answers, alone: float, interval: Callable[[float, tuple[float, float] | None], Interval]) -> Estimate:
    raters = _everyone(answers)
    if not raters:
        return Estimate()
    sums, counts = answers.tables(raters)
    spread = _spread(lambda r, s: _weighted(sums, r, s) / _weighted(counts, r, s), alone, *_sizes(sums))
    return Estimate(*interval(float(answers.values.mean()), spread), len(answers.values), len(raters))


def _sizes(*tables: Values) -> tuple[int, list[int]]:
    return tables[0].shape[0], [each.shape[1] for each in tables]


def _against(yes: _Answers, no: _Answers) -> tuple[list[str], list[Values]]:
    """All raters, and the tables of sums and counts of both."""
    raters = _everyone(yes, no)
    return raters, [*yes.tables(raters), *no.tables(raters)]


def _deceived(yes: _Answers, no: _Answers) -> Estimate:
    if not len(yes.values) or not len(no.values):
        return Estimate()
    raters, (called, of, false, among) = _against(yes, no)

    def error(r: Values, s: Values, c: Values) -> Values:
        missed = 1 - _weighted(called, r, s) / _weighted(of, r, s)
        return (missed + _weighted(false, r, c) / _weighted(among, r, c)) / 2

    alone = sum(float(each.values.var() / len(each.values)) for each in (yes, no)) / 4
    spread = _spread(error, alone, *_sizes(called, false))
    value = (1 - float(yes.values.mean()) + float(no.values.mean())) / 2
    count = len(yes.values) + len(no.values)
    # The scarcer kind bounds what is known: half of the mean hangs on it.
    return Estimate(*_wilson(value, spread, 2 * min(len(yes.values), len(no.values))), count, len(raters))


def _d_prime(yes: _Answers, no: _Answers) -> Estimate:
    """z(hits) − z(false alarms), each share with half an answer added and one to the count (Hautus 1995, log-linear).

    Answers of all raters are pooled, as each gives few; raters who say "fake" more or less readily make that a little smaller
    than the mean of their own (Macmillan and Creelman, Detection Theory, 2nd ed., ch. 13). No interval is narrower than by
    the variance of Gourevitch and Galanter (1967).
    """
    from scipy.special import ndtri
    from scipy.stats import norm

    if not len(yes.values) or not len(no.values):
        return Estimate()
    raters, (called, of, false, among) = _against(yes, no)

    def z(sums: Values, counts: Values, r: Values, s: Values) -> Values:
        value: Values = ndtri((_weighted(sums, r, s) + 0.5) / (_weighted(counts, r, s) + 1))
        return value

    def d(r: Values, s: Values, c: Values) -> Values:
        return z(called, of, r, s) - z(false, among, r, c)

    value, least = 0.0, 0.0
    for sign, answers in ((1, yes.values), (-1, no.values)):
        share = (answers.sum() + 0.5) / (len(answers) + 1)
        value += sign * float(ndtri(share))
        least += float(share * (1 - share) / (len(answers) * norm.pdf(ndtri(share)) ** 2))
    spread = _spread(d, least, *_sizes(called, false))
    interval = _around(value, spread, least**0.5, (-np.inf, np.inf))
    return Estimate(*interval, len(yes.values) + len(no.values), len(raters))


def _superiority(own: _Answers, controls: _Answers) -> Estimate:
    """Of all comparisons of one's rating with that of a control by the same rater and of the same medium: the share won."""
    of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, key in enumerate(zip(controls.raters, controls.media, strict=True)):
        of[key].append(number)
    pairs = [(i, j) for i, key in enumerate(zip(own.raters, own.media, strict=True)) for j in of[key]]
    if not pairs:
        return Estimate()
    first, second = np.array(pairs).T
    won = (np.sign(own.values[first] - controls.values[second]) + 1) / 2
    raters, who = np.unique(np.array(own.raters)[first], return_inverse=True)
    lefts, left = np.unique(np.array(own.samples)[first], return_inverse=True)
    rights, right = np.unique(np.array(controls.samples)[second], return_inverse=True)

    def share(r: Values, s: Values, c: Values) -> Values:
        drawn = (each[0][who] * each[1][left] * each[2][right] for each in zip(r, s, c, strict=True))
        return np.array([weights @ won / weights.sum() for weights in drawn])

    spread = _spread(share, 0.0, len(raters), [len(lefts), len(rights)])
    known = min(len(np.unique(first)), len(np.unique(second)))
    return Estimate(*_wilson(float(won.mean()), spread, known), len(np.unique(first)), len(raters))


# Agreement -----------------------------------------------------------------------------------------------------------


def _agreement(rows: Rows, question: str) -> Estimate:
    """`alpha` of the answers to a question, where two raters or more answered, with the interval of units drawn anew."""
    metric: Metric = "nominal" if question == "fake" else "ordinal"
    answers = _answers(rows, question)
    said: dict[str, list[float]] = defaultdict(list)
    for sample, value in zip(answers.samples, answers.values.tolist(), strict=True):
        said[sample].append(value)
    units = [values for _, values in sorted(said.items()) if len(values) > 1]
    count, raters = sum(map(len, units)), len(_everyone(answers))
    values = sorted({value for unit in units for value in unit})
    if len(values) < 2:  # one value alone says nothing of agreement: chance would agree as well
        return Estimate(None, None, None, count, raters)
    tables = np.stack([_coincidences(unit, values) for unit in units])
    value = float(_alpha(tables.sum(axis=0)[None], values, metric)[0])
    if len(units) < 2:
        return Estimate(value, None, None, count, raters)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), _DRAWS)
    every = _alpha(np.tensordot(drawn, tables, axes=1), values, metric)
    low, high = np.nanpercentile(every, (2.5, 97.5)) if np.isfinite(every).any() else (None, None)
    return Estimate(value, None if low is None else float(low), None if high is None else float(high), count, raters)


def alpha(units: Iterable[Sequence[float]], metric: Metric) -> float | None:
    """Krippendorff's alpha (Computing Krippendorff's Alpha-Reliability, 2011) of the values that each unit was given.

    1 is perfect agreement, 0 what chance gives. None where no two raters gave a unit values, or all values are the same.
    """
    units = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in units for value in unit})
    if len(values) < 2:
        return None
    return float(_alpha(np.sum([_coincidences(unit, values) for unit in units], axis=0)[None], values, metric)[0])


def _coincidences(unit: Sequence[float], values: Sequence[float]) -> Values:
    """How often each value of a unit meets each other one: ordered pairs of raters, over the number of raters less one."""
    counts = np.array([unit.count(value) for value in values], float)
    table: Values = (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return table


def _alpha(tables: Values, values: Sequence[float], metric: Metric) -> Values:
    """1 − observed / expected disagreement, of each coincidence matrix, (n, values, values); NaN where one value is left."""
    totals = tables.sum(axis=2)
    if metric == "nominal":
        distance = np.broadcast_to(1.0 - np.eye(len(values)), tables.shape)
    elif metric == "interval":
        distance = np.broadcast_to(np.subtract.outer(values, values) ** 2, tables.shape)
    else:  # as many steps apart as there are values between them, and half of those at either end
        middle = np.cumsum(totals, axis=1) - totals / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    count = totals.sum(axis=1)
    observed = (tables * distance).sum(axis=(1, 2)) / count
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2)) / (count * (count - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Values = 1 - observed / expected
    return result
