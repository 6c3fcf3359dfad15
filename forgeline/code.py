"""What code makes a thing: the text of every first-party module that a module imports, and the libraries behind it."""

import ast
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("forgeline", "sources", "generators", "evaluators", "watermark", "flows")
LIBRARIES = (
    "ai-edge-litert",
    "av",
    "diffusers",
    "espeakng-loader",
    "numba",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "pyworld-prebuilt",
    "scipy",
    "soxr",
    "torch",
    "transformers",
)
"""Those whose version can change a sample's bytes."""


def code_digest(*modules: str) -> str:
    """SHA-256 over the names and texts of `modules` and of all first-party modules that they import, at whatever depth.

    A module of `flows` counts by its own text alone: by way of params it imports every plug-in there is.
    """
    total = hashlib.sha256()
    for name in sorted(set().union(*({m} if m.startswith("flows.") else closure(m) for m in modules))):
        total.update(name.encode() + b"\0" + hashlib.sha256(_file(name).read_bytes()).digest())
    return total.hexdigest()


def library_versions() -> dict[str, str]:
    """The installed versions of `LIBRARIES`."""
    return {name: version(name) for name in LIBRARIES}


@cache
def closure(module: str) -> frozenset[str]:
    """`module` and the first-party modules that it imports, directly or through others (also inside functions)."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(imports(name))
    return frozenset(seen)


@cache
def imports(module: str) -> tuple[str, ...]:
    """The first-party modules that `module`'s own text imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(sorted(n for n in found if n.split(".")[0] in PACKAGES and _exists(n)))


def _exists(module: str) -> bool:
    return _file(module).is_file()


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
