"""Who goes into which split, the proof that no two splits have anything in common, and the certificate that says so.

A split is a component's: the closure of everything that clips share, in all corpora together. Beside what manifests say
(people, recordings, files, parents) that is what clips show and sound like: copies are found by prints (`forgeline.near`),
people by their embedded faces where params name a net for it. The proof knows nothing of how splits were assigned.

Splits that a corpus is published with may leak. `plan.official` says what becomes of that: `mend` moves what is tied together
into one split, `keep` leaves each clip where its publisher put it. Either way the certificate names all that leaks.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from flows import workspace
from flows.params import Official, Params, Plan
from forgeline import near
from forgeline.code import code_digest
from forgeline.errors import FactoryError, PromiseError
from forgeline.files import sha256_of, write_text
from forgeline.prints import Print, load_print
from forgeline.recipe import digest
from forgeline.sample import SPLITS, Sample, Split

SPLITS_FILE = "splits.json"
CERTIFICATE = workspace.PLAN / "certificate.json"
_SHOWN = 20
_NAMED = 4  # clips of a tie
_BLOCK = 1024  # people whose faces are compared with all others' at once

Rule = Literal["parent", "person", "recording", "file", "picture", "sound", "face"]
RULES: Mapping[Rule, str] = {
    "parent": "a clip and what was made from it",
    "person": "one id of a person, as a target or as a donor",
    "recording": "one recording that both were cut from, as their corpus says",
    "file": "one file, byte by byte, by its SHA-256",
    "picture": "pictures of one recording, encoded again, cropped, scaled, mirrored or trimmed",
    "sound": "the same sound, or a part of it, under whatever pictures",
    "face": "one person under two ids, by a net's embedding of the faces",
}

UNSEEN = (
    "a copy that is played faster or slower, or with its sound shifted in pitch",
    "a copy that is less than half of what two clips have in common at one delay, as in compilations",
    "a still that was changed in several ways at once: most of these are missed",
    "people beside the main one of a clip",
    "one person in two recordings under two names, where the rule `face` is not checked",
)
"""What no rule looks for: it is in the certificate, so that nobody takes it for more than it is."""


@dataclass(frozen=True)
class Component:
    """People and clips that must share a split: what `RULES` name is common to them, directly or by way of others."""

    split: Split
    because: str
    people: tuple[str, ...]
    clips: tuple[str, ...]


@dataclass(frozen=True)
class Alike:
    """What clips have in common by what they show: ties by the clip's id, each named after its rule and both that are alike.

    `told` counts the clips that a rule could look at, `untold` the others by the reason; `by` says how; `proof` holds
    likenesses by tie; `prints` is a hash of all that was compared.
    """

    ties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told: Mapping[Rule, int] = field(default_factory=dict)
    untold: Mapping[Rule, Mapping[str, int]] = field(default_factory=dict)
    by: Mapping[Rule, Mapping[str, Any]] = field(default_factory=dict)
    proof: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prints: str = ""


NOTHING_ALIKE = Alike()


def look_alike(samples: Iterable[Sample], params: Params) -> Alike:
    """Compare all usable clips of all corpora, by the prints and embedded faces that ingest left: see `forgeline.near`."""
    usable = sorted((s for s in samples if s.reason is None), key=lambda s: s.sample_id)
    ties: dict[str, list[str]] = defaultdict(list)
    proof: dict[str, dict[str, Any]] = {}
    untold: dict[Rule, Counter[str]] = {"picture": Counter(), "sound": Counter(), "face": Counter()}
    here: list[tuple[Sample, Print]] = []
    hashes = []
    for sample in usable:
        path = workspace.print_file(sample.source, sample.sample_id)
        if path.is_file():
            here.append((sample, load_print(path)))
            hashes.append([sample.sample_id, sha256_of(path)])
        else:
            untold["picture"]["there is no print of it"] += 1
            untold["sound"]["there is no print of it"] += 1
    for sample, found in here:
        if sample.media_type == "audio":
            untold["picture"]["it is sound alone"] += 1
        elif sample.media_type == "video" and not near.tells_motion(found):
            untold["picture"][f"it is shorter than {near.SHORTEST_S} s, or nothing moves"] += 1
        if not near.tells_sound(found):
            untold["sound"]["it has no sound" if not len(found.sound) else "its sound is too short, or silent"] += 1
    prints = [found for _, found in here]
    for rule, matches in (("picture", near.same_picture(prints)), ("sound", near.same_sound(prints))):
        for match in matches:
            one, other = (here[at][0].sample_id for at in (match.first, match.second))
            name = f"{rule} {one} {other}"
            ties[one].append(name)
            ties[other].append(name)
            looks = {"looks": match.looks} if rule == "picture" else {}
            proof[name] = {"likeness": match.likeness, "delay_s": match.delay_s} | looks
    by: dict[Rule, Mapping[str, Any]] = {
        "picture": {
            "algorithm": "motion of the face's mesh at 25 Hz, and the mean aligned face; stills: face and shape of its mesh",
            "motion": near.MOTION,
            "looks": near.LOOKS_ALIKE,
            "stills": near.STILLS_ALIKE,
            "shortest_s": near.SHORTEST_S,
        },
        "sound": {"algorithm": "Haitsma and Kalker 2002: 32 bits each 32 ms", "equal_bits": near.SOUND, "of_s": near.SOUND_S},
    }
    faces = params.ingest.faces
    if faces is None:
        untold["face"]["no embedding model"] += len(usable)
    else:
        by["face"] = {"net": faces.net.file, "sha256": faces.net.sha256, "least": faces.least}
        _faces(usable, faces.least, ties, proof, untold["face"])
    told: dict[Rule, int] = {rule: len(usable) - sum(lost.values()) for rule, lost in untold.items()}
    return Alike({name: tuple(each) for name, each in ties.items()}, told, untold, by, proof, digest(hashes) if hashes else "")


def _faces(
    usable: Sequence[Sample],
    least: float,
    ties: dict[str, list[str]],
    proof: dict[str, dict[str, Any]],
    untold: Counter[str],
) -> None:
    """Tie the clips of people whose mean embeddings' cosine is at least so much; a clip of nobody known is one by itself."""
    rows: dict[str, list[np.ndarray[Any, Any]]] = defaultdict(list)
    clips: dict[str, list[str]] = defaultdict(list)
    for sample in usable:
        path = workspace.face_file(sample.source, sample.sample_id)
        if not path.is_file():
            untold["it is forged" if sample.label == "fake" else "its face was not embedded"] += 1
            continue
        name = sample.target_id or sample.sample_id
        rows[name].append(np.load(path))
        clips[name].append(sample.sample_id)
    names = sorted(rows)
    if not names:
        return
    means = np.stack([np.mean(rows[name], axis=0) for name in names])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    for start in range(0, len(names), _BLOCK):
        likeness = means[start : start + _BLOCK] @ means.T
        for row, column in np.argwhere(likeness >= least).tolist():
            if start + row < column:
                one, other = names[start + row], names[column]
                tie = f"face {one} {other}"
                proof[tie] = {"likeness": round(float(likeness[row, column]), 4)}
                for clip in (*clips[one], *clips[other]):
                    ties[clip].append(tie)


