"""Networks of a few numbers, as ONNX files, that do what nets of their kind do: exactly, so that tests know every pixel."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests import tiny_voice

NUMBERS = 512
"""In an embedding: the mean colour in -1 … 1, a one, and zeros; all of it divided by its length."""
MAP = "map"
"""What the swapper of `swapper(mapped=True)` calls the array by which embeddings are to be multiplied."""

Arrays = dict[str, NDArray[Any]]
Size = int | str | None


def graph(nodes: list[Any], arrays: Arrays, inputs: dict[str, list[Size]], kind: int = TensorProto.FLOAT) -> bytes:
    """An ONNX file whose inputs have these shapes and whose only output is `made`."""
    takes = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    gives = [helper.make_tensor_value_info("made", kind, None)]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", takes, gives, stored), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return bytes(model.SerializeToString())


def embedder(side: Size = 112, numbers: int = NUMBERS, batch: Size = 1) -> bytes:
    """The mean colour of what it sees."""
    spread = np.zeros((4, numbers), np.float32)
    spread[:, :4] = np.eye(4)
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["colour"]),
        helper.make_node("Concat", ["colour", "one"], ["four"], axis=1),
        helper.make_node("MatMul", ["four", "spread"], ["made"]),
    ]
    arrays = {"flat": np.array([1, 3]), "one": np.ones((1, 1), np.float32), "spread": spread}
    return graph(nodes, arrays, {"face": [batch, 3, side, side]})


def swapper(share: float, side: Size = 64, numbers: int = NUMBERS, mapped: bool = False, batch: Size = 1) -> bytes:
    """The target's face, mixed with a `share` of the colour that the embedding names; levels are 0 … 1.

    `mapped`: embeddings must have been multiplied by the array MAP before, which turns their order round.
    """
    places = [numbers - 1 - i if mapped else i for i in range(4)]
    nodes = [
        helper.make_node("Gather", ["source", "colours"], ["scaled"], axis=1),
        helper.make_node("Gather", ["source", "length"], ["scale"], axis=1),
        helper.make_node("Div", ["scaled", "scale"], ["signed"]),
        helper.make_node("Mul", ["signed", "half"], ["halved"]),
        helper.make_node("Add", ["halved", "half"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["colour"]),
        helper.make_node("Mul", ["colour", "share"], ["painted"]),
        helper.make_node("Mul", ["target", "rest"], ["kept"]),
        helper.make_node("Add", ["painted", "kept"], ["made"]),
    ]
    arrays: Arrays = {
        "colours": np.array(places[:3]),
        "length": np.array(places[3:]),
        "half": np.array(0.5, np.float32),
        "shape": np.array([1, 3, 1, 1]),
        "share": np.array(share, np.float32),
        "rest": np.array(1 - share, np.float32),
    }
    if share == 0:  # without a division by what a swapper that ignores it may be given
        nodes, arrays = [helper.make_node("Identity", ["target"], ["made"])], {}
    if mapped:
        arrays[MAP] = np.eye(numbers, dtype=np.float32)[::-1].copy()
    return graph(nodes, arrays, {"target": [batch, 3, side, side], "source": [batch, numbers]})


def enlarger(scale: int, brighter: float = 0.0, side: Size = None) -> bytes:
    """Super-resolution that repeats each pixel, and makes it brighter."""
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [
        helper.make_node("Resize", ["low", "", "scales"], ["large"], **how),
        helper.make_node("Add", ["large", "brighter"], ["made"]),
    ]
    arrays = {"scales": np.array([1, 1, scale, scale], np.float32), "brighter": np.array(brighter, np.float32)}
    return graph(nodes, arrays, {"low": [1, 3, side or "height", side or "width"]})


def restorer(side: int = 64, kept: float = 1.0, painted: NDArray[np.float32] | None = None) -> bytes:
    """Face restoration: what it sees times `kept`, plus a picture (3, side, side)."""
    nodes = [helper.make_node("Mul", ["face", "kept"], ["part"]), helper.make_node("Add", ["part", "painted"], ["made"])]
    added = np.zeros((1, 3, side, side), np.float32) if painted is None else painted[None].astype(np.float32)
    return graph(nodes, {"kept": np.array(kept, np.float32), "painted": added}, {"face": [1, 3, side, side]})


def put(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    """Write a file, and what params say of it."""
    (folder / name).write_bytes(content)
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "licence": "of the tests"}


@cache
def _files() -> dict[str, bytes]:
    told = json.dumps(tiny_voice.told()).encode()
    return {
        "swapper.onnx": swapper(0.5),
        "embedder.onnx": embedder(),
        "voice.onnx": tiny_voice.voice(),
        "voice.onnx.json": told,
        "kokoro.onnx": tiny_voice.kokoro(noise=0.01),
        "kokoro.json": json.dumps(tiny_voice.KOKORO).encode(),
        "kokoro.bin": tiny_voice.styles().tobytes(),
        "whose.onnx": tiny_voice.embedder(),
        "converter.onnx": tiny_voice.converter(noise=0.001),
    }


def settings() -> dict[str, dict[str, Any]]:
    """The settings of each generator that can't be made without a team's files; `place` puts these files down."""
    nets = {
        name: {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "licence": "of the tests"}
        for name, content in _files().items()
    }
    both = {"swapper": nets["swapper.onnx"], "embedder": nets["embedder.onnx"]}
    voice = {"voice": nets["voice.onnx"], "config": nets["voice.onnx.json"]}
    kokoro = {"net": nets["kokoro.onnx"], "config": nets["kokoro.json"], "voice": nets["kokoro.bin"]}
    voices = {"embedder": nets["whose.onnx"], "converter": nets["converter.onnx"], "rate": tiny_voice.RATE}
    return {
        "onnx_swap": both,
        "onnx_self": both,
        "speech_net": voice,
        "speech_kokoro": kokoro,
        "voice_onnx": voices,
    }


def place(folder: Path) -> dict[str, str]:
    """Write the files that `settings` names, and give the environment in which they are found, beside those found before."""
    before = os.environ.get("FORGELINE_WEIGHTS")
    for path in Path(before).iterdir() if before else ():
        (folder / path.name).symlink_to(path.resolve())
    for name, content in _files().items():
        (folder / name).write_bytes(content)
    return {"FORGELINE_WEIGHTS": str(folder)}
