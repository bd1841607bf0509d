"""The command lines that the documents and the scripts' own examples show, for tests."""

import ast
import functools
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PYTHON = re.compile(r"(?:[\w./\\]*[/\\])?(?:python[\d.]*(?:\.exe)?|py)$")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced code block of a Markdown file."""

    language: str  # such as bash or powershell; "" where the fence names none
    code: str


def read_code_blocks(path: Path) -> list[CodeBlock]:
    text = path.read_text(encoding="utf-8")
    return [
        CodeBlock(match[1], match[2]) for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def find_python_commands(text: str) -> list[list[str]]:
    """Every `python X.py ...` in a text, as ["X.py", "--option", ...]; a line may go on after \\ or `."""
    commands = []
    for line in re.sub(r"[\\`]\n\s*", " ", text).splitlines():
        # a shell's prompt before, a comment after; \ stays, because a Windows path has it
        lexer = shlex.shlex(re.sub(r"^\s*(?:\$|>|PS>)\s+", "", line), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", "#"
        try:
            words = list(lexer)
        except ValueError:  # prose with an apostrophe
            continue
        while words and not _PYTHON.match(words[0]):
            del words[: words.index("&&") + 1 if "&&" in words else len(words)]
        script = next((index for index, word in enumerate(words) if word.endswith(".py")), None)
        if script is not None and all(word.startswith("-") for word in words[1:script]):
            end = next((index for index, word in enumerate(words) if word in {"&&", "|", ";", "&"}), len(words))
            commands.append(words[script:end])
    return commands


def find_script_examples(script: Path) -> list[list[str]]:
    """The commands in a script's own docstring and in its help's example."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts = [ast.get_docstring(tree) or "", *(text.removeprefix("example: ") for text in strings if "\n" not in text)]
    return [command for text in texts for command in find_python_commands(text)]


@functools.cache
def read_known_options(script: str) -> frozenset[str]:
    """The options that a script's --help names."""
    command = [sys.executable, str(ROOT / script), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=None, timeout=120)
    assert result.returncode == 0, f"{script} --help failed:\n{result.stderr}"
    return frozenset(re.findall(r"--[a-z][a-z-]*", result.stdout))


def check_command(command: list[str]) -> None:
    """Assert that the script exists and knows every option of the command; what follows a -- is not its own."""
    script, *words = command
    assert (ROOT / script).is_file(), f"{script}: no such script, in: {' '.join(command)}"
    own = words[: words.index("--")] if "--" in words else words
    options = {word.partition("=")[0] for word in own if word.startswith("--")}
    unknown = options - read_known_options(script)
    assert not unknown, f"{script} does not know {', '.join(sorted(unknown))}, in: {' '.join(command)}"
