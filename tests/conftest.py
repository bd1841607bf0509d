"""What several test files share: one small run of the first stages, through the real scripts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jsonschema
import pytest

from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import list_pretrained
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.web.bundle import NODE_REMEDY, are_packages_installed, assemble_page, find_npm
from kanjinet.web.tract import CARGO_REMEDY, TRACT_NAME, build_tract, find_cargo

ROOT = Path(__file__).resolve().parent.parent
WINDOWS_MANNERS = ROOT / "tests" / "system" / "windows_site"  # its sitecustomize refuses to rename files that are open
keep_freed_memory()
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run in several processes: pyproject.toml


# What makes a test slow: it trains, runs the stages, starts a browser or makes an environment.
SLOW_FIXTURES = {"benchmarks", "browser", "cargo", "etl_dir", "page_files", "ready", "wheel", "workplace", "workshop"}
SLOW_MODULES = {
    "test_benchmarks",
    "test_documented_commands",
    "test_export_benchmarks",
    "test_initialization",
    "test_make_sample",
    "test_onnx_export",
    "test_readers",
    "test_service",
}


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of those modules, and those that take one of those fixtures, as slow."""
    for item in items:
        module = Path(item.path).stem
        if module in SLOW_MODULES or SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    """Put back PyTorch's number of threads: with another one, the same training ends with other weights."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def require(is_there: object, remedy: str) -> None:
    """Skip the test where the machine lacks something; in CI, fail."""
    if not is_there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(remedy)


def read_schema(name: str) -> jsonschema.Draft202012Validator:
    """One of the schemas of what the stages write, ready to validate."""
    schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def run_script(command: Sequence[str | Path], cwd: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `X.py --option ...` of the toolkit in a folder; with `check`, a failure shows what it printed."""
    script, *options = [str(word) for word in command]
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(WINDOWS_MANNERS)},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert not check or result.returncode == 0, f"{' '.join(command[:1])}:\n{result.stdout}\n{result.stderr}"
    return result


def run_on_full_disk(command: Sequence[str | Path], limit_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run a script of the toolkit where no file can grow beyond a limit; POSIX only."""
    script, *options = [str(word) for word in command]
    limit = "import resource, signal, sys, runpy; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes})); sys.argv = sys.argv[1:]; "
    limit += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", limit, str(ROOT / script), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ETL9G/ (three sample data sets), dataset/ and a network trained for one short epoch."""
    folder = tmp_path_factory.mktemp("work place 場")
    run_script(["make_sample_etl9g.py", "--sets", "3"], folder)
    run_script(["prepare_etl9g_dataset.py"], folder)
    run_script(["train_etl9g_model.py", "--epochs", "1", "--sample-limit", "600"], folder)
    return folder


@pytest.fixture(scope="session")
def page_files() -> dict[str, bytes]:
    """The files of the page with the pretrained models; npm installs what the page needs."""
    web_dir = ROOT / "web"
    require(are_packages_installed(web_dir) or find_npm(), NODE_REMEDY)
    files = assemble_page(web_dir, *list_pretrained())
    files.pop(TRACT_NAME, None)  # as on a machine without cargo
    return files


@pytest.fixture(scope="session")
def cargo() -> str:
    """The path of cargo; what needs it is skipped without it, in CI too."""
    path = find_cargo()
    if path is None:
        pytest.skip(f"cargo is missing: {CARGO_REMEDY}")
    return path


@pytest.fixture(scope="session")
def tract_wasm(cargo: str) -> bytes:
    """The program that runs the network in tract, in a browser."""
    try:
        return build_tract(ROOT / "web").read_bytes()
    except KanjinetError as error:  # as without rustup's target
        require(False, str(error))
        raise
