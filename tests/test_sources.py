"""Every corpus is read as it is distributed: whole, with the right labels, people and bases, and nothing in silence."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.clip import Said
from forgeline.errors import SourceError
from forgeline.inventory import File, Inventory, scan
from forgeline.sample import SPLITS, Sample
from forgeline.terms import Consent
from sources.celeb_df import CelebDF
from sources.corpus import OUTSIDE, Corpus, Names, media_type
from sources.dfdc import DFDC
from sources.ffpp import FaceForensics
from sources.folder import TEMPLATE, Demo, Folder
from sources.table import SOURCES, template_yaml

SHARED = Path(__file__).parents[2] / "shared" / "datasets"


def listed(paths: Iterable[str]) -> Inventory:
    """An inventory of files whose content does not matter."""
    return Inventory({path: File(path, 1, "0" * 64) for path in sorted(paths)}, {})


def on_disk(root: Path, files: Mapping[str, str | bytes]) -> Inventory:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return scan(root, root.parent / "inventory.jsonl", root.parent / "cache")


def by_path(corpus: Corpus) -> dict[str, Sample]:
    """Rows by path inside the corpus; also checks what holds for every row."""
    rows = list(corpus)
    assert len({row.sample_id for row in rows}) == len({row.media for row in rows}) == len(rows)
    assert all(row.role == "ingested" and row.source == corpus.name for row in rows)
    ids = {row.sample_id for row in rows if row.reason is None}
    assert all(set(row.parents) <= ids for row in rows)
    return {row.media.removeprefix(f"data/raw/{corpus.name}/"): row for row in rows}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_template_of_each_kind_can_be_pasted_into_params(kind: str) -> None:
    entry = yaml.safe_load(template_yaml(kind))[kind]
    source = SOURCES[kind].model_validate(entry)
    assert entry["kind"] == kind
    assert source.terms.generate == (kind == "demo")


PEOPLE = {name: Consent(basis="form", scope=("face",)) for name in ("anna", "ben", "carl", "dora")}
CONSENTED = TEMPLATE.model_copy(update={"people": PEOPLE})


def test_folder_reads_a_folder_a_person() -> None:
    paths = ["anna/1.mp4", "anna/1.truth.json", "ben/a b.MOV", "carl/x.wav", "dora/y.png", "dora/notes.txt"]
    strays = ["eve/1.mp4", "1.mp4", "anna/deep/1.mp4", ".git/1.mp4"]
    corpus = Folder(terms=CONSENTED)("vox", Path("unread"), listed(paths + strays))
    rows = by_path(corpus)
    assert {path for path, row in rows.items() if row.reason is None} == {
        "anna/1.mp4",
        "ben/a b.MOV",
        "carl/x.wav",
        "dora/y.png",
    }
    assert {path for path, row in rows.items() if row.reason} == set(strays)
    assert rows["eve/1.mp4"].reason == "no consent is recorded for eve"
    anna, carl = rows["anna/1.mp4"], rows["carl/x.wav"]
    assert (anna.label, anna.target_id, anna.apparent_id, anna.source_id) == ("real", "vox:anna", "vox:anna", None)
    assert (anna.media, anna.media_type) == ("data/raw/vox/anna/1.mp4", "video")
    assert (carl.media_type, carl.video_label, carl.audio_label) == ("audio", None, "real")
    report = corpus.report()
    assert report.have == {"audio": 1, "image": 1, "video": 2}
    assert report.unexpected.count == 4  # notes.txt, and the strays that are not under a person's name
    assert report.mismatching.examples == ("eve/1.mp4: no consent is recorded for eve",)


def test_folder_is_for_at_least_four_people() -> None:
    with pytest.raises(ValidationError, match="at least 4 people"):
        Folder(terms=CONSENTED.model_copy(update={"people": dict(list(PEOPLE.items())[:3])}))
    with pytest.raises(SourceError, match="clips of 3 people with consent; have at least 4"):
        Folder(terms=CONSENTED)("vox", Path("unread"), listed(["anna/1.mp4", "ben/1.mp4", "carl/1.mp4", "eve/1.mp4"]))
    with pytest.raises(ValidationError, match="can't be a folder's name"):
        Folder(terms=CONSENTED.model_copy(update={"people": PEOPLE | {"../x": PEOPLE["anna"]}}))


def people_with(tmp_path: Path, declared: str | None) -> dict[str, Sample]:
    """The rows of a folder of four people and their `attributes.csv`."""
    files: dict[str, str | bytes] = {f"{name}/1.mp4": b"" for name in PEOPLE}
    if declared is not None:
        files["attributes.csv"] = declared
    return by_path(Folder(terms=CONSENTED)("vox", tmp_path / "raw", on_disk(tmp_path / "raw", files)))


def test_people_declare_their_attributes(tmp_path: Path) -> None:
    rows = people_with(tmp_path, "\ufeffperson,glasses, age\r\nanna,none,33\r\n\r\nben, round ,\r\n")
    assert rows["anna/1.mp4"].attributes == {"glasses": "none", "age": "33"}
    assert rows["ben/1.mp4"].attributes == {"glasses": "round"}
    assert rows["carl/1.mp4"].attributes == {}
    assert "attributes.csv" not in rows
    assert people_with(tmp_path / "none", None)["anna/1.mp4"].attributes == {}


@pytest.mark.parametrize(
    ("declared", "error"),
    [
        ("\n", "begins with ''; begin with `person,`"),
        ("name,glasses\nanna,none", "begins with 'name,glasses'"),
        ("person,Eye Wear\nanna,none", "named in small letters"),
        ("person,glasses,glasses\nanna,none,none", "begins with"),
        ("person,glasses\nanna", "'anna' has 1 cells"),
        ("person,glasses\nanna,none\nanna,round", "more than one row"),
    ],
)
def test_a_wrong_table_of_attributes_is_refused(tmp_path: Path, declared: str, error: str) -> None:
    with pytest.raises(SourceError, match=error):
        people_with(tmp_path, declared)


def aligned(tmp_path: Path, align: str) -> Sample:
    """The row of a clip with this `.align` file beside it."""
    files: dict[str, str | bytes] = {f"{name}/1.mp4": b"" for name in PEOPLE} | {"anna/1.align": align}
    return by_path(Folder(terms=CONSENTED)("vox", tmp_path / "raw", on_disk(tmp_path / "raw", files)))["anna/1.mp4"]


def test_words_come_from_alignments_beside_clips(tmp_path: Path) -> None:
    row = aligned(tmp_path, "\ufeff0 23750 sil\r\n23750 29500 bin\r\n29500 34000 blue\n\n34000 74500 sp")
    assert row.words == (Said(0.95, 1.18, "bin"), Said(1.18, 1.36, "blue"))
    assert row.phonemes == ()


@pytest.mark.parametrize(
    "line", ["0 23750", "0 23750 bin blue", "a 23750 bin", "100 50 bin", "-5 50 bin", "0.5 1.0 bin", "0", f"0 {'9' * 5000} bin"]
)
def test_a_broken_alignment_costs_its_words(tmp_path: Path, line: str) -> None:
    files: dict[str, str | bytes] = {f"{name}/1.mp4": b"" for name in PEOPLE} | {"anna/1.align": f"0 10 bin\n{line}\n"}
    corpus = Folder(terms=CONSENTED)("vox", tmp_path / "raw", on_disk(tmp_path / "raw", files))
    assert corpus.report().mismatching == Names(1, ("anna/1.align: line 2 is not `start end word`",))
    row = by_path(corpus)["anna/1.mp4"]
    assert (row.reason, row.words) == (None, ())


def test_what_the_renderer_says_is_read(tmp_path: Path) -> None:
    truth = json.dumps(
        {"attributes": {"language": "vi"}, "words": [[0.1, 0.3, "xin"]], "phonemes": [[0.1, 0.2, "s"], [0.2, 0.3, "i"]]}
    )
    (row,) = Demo()("demo", tmp_path / "raw", on_disk(tmp_path / "raw", {"000/1.mp4": b"", "000/1.truth.json": truth}))
    assert row.words == (Said(0.1, 0.3, "xin"),)
    assert row.phonemes == (Said(0.1, 0.2, "s"), Said(0.2, 0.3, "i"))
    assert row.attributes == {"language": "vi"}
    with pytest.raises(SourceError, match="not the renderer's"):
        list(
            Demo()(
                "demo", tmp_path / "b", on_disk(tmp_path / "b", {"000/1.mp4": b"", "000/1.truth.json": '{"words": [[0, 1]]}'})
            )
        )


def test_demo_has_fixed_terms(tmp_path: Path) -> None:
    truth = json.dumps({"attributes": {"age": 71, "glasses": "round"}})
    inventory = on_disk(tmp_path / "raw", {"000/1.mp4": b"", "000/1.truth.json": truth})
    corpus = Demo()("demo", tmp_path / "raw", inventory)
    (row,) = corpus
    assert (row.target_id, row.licence, row.reason) == ("demo:000", "CC0-1.0", None)
    assert row.attributes == {"age": "71", "glasses": "round"}
    with pytest.raises(ValidationError, match="fixed"):
        Demo(terms=TEMPLATE)


def test_what_the_inventory_refused_becomes_a_row_with_its_reason(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    inventory = on_disk(root, {f"{name}/1.mp4": b"" for name in PEOPLE})
    (root / "anna" / "out.mp4").symlink_to("/etc/hostname")
    inventory = scan(root, tmp_path / "i", tmp_path / "c")
    rows = by_path(Folder(terms=CONSENTED)("vox", root, inventory))
    assert rows["anna/out.mp4"].reason == "a link that leaves the corpus"


def test_a_corpus_with_no_clip_at_all_is_an_error() -> None:
    with pytest.raises(SourceError, match="none of its 1 files is a clip"):
        Demo()("demo", Path("unread"), listed(["wrapped/one/deeper/1.mp4"]))


# FaceForensics++

FFPP = FaceForensics(terms=FaceForensics.template)
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures")


def given_file(path: str) -> str:
    """One of the corpora's real metadata files."""
    if not (SHARED / path).is_file():
        pytest.skip(f"the corpora's own metadata are not here ({SHARED / path})")
    return (SHARED / path).read_text(encoding="utf-8")


