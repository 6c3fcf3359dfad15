"""`scan`: take the inventory of the corpora, the small record that the pipeline depends on instead of the trees."""

from collections.abc import Iterable, Iterator, Sequence

from flows import workspace
from flows.params import Params
from forgeline.errors import SourceError
from forgeline.inventory import scan
from forgeline.lock import holding
from forgeline.terms import require_acceptance
from sources.corpus import Source


def scan_all(names: Sequence[str], params: Params) -> None:
    """Write the inventories of `names`, or of all sources in params; only what changed is read again."""
    for name in names or params.sources:
        source = params.sources.get(name)
        if not isinstance(source, Source):
            raise SourceError(name, "is not in params", f"there are {', '.join(params.sources)} under sources")
        require_acceptance(name, source.terms)
        root = workspace.RAW / name
        if getattr(source, "kind", "") == "demo" and not root.is_dir():
            continue  # its own stage renders it, and takes its inventory
        with holding(workspace.lock(f"scan@{name}")):
            found = scan(root, workspace.inventory(name), workspace.LOCAL / "scan" / f"{name}.jsonl")
        print(f"scan {name}: {len(found.files)} files, {len(found.refused)} refused", flush=True)
        for line in _first(f"  {path}: {reason}" for path, reason in found.refused.items()):
            print(line, flush=True)


def _first(lines: Iterable[str], most: int = 10) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == most:
            yield "  …"
            return
        yield line
