"""A plug-in's fields are its section of `params.yaml`."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from forgeline.recipe import canonical


class Section(BaseModel):
    """Frozen, typed parameters: a misspelt key or a wrong type is an error, and `settings()` goes into the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    def __hash__(self) -> int:
        """Equal sections have equal hashes; fields may hold mappings, which have none of their own."""
        return hash((type(self), canonical(self.settings())))

    def settings(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return self.model_dump(mode="json")
