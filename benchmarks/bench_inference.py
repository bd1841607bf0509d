"""How fast, how large and how quick to load each exported file is, in each engine.

Reads:  a trained 3.0; a dataset for int8's ranges, where there is one. 2.1 has random weights: its speed is the same
Writes: a table, with ratios to 2.1 in float32 in onnxruntime
Run:    python benchmarks/bench_inference.py --data-dir dataset

One thread everywhere. Files and engines take turns, so that a machine that slows down slows all of them: compare
ratios, and latencies by their medians.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from browser_engine import DEFAULT_CHROMIUM, BrowserEngine, open_browser_engine

from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.contract import NORMALIZE
from kanjinet.data.dataset import METADATA_NAME
from kanjinet.export.onnx_export import export_network
from kanjinet.export.onnx_graph import read_attributes, read_tensors
from kanjinet.export.quantization import quantize_int8
from kanjinet.export.sample_inputs import load_calibration_inputs, load_sample_inputs, make_random_inputs
from kanjinet.export.verification import load_onnxruntime, load_tract
from kanjinet.export.weight_compression import store_fp16, store_int8_weights
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.safetensors_file import load_trained_network

DEFAULT_MODEL = ROOT / "pretrained" / "kanji_model_etl9g_64x64_3036classes.safetensors"
BATCH = 64
BACKEND = "tract"
REFERENCE = ("2.1", "float32", "onnxruntime")
WARM_UP = 3


@dataclass
class Measurement:
    """One file in one engine.

    Attributes:
        key: version, number format and engine.
        size_bytes: of the file.
        load_ms: to read and optimize it.
        run: on one batch, in ms.
        single_ms: of each run with batch 1.
        batch_ms: of each run with batch 64.
    """

    key: tuple[str, str, str]
    size_bytes: int
    load_ms: float
    run: Callable[[np.ndarray], float]
    single_ms: list[float] = field(default_factory=list)
    batch_ms: list[float] = field(default_factory=list)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/bench_inference.py --runtime-dist onnxruntime-web/dist")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="a trained network, .pth or .safetensors")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("dataset"), help="for the ranges of int8, where it exists"
    )
    parser.add_argument("--rounds", type=positive_int, default=40, help="turns of each file in each engine")
    parser.add_argument("--runtime-dist", type=Path, help="folder dist/ of the npm package onnxruntime-web")
    parser.add_argument("--chromium", type=Path, default=DEFAULT_CHROMIUM, help="the browser's program")
    return parser.parse_args()


def main() -> None:
    """Export, measure by turns, print."""
    args = parse_args()
    trained = load_trained_network(args.model)
    size = trained.config.image_size
    older = LightweightKanjiNet(ModelConfig.preset("2.1", size, trained.config.pooling_type)).eval()
    images = np.concatenate(
        [load_sample_inputs(args.data_dir, size, NORMALIZE).inputs, make_random_inputs(BATCH, size)]
    )
    files = {("2.1", "float32"): export_network(older, BACKEND).model}
    version = trained.config.version
    files |= {(version, name): model for name, model in export_formats(trained, args.data_dir)}
    files[("2.1", "int8")] = quantize_int8(files[("2.1", "float32")], images)
    print(f"{BATCH} images of {size} x {size} and single ones, one thread, {args.rounds} rounds, {BACKEND} files")
    with open_browser_engine(args.runtime_dist, args.chromium) if args.runtime_dist else nullcontext() as browser:
        measurements = []
        for (version, name), model in sorted(files.items()):
            content = model.SerializeToString()
            measurements += list(load_engines((version, name), content, images))
            if browser:
                measurements.append(measure_in_browser((version, name), content, images, browser, args.rounds))
        take_turns([each for each in measurements if not each.single_ms], images, args.rounds)
    adds = {key: count_multiply_adds(model, size) for key, model in files.items() if key[1] == "float32"}
    print_table(measurements, {version: count for (version, _), count in adds.items()})


def export_formats(trained: Checkpoint, data_dir: Path) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The network in each number format."""
    model = export_network(trained.model, BACKEND).model
    yield "float32", model
    yield "fp16", store_fp16(model)
    yield "int8-weights", store_int8_weights(model)
    if (data_dir / METADATA_NAME).is_file():
        yield "int8", quantize_int8(model, load_calibration_inputs(data_dir, trained))


