"""Bundles the page: the files of web/site and web/reader, an engine, and a model with its mapping."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from kanjinet.classes import CharacterSet
from kanjinet.contract import NORMALIZE
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import load_recognizer
from kanjinet.storage.files import read_json, sha256_of_file
from kanjinet.storage.locks import lock_folder
from kanjinet.web.commands import run_command
from kanjinet.web.tract import TRACT_NAME, build_tract, find_tract

ENGINES = ("onnxruntime", "tract")
PAGE_SUFFIXES = (".html", ".css", ".js", ".json", ".svg")  # type declarations stay where they are
RUNTIME = "node_modules/onnxruntime-web/dist"
# What the page calls them: some web servers do not know .mjs and .onnx, and send them as another type or not at all.
_PROGRAM = "ort-wasm-simd-threaded.wasm"  # by this name bundlers find it, too
RUNTIME_FILES = {"onnxruntime.js": "ort.wasm.bundle.min.mjs", _PROGRAM: _PROGRAM}
ENGINE_NAME, RUNTIME_WORKER = "engine.js", "onnxruntime_worker.js"
SERVICE_WORKER_NAME, LIST_NAME = "service_worker.js", "files.json"
MODELS_NAME = "models.json"  # lists the models and their files
NODE_REMEDY = "install Node.js 18 or later, which brings npm (https://nodejs.org), and run the same command again"


def assemble_page(web_dir: Path, *model_paths: Path, engine: str = "onnxruntime") -> dict[str, bytes]:
    """Returns every file of the page by name, with ONNX files and the mappings beside them.

    Runs npm or cargo where the engine's program is not there yet. A page with onnxruntime-web also gets tract where
    that is there, for browsers in which onnxruntime-web does not start. Of several models, of a character set each, the
    page uses the first until another one is chosen in it.

    Raises:
        KanjinetError: the page cannot use the model, or npm or cargo is missing or failed.
    """
    models = list(map(read_model, model_paths))
    paths = [*(web_dir / "site").iterdir(), *(web_dir / "reader").glob("*.js")]
    files = {path.name: path.read_bytes() for path in sorted(paths) if path.suffix in PAGE_SUFFIXES}
    if engine == "tract":
        del files[RUNTIME_WORKER]
        files[ENGINE_NAME] = b'export const ENGINE = "tract";\n'
        files[TRACT_NAME] = build_tract(web_dir).read_bytes()
    else:
        install_packages(web_dir)
        files |= {name: (web_dir / RUNTIME / original).read_bytes() for name, original in RUNTIME_FILES.items()}
    files |= name_models(models)
    fallback = find_tract(web_dir) if engine != "tract" else None
    unlisted = {TRACT_NAME: fallback.read_bytes()} if fallback else {}  # only browsers that need it are to load it
    files[LIST_NAME] = list_files(files, *unlisted.values())
    return files | unlisted


class PageModel(NamedTuple):
    """Holds a model's file, its mapping's, and its character set."""

    model: bytes
    mapping: bytes
    character_set: CharacterSet


def name_models(models: list[PageModel]) -> dict[str, bytes]:
    """Returns the files of the models by name, and the list of them: model.bin and mapping.json are the first's."""
    files: dict[str, bytes] = {}
    listed = []
    for number, (model, mapping, character_set) in enumerate(models):
        names = {"model": f"model{number or ''}.bin", "mapping": f"mapping{number or ''}.json"}
        files |= {names["model"]: model, names["mapping"]: mapping}
        listed.append({"name": character_set.name, "characters": character_set.num_classes, **names})
    return files | {MODELS_NAME: json.dumps(listed, indent=2).encode() + b"\n"}


def read_model(model_path: Path) -> PageModel:
    """Reads and checks a model and its mapping.

    Raises:
        KanjinetError: no ONNX file, a damaged one, or a mapping that is missing or another model's.
    """
    if model_path.suffix.lower() != ".onnx":
        raise KanjinetError(f"{model_path}: the page reads .onnx files", "write one with convert_to_onnx.py")
    recognizer = load_recognizer(model_path)
    if recognizer.card.preprocessing != NORMALIZE:
        raise KanjinetError(
            f"{model_path}: needs images of preprocessing {recognizer.card.preprocessing}, the page makes {NORMALIZE}",
            "prepare the dataset with --preprocess normalize and train again",
        )
    mapping_path = model_path.with_name(f"{model_path.stem}_mapping.json")
    remedy = "convert_to_onnx.py writes it beside the model"
    mapping = read_json(mapping_path, remedy)
    try:
        expected = mapping["model_info"]["model_sha256"]
    except (KeyError, TypeError) as error:
        raise KanjinetError(f"{mapping_path}: not the mapping of a model ({error!r})", remedy) from error
    if expected != sha256_of_file(model_path):
        raise KanjinetError(f"{mapping_path}: belongs to another model than {model_path.name}", remedy)
    return PageModel(model_path.read_bytes(), mapping_path.read_bytes(), recognizer.character_set)


def install_packages(web_dir: Path) -> None:
    """Has npm install what package-lock.json names, unless it is installed.

    Raises:
        KanjinetError: npm is missing, or failed.
    """
    if are_packages_installed(web_dir):
        return
    if (npm := find_npm()) is None:
        raise KanjinetError(f"npm: not found, and {web_dir / RUNTIME} needs it", NODE_REMEDY)
    with lock_folder(web_dir, "serve_web.py"):
        status, reason = run_command([npm, "ci", "--no-audit", "--no-fund"], web_dir)
    if status != 0 or not are_packages_installed(web_dir):
        raise KanjinetError(
            f"npm ci in {web_dir}: failed with exit status {status} ({reason})",
            "check the network and npm's registry, and run the same command again",
        )


def find_npm() -> str | None:
    """Returns the path of npm, if this machine has it."""
    return shutil.which("npm")


def are_packages_installed(web_dir: Path) -> bool:
    """Returns whether everything that package-lock.json names is installed."""
    installed = web_dir / "node_modules" / ".package-lock.json"  # npm writes it last
    if not installed.is_file():
        return False
    remedy = f"remove {web_dir / 'node_modules'} and run serve_web.py again"
    expected = _list_versions(read_json(web_dir / "package-lock.json", "it is part of this toolkit"))
    return _list_versions(read_json(installed, remedy)) == expected


def _list_versions(lock: dict[str, Any]) -> dict[str, str]:
    return {name: package["version"] for name, package in lock["packages"].items() if name}


def list_files(files: dict[str, bytes], *unlisted: bytes) -> bytes:
    """Returns what the service worker is to keep: each file's checksum, and a name for these and the unlisted files."""
    small_first = sorted(files, key=lambda name: len(files[name]))  # so that a difference is found early
    checksums = {name: hashlib.sha256(files[name]).hexdigest() for name in small_first if name != SERVICE_WORKER_NAME}
    of_all = [*checksums.values(), *(hashlib.sha256(content).hexdigest() for content in unlisted)]
    version = hashlib.sha256(json.dumps(of_all).encode()).hexdigest()
    return json.dumps({"version": version, "files": checksums}, indent=2).encode() + b"\n"
