"""Export every combination of version, size, pooling type and backend, and check each file in real engines.

Reads:  nothing: the networks have random weights, no layer of them neutral
Writes: a table, one line a file; exit status 1 when any of them fails
Run:    python benchmarks/check_exports.py

Each file goes through onnx's full checker and the checks of its backend's promise (opset, operators, one file, batch),
is run in onnxruntime and tract, and is compared with PyTorch. All 270 take some 15 minutes; the options choose fewer.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kanjinet.cli import make_parser, run_script
from kanjinet.contract import IMAGE_SIZES
from kanjinet.errors import KanjinetError
from kanjinet.export.onnx_export import BACKENDS, SPECS, export_network, pooling_of_backend
from kanjinet.export.sample_inputs import make_random_inputs
from kanjinet.export.verification import BATCHES, Comparison, compare_engines, compute_logits
from kanjinet.model import MODEL_VERSIONS, POOLING_TYPES, LightweightKanjiNet, change_pooling
from tests.random_checkpoint import draw_images, make_network

NUM_NOISE = 2
NUM_IMAGES = 2 * BATCHES[-1] - NUM_NOISE


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/check_exports.py --versions 3.0 --sizes 64")
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, default=["1.0", "2.1", "3.0"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=IMAGE_SIZES, default=list(IMAGE_SIZES))
    parser.add_argument("--pooling-types", nargs="+", choices=POOLING_TYPES, default=list(POOLING_TYPES))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    return parser.parse_args()


def main() -> None:
    """One line a file."""
    args = parse_args()
    print("version size  pooling       backend    opset  batch  nodes     MB   onnxruntime      tract  equal      s")
    failed, count = 0, 0
    for version, size, pooling, backend in itertools.product(
        args.versions, args.sizes, args.pooling_types, args.backends
    ):
        count += 1
        name = f"{version:7} {size:4}  {pooling:13} {backend:10}"
        network = change_pooling(make_network(version, size), pooling_of_backend(pooling, backend))
        try:
            print(f"{name} {check_export(network, backend)}", flush=True)
        except KanjinetError as error:
            failed += 1
            print(f"{name} FAILED: {error}", flush=True)
    if failed:
        raise KanjinetError(f"{failed} of {count} exports failed", "see the table")
    print(f"{count} exports, all as promised")


def check_export(network: LightweightKanjiNet, backend: str) -> str:
    """Export and check one file; says how it went.

    Raises:
        KanjinetError: it is not what its backend's name promises, or an engine differs from PyTorch.
    """
    start = time.perf_counter()
    size, spec = network.config.image_size, SPECS[backend]
    export = export_network(network, backend)
    if export.fallback_reason:
        raise KanjinetError(f"written by {export.exporter}, because {export.fallback_reason}")
    content = export.model.SerializeToString()
    inputs = np.concatenate([draw_images(size)[:NUM_IMAGES].numpy(), make_random_inputs(NUM_NOISE, size)])
    comparisons, missing = compare_engines(
        content, compute_logits(network, inputs), inputs, dynamic_batch=spec.dynamic_batch
    )
    if missing:
        raise KanjinetError(f"not checked in {', '.join(missing)}", f"python -m pip install {' '.join(missing)}")
    batch = "any" if spec.dynamic_batch else "1"
    differences = f"{largest(comparisons, 'onnxruntime'):12.1e} {largest(comparisons, 'tract'):10.1e}"
    agreement = min(each.agreement for each in comparisons)
    return (
        f"{spec.opset:5}  {batch:>5}  {len(export.model.graph.node):5}  {len(content) / 1e6:5.2f}  {differences}  "
        f"{agreement:5.0%}  {time.perf_counter() - start:5.1f}"
    )


def largest(comparisons: list[Comparison], engine: str) -> float:
    """The largest difference of a logit in one engine, whatever the batch."""
    return max(each.difference for each in comparisons if each.engine.startswith(engine))


if __name__ == "__main__":
    run_script(main)
