"""What a probe may say of numbers: its error bars hold, chance seldom fails a release, and too few pairs prove nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evaluators.shortcuts import (
    FEWEST_PAIRS,
    HARMLESS,
    Names,
    Numbers,
    Told,
    ask,
    ask_names,
    ask_net,
    ask_together,
    folds,
    judge,
)
from flows.items import SPREAD
from flows.shortcuts import Asked, Measured, Pair, shortcuts
from forgeline.errors import FactoryError
from forgeline.recipe import Recipe
from forgeline.sample import Sample


def named(letter: str, count: int, different: int) -> Names:
    return np.array([f"{letter}{at % different}" for at in range(count)])


def drawn(
    rng: np.random.Generator, pairs: int, people: int, factors: int, shift: float = 0.0, own: float = 0.0
) -> tuple[Numbers, Names, Names]:
    """Pairs that share three quarters of their variance with their control; `own` is by how much people differ in the shift."""
    who = np.arange(pairs) % people
    scene = 0.7 * rng.normal(size=(people, 1, factors))[who] + 0.5 * rng.normal(size=(pairs, 1, factors))
    values = scene + 0.5 * rng.normal(size=(pairs, 2, factors))
    values[:, 0] += shift + own * rng.normal(size=(people, factors))[who]
    return values, named("c", pairs, pairs), named("p", pairs, people)


def asked(values: Numbers, clips: Names, people: Names) -> list[Told]:
    return [ask(str(at), values[:, :, at], clips, people) for at in range(values.shape[2])]


def one_verdict(values: Numbers, people: int = 0) -> str:
    count = len(values)
    (judged,) = judge([ask("f", values, named("c", count, count), named("p", count, people or count))])
    return judged.verdict


def test_the_auc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 9, (60, 2)).astype(float)  # with ties
    known = roc_auc_score(np.repeat([1, 0], 60), np.concatenate([values[:, 0], values[:, 1]]))
    told = ask("f", values, named("c", 60, 60), named("p", 60, 20))
    assert told.auc == pytest.approx(known)
    assert (told.pairs, told.people, told.clips, told.unlike) == (60, 20, 60, int((values[:, 0] != values[:, 1]).sum()))


def test_the_standard_error_is_that_of_people_drawn_anew() -> None:
    """Pairs of a person are alike, so it is far larger than that of as many people; both against a bootstrap over people."""
    values, clips, people = drawn(np.random.default_rng(3), 240, 24, 1, own=0.8)
    told = ask("f", values[:, :, 0], clips, people)
    rng, members = np.random.default_rng(0), [np.flatnonzero(people == name) for name in np.unique(people)]
    again = []
    for _ in range(300):
        some = np.concatenate([members[at] for at in rng.integers(0, 24, 24)])
        again.append(ask("f", values[some, :, 0], clips[some], people[some]).auc)
    assert told.spread == pytest.approx(np.std(again), rel=0.15)
    assert told.spread > 1.5 * ask("f", values[:, :, 0], clips, clips).spread


def test_intervals_of_95_percent_hold_at_the_limit_itself() -> None:
    """Were the truth 0.55, a single factor may fail in one release of twenty; also with few people, whose shifts differ."""
    shift = 0.17776 * np.sqrt(0.7**2 + 2 * 0.5**2 + 0.3**2 / 2)  # so that the AUC is 0.55, for normal numbers
    truth = ask(
        "f", *(each[..., 0] if each.ndim > 2 else each for each in drawn(np.random.default_rng(0), 40000, 40000, 1, shift, 0.3))
    )
    assert truth.auc == pytest.approx(HARMLESS, abs=0.004)
    for people in (12, 100):
        failed = Counter(
            judge(asked(*drawn(np.random.default_rng(at), 200, people, 1, shift, 0.3)))[0].verdict for at in range(200)
        )["fails"]
        assert failed <= 12


def test_a_clean_release_seldom_fails_and_a_leak_of_70_percent_seldom_passes() -> None:
    for seed in range(25):
        judged = judge(asked(*drawn(np.random.default_rng(seed), 400, 80, 60)))
        assert {one.verdict for one in judged} == {"passes"}
    for seed in range(10):
        values, clips, people = drawn(np.random.default_rng(seed), 400, 80, 60)
        values[:, 0, 7] += 0.75  # an AUC of 0.7
        assert [one.told.factor for one in judge(asked(values, clips, people)) if one.verdict == "fails"] == ["7"]


def test_smaller_is_as_good_a_shortcut_as_larger() -> None:
    values, clips, people = drawn(np.random.default_rng(1), 300, 60, 1, shift=1.5)
    (more,), (less,) = (judge(asked(sign * values, clips, people)) for sign in (1, -1))
    assert (more.verdict, more.larger) == ("fails", "fakes")
    assert (less.verdict, less.larger) == ("fails", "controls")
    assert (less.auc, less.low, less.high) == pytest.approx((more.auc, more.low, more.high))


def test_holm_asks_the_clearest_most_strictly() -> None:
    """What fails alone need not fail beside sixty others."""
    rng = np.random.default_rng(5)
    values, clips, people = drawn(rng, 120, 30, 60)
    values[:, 0, 0] += 0.3
    told = asked(values, clips, people)
    alone, beside = judge(told[:1])[0], judge(told)[0]
    assert (alone.verdict, beside.verdict) == ("fails", "undecided")
    assert alone.low > beside.low
    assert alone.high == beside.high, "what is not proven to be harmless is asked for each by itself"


def test_few_pairs_prove_nothing_however_clear() -> None:
    perfect = np.array([[1.0, 0.0]] * 40) + np.random.default_rng(0).normal(size=(40, 2)) * 0.01
    assert one_verdict(perfect[:4]) == "undecided"
    assert one_verdict(perfect[:12]) == "fails"
    noise = np.random.default_rng(0).normal(size=(40, 2))
    assert one_verdict(noise[:8]) == "undecided"
    scene = 10 * noise[:, :1]
    faint = np.concatenate([scene + 1e-3, scene], 1)
    assert one_verdict(faint[:8]) == "undecided", "alike as these are, others may not be"
    assert one_verdict(faint) == "passes"


def test_what_is_the_same_within_each_pair_passes() -> None:
    """Of however few: there is nothing in it that could be learned from this release."""
    same = np.repeat(np.random.default_rng(0).normal(size=(3, 1)), 2, axis=1)
    assert one_verdict(same) == "passes"
    same[0, 0] += 1e-3
    assert one_verdict(same) == "undecided"


def test_a_bias_that_drowns_in_what_clips_differ_by_passes() -> None:
    scene = np.random.default_rng(2).normal(size=(400, 1)) * 10
    assert one_verdict(np.concatenate([scene + 0.01, scene], 1), people=100) == "passes"


def test_numbers_that_are_missing_leave_out_their_pair() -> None:
    values = np.array([[1.0, 0.0], [np.nan, 0.0], [1.0, np.nan], [np.inf, 0.0]] * 10)
    told = ask("f", values, named("c", 40, 40), named("p", 40, 40))
    assert (told.pairs, told.auc) == (20, 1.0)
    nothing = ask("f", np.full((3, 2), np.nan), named("c", 3, 3), named("p", 3, 3))
    assert (nothing.pairs, judge([nothing])[0].verdict) == (0, "undecided")
    assert judge([]) == []


def test_one_class_alone_is_refused() -> None:
    for bad in (np.zeros((5, 1)), np.zeros(5), np.zeros((4, 2))):
        with pytest.raises(FactoryError, match="each fake, then its control"):
            ask("f", bad, named("c", 5, 5), named("p", 5, 5))


def test_everyone_is_on_one_side_of_a_fold() -> None:
    people = np.array(["a"] * 30 + ["b"] * 20 + ["c"] * 5 + ["d"] * 5 + ["e"] * 20)
    every = list(folds(people))
    assert sorted(np.concatenate([held for _, held in every])) == list(range(80))
    for known, held in every:
        assert not {*people[known]} & {*people[held]}
        assert len(known) + len(held) == 80
    assert list(folds(np.array(["a", "a"]))) == []


def test_names_that_say_the_class_are_found_and_those_of_clips_are_not() -> None:
    clips, people = named("c", 60, 60), named("p", 60, 12)
    codecs = [("h264" if at % 10 else "vp9", "hevc" if at % 10 else "vp9") for at in range(60)]
    (judged,) = judge([ask_names("codec", codecs, clips, people)])
    assert judged.verdict == "fails"
    own = [(f"camera {at}", f"camera {at}") for at in range(60)]
    assert judge([ask_names("camera", own, clips, people)])[0].verdict == "passes"
    every = [(f"file {2 * at}", f"file {2 * at + 1}") for at in range(60)]
    assert judge([ask_names("file", every, clips, people)])[0].verdict == "passes", "what nobody has seen before says nothing"


def test_what_no_factor_says_alone_is_learned_together() -> None:
    """A sign that is another one in every other clip: each number has an AUC of a half, their product of 1."""
    rng = np.random.default_rng(4)
    values, clips, people = drawn(rng, 240, 48, 6)
    values[:, :, 0] = rng.choice([-1, 1], (240, 2)) * (0.5 + rng.random((240, 2)))
    values[:, 0, 1] = values[:, 0, 0] * rng.random(240)
    values[:, 1, 1] = -values[:, 1, 0] * rng.random(240)
    singles = judge(asked(values, clips, people))
    assert not [one for one in singles if one.verdict == "fails"]
    together = ask_together(values, clips, people)
    assert judge([together])[0].verdict == "fails"
    assert together == ask_together(values, clips, people), "the same each time"


def test_what_is_learned_of_the_same_people_does_not_count() -> None:
    """Each person has a sign of their own: known people would be told apart, new ones can't be."""
    rng = np.random.default_rng(6)
    values, clips, people = drawn(rng, 200, 20, 3)
    sign = rng.choice([-1, 1], 20)[np.arange(200) % 20]
    values[:, 0, 0] += 3 * sign
    values[:, 1, 0] -= 3 * sign
    values[:, :, 1] = np.arange(200)[:, None] % 20
    by_clip = ask_together(values, clips, clips)
    assert judge([by_clip])[0].verdict == "fails"
    assert judge([ask_together(values, clips, people)])[0].verdict != "fails"


