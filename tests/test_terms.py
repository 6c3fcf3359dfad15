"""Terms only narrow: joining is a meet, and what is not covered is refused."""

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.errors import TermsError
from forgeline.terms import (
    Joined,
    Terms,
    all_of,
    each_of,
    excluding,
    join,
    no_derivatives,
    non_commercial,
    of_clip,
    of_person,
    refusal,
    require_acceptance,
    require_generation,
    require_redistribution,
    require_use,
)

USES = ["research", "education", "detection", "training", "commercial"]
TODAY = date(2026, 11, 20)

days = st.none() | st.dates(date(2000, 1, 1), date(2099, 12, 31)).map(date.isoformat)
records = st.builds(
    Terms,
    agreement=st.just("an agreement"),
    licence=st.sampled_from(
        ["CC0-1.0", "CC-BY-NC-4.0", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0 AND MIT", "non-commercial research", "MIT"]
    ),
    accepted_by=st.just("A. Person"),
    accepted_on=st.just("2020-01-01"),
    permitted_use=st.lists(st.sampled_from(USES)),
    generate=st.booleans(),
    redistribute=st.booleans(),
    consent=st.just("signed"),
    expires=days,
)


def terms(**changes: Any) -> Terms:
    settings: dict[str, Any] = {
        "agreement": "an agreement",
        "licence": "MIT",
        "permitted_use": ["research"],
        "consent": "signed",
        "accepted_by": "A. Person",
        "accepted_on": "2026-01-31",
    }
    return Terms(**(settings | changes))


@given(records, records, records)
def test_join_is_a_meet(a: Terms, b: Terms, c: Terms) -> None:
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c) == join(a, b, c)
    assert join(a, a) == join(a) == join(join(a), a)
    both = join(a, b)
    for one in (a, b):
        assert set(both.permitted_use) <= set(one.permitted_use)
        assert one.generate >= both.generate
        assert one.redistribute >= both.redistribute
        assert set(each_of(one.licence)) <= set(both.licences)
        assert one.expires is None or (both.expires is not None and both.expires <= one.expires)
    assert join(both, a) == both
    assert each_of(both.licence) == both.licences


clips = st.tuples(st.sampled_from(["", "CC-BY-2.0", "CC-BY-NC-2.0", "CC-BY-SA-4.0"]), st.lists(st.sampled_from(USES)))


@given(records, clips, clips)
def test_a_clip_only_narrows_and_meets_what_it_narrows(a: Terms, one: Any, other: Any) -> None:
    whole, clip = join(a), of_clip(join(a), *one)
    assert join(whole, clip) == clip == of_clip(clip, *one)
    assert of_clip(clip, *other) == of_clip(of_clip(whole, *other), *one) == join(clip, of_clip(whole, *other))