def official_ffpp() -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {f"splits/{split}.json": given_file(f"ffpp/splits/{split}.json") for split in SPLITS}
    return files | {"conversion_dict.json": given_file("ffpp/conversion_dict.json")}


def with_clips(metadata: Inventory, clips: Iterable[str]) -> Inventory:
    """Metadata that are on disk, and clips that need not be: adapters don't open them."""
    files = metadata.files | listed(clips).files
    return Inventory({path: files[path] for path in sorted(files)}, {})


def test_ffpp_whole(tmp_path: Path) -> None:
    metadata = on_disk(tmp_path / "raw", official_ffpp())
    official = {split: json.loads(given_file(f"ffpp/splits/{split}.json")) for split in SPLITS}
    pairs = [name for split in SPLITS for a, b in official[split] for name in (f"{a}_{b}", f"{b}_{a}")]
    clips = [f"original_sequences/youtube/c23/videos/{n:03}.mp4" for n in range(1000)]
    clips += [f"manipulated_sequences/{method}/c23/videos/{pair}.mp4" for method in METHODS for pair in pairs]
    masks = [f"manipulated_sequences/Deepfakes/masks/videos/{pair}.mp4" for pair in pairs]
    corpus = FFPP("ffpp", tmp_path / "raw", with_clips(metadata, clips + masks))
    rows = by_path(corpus)
    assert len(rows) == 6000
    assert not [row for row in rows.values() if row.reason]
    assert Counter((row.method, row.split) for row in rows.values()) == {
        (method, split): count for method in ("ingest", *METHODS) for split, count in zip(SPLITS, (720, 140, 140), strict=True)
    }
    for path, row in rows.items():
        stem = Path(path).stem
        real = rows[f"original_sequences/youtube/c23/videos/{stem[:3]}.mp4"]
        assert row.parents == (() if row is real else (real.sample_id,))
        assert row.label == row.video_label == ("real" if row is real else "fake")
        assert row.audio_label is None
        assert (row.origin, row.split) == (real.origin, real.split)
        assert row.target_id == f"ffpp:{stem[:3]}"
        assert row.source_id == (None if row is real else f"ffpp:{stem[4:]}")
        assert row.apparent_id == (row.target_id if row.method in ("ingest", "Face2Face", "NeuralTextures") else row.source_id)
        assert (row.mask is None) == (row.method != "Deepfakes")
    report = corpus.report()
    assert report.missing.count == report.unexpected.count == report.mismatching.count == 0
    assert report.have == {name: 1000 for name in sorted(("youtube", *METHODS))}
    leaking = {split_pair for split_pair in (note.split(" are from")[0] for note in report.notes)}
    assert leaking == {
        "605 (train) and 606 (val)",
        "639 (train) and 640 (val)",
        "755 (test) and 756 (train)",
        "837 (val) and 838 (train)",
        "875 (val) and 876 (train)",
        "954 (train) and 955 (test)",
        "982 (val) and 983 (train)",
    }


