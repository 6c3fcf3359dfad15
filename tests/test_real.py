"""The whole chain on real footage: GRID's speakers as a folder of people, and as the research corpora lay such clips out."""

import json
import shutil
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.faces import load_track
from forgeline.manifest import read_manifest
from forgeline.sample import Sample
from forgeline.video import read_masks
from sources.celeb_df import CelebDF
from sources.dfdc import DFDC
from sources.ffpp import FaceForensics
from tests.conftest import Checkout, new_checkout

SHARED = Path(__file__).parents[2] / "shared"
GRID = SHARED / "media" / "grid"
DATASETS = SHARED / "datasets"

pytestmark = pytest.mark.skipif(not GRID.is_dir(), reason=f"no footage of real people is here ({GRID})")

PEOPLE = {
    "s1": ["bbaf2n"],
    "same_as_s1": ["s1/bbaf2n"],  # the very same file under another name
    "s2": ["lbax4n"],
    "s3": ["brbk7n"],
    "man": ["pwij3p", "id2_vcd_swwp2s"],
}
SPLIT = {"s1": "train", "s2": "train", "s3": "val", "man": "val"}
GENERATORS = ("control", "blend_swap", "self_swap", "lip_sync")
RECORDED = {"accepted_by": "the tests", "accepted_on": "2026-01-01"}
ACCEPTED = {"generate": True, **RECORDED}


def with_sources(checkout: Checkout, corpora: Mapping[str, Path], **params: Any) -> Checkout:
    """Link the corpora into the checkout, make a key, and write the params."""
    for name, corpus in corpora.items():
        (checkout.path / "data/raw").mkdir(parents=True, exist_ok=True)
        (checkout.path / "data/raw" / name).symlink_to(corpus)
    key = checkout.path.parent / "key"
    said = checkout.flows("key", "new", str(key)).stdout
    checkout.env["FORGELINE_KEY_FILE"] = str(key)
    accepted = {"shortcuts": "the tests, 2026-01-01: these are too few clips to prove anything"}
    release = {**checkout.params()["release"], "accepted": accepted}
    checkout.set_params({**checkout.params(), "evaluators": {"ssim": {}}, "release": release, **params})
    checkout.set_params({**checkout.params(), "seal": {**checkout.params()["seal"], "key": said.split()[1]}})
    return checkout


def rows_of(checkout: Checkout, manifest: str) -> list[Sample]:
    return read_manifest(checkout.path / manifest / "manifest.parquet")


# A folder of people ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Six GRID clips as they are distributed, and what `dvc repro` makes of them."""
    home = tmp_path_factory.mktemp("grid")
    for person, clips in PEOPLE.items():
        (home / "corpus" / person).mkdir(parents=True)
        for clip in clips:
            shutil.copy2(GRID / f"{clip}.mpg", home / "corpus" / person)
    terms = {
        "agreement": "GRID, CC BY 4.0",
        "licence": "CC-BY-4.0",
        "permitted_use": ["research", "detection"],
        "consent": "speakers who agreed to be in this corpus",
        "people": {person: {"basis": "the corpus's own", "scope": ["face", "voice"]} for person in PEOPLE},
        **ACCEPTED,
    }
    (home / "checkout").mkdir()
    checkout = with_sources(
        new_checkout(home / "checkout"),
        {"grid": home / "corpus"},
        sources={"grid": {"kind": "folder", "terms": terms}},
        generators={name: {} for name in GENERATORS},
    )
    # With this seed the two names of s1 would be swapped with each other, were they taken for two people.
    plan = {**checkout.params()["plan"], "seed": 3, "assign": {f"grid:{person}": split for person, split in SPLIT.items()}}
    checkout.set_params({**checkout.params(), "plan": plan})
    checkout.flows("scan")
    checkout.repro(FORGELINE_WORKERS="2")
    return checkout


@pytest.fixture(scope="module")
def real(grid: Checkout) -> dict[str, Sample]:
    return {row.sample_id: row for row in rows_of(grid, "data/real/grid")}


@pytest.fixture(scope="module")
def made(grid: Checkout) -> list[Sample]:
    return [row for name in GENERATORS for row in rows_of(grid, f"data/made/{name}")]


