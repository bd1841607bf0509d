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
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from browser_engine import DEFAULT_CHROMIUM, BrowserEngine, open_browser_engine
from judge_model import CHARACTERS_EACH, write_characters

from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.dataset import METADATA_NAME
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.preprocessing import preprocess, to_model_input
from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_export import export_network
from kanjinet.export.pooling import pooling_of_backend
from kanjinet.export.quantization import quantize_int8
from kanjinet.export.sample_inputs import load_calibration_inputs, make_random_inputs
from kanjinet.export.spec import BACKENDS, ExportSpec, get_spec
from kanjinet.export.verification import BATCHES, check_bound, compare_engines, compare_logits, run_pytorch
from kanjinet.export.weight_compression import store_fp16, store_int8_weights
from kanjinet.model import MODEL_VERSIONS, POOLING_TYPES, LightweightKanjiNet, change_pooling
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.safetensors_file import load_trained_network

DEFAULT_MODEL = ROOT / "pretrained" / "kanji_model_etl9g_64x64_3036classes.safetensors"
NUM_NOISE = 64
BROWSER_BATCH = 64


@dataclass(frozen=True)
class Case:
    """A file and what to run it on.

    Attributes:
        content: the file's bytes.
        spec: what it should keep to.
        inputs: (n, 1, size, size) float32.
        reference: PyTorch's logits (n, classes) for them.
    """

    content: bytes
    spec: ExportSpec
    inputs: np.ndarray
    reference: np.ndarray


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/check_parity.py --data-dir dataset")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="the trained network, .pth or .safetensors")
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
    """One line a file, engine and batch."""
    args = parse_args()
    if args.random:
        cases = list_random_cases(args)
    else:
        print(f"{args.model.name}: {args.writers * CHARACTERS_EACH} cells by simulated writers ({SAMPLE_NOTE})")
        cases = list_trained_cases(args)
    print(
        f"{'file':38}{'MB':>5}  {'engine':24}{'batch':12}{'inputs':>7}{'largest difference':>20}{'mean':>9}{'equal':>9}"
    )
    names, failures = [], []
    with open_browser_engine(args.runtime_dist, args.chromium) if args.runtime_dist else nullcontext() as browser:
        for name, make_case in cases:
            names.append(name)
            try:
                check_case(name, make_case(), browser)
            except KanjinetError as error:
                print(f"{name:38}FAILED: {error}", flush=True)
                failures.append(name)
    if failures:
        raise KanjinetError(f"{len(failures)} of {len(names)} exports failed: {', '.join(failures)}", "see the table")
    print(f"{len(names)} exports, all within their bounds")


def check_case(name: str, case: Case, browser: BrowserEngine | None) -> None:
    """Print a file's lines.

    Raises:
        KanjinetError: an engine is missing, refuses the file or differs by more than the bound.
    """
    comparisons, missing = compare_engines(case.content, case.spec, case.inputs, case.reference)
    if browser:
        browser.load(case.content)
        batch = BROWSER_BATCH if case.spec.dynamic_batch else 1
        logits = browser.run(case.inputs, batch)
        comparisons.append(compare_logits(f"onnxruntime-web {browser.version}", str(batch), case.reference, logits))
    for each in comparisons:
        print(
            f"{name:38}{len(case.content) / 1e6:5.2f}  {each.engine:24}{each.batch:12}{each.images:7,}"
            f"{each.difference:16.1e}{each.mean_difference:9.1e}{each.agreement:9.2%}",
            flush=True,
        )
    check_bound(comparisons[-1], case.reference, case.spec)
    if missing:
        raise KanjinetError(f"not checked in {', '.join(missing)}", f"python -m pip install {' '.join(missing)}")


def list_random_cases(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Each combination that was asked for, with random weights."""
    from tests.random_checkpoint import draw_images, make_network

    for version, size, pooling, backend in itertools.product(
        args.versions, args.sizes, args.pooling_types, args.backends
    ):
        network = change_pooling(make_network(version, size), pooling_of_backend(pooling, backend))
        images = draw_images(size)[: 2 * BATCHES[-1] - 2].numpy()
        inputs = np.concatenate([images, make_random_inputs(2, size)])
        yield f"{version} {size:3} {pooling:12} {backend}", partial(export_case, network, backend, inputs)


def export_case(network: LightweightKanjiNet, backend: str, inputs: np.ndarray) -> Case:
    """A network's file for a backend; refuses one that had to be written by another exporter."""
    export = export_network(network, backend)
    if export.fallback_reason:
        raise KanjinetError(f"written by {export.exporter}, because {export.fallback_reason}")
    return Case(export.model.SerializeToString(), get_spec(backend), inputs, run_pytorch(network, inputs))


def list_trained_cases(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Case]]]:
    """A trained network for each backend in float32; then for one of them with fewer bits."""
    checkpoint = load_trained_network(args.model)
    size, pooling = checkpoint.config.image_size, checkpoint.config.pooling_type
    cells = preprocess(write_characters(args.writers).ink, size, checkpoint.card.preprocessing, cells=False)
    inputs = np.concatenate([to_model_input(cells), make_random_inputs(NUM_NOISE, size)])
    for backend in args.backends:
        network = change_pooling(checkpoint.model, pooling_of_backend(pooling, backend))
        yield backend, partial(export_case, network, backend, inputs)
    for quantization in ("fp16", "int8-weights"):
        yield f"tract {quantization}", partial(quantize_case, checkpoint, quantization, inputs)
    if (args.data_dir / METADATA_NAME).is_file():  # ranges of 8-bit activations are those of images, not of noise
        yield "tract int8", partial(quantize_case, checkpoint, "int8", inputs[:-NUM_NOISE], args.data_dir)


def quantize_case(checkpoint: Checkpoint, quantization: str, inputs: np.ndarray, data_dir: Path = Path()) -> Case:
    """A trained network's file with fewer bits."""
    store: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
        "fp16": store_fp16,
        "int8-weights": store_int8_weights,
        "int8": lambda model: quantize_int8(model, load_calibration_inputs(data_dir, checkpoint)),
    }
    model = store[quantization](export_network(checkpoint.model, "tract").model)
    spec = get_spec("tract", quantization)
    return Case(model.SerializeToString(), spec, inputs, run_pytorch(checkpoint.model, inputs))


if __name__ == "__main__":
    run_script(main)