def test_ffpp_leaks_are_mended_by_origin(tmp_path: Path) -> None:
    """Grouped by origin and by who was swapped with whom, no group that the report does not name crosses a split."""
    metadata = on_disk(tmp_path / "raw", official_ffpp())
    pairs = [pair for split in SPLITS for pair in json.loads(given_file(f"ffpp/splits/{split}.json"))]
    clips = [f"original/{n:03}.mp4" for n in range(1000)] + [f"FaceSwap/{a}_{b}.mp4" for a, b in pairs]
    corpus = FFPP("ffpp", tmp_path / "raw", with_clips(metadata, clips))
    group: dict[str, str] = {}

    def find(node: str) -> str:
        while group.setdefault(node, node) != node:
            node = group[node]
        return node

    crossing: dict[str, set[str]] = {}
    rows = list(corpus)
    for row in rows:
        for node in filter(None, (row.target_id, row.source_id, row.origin)):
            group[find(node)] = find(row.sample_id)
    for row in rows:
        crossing.setdefault(find(row.sample_id), set()).add(str(row.split))
    named = [set(note.rsplit(": ", 1)[1].removesuffix(" must share a split").split(", ")) for note in corpus.report().notes]
    for root, splits in crossing.items():
        people = {str(row.target_id)[5:] for row in rows if find(row.sample_id) == root} if len(splits) > 1 else set()
        assert len(splits) == 1 or people in named
    assert sum(len(splits) > 1 for splits in crossing.values()) == len({frozenset(names) for names in named}) > 0


