import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kanjinet.system import packages, preflight
from kanjinet.system.machine import Gpu
from kanjinet.system.packages import ImportResult, Requirement, try_imports
from kanjinet.system.preflight import Check, check_data, check_disk, check_gpu, check_packages
from preflight_check import choose_marks
from tests.documented_commands import ROOT

TORCH = ImportResult("2.14.1", None, {"gpu_build": "CUDA 13.0", "gpu_device": "NVIDIA H200"})
CPU_TORCH = ImportResult("2.14.1", None, {"gpu_build": None, "gpu_device": None, "has_mps": False})


def describe_torch(build: str, device: str | None) -> ImportResult:
    return ImportResult("2.14.1", None, {"gpu_build": build, "gpu_device": device, "has_mps": False})


GPU = Gpu("NVIDIA H200", "580.65.06", 143771, 9.0)


def write_set(path: Path, jis_codes: list[int], mark: bytes = b"") -> None:
    """An ETL9G file of one data set, blank cells, written with struct alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for index, code in enumerate(jis_codes):
            header = (index // 152 + 1, code, b"A.TSUGU ", index + 1, 0, 0, 0, 0, 0, 0, 8212, 8310, index % 16, 0)
            file.write(struct.pack(">2H8sI4B4H2B34s8128s7x", *header, mark, bytes(8128)))


def list_jis_codes() -> list[int]:
    """The 3,036 codes, from the codec alone."""
    small = set("ぁぃぅぇぉっゃゅょゎゐゑ")
    rows = [range(0x2421, 0x2474), *(range(row << 8 | 0x21, row << 8 | 0x7F) for row in range(0x30, 0x4F))]
    codes = [code for row in [*rows, range(0x4F21, 0x4F54)] for code in row]
    kept = [code for code in codes if bytes([code >> 8 | 0x80, code & 0xFF | 0x80]).decode("euc_jp") not in small]
    assert len(kept) == 3036
    return kept


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good file of one data set, marked as synthetic."""
    folder = tmp_path_factory.mktemp("data") / "ETL9G"
    write_set(folder / "ETL9G_01", list_jis_codes())
    (folder / "ETL9INFO").write_text("SYNTHETIC SAMPLE FROM KANJIVG\n")
    return folder


def run_preflight(*options: str, python: str = sys.executable, **env: str) -> "subprocess.CompletedProcess[bytes]":
    command = [python, str(ROOT / "preflight_check.py"), *options]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, timeout=300)


def find(checks: list[Check], name: str) -> Check:
    [check] = [check for check in checks if check.name == name]
    return check


# The data


def test_good_sample(sample: Path) -> None:
    checks, records = check_data(sample)
    assert records == 3036
    assert {check.status for check in checks} == {"ok", "warning"}
    assert find(checks, "ETL9G files").value == "1 of 50: 3,036 records, 0.02 GB"
    assert "synthetic" in find(checks, "origin").value


def test_unmarked_file_counts_as_real(tmp_path: Path) -> None:
    write_set(tmp_path / "ETL9G_50", list_jis_codes())
    assert "synthetic sample, not" not in find(check_data(tmp_path)[0], "origin").value
    write_set(tmp_path / "ETL9G_50", list_jis_codes(), mark=b"SYNTHETIC SAMPLE FROM KANJIVG")
    assert "synthetic sample, not" in find(check_data(tmp_path)[0], "origin").value


def test_missing_and_empty_folder(tmp_path: Path) -> None:
    for folder, problem in ((tmp_path / "absent", "no such folder"), (tmp_path, "no ETL9G files in it")):
        checks, records = check_data(folder)
        assert records == 0
        assert find(checks, "ETL9G files").status == "failed"
        assert problem in find(checks, "ETL9G files").value
        assert "make_sample_etl9g.py" in find(checks, "ETL9G files").remedy


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty file"),
        (bytes(8199 * 2 + 17), "17 bytes over"),
        (bytes(8199 * 3035), "no whole number of data sets"),
        (bytes(8199 * 3036), "JIS code 0000"),
    ],
)
def test_damaged_file(tmp_path: Path, content: bytes, problem: str) -> None:
    write_set(tmp_path / "ETL9G_01", list_jis_codes())
    (tmp_path / "ETL9G_02").write_bytes(content)
    checks, records = check_data(tmp_path)
    assert records == 3036
    assert find(checks, "ETL9G files").status == "failed"
    assert "1 damaged" in find(checks, "ETL9G files").value
    assert find(checks, "ETL9G_02").status == "failed"
    assert problem in find(checks, "ETL9G_02").value
    assert find(checks, "ETL9G_02").remedy


def test_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = preflight.shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    assert check_disk(607_200).status == "failed"
    assert "2.7 GB are needed" in check_disk(607_200).remedy
    assert check_disk(3036).status == "ok"


# The GPU


@pytest.mark.parametrize(
    ("gpu", "torch", "status", "text"),
    [
        (GPU, TORCH, "ok", "NVIDIA H200, 140 GiB, driver 580.65.06, CUDA 13.0"),
        (None, CPU_TORCH, "warning", "no NVIDIA GPU"),
        (None, TORCH, "ok", "nvidia-smi does not answer"),
        (GPU, ImportResult(None, "not installed", {}), "warning", "PyTorch cannot be imported"),
        (GPU, CPU_TORCH, "warning", "a CPU build"),
        (GPU, describe_torch("CUDA 13.0", None), "warning", "PyTorch's CUDA 13.0 cannot use it"),
        (None, describe_torch("ROCm 7.1", "AMD Radeon RX 7900"), "ok", "AMD Radeon RX 7900, ROCm 7.1"),
        (None, describe_torch("ROCm 7.1", None), "warning", "no AMD GPU that PyTorch's ROCm 7.1 can use"),
        (None, ImportResult("2.14.1", None, {"has_mps": True}), "ok", "Apple's GPU"),
    ],
)
def test_gpu(gpu: Gpu | None, torch: ImportResult, status: str, text: str) -> None:
    check = check_gpu(gpu, torch)
    assert check.status == status
    assert text in check.value