def ties_of(sample: Sample, alike: Alike = NOTHING_ALIKE) -> Iterator[str]:
    """What a clip must not share with a clip of another split, each beginning with its rule."""
    yield f"parent {sample.sample_id}"
    yield from (f"parent {parent}" for parent in sample.parents)
    yield from (f"person {person}" for person in (sample.target_id, sample.source_id) if person)
    if sample.origin:
        yield f"recording {sample.source}:{sample.origin}"
    if sample.sha256:
        yield f"file {sample.sha256}"
    yield from alike.ties.get(sample.sample_id, ())


def names_of_one(samples: Iterable[Sample], alike: Alike) -> dict[str, set[str]]:
    """By person, the names that may all be theirs, as clips that are one, or a face, go by them."""
    names: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        for tie in ties_of(sample, alike):
            if not tie.startswith(("parent ", "person ")) and sample.target_id:
                names[tie].add(sample.target_id)
    one: dict[str, set[str]] = defaultdict(set)
    for people in names.values():
        for person in people:
            one[person] |= people
    return one


def assign_splits(samples: Iterable[Sample], settings: Plan, alike: Alike = NOTHING_ALIKE) -> list[Component]:
    """The closure of everything clips have in common, and a split for each component; sorted.

    A component's split is the one that `plan.assign` gives one of its people, else its corpus's official one (test before
    val before train where a corpus's own splits are tied together, so that nothing official leaks into training), else
    drawn from a hash of its first person, so that it does not depend on who else there is.

    Where official splits are kept, a component that they cut is one for each split. What has no official split goes with
    what it shares something with.
    """
    everyone = list(samples)
    nobody = sorted(set(settings.assign) - {p for s in everyone for p in _people(s)})
    if nobody:
        raise FactoryError(f"plan.assign.{nobody[0]}", "is nobody in the corpora", "correct the name, or remove it")
    usable = sorted((s for s in everyone if s.reason is None), key=lambda s: s.sample_id)
    components = [part for group in _closures(usable, alike) for part in _placed(group, settings, alike)]
    for component in components if settings.official == "keep" else ():
        for person in component.people:
            if settings.assign.get(person, component.split) != component.split:
                asked = settings.assign[person]
                what = f"asks for {asked}; official splits are kept, and put what is theirs into {component.split}"
                raise FactoryError(f"plan.assign.{person}", what, "remove it, or set plan.official to mend")
    return sorted(components, key=lambda c: (c.split, c.people, c.clips))


