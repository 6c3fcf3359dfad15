"""A plug-in's fields are its section of `params.yaml`."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict

from forgeline.recipe import canonical


class Section(BaseModel):
    """Frozen, typed parameters: a misspelt key or a wrong type is an error, and `settings()` goes into the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def __hash__(self) -> int:
        """Equal sections have equal hashes; fields may hold mappings, which have none of their own."""
        return hash((type(self), canonical(self.settings())))

    def settings(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def described(cls, field: str) -> str | None:
        """What the docstring below a field's declaration says, or None.

        It is read from the source when it is asked for: pydantic's own `use_attribute_docstrings` reads every class's at
        import, which was a third of what each command needs to start.
        """
        for owner in cls.__mro__:
            if field not in vars(owner).get("__annotations__", {}):
                continue
            (declared,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            for here, after in pairwise(declared.body if isinstance(declared, ast.ClassDef) else ()):
                match here, after:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))) if (
                        name == field
                    ):
                        return inspect.cleandoc(text)
        return None
