"""What the documents say is so."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evaluators.table import EVALUATORS
from flows.params import load_params
from forgeline.clip import Clip
from generators.chain import Chain
from generators.plugin import Generator
from generators.table import GENERATORS
from sources.table import SOURCES
from tests import tiny_onnx, tiny_pipeline

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["params.yaml", "params.tiny.yaml", "params.quality.yaml"])
def test_params_files_load_and_hold_what_the_tables_hold(name: str) -> None:
    params = load_params(ROOT / name)
    assert set(params.evaluators) == set(EVALUATORS)
    alone = {generator for generator, section in params.generators.items() if not isinstance(section, Chain)}
    assert alone <= set(GENERATORS)
    if "tiny" not in name:
        # What takes minutes of training before anything is to be seen.
        dear = {"reenact_net", "diffusion", "style_gan", "lip_sync_net", "voice_net"} if name == "params.yaml" else set()
        brought = set(tiny_onnx.settings()) | set(tiny_pipeline.OWN)
        assert alone == set(GENERATORS) - dear - brought, "those that a team's files are not needed for"


@pytest.mark.parametrize(("row", "table"), [("sources", SOURCES), ("generators", GENERATORS), ("evaluators", EVALUATORS)])
def test_the_readme_lists_every_plug_in(row: str, table: dict[str, object]) -> None:
    (line,) = re.findall(rf"^\| {row} \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(table) <= set(re.findall(r"`([a-z_]+)`", line))


def test_the_worked_example_keeps_the_contract() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    space: dict[str, object] = {"__name__": "example"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), space)
    mirror = space["Mirror"](start=0.5)  # type: ignore[operator]
    assert isinstance(mirror, Generator)
    pictures = [np.random.default_rng(i).integers(0, 256, (8, 6, 3), dtype=np.uint8) for i in range(4)]
    clip = Clip("video", 6, 8, Fraction(25), 4, lambda: iter(pictures), lambda: None)
    made = mirror((clip,), np.random.default_rng(0))
    got = list(made.pictures)
    assert len(got) == made.frames == 4
    assert all((p == q).all() and not m.any() for (p, m), q in zip(got[:2], pictures[:2], strict=True))
    assert all((p == q[:, ::-1]).all() and m.all() for (p, m), q in zip(got[2:], pictures[2:], strict=True))
    assert [(s.start_s, s.end_s) for s in made.segments] == [(0.08, 0.16)]