def pictures(path: Path, pixels: str = "gray") -> NDArray[np.uint8]:
    """All pictures as a player shows them, (frames, height, width) or "rgb24" with 3 channels, by nothing of ours."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format=pixels) for frame in container.decode(video=0)])


def sound(path: Path, rate: int = 8000) -> NDArray[np.float32]:
    """Mono sound from the first picture's time on, by nothing of ours."""
    with av.open(str(path)) as container:
        begin = float((container.streams.video[0].start_time or 0) * (container.streams.video[0].time_base or 1))
        resampler = av.AudioResampler("flt", "mono", rate)
        first: float | None = None
        pieces = []
        for frame in container.decode(audio=0):
            first = first if first is not None else float(frame.time or 0) - begin
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    heard = np.concatenate(pieces)
    shift = round((first or 0) * rate)
    return heard[-shift:] if shift < 0 else np.concatenate([np.zeros(shift, np.float32), heard])


def lag_s(one: NDArray[np.float32], other: NDArray[np.float32], rate: int = 8000) -> tuple[float, float]:
    """By how much `one` is later than `other`, and their correlation there, above 400 Hz: rumble is taken out of all sound."""
    size = min(len(one), len(other))
    low = 400 * 2 * size // rate
    first, second = (np.fft.rfft(sound[:size], 2 * size) for sound in (one, other))
    first[:low] = second[:low] = 0
    power = np.sqrt(np.sum(np.abs(first) ** 2) * np.sum(np.abs(second) ** 2)) / size
    by_lag = np.fft.irfft(first * np.conj(second)) / power
    best = int(np.argmax(by_lag))
    return (best if best < size else best - 2 * size) / rate, float(by_lag[best])


def test_every_clip_is_tracked_and_nothing_dropped(grid: Checkout, real: dict[str, Sample], made: list[Sample]) -> None:
    assert len(real) == sum(map(len, PEOPLE.values()))
    for row in real.values():
        assert row.reason is None
        assert (row.width, row.height, row.fps, row.frames, row.sample_rate) == (360, 288, Fraction(25), 75, 44100)
        track = load_track(grid.path / str(row.track))
        assert track.seen.all()
        centre = track.box.reshape(-1, 2, 2).mean(axis=1)
        assert np.abs(np.diff(centre, axis=0)).max() < 8  # nobody jumps about in GRID
    assert len(made) == len(GENERATORS) * len(real)
    assert not [row.reason for row in made if row.reason]
    audit = json.loads((grid.path / "data/audit/audit.json").read_text())
    assert (audit["passed"], audit["samples"], audit["dropped"]) == (True, 2 * len(made), {})  # and the variants


def test_the_same_file_under_two_names_is_one_person(grid: Checkout, real: dict[str, Sample], made: list[Sample]) -> None:
    proof = json.loads((grid.path / "data/plan/splits.json").read_text())
    tied = [c for c in proof["components"] if "grid:same_as_s1" in c["people"]]
    assert [(c["people"], c["split"]) for c in tied] == [(["grid:s1", "grid:same_as_s1"], "train")]
    split = {clip: c["split"] for c in proof["components"] for clip in c["clips"]}
    assert set(split) == set(real)
    pairs = {(str(row.target_id), row.source_id) for row in made if row.source_id}
    assert len(pairs) >= 5
    for row in made:
        assert {split[parent] for parent in row.parents} == {row.split}
        assert row.target_id != row.source_id
        assert {row.target_id, row.source_id} != {"grid:s1", "grid:same_as_s1"}


def test_read_tells_what_a_file_is(grid: Checkout, made: list[Sample]) -> None:
    some = {row.method: row for row in made}
    said = grid.flows("read", *(row.media for row in some.values())).stdout.split("data/made/")[1:]
    for row in some.values():
        (lines,) = [text for text in said if text.startswith(f"{row.method}/{row.sample_id}.mp4")]
        assert f"mark {row.mark_id} of shard {row.mark_key_id}" in lines
        assert f"sample {row.sample_id}: {row.label}, {row.role} by {row.method}, {row.split}" in lines


