"""Pipelines of diffusers with nets of a few thousand random weights, as folders that a team would bring: 64 pixels a side.

They paint noise, equal on every run. `put` writes one; `settings` and `place` serve the tests over all generators.
"""

import json
import os
import shutil
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from generators.pipeline import tree_sha256

Kind = Literal["inpaint", "image", "instruct", "text"]
Checker = Literal["passes", "flags", "none"]
CHANNELS = {"inpaint": 9, "image": 4, "instruct": 8, "text": 4}
CLASSES = {
    "inpaint": "StableDiffusionInpaintPipeline",
    "image": "StableDiffusionImg2ImgPipeline",
    "instruct": "StableDiffusionInstructPix2PixPipeline",
    "text": "StableDiffusionPipeline",
}
SIDE = 64
WORDS = 16
"""The most a prompt may be long, in letters."""

OWN: dict[str, tuple[Kind, dict[str, Any]]] = {
    "inpaint": (
        "inpaint",
        {"steps": 2, "edits": [{"name": name, "prompt": name, "region": "face"} for name in ("old", "young")]},
    ),
}
"""The generators that can't be made without a pipeline: which kind of one, and their other settings."""


def put(folder: Path, kind: Kind = "inpaint", checker: Checker = "passes") -> dict[str, Any]:
    """Write a pipeline into `folder`, which is made, and what params say of it."""
    for name, content in _files(kind, checker).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return params_of(folder)


def params_of(folder: Path) -> dict[str, Any]:
    """What params say of a folder as it is now."""
    return {"folder": folder.name, "sha256": tree_sha256(folder), "licence": "of the tests"}


@cache
def _digest(kind: Kind) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return str(put(Path(folder), kind)["sha256"])


def settings(name: str) -> dict[str, Any]:
    """The settings of a generator that can't be made without a pipeline, none of another; `place` puts its folder down."""
    if name not in OWN:
        return {}
    kind, others = OWN[name]
    return others | {"pipeline": {"folder": f"tiny_{kind}", "sha256": _digest(kind), "licence": "of the tests"}}


def place(folder: Path) -> None:
    """Write the folders that `settings` names."""
    for kind in {kind for kind, _ in OWN.values()}:
        put(folder / f"tiny_{kind}", kind)


@cache
def _files(kind: Kind, checker: Checker) -> dict[str, bytes]:
    """The files of a pipeline, by their paths below its folder."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    # By name: their calls have no types.
    diffusers, transformers = import_module("diffusers"), import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tiny = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 16}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    text = tiny | ends | {"vocab_size": len(words), "max_position_embeddings": WORDS}
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        at = Path(folder)
        (at / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
        (at / "merges.txt").write_text("#version: 0.2\n")
        parts: dict[str, Any] = {
            "tokenizer": transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=WORDS),
            "text_encoder": transformers.CLIPTextModel(transformers.CLIPTextConfig(**text)),
            "vae": diffusers.AutoencoderKL(
                block_out_channels=(8, 8),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                latent_channels=4,
                norm_num_groups=4,
            ),
            "unet": diffusers.UNet2DConditionModel(
                sample_size=SIDE // 2,
                in_channels=CHANNELS[kind],
                out_channels=4,
                block_out_channels=(8, 16),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=16,
                attention_head_dim=2,
                norm_num_groups=4,
            ),
            "scheduler": diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            "safety_checker": None,
            "feature_extractor": transformers.CLIPImageProcessor(
                size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
            ),
        }
        if checker != "none":
            sight = transformers.CLIPConfig(
                text_config=text, vision_config=tiny | {"image_size": 32, "patch_size": 16}, projection_dim=16
            )
            guards = import_module("diffusers.pipelines.stable_diffusion.safety_checker")
            parts["safety_checker"] = guards.StableDiffusionSafetyChecker(sight)
            # A cosine is never above 1, and always above -2.
            parts["safety_checker"].concept_embeds_weights.data.fill_(1 if checker == "passes" else -2)
        made = getattr(diffusers, CLASSES[kind])(**parts, requires_safety_checker=checker != "none")
        shutil.rmtree(at)
        at.mkdir()
        made.save_pretrained(at)
        return {str(path.relative_to(at)): path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}
