"""Measures the clients in examples/ and the page's engines, beside Python's engines in the same run.

Reads:  a trained network; examples/rust, which cargo builds; web/
Writes: two tables: an image's time in programs, and the page's engines in Chromium
Run:    python benchmarks/bench_clients.py --rounds 5

Needs cargo, Chromium and requirements-dev.txt. One thread everywhere; files and engines take turns, so that a machine
that slows down slows all of them: compare ratios.
"""

from common import ROOT, TRAINED_PATH
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
import gzip
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from playwright.sync_api import Browser

from kanjinet.classes import CHARACTERS
from kanjinet.contract import NORMALIZE
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import PRETRAINED_PATH
from kanjinet.export.onnx_export import add_metadata, export_network
from kanjinet.export.sample_inputs import load_sample_inputs
from kanjinet.export.spec import SPECS, pooling_of_backend
from kanjinet.export.verification import load_onnxruntime, load_tract
from kanjinet.model import change_pooling
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.web.bundle import assemble_page
from kanjinet.web.tract import CARGO_REMEDY, TRACT_NAME, build_tract, find_cargo
from tests.browser import CHROMIUM_REMEDY, find_chromium, open_browser, write_with_jitter
from tests.page_server import serve_page

CRATE = ROOT / "examples" / "rust"
RUNS = ("tract 1", "tract any", "ort any", "ort-as-is any")
ENGINE_FILES = {
    "onnxruntime": ("onnxruntime.js", "ort-wasm-simd-threaded.wasm", "onnxruntime_worker.js"),
    "tract": (TRACT_NAME, "tract.js", "tract_worker.js"),
}
READ_ALL = """async ([engine, model, drawings]) => {
  const [{ load }, { preprocess }, { rasterize }] = await Promise.all(
    ["reader", "preprocess", "rasterize"].map((name) => import(`/${name}.js`)));
  const start = performance.now();
  const reader = await load({ model, mapping: "/mapping.json", engine });
  const loadMs = performance.now() - start;
  const times = [], preparing = [];
  for (const strokes of drawings) times.push((await reader.read(strokes)).elapsedMs);
  for (const strokes of drawings) {
    const start = performance.now();
    preprocess(rasterize(strokes), reader.mapping.model_info.image_size);
    preparing.push(performance.now() - start);
  }
  reader.close();
  return [loadMs, times, preparing];
}"""
Images = npt.NDArray[np.float32]
Times = dict[tuple[str, str], list[float]]


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/bench_clients.py --rounds 1 --images 32")
    parser.add_argument("--rounds", type=positive_int, default=5, help="turns of each file in each engine")
    parser.add_argument("--images", type=positive_int, default=128, help="read in each turn, at most 512")
    parser.add_argument("--quick-build", action="store_true", help="programs as for tests, with few optimizations")
    return parser.parse_args()


def write_files(folder: Path) -> list[Path]:
    """Writes the trained network for each backend, and the pretrained model in 8 bits."""
    trained = load_trained_network(TRAINED_PATH)
    paths = []
    for backend in SPECS:
        pooling = pooling_of_backend(trained.config.pooling_type, backend)
        model = export_network(change_pooling(trained.model, pooling), backend).model
        add_metadata(model, trained.to_metadata())
        paths.append(folder / f"{backend}.onnx")
        onnx.save(model, paths[-1])
    paths.append(folder / "int8.onnx")
    paths[-1].write_bytes(PRETRAINED_PATH.read_bytes())
    return paths


def build_compare(profile: str) -> Path:
    """Builds the program that runs files in tract and ort."""
    cargo = find_cargo()
    if cargo is None:
        raise KanjinetError("cargo: not found", CARGO_REMEDY)
    command = [cargo, "build", "--locked", "--profile", profile, "--all-features", "--example", "compare"]
    subprocess.run(command, cwd=CRATE, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or CRATE / "target")
    return target / ("debug" if profile == "dev" else profile) / "examples" / "compare"


