"""Forged sound can't be told from real sound by what it is not about: every leak that is planted is found, and none else."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from flows import workspace
from flows.audit import FEWEST, FILE, SOUNDS, audit, differing, told_apart
from flows.items import SPREAD
from flows.params import Params, load_params
from flows.plan import SPLITS_FILE, plan_file
from forgeline.audio import SoundForm, resample, write_sound
from forgeline.clip import Sound
from forgeline.hearing import Traits, traits
from forgeline.manifest import write_manifest
from forgeline.recipe import Recipe
from forgeline.sample import Sample

ROOT = Path(__file__).parents[1]
RATE, SECONDS, PAIRS = 16000, 1.6, 30
Wave = NDArray[np.float32]


def spoken(clip: int, voice: int) -> Sound:
    """Syllables of filtered noise from about 0.3 s to 0.3 s before the end, in the clip's room, as the seal writes sound."""
    place, voiced = np.random.default_rng(clip), np.random.default_rng((clip, voice))
    count = round(SECONDS * RATE)
    room = place.normal(size=count) * 10 ** (place.uniform(-70, -55) / 20)
    start, end = (round(at * RATE) for at in (place.uniform(0.25, 0.4), SECONDS - place.uniform(0.25, 0.4)))
    band = butter(2, np.sort(voiced.uniform(150, 3500, 2)) + np.array([0, 400]), "bandpass", fs=RATE, output="sos")
    carrier = voiced.normal(size=end - start) * 0.03 + sosfiltfilt(band, voiced.normal(size=end - start))
    syllables = 0.15 + np.abs(np.cos(np.pi * voiced.uniform(2, 5) * np.arange(end - start) / RATE))
    room[start:end] += 0.1 * carrier / carrier.std() * syllables * place.uniform(0.3, 2)
    return SoundForm()(Sound(room.astype(np.float32), RATE), SECONDS)


def written(sound: Sound) -> Sound:
    """As 16 bits hold it."""
    return Sound((np.clip(np.rint(sound.samples * 32768), -32768, 32767) / 32768).astype(np.float32), sound.rate)


@pytest.fixture(scope="module")
def clips() -> list[tuple[Sound, Sound]]:
    """(fake, control)"""
    return [(spoken(clip, 1), spoken(clip, 0)) for clip in range(PAIRS)]


@pytest.fixture(scope="module")
def controls(clips: list[tuple[Sound, Sound]]) -> list[Traits]:
    return [traits(written(control)) for _, control in clips]


def leaking(
    clips: list[tuple[Sound, Sound]], controls: list[Traits], leak: Callable[[Sound], Sound]
) -> list[tuple[Traits, Traits]]:
    return [(traits(leak(fake)), control) for (fake, _), control in zip(clips, controls, strict=True)]


def failing(pairs: list[tuple[Traits, Traits]]) -> set[str]:
    return {name for name, told in told_apart(pairs).items() if told.verdict == "fails"}


def changed(change: Callable[[Wave], Wave]) -> Callable[[Sound], Sound]:
    return lambda sound: written(Sound(change(sound.samples), sound.rate))


def later(wave: Wave) -> Wave:
    """80 ms later; before it stands what room there is."""
    shift = round(0.08 * RATE)
    return np.concatenate([wave[:shift], wave[:-shift]])


def without_noise(wave: Wave) -> Wave:
    """Gated: what is faint is fainter by 20 dB."""
    power = np.convolve(np.square(wave), np.ones(320) / 320, "same")
    return wave * np.where(power > np.percentile(power, 95) / 1000, 1, 0.1).astype(np.float32)


PROMISES: dict[str, tuple[Callable[[Sound], Sound], str]] = {
    "3 dB louder": (changed(lambda wave: wave * np.float32(10 ** (3 / 20))), "loudness"),
    "80 ms later": (changed(later), "leading_silence"),
    "ends earlier": (changed(lambda wave: later(wave[::-1])[::-1].copy()), "trailing_silence"),
    "trailing zeros": (changed(lambda wave: np.append(wave[:-800], np.zeros(800, np.float32))), "exact zeros"),
    "a sample more": (changed(lambda wave: np.append(wave, wave[-1:])), "samples"),
    "another rate": (lambda sound: resample(sound, 44100), "rate"),
    "clipped": (changed(lambda wave: np.concatenate([wave[:-3], np.ones(3, np.float32)])), "clipped"),
}
CLASSES: dict[str, tuple[Callable[[Sound], Sound], str]] = {
    "from 8 kHz": (lambda sound: written(resample(resample(sound, 8000), RATE)), "treble"),
    "offset": (changed(lambda wave: wave + np.float32(0.0005)), "offset"),
    "no dither": (lambda sound: Sound((np.rint(sound.samples * 16384) / 16384).astype(np.float32), RATE), "odd"),
    "no noise floor": (changed(without_noise), "noise_floor"),
    "rumble": (changed(lambda wave: wave + (0.003 * np.sin(np.arange(len(wave)) / 100)).astype(np.float32)), "rumble"),
    "a little louder": (changed(lambda wave: wave * np.float32(10 ** (0.5 / 20))), "loudness"),
    "repeated samples": (changed(lambda wave: np.concatenate([np.repeat(wave[:160:8], 8), wave[160:]])), "equal_run"),
}


