"""DFDC and its preview in every layout that is known, and in disorder."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgeline.errors import SourceError
from sources.corpus import OUTSIDE, Corpus, media_type
from sources.dfdc import DFDC
from tests.test_sources import by_path, listed, on_disk, with_clips

CHALLENGE = DFDC(terms=DFDC.template)
REAL = {"label": "REAL", "split": "train"}
A, B, C, D = (f"{letter * 10}.mp4" for letter in "abcd")
FAKE = {"label": "FAKE", "split": "train", "original": A}


def read(tmp_path: Path, clips: list[str], metadata: Mapping[str, object]) -> Corpus:
    """These clips, and metadata files: text as it is, anything else as JSON."""
    text = {path: value if isinstance(value, str) else json.dumps(value) for path, value in metadata.items()}
    return CHALLENGE("dfdc", tmp_path / "raw", with_clips(on_disk(tmp_path / "raw", text) if text else listed([]), clips))


# The full dataset


@pytest.mark.parametrize(
    "folder", ["dfdc_train_part_7", "dfdc_train_part_07", "train/dfdc_train_part_7", "train/dfdc_train_part_007"]
)
@pytest.mark.parametrize("videos", ["", "videos/"])
def test_a_part_is_found_wherever_it_lies(tmp_path: Path, folder: str, videos: str) -> None:
    corpus = read(tmp_path, [f"{folder}/{videos}{A}", f"{folder}/{videos}{B}"], {f"{folder}/metadata.json": {A: REAL, B: FAKE}})
    real, fake = corpus
    assert (real.label, fake.label, fake.parents, fake.origin) == ("real", "fake", (real.sample_id,), "dfdc:part_7")
    assert "dfdc_train_part_7/" not in corpus.missing
    assert len(corpus.missing) == 49
    assert corpus.published["train"] == 119_154
    assert "method_A" not in corpus.published


def test_one_part_may_lie_in_two_folders(tmp_path: Path) -> None:
    both = {A: REAL, B: FAKE}
    folders = ("dfdc_train_part_7", "train/dfdc_train_part_07")
    corpus = read(tmp_path, [f"{folders[0]}/{A}", f"{folders[1]}/{B}"], {f"{folder}/metadata.json": both for folder in folders})
    real, fake = corpus
    assert (fake.reason, fake.parents) == (None, (real.sample_id,))


def test_nothing_is_said_of_what_was_forged(tmp_path: Path) -> None:
    """A FAKE may be a forged voice under an untouched face."""
    for row in read(tmp_path, [f"dfdc_train_part_0/{B}"], {"dfdc_train_part_0/metadata.json": {A: REAL, B: FAKE}}):
        assert (row.label, row.video_label, row.audio_label, row.target_id) == ("fake", None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        f"filename,label\n{A},1\n{B},0",
        f"\ufefffilename,label\r\n{A},1\r\n{B},0\r\n",
        f'"filename","label"\r\n"{A}","1"\r\n"{B}","0"\r\n\r\n',
        f",Filename,is_fake,comment\n0,{A},1,x\n1, {B} ,0\n",
        f"label,filename\n1,{A}\n0,{B}\n",
        f",filename,label,is_fake\n0,{A},1,1\n1,{B},0,0\n",
        f",label,original,is_fake,filename\n0,FAKE,{C},1,{A}\n1,REAL,,0,{B}\n",
        f"filename,label\n{A},FAKE\n{B},REAL\n",
        f"filename,label\n{A},fake\n{B},Real\n",
    ],
)
@pytest.mark.parametrize("file", ["labels.csv", "label.csv"])
def test_labels_are_read_however_they_were_saved(tmp_path: Path, text: str, file: str) -> None:
    corpus = read(tmp_path, [f"validation/{A}", f"validation/videos/{B}"], {f"validation/{file}": text})
    assert [(row.label, row.split, row.reason) for row in corpus] == [("fake", "val", None), ("real", "val", None)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("filename,filename,label\n", "its first line does not name filename, and label or is_fake, once each"),
        ("filename,label,label\n", "its first line does not name filename, and label or is_fake, once each"),
        ("filename,label,is_fake,is_fake\n", "its first line does not name filename, and label or is_fake, once each"),
        ("filename\n", "its first line does not name filename, and label or is_fake, once each"),
        (",label,is_fake\n", "its first line does not name filename, and label or is_fake, once each"),
        ("filename,labels\n", "its first line does not name filename, and label or is_fake, once each"),
        (f"filename,label,is_fake\n{A},1,0", r"csv:2: label and is_fake disagree in 'aaaaaaaaaa.mp4,1,0'"),
        (f"filename,label,is_fake\n{A},REAL,1", r"csv:2: label and is_fake disagree in"),
        (f"filename,label,is_fake\n{A},1,", r"csv:2: .* is not a new clip and 0 or 1, REAL or FAKE"),
        (f"filename,label,is_fake\n{A},,1", r"csv:2: .* is not a new clip and 0 or 1, REAL or FAKE"),
        (f"filename,label\n{A},F", r"csv:2: .* is not a new clip and 0 or 1"),
        (f"filename,label\n{A},0\n{A},0", r"csv:3: .* is not a new clip and 0 or 1"),
        (f"filename,label\n{A}", r"csv:2: .* is not a new clip and 0 or 1"),
        (f"filename,label\n{A},1.0", r"csv:2: .* is not a new clip and 0 or 1"),
        ('filename,label\n"' + "a" * 200_000, r"csv:2: not a table"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(SourceError, match=error):
        read(tmp_path, [f"validation/{A}"], {"validation/labels.csv": text})


def test_two_files_of_labels_must_agree(tmp_path: Path) -> None:
    csv = f"filename,label\n{A},0\n{B},1\n{C},0\n"
    said = {"metadata.json": {A: {"is_fake": 0}, B: {"is_fake": 0}, C: {"is_fake": "0"}}, "labels.csv": csv}
    rows = by_path(read(tmp_path, [f"test/{clip}" for clip in (A, B, C)], {f"test/{file}": it for file, it in said.items()}))
    assert (rows[f"test/{A}"].label, rows[f"test/{A}"].reason) == ("real", None)
    assert {rows[f"test/{clip}"].reason for clip in (B, C)} == {"labels.csv and metadata.json disagree on it"}
    csv = f"filename,label\n{A},0\n{B},1\n"
    part = {"dfdc_train_part_0/metadata.json": {A: REAL, B: FAKE}, "dfdc_train_part_0/labels.csv": csv}
    real, fake = read(tmp_path / "part", [f"dfdc_train_part_0/{clip}" for clip in (A, B)], part)
    assert fake.parents == (real.sample_id,)


def test_test_videos_have_no_labels_whatever_lies_beside_them(tmp_path: Path) -> None:
    metadata = {"test_videos/metadata.json": {A: {"is_fake": 0}}, "test/labels.csv": f"filename,label\n{B},0"}
    corpus = read(tmp_path, [f"test_videos/{A}", f"test/{B}"], metadata)
    rows = by_path(corpus)
    assert rows[f"test_videos/{A}"].reason == "the corpus publishes no label for it"
    assert rows[f"test/{B}"].reason is None
    assert corpus.report().unexpected.examples == ("test_videos/metadata.json",)


@pytest.mark.parametrize("clips", [[f"validation/{A}"], [f"test_videos/{A}"], ["method_A/1/1_A/2_1_A_001.mp4"]])
def test_clips_without_any_label_are_an_error(tmp_path: Path, clips: list[str]) -> None:
    with pytest.raises(
        SourceError, match=r"no metadata give a label to any of its 1 clips .* put metadata.json, labels.csv or"
    ):
        read(tmp_path, clips, {})


# The preview

FIRST, SECOND = "original_videos/643049/643049_A_001.mp4", "original_videos/1795659/1795659_B_002.mp4"
SWAP = "method_A/1795659/1795659_B/643049_1795659_B_001.mp4"
SAID = {"label": "fake", "set": "test", "target_id": 1795659, "swapped_id": 643049, "augmentations": []}
ORIGINAL = {"label": "real", "set": "train", "target_id": 643049, "swapped_id": None, "augmentations": []}
WHOLE = {FIRST: ORIGINAL, SECOND: {**ORIGINAL, "target_id": "1795659"}, SWAP: {**SAID, "source_video": SECOND}}


def preview(tmp_path: Path, clips: list[str], said: object) -> Corpus:
    return read(tmp_path, clips, {"dataset.json": said})


def test_the_preview_names_people(tmp_path: Path) -> None:
    corpus = preview(tmp_path, list(WHOLE), WHOLE)
    rows = by_path(corpus)
    first, second, swap = rows[FIRST], rows[SECOND], rows[SWAP]
    assert (first.label, first.video_label, first.audio_label, first.split) == ("real", "real", "real", "train")
    assert (first.target_id, first.source_id, first.apparent_id) == ("dfdc:643049", None, "dfdc:643049")
    assert (swap.label, swap.video_label, swap.audio_label, swap.split) == ("fake", "fake", None, "test")
    assert (swap.target_id, swap.source_id, swap.apparent_id) == ("dfdc:1795659", "dfdc:643049", "dfdc:643049")
    assert (swap.method, swap.parents, swap.origin) == ("DFDC-method_A", (second.sample_id,), None)
    report = corpus.report()
    assert report.published == {"original_videos": 1131, "method_A": 3975, "method_B": 144}
    assert report.missing.count == report.mismatching.count == report.unexpected.count == 0


def test_who_is_who_is_what_the_metadata_say(tmp_path: Path) -> None:
    """The order of the numbers in a name was never published."""
    (row,) = preview(tmp_path, [SWAP], {SWAP: {**SAID, "target_id": 643049, "swapped_id": 1795659}})
    assert (row.target_id, row.apparent_id) == ("dfdc:643049", "dfdc:1795659")


def test_repacked_folders_are_joined_by_name(tmp_path: Path) -> None:
    clips = ["original_videos/videos/1795659_B_002.mp4", "method_A/videos/643049_1795659_B_001.mp4"]
    prefixed = {f"dfdc_preview_set/{path}": entry for path, entry in WHOLE.items()}
    corpus = preview(tmp_path, [*clips, SWAP, "method_B/643049_1795659_B_001.mp4"], prefixed)
    rows = by_path(corpus)
    assert rows[SWAP].parents == (rows[clips[0]].sample_id,)
    assert rows[clips[1]].reason == f"the same clip as {SWAP}"
    assert rows["method_B/643049_1795659_B_001.mp4"].reason == "dataset.json does not name it, or is not there"
    assert corpus.missing == ["original_videos/643049_A_001.mp4"]


@pytest.mark.parametrize(
    "change",
    [
        {"label": "real"},
        {"label": "FAKE"},
        {"label": None},
        {"set": "testo"},
        {"set": ["train"]},
        {"target_id": 3},
        {"swapped_id": None},
        {"swapped_id": 1795659},
        {"swapped_id": True},
        {"target_id": "x"},
    ],
)
def test_a_swap_that_is_at_odds_with_its_entry_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    rows = by_path(preview(tmp_path, [SWAP, FIRST], {**WHOLE, SWAP: {**SAID, **change}}))
    assert str(rows[SWAP].reason).startswith("dataset.json says ")
    assert rows[FIRST].reason is None


@pytest.mark.parametrize(
    "entry", [None, [], "real", {**ORIGINAL, "label": "fake"}, {**ORIGINAL, "target_id": 1}, {"label": "real"}]
)
def test_an_original_that_is_at_odds_with_its_entry_is_refused(tmp_path: Path, entry: object) -> None:
    rows = by_path(preview(tmp_path, [SECOND, FIRST], {**WHOLE, FIRST: entry}))
    assert str(rows[FIRST].reason).startswith("dataset.json says ")


@pytest.mark.parametrize(
    "path",
    [
        "original_videos/643049/643049_1795659_A_001.mp4",
        "method_A/643049_A_001.mp4",
        "method_A/643049_643049_A_001.mp4",
        "method_C/643049_1795659_A_001.mp4",
        "elsewhere/method_A/643049_1795659_B_001.mp4",
        "method_A/643049_1795659_B_01.mp4",
    ],
)
def test_the_preview_refuses_other_names(tmp_path: Path, path: str) -> None:
    assert by_path(preview(tmp_path, [path, FIRST], WHOLE))[path].reason == OUTSIDE


def test_what_the_preview_says_of_itself(tmp_path: Path) -> None:
    odd = {"README": {}, "method_A/x.mp4": {}, SWAP: {**SAID, "source_video": FIRST, "augmentations": ["compression"]}}
    corpus = preview(tmp_path, [FIRST, SWAP], {**WHOLE, **odd})
    assert by_path(corpus)[SWAP].parents == ()
    assert corpus.notes == ("clips of the preview were changed afterwards: 'compression' 1 times",)
    assert corpus.mismatching == [
        f"{SWAP}: its source_video {FIRST!r} is not a video of its target",
        "dataset.json: 'README' is not the path of a clip",
        "dataset.json: 'method_A/x.mp4' is not the path of a clip",
    ]
    twice = {SWAP: SAID, f"method_A/videos/{Path(SWAP).name}": {**SAID, "set": "train"}}
    rows = by_path(preview(tmp_path / "twice", [FIRST, SWAP], {**WHOLE, **twice}))
    assert rows[SWAP].reason == "dataset.json says two things of it"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", "not an object of clips"),
        ("{", "not the JSON"),
        ('{"a": 1, "a": 1}', "there twice"),
        (b"\xff".decode("latin1"), "JSON"),
    ],
)
def test_another_dataset_json_is_one_clear_line(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(SourceError, match=error):
        preview(tmp_path, [FIRST], text)


def test_the_preview_may_lie_beside_the_full_dataset(tmp_path: Path) -> None:
    metadata = {"dataset.json": WHOLE, "dfdc_train_part_0/metadata.json": {A: REAL}}
    corpus = read(tmp_path, [FIRST, f"dfdc_train_part_0/{A}"], metadata)
    assert corpus.report().have == {"original_videos": 1, "train": 1}
    assert {"train", "method_B"} <= set(corpus.report().published)


def test_pictures_of_either_are_left_out(tmp_path: Path) -> None:
    stills = ["dfdc_train_part_0/frames/aaaaaaaaaa/000.png", "method_A/frames/643049_1795659_B_001/012.png"]
    corpus = preview(tmp_path, [FIRST, *stills], WHOLE)
    assert corpus.notes == ("2 pictures and points taken out of 2 clips are left out: the videos themselves are read",)
    assert set(by_path(corpus)) == {FIRST}
    assert corpus.report().unexpected.count == 0
    with pytest.raises(SourceError, match="2 pictures and points taken out of 2 clips, and no video"):
        CHALLENGE("dfdc", tmp_path, listed(stills))


# Anything at all

FOLDERS = [
    "dfdc_train_part_0",
    "train/dfdc_train_part_00",
    "train_sample_videos",
    "validation",
    "test",
    "test_videos",
    "method_A",
]
FOLDERS += ["original_videos", "dfdc_train_part_50", "", "test/videos"]
NAMES = [A, B, C, "abc.mp4", "1_A_001.mp4", "2_1_A_001.mp4", "1_1_A_001.mp4", "aaaaaaaaaa.MP4", "000.png"]
PATHS = st.builds(lambda folder, name: f"{folder}/{name}".lstrip("/"), st.sampled_from(FOLDERS), st.sampled_from(NAMES))
ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, 0, 1, True, "0", "REAL", "FAKE", "real", "fake", "train", "testo", A, B, [], {}, [1], 2]
)
KEYS = ["label", "split", "original", "is_fake", "set", "target_id", "swapped_id", "source_video", "augmentations"]
ENTRIES = st.one_of(st.sampled_from([REAL, FAKE, {"is_fake": 1}]), st.dictionaries(st.sampled_from(KEYS), ODD), ODD)
TABLES = st.lists(st.sampled_from(["filename,label", f"{A},1", f"{B},0", f'"{C}",0', "", '"', ",,", "\x00"])).map("\n".join)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "dfdc_train_part_0/metadata.json": st.dictionaries(st.sampled_from([A, B, C]), ENTRIES).map(json.dumps),
        "test/metadata.json": st.dictionaries(st.sampled_from([A, B, C]), ENTRIES).map(json.dumps),
        "test/labels.csv": TABLES,
        "dataset.json": st.dictionaries(PATHS, ENTRIES).map(json.dumps),
        "test_videos/metadata.json": st.text(max_size=5),
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(paths=st.lists(PATHS, max_size=14), files=FILES)
def test_whatever_lies_there_is_accounted_for_once(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], files: dict[str, str | bytes]
) -> None:
    root = tmp_path_factory.mktemp("any") / "raw"
    files = {**files, "dfdc_train_part_1/metadata.json": json.dumps({D: REAL})}
    inventory = with_clips(on_disk(root, files), [*paths, f"dfdc_train_part_1/{D}"])
    try:
        corpus = CHALLENGE("dfdc", root, inventory)
    except SourceError as error:
        if not any(path in str(error) for path in files):
            raise
        return
    rows = by_path(corpus)
    assert set(rows) == {path for path in inventory.files if media_type(path) == "video"}
    for path, row in rows.items():
        assert row.reason is not None or row.label == ("fake" if path in forged(rows, files) else "real")


def forged(paths: Iterable[str], files: Mapping[str, str | bytes]) -> set[str]:
    """The clips that lie among forgeries, or that the metadata beside them call one."""
    tables = {file: str(text).replace('"', "").splitlines() for file, text in files.items() if file.endswith(".csv")}
    entries = {
        file: json.loads(text) for file, text in files.items() if file.endswith("metadata.json") and "videos" not in file
    }
    found = set()
    for path in paths:
        folder, name = str(Path(path).parent).removesuffix("/videos"), Path(path).name
        entry = entries.get(f"{folder}/metadata.json", {}).get(name)
        said = isinstance(entry, dict) and (entry.get("label") == "FAKE" or entry.get("is_fake") == 1)
        if folder == "method_A" or said or f"{name},1" in tables.get(f"{folder}/labels.csv", []):
            found.add(path)
    return found
