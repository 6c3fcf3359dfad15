"""`params.yaml`, typed: a misspelt key or a wrong type is an error that says where."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from evaluators.table import EVALUATORS
from forgeline.degrade import Variant
from forgeline.detectors import DetectorName
from forgeline.errors import ParamsError
from forgeline.sample import SPLITS, Split
from forgeline.section import Section
from forgeline.weights import Given
from generators.chain import Chain, Step
from generators.plugin import Generator
from generators.table import GENERATORS
from sources.demo import Demo
from sources.table import SOURCES
from watermark.seal import Seal

Share = Annotated[float, Field(ge=0, le=1)]


class Faces(Section):
    """What knows a person by the face, so that one who goes by two names is in one split."""

    net: Given
    """As `evaluators.identity.net`: one RGB face (1, 3, 112, 112) in -1 … 1, aligned as for ArcFace, in; an embedding out."""
    least: Annotated[float, Field(gt=0, lt=1)]
    """The cosine between two people's mean embeddings from where on they are one: as its makers say, or measured."""


class Denoise(Section):
    """Steady noise that is taken out of real sound before anything is made of it, controls and forgeries alike."""

    below_db: Annotated[float, Field(gt=0, le=20)] = 20.0
    """Where speech is less than so many decibels above the noise; from 20 on it may do harm."""


class Ingest(Section):
    """What makes a clip usable, and what is kept of it."""

    min_seen: Share = 0.5
    """Share of a clip's frames in which its main face must be seen."""
    max_dropped: Share = 0.2
    """Share of a corpus's clips that may be dropped; above it the stage fails."""
    faces: Faces | None = None
    """None: people are told apart by the names that their corpora give them, and by what is the same clip."""
    denoise: Denoise | None = None
    """None: all sound is taken as it is."""
    detector: DetectorName = "mediapipe"
    """What finds faces: `mediapipe` is quick and misses the smallest, which `yunet` and `mtcnn` see."""
    second: Literal["yunet", "mtcnn"] | None = None
    """What looks again at a whole picture in which the first finds no face; it costs nothing where the first does."""

    @model_validator(mode="after")
    def _two_detectors(self) -> "Ingest":
        if self.second == self.detector:
            raise ValueError(f"second names {self.second}, which is the first already")
        return self


Official = Literal["mend", "keep"]


class Plan(Section):
    """Splits, and who is made from whom."""

    seed: int = 1
    """Decides who goes into which split and who is paired with whom."""
    splits: Mapping[Split, Share] = {"train": 0.5, "val": 0.25, "test": 0.25}
    """The share of people in each split, for those whom no corpus's official split and no `assign` places."""
    assign: Mapping[str, Split] = {}
    """People (`<source>:<name>`) who are put into a split by hand."""
    official: Official = "mend"
    """What becomes of splits that a corpus is published with where they leak: `mend` moves what is tied together into one
    split, `keep` leaves every clip where it was published; the certificate names what leaks."""
    shares: Mapping[str, Share] = {}
    """The share of clips that a generator works on, where that isn't all: of two generators the one with the smaller share
    works on some of the other's clips."""
    batches: Annotated[int, Field(ge=1, le=4096)] = 1
    """Shards a generator and split; a clip stays in its shard as long as this number stays."""

    @field_validator("splits")
    @classmethod
    def _whole(cls, splits: Mapping[Split, float]) -> Mapping[Split, float]:
        if abs(sum(splits.values()) - 1) > 1e-9:
            raise ValueError(f"shares sum to {sum(splits.values()):g}, not to 1")
        return {name: splits.get(name, 0.0) for name in SPLITS}


class Generate(Section):
    """What holds for every generator."""

    max_dropped: Share = 0.2
    """Share of a generator's planned samples that may fail; above it the stage fails."""


class Score(Section):
    """What holds for every evaluator."""

    frames: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Frames of a clip that are scored, evenly spread."""
    groups: tuple[str, ...] = ()
    """Declared attributes (`glasses`) for whose values figures are given, too."""
    variants: tuple[str, ...] = ()
    """Variants that are scored beside the masters, by the evaluators that look at single frames."""


class Report(Section):
    """The page by which a version is accepted or refused."""

    baseline: str | None = None
    """The version whose figures this one's are compared with: a tag or commit of this repository; None for none."""


class Accepted(Section):
    """What a release may do without, each with who decided so, when and why."""

    shortcuts: Annotated[str, Field(min_length=12)] | None = None
    """Why shortcuts that the audit could neither find nor rule out, for too few pairs, are no reason to wait: "who, when, why".
    Those that it found are one."""


