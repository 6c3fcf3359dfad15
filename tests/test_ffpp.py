"""FaceForensics++ in every layout that is known, and in disorder."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forgeline.errors import SourceError
from sources.corpus import OUTSIDE, media_type
from sources.ffpp import DFD, REENACTMENTS, SWAPS, FaceForensics
from tests.test_sources import by_path, listed, official_ffpp, on_disk, with_clips

FFPP = {level: FaceForensics(terms=FaceForensics.template, compression=level) for level in ("raw", "c23", "c40")}
REAL = "original_sequences/youtube/c23/videos/000.mp4"
SPLITS = {
    "splits/train.json": '[["000", "003"]]',
    "splits/val.json": '[["001", "870"]]',
    "splits/test.json": '[["002", "006"]]',
}


@pytest.mark.parametrize("level", ["raw", "c0", "c23", "c40"])
def test_every_method_at_every_level(tmp_path: Path, level: str) -> None:
    other = "c40" if level == "c23" else "c23"
    reals = [f"original_sequences/youtube/{level}/videos/000.mp4", f"original_sequences/actors/{level}/videos/01__a_b.mp4"]
    fakes = {method: f"manipulated_sequences/{method}/{level}/videos/000_003.mp4" for method in (*SWAPS, *REENACTMENTS)}
    fakes[DFD] = f"manipulated_sequences/{DFD}/{level}/videos/01_02__a_b__YVGY8LOK.mp4"
    masks = {method: path.replace(f"/{level}/", "/masks/") for method, path in fakes.items() if method != "FaceShifter"}
    beside = [path.replace(f"/{level}/", f"/{other}/") for path in fakes.values()]
    corpus = FFPP[level.replace("c0", "raw")]("ffpp", tmp_path, listed([*reals, *fakes.values(), *masks.values(), *beside]))
    rows = by_path(corpus)
    assert set(rows) == {*reals, *fakes.values()}
    for method, path in fakes.items():
        row, real = rows[path], rows[reals[method == DFD]]
        assert (row.label, row.video_label, row.audio_label, row.method) == ("fake", "fake", None, method)
        assert row.parents == (real.sample_id,)
        assert row.target_id == real.target_id
        assert row.apparent_id == (row.target_id if method in REENACTMENTS else row.source_id)
        assert row.mask == (f"data/raw/ffpp/{masks[method]}" if method in masks else None)
    note = f"6 clips at other levels than {corpus_level(level)} are left out"
    assert corpus.notes == (note,)


def corpus_level(folder: str) -> str:
    return "raw" if folder == "c0" else folder


def test_a_real_clip_has_no_mask(tmp_path: Path) -> None:
    odd = "original_sequences/youtube/masks/videos/000.mp4"
    rows = by_path(FFPP["c23"]("ffpp", tmp_path, listed([REAL, odd])))
    assert (rows[REAL].mask, rows[odd].reason) == (None, OUTSIDE)


def test_masks_without_clips_are_told_of(tmp_path: Path) -> None:
    mask = "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"
    corpus = FFPP["c23"]("ffpp", tmp_path, listed([REAL, mask]))
    assert set(by_path(corpus)) == {REAL}
    assert corpus.notes == ("1 masks are of clips that are not here",)


def test_what_else_the_script_fetches_is_left_out(tmp_path: Path) -> None:
    videos = ["downloaded_videos.zip", "downloaded_videosinfo.zip", "downloaded_videos/abc/abc.mp4"]
    models = [f"manipulated_sequences/Deepfakes/models/000_003/{part}.h5" for part in ("decoder_A", "decoder_B", "encoder")]
    corpus = FFPP["c23"]("ffpp", tmp_path, listed([REAL, *videos, *models, "downloaded_videos_of_mine.zip"]))
    assert set(by_path(corpus)) == {REAL}
    assert corpus.notes == (
        "the YouTube videos that the sequences were cut from are left out: 3 files",
        "Deepfakes' models are left out: 3 files",
    )
    assert corpus.report().unexpected.examples == ("downloaded_videos_of_mine.zip",)


def test_deepfakebench_lays_pictures_beside_the_videos(tmp_path: Path) -> None:
    fake = "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"
    base = "manipulated_sequences/Deepfakes/c23"
    stills = [f"{base}/{kind}/000_003/{number:03}.png" for kind in ("frames", "masks") for number in (0, 12)]
    stills += [f"{base}/landmarks/000_003/012.npy", "original_sequences/youtube/c23/images/000/0000.png"]
    metadata = on_disk(tmp_path / "raw", {path.removeprefix("splits/"): text for path, text in SPLITS.items()})
    corpus = FFPP["c23"]("ffpp", tmp_path / "raw", with_clips(metadata, [REAL, fake, *stills]))
    rows = by_path(corpus)
    assert set(rows) == {REAL, fake}
    assert [row.split for row in rows.values()] == ["train", "train"]
    assert corpus.notes == ("6 pictures and points taken out of 4 clips are left out: the videos themselves are read",)
    assert corpus.report().unexpected.count == 0
    wrapped = [f"FaceForensics++/{path}" for path in (REAL, *stills)]
    with pytest.raises(SourceError, match="none of its 7 files is a clip"):
        FFPP["c23"]("ffpp", tmp_path, listed(wrapped))
    with pytest.raises(
        SourceError, match="6 pictures and points taken out of 4 clips, and no video; unpack the corpus's own videos"
    ):
        FFPP["c23"]("ffpp", tmp_path, listed(stills))


def test_a_part_of_the_splits_is_used(tmp_path: Path) -> None:
    """A pair can only be called unpublished where all the pairs are known."""
    clips = [REAL, "Deepfakes/000_003.mp4", "Deepfakes/001_870.mp4", "Deepfakes/000_001.mp4"]
    rows = {}
    for name, kept in {"all": list(SPLITS), "two": ["splits/train.json", "splits/val.json"], "none": []}.items():
        metadata = on_disk(tmp_path / name / "raw", {path: SPLITS[path] for path in kept} | {"README": ""})
        corpus = FFPP["c23"]("ffpp", tmp_path / name / "raw", with_clips(metadata, clips))
        rows[name] = by_path(corpus)
        assert {path for path in corpus.missing if path.startswith("splits/")} == SPLITS.keys() - kept
    assert [rows["two"][path].split for path in clips] == ["train", "train", "val", "train"]
    assert [rows["none"][path].split for path in clips] == [None] * 4
    assert rows["all"][clips[3]].reason == "not one of the published pairs"
    assert rows["two"][clips[3]].reason is None


def test_without_its_dictionary_the_sequences_of_one_video_still_belong_together(tmp_path: Path) -> None:
    """Where the dictionary is there it alone speaks."""
    clips = [f"original/{stem}.mp4" for stem in ("000", "605", "606", "685", "687")] + ["Deepfakes/605_591.mp4"]
    pairs = {"splits/train.json": '[["605", "591"]]', "splits/val.json": '[["606", "567"]]', "splits/test.json": "[]"}
    given = {"none": {"README": ""}, "splits": pairs, "both": pairs | {"conversion_dict.json": '{"000": "--b1Ua-kWJE 0"}'}}
    corpora = {}
    for name, files in given.items():
        metadata = on_disk(tmp_path / name / "raw", dict(files))
        corpora[name] = FFPP["c23"]("ffpp", tmp_path / name / "raw", with_clips(metadata, clips))
    origins = {name: [row.origin for row in map(by_path(corpus).get, clips) if row] for name, corpus in corpora.items()}
    one, three = "youtube:nUNnFudF2pA", "youtube:r2T0mn64MAU"
    assert origins["none"] == origins["splits"] == [None, one, one, three, three, one]
    assert origins["both"] == ["youtube:--b1Ua-kWJE", *[None] * 5]
    assert {name: corpus.notes for name, corpus in corpora.items()} == {
        "none": (),
        "splits": (
            "605 (train) and 606 (val) are from one YouTube video, nUNnFudF2pA: 566, 567, 591, 605, 606 must share a split",
        ),
        "both": (),
    }
    assert ["conversion_dict.json" in corpus.missing for corpus in corpora.values()] == [True, True, False]


def test_actors_alone_need_no_dictionary(tmp_path: Path) -> None:
    corpus = FFPP["c23"]("ffpp", tmp_path, listed(["original_sequences/actors/c23/videos/01__a_b.mp4"]))
    assert "conversion_dict.json" not in corpus.missing


def test_the_videos_that_are_known_without_it_are_the_dictionary_s_own(tmp_path: Path) -> None:
    official = official_ffpp()
    clips = [f"original/{number:03}.mp4" for number in range(1000)]
    told: dict[bool, dict[str, str | None]] = {}
    notes = {}
    for whole in (True, False):
        root = tmp_path / str(whole) / "raw"
        files = {path: text for path, text in official.items() if whole or path != "conversion_dict.json"}
        corpus = FFPP["c23"]("ffpp", root, with_clips(on_disk(root, files), clips))
        told[whole] = {path: row.origin for path, row in by_path(corpus).items()}
        notes[whole] = corpus.notes
    times = Counter(told[True].values())
    assert told[False] == {path: origin if times[origin] > 1 else None for path, origin in told[True].items()}
    assert notes[False] == notes[True]
    assert len(notes[True]) == 7


def test_splits_that_lie_there_twice_must_be_the_same(tmp_path: Path) -> None:
    other = {"train.json": '[["000", "004"]]', "test.json": SPLITS["splits/test.json"], "splits/testo.json": "[]"}
    corpus = FFPP["c23"]("ffpp", tmp_path / "raw", with_clips(on_disk(tmp_path / "raw", SPLITS | other), [REAL]))
    assert corpus.mismatching == ["splits/train.json: not the same as train.json, which is used"]
    assert corpus.report().unexpected.examples == ("splits/testo.json",)


HEAD = ",File Path,Label,Frame Count,Width,Height,Codec,File Size(MB)"


@pytest.mark.parametrize("saved", ["{}", "\ufeff{}\n", '"{}"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_flat_mirrors_tables_are_checked(tmp_path: Path, saved: str, end: str) -> None:
    short = f"{DFD}/27_13__walking_and_outside_surprised__A1OSUJE9.mp4"
    lines = [
        HEAD,
        "0,original/000.mp4,REAL,396,640,480,h264,1.5",
        "1,Deepfakes/000_003.mp4,FAKE,396,640,480,h264,1.5",
        "2,FaceSwap/000_003.mp4,REAL,396,640,480,h264,1.5",
        "3,elsewhere/000_003.mp4,FAKE,396,640,480,h264,1.5",
        f"4,{short},FAKE,5,1920,1080,h264,1.5",
    ]
    if saved.startswith('"'):
        lines = [line.replace(",", '","') for line in lines]
        table = end.join(saved.format(line).strip() for line in lines)
    else:
        table = saved.format(end.join(lines))
    metadata = on_disk(tmp_path / "raw", {"csv/FF++_Metadata.csv": table, "csv/Mean_Data.csv": "Label,Frame Count\n"})
    clips = ["original/000.mp4", "FaceSwap/000_003.mp4", short]
    corpus = FFPP["c23"]("ffpp", tmp_path / "raw", with_clips(metadata, clips))
    rows = by_path(corpus)
    assert [rows[path].label for path in clips] == ["real", "fake", "fake"]
    assert corpus.notes == (f"1 clips have fewer than 10 frames: {short} (5)",)
    assert corpus.mismatching == [
        "csv/FF++_Metadata.csv:4: 'FaceSwap/000_003.mp4' is called 'REAL'",
        "csv/FF++_Metadata.csv:5: 'elsewhere/000_003.mp4' is called 'FAKE'",
    ]
    assert "Deepfakes/000_003.mp4" in corpus.missing
    assert corpus.report().unexpected.count == 0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "does not name File Path and Label"),
        ("0,original/000.mp4,REAL", "does not name File Path and Label"),
        (HEAD + "\n" + '"' + "a" * 200_000, "not a table"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_another_table_is_one_clear_line(tmp_path: Path, text: str | bytes, error: str) -> None:
    with pytest.raises(SourceError, match=error):
        FFPP["c23"](
            "ffpp", tmp_path / "raw", with_clips(on_disk(tmp_path / "raw", {"csv/Deepfakes.csv": text}), ["original/000.mp4"])
        )


# Anything at all

GROUPS = [
    "original_sequences/youtube",
    "original_sequences/actors",
    "original",
    "Deepfakes",
    "FaceShifter",
    "NeuralTextures",
    DFD,
]
GROUPS += [f"manipulated_sequences/{method}" for method in (*SWAPS, *REENACTMENTS, DFD, "Other")]
LEVELS = ["", "raw/videos", "c0/videos", "c23/videos", "masks/videos", "c23/frames/000_003", "c23", "models/000_003"]
STEMS = ["000", "003", "000_003", "003_000", "000_000", "0_3", "01__a", "01_02__a__ABCDEFGH", "01_01__a__ABCDEFGH", "1000", ""]
PATHS = st.builds(
    lambda group, level, stem, suffix: "/".join(filter(None, (group, level, f"{stem}{suffix}"))),
    st.sampled_from(GROUPS),
    st.sampled_from(LEVELS),
    st.sampled_from(STEMS),
    st.sampled_from([".mp4", ".MP4", ".avi", ".png", ".h5"]),
)
SEQUENCES = st.sampled_from(["000", "003", "001", "870", "x", 0, None, ["000"]])
PAIRS = st.lists(st.lists(SEQUENCES, max_size=3), max_size=2).map(json.dumps)
ROWS = st.lists(
    st.builds("{},{},{}".format, PATHS, st.sampled_from(["REAL", "FAKE", "", '"']), st.sampled_from(["5", "x", ""]))
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "splits/train.json": PAIRS,
        "val.json": PAIRS | st.text(max_size=5),
        "conversion_dict.json": st.dictionaries(st.sampled_from(["000", "x"]), st.sampled_from(["--b1Ua-kWJE 0", "", 1])).map(
            json.dumps
        ),
        "csv/original.csv": st.builds(lambda head, rows: "\n".join([head, *rows]), st.sampled_from([HEAD[1:], "", "x"]), ROWS),
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(level="c23", paths=["Deepfakes/000_000.mp4", "FaceSwap/000_003.mp4", "FaceSwap/000_003.avi"], files={})
@given(level=st.sampled_from(["raw", "c23"]), paths=st.lists(PATHS, max_size=14), files=FILES)
def test_whatever_lies_there_is_accounted_for_once(
    tmp_path_factory: pytest.TempPathFactory, level: str, paths: list[str], files: dict[str, str | bytes]
) -> None:
    root = tmp_path_factory.mktemp("any") / "raw"
    sure = f"original_sequences/youtube/{level}/videos/999.mp4"
    inventory = with_clips(on_disk(root, {**files, "README": ""}), [*paths, sure])
    try:
        corpus = FFPP[level]("ffpp", root, inventory)
    except SourceError as error:
        if not any(path in str(error) for path in files):
            raise
        return
    rows = by_path(corpus)
    videos = {path for path in inventory.files if media_type(path) == "video"}
    assert set(rows) | (videos & set(corpus.known)) == videos
    assert not set(rows) & set(corpus.known)
    for path, row in rows.items():
        assert row.reason is not None or row.label == ("real" if path.startswith("original") else "fake")
        assert row.label == "fake" or (row.mask, row.parents, row.source_id) == (None, (), None)
        assert row.target_id is None or row.target_id != row.source_id
