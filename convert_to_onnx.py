"""Convert a trained network to ONNX for one kind of engine, and check the file in real engines before it is kept.

Reads:  best_kanji_model.pth, or a .safetensors file; images of dataset/ for the comparison, where it exists
Writes: kanji_model_etl9g_64x64_3036classes_tract.onnx and ..._tract_mapping.json
Run:    python convert_to_onnx.py --model-path best_kanji_model.pth --target-backend tract

Backends: tract (opset 12, any batch), ort-tract (opset 11, any batch, pooling kernels of fixed size),
strict (opset 11, batch 1, pooling kernels of fixed size).
"""

import argparse
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kanjinet.cli import make_parser, run_script, show_path
from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.errors import KanjinetError
from kanjinet.export.mapping import build_mapping
from kanjinet.export.onnx_export import Export, add_metadata, export_network
from kanjinet.export.pooling import PoolingChange, measure_pooling, pooling_of_backend
from kanjinet.export.quantization import quantize_int8
from kanjinet.export.sample_inputs import (
    SampleInputs,
    has_matching_dataset,
    load_calibration_inputs,
    load_held_out_inputs,
    load_sample_inputs,
    make_random_inputs,
)
from kanjinet.export.spec import (
    BACKENDS,
    QUANTIZATIONS,
    SPECS,
    ExportSpec,
    check_structure,
    get_spec,
)
from kanjinet.export.verification import (
    ABSOLUTE_BOUND,
    RELATIVE_BOUND,
    Comparison,
    compare_engines,
    load_onnxruntime,
    run_engine,
    run_pytorch,
)
from kanjinet.export.weight_compression import store_fp16, store_int8_weights
from kanjinet.model import (
    POOLING_TYPES,
    LightweightKanjiNet,
    ModelConfig,
    change_pooling,
    count_parameters,
)
from kanjinet.storage.checkpoint import CHECKPOINT_NAME, Checkpoint
from kanjinet.storage.files import make_folder, replace_on_success, write_json
from kanjinet.storage.model_card import check_export_path, default_export_path
from kanjinet.storage.onnx_file import DEVICES, seal
from kanjinet.storage.safetensors_file import load_trained_network

