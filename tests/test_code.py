"""What code makes a thing is known to the line: a change shows in the digests of what imports it, and in no other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forgeline.code import LIBRARIES, PACKAGES, closure, code_digest, imports, library_versions

ROOT = Path(__file__).parents[1]

_DIGESTS = """
import json, sys
from pathlib import Path
from forgeline.code import ROOT, PACKAGES, closure, code_digest
assert ROOT == Path(sys.argv[1]).resolve(), ROOT
names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for name in PACKAGES for p in sorted((ROOT / name).glob("*.py"))]
names = [n.removesuffix(".__init__") for n in names]
print(json.dumps({n: [code_digest(n), sorted(closure(n))] for n in names}))
"""


def digests(root: Path) -> dict[str, tuple[str, set[str]]]:
    """The digest and the closure of every module of a tree, by a process of its own."""
    env = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _DIGESTS, str(root)], capture_output=True, text=True, check=True, env=env, cwd=root
    )
    return {name: (digest, set(names)) for name, (digest, names) in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    "changed", ["forgeline.warped", "forgeline.mesh", "generators.blend", "watermark.seal", "flows.matched"]
)
def test_a_changed_line_changes_what_imports_it_and_nothing_else(tree: Path, changed: str) -> None:
    if changed == "forgeline.warped":  # a new module that one function imports
        (tree / "forgeline/warped.py").write_text('"""New."""\n')
        user = tree / "generators/control.py"
        user.write_text(user.read_text() + "\n\ndef later() -> None:\n    from forgeline import warped\n\n    warped.__doc__\n")
    before = digests(tree)
    file = tree.joinpath(*changed.split(".")).with_suffix(".py")
    file.write_text(file.read_text() + "# one line more\n")
    after = digests(tree)
    differ = {name for name in before if before[name][0] != after[name][0]}
    # A module of flows counts by its own text alone.
    expected = {name for name, (_, seen) in before.items() if changed in seen and not name.startswith("flows.")} | {changed}
    assert differ == expected
    if changed == "forgeline.warped":
        assert {"generators.control", "generators.table"} <= differ
        assert "generators.blend" not in differ


def test_the_closure_goes_through_functions_and_other_modules() -> None:
    assert "forgeline.faces" in imports("flows.ingest")  # inside a function
    assert "forgeline.clip" in closure("watermark.seal")  # by way of others
    assert "flows.ingest" not in closure("forgeline.faces")
    assert "numpy" not in closure("forgeline.faces")


def test_names_count_beside_texts() -> None:
    assert code_digest("forgeline.lock") != code_digest("forgeline.progress")
    assert code_digest("forgeline.lock", "forgeline.clip") == code_digest("forgeline.clip", "forgeline.lock")


def test_versions_are_those_installed() -> None:
    import numpy as np

    found = library_versions()
    assert sorted(found) == sorted(LIBRARIES)
    assert found["numpy"] == np.__version__
