"""Runs of the toolkit's scripts, each in a process of its own that begins with everything imported.

A server imports the scripts once and forks for every run: `main` runs as from a shell, through `kanjinet.cli`, in its
own process with its own output, and can be killed, at the price of the work alone. POSIX only.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.faults.injector import Fault, arm_run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """One run: `X.py --option ...` in a folder.

    Attributes:
        command: the script and its options.
        cwd: the folder.
        fault: what goes wrong in it.
        settings: "module.NAME" -> value, set before it begins; in place of a dataclass, values of some of its fields.
        kill_after_s: seconds after which it gets SIGKILL.
        delay_s: seconds that it waits before it begins.
    """

    command: Sequence[str]
    cwd: str
    fault: Fault | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    kill_after_s: float | None = None
    delay_s: float = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `status` is negative after a signal."""

    status: int
    stdout: str
    stderr: str
    elapsed_s: float


class Server:
    """A started server; it takes one request at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, job: Job) -> Outcome:
        """Run one job to its end."""
        return self.run_together([job])[0]

    def run_together(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run several jobs at the same time."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([asdict(job) for job in jobs]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server of runs has ended")
        return [Outcome(**outcome) for outcome in json.loads(line)]


@contextlib.contextmanager
def start_server(modules: Sequence[str]) -> Iterator[Server]:
    """Start a server that has imported the given scripts and modules."""
    paths = [str(Path(__file__).with_name("site")), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "tests.faults.server", *modules]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait()


def serve() -> None:
    """Read lists of jobs, one a line, and write their outcomes."""
    outcomes = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for name in sys.argv[1:]:
        importlib.import_module(name.removesuffix(".py"))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # others would be missing after a fork
    for line in sys.stdin:
        runs = [_Run(job) for job in json.loads(line)]
        outcomes.write(json.dumps([asdict(run.wait()) for run in runs]) + "\n")
        outcomes.flush()


class _Run:
    def __init__(self, job: dict[str, Any]) -> None:
        self.files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 - closed when it has ended
        self.kill_after_s, self.began = job["kill_after_s"], time.perf_counter()
        self.pid = os.fork()
        if self.pid == 0:
            for descriptor, file in enumerate(self.files, start=1):
                os.dup2(file.fileno(), descriptor)
            status = 1
            try:
                status = _run_here(job)
            except BaseException:  # as Python itself would print it
                traceback.print_exc()
            finally:
                if status:
                    gc.collect()  # as at the end of any process: what an error's frames held, such as semaphores
                atexit._run_exitfuncs()  # among them multiprocessing's
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def wait(self) -> Outcome:
        ended = status = 0
        while self.kill_after_s is not None and not ended:
            if time.perf_counter() - self.began > self.kill_after_s:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
            ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            _, status = os.waitpid(self.pid, 0)
        stdout, stderr = (_read_and_close(file) for file in self.files)
        return Outcome(os.waitstatus_to_exitcode(status), stdout, stderr, time.perf_counter() - self.began)


def _read_and_close(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _run_here(job: dict[str, Any]) -> int:
    from kanjinet.cli import run_script

    os.chdir(job["cwd"])
    for name, value in job["settings"].items():
        module, _, attribute = name.rpartition(".")
        place = importlib.import_module(module)
        if isinstance(value, dict):  # what imported the dataclass by its name has it too
            for field, field_value in value.items():
                object.__setattr__(getattr(place, attribute), field, field_value)
        else:
            setattr(place, attribute, value)
    script, *options = job["command"]
    sys.argv = [str(ROOT / script), *options]
    time.sleep(job["delay_s"])
    if job["fault"]:
        arm_run(Fault(**job["fault"]))
    try:
        run_script(importlib.import_module(script.removesuffix(".py")).main)
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
            return 1
        return ending.code or 0
    return 0


if __name__ == "__main__":
    serve()
