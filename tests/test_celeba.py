"""CelebA is read in every layout that it is about in; copies that are cut off are found out."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forgeline.errors import SourceError
from forgeline.faces import FaceFinder, track_faces
from forgeline.image import open_image
from sources.celeba import ATTRIBUTES, PICTURES, CelebA
from sources.corpus import OUTSIDE, Corpus
from sources.heads import Expression, Pose, frame, person, scene
from tests.test_sources import by_path, given_file, on_disk

CELEBA = CelebA(terms=CelebA.template)
NUMBERS = ("000001", "000002", "162771", "182638")
PICTURE = "Img/img_align_celeba/{}.jpg"
POINTS = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"


def table(rows: Iterable[str], header: str = "", count: int | None = None) -> str:
    return "".join(
        f"{line}\r\n" for line in (() if count is None else (str(count),)) + ((header,) if header else ()) + (*rows,)
    )


def answers(number: str, smiling: int) -> str:
    values = [smiling if name == "Smiling" else -1 for name in ATTRIBUTES]
    return f"{number}.jpg " + " ".join(f"{value:2}" for value in values)


ATTR = table((answers(number, place % 2 * 2 - 1) for place, number in enumerate(NUMBERS)), " ".join(ATTRIBUTES) + " ", 4)
IDENTITY = table(f"{number}.jpg {place + 2880}" for place, number in enumerate(NUMBERS))
PARTITION = table(f"{number}.jpg {part}" for number, part in zip(NUMBERS, (0, 0, 1, 2), strict=True))
BOXES = table((f"{number}.jpg    95  71 226 313" for number in NUMBERS), "image_id x_1 y_1 width height", 4)
ALIGNED = table((f"{number}.jpg 69  109  106  113   77  142   73  152  108  154" for number in NUMBERS), POINTS, 4)
OFFICIAL: dict[str, str | bytes] = {
    **{PICTURE.format(number): number for number in NUMBERS},
    "Anno/list_attr_celeba.txt": ATTR,
    "Anno/identity_CelebA.txt": IDENTITY,
    "Anno/list_bbox_celeba.txt": BOXES,
    "Anno/list_landmarks_align_celeba.txt": ALIGNED,
    "Anno/list_landmarks_celeba.txt": ALIGNED,
    "Eval/list_eval_partition.txt": PARTITION,
}
SHORT = [f"{file}: 4 rows, {PICTURES} are published" for file in ("Anno/identity_CelebA.txt", "Eval/list_eval_partition.txt")]


def read(tmp_path: Path, files: dict[str, str | bytes]) -> Corpus:
    return CELEBA("celeba", tmp_path / "raw", on_disk(tmp_path / "raw", files))


def csv(text: str) -> str:
    lines = [",".join(line.split()) for line in text.splitlines() if len(line.split()) > 1]
    head = [] if "image_id" in lines[0] else ["image_id," + lines.pop(0)] if "jpg" not in lines[0] else ["image_id,partition"]
    return "\n".join([*head, *lines]) + "\n"


FLAT = {f"celeba/{Path(path).name}": text for path, text in OFFICIAL.items() if path.endswith(".txt")}
FLAT |= {f"celeba/img_align_celeba/{number}.jpg": "" for number in NUMBERS}
KAGGLE = {f"{Path(path).stem}.csv": csv(str(text)) for path, text in OFFICIAL.items() if path.endswith(".txt")}
KAGGLE |= {f"img_align_celeba/img_align_celeba/{number}.jpg": "" for number in NUMBERS}


@pytest.mark.parametrize("files", [OFFICIAL, FLAT, KAGGLE], ids=["official", "torchvision", "kaggle"])
def test_layouts(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    corpus = read(tmp_path, files)
    rows = list(by_path(corpus).values())
    assert [row.reason for row in rows] == [None] * 4
    assert [row.split for row in rows] == ["train", "train", "val", "test"]
    assert [row.target_id for row in rows] == [f"celeba:{number}" for number in range(2880, 2884)]
    assert [row.attributes["smiling"] for row in rows] == ["no", "yes", "no", "yes"]
    first = rows[0]
    assert (first.media_type, first.label, first.video_label, first.audio_label) == ("image", "real", "real", None)
    assert (first.apparent_id, first.source_id, first.origin) == (first.target_id, None, None)
    assert list(first.attributes) == [name.lower() for name in ATTRIBUTES]
    assert len(first.attributes) == 40
    report = corpus.report()
    assert (report.have, report.unexpected.count) == ({"test": 1, "train": 2, "val": 1}, 0)
    assert report.missing.count == PICTURES - 4
    assert all("4 rows" in each for each in report.mismatching.examples)
    if files is OFFICIAL:
        assert corpus.mismatching == SHORT


def test_without_tables(tmp_path: Path) -> None:
    corpus = read(tmp_path, {PICTURE.format(number): "" for number in NUMBERS})
    rows = list(corpus)
    assert [row.split for row in rows] == ["train", "train", "val", "test"]  # the official split goes by number
    assert [(row.target_id, row.attributes) for row in rows] == [(None, {})] * 4
    assert {"list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"} <= {*corpus.missing}


def test_photographs_and_second_copies_are_left_out(tmp_path: Path) -> None:
    png = "Img/img_align_celeba_png/{}.png"
    files: dict[str, str | bytes] = {PICTURE.format("000001"): "", "Img/img_celeba/000001.jpg": ""}
    files |= {png.format("000001"): "", png.format("000003"): "", "img_align_celeba/000001.jpg": ""}
    files |= {"Img/img_align_celeba/000001.png": ""}
    corpus = read(tmp_path, files)
    rows = by_path(corpus)
    assert {path: row.reason for path, row in rows.items()} == {
        PICTURE.format("000001"): None,
        png.format("000003"): None,
        "img_align_celeba/000001.jpg": f"the same picture as {PICTURE.format('000001')}",
    }
    assert corpus.notes == (
        "1 photographs that are not aligned are left out",
        "2 PNG files of pictures that are here as JPEG are left out",
    )


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("Anno/list_attr_celeba.txt", ("4\r\n", "202599\r\n"), "4 rows, its first line says 202599"),
        ("Anno/list_attr_celeba.txt", ("4\r\n", ""), "4 rows, 202599 are published"),
        ("Anno/list_attr_celeba.txt", ("000001.jpg -1 -1", "000001.jpg -1  0"), ":3: -1 0 -1 -1 can't be"),
        ("Anno/identity_CelebA.txt", ("000001.jpg 2880", "000001.jpg 10178"), ":1: 10178 can't be"),
        ("Anno/identity_CelebA.txt", ("000001.jpg 2880", "000001.jpg 0"), ":1: 0 can't be"),
        ("Anno/list_bbox_celeba.txt", ("95  71 226 313\r\n000002", "320 828 0 0\r\n000002"), ":3: 320 828 0 0 can't be"),
        ("Anno/list_landmarks_align_celeba.txt", ("154\r\n000002", "218\r\n000002"), ":3: 69 109 106 113 can't be"),
        ("Eval/list_eval_partition.txt", ("162771.jpg 1", "162771.jpg 3"), ":3: 3 can't be"),
    ],
)
def test_rows_that_are_wrong_are_told_and_not_used(tmp_path: Path, file: str, change: tuple[str, str], told: str) -> None:
    assert change[0] in str(OFFICIAL[file])
    corpus = read(tmp_path, OFFICIAL | {file: str(OFFICIAL[file]).replace(*change, 1)})
    (new,) = {*corpus.mismatching} - {*SHORT}
    assert new.startswith(file)
    assert new.endswith(told)
    first, second, third, _ = corpus
    assert (first.attributes == {}) == ("attr" in file and "can't" in told)
    assert (first.target_id is None) == ("identity" in file)
    assert (second.target_id, second.attributes["smiling"], third.split) == ("celeba:2881", "yes", "val")


def test_the_published_empty_box_is_no_fault(tmp_path: Path) -> None:
    boxes = table(["101283.jpg 320 828 0 0"], "image_id x_1 y_1 width height", 1)
    files: dict[str, str | bytes] = {PICTURE.format("101283"): "", "list_bbox_celeba.txt": boxes}
    assert read(tmp_path, files).mismatching == []


def test_a_partition_against_the_published_one_is_told(tmp_path: Path) -> None:
    corpus = read(tmp_path, OFFICIAL | {"Eval/list_eval_partition.txt": PARTITION.replace("000002.jpg 0", "000002.jpg 2")})
    path = PICTURE.format("000002")
    assert f"{path}: test in its partition, published as train" in corpus.mismatching
    assert by_path(corpus)[path].split == "test"


@pytest.mark.parametrize("header", ["", "\n \nimage identity", "image_id,identity", "\ufeffimage_id identity"])
def test_headers_that_copies_add(tmp_path: Path, header: str) -> None:
    identity = f"{header}\n{IDENTITY}" if header else IDENTITY
    corpus = read(tmp_path, OFFICIAL | {"Anno/identity_CelebA.txt": identity, "Anno/list_attr_celeba.txt": "\ufeff" + ATTR})
    assert [row.target_id for row in corpus] == [f"celeba:{number}" for number in range(2880, 2884)]
    assert corpus.mismatching == SHORT


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    names = list(ATTRIBUTES)
    names[0], names[31] = names[31], names[0]
    row = "000001.jpg 1 " + " ".join(["-1"] * 39)
    corpus = read(tmp_path, OFFICIAL | {"Anno/list_attr_celeba.txt": table([row], " ".join(names), 1)})
    yes = [name for name, value in next(iter(corpus)).attributes.items() if value == "yes"]
    assert yes == ["smiling"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list_attr_celeba.txt", "4\nSmiling Male\n", ":2: its columns are not 5_o_Clock_Shadow, "),
        ("list_attr_celeba.txt", ATTR.replace("Smiling", "Male"), ":2: its columns are not 5_o_Clock_Shadow, "),
        ("list_attr_celeba.txt", ATTR.replace(" -1\r\n", "\r\n", 1), ":3: it is not a picture and 40 whole numbers"),
        ("list_attr_celeba.txt", b"\xff\xfe4", "not UTF-8 text"),
        ("identity_CelebA.txt", "000001.jpg 1.5", ":1: it is not a picture and 1 whole numbers"),
        ("identity_CelebA.txt", "000001.jpg", "its columns|it is not a picture"),
        ("identity_CelebA.txt", IDENTITY + "../../x.jpg 3", ":5: it is not a picture"),
        ("identity_CelebA.txt", IDENTITY + "000001.jpg 3", ":5: 000001.jpg is there twice"),
        ("list_bbox_celeba.txt", "1\nimage_id x y w h\n000001.jpg 1 2 3 4", ":2: its columns are not x_1, y_1, width"),
        ("list_eval_partition.csv", "image_id,partition\n000001.jpg,\n", ":2: it is not a picture and 1 whole numbers"),
    ],
)
def test_wrong_tables_are_one_clear_line(tmp_path: Path, file: str, content: str | bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message) as error:
        read(tmp_path, {PICTURE.format("000001"): "", file: content})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("img_align_celeba/202600.jpg", "CelebA has no picture 202600"),
        ("img_align_celeba/000000.jpg", "CelebA has no picture 000000"),
        ("img_align_celeba/1.jpg", OUTSIDE),
        ("000001.jpg", OUTSIDE),
        ("img_align_celeba/000001.jpeg", OUTSIDE),
        ("my_img_align_celeba/000001.jpg", OUTSIDE),
    ],
)
def test_other_names_are_refused(tmp_path: Path, path: str, reason: str) -> None:
    assert by_path(read(tmp_path, {PICTURE.format("000009"): "", path: ""}))[path].reason == reason


def test_the_real_heads(tmp_path: Path) -> None:
    names = ["identity_CelebA.head", "list_attr_celeba.head", "list_bbox_celeba.head", "list_eval_partition.excerpt"]
    names += ["list_landmarks_align_celeba.head", "list_landmarks_celeba.head"]
    files: dict[str, str | bytes] = {f"Anno/{name.split('.')[0]}.txt": given_file(f"celeba/{name}.txt") for name in names}
    corpus = read(tmp_path, files | {PICTURE.format(number): "" for number in ("000001", "162770", "162771", "182638")})
    first, *others = corpus
    assert (first.target_id, first.attributes["smiling"], first.attributes["male"]) == ("celeba:2880", "yes", "no")
    assert [row.split for row in others] == ["train", "val", "test"]
    assert sorted(each.partition(": ")[2] for each in corpus.mismatching) == sorted(
        [f"5 rows, {PICTURES} are published", f"15 rows, {PICTURES} are published"]
        + [f"{rows} rows, its first line says {PICTURES}" for rows in (3, 2, 1, 2)]
    )


def test_a_face_of_its_size_is_found(tmp_path: Path) -> None:
    """178 x 218 pixels, JPEG, and a face that fills it: as the corpus has them, but of nobody."""
    rng = np.random.default_rng(3)
    head = frame(person(rng, *rng.random(3)), Expression(), Pose(), scene(rng), 218, rng)
    path = tmp_path / "000001.jpg"
    Image.fromarray(head[:, 20:198]).save(path, quality=90)
    clip = open_image(path)
    assert (clip.width, clip.height, clip.frames) == (178, 218, 1)
    (track,) = track_faces(clip, FaceFinder())
    assert track.seen.all()