def test_a_net_sees_a_pattern_and_nothing_where_there_is_none() -> None:
    rng = np.random.default_rng(7)
    clips, people = named("c", 96, 96), named("p", 96, 24)
    clean = rng.normal(size=(96, 1, 1, 1, 32, 32)).astype(np.float32) + rng.normal(size=(96, 2, 1, 1, 32, 32)).astype(
        np.float32
    )
    told = ask_net("grain", clean, clips, people, np.random.default_rng(1))
    assert judge([told])[0].verdict != "fails"
    leaking = clean.copy()
    leaking[:, 0, ..., ::2] += 0.6
    first, second = (ask_net("grain", leaking, clips, people, np.random.default_rng(1)) for _ in range(2))
    assert judge([first])[0].verdict == "fails"
    assert first == second


def test_too_few_pairs_or_people_are_not_learned_from() -> None:
    values, clips, people = drawn(np.random.default_rng(0), FEWEST_PAIRS - 1, 8, 3)
    for told in (ask_together(values, clips, people), ask_together(values, clips, named("p", len(clips), 3))):
        (judged,) = judge([told])
        assert np.isnan(judged.auc)
        assert judged.verdict == "undecided"


def test_an_auc_below_a_half_is_no_shortcut_of_a_probe_that_learned() -> None:
    told = Told("all", 400, 0.3, 0.02, 100, 400, 400, learned=True)
    assert judge([told])[0].verdict == "passes"


