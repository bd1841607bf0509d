import ast
import http.server
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import setup_etl9g
from kanjinet.system.environment import Environment, advise_after_pip
from kanjinet.system.machine import (
    Gpu,
    Interpreter,
    choose_torch_wheels,
    find_gpu,
    find_obstacle,
    fits_onnxruntime_gpu,
    index_has_torch,
    read_interpreter,
)
from kanjinet.system.packages import is_version_enough, read_requirements
from tests.documented_commands import ROOT, check_command

SYSTEM = ("environment", "machine", "packages")
TOOLKIT_FILES = (
    "setup_etl9g.py",
    *(f"kanjinet/{name}.py" for name in ("__init__", "cli", "errors", *(f"system/{each}" for each in SYSTEM))),
)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a shell script stands for nvidia-smi")
PARTS_OF_PYTORCH_BUILDS = ("nvidia-", "cuda-", "triton", "setuptools")
RTX_4070 = Gpu("NVIDIA GeForce RTX 4070 Ti", "581.29", 12282, 8.9)
GTX_1080 = Gpu("NVIDIA GeForce GTX 1080", "580.65.06", 8192, 6.1)
OLD_DRIVER = Gpu("NVIDIA GeForce RTX 2080", "551.23", 8192, 7.5)


def imported_modules(path: Path, *, everywhere: bool) -> set[str]:
    """The top-level names of the modules that a file imports: anywhere in it, or when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("name", TOOLKIT_FILES)
def test_setup_needs_only_the_standard_library(name: str) -> None:
    assert imported_modules(ROOT / name, everywhere=True) <= sys.stdlib_module_names | {"kanjinet"}


@pytest.mark.parametrize("name", TOOLKIT_FILES)
def test_an_older_python_can_read_setup_and_so_say_that_it_is_too_old(name: str) -> None:
    source = (ROOT / name).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    assert "from __future__ import annotations" in source or not re.search(r"(:|->) \w+ \| ", source)


def test_requirements_are_what_the_code_imports() -> None:
    own = {path.stem for path in [*ROOT.glob("*.py"), *ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")]}
    ignored = sys.stdlib_module_names | own | {"kanjinet", "benchmarks"}
    code = [*ROOT.glob("*.py"), *ROOT.glob("kanjinet/**/*.py")]
    imported = set().union(*(imported_modules(path, everywhere=True) for path in code)) - ignored
    runtime, tests = (
        {requirement.import_name.partition(".")[0] for requirement in read_requirements(ROOT / name)}
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    indirect = {"", "onnxscript"}  # kanjivg is data; torch.onnx imports onnxscript itself
    assert imported - runtime <= {"tract"} & tests, "optional: a stage says how to install it"
    assert runtime - imported == indirect


def test_every_requirement_has_a_tested_version() -> None:
    files = ("requirements.txt", "requirements-dev.txt")
    constraints = [line.partition(";")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()]
    for requirement in (requirement for file in files for requirement in read_requirements(ROOT / file)):
        versions = [line.strip().partition("==")[2] for line in constraints if line.startswith(f"{requirement.name}==")]
        assert versions, requirement.name
        assert all(is_version_enough(version, requirement.minimum or "0") for version in versions), requirement.name


def test_what_the_packages_need_in_their_turn_has_a_tested_version() -> None:
    """So that the same versions are installed tomorrow, and an audit of constraints.txt leaves nothing out."""

    def normalize(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    installed = {normalize(each.metadata["Name"]): each.requires or [] for each in importlib.metadata.distributions()}
    pinned = {
        normalize(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    }
    waiting = [
        each.name for file in ("requirements.txt", "requirements-dev.txt") for each in read_requirements(ROOT / file)
    ]
    needed: set[str] = set()
    while waiting:
        name = normalize(waiting.pop())
        if name in installed and name not in needed and not name.startswith(PARTS_OF_PYTORCH_BUILDS):
            needed.add(name)
            lines = [line for line in installed[name] if "extra ==" not in line]
            waiting += [match[0] for line in lines if (match := re.match(r"[\w.-]+", line))]
    assert len(needed) > 40
    assert needed <= pinned


def test_version_comparison() -> None:
    assert is_version_enough("2.14.1+cu130", "2.9")
    assert is_version_enough("13.0.0", "9.5")
    assert not is_version_enough("1.26.4", "2.1")


# Which Python

LINUX_PYTHON = Interpreter((3, 14), "linux-x86_64", "x86_64", glibc=(2, 28))
MAC_PYTHON = Interpreter((3, 13), "macosx-10.15-universal2", "arm64")
WINDOWS_PYTHON = Interpreter((3, 12), "win-amd64", "AMD64")


@pytest.mark.parametrize(
    ("python", "problem", "remedy"),
    [
        (LINUX_PYTHON, None, ""),
        (replace(LINUX_PYTHON, version=(3, 15)), None, ""),
        (replace(LINUX_PYTHON, machine="aarch64", platform="linux-aarch64"), None, ""),
        (MAC_PYTHON, None, ""),
        (WINDOWS_PYTHON, None, ""),
        (replace(WINDOWS_PYTHON, machine="ARM64"), None, ""),  # x64's Python, on ARM
        (replace(LINUX_PYTHON, version=(3, 9)), "need Python 3.10 to 3.14", "python3.14 setup_etl9g.py"),
        (replace(LINUX_PYTHON, glibc=()), "such as musl", "Debian"),
        (replace(LINUX_PYTHON, glibc=(2, 17)), "glibc 2.17", "newer Linux"),
        (replace(LINUX_PYTHON, is_64bit=False), "32 bits", "64-bit Linux"),
        (replace(LINUX_PYTHON, build="free-threaded CPython"), "free-threaded", "the usual 64-bit Python 3.14"),
        (replace(MAC_PYTHON, machine="x86_64"), "Intel Macs", "another computer"),
        (replace(MAC_PYTHON, machine="x86_64", is_translated=True), "Rosetta", "without Rosetta"),
        (replace(WINDOWS_PYTHON, platform="win32", is_64bit=False), "32 bits", "64-bit Python 3.14 of python.org"),
        (replace(WINDOWS_PYTHON, platform="win-arm64"), "for ARM", "x64"),
    ],
)
def test_a_python_without_wheels_is_refused_with_the_reason(
    python: Interpreter, problem: str | None, remedy: str
) -> None:
    obstacle = find_obstacle(python)
    if problem is None:
        assert obstacle is None
    else:
        assert obstacle is not None
        assert problem in obstacle[0]
        assert remedy in obstacle[1]


def test_the_windows_install_manager_is_named_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name if name == "pymanager" else None)
    for python, command in (
        (replace(WINDOWS_PYTHON, version=(3, 9)), "run 'py install 3.14'"),
        (replace(WINDOWS_PYTHON, is_64bit=False), "run 'py install 3.14-64'"),
        (replace(WINDOWS_PYTHON, platform="win-arm64"), "run 'py install 3.14-64'"),
    ):
        obstacle = find_obstacle(python)
        assert obstacle is not None
        assert command in obstacle[1]


def test_this_python_is_described() -> None:
    python = read_interpreter()
    assert find_obstacle(python) is None
    assert python.version == sys.version_info[:2]
    assert (python.glibc != ()) == (sys.platform == "linux")


@pytest.mark.parametrize(
    ("stand_in", "text"),
    [
        ("import platform; platform.libc_ver = lambda: ('', '')", "such as musl"),
        ("import sysconfig; sysconfig.get_platform = lambda: 'win-arm64'", "for ARM"),
        ("import sys; sys.maxsize = 2**31 - 1", "32 bits"),
    ],
)
def test_set_up_and_preflight_refuse_such_a_python_at_once(stand_in: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(stand_in, encoding="ascii")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(ROOT / "setup_etl9g.py"), "--venv-dir", str(tmp_path / "venv")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(rf"error: Python {sys.version.split()[0]} at .*{text}.*\n", done.stderr)
    assert done.stdout == ""
    assert not (tmp_path / "venv").exists()
    code = "from kanjinet.system.preflight import check_python; print(check_python())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "status='failed'" in done.stdout
    assert text in done.stdout


def test_pip_is_understood() -> None:
    lost = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n"
    missing = "ERROR: No matching distribution found for torch==2.14.1\n"
    assert advise_after_pip(lost + missing) == "Check the network connection"
    assert advise_after_pip(missing).startswith("pip found no torch==2.14.1 for Python 3.")
    assert advise_after_pip("ERROR: [Errno 28] No space left on device") == "Free some disk space"
    assert "messages" in advise_after_pip("ERROR: something else")


# Which PyTorch


@pytest.mark.parametrize(
    ("gpu", "system", "reachable", "index"),
    [
        (None, "Linux", True, "/cpu"),
        (None, "Windows", True, "/cpu"),
        (None, "Linux", False, None),
        (None, "Windows", False, None),
        (None, "Darwin", True, None),
        (RTX_4070, "Linux", True, None),
        (RTX_4070, "Linux", False, None),
        (RTX_4070, "Windows", True, "/cu130"),
        (RTX_4070, "Windows", False, None),
        (GTX_1080, "Windows", True, "/cu126"),
        (GTX_1080, "Linux", True, "/cu126"),
        (OLD_DRIVER, "Linux", True, "/cu126"),
        (OLD_DRIVER, "Linux", False, None),
    ],
)
def test_wheel_choice(gpu: Gpu | None, system: str, reachable: bool, index: str | None) -> None:
    asked: list[str] = []
    index_url, reason = choose_torch_wheels(gpu, system, lambda url: asked.append(url) or reachable)
    assert index_url == (f"https://download.pytorch.org/whl{index}" if index else None)
    if not reachable and asked:
        assert f"{asked[0]} is out of reach" in reason


def answer(**outputs: str) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A runner that answers as nvidia-smi: `full` to the query with compute_cap, `short` to the one without."""

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        assert command[0] == "nvidia-smi"
        text = outputs.get("full" if "compute_cap" in command[1] else "short")
        if text is None:
            return subprocess.CompletedProcess(command, 2, 'Field "compute_cap" is not a valid field to query.', "")
        return subprocess.CompletedProcess(command, 0, text, "")

    return run