def test_pictures_and_sound_stay_in_sync(grid: Checkout, real: dict[str, Sample], made: list[Sample]) -> None:
    for row in made:
        parent = grid.path / real[row.parents[0]].media
        here, there = pictures(grid.path / row.media), pictures(parent)
        assert here.shape == there.shape
        if row.method == "control":
            mouth = [clip[:, 144:].astype(np.float32) for clip in (here, there)]
            errors = {lag: np.abs(mouth[0][2:73] - mouth[1][2 + lag : 73 + lag]).mean() for lag in (-1, 0, 1)}
            assert min(errors, key=lambda lag: errors[lag]) == 0
        if row.audio_label == "real":
            late, alike = lag_s(sound(grid.path / row.media), sound(parent))
            assert abs(late) < 0.005
            assert alike > 0.9, "0.94 and more: the rest is the mark"
        assert (row.audio_label == "fake") == (row.method == "lip_sync")


def face_colour(path: Path, red: float, blue: float) -> NDArray[np.float64]:
    """Mean colour of the first picture's middle, by the matrix of these two weights (ITU-R BT.601, BT.709)."""
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray(format="yuv420p")
    y, cb, cr = planes[:288], planes[288:360].reshape(144, 180), planes[360:].reshape(144, 180)
    middle = [y[100:200, 140:220].mean(), cb[50:100, 70:110].mean(), cr[50:100, 70:110].mean()]
    luma, cb_, cr_ = (middle[0] - 16) / 219, (middle[1] - 128) / 224, (middle[2] - 128) / 224
    r, b = luma + 2 * (1 - red) * cr_, luma + 2 * (1 - blue) * cb_
    return 255 * np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b])


def test_controls_keep_their_colours(grid: Checkout, real: dict[str, Sample], made: list[Sample]) -> None:
    for row in made:
        if row.role == "control":
            ours = face_colour(grid.path / row.media, 0.2126, 0.0722)
            theirs = face_colour(grid.path / real[row.parents[0]].media, 0.299, 0.114)
            assert np.abs(ours - theirs).max() < 1


def test_swaps_are_steady_and_stay_within_their_masks(grid: Checkout, made: list[Sample]) -> None:
    control = {row.sample_id: pictures(grid.path / row.media) for row in made if row.role == "control"}
    for row in made:
        if row.role == "control":
            assert not any(mask.any() for mask in read_masks(grid.path / str(row.mask)))
            continue
        one, other = pictures(grid.path / row.media), control[str(row.pair_id)]
        masks = np.stack(list(read_masks(grid.path / str(row.mask)))) > 0
        assert masks.shape == one.shape
        changed = cv2.absdiff(one, other)
        near = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0 for m in masks])
        assert changed[~near].mean() < 3  # another mark, and what the encoder makes of it
        if row.method == "lip_sync":
            assert masks.any(axis=(1, 2)).mean() > 0.2  # where nobody speaks and the mouth rests, it stays
            continue
        area = masks.sum(axis=(1, 2))
        assert area.min() > 2000
        assert np.abs(np.diff(area)).max() < 0.05 * area.mean()
        # What flickers changes from picture to picture more than the face that it covers; what is frozen, much less.
        both = masks[1:] & masks[:-1]
        own, covered = (cv2.absdiff(clip[1:], clip[:-1])[both].mean() for clip in (one, other))
        assert 0.3 * covered < own < 1.2 * covered
        # A steady swap differs from its control in much the same way all the time.
        gap = np.array([c[m].mean() for c, m in zip(changed, masks, strict=True)])
        assert gap.std() < 0.3 * gap.mean()
        assert gap.mean() > 3


def test_the_release_loads(grid: Checkout, made: list[Sample], tmp_path: Path) -> None:
    from datasets import Video, load_dataset

    folder = str(grid.path / "data/release")
    rows = {row.sample_id: row for row in (*made, *rows_of(grid, "data/variants/c40"))}
    found = 0
    for config in ("video", "null_twin_video"):
        loaded = load_dataset(folder, config, cache_dir=str(tmp_path))
        assert set(loaded) == {"train", "val"}
        for split, part in loaded.items():
            for row in part.cast_column("media", Video(decode=False)).remove_columns("mask"):
                assert row["media"]["bytes"] == (grid.path / rows[row["sample_id"]].media).read_bytes()
                assert (row["split"], row["licence"]) == (split, "CC-BY-4.0")
                found += 1
    assert found == len(rows) == 2 * len(made)