class Release(Section):
    """The dataset that a version tag points to."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "forgeline-demo"
    """Its name, as the card gives it."""
    title: str = "Forgeline demo"
    """Its title on the card."""
    accepted: Accepted = Accepted()
    """What was decided by a person. A release of demo people alone needs no decisions."""


class Params(BaseModel):
    """All sections; `sources`, `generators` and `evaluators` hold plug-ins by name, `variants` what each is."""

    model_config = Section.model_config | {"arbitrary_types_allowed": True}

    demo: Demo
    sources: dict[str, Section]
    ingest: Ingest
    plan: Plan
    generate: Generate
    generators: dict[str, Section]
    seal: Seal
    variants: dict[str, Variant]
    score: Score
    evaluators: dict[str, Section]
    report: Report
    release: Release

    @field_validator("sources", mode="before")
    @classmethod
    def _sources(cls, value: Any, info: ValidationInfo) -> dict[str, Section]:
        found = {}
        for name, section in _mapping(value, "sources").items():
            if not name.isascii() or not name.replace("_", "").replace("-", "").isalnum() or name != name.lower():
                raise _NamedError((name,), "is no name for a source", "use small letters, digits, - and _")
            kind = section.get("kind") if isinstance(section, dict) else None
            if (name == "demo") != (kind == "demo"):
                # The demo's stage deletes what is not its own from data/raw/demo.
                raise _NamedError((name,), f"is of kind {kind!r}", "the source named demo, and it alone, is of kind demo")
            found[name] = _plugin(SOURCES, name, kind, section)
        return found

    @field_validator("generators", mode="before")
    @classmethod
    def _generators(cls, value: Any) -> dict[str, Section]:
        sections = _mapping(value, "generators")
        chains = [
            n for n, section in sections.items() if n not in GENERATORS and isinstance(section, dict) and "steps" in section
        ]
        alone = {n: _plugin(GENERATORS, n, n, section or {}) for n, section in sections.items() if n not in chains}
        return {n: alone[n] if n in alone else _chain(str(n), section, alone) for n, section in sections.items()}

    @field_validator("variants", mode="before")
    @classmethod
    def _variants(cls, value: Any) -> dict[str, Section]:
        sections = _mapping(value, "variants")
        if not sections:
            raise _NamedError((), "names none", "name at least one, such as `c23: {encoding: {crf: 23}}`")
        for name in sections:
            if not re.fullmatch(r"[a-z0-9_]+", str(name)) or name == "master":
                raise _NamedError((str(name),), "is no name for a variant", "use small letters, digits and _, and not master")
        return {name: _checked(Variant, name, section or {}) for name, section in sections.items()}

    @field_validator("evaluators", mode="before")
    @classmethod
    def _evaluators(cls, value: Any) -> dict[str, Section]:
        items = _mapping(value, "evaluators").items()
        return {name: _plugin(EVALUATORS, name, name, section or {}) for name, section in items}

    @model_validator(mode="after")
    def _shares_are_of_generators(self) -> "Params":
        for name in self.plan.shares:
            section = self.generators.get(name)
            if section is None or (isinstance(section, Generator) and section.role == "control"):
                named = [n for n, s in self.generators.items() if isinstance(s, Generator) and s.role != "control"]
                what = "makes controls, of which every clip needs one" if section else "is not in generators"
                raise _NamedError(("plan", "shares", name), what, f"there are {', '.join(named)}")
        return self

    @model_validator(mode="after")
    def _scored_variants_are_made(self) -> "Params":
        for name in self.score.variants:
            if name not in self.variants:
                raise _NamedError(("score", "variants", name), "is not in variants", f"there are {', '.join(self.variants)}")
        return self

    @model_validator(mode="after")
    def _fakes_need_controls(self) -> "Params":
        for name, section in self.generators.items():
            control = section.control if isinstance(section, Generator) else name
            if control not in self.generators:
                what = f"needs its matched control {control!r}"
                raise _NamedError(("generators", name), what, f"add `{control}:` to generators")
            whole = getattr(section, "twin_of", None)
            if whole in self.generators and self.generators[whole].settings() != section.settings():
                what = f"has other settings than {whole}, whose null twin it is"
                raise _NamedError(("generators", name), what, "give both the same")
            sizes = {getattr(self.generators[n], "size", None) for n in (name, control)}
            if len(sizes) > 1:
                what = f"is made at another size than its control {control!r}"
                raise _NamedError(("generators", name, "size"), what, "give both the same size")
        return self


def key_name(split: Split | None, batch: int) -> str:
    """What the key that marks the samples of a split and batch is named after.

    Not after the generator: a code of one key has parts that never change, so a key for each class would tell the class.
    """
    return f"{split}-{batch:04d}"


def key_names(batches: int) -> list[str]:
    """Of all keys there can be."""
    return [key_name(split, batch) for split in SPLITS for batch in range(batches)]


class _NamedError(ValueError):
    """A fault below a field that a validator looks into by itself."""

    def __init__(self, where: tuple[str | int, ...], what: str, todo: str) -> None:
        super().__init__(what)
        self.where, self.what, self.todo = where, what, todo


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check a params file. Raises ParamsError that names the key, what is wrong with it and what to do."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(path, "is not there", "run in the checkout's own folder") from error
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ParamsError(path, f"is not YAML ({' '.join(str(error).split())})", "mend it") from error
    if not isinstance(raw, dict):
        raise ParamsError(path, "holds no sections", "start from the params.yaml of this version")
    try:
        # By way of JSON, whose lists may be tuples and whose strings may be dates without anything else being converted.
        return Params.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        raise _explained(path, error) from error
    except (TypeError, ValueError) as error:
        raise ParamsError(path, f"holds what params can't ({error})", "write names as plain text, and no aliases") from error


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _NamedError((), "is no list of names with their settings", f"write `{name}:` with indented names below")
    return value


def _plugin(table: Mapping[str, type[Section]], name: str, kind: Any, section: Any) -> Section:
    if not isinstance(kind, str) or kind not in table:
        what = f"{kind!r} does not exist" if kind != name else "does not exist"
        raise _NamedError((name,), what, f"there are {', '.join(table)}{_hint(str(kind), table)}")
    return _checked(table[kind], name, section)


def _checked(kind: type[Section], name: str, section: Any) -> Section:
    if not isinstance(section, dict):
        raise _NamedError((name,), "holds no settings", "write its settings below it, or {}")
    try:
        return kind.model_validate_json(json.dumps(section))
    except ValidationError as error:
        first = error.errors()[0]
        what, todo = _said(first, kind)
        raise _NamedError((name, *first["loc"]), what, todo) from error


def _chain(name: str, section: dict[str, Any], alone: Mapping[str, Section]) -> Chain:
    """Generators one after the other: `alone` is what params say of each; a step may have settings of its own instead."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise _NamedError((name,), "is no name for a chain of generators", "use small letters, digits and _")
    if set(section) != {"steps"} or not isinstance(section["steps"], list):
        raise _NamedError((name,), "is no chain of generators", "write `steps:` with a list of generators, and nothing else")
    steps = []
    for number, told in enumerate(section["steps"]):
        step, own = next(iter(told.items())) if isinstance(told, dict) and len(told) == 1 else (told, None)
        known = alone.get(step) if own is None and isinstance(step, str) else None
        try:
            steps.append(Step(name=str(step), section=known or _plugin(GENERATORS, str(step), step, own or {})))
        except _NamedError as error:
            raise _NamedError((name, "steps", number, *error.where[1:]), error.what, error.todo) from error
    try:
        return Chain(steps=tuple(steps))
    except ValidationError as error:
        raise _NamedError((name,), str(error.errors()[0]["msg"]).removeprefix("Value error, "), "mend its steps") from error


