"""Where things lie in a checkout, relative to it."""

from pathlib import Path

RAW = Path("data/raw")
INVENTORY = Path("data/inventory")
REAL = Path("data/real")
PLAN = Path("data/plan")
MODELS = Path("data/models")
MADE = Path("data/made")
VARIANTS = Path("data/variants")
SCORES = Path("data/scores")
AUDIT = Path("data/audit")
REPORT = Path("data/report")
RATINGS = Path("data/ratings")
RELEASE = Path("data/release")
LOCAL = Path(".forgeline")
"""What is of no use to anyone else: locks, caches."""
MANIFEST = "manifest.parquet"
PRINTS = "prints"
"""The folder of a corpus's prints, by which copies are found."""
FACES = "faces"
"""The folder of a corpus's embedded faces, where params name a net for that."""
MODEL = "model.json"
"""Names what a model was made from; a folder without it holds a training that is not finished."""


def lock(stage: str) -> Path:
    """The lock file of a stage, or of one of its outputs."""
    return LOCAL / "locks" / f"{stage.replace('/', '@')}.lock"


def inventory(source: str) -> Path:
    """The inventory of a corpus."""
    return INVENTORY / f"{source}.jsonl"


def train_file(generator: str) -> Path:
    """The plan's file of what a generator learns from: a line of all that holds for it, then one a clip."""
    return PLAN / "train" / f"{generator}.jsonl"


def print_file(source: str, sample: str) -> Path:
    """The print of an ingested clip."""
    return REAL / source / PRINTS / f"{sample}.npz"


def face_file(source: str, sample: str) -> Path:
    """The embedded face of an ingested clip."""
    return REAL / source / FACES / f"{sample}.npy"
