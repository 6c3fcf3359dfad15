"""A small corpus of every layout that can be read: clips as it names them, and its own metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from sources.celeba import ATTRIBUTES
from sources.corpus import Source
from sources.table import SOURCES

CONSENT = {"basis": "signed form", "scope": ["face", "voice"]}
ACCEPTED = {"accepted_by": "the tests", "accepted_on": "2026-01-01"}
FOLK = ("ana", "ben", "cem", "dora")
SHOW = "6330311066473698535"
LETTERS = tuple(letter * 10 for letter in "abcdefgh")


@dataclass(frozen=True)
class Layout:
    """`clips` are eight that the metadata, by path, agree with; `settings` go under `sources` beside `kind`."""

    kind: str
    clips: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def section(self) -> dict[str, Any]:
        """The entry in params."""
        terms = SOURCES[self.kind].template.settings() | ACCEPTED
        if self.kind == "demo":
            return {"kind": "demo"}
        if self.kind in ("folder", "camera"):
            terms |= {"consent": "signed forms", "people": dict.fromkeys(FOLK, CONSENT)}
        return {"kind": self.kind, "terms": terms, **self.settings}

    @property
    def source(self) -> Source:
        return SOURCES[self.kind].model_validate_json(json.dumps(self.section))

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.clips[0]).suffix


def _celeb(clips: tuple[str, ...], version: str) -> Layout:
    listed = f"1 {clips[0]}\n" + "".join(f"0 {clip}\n" for clip in clips if "synthesis" in clip)
    return Layout("celeb_df", clips, {"List_of_testing_videos.txt": listed}, {"version": version})


def _told(number: int) -> str:
    lines = [
        {"began": f"2026-11-21T10:0{number}:00.000Z", "ended": f"2026-11-21T10:0{number}:59.000Z"},
        {"time": f"2026-11-21T10:0{number}:01.000Z", "faces": [{"id": 1, "box": [0, 0, 1, 1]}]},
        {"time": f"2026-11-21T10:0{number}:02.000Z", "sensor": "motion", "value": 1.5},
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _photograph(number: int) -> dict[str, Any]:
    return {
        "category": "training",
        "metadata": {
            "photo_url": f"https://www.flickr.com/photos/x/{number}/",
            "photo_title": "A day",
            "author": "Somebody",
            "license_url": "https://creativecommons.org/licenses/by/2.0/",
        },
    }


def _actor(number: int) -> dict[str, Any]:
    return {"label": "real", "set": "train", "target_id": number, "swapped_id": None, "augmentations": []}


_ALIGN = "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n"
_TRACK = (
    "Identity  : \t{}\nReference : \t_raOc3-IRsw\nOffset    : \t2\nFV Conf   : \t20.230\t(1)\nASD Conf  : \t2.765\n\n"
    "FRAME \tX \tY \tW \tH \n000349 \t0.319 \t0.067 \t0.424 \t0.753 \n"
)
_TIMED = "Text:  YOU {NS} FOR\nConf:  4\n\nWORD START END ASDSCORE\nYOU 0.08 0.49 7.3\nFOR 0.49 1 -0.2\n"
_LABELS = {f"{letters}.mp4": {"label": "REAL", "split": "train"} for letters in LETTERS}
_LABELS["hhhhhhhhhh.mp4"] = {"label": "FAKE", "split": "train", "original": "aaaaaaaaaa.mp4"}
_GRID = ("bbaf2n", "bbaf3s", "bbaf4p", "bbaf5a", "bbal6n", "bbal7s", "bbal8p", "bbal9a")
_STAMPS = tuple(f"20261121T100{number}00.000Z" for number in range(8))

LAYOUTS: dict[str, Layout] = {
    "demo": Layout(
        "demo",
        tuple(f"p0{number}/c0.mp4" for number in range(8)),
        {
            "p00/c0.truth.json": json.dumps(
                {"attributes": {"age": 30}, "words": [[0.0, 0.1, "one"]], "phonemes": [[0, 0.1, "w"]]}
            )
        },
    ),
    "folder": Layout(
        "folder",
        ("ana/a.mp4", "ben/b.mp4", "cem/c.mp4", "dora/d.mp4", *(f"ana/{letter}.mp4" for letter in "efgh")),
        {"attributes.csv": "person,glasses\nana,none\nben,round\n", "ana/a.align": _ALIGN},
    ),
    "ffpp": Layout(
        "ffpp",
        (
            *(f"original_sequences/youtube/c23/videos/{stem}.mp4" for stem in ("000", "003", "001", "870", "010", "011")),
            "manipulated_sequences/Face2Face/c23/videos/003_000.mp4",
            "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        ),
        {
            "splits/train.json": '[["000", "003"]]',
            "splits/val.json": '[["001", "870"]]',
            "splits/test.json": '[["010", "011"]]',
            "conversion_dict.json": '{"000": "--b1Ua-kWJE 0", "003": "abcdefghijk 1"}',
        },
    ),
    "ffpp flat": Layout(
        "ffpp",
        (*(f"original/{stem}.mp4" for stem in ("000", "003", "001", "870", "010", "011", "012")), "Deepfakes/000_003.mp4"),
        {"csv/original.csv": ",File Path,Label,Frame Count\n0,original/000.mp4,REAL,5\n1,original/003.mp4,REAL,5\n"},
    ),
    "celeb_df v1": _celeb(
        (*(f"Celeb-real/id0_000{number}.mp4" for number in range(7)), "Celeb-synthesis/id0_id1_0000.mp4"), "v1"
    ),
    "celeb_df v2": _celeb(
        (*(f"YouTube-real/0000{number}.mp4" for number in range(7)), "Celeb-synthesis/id61_id60_0000.mp4"), "v2"
    ),
    "celeb_df ++": _celeb(
        (
            *(f"Celeb-real/id0_000{number}.mp4" for number in range(6)),
            "Celeb-synthesis/FaceSwap/SimSwap/id0_id16_0000.mp4",
            "Celeb-synthesis/TalkingFace/FLOAT/id0_0000_test_x.mp4",
        ),
        "++",
    ),
    "dfdc": Layout(
        "dfdc",
        tuple(f"dfdc_train_part_0/{name}" for name in _LABELS),
        {"dfdc_train_part_0/metadata.json": json.dumps(_LABELS)},
    ),
    "dfdc validation": Layout(
        "dfdc",
        tuple(f"validation/{name}" for name in _LABELS),
        {"validation/labels.csv": "filename,label\n" + "".join(f"{name},0\n" for name in _LABELS)},
    ),
    "dfdc preview": Layout(
        "dfdc",
        tuple(f"original_videos/{number}/{number}_A_001.mp4" for number in range(1, 9)),
        {"dataset.json": json.dumps({f"original_videos/{n}/{n}_A_001.mp4": _actor(n) for n in range(1, 9)})},
    ),
    "voxceleb 1": Layout(
        "voxceleb",
        tuple(f"dev/wav/id10001/1zcIwhmdeo4/0000{number}.wav" for number in range(1, 9)),
        {"vox1_meta.csv": "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tAda_B.\tf\tIreland\tdev\n"},
    ),
    "voxceleb 2": Layout(
        "voxceleb",
        tuple(f"dev/mp4/id00012/_raOc3-IRsw/0000{number}.mp4" for number in range(1, 9)),
        {
            "vox2_meta.csv": "\ufeffVoxCeleb2 ID ,VGGFace2 ID,Gender,Set\r\nid00012 ,n000012 ,m ,dev \r\n",
            "dev/txt/id00012/_raOc3-IRsw/00001.txt": _TRACK.format("id00012"),
        },
    ),
    "lrs2": Layout(
        "lrs",
        tuple(f"mvlrs_v1/main/{SHOW}/0000{number}.mp4" for number in range(1, 9)),
        {
            f"mvlrs_v1/main/{SHOW}/00001.txt": _TIMED,
            "train.txt": "".join(f"{SHOW}/0000{number}\n" for number in (1, 2, 3, 4, 6, 7, 8)),
            "test.txt": f"{SHOW}/00005 NF\n",
        },
    ),
    "lrs3": Layout(
        "lrs",
        tuple(f"trainval/0Fi83BHQsMA/0000{number}.mp4" for number in range(1, 9)),
        {"trainval/0Fi83BHQsMA/00001.txt": _TIMED, "lrs3-valid.id": "trainval/0Fi83BHQsMA/00005\n"},
        {"version": "lrs3"},
    ),
    "grid": Layout(
        "grid",
        tuple(f"s1/video/mpg_6000/{stem}.mpg" for stem in _GRID),
        {"s1/align/bbaf2n.align": "0 23750 sil\n" + "".join(f"{n}0000 {n}5000 {w}\n" for n, w in enumerate("abcdef", 3))},
    ),
    "celeba": Layout(
        "celeba",
        tuple(f"Img/img_align_celeba/00000{number}.jpg" for number in range(1, 9)),
        {
            "Anno/list_attr_celeba.txt": f"8\n{' '.join(ATTRIBUTES)}\n"
            + "".join(f"00000{number}.jpg {' '.join(['-1'] * 40)}\n" for number in range(1, 9)),
            "Anno/identity_CelebA.txt": "".join(f"00000{number}.jpg 2880\n" for number in range(1, 9)),
            "Anno/list_bbox_celeba.txt": "1\nimage_id x_1 y_1 width height\n000001.jpg    95  71 226 313\n",
            "Eval/list_eval_partition.csv": "image_id,partition\n000001.jpg,0\n",
        },
    ),
    "ffhq": Layout(
        "ffhq",
        tuple(f"images1024x1024/00000/0000{number}.png" for number in range(8)),
        {"ffhq-dataset-v2.json": json.dumps({str(number): _photograph(number) for number in range(8)})},
    ),
    "camera": Layout(
        "camera",
        tuple(f"{stamp}.mkv" for stamp in _STAMPS),
        {
            **{f"{stamp}.jsonl": _told(number) for number, stamp in enumerate(_STAMPS)},
            "people.csv": f"segment,person\n{_STAMPS[0]}.mkv,ana\n",
        },
        {"address": "/dev/video0"},
    ),
}
"""By what parametrised tests call it: every kind of source, in every layout that has metadata of its own."""
