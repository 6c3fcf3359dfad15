"""What may be done with data: the uses that terms permit. Apart from the terms, so that nets' settings can name them, too."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Use = Literal["research", "education", "detection", "training", "commercial"]
"""`research`: non-commercial research; `education`: teaching; `detection`: training and testing of forgery detectors;
`training`: to train models that make media; `commercial`: any of it for gain."""


def sorted_once(items: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, each once."""
    return tuple(sorted(set(items)))


# Sections are strict, and YAML has lists but no tuples.
Uses = Annotated[tuple[Use, ...], Field(strict=False), AfterValidator(sorted_once)]
"""Of a section of params: a list of uses."""
