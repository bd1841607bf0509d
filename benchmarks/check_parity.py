"""Compares exports with PyTorch in every engine: equal logits, or equal predictions where numbers are rounded.

Reads:  a trained network, and a dataset for int8's ranges, where there is one
Writes: a table, one line a file, engine and batch; exit status 1 when one differs by more than its bound
Run:    python benchmarks/check_parity.py --runtime-dist web/node_modules/onnxruntime-web/dist

The network is exported for each backend and with each quantization, and runs on cells by simulated writers and on
random inputs. Engines: onnxruntime, tract (batch 1 and dynamic), and onnxruntime-web, if its folder is given.
"""

from common import TRAINED_PATH
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from browser_engine import BrowserEngine, open_browser_engine
from judge_model import CHARACTERS_EACH, write_characters

from kanjinet.data.dataset import METADATA_NAME
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.data.preprocessing import preprocess, to_model_input
from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_export import export_network
from kanjinet.export.quantization import quantize
from kanjinet.export.sample_inputs import make_random_inputs
from kanjinet.export.spec import BACKENDS, QUANTIZATIONS, ExportSpec, get_spec, pooling_of_backend
from kanjinet.export.verification import Comparison, check_bound, compare_engines, compare_logits, run_pytorch
from kanjinet.model import LightweightKanjiNet, change_pooling
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.safetensors_file import load_trained_network

NUM_NOISE = 64
BROWSER_BATCH = 64


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/check_parity.py --data-dir dataset")
    parser.add_argument("--model", type=Path, default=TRAINED_PATH, help="the trained network, .pth or .safetensors")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("dataset"), help="for the ranges of int8, where it exists"
    )
    parser.add_argument(
        "--writers", type=positive_int, default=16, help=f"simulated writers, of {CHARACTERS_EACH} cells each"
    )
    parser.add_argument("--runtime-dist", type=Path, help="folder dist/ of the npm package onnxruntime-web")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    checkpoint = load_trained_network(args.model)
    size = checkpoint.config.image_size
    cells = preprocess(write_characters(args.writers).ink, size, checkpoint.card.preprocessing, cells=False)
    images = to_model_input(cells)
    images_and_noise = np.concatenate([images, make_random_inputs(NUM_NOISE, size)])
    exports = [(backend, "") for backend in BACKENDS] + [("tract", name) for name in reversed(QUANTIZATIONS)]
    if not (args.data_dir / METADATA_NAME).is_file():
        exports.remove(("tract", "int8"))
    print(f"{args.model.name}: {args.writers * CHARACTERS_EACH} cells by simulated writers ({SAMPLE_NOTE})")
    print(
        f"{'file':38}{'MB':>5}  {'engine':24}{'batch':12}{'inputs':>7}{'largest difference':>20}{'mean':>9}{'equal':>9}"
    )
    failures = []
    with open_browser_engine(args.runtime_dist) if args.runtime_dist else nullcontext() as browser:
        for backend, quantization in exports:
            name, spec = f"{backend} {quantization}".strip(), get_spec(backend, quantization)
            # ranges of 8-bit activations are those of images, not of noise
            inputs = images if quantization == "int8" else images_and_noise
            try:
                network, content = export(checkpoint, backend, quantization, args.data_dir)
                for each in compare(content, spec, inputs, run_pytorch(network, inputs), browser):
                    print(
                        f"{name:38}{len(content) / 1e6:5.2f}  {each.engine:24}{each.batch:12}{each.images:7,}"
                        f"{each.difference:16.1e}{each.mean_difference:9.1e}{each.agreement:9.2%}",
                        flush=True,
                    )
            except KanjinetError as error:
                print(f"{name:38}FAILED: {error}", flush=True)
                failures.append(name)
    if failures:
        raise KanjinetError(f"{len(failures)} of {len(exports)} exports failed: {', '.join(failures)}", "see the table")
    print(f"{len(exports)} exports, all within their bounds")


def export(
    checkpoint: Checkpoint, backend: str, quantization: str, data_dir: Path
) -> tuple[LightweightKanjiNet, bytes]:
    """Returns the network with the backend's pooling, and its file; refuses one written by another exporter."""
    network = change_pooling(checkpoint.model, pooling_of_backend(checkpoint.config.pooling_type, backend))
    exported = export_network(network, backend)
    if exported.fallback_reason:
        raise KanjinetError(f"written by {exported.exporter}, because {exported.fallback_reason}")
    model = exported.model
    if quantization:
        model, _ = quantize(model, quantization, data_dir, checkpoint)
    return network, model.SerializeToString()


def compare(
    content: bytes, spec: ExportSpec, inputs: np.ndarray, reference: np.ndarray, browser: BrowserEngine | None
) -> Iterator[Comparison]:
    """Yields how each engine's logits compare with PyTorch's.

    Raises:
        KanjinetError: an engine is missing, refuses the file or differs by more than the bound.
    """
    comparisons, missing = compare_engines(content, spec, inputs, reference)
    yield from comparisons
    if browser:
        browser.load(content)
        batch = BROWSER_BATCH if spec.dynamic_batch else 1
        logits = browser.run(inputs, batch)
        comparison = compare_logits(f"onnxruntime-web {browser.version}", str(batch), reference, logits)
        yield comparison
        check_bound(comparison, reference, spec)
    if missing:
        raise KanjinetError(f"not checked in {', '.join(missing)}", f"python -m pip install {' '.join(missing)}")


if __name__ == "__main__":
    run_script(main)
