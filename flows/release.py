"""Stage `release`: what passed the audit, as Parquet shards that `datasets` reads, with a card.

    data/release/README.md                                  the card
    data/release/<split>/<config>/<shard>-<part>.parquet     config: video, image, null_twin_video …
    data/release/croissant.json                             the same for machines
    data/release/terms.json                                 what may be done with it, why not the rest, and whom to credit
    data/release/protocols/<protocol>.json                  what to train, choose and test with: see docs/splits.md

A shard file is written anew only when what is in it changed.
"""

import json
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flows import workspace
from flows.audit import FILE as AUDIT
from flows.audit import only_demo, require_passed
from flows.croissant import croissant
from flows.matched import made, matched, varied
from flows.params import Params
from flows.protocols import write_protocols
from flows.score import FIGURES, ROWS
from flows.splits import kept_leaks, summary
from flows.terms import FILE, Ledger, Table, told
from forgeline.code import code_digest, library_versions
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import prune, replacing, sha256_of, write_text
from forgeline.lock import holding
from forgeline.manifest import SCHEMA, demand, read_manifest, to_record
from forgeline.recipe import canonical, digest
from forgeline.sample import SPLITS, Sample

CARD = workspace.RELEASE / "README.md"
CROISSANT = workspace.RELEASE / "croissant.json"
TERMS = FILE
SHARD_BYTES = 500 * 2**20
ROW_GROUP_BYTES = 64 * 2**20
_WORST = 12  # probes on the card
_NAMED = 20  # people to be credited, on the card

_PLAIN = (
    "sample_id",
    "media_type",
    "label",
    "video_label",
    "audio_label",
    "role",
    "content_class",
    "method",
    "variant",
    "source",
    "pair_id",
    "target_id",
    "source_id",
    "apparent_id",
    "parents",
    "split",
    "recipe",
    "attributes",
    "drawn",
    "segments",
    "words",
    "phonemes",
    "width",
    "height",
    "frames",
    "duration_s",
    "sample_rate",
    "mark_id",
    "mark_key_id",
    "mark_read",
    "sound_mark_read",
    "fingerprint",
    "ingredients",
    "licence",
    "permitted_use",
    "credit",
    "sha256",
)