MAX_LOSS = 0.002  # of top-1 accuracy, by quantization
NUM_NOISE = 16  # random images beside the real or drawn ones


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser(__doc__, "python convert_to_onnx.py --target-backend ort-tract")
    parser.add_argument(
        "--model-path", type=Path, default=Path(CHECKPOINT_NAME), help="the trained network, .pth or .safetensors"
    )
    parser.add_argument("--onnx-path", type=Path, help="the file to write (default: beside the checkpoint)")
    parser.add_argument("--image-size", type=int, choices=IMAGE_SIZES, help="must be the checkpoint's, if given")
    parser.add_argument("--pooling-type", choices=POOLING_TYPES, help="global pooling (default: the checkpoint's)")
    parser.add_argument("--target-backend", choices=BACKENDS, default="tract", help="kind of engine")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("dataset"), help="dataset whose images are compared, where it exists"
    )
    parser.add_argument(
        "--quantize",
        choices=QUANTIZATIONS,
        help="int8: computes with 8 bits, a quarter of the size (opset 13; reads --data-dir); int8-weights: the same "
        "size, computes in float32; fp16: half the size, computes in float32",
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
    check_image_size(args.image_size, config, args.model_path)
    spec = get_spec(backend, args.quantize or "")
    ending = "".join(f"_{part}" for part in (backend, args.quantize) if part) + ".onnx"
    path = args.onnx_path or default_export_path(args.model_path, config.image_size, ending)
    check_export_path(path, ".onnx", "--onnx-path")
    make_folder(path.parent)

    pooling_type = pooling_of_backend(args.pooling_type or config.pooling_type, backend)
    network = change_pooling(checkpoint.model, pooling_type)
    samples = load_sample_inputs(args.data_dir, config.image_size, checkpoint.card.preprocessing)
    pooling = measure_pooling(checkpoint.model, network, samples)
    print_network(checkpoint, args.model_path, pooling)

    export = export_network(network, backend)
    model, quantization, accuracy = export.model, "none", ""
    if args.quantize:
        model, quantization = quantize(export.model, args.quantize, args.data_dir, checkpoint)
        accuracy = measure_loss(model.SerializeToString(), network, args.data_dir, checkpoint)
    check_structure(model, spec, config.image_size, config.num_classes)
    properties = {
        **Checkpoint(network, checkpoint.card).to_metadata(),
        "trained_pooling_type": config.pooling_type,
        "pooling_change": pooling.sentence,
        **({"accuracy": "{}"} if pooling.remedy else {}),  # the checkpoint's accuracy is not this network's
        "target_backend": backend,
        "quantization": quantization,
        "input": describe_input(spec, config.image_size),
        "exporter": export.exporter + (f" ({export.fallback_reason})" if export.fallback_reason else ""),
    }
    add_metadata(model, properties)
    content = seal(model.SerializeToString())
    onnx.checker.check_model(content, full_check=True)
    print_export(export, backend, spec, len(content))

    inputs, reference, origin = choose_inputs(network, samples, spec)
    comparisons, missing = compare_engines(content, spec, inputs, reference, args.device)
    print_comparisons(comparisons, missing, origin, spec)
    if accuracy:
        print(f"accuracy     {accuracy}")

    mapping_path = path.with_name(f"{path.stem}_mapping.json")
    mapping = build_mapping(describe_file(path.name, content, spec, properties))
    with replace_on_success(path) as file:
        file.write(content)
        write_json(mapping_path, mapping)
    print(f"written      {show_path(path)}\n             {show_path(mapping_path)}")


def quantize(
    model: onnx.ModelProto, quantization: str, data_dir: Path, checkpoint: Checkpoint
) -> tuple[onnx.ModelProto, str]:
    """Returns a network with fewer bits, and what was done in one sentence."""
    if quantization == "fp16":
        return store_fp16(model), "fp16: weights stored in 16 bits; computes in float32"
    if quantization == "int8-weights":
        sentence = "int8-weights: weights stored in 8 bits by output channel; computes in float32"
        return store_int8_weights(model), sentence
    calibration = load_calibration_inputs(data_dir, checkpoint)
    return quantize_int8(model, calibration), (
        "int8: weights of 7 bits by output channel, activations of 8 bits by tensor, ranges measured on "
        f"{len(calibration)} augmented training images"
    )


def choose_inputs(
    network: LightweightKanjiNet, samples: SampleInputs, spec: ExportSpec
) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns inputs to run the file on, PyTorch's logits for them (n, 3036), and their origin."""
    # ranges of 8-bit activations were measured on images
    num_noise = 0 if spec.quantization == "int8" else NUM_NOISE
    inputs = np.concatenate([samples.inputs, make_random_inputs(num_noise, network.config.image_size)])
    origin = samples.origin + (f" and {num_noise} random ones" if num_noise else "")
    return inputs, run_pytorch(network, inputs), origin


def describe_input(spec: ExportSpec, size: int) -> str:
    """Says what a client gives to the file."""
    return f"float32 ({spec.batch}, 1, {size}, {size}): images after preprocessing_contract"


def measure_loss(content: bytes, network: LightweightKanjiNet, data_dir: Path, checkpoint: Checkpoint) -> str:
    """Compares top-1 accuracy with the float32 network's on images held out from training, in onnxruntime.

    Returns:
        The accuracies in words; nothing where there is no dataset that was prepared as the network's own.

    Raises:
        KanjinetError: more is lost than MAX_LOSS, beyond what chance explains (two standard errors).
    """
    if not has_matching_dataset(data_dir, checkpoint):
        return ""
    inputs, classes = load_held_out_inputs(data_dir, checkpoint)
    hits = run_pytorch(network, inputs).argmax(axis=1) == classes
    quantized_hits = run_engine(load_onnxruntime(content), inputs).argmax(axis=1) == classes
    lost = float(hits.mean() - quantized_hits.mean())
    error = math.sqrt(float((hits != quantized_hits).sum())) / len(classes)
    found = (
        f"top-1 {hits.mean():.2%} in float32, {quantized_hits.mean():.2%} in this file, on {len(classes):,} images "
        "held out from training"
    )
    if lost - 2 * error > MAX_LOSS:
        raise KanjinetError(f"{found}: more than {MAX_LOSS:.1%} is lost", "use --quantize int8-weights or fp16")
    return found


def check_image_size(image_size: int | None, config: ModelConfig, model_path: Path) -> None:
    if image_size not in (None, config.image_size):
        raise KanjinetError(
            f"--image-size {image_size}: {model_path} was trained on {config.image_size} pixels and knows no other "
            "size",
            f"train one with python train_etl9g_model.py --image-size {image_size}",
        )


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
        "synthetic": json.loads(properties["synthetic"]),
        "license": properties["license"],
    }


def print_network(checkpoint: Checkpoint, model_path: Path, pooling: PoolingChange) -> None:
    config = checkpoint.config
    note = f" ({SAMPLE_NOTE})" if checkpoint.card.synthetic else ""
    print(
        f"network      {config.version}, {config.image_size} x {config.image_size}, "
        f"{count_parameters(checkpoint.model):,} parameters, of {show_path(model_path)}{note}"
    )
    print(f"pooling      {pooling.sentence}")
    if pooling.remedy:
        print(f"             {pooling.remedy}")


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


def print_comparisons(comparisons: list[Comparison], missing: list[str], origin: str, spec: ExportSpec) -> None:
    print(f"checked      against PyTorch in float32 on {origin}")
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
