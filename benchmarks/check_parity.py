"""The same answers in every engine: a trained network's exports against PyTorch, on generated cells and random input.

Reads:  a trained network; a dataset for --quantize int8's ranges, where there is one
Writes: a table, one line a file and engine; exit status 1 when one differs by more than its bound
Run:    python benchmarks/check_parity.py --runtime-dist web/node_modules/onnxruntime-web/dist

Engines: onnxruntime, tract (batch 1 and dynamic), and onnxruntime-web in a headless Chromium, if its folder is given.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from browser_engine import DEFAULT_CHROMIUM, BrowserEngine, open_browser_engine

from kanjinet.classes import NUM_CLASSES, NUM_HIRAGANA
from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.data.dataset import METADATA_NAME
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.preprocessing import INK_SCALE, preprocess, to_model_input
from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_export import BACKENDS, SPECS, export_network, pooling_of_backend
from kanjinet.export.quantization import QUANTIZED_OPSET, load_calibration_inputs, quantize_int8
from kanjinet.export.sample_inputs import make_random_inputs
from kanjinet.export.verification import (
    Comparison,
    ExportSpec,
    check_bound,
    compare_engines,
    compare_logits,
    compute_logits,
)
from kanjinet.export.weight_compression import store_fp16, store_int8_weights
from kanjinet.model import change_pooling
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.synth.glyph_table import read_glyph_table
from kanjinet.synth.handwriting import write_sheet
from kanjinet.synth.writers import DEFAULT_DIFFICULTY, sample_writer

DEFAULT_MODEL = ROOT / "pretrained" / "kanji_model_etl9g_64x64_3036classes.safetensors"
SEED = 20_261_000  # of writers whom no sample file has
CELLS_EACH = 32
NOISE = 64


@dataclass(frozen=True)
class Case:
    """A file, and what to run it on.

    Attributes:
        name: of the backend and what else was asked for.
        content: the file's bytes.
        promise: what it should keep to.
        inputs: as it takes them.
        reference: PyTorch's logits (n, classes) for them.
    """

    name: str
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
        "--writers", type=positive_int, default=16, help=f"simulated writers, of {CELLS_EACH} cells each"
    )
    parser.add_argument("--runtime-dist", type=Path, help="folder dist/ of the npm package onnxruntime-web")
    parser.add_argument("--chromium", type=Path, default=DEFAULT_CHROMIUM, help="the browser's program")
    return parser.parse_args()


def main() -> None:
    """One line a file and engine."""
    args = parse_args()
    checkpoint = load_trained_network(args.model)
    cells = write_cells(args.writers)
    print(f"{args.model.name}: {len(cells)} cells by simulated writers ({SAMPLE_NOTE}) and {NOISE} random inputs")
    print(f"{'file':26}{'engine':24}{'batch':12}{'inputs':>7}{'largest difference':>20}{'mean':>9}{'equal best':>12}")
    failures: list[str] = []
    with open_browser_engine(args.runtime_dist, args.chromium) if args.runtime_dist else nullcontext() as browser:
        for case in list_cases(checkpoint, cells, args.data_dir):
            failures.extend(check_case(case, browser))
    if failures:
        raise KanjinetError("; ".join(failures))


def check_case(case: Case, browser: BrowserEngine | None) -> list[str]:
    """Print a file's lines; returns what is wrong with it."""
    bound = case.spec.least_agreement
    try:
        comparisons, missing = compare_engines(
            case.content,
            case.reference,
            case.inputs,
            dynamic_batch=case.spec.dynamic_batch,
            least_agreement=bound,
        )
    except KanjinetError as error:
        return [f"{case.name}: {error}"]
    if browser:
        browser.load(case.content)
        logits = browser.run(case.inputs, batch=64 if case.spec.dynamic_batch else 1)
        name = f"onnxruntime-web {browser.version}"
        comparisons.append(compare_logits(name, "64" if case.spec.dynamic_batch else "1", case.reference, logits))
    for each in comparisons:
        print_comparison(case.name, each)
    try:
        check_bound(comparisons[-1], case.reference, least_agreement=bound)
    except KanjinetError as error:
        return [f"{case.name}: {error}"]
    return [f"{case.name}: not checked in {engine}" for engine in missing]


def print_comparison(name: str, each: Comparison) -> None:
    """One line."""
    print(
        f"{name:26}{each.engine:24}{each.batch:12}{each.images:7,}{each.difference:20.2g}{each.mean_difference:9.2g}"
        f"{each.agreement:12.2%}",
        flush=True,
    )


def list_cases(checkpoint: Checkpoint, cells: np.ndarray, data_dir: Path) -> Iterator[Case]:
    """Each backend in float32; then one of them with fewer bits."""
    size, version = checkpoint.config.image_size, checkpoint.card.preprocessing
    inputs = np.concatenate(
        [to_model_input(preprocess(cells, size, version, cells=True)), make_random_inputs(NOISE, size)]
    )
    exports: dict[str, onnx.ModelProto] = {}
    for backend in BACKENDS:
        network = change_pooling(checkpoint.model, pooling_of_backend(checkpoint.config.pooling_type, backend))
        exports[backend] = export_network(network, backend).model
        reference = compute_logits(network, inputs)
        yield Case(backend, exports[backend].SerializeToString(), SPECS[backend], inputs, reference)
    reference = compute_logits(checkpoint.model, inputs)
    for quantization, store in (("fp16", store_fp16), ("int8-weights", store_int8_weights)):
        spec = replace(SPECS["tract"], quantization=quantization)
        content = store(exports["tract"]).SerializeToString()
        yield Case(f"tract {quantization}", content, spec, inputs, reference)
    if (data_dir / METADATA_NAME).is_file():
        calibration = load_calibration_inputs(data_dir, checkpoint)
        spec = replace(SPECS["tract"], quantization="int8", opset=QUANTIZED_OPSET)
        content = quantize_int8(exports["tract"], calibration).SerializeToString()
        yield Case("tract int8", content, spec, inputs[:-NOISE], reference[:-NOISE])


def write_cells(writers: int) -> np.ndarray:
    """(32 * writers, 127, 128) uint8 by writers of their own, with pieces of the neighbors' writing at the edges."""
    table = read_glyph_table()
    cells = []
    for writer in range(writers):
        rng = np.random.default_rng([SEED, writer])
        is_kana = rng.random(CELLS_EACH) < 1 / 3
        chosen = rng.integers(np.where(is_kana, 0, NUM_HIRAGANA), np.where(is_kana, NUM_HIRAGANA, NUM_CLASSES))
        hand = sample_writer(rng, DEFAULT_DIFFICULTY)
        cells.append(write_sheet(table, chosen, hand, rng) * np.uint8(INK_SCALE))
    return np.concatenate(cells)


if __name__ == "__main__":
    run_script(main)
