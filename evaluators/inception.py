"""Networks that turn a picture into features: Inception as pytorch-fid has it, and a small seeded one that needs no
file.

What a network does to a picture before its first layer is part of what it measures (Parmar et al., "On Aliased
Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022), so it is in the fingerprint.
"""

import functools
import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from evaluators.figure import Pictures
from forgeline.errors import WeightsError
from forgeline.weights import weights, weights_sha256

Features = NDArray[np.float32]
"""(n, dims), one row a picture."""

NetworkName = Literal["random", "inception"]
Precision = Literal["fp32", "bf16"]
Resize = Literal["pytorch-fid", "clean"]

SIDE = 299
"""Of the picture that Inception looks at."""
RESIZES = {
    "pytorch-fid": f"bilinear to {SIDE}x{SIDE} without low-pass (pytorch-fid)",
    "clean": f"bicubic to {SIDE}x{SIDE} with low-pass, in floats (clean-fid)",
}
RANDOM_SIDE = 64
RANDOM_CHANNELS = (3, 24, 48, 96)


@dataclass(frozen=True, eq=False)
class Network:
    """A picture's features (n, `dims`); `classes` (dims, 1008) turns them into logits, where the network knows
    classes."""

    features: Callable[[Pictures], Features]
    dims: int
    fingerprint: Mapping[str, str]
    classes: NDArray[np.float64] | None = None

    def __call__(self, pictures: Pictures) -> Features:
        return self.features(pictures)


@functools.cache
def open_network(name: NetworkName, precision: Precision = "fp32", resize: Resize = "pytorch-fid") -> Network:
    """The network, loaded once a process. The random one has one precision and resizing, whatever is asked for.

    `inception` is looked for, and fetched, as every model file is: it raises WeightsError where it can't be had. It
    is never replaced by the random one, nor used because it happens to lie here: the same params give the same
    figures everywhere.
    """
    return _random() if name == "random" else _inception(precision, resize)


def _random() -> Network:
    """Three convolutions with random weights, seed 0, in numpy. Each layer adds the mean of its channels over the
    picture.

    Features of untrained networks see colour, edges and texture, no objects: good enough to notice that a set
    changed.
    """
    rng = np.random.default_rng(0)
    kernels = []
    for inputs, outputs in pairwise(RANDOM_CHANNELS):
        spread = np.sqrt(2 / (inputs * 16))  # He et al. 2015: keeps the scale from layer to layer
        kernels.append(rng.normal(0, spread, (inputs * 16, outputs)).astype(np.float32))

    def of_one(picture: NDArray[np.uint8]) -> Features:
        small = cv2.resize(picture, (RANDOM_SIDE, RANDOM_SIDE), interpolation=cv2.INTER_AREA)
        layer = small.astype(np.float32) / 127.5 - 1
        means = []
        for kernel in kernels:
            windows = sliding_window_view(layer, (4, 4), axis=(0, 1))[::2, ::2]
            height, width = windows.shape[:2]
            layer = np.maximum(windows.reshape(height * width, -1) @ kernel, 0).reshape(height, width, -1)
            means.append(layer.mean(axis=(0, 1)))
        return np.concatenate(means)

    def features(pictures: Pictures) -> Features:
        # One picture at a time: BLAS may add in another order for another number of rows.
        return np.stack([of_one(picture) for picture in pictures])

    sha256 = hashlib.sha256(b"".join(kernel.astype("<f4").tobytes() for kernel in kernels)).hexdigest()
    fingerprint = {
        "network": "3 random convolutions, seed 0, channel means of each",
        "weights": sha256,
        "resize": f"area to {RANDOM_SIDE}x{RANDOM_SIDE}",
        "colour": "RGB",
        "region": "whole frame",
    }
    return Network(features, sum(RANDOM_CHANNELS[1:]), fingerprint)


