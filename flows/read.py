"""`read FILE|DIR`: what a file is, offline: its marks, its credentials, its open tag, and what rows at hand say of them.

Files are opened in worker processes, so that one that crashes a decoder costs itself alone. Rows are those of the
manifests and release shards of this checkout, and of the releases that are named.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows import workspace
from flows.params import key_names, load_params
from forgeline.compute import Died, processes
from forgeline.errors import FactoryError, MediaError, ParamsError
from forgeline.image import open_image
from forgeline.video import open_video
from watermark.find import Place
from watermark.fingerprint import Content, Fingerprint
from watermark.keys import DEMO, ShardKey, masters
from watermark.metadata import Tag
from watermark.read import FALSE_READS, Found, Reading, read

if TYPE_CHECKING:
    from watermark.credentials import Credentials

NOT_MARKED = 3
"""Exit code where some file carries no mark; 2 where some file could not be read; else 0."""


@dataclass(frozen=True)
class Row:
    """A sample whose mark a file carries.

    `content`: whether the file shows what the mark was issued for. `identical`: the file is the sample's, byte for byte.
    `index`: the manifest or shard that the row is in.
    """

    sample_id: str
    label: str
    role: str
    method: str
    variant: str
    split: str | None
    target_id: str | None
    source_id: str | None
    licence: str
    permitted_use: list[str]
    content: Content
    identical: bool
    index: str


@dataclass(frozen=True)
class MarkReport:
    """A mark in a file's `pictures` or `sound`, and the samples it was issued for, the likeliest first.

    `score` in standard deviations; `chance` of an unmarked file reading like this. `content` is the first sample's.
    """

    carrier: Literal["pictures", "sound"]
    id: str
    bits: int
    key_id: str
    score: float
    chance: float
    place: Place | None
    speed: float | None
    content: Content
    samples: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """All that is known of a file, as `--json` prints it: see docs/using.md."""

    file: str
    media_type: str | None
    marked: bool
    false_accept: float
    marks: tuple[MarkReport, ...]
    credentials: "Credentials | None"
    tag: Tag | None
    error: str | None

    @property
    def exit_code(self) -> int:
        """2: it could not be read; NOT_MARKED; 0: it is marked."""
        return 2 if self.error else 0 if self.marked else NOT_MARKED


def read_all(paths: Sequence[Path], releases: Sequence[Path], as_json: bool) -> int:
    """Print a report on each file, and on those below each folder; give the exit code.

    A file that can't be read is reported, and costs no other its report. FactoryError for a bad key file, a bad release or
    empty folders.
    """
    index = Index(releases)
    means = means_at_hand(index)
    files = list(_files(paths))
    if not files:
        raise FactoryError(paths[0], "holds no file", "name a file, or a folder of files")
    codes = set()
    for examined in _in_order(files, means):
        told = report(examined, index)
        first, *others = sentences(told)
        lines = [json.dumps(asdict(told))] if as_json else [f"{told.file}: {first}", *(f"  {line}" for line in others)]
        print(*map(_printable, lines), sep="\n", flush=True)
        codes.add(told.exit_code)
    return next((code for code in (2, NOT_MARKED) if code in codes), 0)


def _printable(line: str) -> str:
    """A line in which a hostile file name, or what a file says, can't steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths, and in place of a folder the files below it, sorted, without hidden ones."""

    def refuse(error: OSError) -> None:
        raise FactoryError(error.filename, f"can't be listed ({error.strerror})", "make it readable, or leave it out")

    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path, onerror=refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _in_order(paths: Sequence[Path], means: "Means") -> Iterator["Examined"]:
    done: dict[int, Examined] = {}
    shown = 0
    for (number, path), result in processes(partial(_numbered, means), list(enumerate(paths))):
        done[number] = Examined(path, error=result.reason) if isinstance(result, Died) else result
        while shown in done:
            yield done.pop(shown)
            shown += 1


def _numbered(means: "Means", job: tuple[int, Path]) -> "Examined":
    return examine(job[1], means)


# The file itself -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """What is needed to read a file: the keys to try, and the root certificates that are trusted (PEM)."""

    keys: tuple[ShardKey, ...]
    anchors: str


@dataclass(frozen=True)
class Examined:
    """What a file holds; `error` says why there is no more. A file whose pictures carry a mark has a `fingerprint`."""

    path: Path
    reading: Reading | None = None
    credentials: "Credentials | None" = None
    fingerprint: Fingerprint | None = None
    sha256: str = ""
    error: str | None = None


def examine(path: Path, means: Means) -> Examined:
    """Read a file. What is wrong with it is said in the result; nothing is raised."""
    from watermark.credentials import read_credentials

    try:
        reading = read(path, means.keys)
        credentials = read_credentials(path, means.anchors)
        marked = any(found.carrier == "pictures" for found in reading.found)
        fingerprint = _fingerprint(path, reading.media_type) if marked else None
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Examined(path, reading, credentials, fingerprint, sha256)
    except MediaError as error:
        return Examined(path, error=f"it {error.what}; {error.todo}")
    except OSError as error:
        return Examined(path, error=str(error.strerror or error))
    except Exception as error:  # whatever a hostile file makes a decoder raise
        return Examined(path, error=f"{type(error).__name__}: {error}; report it if the file is whole")