def test_gpu_is_read_from_nvidia_smi() -> None:
    assert find_gpu(answer(full="NVIDIA GeForce RTX 4070 Ti, 581.29, 12282, 8.9\n")) == RTX_4070
    two = "NVIDIA GeForce GTX 1080, 580.65.06, 8192, 6.1\nNVIDIA T400, 580.65.06, 2048, 7.5\n"
    assert find_gpu(answer(full=two)) == GTX_1080
    old = find_gpu(answer(short="GeForce GTX 970, 391.35, 4096\n"))
    assert old == Gpu("GeForce GTX 970", "391.35", 4096, None)
    strange = find_gpu(answer(full="NVIDIA H200, 580.1, [N/A], [N/A]\n"))
    assert strange == Gpu("NVIDIA H200", "580.1", None, None)


def test_no_gpu_without_a_driver_that_answers() -> None:
    def run_missing(*_: object, **__: object) -> "subprocess.CompletedProcess[str]":
        raise FileNotFoundError("nvidia-smi")

    def run_hanging(*_: object, **__: object) -> "subprocess.CompletedProcess[str]":
        raise subprocess.TimeoutExpired("nvidia-smi", 30)

    assert find_gpu(run_missing) is None
    assert find_gpu(run_hanging) is None
    assert find_gpu(answer()) is None
    assert find_gpu(answer(full="", short="No devices were found\n")) is None


