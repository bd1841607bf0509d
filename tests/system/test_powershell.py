import re
from pathlib import Path

import pytest

from tests.documented_commands import (
    ROOT,
    check_command,
    find_python_commands,
    find_script_examples,
    find_stage_commands,
    parse_powershell,
    read_code_blocks,
    walk,
)

POWERSHELL_FILES = sorted(ROOT.glob("*.ps1"))
SCRIPTS = sorted(path for path in ROOT.glob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# What Windows PowerShell 5.1 has not: operators, variables and parameters of PowerShell 7
NEW_OPERATORS = {"&&", "||", "?", "??", "??=", "?.", "?["}
NEW_NAMES = re.compile(
    r"\$Is(Windows|Linux|MacOS|CoreCLR)\b|\$PSStyle\b|-Parallel\b|-AsHashtable\b|-AdditionalChildPath\b|\bJoin-String\b",
    re.I,
)


def syntax_problems(source: bytes) -> list[str]:
    nodes = walk(parse_powershell(source))
    return [f"line {node.start_point[0] + 1}: {node.type}" for node in nodes if node.type == "ERROR" or node.is_missing]


def version_7_problems(source: bytes) -> list[str]:
    """Uses of what only PowerShell 7 has; comments and strings do not count, what a string expands does."""
    problems = syntax_problems(source)  # the grammar may not know newer syntax at all
    for node in walk(parse_powershell(source)):
        text = (node.text or b"").decode()
        is_leaf = not node.children and node.type not in {"comment", "verbatim_string_characters"}
        if is_leaf and (text in NEW_OPERATORS or NEW_NAMES.search(text)):
            problems.append(f"line {node.start_point[0] + 1}: {text}")
    return problems


def unchecked_native_calls(source: bytes) -> list[str]:
    """Calls through & that are not followed by a statement with $LASTEXITCODE."""
    problems = []
    for node in walk(parse_powershell(source)):
        if node.type == "command" and node.children[0].type == "command_invokation_operator":
            statement = node
            while statement.parent is not None and statement.parent.type not in {"statement_list", "program"}:
                statement = statement.parent
            following = statement.next_named_sibling
            if following is None or b"$LASTEXITCODE" not in (following.text or b""):
                problems.append(f"line {node.start_point[0] + 1}: {(node.text or b'').decode()}")
    return problems


@pytest.mark.parametrize("path", POWERSHELL_FILES, ids=lambda path: path.name)
def test_file_is_valid_for_windows_powershell_5(path: Path) -> None:
    source = path.read_bytes()
    assert source.isascii(), "Windows PowerShell 5.1 reads a file without a byte order mark in the ANSI code page"
    assert syntax_problems(source) == []
    assert version_7_problems(source) == []


@pytest.mark.parametrize("path", POWERSHELL_FILES, ids=lambda path: path.name)
def test_file_is_strict_and_checks_native_calls(path: Path) -> None:
    source = path.read_bytes()
    assert unchecked_native_calls(source) == []
    text = source.decode()
    assert text.startswith("<#\n.SYNOPSIS\n")
    header = [text.index(part) for part in ("#>\n", "[CmdletBinding()]\nparam(", "Set-StrictMode -Version 3.0")]
    assert header == sorted(header)
    assert "Set-StrictMode -Version 3.0\n$ErrorActionPreference = 'Stop'\n" in text


@pytest.mark.parametrize("path", POWERSHELL_FILES, ids=lambda path: path.name)
def test_help_describes_each_parameter(path: Path) -> None:
    text = path.read_text(encoding="ascii")
    block = re.search(r"^param\(\n(.*?)^\)", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    parameters = block[1].split(",\n\n")
    assert len(parameters) == len(re.findall(r"^ +\[(?:string|int|double|switch)\] \$\w+", block[1], re.MULTILINE))
    for parameter in parameters:  # Get-Help shows the comment before it
        assert re.match(r" +# [A-Z].*(\n +#.*)*\.\n +\[", parameter), parameter


@pytest.mark.parametrize("source", [b"$a = $b ? 1 : 2", b"a && b", b"$a ?? 1", b"if ($IsWindows) { 1 }", b"function {"])
def test_newer_or_wrong_syntax_is_found(source: bytes) -> None:
    assert version_7_problems(source)


def test_unchecked_call_is_found() -> None:
    assert unchecked_native_calls(b"& $python a.py\nWrite-Host 'done'\n")
    assert unchecked_native_calls(b"if ($a) { & $python a.py }\nif ($LASTEXITCODE -ne 0) { throw 'a' }\n")
    assert not unchecked_native_calls(b"& $python a.py | Out-Null\nif ($LASTEXITCODE -ne 0) { throw 'a' }\n")


@pytest.mark.slow
def test_training_commands_run_known_options() -> None:
    commands = find_stage_commands(ROOT / "training_commands.ps1")
    assert [command[0] for command in commands] == [
        "preflight_check.py",
        "prepare_etl9g_dataset.py",
        "test_etl9g_setup.py",
        "train_etl9g_model.py",
        "convert_to_onnx.py",
        "convert_to_safetensors.py",
        "generate_enhanced_mapping.py",
        "evaluate_model.py",
    ]
    for command in [*commands, ["train_etl9g_model.py", "--sample-limit"]]:
        check_command(command)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_examples_of_scripts_use_known_options(script: Path) -> None:
    examples = find_script_examples(script)
    assert any(example[0] == script.name for example in examples), "a script opens with a command that runs"
    for command in examples:
        check_command(command)


def test_documented_commands_use_known_options() -> None:
    blocks = [block for document in DOCUMENTS for block in read_code_blocks(document)]
    commands = [command for block in blocks for command in find_python_commands(block.code)]
    assert commands
    for command in commands:
        check_command(command)


def test_documents_name_known_powershell_parameters() -> None:
    calls = [
        match
        for document in DOCUMENTS
        for block in read_code_blocks(document)
        for match in re.finditer(r"^.*?(?:\.[\\/])(\w+\.ps1)\b([^\n#]*)", block.code, re.MULTILINE)
    ]
    assert calls
    for call in calls:
        script = (ROOT / call[1]).read_text(encoding="ascii")
        for parameter in re.findall(r"(?:^|\s)-([A-Za-z]\w*)", call[2]):
            assert re.search(rf"^    \[\w+\] \${parameter}\b", script, re.MULTILINE), (
                f"{call[1]} has no parameter -{parameter}: {call[0]}"
            )


def test_commands_are_found_in_text() -> None:
    text = "$ python a.py --x 1 \\\n    --y\nvenv/bin/python -m pytest\npy -3.13 b.py  # why\ncd x && python3 d.py\n"
    text += "It's a python c.py\nsee python e.py\n"
    assert find_python_commands(text) == [["a.py", "--x", "1", "--y"], ["b.py"], ["d.py"]]
    assert find_python_commands(r"venv\Scripts\python.exe a.py --etl-dir D:\ETL9G") == [
        ["a.py", "--etl-dir", r"D:\ETL9G"]
    ]