def _inception(precision: Precision, resize: Resize) -> Network:
    """The network of Heusel et al. 2017 as ported by pytorch-fid, up to its last pooling (2048 features).

    Faster than pytorch-fid runs it, and within rounding the same: channels come last in memory, each normalisation is part of
    the convolution before it, and where torch has oneDNN (`_packed`), so is what follows.
    """
    import torch
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    from torchvision.models import inception_v3
    from torchvision.models.inception import BasicConv2d

    torch.set_num_threads(1)
    path = weights("inception")
    # The class that pytorch-fid offers fetches its weights by itself; its parts, which are what differs from
    # torchvision's network, can be put together without a network connection.
    net = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    net.Mixed_5b, net.Mixed_5c = FIDInceptionA(192, pool_features=32), FIDInceptionA(256, pool_features=64)
    net.Mixed_5d = FIDInceptionA(288, pool_features=64)
    net.Mixed_6b, net.Mixed_6c = FIDInceptionC(768, channels_7x7=128), FIDInceptionC(768, channels_7x7=160)
    net.Mixed_6d, net.Mixed_6e = FIDInceptionC(768, channels_7x7=160), FIDInceptionC(768, channels_7x7=192)
    net.Mixed_7b, net.Mixed_7c = FIDInceptionE_1(1280), FIDInceptionE_2(2048)
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, AttributeError, pickle.UnpicklingError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise WeightsError(path, f"is not pytorch-fid's Inception ({first})", "put its own file there") from error
    # The score of Salimans et al. 2016 was computed from logits without the bias.
    classes = net.fc.weight.detach().numpy().astype(np.float64).T
    net.fc = torch.nn.Identity()
    net.eval()
    for part in net.modules():
        if isinstance(part, BasicConv2d):
            part.conv, part.bn = fuse_conv_bn_eval(part.conv, part.bn), torch.nn.Identity()
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    net.to(dtype=kind, memory_format=torch.channels_last)
    if hasattr(torch.ops.mkldnn, "_reorder_convolution_weight"):  # else torch was built without oneDNN
        for part in list(net.modules()):
            for name, child in part.named_children():
                if isinstance(child, BasicConv2d):
                    setattr(part, name, _packed(child.conv))

    def features(pictures: Pictures) -> Features:
        rows = []
        with torch.inference_mode():
            for picture in pictures:  # its features are then its own; together they are no faster
                if resize == "clean":
                    scaled = torch.from_numpy(clean(picture)).permute(2, 0, 1)[None] / 255
                else:
                    scaled = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
                    scaled = torch.nn.functional.interpolate(scaled, (SIDE, SIDE), mode="bilinear", align_corners=False)
                rows.append(net((2 * scaled - 1).to(kind))[0].float().numpy())
        return np.stack(rows)

    fingerprint = {
        "network": "Inception 2015-12-05, pytorch-fid, 2048 features",
        "weights": weights_sha256("inception"),
        "resize": RESIZES[resize],
        "colour": "RGB",
        "region": "whole frame",
        "precision": precision,
    }
    return Network(features, 2048, fingerprint, classes)


def clean(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An RGB picture (height, width, 3) as clean-fid resizes it: (SIDE, SIDE, 3), 0 to 255, never rounded to whole numbers.

    Pillow's bicubic filter, as wide as the picture is made smaller (Parmar et al. 2022, section 3); what it overshoots is cut.
    """
    from PIL import Image

    channels = [Image.fromarray(picture[..., at].astype(np.float32)) for at in range(3)]
    scaled = [np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in channels]
    return np.stack(scaled, axis=-1).clip(0, 255)


def _packed(conv: Any) -> Any:
    """A convolution and its ReLU in one step, its weights laid out for its one size of input when it first comes.

    torch itself runs small convolutions of one picture by another library, and lays out the weights anew for each.
    """
    import torch

    run = torch.ops.mkldnn._convolution_pointwise
    how = conv.padding, conv.stride, conv.dilation, conv.groups

    class Packed(torch.nn.Module):
        weight: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.weight is None:
                self.weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *how, list(x.shape))
            found: torch.Tensor = run(x, self.weight, conv.bias, *how, "relu", [], "")
            return found

    return Packed()
