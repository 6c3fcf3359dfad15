"""The code lies in layers, and DVC knows of every file that a stage rests on."""

import ast
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.plan import GENERATE_CODE, TRAIN_CODE
from forgeline.code import PACKAGES, closure, imports
from generators.table import GENERATORS

ROOT = Path(__file__).parents[1]
PLUG_INS = ("sources", "generators", "evaluators", "watermark")
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "datasets", "numba", "prefect", "dvc", "sklearn", "librosa"}
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def modules(package: str) -> list[str]:
    found = sorted((ROOT / package).rglob("*.py"))
    return [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in found]


def file_of(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).relative_to(ROOT).as_posix()


@cache
def outside(module: str) -> frozenset[str]:
    """Everything that a module's text imports, by top-level name; relative imports are "."."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file_of(module)).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else str(node.module).split(".")[0])
    return frozenset(found)


def test_the_kernel_imports_nothing_of_ours() -> None:
    for module in modules("forgeline"):
        assert not outside(module) & {*PLUG_INS, "flows"}, module


@pytest.mark.parametrize("package", PLUG_INS)
def test_plug_ins_import_the_kernel_and_their_own_package(package: str) -> None:
    for module in modules(package):
        assert outside(module) & set(PACKAGES) <= {"forgeline", package}, module


def test_nothing_imports_by_way_of_tests_or_benchmarks() -> None:
    for package in PACKAGES:
        for module in modules(package):
            assert not outside(module) & {"tests", "benchmarks", "pytest", "hypothesis", "."}, module


def test_prefect_is_known_to_flows_alone() -> None:
    for package in {*PACKAGES} - {"flows"}:
        for module in modules(package):
            assert "prefect" not in outside(module), module


def test_data_holds_no_code() -> None:
    assert not [p for p in (ROOT / "data").rglob("*.py") if "raw" not in p.parts]


def test_our_names_are_nobody_elses() -> None:
    """A distribution with a package of one of our names would win, or lose, by the order of sys.path."""
    owners = packages_distributions()
    for name in PACKAGES:
        assert set(owners.get(name, ())) <= {"forgeline"}, name


def run(code: str) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def test_params_load_without_anything_heavy() -> None:
    loaded = run("import flows.params, sys; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert "numpy" in loaded  # the probe works
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_imported_without_anything_heavy(stage: str) -> None:
    loaded = run(f"import {stage_module(stage)}, sys; print(*{{name.split('.')[0] for name in sys.modules}})").split()
    assert not HEAVY & set(loaded)


def test_help_is_instant() -> None:
    code = "import sys\nfrom flows.__main__ import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    *said, loaded = run(code + "print(*{name.split('.')[0] for name in sys.modules})").splitlines()
    assert any("generate" in line for line in said)
    assert not {"numpy", "cv2", "av", "pydantic", "yaml", "pyarrow", *HEAVY} & set(loaded.split())


# ------------------------------------------------------------------------------------------------------------- the graph
#
# The rule: a stage depends on the text of every first-party module that its flows module imports, at whatever depth, but
#   - `flows.params` is not gone through: by way of the plug-in tables it reaches everything. What a stage takes from params
#     is in its `params:`, and what the plug-ins' code makes is in the heads of the plan's files.
#   - another stage's module is not gone through: what that stage makes is a dependency itself.
#   - `train` and `generate` learn by the plan's files of changes in the generator and in what `flows.plan` digests beside it.
#     They share a module; items and marks are the concern of `generate` alone.
#   - `MACHINERY` says how a stage runs, and makes none of what it writes.

MACHINERY = {
    "forgeline.code",
    "forgeline.compute",
    "forgeline.errors",
    "forgeline.files",
    "forgeline.lock",
    "forgeline.progress",
}
MACHINERY |= {"flows.workspace", "flows.stage_flows", "flows.command", *PACKAGES}


def stage_module(stage: str) -> str:
    return {"train": "flows.generate"}.get(stage, f"flows.{stage}")


def rests_on(stage: str) -> set[str]:
    seen: set[str] = set()
    todo = [stage_module(stage)]
    others = {stage_module(other) for other in STAGES} - {stage_module(stage)} | {"flows.params"}
    if stage == "train":
        todo.append("flows.untaught")
        others |= {"flows.items", *modules("watermark")}
    while todo:
        name = todo.pop()
        if name not in seen and name not in others:
            seen.add(name)
            todo += imports(name)
    if stage in ("train", "generate"):
        seen -= carried(stage)
    return seen - MACHINERY


def carried(stage: str) -> set[str]:
    """The modules whose text is in the head of the plan's file for a stage: what `flows.plan` gives to `code_digest`."""
    names = GENERATE_CODE if stage == "generate" else TRAIN_CODE
    every = {"generators.plugin", "generators.control"}.union(
        *(closure(name) if name[:6] != "flows." else {name} for name in names)
    )
    return every


def definition(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = STAGES[stage].get("do", STAGES[stage])
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_it_rests_on(stage: str) -> None:
    deps = [d for d in definition(stage)["deps"] if not d.startswith("data/")]
    for dep in deps:
        assert (ROOT / dep).exists(), dep
    missing = [f for f in sorted(map(file_of, rests_on(stage))) if not any(f == d or f.startswith(f"{d}/") for d in deps)]
    assert not missing


def test_the_plan_is_made_again_for_the_code_that_it_tells_of() -> None:
    """Else items would go on under the key of other code, until something else makes a plan."""
    deps = definition("plan")["deps"]
    files = {file_of(name) for name in (*GENERATE_CODE, *TRAIN_CODE)}
    assert not [f for f in sorted(files) if not any(f == d or f.startswith(f"{d}/") for d in deps)]
    assert "flows.generate" in {*GENERATE_CODE} & {*TRAIN_CODE}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_its_command(stage: str) -> None:
    words = definition(stage)["cmd"].split()
    assert words[:5] == ["exec", "python", "-m", "flows", stage]
    assert (ROOT / file_of(stage_module(stage))).is_file()


def test_generators_rest_on_what_the_plan_says_of_them() -> None:
    """What the plan digests, a generator's closure, is all the code of ours that it can run."""
    for section in GENERATORS.values():
        reached = closure(section.__module__)
        assert all(name.split(".")[0] in ("forgeline", "generators") for name in reached)
