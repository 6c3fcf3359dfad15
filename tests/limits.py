"""Work in a child process that may neither grow nor dawdle: a hostile file that brings it down fails a test, not the run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def in_child(function: str, *arguments: str, memory: int, seconds: float) -> list[dict[str, Any]]:
    """What `module:function` prints with these arguments, a JSON object a line, in at most `memory` bytes of address space.

    AssertionError, with the last of what it said, where it crashes or takes longer than `seconds`.
    """
    code = (
        "import importlib, resource, sys\n"
        "module, function, limit, *arguments = sys.argv[1:]\n"
        "work = getattr(importlib.import_module(module), function)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (int(limit),) * 2)\n"
        "work(*arguments)\n"
    )
    command = [sys.executable, "-X", "faulthandler", "-c", code, *function.split(":"), str(memory), *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{function} hung; last: {str(error.stdout)[-600:]}") from error
    assert done.returncode == 0, f"{function}: {done.returncode}\n{done.stdout[-600:]}\n{done.stderr[-3000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]