# The research corpora's layouts ----------------------------------------------------------------------------------------

FRAMES = 20
LEAKING = [("591", "605"), ("606", "567")]  # official pairs of train and of val; 605 and 606 are cut from one YouTube video
TEST_PAIR = ("953", "974")


def clip_of(number: int) -> Path:
    """A clip of another speaker for each number."""
    return GRID / f"{['bbaf2n', 'brbk7n', 'lbax4n', 'lbbc2a', 'lrwp9a', 'lwbsza', 'sbia1a', 'sbwe5n', 'swiz3n'][number]}.mpg"


def encode(number: int, path: Path, codec: str = "libx264", crf: int = 23, tall: int = 0, heard: bool = False) -> None:
    """The first pictures of a speaker's clip encoded anew; `tall` pictures are cut upright and scaled to that height."""
    pixels = {"libx264rgb": "rgb24"}.get(codec, "yuv420p" if heard or tall else "yuv444p")
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [_upright(p, tall) if tall else p for p in islice(pictures(clip_of(number), "rgb24"), FRAMES)]
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options={"crf": str(crf), "threads": "1"})
        video.height, video.width = shown[0].shape[:2]
        video.pix_fmt = pixels
        audio = out.add_stream("aac", rate=44100, layout="mono") if heard else None
        for picture in shown:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        if audio:
            samples = sound(clip_of(number), 44100)[None, : FRAMES * 1764]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="flt", layout="mono")
            frame.sample_rate = 44100
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))


def _upright(picture: Picture, tall: int) -> Picture:
    wide = tall * 9 // 16
    cut = round(picture.shape[0] * 9 / 16)
    left = (picture.shape[1] - cut) // 2
    return np.asarray(cv2.resize(picture[:, left : left + cut], (wide, tall), interpolation=cv2.INTER_CUBIC), np.uint8)


def ffpp(root: Path) -> None:
    """Six sequences and their Deepfakes at c23, two of the sequences also raw; no file has sound."""
    (root / "splits").mkdir(parents=True)
    for split in ("train", "val", "test"):
        shutil.copy2(DATASETS / "ffpp/splits" / f"{split}.json", root / "splits")
    shutil.copy2(DATASETS / "ffpp/conversion_dict.json", root)
    number = {name: n for n, name in enumerate(name for pair in (*LEAKING, TEST_PAIR) for name in pair)}
    for a, b in (*LEAKING, TEST_PAIR):
        for one, other in ((a, b), (b, a)):
            encode(number[one], root / f"original_sequences/youtube/c23/videos/{one}.mp4")
            encode(number[one], root / f"manipulated_sequences/Deepfakes/c23/videos/{one}_{other}.mp4", crf=24)
    for name in TEST_PAIR:
        encode(number[name], root / f"original_sequences/youtube/raw/videos/{name}.mp4", "libx264rgb", 0)


def celeb_df(root: Path) -> None:
    """Clips that the published list names; `Celeb-real/id1_0007.mp4` is of the official test set."""
    root.mkdir(parents=True)
    shutil.copy2(DATASETS / "celeb-df-v2/List_of_testing_videos.txt", root)
    for number, name in enumerate(["id38_0000", "id41_0000", "id47_0000", "id1_0007", "id16_0000"]):
        encode(number, root / f"Celeb-real/{name}.mp4", heard=True)
    encode(1, root / "Celeb-synthesis/id1_id16_0007.mp4", crf=25, heard=True)
    encode(0, root / "Celeb-synthesis/id38_id41_0000.mp4", crf=26, heard=True)
    encode(5, root / "YouTube-real/00170.mp4", heard=True)