def release(params: Params) -> list[Sample]:
    """Bring data/release up to date and give its rows. FactoryError when the audit failed."""
    with holding(workspace.lock("release")):
        require_passed(params)
        rows = [s for s in matched([*made(params.generators), *varied(params.variants)]) if s.reason is None]
        demand("release", pa.Table.from_pylist([to_record(s) for s in rows], schema=SCHEMA))
        if not rows:
            raise FactoryError("release", "nothing of what was made stands", "look at data/audit/audit.json, or add clips")
        ledger = Ledger.here(params)
        terms = ledger.table(rows)
        scored = {s.sample_id: dict(s.scores) for s in read_manifest(ROWS / workspace.MANIFEST)}
        names = sorted({name for s in rows for name in s.scores} | {n for scores in scored.values() for n in scores})
        shards: dict[tuple[str, str, str], list[Sample]] = defaultdict(list)
        for sample in rows:
            shard = str(sample.shard) if sample.variant == "master" else f"{sample.shard}-{sample.variant}"
            shards[str(sample.split), config(sample), shard].append(sample)
        leaks = kept_leaks()
        kept = {CARD, CROISSANT, TERMS, *write_protocols(rows, params.generators, [leak["tie"] for leak in leaks])}
        schemas: dict[str, pa.Schema] = {}
        for (split, name, shard), members in sorted(shards.items()):
            for part, some in enumerate(_parts(members)):
                path = workspace.RELEASE / split / name / f"{shard}-{part:03d}.parquet"
                _write_shard(path, some, scored, names, terms)
                kept.add(path)
                schemas.setdefault(name, pq.read_schema(path))
        prune(workspace.RELEASE, kept)
        record = told(terms, ledger.why_not(rows), params.seal.key)
        write_text(TERMS, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        write_text(CARD, _card(rows, params, record))
        about = f"{params.release.title}: {len(rows)} real and forged clips for training and testing detectors."
        if leaks:
            about += f" {summary()}"
        splits = [split for split in SPLITS if any(s.split == split for s in rows)]
        write_text(CROISSANT, croissant(params.release.name, about, terms.left, dict(sorted(schemas.items())), splits))
    return rows


def config(sample: Sample) -> str:
    """The card's config that a sample is in: its media type; null twins have their own."""
    return f"null_twin_{sample.media_type}" if sample.role == "null_twin" else sample.media_type


def _parts(members: Sequence[Sample]) -> Iterator[list[Sample]]:
    part: list[Sample] = []
    for sample in members:
        if part and sum(s.bytes for s in part) + sample.bytes > SHARD_BYTES:
            yield part
            part = []
        part.append(sample)
    yield part


def _write_shard(
    path: Path, members: Sequence[Sample], scored: dict[str, dict[str, float]], names: list[str], terms: Table
) -> None:
    schema = _schema(members[0].media_type, names)
    masks = {s.sample_id: sha256_of(Path(s.mask)) if s.mask else None for s in members}
    said = [[repr(s), scored.get(s.sample_id), masks[s.sample_id], terms.line_of[s.sample_id]] for s in members]
    key = digest([said, names, code_digest("flows.release"), library_versions()])
    if path.is_file() and (pq.read_schema(path).metadata or {}).get(b"forgeline") == key.encode():
        return
    schema = schema.with_metadata({**(schema.metadata or {}), b"forgeline": key.encode()})
    with replacing(path) as part, pq.ParquetWriter(part, schema, compression="none") as writer:
        group: list[dict[str, Any]] = []
        size = 0
        for sample in members:
            row = _row(sample, scored.get(sample.sample_id, {}), names) | {"terms": terms.line_of[sample.sample_id]}
            group.append(row)
            size += len(row["media"]["bytes"]) + len(row["mask"]["bytes"] if row["mask"] else b"")
            if size > ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group, size = [], 0
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _row(sample: Sample, scores: dict[str, float], names: list[str]) -> dict[str, Any]:
    own = {**sample.scores, **scores}
    media = Path(sample.media)
    data = media.read_bytes()
    row = {name: getattr(sample, name) for name in _PLAIN}
    row.update({name: list(row[name]) for name in ("parents", "permitted_use", "ingredients")})
    row.update({name: canonical(dict(row[name])) for name in ("attributes", "drawn")})
    row.update({name: [asdict(each) for each in getattr(sample, name)] for name in ("segments", "words", "phonemes")})
    row["fps"] = float(sample.fps)
    row["media"] = {"bytes": data, "path": media.name}
    row["mask"] = {"bytes": Path(sample.mask).read_bytes(), "path": Path(sample.mask).name} if sample.mask else None
    row["scores"] = {name: own.get(name) for name in names}
    if len(data) != sample.bytes:
        raise PromiseError(media, "is not the file that was sealed", "run `dvc repro generate`")
    return row


def _schema(media_type: str, scores: list[str]) -> pa.Schema:
    """The release's columns, and which of them hold media, as `datasets` writes that. Importing it takes a CPU second.

    The other columns' types are Arrow's own, which older versions of `datasets` understand, too.
    """
    text, whole, real = pa.string(), pa.int64(), pa.float64()
    media = pa.struct({"bytes": pa.binary(), "path": text})
    special = {
        "parents": pa.list_(text),
        "permitted_use": pa.list_(text),
        "ingredients": pa.list_(text),
        "segments": pa.list_(pa.struct({"start_s": real, "end_s": real, "modality": text})),
        **dict.fromkeys(("words", "phonemes"), pa.list_(pa.struct({"start_s": real, "end_s": real, "text": text}))),
        "duration_s": real,
        **dict.fromkeys(("width", "height", "frames", "sample_rate"), whole),
    }
    first, *others = _PLAIN
    columns = {
        first: text,
        "media": media,
        "mask": media,
        **{name: special.get(name, text) for name in others},
        "terms": text,
        "fps": real,
        "scores": pa.struct(dict.fromkeys(scores, real)),
    }
    kind = {"_type": {"video": "Video", "image": "Image", "audio": "Audio"}[media_type]}
    features = {"media": kind} if media_type == "audio" else {"media": kind, "mask": kind}
    told = {"info": {"features": features}}
    return pa.schema(columns, metadata={"huggingface": json.dumps(told)})


def _card(rows: Sequence[Sample], params: Params, terms: dict[str, Any]) -> str:
    configs = sorted({config(s) for s in rows})
    head = {
        "pretty_name": params.release.title,
        "license": terms["licence"].lower() if terms["licence"] == "CC0-1.0" else "other",
        "tags": ["deepfake-detection", "synthetic"],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if name == "video" else {}),
                "data_files": [
                    {"split": split, "path": f"{split}/{name}/*.parquet"}
                    for split in SPLITS
                    if any(s.split == split and config(s) == name for s in rows)
                ],
            }
            for name in configs
        ],
    }
    counts = Counter((s.method, s.variant, s.role, s.label, s.split) for s in rows)
    kinds = sorted({key[:4] for key in counts}, key=lambda k: (k[2] != "control", k))
    table = "\n".join(f"| {' | '.join(kind)} | " + " | ".join(str(counts[*kind, s]) for s in SPLITS) + " |" for kind in kinds)
    people = {s: len({p for r in rows if r.split == s for p in (r.target_id, r.source_id) if p}) for s in SPLITS}
    apart = "nobody is in two splits, nor is a recording or a file"
    if kept_leaks():
        apart = "**splits leak, as those of the corpora are kept as published**: see below"
    key = "the public demo key, which proves nothing" if params.seal.key == "demo" else f"key {params.seal.key}"
    return f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip()}
