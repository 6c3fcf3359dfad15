"""`terms`: what may be done with each source, with every sample and with a release, and what forbids the rest.

A sample's terms are the meet of those of all that it was made from: the clips that it names as its parents, whatever its
model learned from, and the nets that a team brought. A release's are the meet of its samples'. Nets of the factory's own
table only look (where a face is, what is hair) and leave nothing of theirs in what is made, so they are not asked.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from flows import workspace
from flows.params import Params
from forgeline.errors import FactoryError, TermsError
from forgeline.manifest import read_manifest
from forgeline.model_folder import GivenFolder
from forgeline.recipe import digest
from forgeline.sample import Sample
from forgeline.section import Section
from forgeline.terms import Joined, Terms, Use, all_of, each_of, excluding, join, of_clip, of_person
from forgeline.weights import Given
from sources.corpus import Source

FILE = workspace.RELEASE / "terms.json"
_SHOWN = 6  # names of those who are to be credited


@dataclass(frozen=True)
class Line:
    """A line of a release's table of terms: what is left for all samples that were made from the same sources.

    `name` is what rows have as `terms`; `nets` are those that a team brought; `credits` whom the licences ask to name, of what
    was learned from, too; `samples` is how many rows there are.
    """

    name: str
    sources: tuple[str, ...]
    nets: tuple[str, ...]
    left: Joined
    credits: tuple[str, ...]
    samples: int


@dataclass(frozen=True)
class Table:
    """The terms of a release: `left` for the whole, line by line, and which line each of its samples is of."""

    left: Joined
    lines: tuple[Line, ...]
    line_of: Mapping[str, str]


_Kind = tuple[Any, ...]
"""Clips of one kind leave the same: of a source, a person, a licence, permitted uses."""


@dataclass(frozen=True)
class _By:
    """What a generator brings along whatever its parents: the kinds of clips that it learned from, and nets."""

    kinds: frozenset[_Kind]
    nets: tuple[tuple[str, str, tuple[str, ...]], ...]
    left: Joined | None


@dataclass
class Ledger:
    """What samples are made from, and what that leaves. `clips` are the real ones by id, `learned` whose ids by generator."""

    params: Params
    clips: Mapping[str, Sample]
    learned: Mapping[str, Sequence[str]]
    _of_kind: dict[_Kind, Joined] = field(default_factory=dict)
    _by: dict[str, _By] = field(default_factory=dict)
    _left: dict[tuple[str, frozenset[_Kind]], Joined] = field(default_factory=dict)

    @classmethod
    def here(cls, params: Params) -> "Ledger":
        """That of the workspace, from the manifests and the plan. PromiseError or FactoryError where they are not there."""
        clips = {s.sample_id: s for name in params.sources for s in read_manifest(workspace.REAL / name / workspace.MANIFEST)}
        return cls(params, clips, {name: _learned(name) for name in params.generators})

    def left(self, method: str, parents: Iterable[str]) -> Joined:
        """The terms of what `method` makes of `parents`. TermsError where something of it is not on record."""
        kinds = frozenset(self._kind(parent) for parent in parents)
        if (method, kinds) not in self._left:
            brought = self._brought(method).left
            parts = [*(self._part(kind) for kind in kinds), *([brought] if brought else [])]
            if not parts:
                raise TermsError(method, "makes something of nothing that has terms", "report it")
            self._left[method, kinds] = join(*parts)
        return self._left[method, kinds]

    def table(self, rows: Iterable[Sample]) -> Table:
        """The terms of a release of these rows, of which there is at least one."""
        rows_of: dict[tuple[tuple[str, ...], tuple[str, ...], Joined], list[Sample]] = defaultdict(list)
        for row in rows:
            brought = self._brought(row.method)
            sources = {self._kind(parent)[0] for parent in row.parents} | {kind[0] for kind in brought.kinds}
            nets = tuple(f"{file} ({licence})" for file, licence, _ in brought.nets)
            rows_of[tuple(sorted(sources)), nets, self.left(row.method, row.parents)].append(row)
        lines, line_of = [], {}
        for (names, nets, left), some in sorted(rows_of.items(), key=lambda item: repr(item[0])):
            name = digest([names, nets, asdict(left)])[:12]
            lines.append(Line(name, names, nets, left, self._credits(some), len(some)))
            line_of.update(dict.fromkeys((row.sample_id for row in some), name))
        return Table(join(*(line.left for line in lines)), tuple(lines), line_of)

    def why_not(self, rows: Iterable[Sample]) -> dict[str, list[str]]:
        """By use, and for `passing on`: which sources and nets forbid it for a release of these rows."""
        used = list(rows)
        of_source: dict[str, list[Sample]] = defaultdict(list)
        for clip in (self.clips[name] for name in sorted(self._used(used))):
            of_source[clip.source].append(clip)
        terms = {name: self._terms(name) for name in sorted(of_source)}
        nets = sorted({net for method in {row.method for row in used} for net in self._brought(method).nets})
        found: dict[str, list[str]] = {}
        for use in get_args(Use):
            found[use] = [why for name in terms for why in _against(use, name, terms[name], of_source[name])]
            found[use] += [f"net {file} ({licence})" for file, licence, permitted in nets if use not in permitted]
        on = [f"{name} ({each.agreement})" for name, each in terms.items() if not each.redistribute]
        licences = {each for clips in of_source.values() for text in {clip.licence for clip in clips} for each in each_of(text)}
        if both := excluding(licences | {licence for _, licence, _ in nets}):
            on.append(f"{' and '.join(both)}, which exclude each other")
        return found | {"passing on": on}

    def _kind(self, clip: str) -> _Kind:
        if clip not in self.clips:
            raise TermsError(clip, "is a parent that no corpus holds", "run `dvc repro`")
        sample = self.clips[clip]
        return sample.source, sample.target_id, sample.licence, sample.permitted_use

    def _part(self, kind: _Kind) -> Joined:
        if kind not in self._of_kind:
            source, person, licence, permitted_use = kind
            named = person.split(":", 1)[1] if person else None
            self._of_kind[kind] = of_clip(of_person(source, self._terms(source), named), licence, permitted_use)
        return self._of_kind[kind]

    def _brought(self, method: str) -> _By:
        if method not in self._by:
            if method not in self.params.generators:
                raise TermsError(method, "is not in params, so nobody knows what it learned from", "run `dvc repro`")
            kinds = frozenset(self._kind(clip) for clip in self.learned.get(method, ()))
            its = tuple(sorted(set(nets(self.params.generators[method]))))
            parts = [*(self._part(kind) for kind in kinds), *(_of_net(*net) for net in its)]
            self._by[method] = _By(kinds, its, join(*parts) if parts else None)
        return self._by[method]

    def _terms(self, name: str) -> Terms:
        source = self.params.sources.get(name)
        if not isinstance(source, Source):
            raise TermsError(f"sources.{name}", "has no terms", "bring its section in params back, then run `dvc repro`")
        return source.terms

    def _used(self, rows: Iterable[Sample]) -> set[str]:
        """The ids of the clips that rows are made from, by what was learned from them, too."""
        parents: set[str] = set()
        methods: set[str] = set()
        for row in rows:
            parents.update(row.parents)
            methods.add(row.method)
        return parents.union(*(self.learned.get(method, ()) for method in methods))

    def _credits(self, rows: Iterable[Sample]) -> tuple[str, ...]:
        return tuple(sorted({self.clips[name].credit for name in self._used(rows)} - {""}))


def nets(section: Any) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The nets that a team brought, wherever they stand in a section: file or folder, licence, permitted uses."""
    if isinstance(section, Given | GivenFolder):
        yield section.file if isinstance(section, Given) else section.folder, section.licence, section.permitted_use
    elif isinstance(section, Section):
        for name in type(section).model_fields:
            yield from nets(getattr(section, name))
    elif isinstance(section, Mapping):
        yield from nets(tuple(section.values()))
    elif isinstance(section, tuple):
        for each in section:
            yield from nets(each)


