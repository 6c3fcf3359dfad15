"""Nets that speak and convert, of a few nodes each, of which every sample is known."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
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
    return _file(nodes, takes, arrays, "output")


def _file(nodes: Sequence[Any], takes: dict[str, tuple[Any, Any]], arrays: dict[str, Any], gives: str) -> bytes:
    """An ONNX file of inputs by type and shape, and arrays, whose first output is called so."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in takes.items()],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


def told(**other: Any) -> dict[str, Any]:
    """What the voice's JSON says."""
    return {"audio": {"sample_rate": RATE}, "espeak": {"voice": "en-us"}, "phoneme_id_map": NUMBERS, "num_speakers": 1} | other


KOKORO = {"vocab": {"$": 0} | {letter: index + 1 for index, letter in enumerate(sorted(set(LETTERS) - set("_^$")))}}
"""What the JSON of `kokoro` says."""


def styles(rows: int = 510) -> NDArray[np.float32]:
    """A voice of `kokoro`: the style for n phonemes is 0.2 + n / 10000, in its first number."""
    made = np.zeros((rows, 1, 256), np.float32)
    made[:, 0, 0] = 0.2 + np.arange(rows) / 10000
    return made


def kokoro(
    noise: float = 0.0, names: tuple[str, str, str] = ("tokens", "style", "speed"), speed: Any = TensorProto.FLOAT
) -> bytes:
    """A graph that makes EACH samples a number, divided by the speed: a square wave at the style's first number.

    `noise` times normal noise is added, drawn within the graph.
    """
    numbers, style, fast = names
    nodes = [
        helper.make_node("Size", [numbers], ["count"]),
        helper.make_node("Cast", ["count"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["counted", "each"], ["usual"]),
        helper.make_node("Cast", [fast], ["times"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["usual", "times"], ["much"]),
        helper.make_node("Cast", ["much"], ["samples"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["samples"], ["end"]),
        helper.make_node("Range", ["first", "end", "next"], ["ticks"]),
        helper.make_node("Mod", ["ticks", "period"], ["phase"]),
        helper.make_node("Less", ["phase", "half"], ["high"]),
        helper.make_node("Gather", [style, "zero"], ["told"], axis=1),
        helper.make_node("Squeeze", ["told"], ["level"]),
        helper.make_node("Neg", ["level"], ["low"]),
        helper.make_node("Where", ["high", "level", "low"], ["flat"]),
        *_noisy("flat", "audio", noise),
    ]
    takes = {
        numbers: (TensorProto.INT64, [1, "n"]),
        style: (TensorProto.FLOAT, [1, 256]),
        fast: (speed, [1]),
    }
    arrays = {
        "each": np.array(EACH, np.float32), "first": 0, "next": 1, "period": 64, "half": 32,
        "zero": np.array([0]), "noise": np.array(noise, np.float32),
    }  # fmt: skip
    return _file(nodes, takes, arrays, "audio")


def _noisy(of: str, into: str, noise: float) -> list[Any]:
    if not noise:
        return [helper.make_node("Identity", [of], [into])]
    return [
        helper.make_node("RandomNormalLike", [of], ["drawn"], dtype=TensorProto.FLOAT),
        helper.make_node("Mul", ["drawn", "noise"], ["breath"]),
        helper.make_node("Add", [of, "breath"], [into]),
    ]


WHOSE = 4
"""Numbers in an embedding: how loud a voice is, a one, and zeros."""
WINDOW, HOP = 640, 160
BINS = WINDOW // 2 + 1


def embedder(hears: Literal["samples", "spectra"] = "samples", axes: int = 2, free: bool = False) -> bytes:
    """How loud what it hears is on average: the embedding has so many axes. `free`: sizes of what it takes are not told."""
    shape: list[Any] = [1, "n"] if hears == "samples" else [1, "n", "b" if free else BINS]
    nodes = [
        helper.make_node("Abs", ["heard"], ["loud"]),
        helper.make_node("ReduceMean", ["loud"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "first"], ["flat"]),
        helper.make_node("Add", ["flat", "second"], ["told"]),
        helper.make_node("Reshape", ["told", "shape"], ["who"]),
    ]
    arrays = {
        "first": np.eye(WHOSE, dtype=np.float32)[0],
        "second": np.eye(WHOSE, dtype=np.float32)[1],
        "shape": np.array([1, WHOSE, 1][:axes]),
    }
    return _file(nodes, {"heard": (TensorProto.FLOAT, shape)}, arrays, "who")


def converter(
    hears: Literal["samples", "spectra", "frames"] = "samples",
    gives: Literal["samples", "frames"] = "samples",
    whose: Sequence[str] = ("src_se", "tgt_se"),
    axes: int = 2,
    noise: float = 0.0,
    louder: float = 1.0,
    longer: int = 1,
    others: Sequence[str] = (),
    free: bool = False,
) -> bytes:
    """What it hears, as loud as the embeddings' ratio (the last one's first number by the first one's) says, and `louder`.

    `spectra` (1, BINS, n) become HOP samples of their mean each, `frames` (1, HOP, n) HOP samples each; `samples` are given
    back as (1, 1, n), `frames` as (1, n, HOP), each `longer` times. `noise` is drawn in the graph. `others`: it also takes a
    "length", which the first sample is, and a scale "tau" of noise that is added.
    """
    shapes: dict[str, list[Any]] = {"samples": [1, "n"], "spectra": [1, "b" if free else BINS, "n"], "frames": [1, HOP, "n"]}
    takes: dict[str, tuple[Any, Any]] = {"speech": (TensorProto.FLOAT, shapes[hears])}
    takes |= {name: (TensorProto.FLOAT, [1, WHOSE, 1][:axes]) for name in whose}
    arrays: dict[str, Any] = {
        "zero": np.array([0]), "flat": np.array([1, -1, 1]), "row": np.array([1, 1, -1]),
        "louder": np.array(louder, np.float32), "hop": np.array([1, 1, HOP]), "rows": np.array([1, -1, HOP]),
        "longer": np.array([1, 1, longer]), "noise": np.array(noise, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", [whose[-1], "zero"], ["theirs"], axis=1),
        helper.make_node("Gather", [whose[0], "zero"], ["mine"], axis=1),
        helper.make_node("Div", ["theirs", "mine"] if len(whose) > 1 else ["theirs", "theirs"], ["ratio"]),
        helper.make_node("Reshape", ["ratio", "row"], ["share"]),
        helper.make_node("Mul", ["share", "louder"], ["much"]),
    ]
    if hears == "samples":
        nodes.append(helper.make_node("Reshape", ["speech", "flat"], ["column"]))
    elif hears == "spectra":
        nodes += [
            helper.make_node("ReduceMean", ["speech"], ["means"], axes=[1], keepdims=1),
            helper.make_node("Transpose", ["means"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("Tile", ["turned", "hop"], ["held"]),
            helper.make_node("Reshape", ["held", "flat"], ["column"]),
        ]
    else:
        nodes += [
            helper.make_node("Transpose", ["speech"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("Reshape", ["turned", "flat"], ["column"]),
        ]
    nodes += [
        helper.make_node("Tile", ["column", "longer"], ["long"]),
        helper.make_node("Mul", ["long", "much"], ["loud"]),
        *_noisy("loud", "breathed", noise),
    ]
    last = "breathed"
    if "tau" in others:
        takes["tau"] = (TensorProto.FLOAT, [1])
        nodes += [
            helper.make_node("RandomNormalLike", [last], ["rough"], dtype=TensorProto.FLOAT),
            helper.make_node("Mul", ["rough", "tau"], ["scaled"]),
            helper.make_node("Add", [last, "scaled"], ["warm"]),
        ]
        last = "warm"
    if "length" in others:
        takes["length"] = (TensorProto.INT64, [1])
        nodes += [
            helper.make_node("Cast", ["length"], ["long_by"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["long_by", "flat"], ["begin"]),
            helper.make_node("Slice", [last, "one", "all", "one"], ["rest"]),
            helper.make_node("Concat", ["begin", "rest"], ["counted"], axis=1),
        ]
        arrays |= {"one": np.array([1]), "all": np.array([2**40])}
        last = "counted"
    nodes.append(helper.make_node("Reshape", [last, "row" if gives == "samples" else "rows"], ["audio"]))
    return _file(nodes, takes, arrays, "audio")


def content(axes: Sequence[int] = (0, 1, 2)) -> bytes:
    """HOP samples a frame, as (1, n, HOP), or with its axes in another order."""
    nodes = [
        helper.make_node("Reshape", ["heard", "rows"], ["frames"]),
        helper.make_node("Transpose", ["frames"], ["said"], perm=list(axes)),
    ]
    return _file(nodes, {"heard": (TensorProto.FLOAT, [1, "n"])}, {"rows": np.array([1, -1, HOP])}, "said")


def vocoder() -> bytes:
    """The samples of frames (1, HOP, n)."""
    nodes = [
        helper.make_node("Transpose", ["frames"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "row"], ["audio"]),
    ]
    return _file(nodes, {"frames": (TensorProto.FLOAT, [1, HOP, "n"])}, {"row": np.array([1, 1, -1])}, "audio")