def _closures(usable: Sequence[Sample], alike: Alike) -> list[list[Sample]]:
    """Clips that have anything in common, directly or by way of others among these, together."""
    root: dict[str, str] = {}

    def find(tie: str) -> str:
        while root.setdefault(tie, tie) != tie:
            root[tie] = root[root[tie]]
            tie = root[tie]
        return tie

    for sample in usable:
        first, *others = ties_of(sample, alike)
        for other in others:
            a, b = sorted((find(first), find(other)))
            root[b] = a
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in usable:
        groups[find(next(ties_of(sample)))].append(sample)
    return list(groups.values())


def _people(sample: Sample) -> tuple[str, ...]:
    return tuple(person for person in (sample.target_id, sample.source_id) if person)


def _placed(group: Sequence[Sample], settings: Plan, alike: Alike) -> Iterator[Component]:
    """A closure as a component, or as one for each split where official splits cut it and are kept."""
    official = {s.split for s in group if s.split}
    if settings.official == "mend" or len(official) < 2:
        split, because = _split_of(group, settings)
        yield _component(group, split, because)
        return
    where: dict[str, Split] = {}
    of_tie: dict[str, set[Split]] = defaultdict(set)
    for sample in group:
        if sample.split:
            where[sample.sample_id] = sample.split
            for tie in ties_of(sample, alike):
                of_tie[tie].add(sample.split)
    for some in _closures([s for s in group if not s.split], alike):
        near = {split for s in some for tie in ties_of(s, alike) for split in of_tie.get(tie, ())}
        by_hand = {settings.assign[p] for s in some for p in _people(s) if p in settings.assign} & near
        where |= dict.fromkeys((s.sample_id for s in some), _strictest(by_hand or near))
    for split in SPLITS:
        if part := [s for s in group if where[s.sample_id] == split]:
            yield _component(part, split, f"official, kept; official splits {' and '.join(sorted(official))} are tied together")


def _strictest(splits: Iterable[Split]) -> Split:
    return max(splits, key=SPLITS.index)


def _component(group: Sequence[Sample], split: Split, because: str) -> Component:
    people = tuple(sorted({person for s in group for person in _people(s)}))
    return Component(split, because, people, tuple(s.sample_id for s in group))


def _split_of(group: Sequence[Sample], settings: Plan) -> tuple[Split, str]:
    people = sorted({person for s in group for person in _people(s)})
    official = {s.split for s in group if s.split}
    by_hand = sorted({settings.assign[p] for p in people if p in settings.assign})
    if len(by_hand) > 1:
        what = f"put people into {' and '.join(by_hand)} who have clips in common"
        raise FactoryError("plan.assign", f"{what} ({', '.join(people[:4])})", "give them one split")
    if by_hand and not (official and settings.official == "keep"):
        return by_hand[0], "plan.assign"
    if official:
        tied = f"; official splits {' and '.join(sorted(official))} are tied together" if len(official) > 1 else ""
        return _strictest(official), f"official{tied}"
    name = people[0] if people else group[0].sample_id
    drawn = int(digest(["split", settings.seed, name])[:13], 16) / 16**13
    for split in SPLITS:
        drawn -= settings.splits[split]
        if drawn < 0:
            return split, "drawn"
    return SPLITS[-1], "drawn"


