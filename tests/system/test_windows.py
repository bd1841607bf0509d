"""What Windows does otherwise, as far as another system can show it: consoles, line ends, names, open files, spawn."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kanjinet.data.image_files import list_labeled_images
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, load_recognizer
from kanjinet.storage.files import read_json, write_json
from kanjinet.storage.model_card import describe_environment
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.synth.sheets import Sample
from kanjinet.system.packages import read_requirements
from tests.conftest import ROOT, run_script
from tests.evaluation.test_recognize import write_image

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# Consoles


def run_in_console(command: list[str | Path], encoding: str) -> subprocess.CompletedProcess[bytes]:
    script, *options = map(str, command)
    return subprocess.run(
        [sys.executable, str(ROOT / script), *options],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["cp932:strict", "ascii:strict", "cp1252:strict"])
def test_no_console_is_too_poor_for_a_character_or_a_path(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "絵 한글 😀 ä"  # no code page has all of these
    folder.mkdir()
    write_image(folder / "田.png", "田")
    (folder / "한.png").write_bytes(b"")
    done = run_in_console(["recognize_kanji.py", folder], encoding)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"1 of 2 images could not be read" in done.stderr
    name = encoding.partition(":")[0]
    assert "田".encode(name, "backslashreplace") in done.stdout
    assert str(folder).encode(name, "backslashreplace") in done.stderr


def test_help_and_errors_reach_the_poorest_console(tmp_path: Path) -> None:
    shown = run_in_console(["evaluate_model.py", "--help"], "ascii:strict")
    assert shown.returncode == 0, shown.stderr
    assert rb"\u7530" in shown.stdout  # 田
    refused = run_in_console(["prepare_etl9g_dataset.py", "--etl-dir", tmp_path / "無い"], "ascii:strict")
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"error: ")
    assert rb"\u7121\u3044: no such folder" in refused.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_do_nothing_when_imported_and_spare_poor_consoles(name: str) -> None:
    """A process that multiprocessing spawns imports its parent's script."""
    body = ast.parse((ROOT / name).read_text(encoding="utf-8")).body
    harmless = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
    )
    docstring, *others = [each for each in body if not isinstance(each, harmless)]
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert all(isinstance(each, ast.If) for each in others)
    guard = ast.unparse(others[-1])
    assert guard.startswith("if __name__ == '__main__':")
    assert guard.endswith("run_script(main)") or "reconfigure(errors='backslashreplace')" in guard