def portrait(clip: int, role: str, name: str = "dcgan") -> Sample:
    recipe = Recipe(f"{role} {clip}", (), 0, {})
    fake = role == "forgery"
    return Sample(
        sample_id=recipe.id,
        media=f"{recipe.id}.png",
        media_type="image",
        label="fake" if fake else "real",
        video_label="fake" if fake else "real",
        content_class="fully_synthetic" if fake else "control",
        role="forgery" if fake else "control",
        method=name if fake else "image_control",
        source="demo",
        recipe=recipe.canonical(),
        pair_id=Recipe(f"control {clip}", (), 0, {}).id,
        target_id=None if fake else f"p{clip % 12}",
        split="train",
        mark_id="0815",
        mark_key_id="demo/train",
        scores={"mark_psnr": 42.0, "mark_score_attacked": 10.5 if fake else 10.4},
    )


@pytest.fixture
def asked_of_portraits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Asked]]:
    monkeypatch.chdir(tmp_path)
    before = SPREAD.set(lambda work, todo: ((job, work(job)) for job in todo))
    rng = np.random.default_rng(2)

    def asked(shifted: str = "", psnr: float = 42.0) -> Asked:
        pairs = [Pair(portrait(clip, "forgery"), portrait(clip, "control")) for clip in range(96)]
        pairs = [Pair(replace(p.fake, scores=p.fake.scores | {"mark_psnr": psnr}), p.control) for p in pairs]
        names = ("crop: size", "whole: blocks", "trait: crop: detector confidence", "trait: whole: brightness")
        numbers = {
            sample.sample_id: {name: float(rng.normal()) + 4 * (name == shifted and sample is pair.fake) for name in names}
            for pair in pairs
            for sample in pair
        }
        return shortcuts(pairs, Measured({name: {"codec": "png"} for name in numbers}, numbers, {}, []))

    yield asked
    SPREAD.reset(before)


@pytest.mark.parametrize("leak", ["crop: size", "whole: blocks"])
def test_painted_portraits_of_another_crop_or_past_are_found(asked_of_portraits: Callable[..., Asked], leak: str) -> None:
    found = asked_of_portraits(leak)
    assert any(f"{leak} tells fakes from controls" in sentence for sentence in found.failed), found.failed


def test_a_mark_that_is_fainter_in_painted_portraits_is_found(asked_of_portraits: Callable[..., Asked]) -> None:
    assert any("mark: mark_psnr" in sentence for sentence in asked_of_portraits(psnr=42.01).failed)


def test_traits_of_painted_portraits_are_told_and_fail_nothing(asked_of_portraits: Callable[..., Asked]) -> None:
    """However clear: how sure a detector is of a painted face, and how well its mark reads, is what was painted."""
    found = asked_of_portraits("trait: crop: detector confidence")
    assert not found.failed
    told = {line["factor"]: line for line in found.told}
    assert {line["verdict"] for line in found.told} == {"told"}
    assert told["trait: crop: detector confidence"]["auc"] > 0.95
    assert told["trait: mark: mark_score_attacked"]["auc"] == 1
    assert not any(line["factor"].startswith("trait") for line in found.table)
    together = next(line for line in found.table if line["factor"] == "all factors together")
    assert together["auc"] < 0.7, "no probe learns from what is told"