def prove_disjoint(
    components: Iterable[Component], samples: Iterable[Sample], alike: Alike = NOTHING_ALIKE, official: Official = "mend"
) -> None:
    """Raise PromiseError unless nothing that `ties_of` names is found in two splits. Knows nothing of how they were made.

    Where official splits are kept, what `unmended` names may be.
    """
    for which, what in leaks({clip: c.split for c in components for clip in c.clips}, samples, alike, official):
        raise PromiseError(which, what, "report it: splits must be disjoint")


def leaks(
    split_of: Mapping[str, Split], samples: Iterable[Sample], alike: Alike = NOTHING_ALIKE, official: Official = "mend"
) -> Iterator[tuple[str, str]]:
    """Each tie that is in two splits and may not be, and each clip that is in none, with what is wrong with it.

    Where official splits are kept, each clip also that isn't in its own, and what shares a tie with them without need.
    """
    usable = [s for s in samples if s.reason is None]
    kept = official == "keep"
    may = unmended(usable, alike) if kept else {}
    where: dict[str, list[Split]] = {}
    others: dict[str, Split] = {}  # where those are that have no official split: together, whatever the tie
    torn = set()
    for sample in usable:
        split = split_of.get(sample.sample_id)
        if split is None:
            yield sample.sample_id, "is in no split"
            continue
        if kept and sample.split and sample.split != split:
            yield sample.sample_id, f"is in {split}, not in {sample.split}, where its corpus has it"
        for tie in ties_of(sample, alike):
            found = where.setdefault(tie, [])
            if split not in found:
                found.append(split)
            if not sample.split and others.setdefault(tie, split) != split:
                torn.add(tie)
    for tie, found in where.items():
        if len(found) > 1 and (tie in torn or not set(found) <= may.get(tie, frozenset())):
            yield tie, f"is in {' and in '.join(found)}"


def unmended(samples: Iterable[Sample], alike: Alike = NOTHING_ALIKE) -> dict[str, frozenset[Split]]:
    """The ties that are in two splits however other clips are placed, if official splits are kept; with the splits.

    Those are the ties of clips of two official splits; and of clips without one that share things with clips of two, each
    tie by which they do, as they can be in one of both only. Found by going from clip to clip, not as splits are assigned.
    """
    usable = [s for s in samples if s.reason is None]
    official: dict[str, set[Split]] = defaultdict(set)
    holders: dict[str, list[Sample]] = defaultdict(list)
    for sample in usable:
        for tie in ties_of(sample, alike):
            if sample.split:
                official[tie].add(sample.split)
            else:
                holders[tie].append(sample)
    found = {tie: set(splits) for tie, splits in official.items() if len(splits) > 1}
    been: set[str] = set()
    for start in usable:
        if start.split or start.sample_id in been:
            continue
        been.add(start.sample_id)
        todo, ties = [start], set()
        while todo:
            for tie in ties_of(todo.pop(), alike):
                if tie not in ties:
                    ties.add(tie)
                    todo += [other for other in holders.get(tie, ()) if other.sample_id not in been]
                    been.update(other.sample_id for other in holders.get(tie, ()))
        near = {split for tie in ties for split in official.get(tie, ())}
        if len(near) > 1:
            for tie in ties & official.keys():
                found[tie] = found.get(tie, set()) | near
    return {tie: frozenset(splits) for tie, splits in found.items()}