@given(records, records, st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_what_the_join_permits_each_of_them_permits(a: Terms, b: Terms, today: date) -> None:
    for require in (require_generation, require_redistribution):
        if permits(require, join(a, b), today):
            assert require("a", join(a), today) is None
            assert require("b", join(b), today) is None


def permits(require: Any, joined: Joined, today: date) -> bool:
    try:
        require("both", joined, today)
    except TermsError:
        return False
    return True


def test_reads_what_yaml_gives() -> None:
    text = """
    agreement: Release form 3
    licence: contract of 2026-03-01
    accepted_by: A. Person for Example GmbH
    accepted_on: 2026-03-01
    permitted_use: [training, detection, training]
    generate: true
    consent: signed forms
    expires: '2027-03-01'
    people:
      anna: {basis: signed form, scope: [voice, face], expires: 2026-12-31}
    """
    read = Terms.model_validate(yaml.safe_load(text))
    assert read.accepted_on == "2026-03-01"
    assert read.permitted_use == ("detection", "training")
    assert read.people["anna"].scope == ("face", "voice")
    assert of_person("vox", read, "anna").expires == "2026-12-31"
    assert Terms.model_validate(read.settings()) == read


@pytest.mark.parametrize(
    "changes",
    [
        {"generate": True, "accepted_by": None},
        {"generate": True, "accepted_on": None},
        {"permitted_use": ["anything"]},
        {"expires": "2026-02-30"},
        {"expires": "20260230"},
        {"expires": "someday"},
        {"agreement": "  "},
        {"consent": "two\nlines"},
        {"people": {"anna": {"basis": "form", "scope": []}}},
        {"people": {"anna": {"basis": "form", "scope": ["face"], "document": "form.pdf"}}},
        {"generate": "yes"},
        {"license": "MIT"},
    ],
)
def test_a_wrong_record_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        terms(**changes)


def test_generation_needs_a_recorded_permission_in_force() -> None:
    granted = terms(generate=True, expires="2026-11-20")
    require_generation("vox", granted, TODAY)
    with pytest.raises(TermsError, match=r"sources\.vox\.terms: making forgeries is not recorded as permitted; when"):
        require_generation("vox", terms(), TODAY)
    with pytest.raises(TermsError, match="ended on 2026-11-20"):
        require_generation("vox", granted, date(2026, 11, 21))
    with pytest.raises(TermsError, match="yet to come"):
        require_generation("vox", granted, date(2026, 1, 30))


def test_passing_on_and_use() -> None:
    require_redistribution("vox", terms(redistribute=True), TODAY)
    require_use("vox", terms(), "research", TODAY)
    with pytest.raises(TermsError, match="passing on"):
        require_redistribution("vox", terms(generate=True), TODAY)
    with pytest.raises(TermsError, match=r"commercial is not permitted \(research is\)"):
        require_use("vox", terms(), "commercial", TODAY)


def test_consent_is_personal_has_a_scope_and_an_end() -> None:
    people = {
        "anna": {"basis": "form", "scope": ["face"]},
        "ben": {"basis": "form", "scope": ["face", "voice"], "expires": "2026-11-19"},
    }
    record = terms(generate=True, people=people)
    assert refusal(record, "anna", "face", TODAY) is None
    assert refusal(record, "anna", "voice", TODAY) == "anna did not agree to the use of their voice"
    assert refusal(record, "ben", "voice", date(2026, 11, 19)) is None
    assert refusal(record, "ben", "voice", TODAY) == "the consent of ben ended on 2026-11-19"
    assert refusal(record, None, "face", TODAY) == "nobody says who is in it, and consent is kept person by person"
    assert refusal(record, "carl", "face", TODAY) == "no consent is recorded for carl"
    assert refusal(record, None, "face", TODAY) is not None
    assert refusal(terms(), "anyone", "voice", TODAY) is None
    with pytest.raises(TermsError, match="no consent is recorded for carl"):
        of_person("vox", record, "carl")


def test_what_a_licence_says_by_its_identifier() -> None:
    assert non_commercial("CC-BY-NC-SA-4.0")
    assert non_commercial("CC0-1.0 AND CC-BY-NC-2.0")
    assert not any(map(non_commercial, ["CC-BY-4.0", "CC-BY-SA-3.0-DE", "CC0-1.0", "NC", "no idea, CC-BY-NC-2.0 perhaps"]))
    assert no_derivatives("CC-BY-NC-ND-3.0-IGO")
    assert not no_derivatives("CC-BY-NC-SA-3.0")
    assert each_of(all_of(["MIT", "GPL-2.0-only OR MIT"])) == ("(GPL-2.0-only OR MIT)", "MIT")
    assert each_of("(MIT AND BSD-2-Clause) OR Zlib") == ("(MIT AND BSD-2-Clause) OR Zlib",)
    assert each_of("") == ()


def test_share_alike_and_non_commercial_works_are_never_passed_on_together() -> None:
    free, bound, plain = (
        terms(licence=licence, redistribute=True) for licence in ("CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-2.0")
    )
    alike = terms(licence="CC-BY-NC-SA-4.0", redistribute=True)
    assert excluding(["CC-BY-NC-2.0", "MIT", "CC-BY-SA-4.0"]) == ("CC-BY-SA-4.0", "CC-BY-NC-2.0")
    assert not join(free, bound).redistribute
    assert not join(free, alike).redistribute
    assert not join(join(free, plain), bound).redistribute
    assert join(free, plain).redistribute
    assert join(alike, bound).redistribute


def test_acceptance_has_a_name_and_a_day() -> None:
    require_acceptance("vox", terms())
    for missing in ("accepted_by", "accepted_on"):
        with pytest.raises(TermsError, match=r"sources\.vox\.terms: nobody is on record .*; when they are accepted, write acc"):
            require_acceptance("vox", terms(**{missing: None}))
