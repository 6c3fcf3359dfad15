"""Whatever lies in a corpus: each media file is one row, other files are known or told, and what fails does in a clear line."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgeline.errors import SourceError
from forgeline.inventory import Inventory
from sources import celeba
from sources.corpus import OUTSIDE, media_type
from sources.table import SOURCES
from tests.test_sources import by_path, on_disk, with_clips

SHOW = "6330311066473698535"
FLICKR = {
    "category": "training",
    "metadata": {"photo_url": "https://f/1", "license_url": "https://creativecommons.org/licenses/by-nc/2.0/"},
    "image": {"file_size": 1},
}
# By kind: a clip that can be used, names that paths are made of, and metadata as published.
CORPORA: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "voxceleb": (
        "dev/aac/id00012/_raOc3-IRsw/00001.m4a",
        [
            *("dev", "test", "aac", "id00012", "id10001", "_raOc3-IRsw", "Ada_B.", "00001.m4a", "00001.wav", "00001.mp4"),
            *("_raOc3-IRsw_0000001.wav", "veri_test2.txt"),
        ],
        {
            "vox1_meta.csv": "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tAda_B.\tf\tIreland\tdev\n",
            "vox2_meta.csv": "\ufeffVoxCeleb2 ID ,VGGFace2 ID,Gender,Set\r\nid00012 ,n000012 ,m ,dev \r\n",
            "txt/id00012/_raOc3-IRsw/00001.txt": (
                "Identity  : \tid00012\nReference : \t_raOc3-IRsw\nOffset    : \t2\nFV Conf   : \t20.230\t(1)\n"
                "ASD Conf  : \t2.765\n\nFRAME \tX \tY \tW \tH \n000349 \t0.319 \t0.067 \t0.424 \t0.753 \n"
            ),
        },
    ),
    "lrs": (
        f"mvlrs_v1/pretrain/{SHOW}/00001.mp4",
        ["main", "pretrain", "test", SHOW, "0Fi83BHQsMA", "00001.mp4", "00002.mp4"],
        {
            f"mvlrs_v1/pretrain/{SHOW}/00001.txt": "Text:  {LG} AND\nConf:  4\n\nWORD START END ASDSCORE\nAND 0.08 0.49 7.3\n",
            "test.txt": f"{SHOW}/00001 NF\n",
            "pretrain.txt": f"{SHOW}/00001\n",
        },
    ),
    "celeba": (
        "img_align_celeba/000001.jpg",
        ["img_align_celeba", "img_align_celeba_png", "img_celeba", "000001.jpg", "000001.png", "000002.jpg", "202600.jpg"],
        {
            "identity_CelebA.txt": "image identity\n000001.jpg 2880\n",
            "list_eval_partition.csv": "image_id,partition\n000001.jpg,0\n",
            "list_bbox_celeba.txt": "1\nimage_id x_1 y_1 width height\n000001.jpg    95  71 226 313\n",
        },
    ),
    "ffhq": (
        "images1024x1024/00000/00007.png",
        ["images1024x1024", "thumbnails128x128", "00000", "01000", "00007.png", "00008.png", "LICENSE.txt"],
        {"ffhq-dataset-v2.json": json.dumps({"7": FLICKR})},
    ),
    "grid": (
        "s1/bbaf2n.mpg",
        ["s1", "s2", "audio_25k", "video", "bbaf2n.mpg", "bbaf2n.wav", "id2_vcd_swwp2s.mpg", "bbaw2n.mpg"],
        {"s1/bbaf2n.align": "0 23750 sil\n23750 29500 bin\n"},
    ),
}
OTHERS = ["x.mp4", "y.wav", "z.png", "é.jpg", "README.md", ".git", "a"]
BITS = [
    "\n",
    "\t",
    ",",
    " ",
    '"',
    "\ufeff",
    "\r",
    "-1",
    "0",
    "id10001",
    "nan",
    "{",
    "}",
    "[",
    "\x85",
    "9" * 30,
    "ß",
    "\x00",
    ":",
]


@pytest.fixture(scope="module", autouse=True)
def _small_celeba() -> Iterator[None]:
    """Two hundred thousand names of missing pictures, for each example, take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celeba, "PICTURES", 2000)
        yield


def read(kind: str, root: str, inventory: Inventory, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read it, and check that every file is accounted for once."""
    corpus = SOURCES[kind](terms=SOURCES[kind].template)(kind, tmp_path_factory.getbasetemp() / root, inventory)
    rows = by_path(corpus)
    media = {path for path in inventory.files if media_type(path) in corpus.media_types}
    assert rows.keys() <= media
    assert media - rows.keys() <= {*corpus.known}
    assert not {path for path, row in rows.items() if row.reason is None} & {*corpus.known}
    silent = inventory.files.keys() - rows.keys() - {*corpus.known}
    assert corpus.report().unexpected.count == len(silent) + sum(row.reason == OUTSIDE for row in rows.values())
    for path, row in rows.items():
        assert row.media_type == media_type(path)
        assert row.reason or row.label == "real"
        assert all(word.start_s <= word.end_s for word in row.words)
        assert "\n" not in row.credit + row.text + (row.reason or "")


@pytest.mark.parametrize("kind", CORPORA)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_file_is_accounted_for(kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good, names, metadata = CORPORA[kind]
    paths = data.draw(st.lists(st.lists(st.sampled_from([*names, *OTHERS]), min_size=1, max_size=4).map("/".join), max_size=12))
    root = tmp_path_factory.getbasetemp() / f"accounted_{kind}" / "raw"
    on = on_disk(root, dict(metadata))
    files = [path for path in paths if PurePosixPath(path).name not in {PurePosixPath(name).name for name in metadata}]
    inventory = with_clips(on, [good, *files])
    read(kind, f"accounted_{kind}/raw", inventory, tmp_path_factory)


@pytest.mark.parametrize("kind", CORPORA)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_spoilt_metadata_fail_with_a_clear_line_or_not_at_all(
    kind: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A piece of a metadata file is cut out, and something else put in its place."""
    good, _, metadata = CORPORA[kind]
    file = data.draw(st.sampled_from(sorted(metadata)))
    text = metadata[file]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    put = data.draw(st.one_of(st.lists(st.sampled_from(BITS), max_size=4).map("".join), st.text(max_size=6)))
    spoilt = (text[:start] + put + text[end:]).encode("utf-8", "surrogatepass")
    root = tmp_path_factory.getbasetemp() / f"spoilt_{kind}" / "raw"
    inventory = with_clips(on_disk(root, {**metadata, file: spoilt}), [good])
    try:
        read(kind, f"spoilt_{kind}/raw", inventory, tmp_path_factory)
    except SourceError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told
    assert len(told) < 500


def test_the_good_clips_are_good(tmp_path_factory: pytest.TempPathFactory) -> None:
    for kind, (good, _, metadata) in CORPORA.items():
        root = tmp_path_factory.mktemp(kind) / "raw"
        corpus = SOURCES[kind](terms=SOURCES[kind].template)(kind, root, with_clips(on_disk(root, dict(metadata)), [good]))
        (row,) = corpus
        assert row.reason is None