def test_clean_pairs_pass(clips: list[tuple[Sound, Sound]], controls: list[Traits]) -> None:
    pairs = leaking(clips, controls, written)
    assert not [fault for pair in pairs for fault in differing(*pair)]
    told = told_apart(pairs)
    assert {one.verdict for one in told.values()} == {"passes"}
    assert {one.pairs for one in told.values()} == {PAIRS}
    assert (told["clipped"].auc, told["clipped"].unpaired) == (0.5, 0.5), "ties count half"
    assert all(one.low <= one.auc <= one.high for one in told.values())
    assert all(one.unpaired_low <= one.unpaired <= one.unpaired_high for one in told.values())


@pytest.mark.parametrize("leak", PROMISES)
def test_a_pair_that_differs_is_named(leak: str, clips: list[tuple[Sound, Sound]], controls: list[Traits]) -> None:
    change, said = PROMISES[leak]
    for pair in leaking(clips[:6], controls[:6], change):
        faults = list(differing(*pair))
        assert any(said in fault for fault in faults), (faults, pair)
        assert list(differing(*pair[::-1])), "the other way round it is as much of a leak"


@pytest.mark.parametrize("leak", CLASSES)
def test_what_all_fakes_have_in_common_is_found(leak: str, clips: list[tuple[Sound, Sound]], controls: list[Traits]) -> None:
    change, trait = CLASSES[leak]
    pairs = leaking(clips, controls, change)
    assert trait in failing(pairs)
    assert trait in failing([pair[::-1] for pair in pairs]), "smaller is as good a shortcut as larger"


def test_what_nobody_could_learn_passes(clips: list[tuple[Sound, Sound]], controls: list[Traits]) -> None:
    """A floor that is always a hundredth of a decibel off is consistent in pairs, and nothing beside the rooms' own spread."""
    pairs = [(replace(c, noise_floor=c.noise_floor + 0.01, bandwidth=c.bandwidth + 0.5), c) for c in controls]
    told = told_apart(pairs)
    assert (told["noise_floor"].auc, told["bandwidth"].auc) == (1.0, 1.0)
    assert told["noise_floor"].low > 0.75
    assert not failing(pairs)
    assert told["noise_floor"].difference == pytest.approx(0.01, abs=1e-4)


def test_few_pairs_are_undecided(clips: list[tuple[Sound, Sound]], controls: list[Traits]) -> None:
    """Not because a number was agreed on: with fewer, not even a perfect leak would be shown."""
    pairs = [(replace(c, offset=0.1), replace(c, offset=0.0)) for c in controls]
    assert {told.verdict for told in told_apart(pairs[: FEWEST - 1]).values()} == {"undecided"}
    assert told_apart(pairs[: FEWEST - 2])["offset"].low <= 0.75
    assert failing(pairs[:FEWEST]) == {"offset"}


def drawn(rng: np.random.Generator, count: int, moved: float = 0.0) -> list[tuple[Traits, Traits]]:
    names = list(asdict(traits(Sound(np.zeros(0, np.float32), RATE))))
    values = rng.normal(size=(count, 2, len(names)))
    values[:, 0, 5:] += moved
    return [tuple(Traits(*map(float, sound)) for sound in pair) for pair in values]  # type: ignore[misc]


def test_chance_seldom_fails_a_trait_and_a_true_leak_seldom_passes() -> None:
    """At the bound itself (75 % of pairs) one release in twenty may fail; a shift of three deviations must be seen."""
    at_bound = 0.6745 * np.sqrt(2)
    rng = np.random.default_rng(1)
    assert sum(bool(failing(drawn(rng, 60, at_bound))) for _ in range(100)) <= 9
    assert not any(failing(drawn(rng, 60)) for _ in range(100))
    assert all(len(failing(drawn(rng, 60, 3.5))) == 12 for _ in range(20))


def test_intervals_are_those_of_scipy() -> None:
    from scipy.stats import binomtest

    wins, count = 22, 30
    pairs = [(Traits(*[float(at < wins)] * 17), Traits(*[0.5] * 17)) for at in range(count)]
    told = told_apart(pairs)
    levels = [1 - 0.05 / (15 - step) for step in range(15)]
    for one, level in zip(told.values(), levels, strict=True):
        known = binomtest(wins, count).proportion_ci(level, "exact")
        assert (one.low, one.high) == pytest.approx((known.low, known.high), abs=1e-4)
        assert one.unpaired == pytest.approx(wins / count, abs=1e-4)


# ------------------------------------------------------------------------------------------- through the audit, from files


