"""What may be done with a corpus: who accepted which agreement, and what it leaves of a sample made from several.

Terms only ever narrow. A sample's terms are the meet of the terms of everything it was made from, and what they don't
cover is refused. Nothing here reads the clock: whoever asks says what day it is.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from forgeline.errors import TermsError
from forgeline.section import Section
from forgeline.uses import Use as Use
from forgeline.uses import Uses, sorted_once

Scope = Literal["face", "voice"]
"""What of a person may be used."""


def _day(value: object) -> object:
    """YAML reads an unquoted 2026-11-20 as a date; the record keeps text."""
    if type(value) is date:
        return value.isoformat()
    if isinstance(value, str) and (len(value) != 10 or date.fromisoformat(value).isoformat() != value):
        raise ValueError("a day is written like 2026-11-20")
    return value


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line of text that is not empty")
    return text.strip()


Day = Annotated[str, BeforeValidator(_day)]
Line = Annotated[str, AfterValidator(_one_line)]
# Sections are strict, and YAML has lists but no tuples.
Scopes = Annotated[tuple[Scope, ...], Field(strict=False, min_length=1), AfterValidator(sorted_once)]


class Consent(Section):
    """What one person agreed to."""

    basis: Line
    """How consent was given: a signed form, a contract …"""
    scope: Scopes
    """`face`, `voice` or both."""
    document: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the signed document, which stays outside the repository."""
    expires: Day | None = None
    """The last day on which it holds."""


class Terms(Section):
    """`sources.<name>.terms` of the params: the operator's record of what was agreed to."""

    agreement: Line
    """Name of the agreement or licence, as its publisher calls it."""
    licence: Line
    """SPDX identifier, or a sentence where there is none."""
    accepted_by: Line | None = None
    """Who accepted it: a person, and for whom."""
    accepted_on: Day | None = None
    """The day of acceptance."""
    permitted_use: Uses
    """What the agreement permits, of `research`, `education`, `detection`, `training`, `commercial`."""
    generate: bool = False
    """Whether forgeries may be made from it. Set by the operator, once the permission is on record."""
    redistribute: bool = False
    """Whether what is made from it may be passed on."""
    consent: Line
    """On what basis the people in it agreed."""
    expires: Day | None = None
    """The last day on which the agreement holds."""
    people: Mapping[str, Consent] = Field(default_factory=dict)
    """Consent person by person; empty where `consent` covers everyone in the corpus."""

    @model_validator(mode="after")
    def _someone_answers_for_forgeries(self) -> "Terms":
        if self.generate and (self.accepted_by is None or self.accepted_on is None):
            raise ValueError("generate: true needs accepted_by and accepted_on")
        return self


@dataclass(frozen=True)
class Joined:
    """What several terms leave together: `licences` and `permitted_use` sorted, `expires` the earliest last day."""

    licences: tuple[str, ...]
    permitted_use: tuple[str, ...]
    generate: bool
    redistribute: bool
    expires: str | None

    @property
    def licence(self) -> str:
        """All the licences, as one SPDX-like expression."""
        return all_of(self.licences)


def join(first: Terms | Joined, *others: Terms | Joined) -> Joined:
    """The meet: only what all of them permit. Order, grouping and repetition make no difference.

    What licences that exclude each other (`excluding`) leave may not be passed on.
    """
    terms = (first, *others)
    permitted = set(first.permitted_use).intersection(*(t.permitted_use for t in others))
    licences = sorted_once(tuple(licence for t in terms for licence in _licences(t)))
    return Joined(
        licences=licences,
        permitted_use=sorted_once(tuple(permitted)),
        generate=all(t.generate for t in terms),
        redistribute=all(t.redistribute for t in terms) and not excluding(licences),
        expires=_earliest(t.expires for t in terms),
    )


def _licences(terms: Terms | Joined) -> tuple[str, ...]:
    return each_of(terms.licence) if isinstance(terms, Terms) else terms.licences


# Licences -------------------------------------------------------------------------------------------------------------

_CREATIVE_COMMONS = re.compile(r"CC-BY(-NC)?(-SA|-ND)?-\d\.\d(-[A-Z]+)?")
_AND = " AND "


def all_of(licences: Iterable[str]) -> str:
    """One SPDX-like expression for licences that all hold."""
    return _AND.join(sorted_once(tuple(_bracketed(each) for each in licences)))


def each_of(licence: str) -> tuple[str, ...]:
    """The licences of such an expression, sorted; what stands in brackets stays whole."""
    found, depth, start = [], 0, 0
    for at, sign in enumerate(licence):
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and licence.startswith(_AND, at):
            found.append(licence[start:at])
            start = at + len(_AND)
    return sorted_once(tuple(_bracketed(each.strip()) for each in (*found, licence[start:]) if each.strip()))


def _bracketed(licence: str) -> str:
    """A choice of licences in brackets, as AND binds it tighter."""
    return f"({licence})" if " OR " in licence and not licence.startswith("(") else licence


