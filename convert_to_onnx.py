"""Convert a trained network to ONNX for one kind of engine, and check the file in real engines before it is kept.

Reads:  best_kanji_model.pth, or a .safetensors file; images of dataset/ for the comparison, where it exists
Writes: kanji_model_etl9g_64x64_3036classes_tract.onnx and ..._tract_mapping.json
Run:    python convert_to_onnx.py --model-path best_kanji_model.pth --target-backend tract

Backends: tract (opset 12, any batch), ort-tract (opset 11, any batch, pooling kernels of fixed size),
strict (opset 11, batch 1, pooling kernels of fixed size).
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.errors import KanjinetError
from kanjinet.export.mapping import build_mapping
from kanjinet.export.onnx_export import Export, add_metadata, export_network
from kanjinet.export.quantization import quantize
from kanjinet.export.sample_inputs import (
    SampleInputs,
    load_held_out_inputs,
    load_sample_inputs,
    make_random_inputs,
    read_calibration_info,
)
from kanjinet.export.spec import (
    BACKENDS,
    GENTLER,
    QUANTIZATIONS,
    SPECS,
    ExportSpec,
    check_structure,
    get_spec,
    pooling_of_backend,
)
from kanjinet.export.verification import (
    ABSOLUTE_BOUND,
    RELATIVE_BOUND,
    compare_engines,
    compare_logits,
    load_onnxruntime,
    run_engine,
    run_pytorch,
)
from kanjinet.model import DEFAULT_VERSION, POOLING_TYPES, LightweightKanjiNet, change_pooling, count_parameters
from kanjinet.storage.checkpoint import CHECKPOINT_NAME, Checkpoint
from kanjinet.storage.files import check_output_file, make_folder, replace_on_success, write_json
from kanjinet.storage.model_card import default_export_path
from kanjinet.storage.onnx_file import DEVICES, check_device, seal
from kanjinet.storage.safetensors_file import load_trained_network

MAX_LOSS = 0.002  # of top-1 accuracy, by quantization
NUM_NOISE = 16  # random images beside the real or drawn ones


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python convert_to_onnx.py --target-backend ort-tract")
    parser.add_argument(
        "--model-path", type=Path, default=Path(CHECKPOINT_NAME), help="the trained network, .pth or .safetensors"
    )
    parser.add_argument(
        "--onnx-path", type=Path, help="the file to write (default: kanji_model_etl9g_...onnx, beside --model-path)"
    )
    parser.add_argument("--image-size", type=int, choices=IMAGE_SIZES, help="must be the checkpoint's (default: it is)")
    parser.add_argument("--pooling-type", choices=POOLING_TYPES, help="global pooling (default: the checkpoint's)")
    parser.add_argument("--target-backend", choices=BACKENDS, default="tract", help="kind of engine")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("dataset"), help="dataset whose images are compared, where it exists"
    )
    parser.add_argument(
        "--quantize",
        choices=QUANTIZATIONS,
        help="int8: computes with 8 bits, a quarter of the size (opset 13; reads --data-dir); int8-weights: the same "
        "size, computes in float32; fp16: half the size, computes in float32 (default: float32 throughout). Fails if "
        "it costs more than 0.2 points of accuracy and two standard errors on held-out images of --data-dir",
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="cpu", help="where onnxruntime runs the file for the check, beside the CPU"
    )
    return parser.parse_args()


def main() -> None:
    """Exports the network, checks the file, and only then gives it its name."""
    args = parse_args()
    checkpoint = load_trained_network(args.model_path)
    config, backend = checkpoint.config, args.target_backend
    size = config.image_size
    if args.image_size not in (None, size):
        raise KanjinetError(
            f"--image-size {args.image_size}: {args.model_path} was trained on {size} pixels and knows no other size",
            f"train one with python train_etl9g_model.py --image-size {args.image_size}",
        )
    spec = get_spec(backend, args.quantize or "")
    ending = "".join(f"_{part}" for part in (backend, args.quantize) if part) + ".onnx"
    path = args.onnx_path or default_export_path(args.model_path, checkpoint.character_set, size, ending)
    mapping_path = path.with_name(f"{path.stem}_mapping.json")
    check_output_file(path, "--onnx-path", ".onnx")
    check_output_file(mapping_path, "--onnx-path")
    check_device(args.device)
    if args.quantize == "int8":
        read_calibration_info(args.data_dir, checkpoint)  # or say at once what is missing
    make_folder(path.parent)

    pooling_type = pooling_of_backend(args.pooling_type or config.pooling_type, backend)
    network = change_pooling(checkpoint.model, pooling_type)
    samples = load_sample_inputs(args.data_dir, size, checkpoint.card.preprocessing, checkpoint.character_set)
    pooling_change, remedy = describe_pooling_change(checkpoint.model, network, samples)
    note = f" ({SAMPLE_NOTE})" if checkpoint.card.synthetic else ""
    print(
        f"network      {config.version}, {size} x {size}, "
        f"{count_parameters(checkpoint.model):,} parameters, of {show_path(args.model_path)}{note}"
    )
    print(f"pooling      {pooling_change}")
    if remedy:
        print(f"             {remedy}")

    export = export_network(network, backend)
    model, quantization, accuracy = export.model, "none", ""
    if args.quantize:
        model, quantization = quantize(export.model, args.quantize, args.data_dir, checkpoint)
        accuracy = measure_loss(model.SerializeToString(), network, args.data_dir, checkpoint, args.quantize)
    check_structure(model, spec, size, config.num_classes)
    # What was measured of a network of another pooling is not said of this one.
    card = replace(checkpoint.card, metrics={}, rejection=None) if remedy else checkpoint.card
    properties = {
        **Checkpoint(network, card, checkpoint.character_set).to_metadata(),
        "trained_pooling_type": config.pooling_type,
        "pooling_change": pooling_change,
        "accuracy_of": "the network before it was quantized" if args.quantize else "this file's network",
        "target_backend": backend,
        "quantization": quantization,
        "input": f"float32 ({spec.batch}, 1, {size}, {size}): images after preprocessing_contract",
        "exporter": export.exporter + (f" ({export.fallback_reason})" if export.fallback_reason else ""),
    }
    add_metadata(model, properties)
    content = seal(model.SerializeToString())
    onnx.checker.check_model(content, full_check=True)
    print_export(export, backend, spec, len(content))

    compare_in_engines(content, network, samples, spec, args.device)
    if accuracy:
        print(f"accuracy     {accuracy}")

    info = describe_file(path.name, content, spec, properties)
    if card.rejection:
        info["rejection_threshold"] = card.rejection.threshold
    mapping = build_mapping(checkpoint.character_set, info)
    with replace_on_success(path) as file:
        file.write(content)
        write_json(mapping_path, mapping)
    print(f"written      {show_path(path)}\n             {show_path(mapping_path)}")


def describe_pooling_change(
    trained: LightweightKanjiNet, network: LightweightKanjiNet, samples: SampleInputs
) -> tuple[str, str]:
    """Returns what another pooling changes in a trained network's logits, and how to train for it if that matters."""
    before, after = trained.config.pooling_type, network.config.pooling_type
    if before == after:
        return f"{after}, as trained", ""
    change = compare_logits(after, "", run_pytorch(trained, samples.inputs), run_pytorch(network, samples.inputs))
    if change.difference <= ABSOLUTE_BOUND:
        return f"{after} for the trained {before} computes the same (largest difference {change.difference:.1e})", ""
    sentence = (
        f"{after} for the trained {before} is another network: the prediction changes for "
        f"{1 - change.agreement:.1%} of {samples.origin}, logits by up to {change.difference:.3g}"
    )
    config = network.config
    version = "" if config.version == DEFAULT_VERSION else f" --model-version {config.version}"
    command = f"python train_etl9g_model.py --image-size {config.image_size} --pooling-type {after}{version}"
    return sentence, f"to train for it: {command}"


