"""Pipelines of diffusers that a team brings as folders: opened in one place, offline, and only what is data in them.

Run `python -m generators.pipeline FOLDER` for the lines that params have to say of a folder.

    pipeline = open_pipeline(given)                     # once a process; checked against its hash
    picture = pipeline(seed, prompt="…", …)             # (height, width, 3), or None: its safety checker flagged it
    "mask_image" in pipeline.takes, pipeline.side       # what kind it is; the side of the squares that it paints

A pipeline is run on a GPU where there is one, in float32; its chance is drawn on the CPU. Whatever a folder holds that could
run code is refused: pickles, Python, classes of other libraries. A safety checker that it brings is on, always.
"""

import argparse
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import model_validator

from forgeline.clip import Picture
from forgeline.errors import FactoryError, ModelError, WeightsError
from forgeline.model_folder import TO_COPY, GivenFolder, given_folder, offline, read_json, tree_sha256
from forgeline.section import Section
from generators.training import device, first_weights

INDEX = "model_index.json"
SIDE = 512
"""Of what a pipeline paints whose nets don't tell."""


class Guarded(Section):
    """A section that says so when it is asked for what no pipeline is given here."""

    @model_validator(mode="before")
    @classmethod
    def _no_switches(cls, values: Any) -> Any:
        for name in map(str, values) if isinstance(values, dict) else ():
            if "safety" in name or "nsfw" in name:
                raise ValueError(f"{name} is no setting: a pipeline's safety checker stays on; take the line out")
            if name in ("trust_remote_code", "custom_pipeline"):
                raise ValueError(f"{name} is no setting: code that comes with a pipeline is never run; take the line out")
        return values


class GivenPipeline(Guarded, GivenFolder):
    """A folder with a pipeline of diffusers that a team brings; `python -m generators.pipeline FOLDER` tells its lines."""


@dataclass(frozen=True)
class Pipeline:
    """An opened pipeline."""

    name: str
    """Of its folder."""
    kind: str
    """The class of diffusers."""
    takes: frozenset[str]
    """The names of what can be told to it: `prompt`, `image`, `mask_image`, `strength` …"""
    side: int
    """Of the squares that its nets were taught to paint, in pixels."""
    _run: Any

    def __call__(self, seed: int, **told: Any) -> Picture | None:
        """One picture (height, width, 3), or None when the safety checker flagged it. Pictures in `told` are PIL's.

        Raises ModelError when the pipeline can't paint so.
        """
        import torch

        try:
            with torch.inference_mode():
                made = self._run(**told, generator=torch.Generator("cpu").manual_seed(seed), output_type="np")
            (picture,) = np.asarray(made.images)
        except Exception as error:  # whatever its nets and its scheduler raise
            raise ModelError(self.name, f"can't paint ({_line(error)})", "change the settings, or the pipeline") from error
        if any(getattr(made, "nsfw_content_detected", None) or ()):
            return None
        if not np.isfinite(picture).all():
            raise ModelError(self.name, "paints something that is no finite number", "give one that works in float32")
        return np.ascontiguousarray((picture * 255).round().clip(0, 255).astype(np.uint8))


def open_pipeline(given: GivenPipeline) -> Pipeline:
    """The pipeline in the folder that `given` names, once a process.

    Raises WeightsError when the folder is not there, not the one of that hash, or holds what is never opened here, and
    ModelError when it holds no pipeline that this diffusers can open.
    """
    folder = given_folder(given)
    _check_index(folder)
    return _opened(folder, given.sha256)


@cache
def _opened(folder: Path, sha256: str) -> Pipeline:
    parts = _parts_of(folder)
    with offline():
        import diffusers
        import torch
        from diffusers.utils import logging
        from transformers.utils import logging as more_logging

        for libraries in (logging, more_logging):
            libraries.set_verbosity_error()
            libraries.disable_progress_bar()
        try:
            with first_weights(0):
                run = diffusers.DiffusionPipeline.from_pretrained(  # type: ignore[no-untyped-call]
                    folder,
                    dtype=torch.float32,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    low_cpu_mem_usage=False,
                )
        except Exception as error:  # whatever the libraries raise
            raise ModelError(folder, f"can't be opened ({_line(error)})", TO_COPY) from error
    for part, files in parts.items():
        _check_whole(folder, getattr(run, part), files)
    run.set_progress_bar_config(disable=True)
    run.to(device())
    takes = frozenset(inspect.signature(run.__call__).parameters)
    return Pipeline(folder.name, type(run).__name__, takes, _side(run), run)


def _side(run: Any) -> int:
    painter = getattr(run, "unet", None) or getattr(run, "transformer", None)
    size = getattr(painter.config, "sample_size", None) if painter is not None else None
    return int(size * getattr(run, "vae_scale_factor", 8)) if isinstance(size, int) else SIDE


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


