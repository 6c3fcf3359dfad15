"""`terms`: what may be done with each source, and with what is made from all of them."""

from flows.params import Params
from forgeline.terms import Joined, Terms, join, of_person
from sources.corpus import Source


def joined(params: Params) -> Joined:
    """What the terms of all sources leave together, cut short by the consent of each person in them."""
    parts: list[Joined] = []
    for name, source in params.sources.items():
        if isinstance(source, Source):
            parts.append(join(source.terms))
            parts += [of_person(name, source.terms, person) for person in source.terms.people]
    first, *others = parts
    return join(first, *others)


def show(params: Params) -> str:
    """A line a source, and one for a release of all of them."""
    terms = {name: s.terms for name, s in params.sources.items() if isinstance(s, Source)}
    lines = [f"{'source':<14} {'forgeries':<10} {'passing on':<11} {'until':<11} {'permitted use':<44} licence"]
    for name, one in terms.items():
        lines.append(_line(name, one, one.licence))
        lines.append(f"{'':<14} {one.agreement}; {one.consent}; {_accepted(one)}")
    together = joined(params)
    lines.append(_line("all together", together, together.licence))
    return "\n".join(lines)


def _line(name: str, terms: Terms | Joined, licence: str) -> str:
    uses = ", ".join(terms.permitted_use) or "nothing"
    may = [("yes" if granted else "no") for granted in (terms.generate, terms.redistribute)]
    return f"{name:<14} {may[0]:<10} {may[1]:<11} {terms.expires or 'no end':<11} {uses:<44} {licence}"


def _accepted(terms: Terms) -> str:
    return f"accepted by {terms.accepted_by} on {terms.accepted_on}" if terms.accepted_by else "accepted by nobody yet"
