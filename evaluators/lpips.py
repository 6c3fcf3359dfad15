"""Learned perceptual distance of a fake from its control (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features
as a Perceptual Metric", eq. 1), version 0.1 with AlexNet, as the package `lpips` computes it.

What AlexNet's five layers see of both pictures, each place of unit length, is subtracted, squared, weighted by channel with
what people's judgements taught, averaged over the picture and summed over the layers. Without its two files there is no figure,
and nothing that would stand for it.
"""

import pickle
from collections.abc import Callable, Mapping
from functools import cache
from typing import ClassVar, Final, Literal

import numpy as np

from evaluators.figure import Frames, Rows
from evaluators.pictures import WHOLE, OfPictures, Region, unmeasured
from forgeline.clip import Picture
from forgeline.errors import WeightsError
from forgeline.weights import weights, weights_sha256

NO_WEIGHTS: Final = "needs LPIPS's weights: set network to alexnet"
LAYERS: Final = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
"""Stride and padding of AlexNet's convolutions, by their number among its layers as torchvision counts them."""
_POOLED: Final = (3, 6)
"""Convolutions that see the largest of 3 x 3 values, every second place."""
_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
"""Of RGB in -1 … 1."""


class LPIPS(OfPictures):
    """0 (equal) upwards. A clip's figure is the mean over its frames, a set's the mean over its clips."""

    network: Literal["none", "alexnet"] = "none"
    """`alexnet` gives LPIPS and needs torchvision's AlexNet (245 MB) and the weights of the package lpips (6 KB)."""

    least: ClassVar[int] = 31

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        if self.network == "none":
            return {"lpips": {}}
        made = {
            "network": "AlexNet (torchvision), five layers after their ReLU; LPIPS 0.1",
            "weights": f"{weights_sha256('alexnet')}, {weights_sha256('lpips_alexnet')}",
            "colour": "RGB in -1 … 1",
        }
        return {"lpips": made | WHOLE}

    def rows(self, frames: Frames) -> Rows:
        return unmeasured(frames, NO_WEIGHTS) if self.network == "none" else super().rows(frames)

    def values(self, control: Picture, fake: Picture, changed: Region | None) -> Mapping[str, float]:
        return {"lpips": open_lpips()(control, fake)}


@cache
def open_lpips() -> Callable[[Picture, Picture], float]:
    """The distance between two pictures of equal size, of at least 31 pixels a side; on the CPU. Read once a process.

    Raises WeightsError when one of the files can't be had, or is another network's.
    """
    import torch

    torch.set_num_threads(1)
    path = weights("alexnet")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        layers = [(state[f"features.{at}.weight"], state[f"features.{at}.bias"], at) for at in LAYERS]
        path = weights("lpips_alexnet")
        state = torch.load(path, map_location="cpu", weights_only=True)
        channels = [state[f"lin{at}.model.1.weight"].reshape(1, -1, 1, 1) for at in range(len(LAYERS))]
        if any(own.shape[1] != len(weight) for own, (weight, *_) in zip(channels, layers, strict=True)):
            raise KeyError("other numbers of channels")
    except (RuntimeError, TypeError, AttributeError, KeyError, pickle.UnpicklingError, EOFError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(path, f"is not what LPIPS needs ({first})", "put its own file there") from error
    shift, scale = (torch.tensor(values)[None, :, None, None] for values in (_SHIFT, _SCALE))

    def seen(picture: Picture) -> list["torch.Tensor"]:
        values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        values = (values - shift) / scale
        found = []
        for weight, bias, at in layers:
            if at in _POOLED:
                values = torch.nn.functional.max_pool2d(values, 3, 2)
            stride, padding = LAYERS[at]
            values = torch.nn.functional.conv2d(values, weight, bias, stride, padding).relu()
            found.append(values / (values.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def distance(one: Picture, other: Picture) -> float:
        with torch.inference_mode():
            pairs = zip(channels, seen(one), seen(other), strict=True)
            return float(sum(((a - b).square() * own).sum(1).mean().double() for own, a, b in pairs))

    return distance
