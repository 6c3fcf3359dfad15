"""CelebA (Liu et al., ICCV 2015): 202 599 photographs of 10 177 celebrities, with 40 attributes each.

As the publisher lays it out, as torchvision does (all in one folder), or as Kaggle does (tables as csv, folders doubled):

    Img/img_align_celeba/000001.jpg                     aligned faces, 178x218
    Anno/list_attr_celeba.txt                           `000001.jpg -1 1 …`, 40 attributes by name
    Anno/identity_CelebA.txt                            `000001.jpg 2880`
    Anno/list_bbox_celeba.txt                           boxes in the photographs, not in the aligned faces
    Anno/list_landmarks_{align_,}celeba.txt             five points
    Eval/list_eval_partition.txt                        0 train, 1 val, 2 test
    Img/img_celeba/000001.jpg                           the photographs themselves: left out
    Img/img_align_celeba_png/000001.png                 read where the JPEG is not there, else left out

Tables may lie anywhere. Most begin with the number of rows and a line of names; copies add or drop these lines, use commas, and
some are cut off: rows are counted, and what is missing is reported.

Attributes are annotators' answers about one picture (`yes` or `no`, by the published names in small letters), and some, such
as `attractive` or `young`, are opinions. They are what the corpus declares; nothing is guessed. Boxes and points are checked
and not kept, as ingest finds the face itself; the published box of 101283.jpg is empty. Nobody is in two of the official
splits, as far as the identities are right: mistakes in them are known.

Licence: CelebA's agreement: non-commercial research alone; neither the pictures nor what is derived from them may be published
or passed on.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from forgeline.inventory import Inventory
from forgeline.sample import SPLITS, Split
from forgeline.terms import Terms
from sources.corpus import Corpus, Found, Source, read_text, unreadable
from sources.metadata import cells, places

PICTURES = 202_599
PEOPLE = 10_177
PUBLISHED = {"train": 162_770, "val": 19_867, "test": 19_962}
ATTRIBUTES = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair Blurry
    Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male
    Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns
    Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie
    Young""".split()  # noqa: SIM905 (forty lines otherwise)
)
_POINTS = tuple(f"{part}_{axis}" for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy")
_COLUMNS = {
    "list_attr_celeba": ATTRIBUTES,
    "identity_CelebA": ("identity",),
    "list_eval_partition": ("partition",),
    "list_bbox_celeba": ("x_1", "y_1", "width", "height"),
    "list_landmarks_align_celeba": _POINTS,
    "list_landmarks_celeba": _POINTS,
}
"""Columns of each table, in the published order."""

_WANTED = ("list_attr_celeba", "identity_CelebA", "list_eval_partition")
_PICTURE = re.compile(r"(?:.*/)?(?P<folder>img_align_celeba|img_celeba|img_align_celeba_png)/(?P<number>[0-9]{6})\.(?:jpg|png)")
_NAME = re.compile(r"(?P<number>[0-9]{6})\.(?:jpg|png)")
_COUNT = re.compile(r"[0-9]{1,9}")
_WHOLE = re.compile(r"-?[0-9]{1,6}")
_WIDTH, _HEIGHT = 178, 218
_LARGEST = 64 << 20  # bytes of a table; the attributes have 27 million
_EMPTY_BOX = "101283"
_NO, _YES = -1, 1


class CelebA(Source):
    """CelebA's aligned faces."""

    template: ClassVar = Terms(
        agreement="CelebA agreement",
        licence="CelebA agreement (non-commercial research, no redistribution of pictures or derived data)",
        permitted_use=("detection", "research"),
        consent="public photographs of celebrities, people not asked",
    )
    kind: Literal["celeba"] = "celeba"
    terms: Terms
    """The accepted agreement."""

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real faces with identity, attributes and official split, as far as the tables are here."""
        pictures: dict[str, str] = {}
        refused: dict[str, str] = {}
        left_out: dict[str, list[str]] = {
            "photographs that are not aligned": [],
            "PNG files of pictures that are here as JPEG": [],
        }
        for path, folder, number in _pictures(inventory):
            if folder == "img_celeba":
                left_out["photographs that are not aligned"].append(path)
            elif not 1 <= int(number) <= PICTURES:
                refused[path] = f"CelebA has no picture {number}"
            elif number not in pictures:
                pictures[number] = path
            elif path.endswith(".png") and pictures[number].endswith(".jpg"):
                left_out["PNG files of pictures that are here as JPEG"].append(path)
            else:
                refused[path] = f"the same picture as {pictures[number]}"
        files = places(inventory, [f"{table}{suffix}" for table in _COLUMNS for suffix in (".txt", ".csv")])
        said: dict[str, dict[str, tuple[int, ...]]] = {}
        mismatching: list[str] = []
        for table in _COLUMNS:
            for path in (files[f"{table}.txt"] + files[f"{table}.csv"])[:1]:
                said[table], wrong = _read(root, inventory, path, table, pictures if table in _WANTED else ())
                mismatching += wrong
        answers, identities, parts = (said.get(table, {}) for table in _WANTED)
        names = tuple(attribute.lower() for attribute in ATTRIBUTES)
        found: dict[str, Found] = {}
        for number, path in pictures.items():
            person = str(identities[number][0]) if number in identities else None
            split = _published(number)
            if number in parts and SPLITS[parts[number][0]] != split:
                mismatching.append(f"{path}: {SPLITS[parts[number][0]]} in its partition, published as {split}")
                split = SPLITS[parts[number][0]]
            found[path] = Found(
                group=split,
                label="real",
                video_label="real",
                target=person,
                apparent=person,
                split=split,
                attributes={
                    attribute: "yes" if answer == _YES else "no"
                    for attribute, answer in zip(names, answers.get(number, ()), strict=False)
                },
            )
        numbers = (f"{number:06}" for number in range(1, PICTURES + 1))
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={path for paths in (*files.values(), *left_out.values()) for path in paths},
            media_types=("image",),
            published=PUBLISHED,
            missing=[
                *(f"{number}.jpg" for number in numbers if number not in pictures),
                *(f"{table}.txt" for table in _WANTED if table not in said),
            ],
            mismatching=mismatching,
            notes=tuple(f"{len(paths)} {what} are left out" for what, paths in left_out.items() if paths),
        )


def _pictures(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    """Path, kind of folder and number of each picture, JPEG before PNG."""
    found = [(path, picture) for path in inventory.files if (picture := _PICTURE.fullmatch(path))]
    for path, picture in sorted(found, key=lambda each: (each[0].endswith(".png"), each[0])):
        yield path, picture["folder"], picture["number"]


def _published(number: str) -> Split:
    """The official split, which goes by number."""
    if int(number) <= PUBLISHED["train"]:
        return "train"
    return "val" if int(number) <= PUBLISHED["train"] + PUBLISHED["val"] else "test"


def _read(
    root: Path, inventory: Inventory, path: str, table: str, wanted: Collection[str]
) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The values of the wanted pictures by number, in the published order of columns, and what is wrong with the table.

    A row of a value that can't be is no value. SourceError where it is no such table at all.
    """
    columns = _COLUMNS[table]
    declared: int | None = None
    order: Sequence[int] | None = None
    values: dict[str, tuple[int, ...]] = {}
    wrong: list[str] = []
    numbers: set[str] = set()
    for line, text in enumerate(read_text(root, inventory, path, _LARGEST).splitlines(), start=1):
        if not text.strip():
            continue
        found = cells(text)
        name = _NAME.fullmatch(found[0])
        if not numbers and name is None and order is None:
            if declared is None and len(found) == 1 and _COUNT.fullmatch(found[0]):
                declared = int(found[0])
            else:
                order = _order(root / f"{path}:{line}", found, columns)
            continue
        if name is None or len(found) != 1 + len(columns) or not all(map(_WHOLE.fullmatch, found[1:])):
            unreadable(root / f"{path}:{line}", f"it is not a picture and {len(columns)} whole numbers")
        number = name["number"]
        if number in numbers:
            unreadable(root / f"{path}:{line}", f"{found[0]} is there twice")
        numbers.add(number)
        row = tuple(int(found[1 + place]) for place in order or range(len(columns)))
        if not _possible(table, row):
            if (table, number) != ("list_bbox_celeba", _EMPTY_BOX):
                wrong.append(f"{path}:{line}: {' '.join(found[1:5])[:40]} can't be")
        elif number in wanted:
            values[number] = row
    if len(numbers) != (declared or PICTURES):
        says = f"{PICTURES} are published" if declared is None else f"its first line says {declared}"
        wrong.append(f"{path}: {len(numbers)} rows, {says}")
    return values, wrong


def _order(where: Path, names: Sequence[str], columns: Sequence[str]) -> Sequence[int]:
    """At which place of a row, its picture left out, each column stands."""
    names = [name.lower() for name in names[len(names) - len(columns) :]]
    if len(columns) == 1 and len(names) == 1:
        return (0,)  # copies have several names for it
    if sorted(names) != sorted(column.lower() for column in columns):
        unreadable(where, f"its columns are not {', '.join(columns[:3])} …")
    return [names.index(column.lower()) for column in columns]


def _possible(table: str, row: Sequence[int]) -> bool:
    match table:
        case "list_attr_celeba":
            return all(value in (_NO, _YES) for value in row)
        case "identity_CelebA":
            return 1 <= row[0] <= PEOPLE
        case "list_eval_partition":
            return 0 <= row[0] < len(SPLITS)
        case "list_bbox_celeba":
            return row[2] > 0 and row[3] > 0
        case "list_landmarks_align_celeba":
            return all(0 <= x < _WIDTH for x in row[::2]) and all(0 <= y < _HEIGHT for y in row[1::2])
    return True