def test_every_pool_of_processes_is_spawned() -> None:
    calls = []
    for path in [*ROOT.glob("*.py"), *ROOT.glob("kanjinet/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("ProcessPoolExecutor", "WorkerPool", ".Pool", ".Process")
            ):
                calls.append(ast.unparse(node))
    calls = [call for call in calls if not call.startswith("psutil.")]
    assert len(calls) >= 2
    for call in calls:
        assert "mp_context=context" in call or "get_context('spawn')" in call, call


# Text files


def test_carriage_returns_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"character": "田"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_json(path, "none") == {"character": "田"}
    content = (ROOT / "requirements-train.txt").read_bytes()
    (tmp_path / "unix.txt").write_bytes(content)
    (tmp_path / "windows.txt").write_bytes(content.replace(b"\n", b"\r\n"))
    assert read_requirements(tmp_path / "windows.txt") == read_requirements(tmp_path / "unix.txt")
    sample = Sample(1, 0, 0.5)
    assert sample.has_same_bytes(sample.describe().replace("\n", "\r\n"))
    assert not sample.has_same_bytes(Sample(1, 1, 0.5).describe())


def test_what_git_says_in_another_encoding_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nprintf 'fatal: \\202\\240\\377\\n' >&2\nexit 128\n", encoding="ascii")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe_environment().git_revision == "unknown"


# Names


def test_names_in_capitals_are_the_same_kinds_of_files(tmp_path: Path) -> None:
    shutil.copyfile(PRETRAINED_PATH, tmp_path / "MODEL.ONNX")
    assert load_recognizer(tmp_path / "MODEL.ONNX").image_size == 64
    weights = PRETRAINED_PATH.with_name("kanji_model_etl9g_64x64_3036classes.safetensors")
    shutil.copyfile(weights, tmp_path / "MODEL.SafeTensors")
    assert load_trained_network(tmp_path / "MODEL.SafeTensors").config.image_size == 64


def test_folders_that_differ_in_case_alone_are_both_read(tmp_path: Path) -> None:
    for name in ("U+7530/a.png", "u+7530/A.PNG", "7530/a.png", "田/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list_labeled_images(tmp_path)
    assert len(found.paths) == sum(path.is_file() for path in tmp_path.rglob("*"))  # where they are one, 3, not 4
    assert set(found.classes.tolist()) == {2080}


def test_explained_images_never_collide_and_always_have_room(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("a.png", "b.png", "CON .png", "字" * 83 + ".png"):  # 249 bytes and the ending
        write_image(folder / name, "田")
    done = run_script(["recognize_kanji.py", folder, folder / "a.png", "--explain", tmp_path / "seen"], tmp_path)
    assert done.stdout.count("田") >= 5
    names = [path.name for path in (tmp_path / "seen").iterdir()]
    assert len({name.lower() for name in names}) == 5
    assert all(name[:4].isdigit() for name in names)  # so none is a device of Windows, such as CON


def test_patterns_that_no_shell_expanded(tmp_path: Path) -> None:
    write_image(tmp_path / "田 [1].png", "田")
    for pattern in ("*.png", "**.png", "田 *"):
        assert "田 [1].png" in run_script(["recognize_kanji.py", pattern], tmp_path).stdout
    refused = run_script(["recognize_kanji.py", "***.gif"], tmp_path, check=False)
    assert refused.stderr.startswith("error: ***.gif: ")
    assert "Traceback" not in refused.stderr


def test_links_that_lead_round_in_a_circle(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "田").mkdir(parents=True)
    write_image(folder / "田" / "1.png", "田")
    (folder / "田" / "loop.png").symlink_to("loop.png")
    (folder / "田" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "7530").symlink_to("7530", target_is_directory=True)
    (folder / "田" / os.fsdecode(b"\xff.png")).write_bytes((folder / "田" / "1.png").read_bytes())  # no Unicode
    done = run_script(["recognize_kanji.py", folder / "田"], tmp_path)
    assert done.stdout.count(".png") == 2
    done = run_script(["evaluate_model.py", "--model", PRETRAINED_PATH, "--images", folder], tmp_path)
    assert "of 2 images" in done.stdout
    refused = run_script(["recognize_kanji.py", folder / "田" / "loop.png"], tmp_path, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "Traceback" not in refused.stderr


# Open files


@LINUX
def test_the_simulation_refuses_what_windows_refuses(tmp_path: Path) -> None:
    code = "import os, numpy; numpy.save('a.npy', numpy.ones(9)); open('b', 'w').close()\n"
    ways = {
        "file = open('b'); os.replace('a.npy', 'b')": False,
        "file = open('b'); os.replace('b', 'c')": False,
        "values = numpy.load('a.npy', mmap_mode='r'); os.replace('b', 'a.npy')": False,
        "values = numpy.load('a.npy'); os.replace('b', 'a.npy')": True,
    }
    for way, is_fine in ways.items():
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "system" / "windows_site")}
        done = subprocess.run([sys.executable, "-c", code + way], cwd=tmp_path, env=environment, capture_output=True)
        assert (done.returncode == 0) == is_fine, done.stderr


def test_the_stages_go_through_a_path_of_300_characters_with_spaces_and_kanji(workplace: Path, tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 300:
        folder = folder / "長い path with spaces"
    folder.mkdir(parents=True)
    shutil.copytree(workplace / "ETL9G", folder / "ETL9G")
    run_script(["prepare_etl9g_dataset.py", "--size", "32", "--workers", "2"], folder)
    run_script(["train_etl9g_model.py", "--epochs", "1", "--sample-limit", "200", "--model-version", "1.0"], folder)
    run_script(["convert_to_safetensors.py", "--verify"], folder)
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(folder / "白.png")
    for _ in range(2):  # the second one takes the first one's place
        run_script(["recognize_kanji.py", "白.png", "--model", "best_kanji_model.pth", "--output", "字.txt"], folder)
    assert "no character" in (folder / "字.txt").read_text(encoding="utf-8")
