"""The real PowerShell for tests: one process that runs line after line, as a user types them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POWERSHELL_REMEDY = "install PowerShell 7, whose program is pwsh"

# Takes a case a line, and answers with a line: whether in JSON, so that both are ASCII.
SERVER = r"""
while ($null -ne ($text = [Console]::In.ReadLine())) {
    $case = $text | ConvertFrom-Json
    Set-Location -LiteralPath $case.folder
    foreach ($name in $case.variables.PSObject.Properties) { Set-Item -LiteralPath "Env:$($name.Name)" $name.Value }
    $errors = [IO.StringWriter]::new()
    $console = [Console]::Error
    [Console]::SetError($errors)
    $global:LASTEXITCODE = 0
    try {
        $output = & ([scriptblock]::Create($case.line)) *>&1 | Out-String -Width 9999
    } catch {
        [Console]::Error.WriteLine("$_")
        $global:LASTEXITCODE = 1  # what pwsh -File ends with
    }
    [Console]::SetError($console)
    $answer = @{ output = "$output"; errors = "$errors"; status = $LASTEXITCODE }
    [Console]::Out.WriteLine(($answer | ConvertTo-Json -Compress -EscapeHandling EscapeNonAscii))
}
"""


def find_powershell() -> str | None:
    return shutil.which("pwsh")


@dataclass(frozen=True)
class Result:
    output: str  # of every stream but the console's own error stream
    errors: str
    status: int


class PowerShell:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, line: str, folder: Path, **variables: str) -> Result:
        """What comes of a line that is run in a folder, with environment variables, which stay set."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"line": line, "folder": str(folder), "variables": variables}), file=self._process.stdin)
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Result(answer["output"], answer["errors"].replace("\r\n", "\n"), answer["status"])


@contextmanager
def start_powershell(program: str) -> Iterator[PowerShell]:
    command = [program, "-NoProfile", "-NonInteractive", "-Command", SERVER]
    environment = {**os.environ, "NO_COLOR": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, encoding="ascii") as process:
        yield PowerShell(process)
        assert process.stdin is not None
        process.stdin.close()
