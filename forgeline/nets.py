"""Small nets in TensorFlow Lite's files, run by LiteRT on one thread: some four times as fast as OpenCV runs them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from forgeline.weights import weights


class Net:
    """A net of the table of weights, loaded. Equal pictures give equal values, on processors of one kind."""

    def __init__(self, row: str, outputs: Sequence[str]) -> None:
        """`outputs`: the names of what it is asked for. Raises WeightsError where its file can't be had."""
        from ai_edge_litert.interpreter import Interpreter

        path = weights(row)
        with _hushed():
            self._interpreter = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        told = {each["name"]: each["index"] for each in self._interpreter.get_output_details()}
        self._outputs = [told[name] for name in outputs]
        self._input = self._interpreter.get_input_details()[0]["index"]

    def __call__(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """What each output says of a picture (height, width, 3) of the net's own size and range."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


@contextmanager
def _hushed() -> Iterator[None]:
    """LiteRT says on stderr, past Python, how it will compute; it has no switch for that."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
