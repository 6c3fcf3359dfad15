"""Published models of first-order motion (Siarohin et al. 2019), made into safetensors.

Run `python -m generators.published vox-cpk.pth.tar vox-256.safetensors`. The authors publish a pickle; it is read without
running what it may hold (`weights_only`), and what is not a weight of the two nets (discriminator, optimisers) is left out.
The result holds `kp_detector.*` and `generator.*`, the names that `generators.motion_net` has, and nothing else.
"""

import argparse
from pathlib import Path

from forgeline.errors import ModelError

NETS = ("kp_detector", "generator")


def convert(published: Path, safe: Path) -> None:
    """Write the weights of both nets in `published` to `safe`. Raises ModelError when they are not there."""
    import pickle

    import torch
    from safetensors.torch import save_file

    todo = "give it the authors' file for talking heads, vox-cpk.pth.tar"
    try:
        found = torch.load(published, map_location="cpu", weights_only=True)
        tensors = {f"{net}.{name}": value.contiguous() for net in NETS for name, value in found[net].items()}
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, AttributeError) as error:
        raise ModelError(published, f"is not a published model of first-order motion ({error})", todo) from error
    save_file(tensors, safe)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path)
    parser.add_argument("safe", type=Path)
    arguments = parser.parse_args()
    try:
        convert(arguments.published, arguments.safe)
    except ModelError as error:
        parser.exit(1, f"{error}\n")
