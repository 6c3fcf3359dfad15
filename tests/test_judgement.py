"""What raters' answers come to, against published examples, by hand, and where the truth is known."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.judgement import Study, clicked, covered, kept, rows
from evaluators.judgement import (
    CHANCE_PAIR,
    CHANCE_SINGLE,
    COLUMNS,
    Estimate,
    Metric,
    Values,
    _Answers,
    _spread,
    _weighted,
    alpha,
    at_least,
    judged,
    read_ratings,
)

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units, values missing.
FOUR = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
# … and section B: two observers, nominal, ten units.
TWO = ((0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0))


def units(table: tuple[tuple[int | None, ...], ...]) -> list[list[float]]:
    return [[value for value in unit if value is not None] for unit in zip(*table, strict=True)]


@pytest.mark.parametrize(("metric", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(metric: Metric, value: float) -> None:
    found = alpha(units(FOUR), metric)
    assert found == pytest.approx(value, abs=5e-4)


def test_alpha_at_its_ends() -> None:
    assert alpha(units(TWO), "nominal") == pytest.approx(0.095, abs=5e-4)
    assert alpha([[1, 1], [2, 2], [5, 5]], "ordinal") == 1
    assert alpha([[3, 3], [3, 3]], "ordinal") is None
    assert alpha([[1], [2]], "nominal") is None


def row(
    rater: str, order: int, question: str, sample: str, role: str, answer: str, right: str = "", **more: str
) -> dict[str, str]:
    told = {"pair_id": "", "method": role and f"{role}_method", "media_type": "video", "catch": "0", "seconds": "6.00"} | more
    found = {"rater": rater, "order": str(order), "question": question, "sample_id": sample, "role": role}
    return {name: (found | {"answer": answer, "right": right} | told)[name] for name in COLUMNS}


def passed(rater: str, count: int = 6) -> list[dict[str, str]]:
    """Catch trials that were passed: three single ones, then pairs."""
    found = []
    for order in range(100, 100 + count):
        if order < 103:
            for question, answer in (("naturalness", "1"), ("realism", "2"), ("fake", "yes")):
                found.append(row(rater, order, question, f"scrambled{order}", "", answer, "1", catch="1"))
        else:
            found.append(row(rater, order, "pair", f"scrambled{order}", "", "left" if order % 2 else "right", "1", catch="1"))
    return found


def said(rater: str, question: str, answers: dict[str, str]) -> list[dict[str, str]]:
    """What a rater said of samples; those whose names begin with f are forgeries."""
    told = []
    for order, (sample, answer) in enumerate(answers.items(), 1):
        role = "forgery" if sample.startswith("f") else "control"
        told.append(row(rater, order, question, sample, role, answer, answer if question == "pair" else ""))
    return told


def test_means_and_shares_are_those_of_the_answers() -> None:
    one = said("a", "realism", {"f1": "2", "f2": "3", "c1": "4", "c2": "5"})
    two = said("b", "realism", {"f1": "1", "f2": "4", "c1": "4", "c2": "3"})
    judgement = judged([*one, *passed("a"), *two, *passed("b")])
    assert judgement.overall.realism.value == 2.5
    assert judgement.methods["control_method"].realism.value == 4
    assert (judgement.overall.realism.answers, judgement.overall.realism.raters) == (4, 2)
    # a: 2 < 4, 2 < 5, 3 < 4, 3 < 5; b: 1 < 4, 1 < 3, 4 = 4, 4 > 3
    assert judgement.overall.realism_score.value == pytest.approx(1.5 / 8)
    assert judgement.overall.two_afc == Estimate()
    low, high = judgement.overall.realism.low, judgement.overall.realism.high
    assert low is not None
    assert high is not None
    assert 1 <= low < 2.5 < high <= 5


def test_detection_is_hautus_and_hype() -> None:
    answers = {"f1": "yes", "f2": "yes", "f3": "yes", "f4": "no", "c1": "yes", "c2": "no", "c3": "no", "c4": "no"}
    judgement = judged([*said("a", "fake", answers), *passed("a"), *said("b", "fake", answers), *passed("b")])
    figures = judgement.overall
    assert figures.d_prime.value == pytest.approx(norm.ppf(6.5 / 9) - norm.ppf(2.5 / 9))
    assert figures.called_fake.value == 0.75
    assert figures.deceived.value == 0.25
    assert judgement.methods["forgery_method"].d_prime == figures.d_prime
    assert judgement.methods["control_method"].d_prime.value is None
    perfect = {name: "yes" if name < "f" < name + "z" or name[0] == "f" else "no" for name in answers}
    found = judged([*said("a", "fake", perfect), *passed("a"), *said("b", "fake", perfect), *passed("b")]).overall.d_prime
    assert found.value == pytest.approx(2 * norm.ppf(8.5 / 9))  # not infinite


def test_confidence_orders_answers_from_certainly_real_to_certainly_fake() -> None:
    told = []
    for rater, sure in (("a", "5211"), ("b", "3322")):
        told += said(rater, "fake", {"f1": "yes", "f2": "no", "c1": "yes", "c2": "no"})
        told += [each | {"question": "confidence", "answer": s} for each, s in zip(told[-4:], sure, strict=True)]
        told += passed(rater)
    figures = judged(told).overall
    assert figures.confidence.value == 13 / 4
    # a: 5 > 1, 5 > -1, -2 < 1, -2 < -1; b: 3 > 2, 3 > -2, -3 < 2, -3 < -2
    assert figures.rated_auc.value == 0.5
    sure_of_it = [
        each | {"answer": "1"} if (each["question"], each["sample_id"]) == ("confidence", "f2") else each for each in told
    ]
    # -1 against 1 and -1, -1 against 2 and -2
    assert judged(sure_of_it).overall.rated_auc.value == pytest.approx((2 + 0.5 + 2 + 1) / 8)
    (first, _) = judged(told).raters
    assert (first.caught, first.catches) == (6, 6)
    unsure = [
        each | {"question": "confidence", "answer": "1", "right": ""} for each in passed("a") if each["question"] == "fake"
    ]
    assert judged([*told, *unsure]).raters[0].caught == 6
    assert judged([each for each in told if each["question"] != "confidence"]).overall.rated_auc == Estimate()


def test_a_unanimous_answer_has_an_interval_and_one_rater_has_none() -> None:
    answers = {f"f{number}": "1" for number in range(10)}
    both = judged([*said("a", "pair", answers), *passed("a"), *said("b", "pair", answers), *passed("b")]).overall.two_afc
    assert both.value == both.high == 1
    assert both.low is not None
    assert 0 < both.low < 0.5  # two raters are two raters
    alone = judged([*said("a", "pair", answers), *passed("a")]).overall.two_afc
    assert alone == Estimate(1.0, None, None, 10, 1)


def test_few_raters_get_wide_intervals() -> None:
    def width(raters: int) -> float:
        found = judged(rows(Study(raters, 12), np.random.default_rng(4))).overall.realism
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(2) > 1.5 * width(6) > 2 * width(40)


def test_intervals_hold_what_they_promise() -> None:
    # Of 40 intervals of 95 %, fewer than 35 hold the truth once in a hundred runs, and these are seeded.
    found = covered(Study(5, 12), 40)
    assert {name: share for name, (share, _) in found.items() if share < 35 / 40} == {}
    assert max(width for name, (_, width) in found.items() if name in ("called_fake", "two_afc", "realism_score")) < 0.6


def test_what_is_left_of_chance_has_few_degrees_of_freedom() -> None:
    """Coins: three equal variances, of which one is taken off, are known no better than by the fewer of raters and samples."""
    rng = np.random.default_rng(2)
    told = [(str(rater), str(sample)) for rater in range(10) for sample in range(24)]
    raters, samples = zip(*told, strict=True)
    answers = _Answers(raters, samples, ("video",) * 240, rng.integers(0, 2, 240).astype(float))
    sums, counts = answers.tables([str(rater) for rater in range(10)])
    alone = float(answers.values.var() / 240)

    def share(r: Values, s: Values) -> Values:
        return _weighted(sums, r, s) / _weighted(counts, r, s)

    (error, freedom), (whole, more) = (_spread(share, off, 10, [24]) or (0, 0) for off in (alone, 0.0))
    assert freedom == 9
    assert more > 15
    assert alone**0.5 <= error < whole


def test_neither_order_nor_those_set_aside_change_a_figure() -> None:
    rng = np.random.default_rng(3)
    good, bad = rows(Study(6, 12), rng), clicked(3, rng)
    bad = [each | {"rater": f"x{each['rater']}"} for each in bad]
    mixed = [*bad, *good]
    random.Random(1).shuffle(mixed)
    alone, together = judged(good), judged(mixed)
    assert (alone.overall, alone.methods) == (together.overall, together.methods)
    assert [rater.name[0] for rater in together.raters if rater.reasons] == ["x"] * 3


def test_repeated_and_scrambled_trials_count_for_raters_alone() -> None:
    told = said("a", "realism", {"f1": "2", "c1": "4"}) + said("b", "realism", {"f1": "3", "c1": "4"})
    again = row("a", 50, "realism", "f1", "forgery", "5", "0", catch="1")
    judgement = judged([*told, again, *passed("a"), *passed("b")])
    assert judgement.overall.realism.value == 2.5
    assert judgement.raters[0].agrees == 0
    assert judgement.raters[1].agrees is None
    assert not judgement.raters[0].reasons  # an opinion may change


# Raters --------------------------------------------------------------------------------------------------------------


def test_the_tail_of_unequal_chances() -> None:
    chances = (0.18, 0.18, 0.5, 0.3)
    for least in range(6):
        ways = [way for way in product((0, 1), repeat=4) if sum(way) >= least]
        total = sum(float(np.prod([c if hit else 1 - c for c, hit in zip(chances, way, strict=True)])) for way in ways)
        assert at_least(least, chances) == pytest.approx(total)


def test_random_clickers_are_found_and_attentive_raters_are_not() -> None:
    rng = np.random.default_rng(2)
    assert kept(judged(clicked(300, rng))) <= 0.02
    assert kept(judged(rows(Study(100, 24), rng))) >= 0.99


def reasons(told: list[dict[str, str]]) -> tuple[str, ...]:
    (rater,) = judged(told).raters
    return rater.reasons


def test_each_reason_to_set_a_rater_aside() -> None:
    rng = np.random.default_rng(7)
    good = rows(Study(1, 24), rng)
    assert reasons(good) == ()
    fast = [each | {"seconds": "0.50"} for each in good]
    assert reasons(fast) == ("answered 42 of 42 trials too fast",)
    same = [each | {"answer": {"fake": "yes", "pair": each["answer"]}.get(each["question"], "2")} for each in good]
    assert reasons(same) == ("gave the same answers to 28 of 28 samples",)
    left = [each | {"answer": "left"} if each["question"] == "pair" else each for each in good]
    assert reasons(left) == ("chose the left of 14 of 14 pairs, on whose sides chance decides",)
    begun = [each for each in good if each["role"]][:30]
    assert reasons(begun) == ("answered 0 catch trials, too few to tell from clicking at random",)
    catches = [number for number, each in enumerate(good) if each["catch"] == "1"]
    failed = [each | {"right": "0"} if number in catches[:9] else each for number, each in enumerate(good)]
    by_chance = at_least(3, [CHANCE_SINGLE] * 4 + [CHANCE_PAIR] * 2)
    assert reasons(failed) == (f"passed 3 of 6 catch trials, as clicking at random does in {by_chance:.0%} of cases",)
    slip = [each | {"right": "0"} if number == catches[0] else each for number, each in enumerate(good)]
    assert reasons(slip) == ()  # one slip is forgiven


def test_being_wrong_about_fakes_is_no_reason() -> None:
    good = rows(Study(1, 24), np.random.default_rng(8))
    swapped = {"yes": "no", "no": "yes"}
    wrong = [
        each | {"answer": swapped.get(each["answer"], each["answer"]), "right": "0"} if each["catch"] == "0" else each
        for each in good
    ]
    assert reasons(wrong) == ()


def test_nothing_said_is_nothing_judged(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text(",".join(COLUMNS) + "\n")
    judgement = judged(read_ratings(tmp_path / "none.csv"))
    assert judgement.raters == ()
    assert judgement.methods == {}
    assert judgement.overall.d_prime == Estimate()
    assert judgement.record()["overall"]["two_afc"] == {"value": None, "low": None, "high": None, "answers": 0, "raters": 0}