def _of_net(file: str, licence: str, permitted_use: tuple[str, ...]) -> Joined:
    return Joined((licence,), permitted_use, generate=True, redistribute=True, expires=None)


def _learned(generator: str) -> list[str]:
    """The clips that a generator's model learned from, by the plan; none where nothing is learned."""
    path = workspace.train_file(generator)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["sample_id"] for line in lines[1:]]
    except (OSError, ValueError, KeyError) as error:
        raise FactoryError(path, f"can't be read ({error})", "run `dvc repro`, which plans first") from error


def _against(use: str, name: str, terms: Terms, clips: Sequence[Sample]) -> Iterator[str]:
    if use not in terms.permitted_use:
        yield f"{name} ({terms.agreement})"
        return
    own = Counter(all_of(set(each_of(c.licence)) - set(each_of(terms.licence))) for c in clips if use not in c.permitted_use)
    for licence, count in sorted(own.items()):
        yield f"{name}: {f'licence {licence}' if licence else 'what is said of each clip'} on {count} clips"


# What is shown -------------------------------------------------------------------------------------------------------


def told(table: Table, why_not: Mapping[str, Sequence[str]], key: str) -> dict[str, Any]:
    """`terms.json` of a release: what is left for the whole, what forbids the rest, and the table."""
    left = table.left
    permitting: Counter[str] = Counter()
    for line in table.lines:
        permitting.update(dict.fromkeys(line.left.permitted_use, line.samples))
    return {
        **asdict(left),
        "licence": left.licence,
        "key": key,
        "samples": len(table.line_of),
        "uses": {
            use: {"permitted": use in left.permitted_use, "because_of": list(why_not[use]), "samples": permitting[use]}
            for use in get_args(Use)
        },
        "not_passed_on_because_of": list(why_not["passing on"]),
        "credits": sorted({each for line in table.lines for each in line.credits}),
        "table": [
            {
                "terms": line.name,
                "sources": line.sources,
                "nets": line.nets,
                "licence": line.left.licence,
                "permitted_use": line.left.permitted_use,
                "redistribute": line.left.redistribute,
                "expires": line.left.expires,
                "credits": line.credits,
                "samples": line.samples,
            }
            for line in table.lines
        ],
    }