@pytest.fixture
def wheel_index() -> Iterator[str]:
    """A server with a page of wheels as PyTorch's index has them: in cpu/ for every machine, in cu126/ for others."""
    wheels = {
        "/whl/cpu/torch/": ["torch-2.14.1%2Bcpu-py3-none-any.whl"],
        "/whl/cu126/torch/": [
            "torch-2.14.1%2Bcu126-cp27-cp27m-manylinux1_x86_64.whl",
            "torch-2.14.1%2Bcu126-py3-none-plan9_x86_64.whl",
        ],
        "/whl/plain/torch/": ["torch-2.14.1-py3-none-any.whl"],
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in wheels else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            for wheel in wheels.get(self.path, []):
                self.wfile.write(f'<a href="{wheel}#sha256=0">{wheel.replace("%2B", "+")}</a><br/>\n'.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/whl"
        server.shutdown()


def test_index_is_asked_for_this_machine(wheel_index: str) -> None:
    python = Path(sys.executable)
    assert index_has_torch(python, f"{wheel_index}/cpu", "2.14.1")
    assert not index_has_torch(python, f"{wheel_index}/cpu", "2.14")
    assert not index_has_torch(python, f"{wheel_index}/cu126", "2.14.1")
    assert not index_has_torch(python, f"{wheel_index}/plain", "2.14.1"), "from some other index of pip's settings"
    assert not index_has_torch(python, f"{wheel_index}/cu999", "2.14.1")


def test_unreachable_index_is_given_up_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kanjinet.system.machine.INDEX_TIMEOUT_S", 0.5)
    python, started = Path(sys.executable), time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and never answers
        assert not index_has_torch(python, f"http://127.0.0.1:{silent.getsockname()[1]}/whl/cpu", "2.14.1")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not index_has_torch(python, f"http://127.0.0.1:{port}/whl/cpu", "2.14.1")
    assert time.monotonic() - started < 30


# Which onnxruntime


@pytest.mark.parametrize(
    ("gpu", "torch", "system", "python", "expected"),
    [
        (RTX_4070, "2.14.1", "Linux", (3, 11), True),
        (RTX_4070, "2.14.1+cu130", "Windows", (3, 12), True),
        (RTX_4070, "2.14.1", "Windows", (3, 12), False),  # the platform's default, without CUDA
        (RTX_4070, "2.14.1+cpu", "Linux", (3, 12), False),
        (RTX_4070, "", "Linux", (3, 12), False),
        (RTX_4070, "2.14.1", "Linux", (3, 10), False),
        (GTX_1080, "2.14.1+cu126", "Linux", (3, 12), False),
        (OLD_DRIVER, "2.14.1", "Linux", (3, 12), False),
        (None, "2.14.1", "Linux", (3, 12), False),
    ],
)
def test_onnxruntime_gpu_is_chosen_where_it_can_run(
    gpu: Gpu | None, torch: str, system: str, python: tuple[int, int], expected: bool
) -> None:
    assert fits_onnxruntime_gpu(gpu, torch, system, python) is expected


@pytest.mark.slow
@LINUX
@pytest.mark.skipif(sys.version_info < (3, 11), reason="onnxruntime-gpu for CUDA 13 needs Python 3.11")
def test_onnxruntime_follows_the_gpu(tmp_path: Path) -> None:
    toolkit = Toolkit(tmp_path)
    for name in ("torch-2.14.1", "onnxruntime-1.32.0"):
        write_wheel(toolkit.wheels, *name.split("-"), "")
    toolkit.write("requirements.txt", "torch\nonnxruntime>=1.20\n")
    toolkit.write("constraints.txt", "torch==2.14.1\nonnxruntime==1.32.0\nonnxruntime-gpu==1.31.1\n")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA H200, 580.65.06, 143771, 9.0'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    toolkit.env["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    without_wheel = toolkit.set_up(cpu=False)
    assert without_wheel.returncode == 0, without_wheel.stderr
    assert "no wheel of onnxruntime-gpu fits this machine" in without_wheel.stdout
    assert toolkit.version_of("onnxruntime") == "1.32.0"
    assert has_worked(toolkit.set_up(cpu=False)) == (False, False)

    write_wheel(toolkit.wheels, "onnxruntime_gpu", "1.31.1", "")
    toolkit.write("requirements.txt", "torch\nonnxruntime>=1.19\n")
    assert has_worked(toolkit.set_up(cpu=False)) == (False, True)
    assert (toolkit.version_of("onnxruntime-gpu"), toolkit.version_of("onnxruntime")) == ("1.31.1", "")
    assert has_worked(toolkit.set_up(cpu=False)) == (False, False)
    assert has_worked(toolkit.set_up(cpu=True)) == (False, True)
    assert (toolkit.version_of("onnxruntime-gpu"), toolkit.version_of("onnxruntime")) == ("", "1.32.0")


# The environment, the demo and the tests: the real script, in a folder of its own, with packages made on the spot


def write_wheel(folder: Path, name: str, version: str, code: str) -> None:
    """A wheel with one module; as `python -m name` it runs `code`."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


class Toolkit:
    """A copy of the set-up script in its own folder, whose requirements are two packages made here."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tool kit [1] 場"  # set-up must not mind
        self.wheels = wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        for name in TOOLKIT_FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, self.root / name)
        write_wheel(wheels, "snow", "1.0", "")
        write_wheel(wheels, "snow", "2.0", "")
        write_wheel(wheels, "pytest", "8.0", "import sys; print('tests', sys.argv[1:]); sys.exit(3)")
        self.write("requirements.txt", "-r requirements-base.txt\n-r requirements-train.txt\n")
        self.write("requirements-base.txt", "# runtime\nsnow>=1.0\n")
        self.write("requirements-train.txt", "")
        self.write("requirements-dev.txt", "-r requirements.txt\npytest\n")
        self.write("constraints.txt", "torch==2.14.1\nsnow==1.0\n")
        self.env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri(), "PIP_CONFIG_FILE": os.devnull}
        environment = Environment(self.root / "venv", self.root, print)
        self.python, self.stamp = environment.python, environment.stamp_path
        self.unfinished = environment.unfinished_path

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def set_up(
        self, *options: str, python: str = sys.executable, cpu: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        command = [python, str(self.root / "setup_etl9g.py"), *(["--cpu"] if cpu else []), *options]
        return subprocess.run(command, env=self.env, cwd=self.root.parent, capture_output=True, text=True)

    def version_of(self, package: str) -> str:
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Toolkit:
    """Set up once; the tests that take it leave it set up."""
    toolkit = Toolkit(tmp_path_factory.mktemp("setup"))
    result = toolkit.set_up()
    assert result.returncode == 0, result.stderr
    assert "making the virtual environment" in result.stdout
    if os.name != "nt":
        [line] = re.findall("bash: +(source .*)", result.stdout)
        done = subprocess.run(["bash", "-c", f"{line} && python -c 'import snow'"], cwd=toolkit.root.parent)
        assert done.returncode == 0
    assert re.search(r"PowerShell: & '.*tool kit \[1\] 場.*Activate\.ps1'\n", result.stdout)
    assert toolkit.version_of("snow") == "1.0"
    assert not toolkit.unfinished.exists()
    return toolkit


def has_worked(result: "subprocess.CompletedProcess[str]") -> tuple[bool, bool]:
    """Whether a run succeeded in making the environment, in running pip."""
    assert result.returncode == 0, result.stderr
    return "making the virtual environment" in result.stdout, "-m pip install" in result.stdout


def test_second_run_does_nothing(ready: Toolkit) -> None:
    assert has_worked(ready.set_up()) == (False, False)


def test_changed_requirements_are_installed(ready: Toolkit) -> None:
    ready.write("constraints.txt", "torch==2.14.1\nsnow==2.0\n")
    assert has_worked(ready.set_up()) == (False, True)
    assert ready.version_of("snow") == "2.0"


def test_a_newer_python_than_tested_is_noted_and_goes_on(ready: Toolkit) -> None:
    ready.write("requirements-train.txt", "\n")
    machine = ready.root / "kanjinet" / "system" / "machine.py"
    tested = machine.read_text(encoding="utf-8")
    machine.write_text(re.sub("NEWEST_PYTHON = .*", "NEWEST_PYTHON = (3, 10), (3, 9)", tested), encoding="utf-8")
    done = ready.set_up()
    machine.write_text(tested, encoding="utf-8")
    assert has_worked(done) == (False, True)
    assert "is newer than the tested" in done.stdout
    assert "--only-binary=:all:" in done.stdout


def test_missing_package_is_installed_again(ready: Toolkit) -> None:
    subprocess.run([ready.python, "-m", "pip", "uninstall", "-y", "-q", "snow"], check=True, env=ready.env)
    assert has_worked(ready.set_up()) == (False, True)
    assert ready.version_of("snow")


def test_failing_pip_is_reported_and_the_next_run_goes_on(ready: Toolkit) -> None:
    good = (ready.root / "requirements.txt").read_text(encoding="utf-8")
    ready.write("requirements.txt", good + "nosuchpackage\n")
    result = ready.set_up()
    assert result.returncode == 1
    assert "pip failed with exit status 1" in result.stderr
    assert "-m pip install -r requirements.txt -c constraints.txt" in result.stderr
    assert "pip found no nosuchpackage for Python 3." in result.stderr
    assert "network" not in result.stderr
    ready.write("requirements.txt", good)
    assert has_worked(ready.set_up())[0] is False


def test_tests_run_with_the_environments_python(ready: Toolkit) -> None:
    result = ready.set_up("--test", "--", "-k", "some name", "-x")
    assert f"tests {[*setup_etl9g.ALL_TESTS, '-k', 'some name', '-x']}" in result.stdout
    assert result.returncode == 3, "pytest's exit status"
    assert "exit status 3" in result.stderr
    assert "making" not in ready.set_up("--test").stdout
    assert has_worked(ready.set_up()) == (False, False), "an environment for the tests serves the stages as well"
    assert ready.set_up("--", "-x").returncode == 2


@pytest.mark.parametrize("damage", ["killed while pip worked", "no interpreter"])
def test_half_made_environment_is_made_anew(ready: Toolkit, damage: str) -> None:
    if damage == "killed while pip worked":
        ready.unfinished.touch()
    else:
        ready.python.unlink()
    assert has_worked(ready.set_up()) == (True, True)
    assert ready.version_of("snow")


def test_environment_in_use_is_not_cleared(ready: Toolkit) -> None:
    ready.unfinished.touch()
    result = ready.set_up(python=str(ready.python))
    ready.unfinished.unlink()
    assert result.returncode == 1
    assert "deactivate" in result.stderr
    assert has_worked(ready.set_up(python=str(ready.python))) == (False, False)


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    toolkit = Toolkit(tmp_path / "setup")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"miaow")
    result = toolkit.set_up("--venv-dir", str(tmp_path / "photos"))
    assert result.returncode == 1
    assert "is no virtual environment" in result.stderr
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    result = toolkit.set_up("--venv-dir", str(tmp_path / "photos" / "cat.jpg"))
    assert result.returncode == 1
    assert "is a file" in result.stderr