def certify(
    components: Iterable[Component], samples: Iterable[Sample], alike: Alike, official: Official = "mend"
) -> dict[str, Any]:
    """What data/plan/certificate.json says: each rule, how it was checked, what it found; what became of official splits.

    `official` names all that the corpora's own splits leak, `kept` all that is in two splits because they are kept: each
    tie, and each clip with what it shares. It grows with the clips that leak.
    """
    usable = sorted((s for s in samples if s.reason is None), key=lambda s: s.sample_id)
    component_of = {clip: c for c in components for clip in c.clips}
    split_of = {clip: c.split for clip, c in component_of.items()}
    by_tie: dict[str, list[Sample]] = defaultdict(list)
    for sample in usable:
        for tie in dict.fromkeys(ties_of(sample, alike)):
            by_tie[tie].append(sample)
    broken = {which for which, _ in leaks(split_of, usable, alike, official)}
    published = _across(by_tie, {s.sample_id: s.split for s in usable if s.split}, alike)
    kept = {tie: leak for tie, leak in _across(by_tie, split_of, alike).items() if tie not in broken}
    rules = [_rule(rule, says, usable, by_tie, broken, kept, alike) for rule, says in RULES.items()]
    placed = [s for s in usable if s.split]
    moved = [s for s in placed if s.split != split_of.get(s.sample_id)]
    held: dict[Split, list[Component]] = {split: [] for split in SPLITS}
    for component in {id(c): c for c in component_of.values()}.values():
        held[component.split].append(component)
    return {
        "passed": not broken,
        "clips": len(usable),
        "splits": {
            split: {
                "components": len(some),
                "people": len({person for c in some for person in c.people}),
                "clips": sum(len(c.clips) for c in some),
            }
            for split, some in held.items()
            if some
        },
        "official": {
            "asked": official,
            "clips": len(placed),
            "kept": len(placed) - len(moved),
            "moved": len(moved),
            "first": [
                {
                    "clip": s.media,
                    "from": s.split,
                    "to": split_of.get(s.sample_id),
                    "because": component_of[s.sample_id].because,
                }
                for s in moved[:_SHOWN]
                if s.sample_id in component_of
            ],
            "leaks": list(published.values()),
        },
        "kept": {
            "leaks": [leak | {"published": tie in published} for tie, leak in kept.items()],
            "clips": _sharing(by_tie, split_of, kept),
        },
        "rules": rules,
        "never_checked": list(UNSEEN),
        "prints": alike.prints,
        "code": code_digest("forgeline.near", "forgeline.prints", "flows.splits"),
    }


def _across(by_tie: Mapping[str, Sequence[Sample]], split_of: Mapping[str, Split], alike: Alike) -> dict[str, dict[str, Any]]:
    """By tie what is in two splits, of the clips that are in one: the evidence, how many clips are where, and the first."""
    found = {}
    for tie in sorted(by_tie):
        there: dict[Split, list[str]] = defaultdict(list)
        for sample in by_tie[tie]:
            if sample.sample_id in split_of:
                there[split_of[sample.sample_id]].append(sample.media)
        if len(there) > 1:
            found[tie] = {
                "rule": tie.split(" ", 1)[0],
                "tie": tie,
                **alike.proof.get(tie, {}),
                "splits": {split: len(there[split]) for split in SPLITS if split in there},
                "clips": {split: there[split][:_NAMED] for split in SPLITS if split in there},
            }
    return found


