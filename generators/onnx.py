"""Networks that a team brings as ONNX files: opened in one place, checked at the border, run on one thing at a time.

What a net takes and gives is read from its graph; one of another kind is refused with a reason before the first picture.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.errors import ModelError
from forgeline.weights import Given, given_weights

Floats = NDArray[np.float32]

Levels = Literal["0..1", "-1..1"]
"""What a net takes, and gives, for the levels 0 … 255 of a picture."""

SMALLEST, LARGEST = 16, 1024
"""Sides, in pixels, of the pictures that a net may ask for."""
FLOATS: Mapping[str, type[np.number[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Types of the inputs that take levels, samples, or what other nets make."""
COUNTS: Mapping[str, type[np.number[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of the inputs that take whole numbers."""
_CHANCE = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


@dataclass(frozen=True)
class Port:
    """One input of a net; None in its `shape` is a size that is free."""

    name: str
    shape: tuple[int | None, ...]
    type: str

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.type.removeprefix('tensor')} of ({sizes})"


class Net:
    """An opened graph: the `name` of its file, and its `inputs` in the graph's order."""

    def __init__(self, name: str, session: Any) -> None:
        self.name, self._session = name, session
        self.inputs = tuple(
            Port(port.name, tuple(size if isinstance(size, int) else None for size in port.shape or ()), port.type)
            for port in session.get_inputs()
        )

    def __call__(self, values: Sequence[tuple[Port, NDArray[Any]]]) -> Floats:
        """The first output for a value of every input, whose type may be another than the port's.

        Raises ModelError when the net fails or gives no numbers.
        """
        types = {**FLOATS, **COUNTS}
        try:
            output, *_ = self._session.run(None, {port.name: value.astype(types[port.type]) for port, value in values})
        except Exception as error:  # onnxruntime's errors have no class of their own
            raise ModelError(
                self.name, f"fails ({_line(error)})", "give a net that works in onnxruntime on this machine"
            ) from error
        if not isinstance(output, np.ndarray) or not np.issubdtype(output.dtype, np.floating) or not np.isfinite(output).all():
            raise ModelError(self.name, "gives something that is no finite number", "give a net that works in float32")
        return output.astype(np.float32)


@lru_cache(maxsize=4)
def open_net(given: Given) -> Net:
    """The net in a file that a team brings, kept for the next call; on a GPU where onnxruntime has one, else on one thread.

    Raises WeightsError when the file can't be had or has another hash, ModelError when it is no ONNX graph that works here.
    """
    return _opened(given, "CUDAExecutionProvider", "CPUExecutionProvider")


def open_seeded(given: Given, rng: np.random.Generator) -> Net:
    """The net of `open_net`; where its graph draws noise, opened anew, so that it draws what `rng` says. Raises as that does.

    onnxruntime seeds what draws when a graph is opened, and goes on from there with every run: of a net that is kept, the
    noise would hang on all that was made before. A GPU has one source for all nets, so these run on the CPU.
    """
    if not _draws(given):
        return open_net(given)
    import onnxruntime

    onnxruntime.set_seed(int(rng.integers(2**31)))
    return _opened(given, "CPUExecutionProvider")


@lru_cache(maxsize=16)
def _draws(given: Given) -> bool:
    """Whether a node of the graph draws noise; False of what is no graph, of which `open_net` says so."""
    import onnx

    def nodes(parts: Any) -> Iterator[Any]:
        for node in parts:
            yield node
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    yield from nodes(graph.node)

    path = given_weights(given)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # the class hangs on how protobuf was built, and onnxruntime says what is wrong
        return False
    return any(node.op_type in _CHANCE for part in (model.graph, *model.functions) for node in nodes(part.node))


def _opened(given: Given, *providers: str) -> Net:
    import onnxruntime  # a fifth of a second, and most of what imports this module opens no net

    path = given_weights(given)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    # Weights in other files have a hash that nobody gave: below a file there is no folder to read them from.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path))
    there = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=[one for one in providers if one in there])
    except Exception as error:  # as above
        todo = "give one ONNX file that holds all of its weights"
        raise ModelError(path.name, f"can't be opened ({_line(error)})", todo) from error
    return Net(path.name, session)


def stored(given: Given, name: str) -> Floats:
    """The array that the graph stores under this name. Raises ModelError, naming what there is."""
    import onnx
    from onnx import numpy_helper

    path = given_weights(given)
    arrays = {array.name: array for array in onnx.load(path, load_external_data=False).graph.initializer}
    if name not in arrays:
        square = [array.name for array in arrays.values() if len(array.dims) == 2 and array.dims[0] == array.dims[1]]
        what = f"stores nothing called {name!r}, but {', '.join(square) or 'no'} square arrays"
        raise ModelError(path.name, what, "name the right one, or none")
    return np.asarray(numpy_helper.to_array(arrays[name]), np.float32)


def inputs_of(net: Net, kind: str, *axes: int) -> tuple[Port, ...]:
    """The net's inputs by their number of axes, 4 for a picture and 2 for an embedding; float, and taken one at a time.

    Raises ModelError when the net has other inputs than a `kind` has.
    """
    by_axes = {len(port.shape): port for port in net.inputs}
    takes = ", ".join(map(str, net.inputs))
    if sorted(len(port.shape) for port in net.inputs) != sorted(axes) or any(p.type not in FLOATS for p in net.inputs):
        raise ModelError(net.name, f"is no {kind}: it takes {takes}", f"give a {kind}")
    if any(port.shape[0] not in (1, None) for port in net.inputs):
        raise ModelError(net.name, f"does not take one picture at a time: it takes {takes}", "export it for one, or any number")
    return tuple(by_axes[n] for n in axes)


def side_of(net: Net, port: Port) -> int | None:
    """The side of the square RGB picture (1, 3, side, side) that a net takes, None where it is free. Raises ModelError."""
    _, channels, height, width = port.shape
    if channels not in (3, None) or height != width or (height is not None and not SMALLEST <= height <= LARGEST):
        what = f"takes {port}, no square RGB picture of {SMALLEST} to {LARGEST} pixels a side"
        raise ModelError(net.name, what, "export it for (1, 3, side, side)")
    return height


def planes(picture: Picture, levels: Levels) -> Floats:
    """A picture (h, w, 3) as a net takes it: (1, 3, h, w)."""
    shared = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    return shared / np.float32(255) if levels == "0..1" else shared / np.float32(127.5) - 1


def shown(values: Floats, levels: Levels) -> Picture:
    """What a net gives (1, 3, h, w) as a picture (h, w, 3); levels out of range are cut off."""
    scaled = values[0] * 255 if levels == "0..1" else (values[0] + 1) * 127.5
    return np.ascontiguousarray(scaled.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