def _explained(path: Path, error: ValidationError) -> ParamsError:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    where: tuple[str | int, ...] = first["loc"]
    if isinstance(cause, _NamedError):
        where, what, todo = (*where, *cause.where), cause.what, cause.todo
    else:
        what, todo = _said(first, Params)
    return ParamsError(f"{path}: {'.'.join(map(str, where))}", what, todo)


def _said(first: Any, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and what to do, for an error that pydantic found in `model` or below it."""
    fields: Mapping[str, Any] = model.model_fields
    owner: object = model
    for part in first["loc"][:-1]:
        owner = getattr(fields.get(str(part)), "annotation", None)
        fields = getattr(owner, "model_fields", {})
    name = str(first["loc"][-1]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return "there is no such key", f"remove it; there are {', '.join(fields)}{_hint(name, fields)}"
    if first["type"] == "missing":
        return "is missing", "add it"
    what = str(first["msg"]).removeprefix("Value error, ")
    described = owner.described(name) if isinstance(owner, type) and issubclass(owner, Section) else None
    given = "" if isinstance(first["input"], dict) else f" (it is {first['input']!r})"
    return (
        f"{what[0].lower()}{what[1:]}{given}",
        f"correct it{f': {described}' if described else ''}",
    )


def _hint(name: str, there: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, list(there), 1)
    return f"; did you mean {close[0]}?" if close else ""
