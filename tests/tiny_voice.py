"""A Piper voice of a few nodes, of which every sample is known."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

RATE, EACH = 16000, 600
"""Samples a second, and samples that the net makes of each number it is given, at the usual length."""
LETTERS = "_^$ !',.:;?abcdefhijklmnopqrstuvwxyzæçðøŋœɐɑɒɔəɚɛɜɡɪɫɹɾʃʊʌʒˈˌːβθ\u0303\u0327"
NUMBERS = {letter: [index] for index, letter in enumerate(LETTERS)}


def voice(lengths: int = 1, speakers: int = 1, says: str = "tone", inputs: tuple[str, ...] = ()) -> bytes:
    """A graph that makes EACH samples a number, longer by scales[1]: a square wave at 0.2, times the speaker's number.

    `says` "noise": the first of the scales times noise is added, as VITS adds it; "silence": zeros.
    """
    nodes = [
        helper.make_node("Gather", ["scales", "one"], ["slower"], axis=0),
        helper.make_node("Cast", ["input_lengths"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["count", "slower"], ["longer"]),
        helper.make_node("Mul", ["longer", "each"], ["much"]),
        helper.make_node("Cast", ["much"], ["samples"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["samples"], ["end"]),
        helper.make_node("Range", ["first", "end", "next"], ["times"]),
        helper.make_node("Mod", ["times", "period"], ["phase"]),
        helper.make_node("Less", ["phase", "half"], ["high"]),
        helper.make_node("Neg", ["level"], ["low"]),
        helper.make_node("Where", ["high", "level", "low"], ["flat"]),
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("RandomNormalLike", ["flat"], ["noise"], dtype=TensorProto.FLOAT),
        helper.make_node("Gather", ["scales", "zero"], ["noisy"], axis=0),
        helper.make_node("Mul", ["noise", "noisy"], ["breath"]),
        helper.make_node("Add", ["flat", "breath"], ["spoken"]),
        helper.make_node("Identity", ["spoken"], ["told"]),
    ]
    takes: dict[str, tuple[Any, Any]] = {
        "input": (TensorProto.INT64, [1, "n"]),
        "input_lengths": (TensorProto.INT64, [1]),
        "scales": (TensorProto.FLOAT, [3]),
    }
    if speakers > 1:
        takes["sid"] = (TensorProto.INT64, [1])
        nodes[-1] = helper.make_node("Cast", ["sid"], ["who"], to=TensorProto.FLOAT)
        nodes.append(helper.make_node("Mul", ["spoken", "who"], ["told"]))
    nodes.append(helper.make_node("Unsqueeze", ["told", "axes"], ["output"]))
    for name in inputs:
        takes[name] = (TensorProto.FLOAT, [1])
    arrays = {
        "first": np.array(0), "next": np.array(1), "period": np.array(64), "half": np.array(32),
        "one": np.array([1]), "zero": np.array([0]), "each": np.array([EACH], np.float32),
        "level": np.array([0.0 if says == "silence" else 0.2], np.float32), "axes": np.array([0, 1]),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in takes.items()],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def told(**other: Any) -> dict[str, Any]:
    """What the voice's JSON says."""
    return {"audio": {"sample_rate": RATE}, "espeak": {"voice": "en-us"}, "phoneme_id_map": NUMBERS, "num_speakers": 1} | other
