"""Every corpus that can be read, by `kind`."""

import yaml

from sources import camera, celeb_df, celeba, dfdc, ffhq, ffpp, folder, grid, lrs, voxceleb
from sources.corpus import Source

SOURCES: dict[str, type[Source]] = {
    "demo": folder.Demo,
    "folder": folder.Folder,
    "ffpp": ffpp.FaceForensics,
    "celeb_df": celeb_df.CelebDF,
    "dfdc": dfdc.DFDC,
    "voxceleb": voxceleb.VoxCeleb,
    "lrs": lrs.LRS,
    "celeba": celeba.CelebA,
    "ffhq": ffhq.FFHQ,
    "grid": grid.GRID,
    "camera": camera.Camera,
}


def template_yaml(kind: str) -> str:
    """What to paste into params under `sources`, and then to fill in: who accepted the agreement, when, and what for."""
    terms = {key: value for key, value in SOURCES[kind].template.settings().items() if key != "people" or value}
    return yaml.safe_dump({kind: {"kind": kind, "terms": terms}}, sort_keys=False, allow_unicode=True, width=120)