def _fingerprint(path: Path, media_type: str) -> Fingerprint | None:
    """None for what can be looked into and not worked on, such as a video that ends early."""
    try:
        clip = open_image(path) if media_type == "image" else open_video(path)
        prints = Fingerprint(clip.frames)
        for picture in clip.pictures():
            prints.add(picture)
    except MediaError:
        return None
    return prints


# Rows and keys at hand -----------------------------------------------------------------------------------------------

_SHOWN = ("sample_id", "label", "role", "method", "variant", "split", "target_id", "source_id", "licence", "permitted_use")
_COLUMNS = (
    *_SHOWN,
    *("mark_id", "mark_key_id", "sha256", "fingerprint", "width", "height"),
)


class Index:
    """The rows of the manifests and shards in this checkout, and in the folders of `releases`.

    FactoryError where a release holds none, or one of its files can't be read.
    """

    def __init__(self, releases: Iterable[Path] = ()) -> None:
        made = (
            path for folder in (workspace.MADE, workspace.VARIANTS) for path in sorted(folder.glob(f"*/{workspace.MANIFEST}"))
        )
        files = [*made, *sorted(workspace.RELEASE.glob("*/*/*.parquet"))]
        for release in releases:
            shards = sorted(release.rglob("*.parquet"))
            if not shards:
                raise FactoryError(release, "holds no shard of a release", "name the folder that `dvc get` made")
            files += shards
        # A table, searched by column: 100 000 rows as objects would take seconds.
        tables = [_marked_rows(path) for path in files]
        self._rows = pa.concat_tables(tables, promote_options="permissive") if tables else None

    @property
    def key_ids(self) -> list[str]:
        """`<master key id>/<shard>` of every key that marked a row, sorted."""
        return sorted(pc.unique(self._rows["mark_key_id"]).to_pylist()) if self._rows else []

    def find(self, mark_id: str, key_id: str) -> list[dict[str, Any]]:
        """The rows with this mark: a sample, its variants, and those of other releases; none twice."""
        if self._rows is None:
            return []
        here = pc.and_(pc.equal(self._rows["mark_id"], mark_id), pc.equal(self._rows["mark_key_id"], key_id))
        found: list[dict[str, Any]] = self._rows.filter(here).to_pylist()
        unlike: dict[tuple[str, str], dict[str, Any]] = {}
        for row in found:
            unlike.setdefault((row["sample_id"], row["sha256"]), row)
        return list(unlike.values())


