"""Protocols: which samples of a release a detector is to learn from, be chosen by, and be tested on; each with its proof.

    data/release/protocols/identity-disjoint.json
    data/release/protocols/method-held-out.json          a fold for each method of forging
    data/release/protocols/source-held-out.json          a fold for each corpus
    data/release/protocols/compression-held-out.json     a fold for each variant

Where official splits are kept and leak, `as-published` stands in place of `identity-disjoint`: its parts share the people that
the certificate names, and no others.

A protocol is a list of folds, a fold has a filter for each of train, val and test, and `proof` counts what two of them share,
found by comparing the very rows that the filters choose. Everything in it follows from the release's rows and the params.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from flows import workspace
from forgeline.errors import PromiseError
from forgeline.files import write_text
from forgeline.sample import SPLITS, Sample
from forgeline.section import Section
from generators.chain import Chain, learner

FOLDER = workspace.RELEASE / "protocols"
Filter = dict[str, list[str]]
"""What a row's `split`, `method`, `variant` and `source` may be; `source` binds the corpus of its `source_id`, too."""

SAYS = {
    "identity-disjoint": "all methods and variants; nobody who is in one part is in another, nor is anything made from them",
    "method-held-out": "tested on a way of forging that was never learned from, nor any chain with it; identities disjoint",
    "source-held-out": "tested on a corpus that nothing learned from came from, nor was learned with; identities disjoint",
    "compression-held-out": "tested on a variant that was never learned from; identities disjoint",
}
PUBLISHED = "as-published"
_LEAKING = "as their corpora split them, which leaks: see `kept` in data/plan/certificate.json"


def write_protocols(rows: Sequence[Sample], generators: Mapping[str, Section], leaks: Collection[str] = ()) -> set[Path]:
    """Write the protocols of a release's rows; give the files. `leaks`: the ties that the certificate names as kept."""
    files = set()
    for name, folds in protocols(rows, generators, leaks).items():
        says = f"all methods and variants; all are {_LEAKING}" if name == PUBLISHED else SAYS[name]
        says = says.replace("identities disjoint", f"identities {_LEAKING}") if leaks else says
        told = {"protocol": name, "says": says, "folds": folds}
        path = FOLDER / f"{name}.json"
        write_text(path, json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        files.add(path)
    return files


def protocols(
    rows: Sequence[Sample], generators: Mapping[str, Section], leaks: Collection[str] = ()
) -> dict[str, list[dict[str, Any]]]:
    """The folds of each protocol, by name. PromiseError where one would not be disjoint. Null twins are in none.

    People whom `leaks` names may be in two parts; `proof` counts them.
    """
    known_people = {tie.removeprefix("person ") for tie in leaks if tie.startswith("person ")}
    rows = [row for row in rows if row.role != "null_twin"]
    methods, variants, sources = (sorted({getattr(row, name) for row in rows}) for name in ("method", "variant", "source"))
    forging = sorted({row.method for row in rows if row.label == "fake"})
    everything = {"method": methods, "variant": variants, "source": sources}

    def fold(name: str, known: Filter, other: Filter, *held_out: str) -> dict[str, Any]:
        return _fold(name, rows, known, other, held_out, known_people)

    whole = PUBLISHED if leaks else "identity-disjoint"
    folds: dict[str, list[dict[str, Any]]] = {whole: [fold("all", everything, everything)]}
    folds["method-held-out"] = []
    for method in forging:
        own = {method, *_steps(generators.get(method))} & set(forging)
        kin = {name for name in methods if name in own or _steps(generators.get(name)) & own}
        known = everything | {"method": sorted(set(methods) - kin)}
        other = everything | {"method": sorted(set(methods) - set(forging) | {method})}
        folds["method-held-out"].append(fold(method, known, other, "method"))
    folds["source-held-out"] = []
    for source in sources if len(sources) > 1 else ():
        # What a net learned, it learned from all corpora.
        taught = {name for name in methods if name in generators and learner(generators[name]) is not None}
        known = everything | {"source": [s for s in sources if s != source], "method": sorted(set(methods) - taught)}
        other = everything | {"source": [source]}
        folds["source-held-out"].append(fold(source, known, other, "source"))
    folds["compression-held-out"] = []
    for variant in variants if len(variants) > 1 else ():
        known = everything | {"variant": [v for v in variants if v != variant]}
        folds["compression-held-out"].append(fold(variant, known, everything | {"variant": [variant]}, "variant"))
    return folds


def chosen(row: Sample, part: Mapping[str, Sequence[str]]) -> bool:
    """Whether a filter chooses a row."""
    donors = row.source_id.split(":", 1)[0] if row.source_id else row.source
    return all(getattr(row, name) in values for name, values in part.items()) and donors in part["source"]


def _steps(section: Section | None) -> set[str]:
    return {step.name for step in section.steps} if isinstance(section, Chain) else set()


def _fold(
    name: str, rows: Sequence[Sample], known: Filter, other: Filter, held_out: Iterable[str], people: Collection[str]
) -> dict[str, Any]:
    parts: dict[str, Filter] = {split: {"split": [split], **(other if split == "test" else known)} for split in SPLITS}
    found: dict[str, list[Sample]] = {split: [row for row in rows if chosen(row, part)] for split, part in parts.items()}
    count = {split: {label: sum(r.label == label for r in some) for label in ("real", "fake")} for split, some in found.items()}
    lacking = [f"no {label} in {split}" for split in ("train", "test") for label, many in count[split].items() if not many]
    proof = {}
    for what, shared in _proof(found, tuple(held_out)):
        proof[what] = len(shared)
        if unnamed := shared - set(people if what.startswith("people of ") else ()):
            raise PromiseError(f"protocol {name}", f"shares {what}: {len(unnamed)}", "report it: its parts must be disjoint")
    return {"held_out": name, **parts, "samples": count, "usable": not lacking, "lacking": lacking, "proof": proof}


def _proof(found: Mapping[str, Sequence[Sample]], held_out: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
    """Which samples, pairs, people and parents two parts share; and, of what is held out, test and the others."""
    for one, other in combinations(SPLITS, 2):
        for kind in ("samples", "pairs", "people", "parents"):
            first, second = ({each for row in found[part] for each in _held(row, kind)} for part in (one, other))
            yield f"{kind} of {one} and {other}", first & second
    for column in held_out:
        first = {each for part in ("train", "val") for row in found[part] for each in _held(row, column)}
        second = {each for row in found["test"] for each in _held(row, column)}
        yield f"{column}s of test and the others", first & second


def _held(row: Sample, kind: str) -> set[str]:
    match kind:
        case "samples":
            return {row.sample_id}
        case "pairs":
            return {row.pair_id} if row.pair_id else set()
        case "people":
            return {p for p in (row.target_id, row.source_id, row.apparent_id) if p}
        case "parents":
            return set(row.parents)
        case "method":
            return {row.method} if row.label == "fake" else set()
        case "source":
            return {row.source, *(p.split(":", 1)[0] for p in (row.target_id, row.source_id) if p)}
        case _:
            return {str(getattr(row, kind))}