# The packages


def test_imports_survive_broken_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "greeting": "print('welcome')\n__version__ = '1.5'",
        "broken": "raise OSError('libfirst.so: cannot open\\nsecond line')",
        "crashing": "import os; os.abort()",
        "outdated": "import broken_dependency_that_is_absent",
        "hanging": "import time; time.sleep(60)",
    }
    for name, code in modules.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(packages, "_IMPORT_TIMEOUT_S", 5)
    names = ["greeting", "broken", "crashing", "outdated", "absent-package", "hanging", "numpy"]
    results = try_imports([Requirement(name) for name in names], ROOT)
    assert results["greeting"] == ImportResult("1.5", None, {})
    assert results["broken"].error == "OSError: libfirst.so: cannot open"
    assert "ended Python with status" in (results["crashing"].error or "")
    assert "broken_dependency_that_is_absent" in (results["outdated"].error or "")
    assert results["absent-package"].error == "not installed"
    assert "did not end within" in (results["hanging"].error or "")
    assert results["numpy"].error is None


def test_onnxruntime_tells_whether_it_offers_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("onnxruntime>=1.20\n")
    for providers, build in (("'CUDAExecutionProvider'", "onnxruntime-gpu, with CUDA"), ("", "without CUDA")):
        code = f"__version__ = '1.31.1'\ndef get_available_providers(): return [{providers}]\n"
        (tmp_path / "onnxruntime.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        results = try_imports([Requirement("onnxruntime")], ROOT)
        [check] = check_packages(results, tmp_path)
        assert check.status == "ok"
        assert check.value.endswith(f" ({build})")


@pytest.mark.parametrize(("hip", "cuda", "build"), [("7.1", None, "ROCm 7.1"), (None, "13.0", "CUDA 13.0")])
def test_pytorch_tells_its_gpu_by_name(
    hip: str | None, cuda: str | None, build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(f"""
from types import SimpleNamespace as Space
version = Space(cuda={cuda!r}, hip={hip!r})
cuda = Space(is_available=lambda: True, get_device_name=lambda number: "a GPU")
backends = Space(mps=Space(is_available=lambda: False))
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = try_imports([Requirement("torch")], ROOT)["torch"]
    assert result.details == {"gpu_build": build, "gpu_device": "a GPU", "has_mps": False}
    check = check_gpu(None, result)
    assert (check.name, check.status) == (build.split()[0], "ok")
    assert check.value.startswith(f"a GPU, {build}")


def test_preflight_and_setup_import_the_standard_library_alone() -> None:
    """Before anything is installed: a finder that refuses every other module is the first to be asked."""
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | {"kanjinet", "setup_etl9g", "preflight_check"}:
            raise ImportError("not of the standard library: " + name)

sys.path.insert(0, ".")
sys.meta_path.insert(0, Refuse())
import preflight_check, setup_etl9g
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The script


@pytest.mark.slow
def test_ready_machine_as_json_and_as_table(sample: Path) -> None:
    result = run_preflight("--etl-dir", str(sample), "--json")
    report = json.loads(result.stdout)
    assert [check for check in report["checks"] if check["status"] == "failed"] == []
    assert report["ready"] is True
    assert result.returncode == 0
    assert {check["group"] for check in report["checks"]} == {"system", "packages", "GPU", "data", "scripts"}
    assert all(set(check) == {"group", "name", "status", "value", "remedy"} for check in report["checks"])

    result = run_preflight("--etl-dir", str(sample), PYTHONIOENCODING="cp932")
    table = result.stdout.decode("cp932")
    assert result.returncode == 0, result.stderr
    assert "[ok] torch" in table
    assert "training can start; next: python prepare_etl9g_dataset.py --etl-dir" in table


def test_marks_follow_the_encoding() -> None:
    assert choose_marks("utf-8")["ok"] == "✓"
    for encoding in ("cp932", "cp1252", "ascii", "no-such-encoding", None):
        "".join(choose_marks(encoding).values()).encode("ascii")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_nothing_installed(tmp_path: Path, encoding: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = str(tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    (tmp_path / "日本" / "ETL9G").mkdir(parents=True)
    env = {"PYTHONIOENCODING": encoding, "PYTHONPATH": ""}
    result = run_preflight("--etl-dir", str(tmp_path / "日本" / "ETL9G"), python=python, **env)
    assert result.stderr == b""
    assert result.returncode == 1
    lines = [line.split() for line in result.stdout.decode(encoding).splitlines()]
    bad, good = ("✗", "✓") if encoding == "utf-8" else ("[!!]", "[ok]")
    for name in ("torch", "numpy", "kanjivg", "safetensors"):
        assert [bad, name, "not", "installed"] in lines
    assert any(line[:2] == [good, "Python"] for line in lines)
    assert any(line[:3] == [bad, "ETL9G", "files"] for line in lines)


def test_training_cannot_start_without_torch(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch_cuda.so: no such file')")
    result = run_preflight("--etl-dir", str(sample), "--json", PYTHONPATH=str(tmp_path))
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert report["ready"] is False
    status = {check["name"]: (check["status"], check["value"]) for check in report["checks"]}
    assert status["torch"] == ("failed", "ImportError: libtorch_cuda.so: no such file")
    assert status["numpy"][0] == "ok"