def load_engines(key: tuple[str, str], content: bytes, images: np.ndarray) -> Iterator[Measurement]:
    """A file in onnxruntime, and in tract pinned to the batch at hand."""
    start = time.perf_counter()
    onnxruntime = load_onnxruntime(content, threads=1)
    elapsed_ms = (time.perf_counter() - start) * 1e3
    yield Measurement((*key, "onnxruntime"), len(content), elapsed_ms, lambda batch: measure(onnxruntime.run, batch))
    start = time.perf_counter()
    single = load_tract(content, images[:1])
    elapsed_ms = (time.perf_counter() - start) * 1e3
    many = load_tract(content, images[:BATCH])
    yield Measurement(
        (*key, "tract"),
        len(content),
        elapsed_ms,
        lambda batch: measure(single.run if len(batch) == 1 else many.run, batch),
    )


def measure(run: Callable[[np.ndarray], object], batch: np.ndarray) -> float:
    """How long one call takes, ms."""
    start = time.perf_counter()
    run(batch)
    return (time.perf_counter() - start) * 1e3


def measure_in_browser(
    key: tuple[str, str], content: bytes, images: np.ndarray, browser: BrowserEngine, rounds: int
) -> Measurement:
    """A file in the browser, which holds one at a time and so takes no turns."""
    load_ms = browser.load(content)
    measurement = Measurement((*key, "onnxruntime-web"), len(content), load_ms, lambda _batch: 0.0)
    browser.time(images[:1], WARM_UP)
    measurement.single_ms = browser.time(images[:1], rounds)
    measurement.batch_ms = browser.time(images[:BATCH], max(1, rounds // 10))
    return measurement


def take_turns(measurements: list[Measurement], images: np.ndarray, rounds: int) -> None:
    """Run each file in each engine once a round, batches of 64 in every fourth; each comes first to its own caches."""
    for turn in range(rounds):
        for each in measurements:
            for _ in range(WARM_UP):
                each.run(images[:1])
            each.single_ms += [each.run(images[:1]) for _ in range(5)]
            if turn % 4 == 0:
                each.batch_ms.append(each.run(images[:BATCH]))


def count_multiply_adds(model: onnx.ModelProto, size: int) -> int:
    """Multiplications of weights with activations for one image, in convolutions and linear layers."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    tensors, total = read_tensors(model), 0
    for node in model.graph.node:
        if node.op_type == "Conv":  # each output pixel of each channel takes one of the weights' rows
            total += int(np.prod(shapes[node.output[0]][2:])) * tensors[node.input[1]].size
        elif node.op_type == "Gemm":
            assert read_attributes(node)["transB"]
            total += tensors[node.input[1]].size
    return total


def print_table(measurements: list[Measurement], multiply_adds: dict[str, int]) -> None:
    """One line a file and engine."""
    reference = next(each for each in measurements if each.key == REFERENCE)
    print(
        f"{'version':8}{'numbers':14}{'engine':17}{'MB':>6}{'load ms':>9}{'one: ms':>9}{'ratio':>7}"
        f"{f'{BATCH}: 1/s':>10}{'ratio':>7}"
    )
    for each in measurements:
        version, numbers, engine = each.key
        single, batch = float(np.median(each.single_ms)), float(np.median(each.batch_ms))
        print(
            f"{version:8}{numbers:14}{engine:17}{each.size_bytes / 1e6:6.2f}{each.load_ms:9.0f}{single:9.3f}"
            f"{single / float(np.median(reference.single_ms)):6.2f}x{BATCH / batch * 1e3:10,.0f}"
            f"{float(np.median(reference.batch_ms)) / batch:6.2f}x"
        )
    for version, count in multiply_adds.items():
        print(f"{version}: {count / 1e6:.2f} million multiply-adds an image")


if __name__ == "__main__":
    run_script(main)