def show(params: Params) -> str:
    """A line a source, one for all of them, and the terms of the release that was built, if one was."""
    terms = {name: s.terms for name, s in params.sources.items() if isinstance(s, Source)}
    lines = [f"{'source':<14} {'forgeries':<10} {'passing on':<11} {'until':<11} {'permitted use':<44} licence"]
    for name, one in terms.items():
        lines.append(_line(name, one, one.licence))
        lines.append(f"{'':<14} {one.agreement}; {one.consent}; {_accepted(one)}")
        if bare := [person for person, consent in one.people.items() if consent.document is None]:
            lines.append(f"{'':<14} {len(bare)} of {len(one.people)} people without their document's hash: {_some(bare)}")
    together = joined(params)
    lines.append(_line("all together", together, together.licence))
    return "\n".join([*lines, *(["", show_release(FILE.parent)] if FILE.is_file() else [])])


def show_release(folder: Path) -> str:
    """What may be done with a release, and why not the rest: of the workspace, or one that was pulled."""
    path = folder / FILE.name
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        lines = [f"release {folder}: {record['samples']} samples, licence {record['licence']}"]
        for use, said in record["uses"].items():
            lines.append(f"  {use + ':':<12} {_verdict(said['permitted'], said['because_of'])}{_for_some(said, record)}")
        lines.append(f"  {'passing on:':<12} {_verdict(record['redistribute'], record['not_passed_on_because_of'])}")
        lines.append(f"  {'in force:':<12} {'until ' + record['expires'] if record['expires'] else 'without end'}")
        lines.append(f"  {'credit:':<12} {_some(record['credits']) or 'nobody has to be named'}")
        for each in record["table"]:
            made_from = ", ".join([*each["sources"], *each["nets"]])
            uses = ", ".join(each["permitted_use"]) or "nothing"
            until = f", until {each['expires']}" if each["expires"] else ""
            lines.append(f"  {each['samples']} samples ({each['terms']}) from {made_from}: {uses}{until}; {each['licence']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        todo = "name the folder of a release made by this version, or run `dvc repro`"
        raise FactoryError(path, f"can't be read ({error})", todo) from error
    return "\n".join(lines)


def joined(params: Params) -> Joined:
    """What the terms of all sources leave together, cut short by the consent of each person in them."""
    parts: list[Joined] = []
    for name, source in params.sources.items():
        if isinstance(source, Source):
            parts.append(join(source.terms))
            parts += [of_person(name, source.terms, person) for person in source.terms.people]
    first, *others = parts
    return join(first, *others)


def _verdict(permitted: bool, why: Sequence[str]) -> str:
    return "yes" if permitted else f"no, because of {', '.join(why)}"


def _for_some(said: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """How many samples permit what the whole does not."""
    return "" if said["permitted"] or not said["samples"] else f" ({said['samples']} of {record['samples']} samples permit it)"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _line(name: str, terms: Terms | Joined, licence: str) -> str:
    uses = ", ".join(terms.permitted_use) or "nothing"
    may = [("yes" if granted else "no") for granted in (terms.generate, terms.redistribute)]
    return f"{name:<14} {may[0]:<10} {may[1]:<11} {terms.expires or 'no end':<11} {uses:<44} {licence}"


def _accepted(terms: Terms) -> str:
    return f"accepted by {terms.accepted_by} on {terms.accepted_on}" if terms.accepted_by else "accepted by nobody yet"
