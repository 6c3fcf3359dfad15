"""What `python -m flows camera <name>` recorded: segments of a live camera, with what was seen and measured meanwhile.

    <root>/20261121T234512.250Z.mkv     a segment, named by the time (UTC) of its first picture
    <root>/20261121T234512.250Z.jsonl   when it began and ended, the faces that were seen, what sensors said
    <root>/people.csv                   who is in which segment; the operator writes it

The first line of a `.jsonl` is `{"began": …, "ended": …}`; a later one is either a picture that was looked at,
`{"faces": [{"box": [x0, y0, x1, y1], "id": 1}], "time": …}`, or a reading, `{"sensor": "motion", "time": …, "value": 1.0}`.
Times are UTC; a reading's is that of its arrival. The last reading before a segment is in its file as well, so that each
stands alone.

`people.csv` begins with `segment,person` and names one person a segment: `20261121T234512.250Z.mkv,ana`. Nobody is recognised.
Who is not named there has no name here, and without a name nobody's face or voice is used: the plan refuses such segments. A
named person needs a record under `terms.people`, and a segment in which two faces were seen at once can't be named after one
of them. Segments that nobody named and that show no face, or hardly one, are left out.

Licence: none but what the operator agreed with those who pass the camera, which `terms` record. Nothing is recorded or read
before somebody has accepted them and said on what basis people are recorded. Forgeries need at least four people with consent,
as with any recordings of one's own.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from forgeline.errors import SourceError, TermsError, UnreadableError
from forgeline.inventory import Inventory
from forgeline.section import Section
from forgeline.terms import Terms, require_use
from sources.corpus import RAW, Corpus, Found, Source, read_table, read_text

SUFFIX = ".mkv"
TOLD = ".jsonl"
PEOPLE = "people.csv"
STAMP = re.compile(r"\d{8}T\d{6}\.\d{3}Z")
"""How a segment is called, without its suffix."""
STALE_S = 900.0
"""A reading that is older than this when a segment begins says nothing about it."""

_FEWEST = 4
_SAVE = "save it as comma-separated values in UTF-8"
_SEEN = 0.5
"""A segment that nobody named is left out unless a face is in this share of the pictures that were looked at."""
_SENSOR = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

TEMPLATE = Terms(
    agreement="name of the notice or agreement under which the camera records",
    licence="what it says",
    permitted_use=("detection", "research"),
    consent="on what basis those who pass the camera are recorded",
)


class Sensors(Section):
    """Readings that come over MQTT while the camera records."""

    broker: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?$")]
    """`host` or `host:port`; 1883 where no port is given."""
    topics: Annotated[
        Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")], Annotated[str, Field(pattern=r"^[^#+\x00]{1,200}$")]],
        Field(min_length=1, max_length=32),
    ]
    """Topic by the reading's name: `temperature: hall/temperature`. No wildcards: a name is one sensor."""


