"""Commands of others (DVC, git, our own stages), run so that none hangs, asks for a password, or outlives who began it."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Timer

from forgeline.errors import FactoryError

PYTHON = sys.executable
# Run in the child before it becomes the command: this process has threads, so that code between fork and exec could hang.
_TIED = (
    "import os, sys; sys.path.insert(0, sys.argv[1]); from forgeline.compute import die_with_parent; die_with_parent();"
    " os.getppid() == int(sys.argv[2]) or sys.exit(1); os.execvp(sys.argv[3], sys.argv[3:])"
)


def tied(command: Sequence[str]) -> list[str]:
    """`command`, but killed by the kernel when the process that starts it ends."""
    return [PYTHON, "-c", _TIED, str(Path(__file__).resolve().parents[1]), str(os.getpid()), *command]


def run(command: Sequence[str], cwd: Path = Path(), timeout_s: float | None = None) -> None:
    """Run a command in `cwd` and print its lines as they come. FactoryError when it fails or takes longer than `timeout_s`.

    It is then killed with all that it started. It has no terminal, and finds the `python` and `dvc` of this environment.
    """
    title = " ".join(Path(part).name if part == PYTHON else part for part in command)
    process = subprocess.Popen(
        tied(command),
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = Event()

    def stop() -> None:
        late.set()
        _kill(process)

    clock = Timer(timeout_s or 0, stop)
    if timeout_s is not None:
        clock.start()
    try:
        with process:
            for line in process.stdout or ():
                print(line.rstrip(), flush=True)
    except BaseException:
        _kill(process)
        raise
    finally:
        clock.cancel()
    if late.is_set():
        raise FactoryError(title, f"was stopped after {timeout_s:g} s", "see how far it came, and run again")
    if process.returncode:
        raise FactoryError(title, f"failed with exit code {process.returncode}", "mend what its lines say")


def output(command: Sequence[str], cwd: Path = Path()) -> str:
    """What a quick command prints, without the line end. FactoryError when it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FactoryError(" ".join(command), f"failed ({' '.join(done.stderr.split())})", "mend what it says")
    return done.stdout.rstrip("\n")


def environment() -> dict[str, str]:
    """This process's, with its Python first on PATH, and git told not to ask."""
    path = f"{Path(PYTHON).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "GIT_TERMINAL_PROMPT": "0", "PYTHONUNBUFFERED": "1"}


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
