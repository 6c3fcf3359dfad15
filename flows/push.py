"""`push`: send what was built to the DVC remote, where the terms of all that it was made from permit it today.

`data/real` and models never leave (`push: false` in dvc.yaml).
"""

import json
import sys
import time
from datetime import date
from pathlib import Path

from flows.audit import require_passed
from flows.command import output, run
from flows.params import Params
from flows.release import TERMS
from forgeline.errors import FactoryError, KeyFileError
from forgeline.terms import Joined, require_redistribution
from sources.corpus import Source
from watermark.keys import DEMO

ATTEMPTS = 3
_PAUSE_S = 5.0


def push(params: Params, remote: str | None, timeout_s: float, today: date) -> None:
    """Push what dvc.lock names to `remote` (None: the default one), in at most three attempts of `timeout_s` seconds each.

    An attempt sends only what the ones before it did not. Raises what `require_permitted` does; FactoryError where the data
    are not what `dvc.lock` says, where there are signatures and they are of another release, or where the remote fails.
    """
    require_permitted(params, today)
    # Terms and audit were those of the release; whatever else lies here was not looked at.
    changed = json.loads(output(["dvc", "status", "--json"]))
    unsigned = {name for name in changed if name.startswith("signing/")}
    if changed.keys() - unsigned:
        raise FactoryError(
            "data", "is not what dvc.lock says was built", "run `dvc repro` first; `dvc status` says what differs"
        )
    if unsigned and Path("signing/dvc.lock").exists():
        todo = "run `dvc repro --single-item --force signing/dvc.yaml`, or remove signing/dvc.lock to send none"
        raise FactoryError("data/signatures", "are not of this release", todo)
    _send(["dvc", "push", *(["--remote", remote] if remote else [])], timeout_s)


def require_permitted(params: Params, today: date) -> None:
    """FactoryError unless the release passed its audit; TermsError where the terms of a source, or those that the release
    states, forbid passing it on today; KeyFileError where the mark is of the demo key and not all data are.
    """
    try:
        require_passed(params)
        told = json.loads(TERMS.read_text(encoding="utf-8"))
        stated = Joined(**{field: told[field] for field in Joined.__dataclass_fields__})
        key = told["key"]
    except (OSError, ValueError, KeyError) as error:
        raise FactoryError("data/release", "there is no release to push", "run `dvc repro` first") from error
    for name, source in params.sources.items():
        if isinstance(source, Source):
            require_redistribution(name, source.terms, today)
    require_redistribution("*", stated, today)
    foreign = [name for name, source in params.sources.items() if getattr(source, "kind", "") != "demo"]
    if key == DEMO and foreign:
        what = f"{', '.join(foreign)} would be marked with the public demo key, which proves nothing"
        raise KeyFileError("seal.key", what, "make a key with `python -m flows key new`, name it there, and run `dvc repro`")


def _send(command: list[str], timeout_s: float) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return run(command, timeout_s=timeout_s)
        except FactoryError as error:
            if attempt == ATTEMPTS:
                raise
            print(f"push: attempt {attempt} of {ATTEMPTS}: {error}", file=sys.stderr, flush=True)
            time.sleep(_PAUSE_S)