class Camera(Source):
    """Segments of a live camera, and where it is."""

    template: ClassVar = TEMPLATE
    kind: Literal["camera"] = "camera"
    address: str = ""
    """`rtsp://host/path`, `http://host/path` (MJPEG), or the path of a device or file; empty where nothing is recorded here.
    Never with a login: that is in the file that FORGELINE_CAMERA_FILE names, and may be put in as {user} and {password}."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP brings the pictures."""
    segment_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds after which a segment is ended, at the next key picture."""
    keep_gb: Annotated[float, Field(gt=0, le=100_000)] = 20.0
    """Room for the recordings, in 10^9 bytes; the oldest segments that nobody named make way for new ones."""
    sensors: Sensors | None = None
    """What is measured meanwhile."""
    terms: Terms
    """Under what the camera records; `people` are those who agreed to be in forgeries."""

    # Of the whole section and not of a field, whose value would be in the error's text.
    @model_validator(mode="after")
    def _plain_address(self) -> Self:
        if self.address and not self.address.startswith("/"):
            try:
                parts = urlsplit(self.address)
                wrong = parts.scheme not in ("rtsp", "http") or not parts.hostname or parts.port == 0
            except ValueError:
                wrong = True
            if wrong or not self.address.isprintable() or " " in self.address:
                raise ValueError("address: give rtsp://host/path, http://host/path or the whole path of a device or file")
            if "@" in parts.netloc:
                raise ValueError("address: it holds a login; that belongs in the file that FORGELINE_CAMERA_FILE names")
        return self

    @model_validator(mode="after")
    def _forgeries_of_those_who_agreed(self) -> Self:
        if wrong := [person for person in self.terms.people if not _PERSON.fullmatch(person)]:
            raise ValueError(f"terms.people: {wrong[0]!r} can't be a person's name here (letters, digits, '_', '-', '.')")
        if self.terms.generate and len(self.terms.people) < _FEWEST:
            # Were `people` empty, the corpus's consent would cover whoever happens to pass by.
            raise ValueError(f"terms: generate: true needs at least {_FEWEST} people with recorded consent")
        return self

    def require_recording(self, name: str, today: date) -> None:
        """TermsError unless the camera `name` may record today."""
        self._require_answer(name)
        require_use(name, self.terms, "detection", today)

    def _require_answer(self, name: str) -> None:
        where = f"sources.{name}.terms"
        if self.terms.accepted_by is None or self.terms.accepted_on is None:
            raise TermsError(
                where, "nobody has accepted them", "write who answers for the recordings: accepted_by, accepted_on"
            )
        if self.terms.consent == TEMPLATE.consent:
            todo = "write on what basis people are recorded: a notice that they see, a contract …"
            raise TermsError(f"{where}.consent", "is still the template's", todo)
        if "detection" not in self.terms.permitted_use:
            raise TermsError(f"{where}.permitted_use", "detection is not permitted", "leave this camera out")

    def __call__(self, name: str, root: Path, inventory: Inventory) -> Corpus:
        """Real clips; only those that the operator named have a person. TermsError before the terms are accepted."""
        self._require_answer(name)
        named = _named(root, inventory) if PEOPLE in inventory.files else {}
        found: dict[str, Found] = {}
        refused: dict[str, str] = {}
        without_face: list[str] = []
        known = {PEOPLE} & set(inventory.files)
        for path in inventory.files:
            if not path.endswith(SUFFIX) or not STAMP.fullmatch(path.removesuffix(SUFFIX)):
                continue
            beside = path.removesuffix(SUFFIX) + TOLD
            if beside not in inventory.files:
                refused[path] = f"{beside} is not beside it"
                continue
            known.add(beside)
            try:
                told = read_told(read_text(root, inventory, beside))
            except (ValueError, OverflowError, RecursionError, UnreadableError) as error:
                why = error.what if isinstance(error, UnreadableError) else error
                refused[path] = f"{beside} is not the recorder's ({why})"
                continue
            person = named.get(path)
            if person is None and told.share_seen < _SEEN:
                without_face.append(path)
            elif person is not None and person not in self.terms.people:
                refused[path] = f"no consent is recorded for {person}"
            elif person is not None and told.most > 1:
                refused[path] = f"shows {told.most} faces at once, and {person} is only one of them"
            else:
                found[path] = Found(
                    group="of named people" if person else "of nobody named",
                    label="real",
                    video_label="real",
                    audio_label="real",
                    target=person,
                    apparent=person,
                    sensors=told.sensors(),
                )
        here = {clip.target for clip in found.values() if clip.target}
        if self.terms.generate and 0 < len(here) < _FEWEST:
            what = f"{PEOPLE} names {len(here)} people with consent"
            raise SourceError(f"{RAW}/{name}", what, f"name at least {_FEWEST}, or set generate: false")
        return Corpus(
            name=name,
            terms=self.terms,
            inventory=inventory,
            found=found,
            refused=refused,
            known={*known, *without_face},
            missing=[segment for segment in named if segment not in inventory.files],
            notes=(f"{len(without_face)} segments that nobody named show no face, or hardly one; left out",)
            * bool(without_face),
            growing=True,
        )


@dataclass(frozen=True)
class Told:
    """What the recorder wrote beside a segment: times in seconds since 1970, faces in each picture that was looked at."""

    began: float
    ended: float
    faces: tuple[int, ...]
    readings: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def share_seen(self) -> float:
        """The share of pictures with a face; 0 where none was looked at."""
        return sum(map(bool, self.faces)) / max(1, len(self.faces))

    @property
    def most(self) -> int:
        """Faces seen at once."""
        return max(self.faces, default=0)

    def sensors(self) -> dict[str, str]:
        """The mean of each sensor over the segment, as text of six digits; those that said nothing are left out."""
        means = {name: held_mean(readings, self.began, self.ended) for name, readings in sorted(self.readings.items())}
        return {name: f"{mean:.6g}" for name, mean in means.items() if mean is not None}


def held_mean(readings: Sequence[tuple[float, float]], began: float, ended: float) -> float | None:
    """The mean over time of (time, value) between two times, each value holding until the next; before the first there is none.

    Of those before `began` only the last counts, unless it is older than STALE_S. None where nothing is known.
    """
    ordered = sorted(readings)
    inside = [(time, value) for time, value in ordered if began < time <= ended]
    before = [(time, value) for time, value in ordered if began - STALE_S <= time <= began]
    steps = [(began, before[-1][1]), *inside] if before else inside
    if not steps:
        return None
    ends = [time for time, _ in steps[1:]] + [ended]
    weights = [end - time for (time, _), end in zip(steps, ends, strict=True)]
    if not sum(weights):
        return steps[-1][1]
    return math.fsum(weight * value for weight, (_, value) in zip(weights, steps, strict=True)) / math.fsum(weights)


def read_told(text: str) -> Told:
    """What is in the text of a segment's `.jsonl`. ValueError or OverflowError where that isn't what the recorder writes."""
    faces: list[int] = []
    readings: dict[str, list[tuple[float, float]]] = {}
    times: tuple[float, float] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        match json.loads(line):
            case {"began": str(began), "ended": str(ended)} if number == 1:
                times = _seconds(began), _seconds(ended)
            case {"time": str(), "faces": list(seen)} if times:
                faces.append(len(seen))
            case {"time": str(time), "sensor": str(name), "value": int() | float() as value} if (
                times and math.isfinite(value) and _SENSOR.fullmatch(name)
            ):
                readings.setdefault(name, []).append((_seconds(time), float(value)))
            case _:
                raise ValueError(f"line {number}")
    if times is None or times[1] < times[0]:
        raise ValueError("no times")
    return Told(*times, tuple(faces), readings)


def _seconds(time: str) -> float:
    told = datetime.fromisoformat(time)
    if told.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone")
    return told.timestamp()


def _named(root: Path, inventory: Inventory) -> dict[str, str]:
    """Person by segment, as the operator wrote it down."""
    where = f"{RAW}/{root.name}/{PEOPLE}"
    try:
        head, *others = read_table(root, inventory, PEOPLE) or [[]]
    except UnreadableError as error:  # it is nobody's but the operator's
        raise SourceError(where, error.what, f"{_SAVE}, then run python -m flows scan again") from error
    if head != ["segment", "person"]:
        raise SourceError(where, f"begins with {','.join(head)[:80]!r}", f"begin with `segment,person`, and {_SAVE}")
    named: dict[str, str] = {}
    for row in others:
        if len(row) != 2 or row[0] in named or not _PERSON.fullmatch(row[1]):
            what = f"{row[0][:60]!r} is there twice, or has no person's name"
            raise SourceError(where, what, "give each segment one row of two cells; leave out those that show several people")
        named[row[0]] = row[1]
    return named
