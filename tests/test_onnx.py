"""Nets that a team brings: what is opened, and what is refused with a reason."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from forgeline.errors import ModelError, WeightsError
from forgeline.weights import Given
from generators.onnx import inputs_of, open_net, open_seeded, planes, shown, side_of, stored
from tests import tiny_onnx
from tests.tiny_onnx import graph, put

SQUARE: list[tiny_onnx.Size] = [1, 3, 32, 32]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def brought(folder: Path, content: bytes, name: str = "net.onnx") -> Given:
    return Given(**put(folder, name, content))


def same(shape: list[tiny_onnx.Size], kind: int = TensorProto.FLOAT) -> bytes:
    """A net that gives back what it is given."""
    return graph([helper.make_node("Identity", ["x"], ["made"])], {}, {"x": shape}, kind)


def weighted(location: str | None) -> bytes:
    """A net that multiplies by twos, which are in itself or in another file."""
    content = graph([helper.make_node("Mul", ["x", "w"], ["made"])], {"w": np.full((1, 3, 1, 1), 2, np.float32)}, {"x": SQUARE})
    model = onnx.load_from_string(content)
    if location is not None:
        array = model.graph.initializer[0]
        array.ClearField("raw_data")
        array.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("length", "12")):
            entry = array.external_data.add()
            entry.key, entry.value = key, value
    return bytes(model.SerializeToString())


def test_an_opened_net_says_what_it_takes(folder: Path) -> None:
    net = open_net(brought(folder, tiny_onnx.swapper(0.5, side=48, batch="n")))
    picture, embedding = inputs_of(net, "swapper", 4, 2)
    assert (net.name, picture.name, picture.shape) == ("net.onnx", "target", (None, 3, 48, 48))
    assert (embedding.name, embedding.shape) == ("source", (None, 512))
    assert side_of(net, picture) == 48
    assert side_of(net, inputs_of(open_net(brought(folder, tiny_onnx.enlarger(2))), "any", 4)[0]) is None


def test_it_works_in_half_precision_too(folder: Path) -> None:
    net = open_net(brought(folder, same(SQUARE, TensorProto.FLOAT16)))
    value = np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)
    made = net([(net.inputs[0], value)])
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, value, atol=1e-3)


def test_weights_beside_the_file_are_refused_wherever_they_lie(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    twos = np.full(3, 2, np.float32)
    (folder / "near.bin").write_bytes(twos.tobytes())
    (folder.parent / "far.bin").write_bytes(twos.tobytes())
    net = open_net(brought(folder, weighted(None)))
    assert net([(net.inputs[0], np.ones((1, 3, 32, 32), np.float32))]).max() == 2
    for location in ("near.bin", "../far.bin", str(folder / "near.bin"), "nowhere.bin"):
        with pytest.raises(ModelError, match=r"net\.onnx: can't be opened .*one ONNX file that holds all of its weights"):
            open_net(brought(folder, weighted(location)))


@pytest.mark.parametrize(
    "content",
    [b"", b"%PDF-1.7 no net", b"\0" * 4096, tiny_onnx.embedder()[:-200]],
    ids=["empty", "another format", "zeros", "cut short"],
)
def test_what_is_no_onnx_is_refused(folder: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx: can't be opened") as caught:
        open_net(brought(folder, content))
    assert "\n" not in str(caught.value)


def test_another_file_is_refused_before_it_is_opened(folder: Path) -> None:
    told = brought(folder, same(SQUARE))
    (folder / "net.onnx").write_bytes(same([1, 3, 64, 64]))
    with pytest.raises(WeightsError, match=r"net\.onnx: has SHA-256 .*replace it"):
        open_net(told)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            tiny_onnx.swapper(0.5),
            r"is no restorer: it takes target \(float\) of \(1, 3, 64, 64\), source \(float\) of",
        ),
        (same([1, 512]), r"is no restorer: it takes x \(float\) of \(1, 512\); give a restorer"),
        (same(SQUARE, TensorProto.INT64), r"is no restorer: it takes x \(int64\)"),
        (same([4, 3, 32, 32]), "does not take one picture at a time"),
        (same([1, 1, 32, 32]), r"takes x \(float\) of \(1, 1, 32, 32\), no square RGB picture"),
        (same([1, 32, 32, 3]), "no square RGB picture"),
        (same([1, 3, 32, 48]), "no square RGB picture"),
        (same([1, 3, 4096, 4096]), "no square RGB picture of 16 to 1024 pixels"),
        (same([1, 3, 32, "w"]), r"takes x \(float\) of \(1, 3, 32, any\), no square"),
    ],
    ids=["two inputs", "vector", "integers", "four at a time", "grey", "channels last", "oblong", "huge", "half free"],
)
def test_a_net_of_another_kind_says_what_it_takes(folder: Path, content: bytes, said: str) -> None:
    net = open_net(brought(folder, content))
    with pytest.raises(ModelError, match=said):
        side_of(net, inputs_of(net, "restorer", 4)[0])


def test_a_net_that_makes_no_numbers_is_named(folder: Path) -> None:
    net = open_net(brought(folder, graph([helper.make_node("Log", ["x"], ["made"])], {}, {"x": SQUARE})))
    with pytest.raises(ModelError, match=r"net\.onnx: gives something that is no finite number"):
        net([(net.inputs[0], np.full((1, 3, 32, 32), -1, np.float32))])


def test_a_net_that_fails_is_named(folder: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "to"], ["made"])]
    net = open_net(brought(folder, graph(nodes, {"to": np.array([1, 3, 32, 32])}, {"x": [1, 3, "h", "w"]})))
    with pytest.raises(ModelError, match=r"net\.onnx: fails \(.*give a net that works"):
        net([(net.inputs[0], np.zeros((1, 3, 40, 40), np.float32))])


def test_arrays_of_the_graph_can_be_read(folder: Path) -> None:
    given = brought(folder, tiny_onnx.swapper(0.5, numbers=16, mapped=True))
    assert np.array_equal(stored(given, "map"), np.eye(16)[::-1])
    with pytest.raises(ModelError, match=r"stores nothing called 'emap', but map square arrays; name the right one"):
        stored(given, "emap")


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, (6, 8, 3)))
def test_pictures_survive_the_levels_of_nets(picture: np.ndarray) -> None:
    for levels, low in (("0..1", 0), ("-1..1", -1)):
        values = planes(picture, levels)  # type: ignore[arg-type]
        assert values.shape == (1, 3, 6, 8)
        assert values.min() >= low
        assert values.max() <= 1
        assert np.array_equal(shown(values, levels), picture)  # type: ignore[arg-type]
    assert planes(np.full((2, 2, 3), 255, np.uint8), "-1..1").max() == 1
    assert shown(np.full((1, 3, 2, 2), 1.5, np.float32), "0..1").max() == 255


def test_nothing_is_loaded_before_the_first_call() -> None:
    code = "import sys, generators.onnx_self, generators.restore; print({'onnx', 'onnxruntime'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def _in_a_branch() -> bytes:
    """A net whose noise is drawn within a branch."""
    draw = helper.make_node("RandomNormalLike", ["face"], ["drawn"])
    branch = helper.make_graph([draw], "branch", [], [helper.make_tensor_value_info("drawn", TensorProto.FLOAT, None)])
    choose = helper.make_node("If", ["always"], ["made"], then_branch=branch, else_branch=branch)
    return graph([choose], {"always": np.array(True)}, {"face": [1, 3, 4, 4]})


def test_a_net_that_draws_is_opened_anew_and_any_other_is_kept(folder: Path) -> None:
    """So noise hangs on the rng alone, and only what draws is paid for."""
    plain = brought(folder, same(SQUARE))
    rng = np.random.default_rng(0)
    assert open_seeded(plain, rng) is open_seeded(plain, rng) is open_net(plain)
    assert rng.random() == np.random.default_rng(0).random(), "what draws nothing takes no chance"
    drawing = brought(folder, _in_a_branch(), "drawing.onnx")

    def drawn(seed: int) -> Any:
        net = open_seeded(drawing, np.random.default_rng(seed))
        return [net([(net.inputs[0], np.zeros((1, 3, 4, 4), np.float32))]) for _ in range(2)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.subtract(first, other)).min() > 0
    assert not np.array_equal(first[0], first[1]), "within a sample, noise goes on"