def measure_programs(program: Path, folder: Path, paths: list[Path], images: Images, rounds: int) -> Times:
    """Measures the median time of an image, ms, by file and engine."""
    np.rint(images * 255).astype(np.uint8).tofile(folder / "images.bin")
    lines = [f"{path.name} {run}" for path in paths for run in RUNS]
    (folder / "runs.txt").write_text("\n".join(lines), encoding="utf-8")
    engines: dict[tuple[str, str], Callable[[Images], object]] = {}
    for path in paths:
        content = path.read_bytes()
        engines[path.name, "Python tract 1"] = load_tract(content, images[:1]).run
        engines[path.name, "onnxruntime 1"] = load_onnxruntime(content, threads=1).run
    times: Times = defaultdict(list)
    for _ in range(rounds):
        output = subprocess.run([program, folder], stdout=subprocess.PIPE, check=True).stdout
        for report in map(json.loads, output.splitlines()):
            times[report["file"], f"{report['engine']} {report['batch']}"].append(report.get("ms", float("nan")))
        for key, run in engines.items():
            times[key].append(statistics.median([measure(run, image[None]) for image in images]))
    return times


def measure(run: Callable[[Images], object], image: Images) -> float:
    start = time.perf_counter()
    run(image)
    return (time.perf_counter() - start) * 1000


def print_programs(times: Times) -> None:
    columns = (*RUNS, "Python tract 1", "onnxruntime 1")
    print(f"{'ms an image':16}" + "".join(f"{column:>17}" for column in columns))
    for file in dict.fromkeys(name for name, _ in times):
        medians = [statistics.median(times[file, column]) for column in columns]
        shown = ["-" if math.isnan(median) else f"{median:.2f}" for median in medians]  # strict refuses other batches
        print(f"{file:16}" + "".join(f"{text:>17}" for text in shown))


def measure_page(browser: Browser, files: dict[str, bytes], rounds: int, count: int) -> None:
    """Prints what each engine loads, and its times in a browser that has nothing yet."""
    rng = np.random.default_rng(1)
    characters = rng.choice(list(CHARACTERS), count, replace=False)
    drawings = [[stroke.ravel().tolist() for stroke in write_with_jitter(each, rng)] for each in characters]
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    with serve_page(files) as port:
        for _ in range(rounds):
            for model in ("float32.bin", "model.bin"):
                for engine in ENGINE_FILES:
                    context = browser.new_context()
                    page = context.new_page()
                    page.goto(f"http://127.0.0.1:{port}/icon.svg")
                    found[engine, model].append(page.evaluate(READ_ALL, [engine, f"/{model}", drawings]))
                    context.close()
    print(f"{'page':14}{'model':12}{'program':>12}{'gzipped':>12}{'ready':>10}{'strokes':>12}{'network':>12}")
    for (engine, model), results in found.items():
        contents = [files[name] for name in ENGINE_FILES[engine]]
        sizes = [sum(map(len, contents)), sum(len(gzip.compress(content)) for content in contents)]
        ready = statistics.median(load_ms for load_ms, _, _ in results)
        medians = [[statistics.median(times), statistics.median(preparing)] for _, times, preparing in results]
        image_ms, preparing_ms = map(statistics.median, zip(*medians, strict=True))
        shown = "".join(f"{size / 1e6:9.1f} MB" for size in sizes)
        print(
            f"{engine:14}{'int8' if model == 'model.bin' else 'float32':12}{shown}{ready:7.0f} ms"
            f"{image_ms:9.1f} ms{image_ms - preparing_ms:9.1f} ms"
        )


def main() -> None:
    args = parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise KanjinetError(CHROMIUM_REMEDY)
    program = build_compare("dev" if args.quick_build else "release")
    images = load_sample_inputs(Path("no dataset"), 64, NORMALIZE).inputs[: args.images]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_files(folder)
        print_programs(measure_programs(program, folder, paths, images, args.rounds))
        files = assemble_page(ROOT / "web", PRETRAINED_PATH)
        files |= {TRACT_NAME: build_tract(ROOT / "web").read_bytes(), "float32.bin": paths[0].read_bytes()}
    with open_browser(chromium) as browser:
        measure_page(browser, files, args.rounds, args.images)


if __name__ == "__main__":
    run_script(main)