def test_missing_ensurepip_names_the_remedy(tmp_path: Path) -> None:
    toolkit = Toolkit(tmp_path / "setup")
    debian = tmp_path / "debian"  # its venv module without the package python3-venv
    debian.mkdir()
    (debian / "venv.py").write_text("import sys\nprint('ensurepip is not available')\nsys.exit(1)\n")
    toolkit.env["PYTHONPATH"] = str(debian)
    result = toolkit.set_up()
    assert result.returncode == 1
    assert "ensurepip is not available" in result.stderr
    assert f"sudo apt install python3.{sys.version_info.minor}-venv" in result.stderr


def test_demo_shows_each_command_and_reports(ready: Toolkit) -> None:
    for stage in setup_etl9g.DEMO_STAGES:
        ready.write(stage.split()[0], "import sys; print('ran', sys.argv)\n")
    ready.write("evaluate_model.py", EVALUATE)
    result = ready.set_up("--demo")
    assert result.returncode == 0, result.stderr
    for stage in setup_etl9g.DEMO_STAGES:
        assert f"> python {stage}\n" in result.stdout
    report = result.stdout.partition("demo finished in")[2]
    assert "71.2% of characters by writers never seen" in report
    assert "synthetic sample" in report
    assert "predictions.png" in report
    assert "0.00 MB" in report
    assert report.rstrip().endswith("python preflight_check.py --etl-dir ETL9G")