def row(name: str, role: str, pair: str, media: Path, **more: str) -> Sample:
    forged = role == "forgery"
    return Sample(
        sample_id=Recipe(name, (), 0, {}).id,
        media=media.as_posix(),
        media_type="audio",
        label="fake" if forged else "real",
        audio_label="fake" if forged else "real",
        role="forgery" if forged else "control",
        method="blend_swap" if forged else "control",
        source="demo",
        recipe=Recipe(name, (), 0, {}).canonical(),
        pair_id=pair,
        split="train",
        mark_id="0815",
        mark_key_id="demo/train",
        sha256=hashlib.sha256(media.read_bytes()).hexdigest(),
    )


class Place:
    """A workspace with nothing but files of sound, as current folder: the audit's other checks fail there."""

    def __init__(self, path: Path) -> None:
        settings = yaml.safe_load((ROOT / "params.tiny.yaml").read_text())
        settings["generators"] = {"control": {}, "blend_swap": {}}
        (path / "params.yaml").write_text(yaml.safe_dump(settings))
        self.params: Params = load_params()
        self.rows: dict[str, list[Sample]] = {"control": [], "blend_swap": []}
        write_manifest(workspace.REAL / "demo" / workspace.MANIFEST, [])
        write_manifest(workspace.VARIANTS / "c40" / workspace.MANIFEST, [])
        for name in self.rows:
            plan_file(name).parent.mkdir(parents=True, exist_ok=True)
            plan_file(name).write_text("{}\n")
        (workspace.PLAN / SPLITS_FILE).write_text(json.dumps({"components": []}))

    def put(self, clip: int, fake: Sound, control: Sound) -> Path:
        """Write a pair of files and their rows; give the fake's file."""
        pair = Recipe(f"control {clip}", (), 0, {}).id
        path = Path()
        for method, role, sound in (("control", "control", control), ("blend_swap", "forgery", fake)):
            path = workspace.MADE / method / f"{clip}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_sound(path, sound)
            made = row(f"{role} {clip}", role, pair, path)
            self.rows[method] = [s for s in self.rows[method] if s.sample_id != made.sample_id] + [made]
            write_manifest(workspace.MADE / method / workspace.MANIFEST, self.rows[method])
        return path

    def told(self) -> dict[str, Any]:
        audit(self.params)
        found: dict[str, Any] = json.loads(FILE.read_text())["checks"]["sound"]
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    before = SPREAD.set(lambda work, todo: ((job, work(job)) for job in todo))  # processes would take seconds to start
    yield Place(tmp_path)
    SPREAD.reset(before)


def test_the_audit_hears_a_leak_in_the_finished_files(place: Place, clips: list[tuple[Sound, Sound]]) -> None:
    """First a few clean pairs; then one that begins late; then many of one method, all without treble."""
    for clip in range(3):
        place.put(clip, *clips[clip])
    told = place.told()
    assert (told["passed"], told["found"], told["undecided"]) == (True, 0, {"blend_swap master": 3})

    records = {p: p.stat().st_mtime_ns for p in SOUNDS.glob("*.json")}
    assert len(records) == 6
    path = place.put(1, changed(later)(clips[1][0]), clips[1][1])
    told = place.told()
    assert told["found"] == 2
    assert "trailing_silence" in str(told["first"])
    assert "leading_silence" in str(told["first"])
    again = {p for p in SOUNDS.glob("*.json") if p.stat().st_mtime_ns != records[p]}
    assert again == {SOUNDS / f"{Recipe('forgery 1', (), 0, {}).id}.json"}, "what did not change was measured again"

    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (SOUNDS / f"{Recipe('forgery 1', (), 0, {}).id}.json").unlink()
    assert "is not the file that was sealed" in str(place.told()["first"])
    path.write_bytes(whole)
    assert "leading_silence" in str(place.told()["first"]), "a file that was mended is heard"

    for clip in range(FEWEST):
        place.put(clip, written(resample(resample(clips[clip][0], 8000), RATE)), clips[clip][1])
    told = place.told()
    assert not told["passed"]
    assert any("blend_swap master: treble tells forged sound" in fault for fault in told["first"])
    table = {line["trait"]: line for line in told["table"]}
    assert (table["treble"]["verdict"], table["treble"]["auc"], table["treble"]["pairs"]) == ("fails", 0.0, FEWEST)
    assert table["leading_silence"]["verdict"] == "passes"
    assert not told["undecided"]


def test_a_video_whose_sound_is_its_own_is_not_listened_to(place: Place, clips: list[tuple[Sound, Sound]]) -> None:
    place.put(0, *clips[0])
    place.rows["blend_swap"] = [replace(s, audio_label="real") for s in place.rows["blend_swap"]]
    write_manifest(workspace.MADE / "blend_swap" / workspace.MANIFEST, place.rows["blend_swap"])
    told = place.told()
    assert (told["passed"], told["table"]) == (True, [])
    assert not list(SOUNDS.glob("*.json"))