---

# {params.release.title}

{len(rows)} samples for training and testing detectors of forged faces and voices, made by Forgeline. Controls are real
clips that went through the same chain as the forgeries: decoded, encoded, marked and tagged alike, so that container, codec,
picture size, rate and kind of mark are those of their pair.

```python
from datasets import load_dataset
val = load_dataset("{params.release.name}", "{configs[-1] if "video" not in configs else "video"}", split="val")
```

## What is in it

| method | variant | role | label | train | val | test |
|---|---|---|---|---|---|---|
{table}

People: {", ".join(f"{people[s]} in {s}" for s in SPLITS)}; {apart}. A fake's
`pair_id` is its control's `sample_id`. A variant is its master as others pass it on, encoded again, and keeps its mark. `mask`
says, frame by frame, what was changed, and `segments` when; the mask of a control is empty. Null twins (the machinery with the
person's own face) are in a config of their own.

{_nobodies(rows)}## How it was checked

Every mark was read back from the finished file before the file got its name, with {key}. The audit compared plan, records
and files, splits, pairs and terms, and passed. What is behind each figure: `data/scores/about.json` of the same version.
{summary()}
`data/report/index.html` shows on one page what was counted, measured and left undecided.

```json
{FIGURES.read_text(encoding="utf-8").rstrip()}
```

{_shortcuts(params)}## Terms

{_terms(terms)}
## How it can be made again

`dvc repro` at this version gives the same bytes with Python {sys.version_info.major}.{sys.version_info.minor}, the packages of
`constraints.txt` and a processor like this one: {processor()}.
"""


def _terms(terms: dict[str, Any]) -> str:
    """What is left for the whole, what forbids the rest, and the table by which samples have more or less."""
    uses = "\n".join(
        f"| {use} | {'yes' if said['permitted'] else 'no'} | {said['samples']} | {', '.join(said['because_of']) or '–'} |"
        for use, said in terms["uses"].items()
    )
    lines = (
        [
            line["terms"],
            ", ".join([*line["sources"], *line["nets"]]),
            ", ".join(line["permitted_use"]) or "none",
            "yes" if line["redistribute"] else "no",
            line["expires"] or "no end",
            str(len(line["credits"])),
            str(line["samples"]),
        ]
        for line in terms["table"]
    )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    credits = terms["credits"]
    named = f"{len(credits)}: all are in `terms.json`" if len(credits) > _NAMED else "; ".join(credits) or "nobody"
    why = f", because of {', '.join(terms['not_passed_on_because_of'])}" if terms["not_passed_on_because_of"] else ""
    return f"""- licence of what it was made from: {terms["licence"]}
- permitted use: {", ".join(terms["permitted_use"]) or "none"}
- passing on: {"permitted" if terms["redistribute"] else "not permitted"}{why}
- in force {f"until {terms['expires']}" if terms["expires"] else "without end"}
- to be credited: {named}

That is what all samples leave together. Of each use: whether the whole permits it, how many samples do, and what forbids it.

| use | the whole | samples | forbidden by |
|---|---|---|---|
{uses}

A sample has the terms of what it was made from: its parents, what its model learned from, and nets that a team brought. Its
row's `terms` names the line here, `licence` and `permitted_use` say the same, `credit` names the authors of its parents; whom
models learned from is in `terms.json`, with all the rest of this table.

| terms | made from | permitted use | passing on | until | to be credited | samples |
|---|---|---|---|---|---|---|
{table}
"""


def _shortcuts(params: Params) -> str:
    """What the audit's probes found that see nothing of the forgery: the worst, and what they could not decide."""
    told = json.loads(AUDIT.read_text(encoding="utf-8"))["checks"]["shortcuts"]
    table = [line for line in told["table"] if line["auc"] is not None]
    names = ("media_type", "variant", "method", "factor", "pairs", "auc", "low", "high", "verdict")
    rows = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in (line[n] for n in names)] for line in table[:_WORST]]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    if not told["undecided"]:
        decided = "Nothing is undecided."
    else:
        why = "these are demo people" if only_demo(params) else f"accepted by {params.release.accepted.shortcuts}"
        said = "\n".join(f"- {sentence}" for sentence in told["undecided"])
        decided = f"Not decided, for too few pairs, and released all the same ({why}):\n\n{said}"
    return f"""## Shortcuts

{len(table)} probes that see nothing of the forgery were asked to tell fakes from their controls: by how a file is written and
coded, by its sound's levels, by its mark, by what lies outside of all that was changed. None is shown to do so (by an AUC above
0.55). {decided}

| type | variant | method | probe | pairs | AUC | at least | at most | |
|---|---|---|---|---|---|---|---|---|
{lines}

These are the worst; all are in `data/audit/audit.json` of the same version, and `docs/shortcuts.md` says how to read them.

"""