def test_ffpp_layouts_and_levels(tmp_path: Path) -> None:
    at = "original_sequences/youtube/{}/videos/000.mp4"
    levels = listed([at.format("c0"), at.format("c23"), at.format("c40")])
    for level, folder in (("raw", "c0"), ("c23", "c23"), ("c40", "c40")):
        source = FaceForensics.model_validate({"terms": FFPP.terms, "compression": level})
        corpus = source("ffpp", tmp_path, levels)
        assert list(by_path(corpus)) == [at.format(folder)]
        assert corpus.report().notes == (f"2 clips at other levels than {level} are left out",)
        assert {"splits/train.json", "youtube/001.mp4"} <= {*corpus.missing}
    flat = listed(["original/003.mp4", "original/000.mp4", "Deepfakes/000_003.mp4", "csv/Original.csv"])
    rows = by_path(FFPP("ffpp", tmp_path, flat))
    assert rows["Deepfakes/000_003.mp4"].parents == (rows["original/000.mp4"].sample_id,)
    assert rows["Deepfakes/000_003.mp4"].split is None
    with pytest.raises(SourceError, match=r"sources\.ffpp\.compression: there is nothing at level raw, and 3 clips at others"):
        FaceForensics(terms=FFPP.terms, compression="raw")("ffpp", tmp_path, flat)
    both = listed([at.format("raw"), at.format("c0")])
    rows = by_path(FaceForensics(terms=FFPP.terms, compression="raw")("ffpp", tmp_path, both))
    assert rows[at.format("raw")].reason == f"the same clip as {at.format('c0')}"


def test_ffpp_actors_are_other_people_than_sequences(tmp_path: Path) -> None:
    real = "original_sequences/actors/c23/videos/24__outside_talking_still_laughing.mp4"
    fake = "manipulated_sequences/DeepFakeDetection/c23/videos/24_23__outside_talking_still_laughing__YR5OVD4S.mp4"
    lone = "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4"
    corpus = FFPP("ffpp", tmp_path, listed([real, fake, lone, "original_sequences/youtube/c23/videos/024.mp4"]))
    rows = by_path(corpus)
    row = rows[fake]
    assert (row.target_id, row.source_id, row.apparent_id) == ("ffpp:actor_24", "ffpp:actor_23", "ffpp:actor_23")
    assert row.parents == (rows[real].sample_id,)
    assert (row.split, row.origin, row.method) == (None, None, "DeepFakeDetection")
    assert rows[lone].parents == ()
    assert "actors/01__exit_phone_room.mp4" in corpus.missing


@pytest.mark.parametrize(
    "path",
    [
        "original_sequences/youtube/c23/videos/1000.mp4",
        "original_sequences/youtube/c23/videos/000.MP4",
        "original_sequences/youtube/c24/videos/000.mp4",
        "original_sequences/youtube/c23/000.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_000.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000-003.mp4",
        "manipulated_sequences/DeepFake/c23/videos/000_003.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_29__exit_phone_room__YVGY8LOK.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LO.mp4",
        "original_sequences/youtube/c23/videos/٠٠٠.mp4",
        "._original/000.mp4",
    ],
)
def test_ffpp_refuses_other_names(path: str, tmp_path: Path) -> None:
    rows = by_path(FFPP("ffpp", tmp_path, listed([path, "original_sequences/youtube/c23/videos/001.mp4"])))
    assert rows[path].reason == OUTSIDE


def test_ffpp_refuses_a_pair_that_was_never_published(tmp_path: Path) -> None:
    metadata = on_disk(tmp_path / "raw", official_ffpp())
    rows = by_path(FFPP("ffpp", tmp_path / "raw", with_clips(metadata, ["Deepfakes/000_003.mp4", "Deepfakes/000_001.mp4"])))
    assert rows["Deepfakes/000_003.mp4"].reason is None
    assert rows["Deepfakes/000_001.mp4"].reason == "not one of the published pairs"


# Celeb-DF

CELEB = CelebDF(terms=CelebDF.template)


