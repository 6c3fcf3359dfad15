"""What the documents say is so."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.table import EVALUATORS
from flows.params import load_params
from forgeline.clip import Clip
from forgeline.errors import SourceError
from generators.chain import Chain
from generators.plugin import Generator
from generators.table import GENERATORS
from sources.corpus import OUTSIDE
from sources.table import SOURCES
from tests import tiny_onnx, tiny_pipeline
from tests.test_sources import by_path, on_disk

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


def worked_example(name: str) -> Any:
    """What CONTRIBUTING's example calls so, of its section on adding such a thing."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    (code,) = (code for code in examples if f"class {name}(" in code)
    space: dict[str, object] = {"__name__": "example"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), space)
    return space[name]


def test_the_example_of_a_generator_keeps_the_contract() -> None:
    mirror = worked_example("Mirror")(start=0.5)
    assert isinstance(mirror, Generator)
    pictures = [np.random.default_rng(i).integers(0, 256, (8, 6, 3), dtype=np.uint8) for i in range(4)]
    clip = Clip("video", 6, 8, Fraction(25), 4, lambda: iter(pictures), lambda: None)
    made = mirror((clip,), np.random.default_rng(0))
    got = list(made.pictures)
    assert len(got) == made.frames == 4
    assert all((p == q).all() and not m.any() for (p, m), q in zip(got[:2], pictures[:2], strict=True))
    assert all((p == q[:, ::-1]).all() and m.all() for (p, m), q in zip(got[2:], pictures[2:], strict=True))
    assert [(s.start_s, s.end_s) for s in made.segments] == [(0.08, 0.16)]


def test_the_example_of_a_source_accounts_for_every_file(tmp_path: Path) -> None:
    kind = worked_example("Readings")
    readings = kind(terms=kind.template)
    assert readings.kind == "readings"
    files: dict[str, str | bytes] = {f"wav/s0{number}/0001.wav": "" for number in (1, 2, 3)}
    files |= {"sets.txt": "\ufeffs01 train\r\ns02 test\r\ns04 train\r\n", "wav/s01/1.wav": "", "notes.md": ""}
    corpus = readings("own", tmp_path / "raw", on_disk(tmp_path / "raw", files))
    rows = by_path(corpus)
    assert [(row.target_id, row.split, row.reason) for row in rows.values()] == [
        ("own:s01", "train", None),
        (None, None, OUTSIDE),
        ("own:s02", "test", None),
        (None, None, "sets.txt does not say in which split s03 is"),
    ]
    assert (corpus.missing, corpus.report().unexpected.examples) == (["wav/s04/"], ("notes.md", "wav/s01/1.wav"))
    files["sets.txt"] = "s01 train\ns01 dev"
    with pytest.raises(SourceError, match=r"sets\.txt:2: 's01 dev' is not a new speaker and one of train, val, test"):
        readings("own", tmp_path / "raw", on_disk(tmp_path / "raw", files))
