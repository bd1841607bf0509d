import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.documented_commands import (
    ROOT,
    check_command,
    find_python_commands,
    find_script_examples,
    read_code_blocks,
)
from tests.powershell import POWERSHELL_REMEDY, PowerShell, Result, find_powershell, start_powershell

POWERSHELL_FILES = sorted(ROOT.glob("*.ps1"))
SCRIPTS = sorted(path for path in ROOT.glob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
POSIX = pytest.mark.skipif(os.name == "nt", reason="shell scripts stand for programs")
STAGES = {  # by the names of -From, in their order
    "preflight": "preflight_check.py",
    "prepare": "prepare_etl9g_dataset.py",
    "check": "test_etl9g_setup.py",
    "train": "train_etl9g_model.py",
    "onnx": "convert_to_onnx.py",
    "safetensors": "convert_to_safetensors.py",
    "mapping": "generate_enhanced_mapping.py",
    "evaluate": "evaluate_model.py",
}
# A script that writes down what it is called with, and fails where it is told to
RECORDER = """
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    print(json.dumps(sys.argv), file=file)
sys.exit(7 * (os.environ["FAILS"] in sys.argv[0]) if os.environ["FAILS"] else 0)
"""
# What Windows PowerShell 5.1 has not, by the parser of PowerShell 7: operators, variables, parameters
FIND_PROBLEMS = r"""
$tokens = $problems = $null
$tree = [Management.Automation.Language.Parser]::ParseInput($code, [ref] $tokens, [ref] $problems)
$problems | ForEach-Object { "$($_.Extent.StartLineNumber): $($_.Message)" }
$all = $tokens + @($tokens | Where-Object { $_.PSObject.Properties['NestedTokens'] } | ForEach-Object NestedTokens)
$new = 'QuestionMark|QuestionQuestion|QuestionQuestionEquals|QuestionDot|QuestionLBracket|AndAnd|OrOr'
$names = '^(\$Is(Windows|Linux|MacOS|CoreCLR)|\$PSStyle|-Parallel|-AsHashtable|-AdditionalChildPath|Join-String)$'
$all | Where-Object { $_ -and ($_.Kind -match "^($new)$" -or $_.Text -match $names) } | ForEach-Object {
    "$($_.Extent.StartLineNumber): $($_.Text)"
}
foreach ($call in $tree.FindAll({ $args[0].PSObject.Properties['InvocationOperator'] }, $true)) {
    if ($call.InvocationOperator -ne 'Ampersand') { continue }
    $statement = $call
    while (-not $statement.Parent.PSObject.Properties['Statements']) { $statement = $statement.Parent }
    $following = $statement.Parent.Statements | Where-Object { $_.Extent.StartOffset -gt $statement.Extent.StartOffset }
    if (-not ($following | Select-Object -First 1 | Where-Object { "$_" -match '\$LASTEXITCODE' })) {
        "$($call.Extent.StartLineNumber): unchecked: $call"
    }
}
"""


@pytest.fixture(scope="module")
def powershell() -> Iterator[PowerShell]:
    program = find_powershell()
    require(program, POWERSHELL_REMEDY)
    assert program is not None
    with start_powershell(program) as shell:
        yield shell


class Toolkit:
    """A folder with the PowerShell scripts, whose stages only write down their arguments."""

    def __init__(self, folder: Path, powershell: PowerShell) -> None:
        self.root, self.work = folder / "tool kit [1] $x 場", folder / "work"
        self.root.mkdir(parents=True)
        self.work.mkdir()
        for path in POWERSHELL_FILES:
            shutil.copyfile(path, self.root / path.name)
        for name in (*STAGES.values(), "setup_etl9g.py"):
            (self.root / name).write_text(RECORDER, encoding="ascii")
        self.record, self._powershell = folder / "record", powershell
        self.path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(self, line: str, *, fails: str = "", path: str | None = None) -> Result:
        """What a line does in the folder "work"; KIT stands for the toolkit's folder."""
        self.record.write_text("", encoding="ascii")
        root = str(self.root).replace("'", "''")
        variables = {"PATH": self.path if path is None else path, "RECORD": str(self.record), "FAILS": fails}
        return self._powershell.run(f"$KIT = '{root}'; {line}", self.work, **variables)

    def calls(self) -> list[list[str]]:
        """The stages of the last line, as ["X.py", "--option", ...], with paths below the folder as WORK/..."""
        lines = map(json.loads, self.record.read_text(encoding="ascii").splitlines())
        calls = [[word.replace(str(self.work), "WORK").replace("\\", "/") for word in words] for words in lines]
        return [[Path(script).name, *options] for script, *options in calls]


@pytest.fixture
def toolkit(powershell: PowerShell, tmp_path: Path) -> Toolkit:
    return Toolkit(tmp_path, powershell)


def find_value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


# What Windows PowerShell 5.1 would say


def find_problems(powershell: PowerShell, source: str) -> list[str]:
    assert source.isascii(), "Windows PowerShell 5.1 reads a file without a byte order mark in the ANSI code page"
    done = powershell.run(f"$code = @'\n{source}\n'@\n{FIND_PROBLEMS}", ROOT)
    assert (done.errors, done.status) == ("", 0)
    return done.output.splitlines()


@pytest.mark.parametrize("path", POWERSHELL_FILES, ids=lambda path: path.name)
def test_file_is_valid_for_windows_powershell_5(path: Path, powershell: PowerShell) -> None:
    assert find_problems(powershell, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", POWERSHELL_FILES, ids=lambda path: path.name)
def test_file_is_strict_and_describes_itself(path: Path) -> None:
    text = path.read_text(encoding="ascii")
    assert text.startswith("<#\n.SYNOPSIS\n")
    header = [text.index(part) for part in ("#>\n", "[CmdletBinding()]\nparam(", "Set-StrictMode -Version 3.0")]
    assert header == sorted(header)
    assert "Set-StrictMode -Version 3.0\n$ErrorActionPreference = 'Stop'\n" in text


@pytest.mark.parametrize("path", POWERSHELL_FILES, ids=lambda path: path.name)
def test_help_describes_each_parameter(path: Path, powershell: PowerShell) -> None:
    line = (
        f"(Get-Help -Full '{path}').parameters.parameter | ForEach-Object {{ \"$($_.name)=$($_.description.Text)\" }}"
    )
    described = dict(each.split("=", 1) for each in powershell.run(line, ROOT).output.splitlines() if "=" in each)
    parameters = set(re.findall(r"^    \[\w+(?:\[\])?\] \$(\w+)", path.read_text(encoding="ascii"), re.MULTILINE))
    assert set(described) == parameters
    assert all(re.match(r"[A-Z]", text) for text in described.values()), described


def test_newer_or_wrong_syntax_and_unchecked_calls_are_found(powershell: PowerShell) -> None:
    wrong = ["$a = $b ? 1 : 2", "a && b", "$a ?? 1", "if ($IsWindows) { 1 }", 'Write-Host "on $IsLinux"', "function {"]
    wrong += ["& $python a.py\nWrite-Host 'done'", "if ($a) { & $python a.py }\nif ($LASTEXITCODE -ne 0) { throw 'a' }"]
    assert all(find_problems(powershell, source) for source in wrong)
    assert not find_problems(powershell, "& $python a.py | Out-Null\nif ($LASTEXITCODE -ne 0) { throw 'a' }")


# training_commands.ps1


@pytest.mark.slow
def test_every_stage_runs_in_its_order_with_options_it_knows(toolkit: Toolkit) -> None:
    line = "& $KIT/training_commands.ps1 -Resume -DeviceType cpu -SampleLimit 300 -Backend tract, ort-tract, strict"
    done = toolkit.run(line)
    assert (done.errors, done.status) == ("", 0)
    calls = toolkit.calls()
    names = list(STAGES.values())
    assert [call[0] for call in calls] == [*names[:4], *[names[4]] * 3, *names[5:]]
    for call in calls:
        check_command(call)
    assert f"> python {STAGES['safetensors']} --model-path " in done.output


def test_defaults_and_the_quick_run(toolkit: Toolkit) -> None:
    assert toolkit.run("& $KIT/training_commands.ps1 -Quick").status == 0
    calls = {call[0]: call[1:] for call in toolkit.calls()}
    assert calls["preflight_check.py"] == ["--etl-dir", "WORK/ETL9G"]
    assert calls["prepare_etl9g_dataset.py"] == [
        *("--etl-dir", "WORK/ETL9G", "--output-dir", "WORK/dataset", "--size", "64")
    ]
    assert calls["train_etl9g_model.py"] == [
        *("--data-dir", "WORK/dataset", "--output-dir", "WORK", "--epochs", "2", "--batch-size", "64"),
        *("--learning-rate", "0.001", "--model-version", "3.0", "--split", "random", "--sample-limit", "15000"),
    ]
    assert calls["evaluate_model.py"] == [
        *("--model", "WORK/kanji_model_etl9g_64x64_3036classes_tract.onnx", "--data-dir", "WORK/dataset"),
        *("--split", "test", "--output-dir", "WORK/evaluation"),
    ]
    assert toolkit.run("& $KIT/training_commands.ps1 -Characters japanese").status == 0
    calls = {call[0]: call[1:] for call in toolkit.calls()}
    assert calls["prepare_etl9g_dataset.py"][-2:] == calls["generate_enhanced_mapping.py"][-2:]
    assert calls["generate_enhanced_mapping.py"] == [
        *("--output-path", "WORK/kanji_japanese_enhanced_mapping.json", "--characters", "japanese")
    ]
    assert calls["evaluate_model.py"][1] == "WORK/kanji_model_japanese_64x64_6594classes_tract.onnx"
    comma = "$c = [cultureinfo]::InvariantCulture.Clone(); $c.NumberFormat.NumberDecimalSeparator = ','; "
    comma += "$c.NumberFormat.NumberGroupSeparator = '.'; [cultureinfo]::CurrentCulture = $c; "
    toolkit.run(f"{comma}& $KIT/training_commands.ps1 -From train -Quick -Epochs 5 -LearningRate 0.0025 -Split etl9")
    training = toolkit.calls()[0]
    assert find_value(training, "--learning-rate") == "0.0025"
    assert find_value(training, "--epochs") == "5"
    assert find_value(training, "--split") == "etl9"


def test_folders_reach_the_stages_as_they_are_called(toolkit: Toolkit, tmp_path: Path) -> None:
    tool = "& $KIT/training_commands.ps1 -From evaluate"
    found = {}
    lines = {
        "plain": f"{tool} -DataDir 'a b 場 [1] $x' -OutputDir .",
        "separator": f"{tool} -DataDir 'my data/' -OutputDir 'run 1{os.sep}'",
        "root": f"{tool} -DataDir /",
        "home": f"{tool} -DataDir ~/data -OutputDir '~\\run'" if os.name == "nt" else f"{tool} -DataDir ~/data",
        "drive": f"$null = New-PSDrive -Scope Global Kit FileSystem '{tmp_path}'; {tool} -DataDir Kit:/work/data/",
        "in a drive": f"Set-Location Kit:/work; {tool} -DataDir data",
    }
    for name, line in lines.items():
        done = toolkit.run(line)
        assert (done.errors, done.status) == ("", 0), name
        found[name] = find_value(toolkit.calls()[0], "--data-dir")
    root, home = Path("/").resolve().as_posix(), Path.home().as_posix()
    assert found == {
        "plain": "WORK/a b 場 [1] $x",
        "separator": "WORK/my data",
        "root": root,
        "home": f"{home}/data",
        "drive": "WORK/data",
        "in a drive": "WORK/data",
    }
    assert "--data-dir 'WORK/" not in toolkit.run(f"{tool} -DataDir data").output, "quoted only where it must be"
    shown = toolkit.run(f'{tool} -DataDir "it\'s"').output
    assert "it''s'" in shown, "the line can be pasted"
    for wrong, problem in {"Env:/a": "Environment has this name", "Nodrive:/a": "Nodrive"}.items():
        done = toolkit.run(f"{tool} -DataDir {wrong}")
        assert done.status == 1
        assert re.fullmatch(rf"error: .*{problem}.*\n", done.errors)


def test_each_backend_is_exported_and_evaluated(toolkit: Toolkit) -> None:
    for words in ("tract, ort-tract, strict", "tract,ort-tract,strict,tract", "'tract,ort-tract,strict'"):
        assert toolkit.run(f"& $KIT/training_commands.ps1 -From onnx -ImageSize 32 -Backend {words}").errors == ""
        *exports, _, _, evaluation = toolkit.calls()
        backends = [find_value(call, "--target-backend") for call in exports]
        assert backends == ["tract", "ort-tract", "strict"]
        start = evaluation.index("--model") + 1
        models = [f"WORK/kanji_model_etl9g_32x32_3036classes_{backend}.onnx" for backend in backends]
        assert evaluation[start : start + 4] == [*models, "--data-dir"]


def test_resume_from_and_device_reach_the_stages_that_take_them(toolkit: Toolkit) -> None:
    names = list(STAGES.values())
    for stage in ("prepare", "onnx", "mapping"):
        toolkit.run(f"& $KIT/training_commands.ps1 -From {stage}")
        assert [call[0] for call in toolkit.calls()] == names[names.index(STAGES[stage]) :]
    toolkit.run("& $KIT/training_commands.ps1 -Resume -DeviceType cuda")
    for call in toolkit.calls():
        assert ("--resume" in call) == (call[0] == "train_etl9g_model.py")
        takes_device = call[0] in {"train_etl9g_model.py", "convert_to_onnx.py", "evaluate_model.py"}
        assert ("--device" in call) == takes_device
        assert not takes_device or find_value(call, "--device") == "cuda"
    toolkit.run("& $KIT/training_commands.ps1 -From train -DeviceType mps")
    assert ["--device" in call for call in toolkit.calls()] == [True, False, False, False, False]


@pytest.mark.parametrize(
    "words",
    ["-Backend onnx", "-Backend tract,x", "-Split test", "-From start", "-Epochs 0", "-EtlDir ''", "-DeviceType tpu"],
)
def test_a_wrong_value_starts_no_stage(words: str, toolkit: Toolkit) -> None:
    done = toolkit.run(f"& $KIT/training_commands.ps1 {words}")
    assert done.status == 1
    assert words.split()[0].removeprefix("-") in done.errors
    assert toolkit.calls() == []


def test_a_failing_stage_is_one_line_and_its_own_status(toolkit: Toolkit) -> None:
    expected = "error: train_etl9g_model.py failed with exit status 7; its messages are above. "
    expected += "The same command with -Resume goes on.\n"
    line = "$PSNativeCommandUseErrorActionPreference = $true; & $KIT/training_commands.ps1; 'still here'"
    done = toolkit.run(line, fails="train_etl9g_model.py")
    assert (done.errors, done.status) == (expected, 7)
    assert "still here" in done.output
    assert [call[0] for call in toolkit.calls()] == list(STAGES.values())[:4]
    dotted = toolkit.run(". $KIT/training_commands.ps1 -From train; 'still here'", fails="train_etl9g_model.py")
    assert (dotted.errors, dotted.status) == (expected, 7)
    assert "still here" in dotted.output, "the window stays open"


def test_the_python_of_venv_comes_first_and_without_any_setup_is_named(toolkit: Toolkit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = toolkit.run("& $KIT/training_commands.ps1", path=str(tmp_path / "empty"))
    assert (done.status, toolkit.calls()) == (1, [])
    assert re.fullmatch(r"error: no Python found: run setup_etl9g\.ps1 first.*\n", done.errors)
    done = toolkit.run("& $KIT/training_commands.ps1 -Python ./python9")
    assert (done.status, done.errors) == (1, "error: -Python ./python9: no Python that starts.\n")
    named = toolkit.run(
        f"& $KIT/training_commands.ps1 -From mapping -Python '{sys.executable}'", path=str(tmp_path / "empty")
    )
    assert (named.status, len(toolkit.calls())) == (0, 2)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(toolkit.root / "venv")], check=True)
    assert toolkit.run("& $KIT/training_commands.ps1 -From evaluate", path=str(tmp_path / "empty")).status == 0
    assert len(toolkit.calls()) == 1


@pytest.mark.slow
def test_the_real_workflow_its_end_by_a_failure_and_how_it_goes_on(workplace: Path, tmp_path: Path) -> None:
    program = find_powershell()
    require(program, POWERSHELL_REMEDY)
    folder = tmp_path / "run 1 [場]"
    folder.mkdir()
    shutil.copytree(workplace / "ETL9G", folder / "ETL9G")
    (folder / "evaluation").write_text("in the way of the last stage", encoding="ascii")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [str(program), "-NoProfile", "-NonInteractive", "-File", str(ROOT / "training_commands.ps1"), *words]
        command += [
            "-Quick",
            "-Epochs",
            "1",
            "-SampleLimit",
            "6072",
            "-BatchSize",
            "128",
            "-ImageSize",
            "32",
            "-Python",
            sys.executable,
        ]
        environment = {**os.environ, "PYTHONUTF8": "1"}
        return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", env=environment)

    failed = run()
    assert failed.returncode == 1
    *_, own, after = failed.stderr.splitlines()
    assert own.startswith(f"error: {folder / 'evaluation'}: ")
    assert after.startswith("error: evaluate_model.py failed with exit status 1; its messages are above.")
    (folder / "evaluation").unlink()
    done = run("-Resume", "-From", "evaluate")
    assert done.returncode == 0, done.stderr
    assert (folder / "evaluation" / "evaluation.json").is_file()


# setup_etl9g.ps1


def write_python(folder: Path, name: str, *answers: int) -> None:
    """A program that answers with these exit statuses to the checks (tested, newer, any Python), then shows itself."""
    folder.mkdir(exist_ok=True)
    checks = zip(("<= v <=", "v < (3", "version_info < (3, 7)"), answers, strict=True)
    cases = "".join(f'*-c*"{words}"*) exit {answer};; ' for words, answer in checks)
    text = f'#!/bin/sh\ncase "$*" in {cases}esac\necho "{name} $*"\n[ -z "$FAILS" ]\n'
    (folder / name).write_text(text, encoding="ascii")
    (folder / name).chmod(0o755)


@POSIX
def test_setup_takes_the_best_python(toolkit: Toolkit, tmp_path: Path) -> None:
    programs = tmp_path / "bin"

    def set_up(*words: str, fails: str = "") -> Result:
        return toolkit.run(f"& $KIT/setup_etl9g.ps1 {' '.join(words)}", path=str(programs), fails=fails)

    remedies = ["install Python 3.14 from python.org", "run 'py install 3.14'"]
    programs.mkdir()
    for remedy in remedies:
        done = set_up()
        assert (done.status, done.errors) == (1, f"error: no Python found: {remedy}, then run this script again.\n")
        write_python(programs, "pymanager", 1, 1, 1)
    script = f"{toolkit.root}/setup_etl9g.py"
    steps = {  # each a better one than those before
        ("python", 1, 1, 0): "python",
        ("python3", 1, 0, 0): "python3",
        ("python3.10", 0, 0, 0): "python3.10",
        ("py", 0, 0, 0): "py -3.14",
    }
    for answers, expected in steps.items():
        write_python(programs, *answers)
        assert set_up().output.strip() == f"{expected} {script}"
    assert set_up("-Demo", "-Test", "-Cpu").output.strip() == f"py -3.14 {script} --demo --test --cpu"
    done = set_up(fails="yes")
    assert (done.status, done.errors) == (
        1,
        "error: setup_etl9g.py failed with exit status 1; its messages are above.\n",
    )


def test_the_checks_of_setup_are_those_of_the_machine(toolkit: Toolkit) -> None:
    """With the real Python: it is taken at the first check, and the script runs."""
    done = toolkit.run("& $KIT/setup_etl9g.ps1 -Test")
    assert (done.errors, done.status) == ("", 0)
    assert toolkit.calls() == [["setup_etl9g.py", "--test"]]


# The documents


def test_powershell_lines_of_the_documents_run(toolkit: Toolkit) -> None:
    blocks = [block.code for path in DOCUMENTS for block in read_code_blocks(path) if block.language == "powershell"]
    comments = re.findall(r"(\.\\\w+\.ps1[^\n#]*)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert blocks
    assert len(comments) >= 4
    (toolkit.root / "venv" / "Scripts").mkdir(parents=True)
    (toolkit.root / "venv" / "Scripts" / "Activate.ps1").write_text("", encoding="ascii")
    for code in [*blocks, *comments]:
        expected = len(find_python_commands(code)) + len(STAGES) * code.count("training_commands.ps1")
        done = toolkit.run(f"Set-Location -LiteralPath $KIT; {code}")
        assert (done.errors, done.status) == ("", 0), code
        assert len(toolkit.calls()) == expected + code.count("setup_etl9g.ps1"), code


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


def test_commands_are_found_in_text() -> None:
    text = "$ python a.py --x 1 \\\n    --y\nvenv/bin/python -m pytest\npy -3.13 b.py  # why\ncd x && python3 d.py\n"
    text += "It's a python c.py\nsee python e.py\n"
    assert find_python_commands(text) == [["a.py", "--x", "1", "--y"], ["b.py"], ["d.py"]]
    assert find_python_commands(r"venv\Scripts\python.exe a.py --etl-dir D:\ETL9G") == [
        ["a.py", "--etl-dir", r"D:\ETL9G"]
    ]
