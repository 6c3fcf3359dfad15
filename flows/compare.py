"""`python -m flows compare A B`: what changed in the figures from one version of the dataset to another.

A version is a git revision or tag, whose data/scores/about.json is read from the DVC cache or the remote, or `.`, the working
tree. Figures that weren't made alike (another network, resize, encoding, code …) are not compared: their difference tells
nothing. Nor are those that the number of frames biases, as Fréchet's distance, where that number differs; means are.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.figure import unlike
from flows.score import ABOUT
from forgeline.errors import FactoryError

HERE = "."

Key = tuple[str, str, str, str, str]
"""Method, variant, split, group, figure."""
About = Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """A figure in both versions: the values with how many frames or clips they are of, or `why` there is nothing to compare."""

    key: Key
    before: float | None
    after: float | None
    n: tuple[int, int]
    why: str | None = None


def compare(before: str, after: str) -> str:
    """A table of what changed, and how many figures could not be compared, and why.

    FactoryError where a version can't be read, or where the two have no figure that can be compared.
    """
    one, other = about(before), about(after)
    lines = list(lines_of(one, other))
    if not any(line.why is None for line in lines):
        told = _refused(lines) or ["they have no figure in common"]
        raise FactoryError(f"{before} and {after}", "; ".join(told), "score both with the same code and settings")
    return show(lines, (before, after), (len(one.keys() - other.keys()), len(other.keys() - one.keys())))


def about(version: str) -> About:
    """All figures of a version. FactoryError that says what is missing."""
    return parsed(version, _text(version))


def parsed(version: str, text: str) -> About:
    """The figures in the text of an about.json. FactoryError where it is of a version that scored otherwise."""
    try:
        figures = json.loads(text)["figures"]
        return {(f["method"], f["variant"], f["split"], f["group"], f["name"]): f for f in figures}
    except (ValueError, KeyError, TypeError) as error:
        raise FactoryError(version, f"{ABOUT} is none of this format ({error!r})", "score it with this code") from error


def lines_of(one: About, other: About) -> Iterator[Line]:
    """A line for each figure with a value in at least one of the versions that both have, sorted."""
    for key in sorted(one.keys() & other.keys()):
        before, after = one[key], other[key]
        values, n = (before["value"], after["value"]), (before["n"], after["n"])
        if values == (None, None):
            continue
        differs = unlike(before["fingerprint"], after["fingerprint"])
        if None in values:
            why: str | None = f"not there in one: {before['reason'] or after['reason']}"
        elif differs:
            why = f"not comparable: differs in {', '.join(differs)}"
        else:
            why = None
        yield Line(key, *values, n, why)


def show(lines: list[Line], names: tuple[str, str], alone: tuple[int, int]) -> str:
    """The figures that changed as a table; then counts of the others."""
    changed = [line for line in lines if line.why is None and line.before != line.after]
    head = ("method", "variant", "split", "group", "figure", names[0], names[1], "change", "n")
    rows = [head]
    for line in changed:
        before, after = line.before or 0.0, line.after or 0.0
        n = str(line.n[1]) if line.n[0] == line.n[1] else f"{line.n[0]}, then {line.n[1]}"
        rows.append((*line.key, f"{before:.6g}", f"{after:.6g}", f"{after - before:+.6g}", n))
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    equal = sum(line.why is None for line in lines) - len(changed)
    found = told if changed else []
    found.append(f"{len(changed)} figures changed, {equal} are equal")
    found += _refused(lines)
    found += [f"{count} figures are in {name} alone" for count, name in zip(alone, names, strict=True) if count]
    return "\n".join(found)


def _refused(lines: list[Line]) -> list[str]:
    """How many figures could not be compared, by the reason."""
    counts = Counter(line.why for line in lines if line.why is not None)
    return [f"{count} figures {why}" for why, count in sorted(counts.items())]


def _text(version: str) -> str:
    if version == HERE:
        try:
            return ABOUT.read_text(encoding="utf-8")
        except OSError as error:
            raise FactoryError(ABOUT, "is not there", "run `dvc repro`, or `dvc pull`") from error
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        text: str = dvc.api.read(ABOUT.as_posix(), repo=str(Path.cwd()), rev=version, encoding="utf-8")
    except (DvcException, SCMError, OSError) as error:
        said = " ".join(str(error).split())
        raise FactoryError(
            version, f"its figures can't be read ({said})", "name a git revision whose data is here, or `dvc pull`"
        ) from error
    return text