def test_celeb_df_whole(tmp_path: Path) -> None:
    metadata = on_disk(tmp_path / "raw", {"List_of_testing_videos.txt": given_file("celeb-df-v2/List_of_testing_videos.txt")})
    listing = given_file("celeb-df-v2/all_video_names.derived.txt").split()
    corpus = CELEB("celeb", tmp_path / "raw", with_clips(metadata, listing))
    rows = by_path(corpus)
    assert len(rows) == len(listing) == 6528
    assert not [row for row in rows.values() if row.reason]
    fakes = {path: row for path, row in rows.items() if row.label == "fake"}
    assert len(fakes) == 5639
    for path, row in fakes.items():
        target, source, clip = Path(path).stem.split("_")
        assert row.parents == (rows[f"Celeb-real/{target}_{clip}.mp4"].sample_id,)
        assert (row.target_id, row.source_id, row.apparent_id) == (f"celeb:{target}", f"celeb:{source}", f"celeb:{source}")
    assert Counter((row.split, row.label) for row in rows.values()) == {
        ("test", "real"): 178,
        ("test", "fake"): 340,
        ("train", "real"): 711,
        ("train", "fake"): 5299,
    }
    assert len({row.target_id for row in rows.values() if row.target_id}) == 59
    assert rows["YouTube-real/00170.mp4"].split == "test"  # the list's first line
    assert rows["YouTube-real/00170.mp4"].target_id is None
    report = corpus.report()
    assert report.missing.count == report.unexpected.count == report.mismatching.count == 0
    # The listing was made from detected faces, and in one real clip there was none.
    assert report.have == {"Celeb-real": 589, "Celeb-synthesis": 5639, "YouTube-real": 300}
    assert report.published["Celeb-real"] == 590


def test_celeb_df_other_layouts(tmp_path: Path) -> None:
    lines = "\ufeff1 Celeb-real/id0_0000.mp4\r\n0 Celeb-synthesis/id0_id16_0000.mp4\r\n"
    metadata = on_disk(tmp_path / "raw", {"List_of_testing_videos.txt": lines})
    clips = ["celeb-real/videos/id0_0000.noaudio.mp4", "Celeb-synthesis/videos/id0_id16_0000.mp4", "Youtube-real/00001.mp4"]
    doubled = ["celeb-real/videos/id0_0000.mp4", "Celeb-real/id0_0000.mp4"]
    corpus = CELEB("celeb", tmp_path / "raw", with_clips(metadata, clips + doubled))
    rows = by_path(corpus)
    kept = rows.pop("Celeb-real/id0_0000.mp4")
    assert rows["Celeb-synthesis/videos/id0_id16_0000.mp4"].parents == (kept.sample_id,)
    assert (kept.split, rows["Youtube-real/00001.mp4"].split) == ("test", "train")
    assert [path for path, row in rows.items() if row.reason] == [doubled[0], clips[0]]
    assert corpus.report().mismatching.count == 3  # two doubles, and a list that is too short


def test_celeb_df_finds_a_list_that_is_upside_down(tmp_path: Path) -> None:
    metadata = on_disk(tmp_path / "raw", {"List_of_testing_videos.txt": "0 Celeb-real/id0_0000.mp4\n1 YouTube-real/00000.mp4"})
    corpus = CELEB("celeb", tmp_path / "raw", with_clips(metadata, ["Celeb-real/id0_0000.mp4"]))
    assert "Celeb-real/id0_0000.mp4: fake in List_of_testing_videos.txt" in corpus.mismatching
    assert corpus.missing == ["YouTube-real/00000.mp4"]
    assert next(iter(corpus)).label == "real"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Celeb-real/id14_0000.mp4", "Celeb-DF v2 has nobody called id14"),
        ("Celeb-synthesis/id0_id62_0000.mp4", "Celeb-DF v2 has nobody called id62"),
        ("Celeb-synthesis/id0_id0_0000.mp4", OUTSIDE),
        ("Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4", OUTSIDE),
        ("Celeb-real/id0_id1_0000.mp4", OUTSIDE),
        ("Celeb-real/id00_0000.mp4", OUTSIDE),
        ("YouTube-real/id0_0000.mp4", OUTSIDE),
        ("Celeb-faked/id0_id1_0000.mp4", OUTSIDE),
    ],
)
def test_celeb_df_refuses_other_names(path: str, reason: str, tmp_path: Path) -> None:
    rows = by_path(CELEB("celeb", tmp_path, listed([path, "YouTube-real/00000.mp4"])))
    assert rows[path].reason == reason


def test_celeb_df_version_1_has_fewer_people(tmp_path: Path) -> None:
    paths = ["Celeb-real/id17_0000.mp4", "Celeb-real/id5_0000.mp4", "Celeb-real/id19_0000.mp4"]
    rows = by_path(CelebDF(terms=CELEB.terms, version="v1")("celeb", tmp_path, listed(paths)))
    assert [path for path, row in rows.items() if row.reason is None] == paths[:1]


