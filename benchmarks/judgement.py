"""Whether the intervals of people's judgement hold what they promise, and how many random clickers slip through.

    python -m benchmarks.judgement [STUDIES]

Studies with raters and samples drawn from populations whose figures are known: raters who are stricter or milder and readier
or less ready to say "fake", samples that are better or worse, chance besides. Of 100 intervals of 95 %, 95 are to hold the
population's figure; few raters are the hard case.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluators.judgement import COLUMNS, Judgement, judged
from flows.rate_trials import PAIRS, SCRAMBLED, SCRAMBLED_PAIRS, SINGLES

_TASTE, _QUALITY, _WHIM = 0.5, 0.4, 0.8  # standard deviations, in steps of the scale, of raters, samples, answers
_READY, _VISIBLE = 0.4, 0.4  # of raters' criteria and of samples, in d' units; an answer's is 1
_MEAN = {"forgery": 2.9, "control": 4.0}
_D = {"forgery": 0.6, "control": -0.6}
_FOUND = 0.7


@dataclass(frozen=True)
class Study:
    """How many raters there are, and samples of the one method; each has as many controls."""

    raters: int
    samples: int


def rows(study: Study, rng: np.random.Generator) -> list[dict[str, str]]:
    """The answers of attentive raters, who pass every catch trial."""
    found = []
    quality = {role: rng.normal(0, _QUALITY, study.samples) for role in _MEAN}
    visible = {role: rng.normal(0, _VISIBLE, study.samples) for role in _MEAN}
    findable = rng.normal(0, _VISIBLE, study.samples)
    for rater in range(study.raters):
        taste, ready, able = rng.normal(0, (_TASTE, _READY, _READY))
        order = 0
        for role in _MEAN:
            for sample in rng.permutation(study.samples)[: SINGLES // 2]:
                order += 1
                means = _MEAN[role] + taste + quality[role][sample] + rng.normal(0, _WHIM, 2)
                natural, real = np.clip(np.round(means), 1, 5).astype(int)
                seems = _D[role] + ready + visible[role][sample] + rng.normal()
                says = "yes" if seems > 0 else "no"
                told = {"naturalness": str(natural), "realism": str(real), "fake": says, "confidence": str(int(_sure(seems)))}
                right = str(int((says == "yes") == (role == "forgery")))
                found += list(_trial(rater, order, f"{role}{sample}", role, told, right))
        for sample in rng.permutation(study.samples)[:PAIRS]:
            order += 1
            right = str(int(_found_at() + able + findable[sample] + rng.normal() > 0))
            answer = {"pair": str(rng.choice(["left", "right"]))}
            found += list(_trial(rater, order, f"forgery{sample}", "forgery", answer, right))
        for catch in range(SCRAMBLED + SCRAMBLED_PAIRS):
            order += 1
            told = {"naturalness": "1", "realism": "1", "fake": "yes"} if catch < SCRAMBLED else {"pair": "left"}
            found += list(_trial(rater, order, f"scrambled{catch}", "", told, "1"))
    return found


def clicked(raters: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """The answers of raters who click at random, taking their time."""
    found = []
    for rater in range(raters):
        for order in range(1, SINGLES + PAIRS + SCRAMBLED + SCRAMBLED_PAIRS + 1):
            catch = order > SINGLES + PAIRS
            role = "" if catch else "forgery" if order % 2 else "control"
            if SINGLES < order <= SINGLES + PAIRS or order > SINGLES + PAIRS + SCRAMBLED:
                told, right = {"pair": str(rng.choice(["left", "right"]))}, str(rng.integers(2))
            else:
                natural, real = rng.integers(1, 6, 2)
                told = {"naturalness": str(natural), "realism": str(real), "fake": str(rng.choice(["yes", "no"]))}
                right = str(int(max(natural, real) <= 3 and told["fake"] == "yes"))
            found += list(_trial(rater, order, f"sample{order}", role, told, right))
    return found


def _trial(rater: int, order: int, sample: str, role: str, told: dict[str, str], right: str) -> Iterator[dict[str, str]]:
    for question, answer in told.items():
        opinion = question == "confidence" or (question in ("naturalness", "realism") and role != "")
        values = (f"{rater:04d}", str(order), question, sample, "", role and f"{role}_method", "video", role)
        yield dict(zip(COLUMNS, (*values, answer, str(int(not role)), "" if opinion else right, "6.00"), strict=True))


def _sure(seems: Any) -> Any:
    """1 to 5, by how far it seems from neither real nor fake."""
    return np.clip(1 + np.floor(2 * np.abs(seems)), 1, 5)


def _found_at() -> float:
    from scipy.stats import norm

    wide: float = (1 + _READY**2 + _VISIBLE**2) ** 0.5
    return float(norm.ppf(_FOUND)) * wide


def truth() -> dict[str, float]:
    """The populations' figures: those of a million answers, each by another rater to another sample."""
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    count, spread = 1_000_000, (_TASTE**2 + _QUALITY**2 + _WHIM**2) ** 0.5
    of = {role: np.clip(np.round(rng.normal(mean, spread, count)), 1, 5) for role, mean in _MEAN.items()}
    taste = rng.normal(0, _TASTE, count)
    alone = (_QUALITY**2 + _WHIM**2) ** 0.5
    same = {role: np.clip(np.round(taste + rng.normal(mean, alone, count)), 1, 5) for role, mean in _MEAN.items()}
    ready, apart = rng.normal(0, _READY, count), (1 + _VISIBLE**2) ** 0.5
    seems = {role: ready + rng.normal(d, apart, count) for role, d in _D.items()}
    rated = {role: np.sign(each) * _sure(each) for role, each in seems.items()}
    wide = (1 + _READY**2 + _VISIBLE**2) ** 0.5
    called = {role: float(norm.cdf(d / wide)) for role, d in _D.items()}
    return {
        "naturalness": float(of["forgery"].mean()),
        "realism": float(of["forgery"].mean()),
        "realism_score": float((np.sign(same["forgery"] - same["control"]) + 1).mean() / 2),
        "called_fake": called["forgery"],
        "deceived": (1 - called["forgery"] + called["control"]) / 2,
        "d_prime": (_D["forgery"] - _D["control"]) / wide,
        "two_afc": _FOUND,
        "confidence": float(_sure(seems["forgery"]).mean()),
        "rated_auc": float((np.sign(rated["forgery"] - rated["control"]) + 1).mean() / 2),
    }