def non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use, as far as its SPDX identifier (of Creative Commons) tells."""
    return _has(licence, "-NC")


def no_derivatives(licence: str) -> bool:
    """Whether a licence forbids that anything is made from the work, as far as its SPDX identifier tells."""
    return _has(licence, "-ND")


def excluding(licences: Iterable[str]) -> tuple[str, ...]:
    """Those of several licences that nobody can keep together where what was made is passed on; none if there are none.

    What is made from a CC BY-SA work must be passed on under CC BY-SA, which permits commercial use; no non-commercial work
    may be in it (creativecommons.org/faq, "Can I combine material under different Creative Commons licenses").
    """
    known = sorted(set(licences))
    free = [each for each in known if _has(each, "-SA") and not non_commercial(each)]
    bound = [each for each in known if non_commercial(each)]
    return (*free, *bound) if free and bound else ()


def _has(licence: str, part: str) -> bool:
    return any((found := _CREATIVE_COMMONS.fullmatch(each)) and part in found.groups() for each in each_of(licence))


def _earliest(days: Iterable[str | None]) -> str | None:
    return min((day for day in days if day is not None), default=None)  # ISO days sort as text


def of_clip(terms: Joined, licence: str, permitted_use: Collection[str]) -> Joined:
    """What is left of a corpus's terms for one clip, which has a licence and permitted uses of its own."""
    licences = sorted_once((*terms.licences, *each_of(licence)))
    permitted = tuple(use for use in terms.permitted_use if use in permitted_use)
    return join(replace(terms, licences=licences, permitted_use=permitted))


def of_person(name: str, terms: Terms, person: str | None) -> Joined:
    """The terms of one person's clips: the corpus's, cut short by that person's own consent.

    `name` is the corpus in params, `person` the id without its `<source>:` (None: nobody is named). TermsError where
    consent is kept person by person and this one's is not there.
    """
    joined = join(terms)
    if not terms.people:
        return joined
    if person is None or person not in terms.people:
        raise TermsError(
            f"sources.{name}.terms",
            f"no consent is recorded for {person}",
            "add it under people, or remove their clips",
        )
    return replace(joined, expires=_earliest((terms.expires, terms.people[person].expires)))


def refusal(terms: Terms, person: str | None, scope: Scope, today: date) -> str | None:
    """Why this person's face or voice may not be put into a forgery today, or None when it may.

    `person` is the id without its `<source>:`. Where the corpus's agreement covers everyone, it covers face and voice.
    """
    if not terms.people:
        return None
    if person is None:
        return "nobody says who is in it, and consent is kept person by person"
    consent = terms.people.get(person)
    if consent is None:
        return f"no consent is recorded for {person}"
    if scope not in consent.scope:
        return f"{person} did not agree to the use of their {scope}"
    if _over(consent.expires, today):
        return f"the consent of {person} ended on {consent.expires}"
    return None


def require_acceptance(name: str, terms: Terms) -> None:
    """TermsError unless it is on record who accepted the terms of the corpus `name`, and when."""
    if terms.accepted_by is None or terms.accepted_on is None:
        raise TermsError(
            f"sources.{name}.terms",
            f"nobody is on record as having accepted them ({terms.agreement})",
            "when they are accepted, write accepted_by and accepted_on; until then nothing of the corpus is opened",
        )


def require_generation(name: str, terms: Terms | Joined, today: date) -> None:
    """TermsError unless forgeries may be made from the corpus `name` today."""
    _require_in_force(name, terms, today)
    if not terms.generate:
        raise TermsError(
            f"sources.{name}.terms",
            "making forgeries is not recorded as permitted",
            "when the agreement permits it, set generate: true with accepted_by and accepted_on",
        )


def require_redistribution(name: str, terms: Terms | Joined, today: date) -> None:
    """TermsError unless what is made from `name` may be passed on today."""
    _require_in_force(name, terms, today)
    if not terms.redistribute:
        raise TermsError(
            f"sources.{name}.terms",
            "passing on what is made from it is not permitted",
            "release it without this corpus, or keep the release where it is",
        )


def require_use(name: str, terms: Terms | Joined, use: Use, today: date) -> None:
    """TermsError unless `name` may be used for `use` today."""
    _require_in_force(name, terms, today)
    if use not in terms.permitted_use:
        permitted = ", ".join(terms.permitted_use) or "nothing"
        raise TermsError(f"sources.{name}.terms", f"{use} is not permitted ({permitted} is)", "leave this corpus out of it")


def _require_in_force(name: str, terms: Terms | Joined, today: date) -> None:
    if _over(terms.expires, today):
        raise TermsError(f"sources.{name}.terms", f"they ended on {terms.expires}", "renew them, or remove the corpus")
    if isinstance(terms, Terms) and terms.accepted_on is not None and today < date.fromisoformat(terms.accepted_on):
        raise TermsError(
            f"sources.{name}.terms.accepted_on", f"{terms.accepted_on} is yet to come", "write the day of acceptance"
        )


def _over(expires: str | None, today: date) -> bool:
    return expires is not None and date.fromisoformat(expires) < today
