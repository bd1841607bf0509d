"""Runs the tools that fetch and build what the page needs: npm and cargo."""

import subprocess
from pathlib import Path


def run_command(command: list[str], folder: Path) -> tuple[int, str]:
    """Runs a command in a folder; returns its exit status and the first three lines of what it says, as one."""
    result = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return result.returncode, " / ".join(result.stdout.strip().split("\n")[:3])