# --- What a folder holds


def _check_index(folder: Path) -> None:
    if not (folder / INDEX).is_file():
        todo = f"give a folder as diffusers' `save_pretrained` writes it, with {INDEX}"
        raise WeightsError(folder, f"is no pipeline of diffusers: it has no {INDEX}", todo)


def _parts_of(folder: Path) -> dict[str, list[Path]]:
    """The nets that the folder's index names, each with the files of its weights.

    Raises WeightsError when a part is missing or of another library, or a safety checker was taken away.
    """
    index = read_json(folder / INDEX)
    kind = index.get("_class_name")
    with offline():
        import diffusers
        from diffusers import pipelines
    pipeline = _class(diffusers, kind)
    if pipeline is None or not issubclass(pipeline, diffusers.DiffusionPipeline):
        raise WeightsError(folder / INDEX, f"names {kind!r}, which is no pipeline of diffusers", "give one that is")
    parts: dict[str, list[Path]] = {}
    for part, value in index.items():
        if part.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        library, name = value if len(value) == 2 else (None, None)
        if library == "diffusers":
            home: Any = diffusers
        elif library == "transformers":
            import transformers as home
        else:
            home = getattr(pipelines, library, None) if isinstance(library, str) and library.isidentifier() else None
        found = _class(home, name)
        if found is None or not hasattr(found, "from_pretrained"):
            what = f"takes its {part} from {value}, which is no class of diffusers or transformers"
            raise WeightsError(folder / INDEX, what, "give a pipeline of their own classes")
        if not part.isidentifier() or not (folder / part).is_dir():
            raise WeightsError(folder, f"has no {part}/, which its {INDEX} names", TO_COPY)
        if files := _weights_of(folder / part, found):
            parts[part] = files
    _check_guard(folder, index, pipeline)
    return parts


def _class(home: Any, name: Any) -> type | None:
    """A library's own class of this name, if there is one."""
    found = getattr(home, name, None) if isinstance(name, str) else None
    own = inspect.isclass(found) and found.__module__.split(".")[0] in ("diffusers", "transformers")
    return found if own else None


def _check_guard(folder: Path, index: dict[str, Any], pipeline: type) -> None:
    """Raises WeightsError for a folder whose safety checker was taken away, or can't see."""
    has = {part: index.get(part, [None, None]) != [None, None] for part in ("safety_checker", "feature_extractor")}
    knows = inspect.signature(pipeline).parameters
    if "safety_checker" in knows and not has["safety_checker"] and index.get("requires_safety_checker", True):
        raise WeightsError(folder, "is without the safety checker that it was published with", TO_COPY)
    if "feature_extractor" in knows and has["safety_checker"] and not has["feature_extractor"]:
        raise WeightsError(folder, "has no feature_extractor/, without which its safety checker sees nothing", TO_COPY)


def _weights_of(folder: Path, kind: type) -> list[Path]:
    """The files of a net's weights, none where `kind` is no net. Raises WeightsError when one is missing."""
    from torch import nn

    if not issubclass(kind, nn.Module):
        return []
    import transformers

    whole = "model" if issubclass(kind, transformers.PreTrainedModel) else "diffusion_pytorch_model"
    shards = folder / f"{whole}.safetensors.index.json"
    names = {f"{whole}.safetensors"}
    if shards.exists() and not (folder / f"{whole}.safetensors").exists():
        names = set(read_json(shards).get("weight_map", {}).values()) or names
    files = [folder / str(name) for name in sorted(names, key=str)]
    for path in files:
        if path.parent != folder or not path.is_file():
            others = sorted(other.name for other in folder.glob("*.safetensors"))
            there = f" (there is {', '.join(others)})" if others else ""
            raise WeightsError(folder, f"has no {path.name}{there}", f"{TO_COPY}, with weights under their plain names")
    return files


def _check_whole(folder: Path, net: Any, files: list[Path]) -> None:
    """Raises WeightsError when the files hold fewer tensors than the net: the libraries would make the others up."""
    from safetensors import safe_open

    stored = 0
    for path in files:
        with safe_open(path, "numpy") as file:
            stored += len(file.keys())
    wanted = len({(value.data_ptr(), value.shape) for value in net.state_dict().values()})
    if stored < wanted:
        raise WeightsError(files[0].parent, f"holds {stored} of the {wanted} tensors of its net", TO_COPY)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args().folder
    try:
        if not chosen.is_dir():
            raise WeightsError(chosen, "is no folder", "name the folder that holds model_index.json")
        digest = tree_sha256(chosen)
        _check_index(chosen)
        _parts_of(chosen)
    except FactoryError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"pipeline:\n  folder: {chosen.resolve().name}\n  sha256: {digest}\n  licence: <what your team was granted>")