def _nobodies(rows: Sequence[Sample]) -> str:
    """What was measured of the faces of people who don't exist, a line a method; nothing where there are none."""
    measured: dict[str, list[tuple[float, int]]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for row in rows:
        if row.content_class == "fully_synthetic" and row.variant == "master":
            near = {name.rpartition(".")[2]: value for name, value in row.drawn.items()}  # a chain names its steps
            if "nearest_face" in near:
                measured[row.method].append((float(near["nearest_face"]), int(near["copies_refused"])))
            else:
                unknown[row.method] += 1
    lines = [
        f"| {method} | {len(each)} | {min(each)[0]:.2f} | {sum(copies for _, copies in each)} |"
        for method, each in sorted(measured.items())
    ]
    lines += [
        f"| {method} | {count} | not known: its training faces are not here | – |" for method, count in sorted(unknown.items())
    ]
    if not lines:
        return ""
    table = "\n".join(lines)
    return f"""## People who don't exist

Every painted face was compared with all faces that its net had learned from; a copy (nearer than 1) was thrown away and painted
anew. How near 1 is: as near as a training face is to itself after blur, a shift of two pixels and other light.

| method | faces | nearest to a training face | copies thrown away |
|---|---|---|---|
{table}

"""


def processor() -> str:
    """The machine's architecture and the widest vector instructions it has: floating-point results may hang on them."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        flags = ""
    wide = next((name for name in ("avx512f", "avx2", "asimd", "sse4_2") if f" {name}" in flags), "unknown vectors")
    return f"{platform.machine()}, {wide}"