def covered(study: Study, studies: int, first: int = 0) -> dict[str, tuple[float, float]]:
    """The share of studies whose interval holds the truth, and the mean width, by figure."""
    true = truth()
    held: Counter[str] = Counter()
    wide: Counter[str] = Counter()
    for number in range(first, first + studies):
        figures = judged(rows(study, np.random.default_rng(number))).overall
        for name, value in true.items():
            each = getattr(figures, name)
            held[name] += each.low <= value <= each.high
            wide[name] += each.high - each.low
    return {name: (held[name] / studies, wide[name] / studies) for name in true}


def kept(judgement: Judgement) -> float:
    """The share of raters who were kept."""
    return len(judgement.kept) / len(judgement.raters)


def main(studies: int) -> None:
    print("share of intervals that hold the population's figure (mean width)")
    print("| raters, samples |", *(f"{name} |" for name in truth()))
    print("|---|" + "---|" * len(truth()))
    for study in (Study(2, 12), Study(3, 12), Study(5, 12), Study(10, 24), Study(30, 24)):
        found = covered(study, studies)
        print(
            f"| {study.raters}, {study.samples} |",
            *(f"{share:.0%} ({width:.2f}) |" for share, width in found.values()),
            flush=True,
        )
    rng = np.random.default_rng(1)
    print(f"random clickers who are kept: {kept(judged(clicked(2000, rng))):.2%} of 2000")
    print(f"attentive raters who are kept: {kept(judged(rows(Study(2000, 24), rng))):.2%} of 2000")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