# DFDC

CHALLENGE = DFDC(terms=DFDC.template)
REAL = {"label": "REAL", "split": "train"}


def fake_of(original: str) -> dict[str, str]:
    return {"label": "FAKE", "split": "train", "original": f"{original * 10}.mp4"}


def part(root: Path, folder: str, metadata: Mapping[str, object] | None, clips: str) -> dict[str, str | bytes]:
    """Clips named by one letter each: `aaaaaaaaaa.mp4`."""
    files: dict[str, str | bytes] = {f"{folder}/{letter * 10}.mp4": letter for letter in clips}
    if metadata is not None:
        files[f"{folder}/metadata.json"] = json.dumps({f"{letter * 10}.mp4": entry for letter, entry in metadata.items()})
    return files


def test_dfdc_parts(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    zero = {"a": REAL, "b": fake_of("a"), "c": fake_of("z"), "d": REAL, "e": fake_of("d"), "y": fake_of("b")}
    files = part(root, "dfdc_train_part_0", zero, "abcexy")
    files |= part(
        root, "train/dfdc_train_part_01", {"f": {**REAL, "original": None}, "g": fake_of("a"), "h": fake_of("c")}, "fgh"
    )
    files |= part(root, "dfdc_train_part_2", None, "i") | part(root, "test_videos", None, "j")
    corpus = CHALLENGE("dfdc", root, on_disk(root, files))
    rows = {Path(path).stem[0]: row for path, row in by_path(corpus).items()}
    a, b = rows["a"], rows["b"]
    assert (a.label, a.video_label, a.audio_label, a.origin, a.split) == ("real", "real", "real", "dfdc:part_0", "train")
    assert (b.label, b.video_label, b.audio_label, b.parents) == ("fake", None, None, (a.sample_id,))
    assert (b.target_id, b.source_id, b.apparent_id, b.method) == (None, None, None, "DFDC")
    assert rows["c"].parents == rows["e"].parents == ()
    assert rows["f"].origin == "dfdc:part_1"
    reasons = {letter: row.reason for letter, row in rows.items() if row.reason}
    assert reasons == {
        "g": "its original aaaaaaaaaa.mp4 is in dfdc_train_part_0/, not in its own part",
        "h": "its original cccccccccc.mp4 is in dfdc_train_part_0/, not in its own part",
        "i": "the metadata of dfdc_train_part_2/ don't name it, or are not there",
        "j": "the corpus publishes no label for it",
        "x": "the metadata of dfdc_train_part_0/ don't name it, or are not there",
        "y": "its original bbbbbbbbbb.mp4 is not a real clip",
    }
    assert "dfdc_train_part_0/dddddddddd.mp4" in corpus.missing
    assert "the labels of dfdc_train_part_2/" in corpus.missing
    assert "dfdc_train_part_49/" in corpus.missing
    assert corpus.mismatching == ["dfdc_train_part_0/cccccccccc.mp4: no metadata name its original zzzzzzzzzz.mp4"]


def test_dfdc_real_metadata(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    folders = {
        "train_sample_videos": "train_sample_videos",
        **{f"dfdc_train_part_{n}": f"dfdc_train_part_{n}" for n in (0, 1, 10)},
    }
    for folder in folders:
        text = given_file(f"dfdc/{folder}.metadata.json")
        files[f"{folder}/metadata.json"] = text
        files |= {f"{folder}/{clip}": b"" for clip in json.loads(text)}
    files["dfdc_train_part_2/metadata.json"] = given_file("dfdc/full_part_entries.excerpt.json")
    files |= {f"dfdc_train_part_2/{clip}": b"" for clip in ("owxbbpjpch.mp4", "vpmyeepbep.mp4")}
    rows = by_path(CHALLENGE("dfdc", tmp_path / "raw", on_disk(tmp_path / "raw", files)))
    assert not [row for row in rows.values() if row.reason]
    assert Counter(row.label for row in rows.values()) == {"fake": 11, "real": 2}
    assert rows["dfdc_train_part_10/widuwuoiur.mp4"].origin == "dfdc:part_10"
    assert rows["train_sample_videos/aagfhgtpmv.mp4"].origin == "dfdc:vudstovrck"
    assert rows["train_sample_videos/abarnvbtwb.mp4"].origin == "dfdc:abarnvbtwb"
    assert rows["train_sample_videos/abarnvbtwb.mp4"].label == "real"


def test_dfdc_sample_finds_its_originals_in_the_parts(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    files = part(root, "dfdc_train_part_0", {"a": REAL, "b": fake_of("a"), "c": fake_of("a")}, "ac")
    files |= part(root, "train_sample_videos", {"a": {**REAL, "original": None}, "b": fake_of("a")}, "ab")
    rows = by_path(CHALLENGE("dfdc", root, on_disk(root, files)))
    real = rows["dfdc_train_part_0/aaaaaaaaaa.mp4"].sample_id
    assert rows["dfdc_train_part_0/cccccccccc.mp4"].parents == rows["train_sample_videos/bbbbbbbbbb.mp4"].parents == (real,)
    assert rows["train_sample_videos/aaaaaaaaaa.mp4"].reason == "the same clip as dfdc_train_part_0/aaaaaaaaaa.mp4"


def test_dfdc_validation_and_test(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    files = part(root, "validation", None, "ab") | part(
        root, "test", {"c": {"augmentations": {}, "is_fake": 0}, "d": {"is_fake": 1}}, "cd"
    )
    files["validation/label.csv"] = "\ufefffilename,label\r\naaaaaaaaaa.mp4,1\r\nbbbbbbbbbb.mp4,0\r\n"
    files["test/labels.csv"] = "filename,is_fake\ncccccccccc.mp4,0\ndddddddddd.mp4,0"
    corpus = CHALLENGE("dfdc", root, on_disk(root, files))
    rows = {Path(path).stem[0]: row for path, row in by_path(corpus).items()}
    assert [(rows[letter].label, rows[letter].split) for letter in "abc"] == [
        ("fake", "val"),
        ("real", "val"),
        ("real", "test"),
    ]
    assert rows["d"].reason == "labels.csv and metadata.json disagree on it"
    assert corpus.report().have == {"test": 1, "validation": 2}


# Hostile metadata

CLIPS = {
    "ffpp": "original_sequences/youtube/c23/videos/000.mp4",
    "celeb_df": "Celeb-real/id0_0000.mp4",
    "dfdc": "dfdc_train_part_0/aaaaaaaaaa.mp4",
}


def read_with(tmp_path: Path, kind: str, metadata: dict[str, str | bytes]) -> dict[str, Sample]:
    source = SOURCES[kind](terms=SOURCES[kind].template)
    good: dict[str, str | bytes] = {
        "dfdc_train_part_1/metadata.json": '{"bbbbbbbbbb.mp4": {"label": "REAL", "split": "train"}}'
    }
    files = {CLIPS[kind]: "", **(good | {"dfdc_train_part_1/bbbbbbbbbb.mp4": ""} if kind == "dfdc" else {}), **metadata}
    return by_path(source(kind, tmp_path, on_disk(tmp_path, files)))


SPLIT_FILES = {f"splits/{split}.json": "[]" for split in SPLITS}


@pytest.mark.parametrize(
    ("kind", "file", "content", "message"),
    [
        ("ffpp", "splits/train.json", b"\xff\xfe[", "not UTF-8 text"),
        ("ffpp", "splits/train.json", "{", "not the JSON of this corpus"),
        ("ffpp", "splits/train.json", '{"000": "001"}', "not a list of pairs"),
        ("ffpp", "splits/train.json", '[["000", "001", "002"]]', "is not a pair of sequences"),
        ("ffpp", "splits/train.json", '[["../", "001"]]', "is not a pair of sequences"),
        ("ffpp", "splits/train.json", "[[0, 1]]", "is not a pair of sequences"),
        ("ffpp", "splits/train.json", '[["000", "001"], ["001", "002"]]', "is in another pair too"),
        ("ffpp", "splits/train.json", '[["000", "000"]]', "is in another pair too"),
        ("ffpp", "splits/train.json", "[" * 100_000, "nested too deeply"),
        ("ffpp", "conversion_dict.json", "[]", "not an object"),
        ("ffpp", "conversion_dict.json", '{"000": "short 0"}', "is not a sequence and a YouTube id"),
        ("ffpp", "conversion_dict.json", '{"000": 0}', "is not a sequence and a YouTube id"),
        ("ffpp", "conversion_dict.json", '{"000": "--b1Ua-kWJE 0", "000": "--b1Ua-kWJE 1"}', "is there twice"),
        ("celeb_df", "List_of_testing_videos.txt", "label path", "is not a label and a clip"),
        ("celeb_df", "List_of_testing_videos.txt", "1 Celeb-real/../../etc/id0_0000.mp4", "is not a label and a clip"),
        ("celeb_df", "List_of_testing_videos.txt", "2 Celeb-real/id0_0000.mp4", ":1: '2 Celeb-real/id0_0000.mp4' is not"),
        (
            "celeb_df",
            "List_of_testing_videos.txt",
            "1 Celeb-real/id0_0000.mp4\n" * 2,
            ":2: Celeb-real/id0_0000 is listed twice",
        ),
        ("dfdc", "dfdc_train_part_0/metadata.json", "[]", "not an object of clips"),
        ("dfdc", "dfdc_train_part_0/metadata.json", '{"../aaaaaaaaaa.mp4": {}}', "is not the name of a clip"),
        ("dfdc", "dfdc_train_part_0/metadata.json", '{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("dfdc", "validation/labels.csv", "aaaaaaaaaa.mp4,1", "its first line does not name filename, and label"),
        ("dfdc", "validation/labels.csv", "", "its first line does not name filename, and label"),
        ("dfdc", "validation/labels.csv", "filename,label\naaaaaaaaaa.mp4,FALSE", "is not a new clip and 0 or 1"),
        ("dfdc", "validation/labels.csv", "filename,label\n/etc/passwd,1", "is not the name of a clip"),
    ],
)
def test_wrong_metadata_are_one_clear_line(tmp_path: Path, kind: str, file: str, content: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as error:
        read_with(tmp_path / "raw", kind, {**(SPLIT_FILES if kind == "ffpp" else {}), file: content})
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "raw" / file))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "FAKE",
        {"label": "fake", "split": "train", "original": "bbbbbbbbbb.mp4"},
        {"label": "FAKE", "split": "train"},
        {"label": "FAKE", "split": "train", "original": "../../etc/passwd"},
        {"label": "FAKE", "split": "test", "original": "bbbbbbbbbb.mp4"},
        {"label": "REAL", "split": "train", "original": "bbbbbbbbbb.mp4"},
        {"is_fake": True},
        {"is_fake": 2},
    ],
)
def test_a_dfdc_entry_of_another_shape_refuses_that_clip_alone(tmp_path: Path, entry: object) -> None:
    rows = read_with(tmp_path / "raw", "dfdc", {"dfdc_train_part_0/metadata.json": json.dumps({"aaaaaaaaaa.mp4": entry})})
    assert str(rows[CLIPS["dfdc"]].reason).startswith("metadata.json says ")
    assert rows["dfdc_train_part_1/bbbbbbbbbb.mp4"].reason is None


def test_metadata_must_be_those_in_the_inventory(tmp_path: Path) -> None:
    inventory = on_disk(tmp_path / "raw", {CLIPS["celeb_df"]: "", "List_of_testing_videos.txt": "1 Celeb-real/id0_0000.mp4"})
    (tmp_path / "raw" / "List_of_testing_videos.txt").write_text("0 Celeb-real/id0_0000.mp4")
    with pytest.raises(SourceError, match="not the file in the inventory; run python -m flows scan again"):
        CELEB("celeb", tmp_path / "raw", inventory)


FOLDERS = ["original_sequences", "youtube", "actors", "manipulated_sequences", "Deepfakes", "DeepFakeDetection", "original"]
FOLDERS += ["raw", "c0", "c23", "masks", "videos", "train", "dfdc_train_part_0", "train_sample_videos", "test", "anna"]
FOLDERS += ["Celeb-real", "YouTube-real", "Celeb-synthesis"]
FILES = ["000.mp4", "000_003.mp4", "01__a.mp4", "id0_0000.mp4", "id0_id1_0000.mp4", "00000.mp4", "bbbbbbbbbb.mp4"]
FILES += ["x.wav", "é.png", "README.md", "a.truth.json"]
NAMES = st.one_of(
    st.sampled_from(FOLDERS + FILES),
    st.text(st.characters(categories=["L", "N", "P"], exclude_characters="/\\"), min_size=1, max_size=8),
)


@pytest.mark.parametrize("kind", ["demo", "ffpp", "celeb_df", "dfdc"])
@given(paths=st.lists(st.lists(NAMES, min_size=1, max_size=5).map("/".join), max_size=12))
def test_every_file_is_accounted_for(kind: str, tmp_path_factory: pytest.TempPathFactory, paths: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "accounted" / "raw"
    one = {**CLIPS, "demo": "000/1.mp4"}[kind]
    metadata = on_disk(root, {"dfdc_train_part_0/metadata.json": json.dumps({"aaaaaaaaaa.mp4": REAL})})
    inventory = with_clips(metadata, [one, *(path for path in paths if path not in metadata.files)])
    corpus = SOURCES[kind](terms=SOURCES[kind].template)(kind, root, inventory)
    rows = by_path(corpus)
    assert rows[one].reason is None
    silent = [path for path in inventory.files if path not in rows and path not in corpus.known]
    assert not [path for path in silent if media_type(path) == "video"]
    assert corpus.report().unexpected.count == len(silent) + sum(row.reason == OUTSIDE for row in rows.values())
    assert not [path for path in rows if path.endswith((".md", ".json"))]