def measure_loss(
    content: bytes, network: LightweightKanjiNet, data_dir: Path, checkpoint: Checkpoint, quantization: str
) -> str:
    """Compares top-1 accuracy with the float32 network's on images held out from training, in onnxruntime.

    Returns:
        The accuracies in words; nothing where there is no dataset that was prepared as the network's own.

    Raises:
        KanjinetError: more is lost than MAX_LOSS and two standard errors of the loss, which is what chance explains.
    """
    held_out = load_held_out_inputs(data_dir, checkpoint)
    if held_out is None:
        return ""
    inputs, classes = held_out
    hits = run_pytorch(network, inputs).argmax(axis=1) == classes
    quantized_hits = run_engine(load_onnxruntime(content), inputs).argmax(axis=1) == classes
    lost = float(hits.mean() - quantized_hits.mean())
    allowed = MAX_LOSS + 2 * math.sqrt(float((hits != quantized_hits).sum())) / len(classes)
    found = (
        f"top-1 {hits.mean():.2%} in float32, {quantized_hits.mean():.2%} in this file, on {len(classes):,} images "
        "held out from training"
    )
    if lost > allowed:
        problem = f"{found}: {lost:.2%} is lost, more than {MAX_LOSS:.1%} and two standard errors ({allowed:.2%})"
        raise KanjinetError(problem, GENTLER[quantization])
    return found