def dfdc(root: Path) -> None:
    """The published cuts of the metadata: a real and a fake of the sample, the same of one part; upright, with sound."""
    for folder, file in {
        "train_sample_videos": "train_sample_videos.metadata.json",
        "dfdc_train_part_7": "full_part_entries.excerpt.json",
    }.items():
        (root / folder).mkdir(parents=True)
        shutil.copy2(DATASETS / "dfdc" / file, root / folder / "metadata.json")
    encode(6, root / "train_sample_videos/abarnvbtwb.mp4", tall=480, heard=True)
    encode(7, root / "train_sample_videos/aagfhgtpmv.mp4", tall=480, heard=True)
    encode(8, root / "dfdc_train_part_7/vpmyeepbep.mp4", tall=480, heard=True)
    encode(4, root / "dfdc_train_part_7/owxbbpjpch.mp4", tall=480, heard=True)


CORPORA = {"ffpp": FaceForensics, "celeb_df": CelebDF, "dfdc": DFDC}


def sources(permitted: Iterable[str] = (), **ffpp_fields: str) -> dict[str, Any]:
    """The corpora with their templates' terms, accepted, and the permission on record for those that are `permitted`."""
    recorded = {
        name: {"kind": name, "terms": {**source.template.settings(), **(ACCEPTED if name in permitted else RECORDED)}}
        for name, source in CORPORA.items()
    }
    recorded["ffpp"] |= ffpp_fields
    return recorded


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A tiny tree of each corpus, scanned and ingested under terms that permit nothing yet."""
    if not DATASETS.is_dir():
        pytest.skip(f"the corpora's own metadata are not here ({DATASETS})")
    home = tmp_path_factory.mktemp("corpora")
    for lay_out in (ffpp, celeb_df, dfdc):
        lay_out(home / lay_out.__name__)
    (home / "checkout").mkdir()
    checkout = with_sources(
        new_checkout(home / "checkout"),
        {name: home / name for name in CORPORA},
        sources=sources(),
        generators={"control": {}, "blend_swap": {}},
    )
    said = checkout.flows("scan").stdout
    assert "scan ffpp: 18 files, 0 refused" in said
    for name in CORPORA:
        checkout.flows("ingest", name)
    return checkout


def by_name(checkout: Checkout, source: str) -> dict[str, Sample]:
    return {Path(row.media).stem: row for row in rows_of(checkout, f"data/real/{source}")}


def planned(checkout: Checkout) -> list[Any]:
    lines = [(checkout.path / f"data/plan/{name}.jsonl").read_text().splitlines() for name in ("control", "blend_swap")]
    return [json.loads(line) for _, *rows in lines for line in rows]


def test_corpora_are_ingested_as_they_say_they_are(corpora: Checkout) -> None:
    sequences, celebrities, actors = (by_name(corpora, name) for name in CORPORA)
    rows = [*sequences.values(), *celebrities.values(), *actors.values()]
    assert not [row.reason for row in rows if row.reason]
    for row in rows:
        track = load_track(corpora.path / str(row.track))
        assert track.seen.all()
        assert len(track.seen) == row.frames == FRAMES
    assert {(row.width, row.height, row.sample_rate, row.audio_label) for row in sequences.values()} == {(360, 288, 0, None)}
    assert {(row.width, row.height, row.sample_rate) for row in actors.values()} == {(270, 480, 44100)}
    swap = sequences["605_591"]
    assert (swap.label, swap.target_id, swap.source_id, swap.split) == ("fake", "ffpp:605", "ffpp:591", "train")
    assert swap.parents == (sequences["605"].sample_id,)
    assert (sequences["605"].label, sequences["605"].origin) == ("real", sequences["606"].origin)
    assert sequences["606"].split == "val"
    swap = celebrities["id1_id16_0007"]
    assert (swap.label, swap.target_id, swap.apparent_id) == ("fake", "celeb_df:id1", "celeb_df:id16")
    assert (celebrities["id1_0007"].split, celebrities["id38_0000"].split) == ("test", "train")
    assert celebrities["00170"].target_id is None
    assert [actors[name].label for name in ("abarnvbtwb", "aagfhgtpmv", "vpmyeepbep", "owxbbpjpch")] == ["real", "fake"] * 2
    assert actors["owxbbpjpch"].video_label is actors["owxbbpjpch"].audio_label is actors["owxbbpjpch"].target_id is None


def test_forgeries_wait_for_the_operator_s_record(corpora: Checkout) -> None:
    corpora.set_params({**corpora.params(), "sources": sources()})
    refused = corpora.flows("plan", fails=True)
    assert refused.returncode == 2
    assert "error: plan: there is no clip that forgeries may be made from" in refused.stderr
    for name in CORPORA:
        assert f"sources.{name}.terms: making forgeries is not recorded as permitted; when the agreement" in refused.stdout
    assert not (corpora.path / "data/plan").exists()
    corpora.set_params({**corpora.params(), "sources": sources(["celeb_df"])})
    said = corpora.flows("plan").stdout
    assert "sources.ffpp.terms: making forgeries is not recorded" in said
    assert "celeb_df.terms" not in said
    assert {row["sample"]["source"] for row in planned(corpora)} == {"celeb_df"}


def test_only_reals_are_planned_in_splits_without_leaks(corpora: Checkout) -> None:
    corpora.set_params({**corpora.params(), "sources": sources(CORPORA)})
    corpora.flows("plan")
    reals = {row.sample_id: row for name in CORPORA for row in by_name(corpora, name).values() if row.label == "real"}
    rows = planned(corpora)
    for row in rows:
        assert {parent["sample_id"] for parent in row["parents"]} <= set(reals)
    swaps = [row["sample"] for row in rows if row["sample"]["method"] == "blend_swap"]
    controls = {row["sample"]["parents"][0]: row["sample"] for row in rows if row["sample"]["method"] == "control"}
    assert set(controls) == set(reals)
    split = {Path(reals[real].media).stem: sample["split"] for real, sample in controls.items()}
    # One YouTube video of the official train and val splits ties two pairs together: all of them go to val.
    assert {split[name] for pair in LEAKING for name in pair} == {"val"}
    assert {split[name] for name in TEST_PAIR} == {"test"}
    assert (split["id1_0007"], split["id16_0000"], split["id38_0000"], split["00170"]) == ("test", "test", "train", "test")
    # Whose name nobody knows could be anyone: nobody is put on them, nor they on anybody.
    assert {sample["target_id"] for sample in swaps} == {row.target_id for row in reals.values()} - {None}
    assert {"ffpp:605", "ffpp:606"} not in [{sample["target_id"], sample["source_id"]} for sample in swaps]


def test_corpora_s_clips_go_through_the_chain_and_their_fakes_do_not(corpora: Checkout) -> None:
    """Clips without sound and in 4:4:4, and upright ones, as far as the audit."""
    corpora.set_params({**corpora.params(), "sources": sources(CORPORA)})
    corpora.flows("plan")
    for name in ("control", "blend_swap"):
        corpora.flows("train", name)
        corpora.flows("generate", name, FORGELINE_WORKERS="2")
    corpora.flows("variants", "c40", FORGELINE_WORKERS="2")
    assert "audit: passed" in corpora.flows("audit").stdout
    made = [row for name in ("control", "blend_swap") for row in rows_of(corpora, f"data/made/{name}")]
    assert not [row.reason for row in made if row.reason]
    fakes = {row.sample_id for name in CORPORA for row in by_name(corpora, name).values() if row.label == "fake"}
    assert len(fakes) == 10
    assert not fakes & {name for row in made for name in (row.sample_id, *row.parents)}
    assert {row.licence for row in made if row.source == "dfdc" and row.role == "control"} == {DFDC.template.licence}
    assert {(row.sample_rate, row.audio_label) for row in made if row.source == "ffpp"} == {(0, None)}


def test_another_level_of_ffpp_is_another_reading_of_the_same_tree(corpora: Checkout) -> None:
    corpora.set_params({**corpora.params(), "sources": sources(compression="raw")})
    said = corpora.flows("ingest", "ffpp").stdout
    assert "note: 12 clips at other levels than raw are left out" in said
    rows = by_name(corpora, "ffpp")
    assert set(rows) == set(TEST_PAIR)
    assert {(row.reason, row.split, row.frames) for row in rows.values()} == {(None, "test", FRAMES)}
