"""Compares exports with PyTorch in every engine: equal logits, or equal predictions where numbers are rounded.

Reads:  a trained network, and a dataset for --quantize int8's ranges, where there is one; with --random nothing
Writes: a table, one line a file, engine and batch; exit status 1 when one differs by more than its bound
Run:    python benchmarks/check_parity.py --runtime-dist web/node_modules/onnxruntime-web/dist
        python benchmarks/check_parity.py --random --versions 3.0 --sizes 64

A trained network is exported for each backend and with each quantization, and runs on cells by simulated writers and on
random inputs. --random exports every combination of version, size, pooling type and backend with random weights, no
layer of them neutral: 270 files, some 15 minutes, unless the other options choose fewer.
Engines: onnxruntime, tract (batch 1 and dynamic), and onnxruntime-web in a headless Chromium, if its folder is given.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from browser_engine import DEFAULT_CHROMIUM, BrowserEngine, open_browser_engine
from common import TRAINED_PATH
from judge_model import CHARACTERS_EACH, write_characters

from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.dataset import METADATA_NAME
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.preprocessing import preprocess, to_model_input
from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_export import export_network
from kanjinet.export.quantization import quantize
from kanjinet.export.sample_inputs import make_random_inputs
from kanjinet.export.spec import BACKENDS, QUANTIZATIONS, ExportSpec, get_spec, pooling_of_backend
from kanjinet.export.verification import BATCHES, check_bound, compare_engines, compare_logits, run_pytorch
from kanjinet.model import MODEL_VERSIONS, POOLING_TYPES, LightweightKanjiNet, change_pooling
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.safetensors_file import load_trained_network

NUM_NOISE = 64
BROWSER_BATCH = 64


@dataclass(frozen=True)
class Case:
    """Represents a file, by the function that exports it, and inputs (n, 1, size, size) to compare it on."""

    name: str
    network: LightweightKanjiNet
    spec: ExportSpec
    export: Callable[[], onnx.ModelProto]
    inputs: np.ndarray


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/check_parity.py --data-dir dataset")
    parser.add_argument("--model", type=Path, default=TRAINED_PATH, help="the trained network, .pth or .safetensors")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("dataset"), help="for the ranges of int8, where it exists"
    )
    parser.add_argument(
        "--writers", type=positive_int, default=16, help=f"simulated writers, of {CHARACTERS_EACH} cells each"
    )
    parser.add_argument("--random", action="store_true", help="export every combination with random weights instead")
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, default=["1.0", "2.1", "3.0"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=IMAGE_SIZES, default=list(IMAGE_SIZES))
    parser.add_argument("--pooling-types", nargs="+", choices=POOLING_TYPES, default=list(POOLING_TYPES))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--runtime-dist", type=Path, help="folder dist/ of the npm package onnxruntime-web")
    parser.add_argument("--chromium", type=Path, default=DEFAULT_CHROMIUM, help="the browser's program")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.random:
        cases = list_random_cases(args)
    else:
        print(f"{args.model.name}: {args.writers * CHARACTERS_EACH} cells by simulated writers ({SAMPLE_NOTE})")
        cases = list_trained_cases(args)
    print(
        f"{'file':38}{'MB':>5}  {'engine':24}{'batch':12}{'inputs':>7}{'largest difference':>20}{'mean':>9}{'equal':>9}"
    )
    count, failures = 0, []
    with open_browser_engine(args.runtime_dist, args.chromium) if args.runtime_dist else nullcontext() as browser:
        for case in cases:
            count += 1
            try:
                check_case(case, browser)
            except KanjinetError as error:
                print(f"{case.name:38}FAILED: {error}", flush=True)
                failures.append(case.name)
    if failures:
        raise KanjinetError(f"{len(failures)} of {count} exports failed: {', '.join(failures)}", "see the table")
    print(f"{count} exports, all within their bounds")


def check_case(case: Case, browser: BrowserEngine | None) -> None:
    """Exports a file and prints a line for each engine and batch.

    Raises:
        KanjinetError: an engine is missing, refuses the file or differs by more than the bound.
    """
    content = case.export().SerializeToString()
    reference = run_pytorch(case.network, case.inputs)
    comparisons, missing = compare_engines(content, case.spec, case.inputs, reference)
    if browser:
        browser.load(content)
        batch = BROWSER_BATCH if case.spec.dynamic_batch else 1
        logits = browser.run(case.inputs, batch)
        comparisons.append(compare_logits(f"onnxruntime-web {browser.version}", str(batch), reference, logits))
    for each in comparisons:
        print(
            f"{case.name:38}{len(content) / 1e6:5.2f}  {each.engine:24}{each.batch:12}{each.images:7,}"
            f"{each.difference:16.1e}{each.mean_difference:9.1e}{each.agreement:9.2%}",
            flush=True,
        )
    check_bound(comparisons[-1], reference, case.spec)
    if missing:
        raise KanjinetError(f"not checked in {', '.join(missing)}", f"python -m pip install {' '.join(missing)}")


def list_random_cases(args: argparse.Namespace) -> Iterator[Case]:
    from tests.random_checkpoint import draw_images, make_network

    for version, size, pooling, backend in itertools.product(
        args.versions, args.sizes, args.pooling_types, args.backends
    ):
        network = change_pooling(make_network(version, size), pooling_of_backend(pooling, backend))
        images = draw_images(size)[: 2 * BATCHES[-1] - 2].numpy()
        inputs = np.concatenate([images, make_random_inputs(2, size)])
        name = f"{version} {size:3} {pooling:12} {backend}"
        yield Case(name, network, get_spec(backend), partial(export, network, backend), inputs)


def list_trained_cases(args: argparse.Namespace) -> Iterator[Case]:
    """Yields a trained network for each backend in float32; then for one of them with fewer bits."""
    checkpoint = load_trained_network(args.model)
    size, pooling = checkpoint.config.image_size, checkpoint.config.pooling_type
    cells = preprocess(write_characters(args.writers).ink, size, checkpoint.card.preprocessing, cells=False)
    images = to_model_input(cells)
    inputs = np.concatenate([images, make_random_inputs(NUM_NOISE, size)])
    for backend in args.backends:
        network = change_pooling(checkpoint.model, pooling_of_backend(pooling, backend))
        yield Case(backend, network, get_spec(backend), partial(export, network, backend), inputs)
    has_dataset = (args.data_dir / METADATA_NAME).is_file()
    for quantization in [name for name in reversed(QUANTIZATIONS) if has_dataset or name != "int8"]:
        export_quantized = partial(export_with_fewer_bits, checkpoint, quantization, args.data_dir)
        spec = get_spec("tract", quantization)
        # ranges of 8-bit activations are those of images, not of noise
        chosen = images if quantization == "int8" else inputs
        yield Case(f"tract {quantization}", checkpoint.model, spec, export_quantized, chosen)


def export(network: LightweightKanjiNet, backend: str) -> onnx.ModelProto:
    """Exports a network; refuses one that had to be written by another exporter."""
    exported = export_network(network, backend)
    if exported.fallback_reason:
        raise KanjinetError(f"written by {exported.exporter}, because {exported.fallback_reason}")
    return exported.model


def export_with_fewer_bits(checkpoint: Checkpoint, quantization: str, data_dir: Path) -> onnx.ModelProto:
    return quantize(export_network(checkpoint.model, "tract").model, quantization, data_dir, checkpoint)[0]


if __name__ == "__main__":
    run_script(main)