def _sharing(
    by_tie: Mapping[str, Sequence[Sample]], split_of: Mapping[str, Split], kept: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """By clip that shares anything with another split: its own split, and by other split the rules by which it does."""
    shares: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    own: dict[str, Split] = {}
    for tie in kept:
        placed = [s for s in by_tie[tie] if s.sample_id in split_of]
        there = {split_of[s.sample_id] for s in placed}
        for sample in placed:
            own[sample.media] = split_of[sample.sample_id]
            for split in there - {own[sample.media]}:
                shares[sample.media][split].add(tie.split(" ", 1)[0])
    return {
        clip: {"split": own[clip], "shares": {split: sorted(rules) for split, rules in sorted(each.items())}}
        for clip, each in sorted(shares.items())
    }


def _rule(
    rule: Rule,
    says: str,
    usable: Sequence[Sample],
    by_tie: Mapping[str, Sequence[Sample]],
    broken: set[str],
    kept: Iterable[str],
    alike: Alike,
) -> dict[str, Any]:
    ties = {tie: clips for tie, clips in by_tie.items() if tie.split(" ", 1)[0] == rule and len(clips) > 1}
    crossing = [tie for tie, clips in ties.items() if len({s.split for s in clips if s.split}) > 1]
    # Of one person's clips and of forgeries other names are no news.
    telling = {tie: clips for tie, clips in ties.items() if rule not in ("parent", "person")}
    several = [tie for tie, clips in telling.items() if len({s.target_id for s in clips if s.target_id}) > 1]
    untold = dict(sorted(alike.untold.get(rule, {}).items()))
    checked = alike.told.get(rule, 0) if rule in alike.untold else len(usable)
    bad = sorted(tie for tie in broken if tie.split(" ", 1)[0] == rule)
    left = sum(tie.split(" ", 1)[0] == rule for tie in kept)
    lost = bool(usable) and not checked
    return {
        "rule": rule,
        "says": says,
        "how": dict(alike.by.get(rule, {})) if rule in alike.untold else {"algorithm": "equal names in the manifests"},
        "checked": checked,
        "not_checked": untold,
        "ties": len(ties),
        "crossed_official_splits": len(crossing),
        "between_people": len(several),
        "first": [
            {"tie": tie, **alike.proof.get(tie, {}), "clips": [s.media for s in ties[tie][:_NAMED]]}
            for tie in sorted({*crossing, *several})[:_SHOWN]
        ],
        "in_two_splits": bad[:_SHOWN],
        "kept": left,
        "verdict": _verdict(len(bad), left, f"not checked: {', '.join(untold)}" if lost else ""),
    }


def _verdict(bad: int, left: int, lost: str) -> str:
    if bad:
        return "broken"
    return lost or (f"leaks in {left} ties, as official splits are kept" if left else "holds")


def write_certificate(
    components: Iterable[Component], samples: Iterable[Sample], alike: Alike, official: Official = "mend"
) -> None:
    """Write data/plan/certificate.json; the same clips, params and code give the same bytes."""
    told = certify(list(components), list(samples), alike, official)
    write_text(CERTIFICATE, json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def recheck(samples: Sequence[Sample], params: Params) -> Iterator[str]:
    """What is wrong with the plan's splits and certificate, by everything that lies there now: nothing is taken from the plan
    but where it put each clip. What leaks is right only as far as the certificate names it and `unmended` finds it, too.
    """
    proof = json.loads((workspace.PLAN / SPLITS_FILE).read_text(encoding="utf-8"))
    try:
        certificate = json.loads(CERTIFICATE.read_text(encoding="utf-8"))
        named = {leak["tie"]: set(leak["splits"]) for leak in certificate["kept"]["leaks"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{CERTIFICATE}: can't be read ({error!r})"
        return
    official = params.plan.official
    alike = look_alike(samples, params)
    components = [Component(c["split"], c["because"], tuple(c["people"]), tuple(c["clips"])) for c in proof["components"]]
    split_of = {name: c.split for c in components for name in c.clips}
    yield from (f"{which}: {what}" for which, what in leaks(split_of, samples, alike, official))
    now = json.loads(json.dumps(certify(components, samples, alike, official)))
    for leak in now["kept"]["leaks"]:
        if not set(leak["splits"]) <= named.get(leak["tie"], set()):
            yield f"{leak['tie']}: is in {' and in '.join(leak['splits'])}, which {CERTIFICATE} does not name"
    for part in sorted(now.keys() | certificate.keys()):
        if now.get(part) != certificate.get(part):
            yield f"{CERTIFICATE}: its `{part}` is not what is found now; run `python -m flows plan`"


def show(certificate: Mapping[str, Any]) -> str:
    """The certificate, for a person to read."""
    kept, official = certificate["kept"], certificate["official"]
    verdict = "disjoint" if certificate["passed"] else "NOT DISJOINT"
    if kept["leaks"] and certificate["passed"]:
        verdict = f"disjoint but for {len(kept['leaks'])} ties, as official splits are kept"
    lines = [f"splits of {certificate['clips']} clips: {verdict}"]
    for split, held in certificate["splits"].items():
        lines.append(f"  {split:<6} {held['components']} components, {held['people']} people, {held['clips']} clips")
    lines.append(f"{'rule':<10} {'checked':>8} {'ties':>8} {'people':>8} {'official':>9}  verdict")
    for rule in certificate["rules"]:
        numbers = f"{rule['checked']:>8} {rule['ties']:>8} {rule['between_people']:>8} {rule['crossed_official_splits']:>9}"
        lines.append(f"{rule['rule']:<10} {numbers}  {rule['verdict']}")
        lines += [f"    {count} not checked: {why}" for why, count in rule["not_checked"].items() if rule["checked"]]
        for each in rule["first"][:4]:
            likeness = f" ({each['likeness']:.2f})" if "likeness" in each else ""
            lines.append(f"    {' = '.join(each['clips'])}{likeness}")
    if official["clips"]:
        lines.append(
            f"official splits: {official['clips']} clips have one, {official['kept']} keep it, {official['moved']} don't"
        )
        lines += [f"    {each['clip']}: {each['from']} -> {each['to']} ({each['because']})" for each in official["first"][:4]]
        became = "kept as published" if official["asked"] == "keep" else "mended: what is tied together is in one split"
        lines.append(
            f"they leak in {len(official['leaks'])} ties, {became}" if official["leaks"] else "nothing leaks between them"
        )
    if kept["leaks"]:
        lines.append(f"leaks that are kept: {len(kept['leaks'])}; {_in_part(kept)}")
        lines += [f"    {_leak(leak)}" for leak in kept["leaks"][:_SHOWN]]
        if len(kept["leaks"]) > _SHOWN:
            lines.append(f"    … {len(kept['leaks']) - _SHOWN} more, and each clip, under `kept` in {CERTIFICATE.as_posix()}")
    lines += ["no rule looks for:", *(f"    {each}" for each in certificate["never_checked"])]
    lines.append("people: ties between clips of different people; official: ties that cross a corpus's own splits")
    return "\n".join(lines)


def _leak(leak: Mapping[str, Any]) -> str:
    there = "; ".join(f"{split}: {leak['clips'][split][0]}" for split in leak["clips"])
    counts = " and ".join(f"{many} in {split}" for split, many in leak["splits"].items())
    likeness = f", alike by {leak['likeness']:.2f}" if "likeness" in leak else ""
    placed = "" if leak["published"] else ", by a clip that has no official split"
    return f"{leak['tie']}: {counts}{likeness}{placed} ({there})"


def _in_part(kept: Mapping[str, Any]) -> str:
    """How many clips of each split share something with another."""
    count = Counter(each["split"] for each in kept["clips"].values())
    return (
        ", ".join(f"{count[split]} clips of {split}" for split in SPLITS if count[split])
        + " share something with another split"
    )


def kept_leaks() -> list[dict[str, Any]]:
    """What the certificate names as in two splits because official splits are kept; nothing where they are mended."""
    leaks: list[dict[str, Any]] = json.loads(CERTIFICATE.read_text(encoding="utf-8"))["kept"]["leaks"]
    return leaks


def summary() -> str:
    """A sentence or two on the splits for the release's card, from the certificate."""
    told = json.loads(CERTIFICATE.read_text(encoding="utf-8"))
    lost = [f"{r['rule']} ({r['verdict']})" for r in told["rules"] if r["verdict"].startswith("not checked")]
    held = ", ".join(r["rule"] for r in told["rules"] if r["verdict"] == "holds")
    missing = f" Not covered: {'; '.join(lost)}." if lost else ""
    kept, moved = told["kept"], told["official"]["moved"]
    official = f" {moved} clips left their corpus's official split, which leaked." if moved else ""
    if kept["leaks"]:
        count = Counter(leak["rule"] for leak in kept["leaks"])
        by_rule = ", ".join(f"{count[rule]} by {rule}" for rule in RULES if count[rule])
        many = f"{len(kept['leaks'])} ties ({by_rule}) are in two splits"
        official = f" Official splits are kept as published, and leak: {many}; of the corpora's clips {_in_part(kept)}."
        official += " Each is named there under `kept`."
    name = CERTIFICATE.as_posix()
    return f"`{name}` of the same version certifies that no two splits share a {held.replace(', ', ', a ')}.{missing}{official}"