EVALUATE = """
import json, pathlib
folder = pathlib.Path("demo/evaluation")
folder.mkdir(parents=True, exist_ok=True)
(folder / "evaluation.json").write_text(json.dumps({"top1": 0.712}))
(folder / "predictions.png").write_bytes(b"image")
"""


def test_failing_stage_stops_the_demo(ready: Toolkit) -> None:
    for stage in setup_etl9g.DEMO_STAGES:
        ready.write(stage.split()[0], "")
    ready.write("train_etl9g_model.py", "import sys; sys.exit(7)\n")
    result = ready.set_up("--demo")
    assert result.returncode == 7
    assert "stage 5 of 9 failed with exit status 7" in result.stderr
    assert "train_etl9g_model.py --data-dir" in result.stderr
    assert "convert_to_onnx.py" not in result.stdout


@pytest.mark.parametrize("stage", setup_etl9g.DEMO_STAGES, ids=lambda stage: stage.split()[0])
def test_demo_uses_known_options(stage: str) -> None:
    check_command(stage.split())


def test_stamp_says_what_was_installed(ready: Toolkit) -> None:
    stamp = json.loads(ready.stamp.read_text(encoding="utf-8"))
    assert set(stamp) == {"python", "device", "files"}
    assert {"requirements.txt", "requirements-base.txt", "requirements-train.txt", "constraints.txt"} <= set(
        stamp["files"]
    )
