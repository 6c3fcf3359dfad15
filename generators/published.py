"""Published models made into safetensors: first-order motion (Siarohin et al. 2019), Wav2Lip (Prajwal et al. 2020) and
StyleGAN2 (Karras et al. 2020).

Run `python -m generators.published vox-cpk.pth.tar vox-256.safetensors`. The authors publish a pickle; it is read without
running what it may hold (`weights_only`), and what is not a weight of the nets that are used here (discriminators,
optimisers) is left out.

Of first-order motion the result holds `kp_detector.*` and `generator.*`, the names that `generators.motion_net` has; of
Wav2Lip (`wav2lip.pth`, `wav2lip_gan.pth`) and of its expert (`lipsync_expert.pth`) the names that `generators.lip_net` has. The
pickles of StyleGAN2 hold classes, which can't be read without running them. Where that is safe (a container without network or
data), take the weights out with the authors' own code, stylegan2-ada-pytorch:

    with open("ffhq.pkl", "rb") as file:
        torch.save(pickle.load(file)["G_ema"].state_dict(), "ffhq.pt")

and then run `python -m generators.published ffhq.pt ffhq.safetensors` here. The result holds `mapping.*` and `synthesis.*`, the
names that `generators.style_net` has. StyleGAN3 and StyleGAN2 without skip connections are refused: their layers are others.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgeline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

NETS = ("kp_detector", "generator")
PARTS = ("mapping.", "synthesis.")
LIPS = ("face_decoder_blocks.", "face_encoder.")
"""What only the names of Wav2Lip's painter, and only those of its expert, begin with."""


def convert(published: Path, safe: Path) -> None:
    """Write the weights of the nets in `published` to `safe`. Raises ModelError when they are not there."""
    import pickle

    import torch
    from safetensors.torch import save_file

    todo = (
        "give it the authors' vox-cpk.pth.tar, wav2lip.pth, wav2lip_gan.pth or lipsync_expert.pth, or the state_dict of a "
        "StyleGAN2's G_ema (`python -m generators.published -h`)"
    )
    try:
        found = torch.load(published, map_location="cpu", weights_only=True)
        tensors = {name: value.contiguous() for name, value in _weights(found).items()}
    except ValueError as error:
        raise ModelError(published, str(error), todo) from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(published, f"is not a published model that is known here ({error})", todo) from error
    save_file(tensors, safe)


def _weights(found: Mapping[str, Any]) -> "dict[str, Tensor]":
    """What is to be kept, by its name. Raises ValueError when it is another kind of StyleGAN, or of Wav2Lip's nets, KeyError
    when it is none of all."""
    from generators.style_net import Size

    if any(name.startswith(PARTS) for name in found):
        Size.of({name: tuple(value.shape) for name, value in found.items()})
        return {name: value for name, value in found.items() if name.startswith(PARTS)}
    if "state_dict" in found:
        named = {name.removeprefix("module."): value for name, value in found["state_dict"].items()}
        if not any(name.startswith(LIPS) for name in named):
            raise ValueError("holds neither the painter nor the expert of Wav2Lip")
        return named
    return {f"{net}.{name}": value for net in NETS for name, value in found[net].items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path)
    parser.add_argument("safe", type=Path)
    arguments = parser.parse_args()
    try:
        convert(arguments.published, arguments.safe)
    except ModelError as error:
        parser.exit(1, f"{error}\n")
