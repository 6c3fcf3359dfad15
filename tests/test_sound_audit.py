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

from evaluators.shortcuts import FEWEST_PAIRS, Judged, ask, judge
from flows import workspace
from flows.audit import FILE, audit, differing
from flows.items import SPREAD
from flows.params import Params, load_params
from flows.plan import plan_file
from flows.shortcuts import FILES
from flows.splits import SPLITS_FILE
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


def told_apart(pairs: list[tuple[Traits, Traits]]) -> dict[str, Judged]:
    """Each trait of (fake, control), as the audit asks it."""
    names = np.array([f"clip {at}" for at in range(len(pairs))])
    asked = [
        ask(trait, np.array([[getattr(sound, trait) for sound in pair] for pair in pairs]), names, names)
        for trait in asdict(pairs[0][0])
    ]
    return {one.told.factor: one for one in judge(asked)}


def failing(pairs: list[tuple[Traits, Traits]]) -> set[str]:
    return {name for name, one in told_apart(pairs).items() if one.verdict == "fails"}


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
    assert not failing(pairs)
    assert {one.told.pairs for one in told.values()} == {PAIRS}
    assert (told["clipped"].auc, told["clipped"].verdict) == (0.5, "passes"), "ties count half"


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
    assert not failing(pairs)
    assert told_apart(pairs)["noise_floor"].auc < 0.55


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
            for file in (plan_file(name), workspace.train_file(name)):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("{}\n")
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
        checks: dict[str, Any] = json.loads(FILE.read_text())["checks"]
        self.table = {line["factor"]: line for line in checks["shortcuts"]["table"]}
        self.shortcuts: dict[str, Any] = checks["shortcuts"]
        found: dict[str, Any] = checks["sound"]
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
    assert (told["passed"], told["found"]) == (True, 0)
    assert any("for 3 pairs are too few" in sentence for sentence in place.shortcuts["undecided"])

    records = {p: p.stat().st_mtime_ns for p in FILES.glob("*.json")}
    assert len(records) == 12, "numbers and facts of each file"
    path = place.put(1, changed(later)(clips[1][0]), clips[1][1])
    told = place.told()
    assert told["found"] == 2
    assert "trailing_silence" in str(told["first"])
    assert "leading_silence" in str(told["first"])
    again = {p.name for p in FILES.glob("*.json") if p.stat().st_mtime_ns != records[p]}
    forged = Recipe("forgery 1", (), 0, {}).id
    assert again == {f"{forged}.json", f"{forged}.form.json"}, "what did not change was measured again"

    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (FILES / f"{forged}.json").unlink()
    place.told()
    assert "is not the file that was sealed" in str(place.shortcuts["first"])
    path.write_bytes(whole)
    assert "leading_silence" in str(place.told()["first"]), "a file that was mended is heard"

    for clip in range(FEWEST_PAIRS):
        place.put(clip, written(resample(resample(clips[clip][0], 8000), RATE)), clips[clip][1])
    told = place.told()
    assert any("audio master, all methods: sound: treble tells fakes" in fault for fault in place.shortcuts["first"])
    treble = place.table["sound: treble"]
    assert (treble["verdict"], treble["larger"], treble["pairs"]) == ("fails", "controls", FEWEST_PAIRS)
    assert place.table["sound: leading_silence"]["verdict"] != "fails"


def test_sound_that_was_not_forged_is_not_held_to_the_promises(place: Place, clips: list[tuple[Sound, Sound]]) -> None:
    """It may begin to speak when it wants: only that of a forgery must fit into its control's place."""
    place.put(0, changed(later)(clips[0][0]), clips[0][1])
    assert not place.told()["passed"]
    place.rows["blend_swap"] = [replace(s, audio_label="real") for s in place.rows["blend_swap"]]
    write_manifest(workspace.MADE / "blend_swap" / workspace.MANIFEST, place.rows["blend_swap"])
    assert place.told()["passed"]