def describe_file(name: str, content: bytes, spec: ExportSpec, properties: dict[str, str]) -> dict[str, Any]:
    """Returns what the mapping's `model_info` says about the file that it belongs to."""
    size = int(properties["image_size"])
    return {
        "model_file": name,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "model_version": properties["model_version"],
        "target_backend": properties["target_backend"],
        "quantization": properties["quantization"],
        "opset": spec.opset,
        "image_size": size,
        "pooling_type": properties["pooling_type"],
        "pooling_change": properties["pooling_change"],
        "input": {"name": "input", "type": "float32", "shape": [spec.batch, 1, size, size]},
        "output": {"name": "output", "type": "float32", "shape": [spec.batch, int(properties["num_classes"])]},
        "preprocessing": properties["preprocessing"],
        "preprocessing_contract": properties["preprocessing_contract"],
        "accuracy": json.loads(properties["accuracy"]),
        "accuracy_of": properties["accuracy_of"],
        "synthetic": json.loads(properties["synthetic"]),
        "sources": json.loads(properties["sources"]),
        "license": properties["license"],
    }


def print_export(export: Export, backend: str, spec: ExportSpec, size_bytes: int) -> None:
    if export.fallback_reason:
        print(
            f"note         torch.export cannot write this network in opset {SPECS[backend].opset} "
            f"({export.fallback_reason}): TorchScript writes it instead"
        )
    batch = "any batch" if spec.dynamic_batch else "batch 1"
    quantization = f", {spec.quantization}" if spec.quantization else ""
    print(
        f"format       {backend}{quantization}: opset {spec.opset}, {batch}, "
        f"one file of {size_bytes / 1e6:.2f} MB, by {export.exporter}"
    )


def compare_in_engines(
    content: bytes, network: LightweightKanjiNet, samples: SampleInputs, spec: ExportSpec, device: str
) -> None:
    """Compares a file with PyTorch in every engine, and prints how they agree."""
    num_noise = 0 if spec.quantization == "int8" else NUM_NOISE  # ranges of 8-bit activations were measured on images
    inputs = np.concatenate([samples.inputs, make_random_inputs(num_noise, network.config.image_size)])
    comparisons, missing = compare_engines(content, spec, inputs, run_pytorch(network, inputs), device)
    noise = f" and {num_noise} random ones" if num_noise else ""
    print(f"checked      against PyTorch in float32 on {samples.origin}{noise}")
    if spec.min_agreement is not None:
        print(f"             bound {spec.min_agreement:.1%} equal predictions")
    else:
        print(f"             bound {ABSOLUTE_BOUND:g} + {RELATIVE_BOUND:g} of the largest logit")
    print("             engine               batch        largest difference   equal prediction")
    for each in comparisons:
        print(f"             {each.engine:<20} {each.batch:<12} {each.difference:<20.2g} {each.agreement:.2%}")
    for engine in missing:
        print(f"not checked  in {engine}, which is not installed: python -m pip install {engine}")


if __name__ == "__main__":
    run_script(main)
