"""How fast, how large and how quick to load each exported file is, in each engine.

Reads:  a trained 3.0; a dataset for int8's ranges, where there is one. 2.1 has random weights: its speed is the same
Writes: a table, with ratios to 2.1 in float32 in onnxruntime
Run:    python benchmarks/bench_inference.py --data-dir dataset

One thread everywhere. Files and engines take turns, so that a machine that slows down slows all of them: compare
ratios, and latencies by their medians.
"""

from common import TRAINED_PATH
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import onnx
from browser_engine import open_browser_engine

from kanjinet.contract import NORMALIZE
from kanjinet.data.dataset import METADATA_NAME
from kanjinet.export.onnx_export import export_network
from kanjinet.export.onnx_graph import read_attributes, read_tensors
from kanjinet.export.quantization import quantize, quantize_int8
from kanjinet.export.sample_inputs import load_sample_inputs, make_random_inputs
from kanjinet.export.spec import QUANTIZATIONS
from kanjinet.export.verification import load_onnxruntime, load_tract
from kanjinet.model import LightweightKanjiNet, ModelConfig
from kanjinet.storage.safetensors_file import load_trained_network

BATCH = 64
BACKEND = "tract"
REFERENCE = ("2.1", "float32", "onnxruntime")
WARM_UP = 3

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass
class Measurement:
    """Holds what was measured of one file in one engine."""

    key: tuple[str, str, str]  # version, number format and engine
    size_bytes: int
    load_ms: float
    run: Callable[[np.ndarray], object] | None = None  # None in the browser, which holds one file at a time
    single_ms: list[float] = field(default_factory=list)  # of each run with batch 1
    batch_ms: list[float] = field(default_factory=list)  # of each run with batch 64


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/bench_inference.py --runtime-dist onnxruntime-web/dist")
    parser.add_argument("--model", type=Path, default=TRAINED_PATH, help="a trained network, .pth or .safetensors")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("dataset"), help="for the ranges of int8, where it exists"
    )
    parser.add_argument("--rounds", type=positive_int, default=40, help="turns of each file in each engine")
    parser.add_argument("--runtime-dist", type=Path, help="folder dist/ of the npm package onnxruntime-web")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    trained = load_trained_network(args.model)
    version, size = trained.config.version, trained.config.image_size
    older = LightweightKanjiNet(ModelConfig.preset("2.1", size, trained.config.pooling_type)).eval()
    samples = load_sample_inputs(args.data_dir, size, NORMALIZE, trained.character_set).inputs
    images = np.concatenate([samples, make_random_inputs(BATCH, size)])
    older_model, model = export_network(older, BACKEND).model, export_network(trained.model, BACKEND).model
    files = {
        ("2.1", "float32"): older_model,
        ("2.1", "int8"): quantize_int8(older_model, images),
        (version, "float32"): model,
    }
    for name in QUANTIZATIONS:
        if name != "int8" or (args.data_dir / METADATA_NAME).is_file():
            files[(version, name)] = quantize(model, name, args.data_dir, trained)[0]
    print(f"{BATCH} images of {size} x {size} and single ones, one thread, {args.rounds} rounds, {BACKEND} files")
    with open_browser_engine(args.runtime_dist) if args.runtime_dist else nullcontext() as browser:
        measurements = []
        for key, exported in sorted(files.items()):
            content = exported.SerializeToString()
            measurements += list(load_engines(key, content, images))
            if browser:
                measurement = Measurement((*key, "onnxruntime-web"), len(content), browser.load(content))
                browser.time(images[:1], WARM_UP)
                measurement.single_ms = browser.time(images[:1], args.rounds)
                measurement.batch_ms = browser.time(images[:BATCH], max(1, args.rounds // 10))
                measurements.append(measurement)
        take_turns(measurements, images, args.rounds)
    print_table(measurements)
    for name, each in {"2.1": older_model, version: model}.items():
        print(f"{name}: {count_multiply_adds(each) / 1e6:.2f} million multiply-adds an image")


def load_engines(key: tuple[str, str], content: bytes, images: np.ndarray) -> Iterator[Measurement]:
    """Loads a file into onnxruntime, and into tract pinned to the batch at hand."""
    onnxruntime, load_ms = measure(load_onnxruntime, content, threads=1)
    yield Measurement((*key, "onnxruntime"), len(content), load_ms, onnxruntime.run)
    single, load_ms = measure(load_tract, content, images[:1])
    many = load_tract(content, images[:BATCH])
    yield Measurement(
        (*key, "tract"), len(content), load_ms, lambda batch: (single if len(batch) == 1 else many).run(batch)
    )


def measure(
    call: Callable[Arguments, Result], *args: Arguments.args, **options: Arguments.kwargs
) -> tuple[Result, float]:
    """Returns a call's result, and how long it took, ms."""
    start = time.perf_counter()
    result = call(*args, **options)
    return result, (time.perf_counter() - start) * 1e3


def take_turns(measurements: list[Measurement], images: np.ndarray, rounds: int) -> None:
    """Runs each file in each engine once a round, batches of 64 in every fourth; each warms up its caches first."""
    for turn in range(rounds):
        for each in measurements:
            if each.run is None:
                continue
            for _ in range(WARM_UP):
                each.run(images[:1])
            each.single_ms += [measure(each.run, images[:1])[1] for _ in range(5)]
            if turn % 4 == 0:
                each.batch_ms.append(measure(each.run, images[:BATCH])[1])


def count_multiply_adds(model: onnx.ModelProto) -> int:
    """Counts the products of weights with activations for one image, in convolutions and linear layers."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
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


def print_table(measurements: list[Measurement]) -> None:
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


if __name__ == "__main__":
    run_script(main)