def _marked_rows(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read([name for name in _COLUMNS if name in file.schema_arrow.names])
        table = table.filter(pc.is_valid(table["mark_id"]))
    except (OSError, KeyError, pa.ArrowException) as error:
        todo = "run `dvc pull` or `dvc get` again, or name another folder"
        raise FactoryError(path, f"is no whole manifest or shard of ours ({error})", todo) from error
    return table.append_column("index", pa.repeat(str(path), len(table)))


def means_at_hand(index: Index) -> Means:
    """For every master key at hand the keys of the rows that name it, and those of the shards that params imply.

    KeyFileError for a bad key file, or one of root certificates. A master key that rows name and that is not at hand is
    named on standard error.
    """
    from watermark.credentials import trust_anchors

    implied = set(_implied_shards())
    at_hand = {key.id: (key, set(implied)) for key in masters()}
    missing = set()
    for key_id in index.key_ids:
        master_id, _, shard = key_id.partition("/")
        if master_id in at_hand:
            at_hand[master_id][1].add(shard)
        else:
            missing.add(master_id)
    for master_id in sorted(missing):
        print(
            f"read: rows here are marked with key {master_id}, which is not at hand; no such mark can be read", file=sys.stderr
        )
    keys = tuple(key.shard(shard) for key, shards in at_hand.values() for shard in sorted(shards))
    return Means(keys, trust_anchors())


def _implied_shards() -> list[str]:
    """The names of the keys that a build with the params here marks with; one a split where there are none."""
    batches = 1
    if Path("params.yaml").exists():
        try:
            batches = load_params().plan.batches
        except ParamsError as error:
            print(f"read: {error}; until then, shards that no row here names are not all looked for", file=sys.stderr)
    return key_names(batches)


# What follows from both ----------------------------------------------------------------------------------------------


def report(examined: Examined, index: Index) -> Report:
    """What the file holds, with what the rows say of it."""
    reading = examined.reading
    marks = tuple(_mark_report(found, examined, index) for found in reading.found) if reading else ()
    return Report(
        file=str(examined.path),
        media_type=reading.media_type if reading else None,
        marked=bool(marks),
        false_accept=min((mark.chance for mark in marks), default=FALSE_READS),
        marks=marks,
        credentials=examined.credentials,
        tag=reading.tag if reading else None,
        error=examined.error,
    )


def _mark_report(found: Found, examined: Examined, index: Index) -> MarkReport:
    mark_id = f"{found.mark.id:0{10 if found.mark.bits == 64 else 4}x}"
    rows = [_row(values, found, examined) for values in index.find(mark_id, found.key.id)]
    likeliest = ("same", "unknown", "different")
    rows.sort(key=lambda r: (not r.identical, likeliest.index(r.content), r.variant != "master", r.sample_id))
    return MarkReport(
        carrier=found.carrier,
        id=mark_id,
        bits=found.mark.bits,
        key_id=found.key.id,
        score=found.score,
        chance=found.chance,
        place=found.place,
        speed=found.speed,
        content=rows[0].content if rows else "unknown",
        samples=tuple(rows),
    )


def _row(values: dict[str, Any], found: Found, examined: Examined) -> Row:
    identical = values["sha256"] == examined.sha256
    content: Content = "same" if identical else "unknown"
    sealed = values.get("fingerprint")  # sound has none, nor had the rows of older releases
    if not identical and found.carrier == "pictures" and examined.fingerprint and sealed:
        content = examined.fingerprint.shows(sealed, (values["width"], values["height"]), found.place)
    shown = {name: values[name] for name in (*_SHOWN, "index")}
    return Row(content=content, identical=identical, **shown)


def sentences(told: Report) -> list[str]:
    """The report in words: first the verdict, then what it rests on."""
    if told.error:
        return [f"can't be read: {told.error}"]
    about_marks = [line for mark in told.marks for line in _about_mark(mark)]
    if not told.marks:
        about_marks = [f"of files without a mark, at most one in {1 / told.false_accept:,.0f} would be called marked"]
    return [_verdict(told), *about_marks, *_about_credentials(told), _about_tag(told.tag)]


def _verdict(told: Report) -> str:
    if not told.marks:
        return "not marked"
    if len({(mark.key_id, mark.id) for mark in told.marks}) > 1:
        return "marked, but its pictures and its sound are of different samples"
    if any(mark.content == "different" for mark in told.marks):
        return "marked, but it shows something else than the sample that the mark is of"
    return "marked"


def _about_mark(mark: MarkReport) -> Iterator[str]:
    chance = f"probability in an unmarked file {mark.chance:.0e}"
    yield f"mark {mark.id} of shard {mark.key_id} in its {mark.carrier}: score {mark.score:.1f}, {chance}"
    if mark.key_id.startswith(f"{DEMO}/"):
        yield "that key is public: anyone can put such a mark on anything"
    if changes := list(_changes(mark)):
        yield f"since it was marked, it was {', '.join(changes)}"
    if not mark.samples:
        yield "no row here knows this mark"
        return
    row, *others = mark.samples
    people = " from ".join(p for p in (row.target_id, row.source_id) if p) or "nobody"
    yield f"sample {row.sample_id}: {row.label}, {row.role} by {row.method}, {row.split}, {people} ({row.index})"
    if row.identical:
        yield "it is that sample's file, byte for byte (`python -m flows verify` tells who signed it)"
    elif row.content == "same":
        yield "it shows what that sample shows"
    elif row.content == "different":
        yield "it shows something else than that sample: the mark was probably copied onto it, or it was edited heavily"
    else:
        yield "whether it holds what that sample holds can't be told: the mark could have been copied onto it"
    for other in others:
        yield f"the mark is also that of {other.sample_id} ({other.variant}, {other.index})"


def _changes(mark: MarkReport) -> Iterator[str]:
    if mark.place:
        if mark.place.mirrored:
            yield "mirrored"
        x, y = mark.place.scale_x, mark.place.scale_y
        if max(abs(x - 1), abs(y - 1)) > 0.002:
            yield f"scaled by {x:.3g}" if abs(x / y - 1) < 0.002 else f"scaled by {x:.3g} in width and {y:.3g} in height"
        if abs(mark.place.turn) > 0.05:
            yield f"turned by {mark.place.turn:.1f}°"
    if mark.speed and abs(mark.speed - 1) > 0.0005:
        yield f"played {mark.speed:.4g} times as fast"


def _about_credentials(told: Report) -> Iterator[str]:
    found = told.credentials
    if found is None or found.state == "none":
        yield "no content credentials (C2PA)"
        return
    what = {
        "trusted": "content credentials (C2PA): trusted, unchanged since they were signed",
        "untrusted": "content credentials (C2PA): unchanged since they were signed, but by nobody who is trusted here",
        "invalid": "content credentials (C2PA): INVALID, the file was changed after it was signed, or is damaged",
    }[found.state]
    yield what + (f"; signed by {found.signer}" if found.signer else "") + "".join(f"; {code}" for code in found.failures)
    marks, named = {mark.id for mark in told.marks}, {value for _, value in found.bindings}
    if marks and named and not marks & named:
        yield f"the credentials name another mark: {', '.join(sorted(named))}"


def _about_tag(tag: Tag | None) -> str:
    if tag is None:
        return "no open tag (XMP)"
    uses = ", ".join(tag.permitted_use) or "nothing"
    return f"its open tag, which proves nothing, says: sample {tag.sample_id}, {tag.source_type}, {tag.licence}, for {uses}"
