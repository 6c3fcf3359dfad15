"""Stage `train@<generator>` where there is nothing to learn: the model says so, and no plug-in is imported for it.

Most generators learn nothing, and importing them all takes longer than the rest of their stage.
"""

import json

from flows import workspace
from forgeline.errors import FactoryError
from forgeline.files import prune, write_text
from forgeline.lock import holding
from forgeline.recipe import canonical, digest


def settled(generator: str) -> bool:
    """Whether the plan says that the generator learns nothing; `data/models/<generator>` then is up to date."""
    path, folder = workspace.train_file(generator), workspace.MODELS / generator
    try:
        with path.open(encoding="utf-8") as file:
            head = json.loads(file.readline())
        if head["learner"] is not None:
            return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FactoryError(path, f"can't be read ({error})", "run `dvc repro`, which plans first") from error
    model = canonical({"key": digest([head]), "files": {}}) + "\n"
    with holding(workspace.lock(f"train@{generator}")):
        done = folder / workspace.MODEL
        if not done.is_file() or done.read_text(encoding="utf-8") != model:
            folder.mkdir(parents=True, exist_ok=True)
            prune(folder, set())  # what it learned when it was another generator
            write_text(done, model)
    return True
