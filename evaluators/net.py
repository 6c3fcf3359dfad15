"""A net that a team brings to embed faces or voices: opened in one place, and run so that figures are the same everywhere."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from forgeline.errors import ModelError
from forgeline.weights import Given, given_weights

Embedding = NDArray[np.float64]
"""(n,), of length 1."""


@lru_cache(maxsize=4)
def embedder(given: Given, shape: tuple[int | None, ...], todo: str) -> Callable[[NDArray[np.float32]], Embedding]:
    """What embeds an array of this `shape` (None is any size) by an ONNX net, opened once a process; on the CPU.

    Raises WeightsError when the file can't be had or has another hash, ModelError with this `todo` when it is no such net.
    """
    import onnxruntime

    path = given_weights(given)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    # Weights in other files have a hash that nobody gave: below a file there is no folder to read them from.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path))
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class of their own
        raise ModelError(path.name, f"can't be opened ({_line(error)})", todo) from error
    takes = session.get_inputs()
    sizes = [size if isinstance(size, int) else None for size in takes[0].shape or ()] if len(takes) == 1 else []
    fits = len(sizes) == len(shape) and all(size in (None, own) for size, own in zip(sizes, shape, strict=True))
    if not fits or takes[0].type != "tensor(float)":
        said = ", ".join(f"{port.name} {port.type} {port.shape}" for port in takes)
        raise ModelError(path.name, f"takes {said}", todo)

    def embedded(given: NDArray[np.float32]) -> Embedding:
        try:
            row, *_ = session.run(None, {takes[0].name: given})
        except Exception as error:  # as above
            raise ModelError(path.name, f"fails ({_line(error)})", todo) from error
        if np.ndim(row) != 2 or len(row) != 1 or not np.isfinite(row).all():
            raise ModelError(path.name, f"gives no embedding (1, n) of finite numbers but {np.shape(row)}", todo)
        numbers = np.asarray(row[0], np.float64)
        return np.asarray(numbers / max(float(np.linalg.norm(numbers)), 1e-12))

    return embedded


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
