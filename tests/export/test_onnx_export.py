"""Every export in two real engines, and its file read by the tests' own code."""

import collections
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import tract
from onnx import TensorProto, helper, numpy_helper

import convert_to_onnx
from kanjinet import __version__
from kanjinet.classes import CHARACTERS, ETL9G_SET
from kanjinet.contract import CONTRACTS
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, load_recognizer
from kanjinet.export import onnx_export, sample_inputs, spec
from kanjinet.export.onnx_export import export_network
from kanjinet.export.quantization import quantize_int8
from kanjinet.export.spec import BACKENDS, SPECS, ExportSpec, check_structure, pooling_of_backend
from kanjinet.export.verification import compare_engines
from kanjinet.export.weight_compression import split_large_layers
from kanjinet.model import POOLING_TYPES, change_pooling
from kanjinet.storage.safetensors_file import load_trained_network, serialize_checkpoint
from tests.random_checkpoint import (
    CARD,
    compute_logits,
    draw_images,
    make_checkpoint,
    make_network,
    write_checkpoint,
)

ROOT = Path(__file__).parents[2]
OPSETS = {"tract": 12, "ort-tract": 11, "strict": 11}
BOUND = 1e-3
BACKENDS_OF_TEST = ["tract", "ort-tract", "strict"]

# Every pooling type with 3.0 for every backend. With 2.1 for one: ort-tract has its graphs, torch.export takes seconds.
CASES = [
    (version, backend, pooling_type, 64)
    for version in ("3.0", "2.1")
    for backend in BACKENDS_OF_TEST
    for pooling_type in POOLING_TYPES
    if backend == "strict" or version == "3.0" or pooling_type == "adaptive_max"
] + [
    ("3.0", "strict", "avg_2x2", 48),
    ("1.0", "tract", "adaptive_avg", 32),
    ("1.0", "strict", "fixed_max", 32),
    ("2.0", "ort-tract", "max_2x2", 48),
    ("3.0", "strict", "adaptive_avg", 32),
    ("3.0", "ort-tract", "adaptive_max", 96),
    ("2.1", "strict", "avg_2x2", 128),
    ("3.0", "ort-tract", "fixed_avg", 128),
    # and, with those above, every pair of version and size, of backend and size, and of pooling type and size
    ("1.0", "ort-tract", "max_2x2", 96),
    ("1.0", "strict", "adaptive_avg", 128),
    ("1.0", "tract", "max_2x2", 48),
    ("2.1", "ort-tract", "fixed_avg", 32),
    ("2.1", "tract", "avg_2x2", 96),
    ("2.1", "strict", "fixed_max", 48),
    ("3.0", "tract", "adaptive_max", 128),
]


def run_onnxruntime(content: bytes, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def load_tract(path: Path, pinned_shape: tuple[int, ...] | None) -> Callable[[np.ndarray], np.ndarray]:
    model = tract.onnx().load(path)
    if pinned_shape:
        model.set_input_fact(0, ",".join(map(str, pinned_shape)) + ",f32")
    runnable = model.into_model().into_runnable()
    return lambda inputs: runnable.run([inputs])[0].to_numpy()


def list_dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def assert_opset_is_true(model: onnx.ModelProto, opset: int) -> None:
    """Each node against the newest definition of its operator that `opset` has."""
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]
    assert model.ir_version <= {11: 6, 12: 7}[opset]  # what came out with that opset
    for node in model.graph.node:
        assert node.domain == ""
        schema = onnx.defs.get_schema(node.op_type, opset)
        assert schema.since_version <= opset
        assert schema.min_input <= len(node.input) <= schema.max_input, node
        assert {each.name for each in node.attribute} <= set(schema.attributes), node


@pytest.mark.parametrize(("version", "backend", "pooling_type", "image_size"), CASES)
def test_export_is_what_its_name_says(
    tmp_path: Path, version: str, backend: str, pooling_type: str, image_size: int
) -> None:
    network = make_network(version, image_size, pooling_type)
    inputs = draw_images(image_size)[:15]
    expected = compute_logits(network, inputs)
    assert len(set(expected.argmax(axis=1))) > 5  # else the comparison would mean little

    export = export_network(change_pooling(network, pooling_of_backend(pooling_type, backend)), backend)
    content = export.model.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert ("torch.export" in export.exporter) == (backend == "tract")
    assert not export.fallback_reason
    model = onnx.load(path, load_external_data=False)
    assert_opset_is_true(model, OPSETS[backend])
    assert [each.data_location for each in model.graph.initializer] == [0] * len(model.graph.initializer)
    batch = 1 if backend == "strict" else "batch"
    assert list_dims(model.graph.input[0]) == [batch, 1, image_size, image_size]
    assert list_dims(model.graph.output[0]) == [batch, 3036]
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("input", "output")
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"Shape", "Gather", "Reshape", "BatchNormalization", "Constant", "Identity"}
    if backend != "tract":
        assert not operators & {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"}

    x = inputs.numpy()
    as_declared = load_tract(path, None)
    pinned = load_tract(path, (1, 1, image_size, image_size))
    for run, batch_sizes in (
        (lambda part: run_onnxruntime(content, part), (1, 5)),
        (as_declared, (1, 5)),
        (pinned, (1,)),
    ):
        for batch_size in batch_sizes if backend != "strict" else (1,):
            found = np.concatenate([run(part) for part in np.split(x, len(x) // batch_size)[:3]])
            assert np.abs(found - expected[: len(found)]).max() < BOUND
            assert (found.argmax(axis=1) == expected[: len(found)].argmax(axis=1)).all()


def test_specs_are_those_of_the_readme() -> None:
    assert list(BACKENDS) == BACKENDS_OF_TEST
    assert {name: spec.opset for name, spec in SPECS.items()} == OPSETS


def test_strict_file_refuses_another_batch() -> None:
    content = export_network(make_network(pooling_type="fixed_avg"), "strict").model.SerializeToString()
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        run_onnxruntime(content, np.zeros((2, 1, 64, 64), dtype=np.float32))


def test_falls_back_to_torchscript_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise KanjinetError("no opset-12 form of operator Hardmax is known")

    monkeypatch.setattr(onnx_export, "_export_dynamo", refuse)
    network = make_network()
    export = export_network(network, "tract")
    assert "TorchScript" in export.exporter
    assert "Hardmax" in export.fallback_reason
    assert_opset_is_true(export.model, 12)
    inputs = draw_images(64)[:5]
    found = run_onnxruntime(export.model.SerializeToString(), inputs.numpy())
    assert np.abs(found - compute_logits(network, inputs)).max() < BOUND


def make_model(nodes: list[onnx.NodeProto], opset: int, tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [values("input", TensorProto.FLOAT, ["batch", 1, 32, 32])],
        [values("output", TensorProto.FLOAT, ["batch", 1024])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


FLATTEN = helper.make_node("Flatten", ["input"], ["output"], axis=1)


@pytest.mark.parametrize(
    ("nodes", "opset", "message"),
    [
        ([FLATTEN], 18, "operator sets"),
        ([helper.make_node("HardSwish", ["input"], ["x"]), helper.make_node("Flatten", ["x"], ["output"])], 12, "Hard"),
        ([helper.make_node("Relu", ["input"], ["x"], alpha=1.0), FLATTEN], 12, "alpha"),
        ([helper.make_node("ReduceMean", ["input", "axes"], ["x"]), FLATTEN], 12, "ReduceMean"),
        ([helper.make_node("Reshape", ["input", "shape"], ["output"], allowzero=1)], 12, "Reshape|allowzero"),
    ],
)
def test_structure_check_refuses_what_the_opset_does_not_have(
    nodes: list[onnx.NodeProto], opset: int, message: str
) -> None:
    tensors = {"axes": np.array([2, 3]), "shape": np.array([-1, 1024])}
    with pytest.raises(KanjinetError, match=message):
        check_structure(make_model(nodes, opset, tensors), ExportSpec(12, True, False), 32, 1024)


def test_structure_check_accepts_and_refuses_batch_and_side_file() -> None:
    model = make_model([FLATTEN], 12, {})
    check_structure(model, ExportSpec(12, True, False), 32, 1024)
    with pytest.raises(KanjinetError, match="expected"):
        check_structure(model, ExportSpec(12, False, False), 32, 1024)
    with pytest.raises(KanjinetError, match="expected"):
        check_structure(model, ExportSpec(12, True, False), 48, 1024)


@pytest.mark.parametrize("damage", ["classifier.0.bias", "nan"])
def test_engine_check_refuses_other_scores(damage: str) -> None:
    network = make_network("1.0", 32)
    inputs = draw_images(32)[:5].numpy()
    content = export_network(change_pooling(network, "fixed_avg"), "strict").model.SerializeToString()
    reference = compute_logits(network, torch.from_numpy(inputs))
    compare_engines(content, SPECS["strict"], inputs, reference)
    reference[2, 7] = np.nan if damage == "nan" else reference[2, 7] + 0.01
    with pytest.raises(KanjinetError, match="differ from PyTorch"):
        compare_engines(content, SPECS["strict"], inputs, reference)


def run_main(monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["convert_to_onnx.py", *map(str, options)])
        patch.setattr(sample_inputs, "NUM_IMAGES", 64)  # only the test that starts the script compares on all
        convert_to_onnx.main()


def read_properties(path: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(path).metadata_props}


def test_script_writes_file_mapping_and_metadata(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best_kanji_model.pth", "3.0", 64)
    result = subprocess.run(
        [sys.executable, ROOT / "convert_to_onnx.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    stem = "kanji_model_etl9g_64x64_3036classes_tract"
    assert {each.name for each in tmp_path.iterdir()} == {
        "best_kanji_model.pth",
        f"{stem}.onnx",
        f"{stem}_mapping.json",
    }
    path = tmp_path / f"{stem}.onnx"
    properties = read_properties(path)
    assert properties["class_table"] == CHARACTERS
    assert properties["class_table_sha256"] == ETL9G_SET.sha256
    assert properties["preprocessing_contract"] == CONTRACTS["even-lines-2"]
    assert (properties["model_version"], properties["image_size"]) == ("3.0", "64")
    assert (properties["pooling_type"], properties["synthetic"]) == ("adaptive_avg", "true")
    assert json.loads(properties["accuracy"])["test"]["top1"] == 0.5
    assert properties["accuracy_of"] == "this file's network"
    assert json.loads(properties["training"]) == CARD.to_dict()["training"]
    assert properties["license"]
    assert "torch.export" in properties["exporter"]
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version) == ("kanjinet", __version__)
    assert str(ROOT).encode() not in path.read_bytes()  # no trace of where it was made
    mapping = json.loads((tmp_path / f"{stem}_mapping.json").read_text(encoding="utf-8"))
    assert "".join(each["character"] for each in mapping["characters"].values()) == CHARACTERS
    info = mapping["model_info"]
    assert (info["model_file"], info["opset"], info["image_size"]) == (f"{stem}.onnx", 12, 64)
    assert info["input"]["shape"] == ["batch", 1, 64, 64]
    assert "synthetic sample" in result.stdout
    assert "tract 0." in result.stdout


def test_pooling_that_changes_the_network_is_measured_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "2.1", 32)
    options = ("--model-path", checkpoint, "--target-backend", "strict", "--data-dir", tmp_path)
    run_main(monkeypatch, *options, "--pooling-type", "adaptive_max", "--onnx-path", tmp_path / "max.onnx")
    out = capsys.readouterr().out
    assert "train_etl9g_model.py --image-size 32 --pooling-type fixed_max --model-version 2.1" in out
    assert "the prediction changes for" in out
    properties = read_properties(tmp_path / "max.onnx")
    assert properties["accuracy"] == "{}"  # it belongs to the network with average pooling
    assert not {"validation", "test"} & json.loads(properties["training"]).keys()
    assert properties["trained_pooling_type"] == "adaptive_avg"

    run_main(monkeypatch, *options, "--pooling-type", "avg_2x2", "--onnx-path", tmp_path / "spread.onnx")
    assert "computes the same" in capsys.readouterr().out
    network = make_network("2.1", 32)
    inputs = draw_images(32)[:1]
    found = run_onnxruntime((tmp_path / "spread.onnx").read_bytes(), inputs.numpy())
    assert np.abs(found - compute_logits(network, inputs)).max() < BOUND
    assert (tmp_path / "spread_mapping.json").is_file()


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["KANJINET_TEST_TRAP"],)


@pytest.mark.parametrize("kind", ["missing", "random", "pickle"])
def test_bad_checkpoints_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path, trap = tmp_path / "m.pth", tmp_path / "trap"
    monkeypatch.setenv("KANJINET_TEST_TRAP", str(trap))
    if kind == "random":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "pickle":
        torch.save({"format": RunsCode()}, path)
    before = set(tmp_path.iterdir())
    with pytest.raises(KanjinetError, match=r"m\.pth.*train_etl9g_model\.py"):
        run_main(monkeypatch, "--model-path", path)
    assert not trap.exists()
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--image-size", "96"], KanjinetError, r"32 pixels.*train_etl9g_model\.py --image-size 96"),
        (["--onnx-path", "m.pth"], KanjinetError, r"ends in \.onnx"),
        (["--onnx-path", "m.pth/x.onnx"], (KanjinetError, OSError), r"m\.pth"),
        (["--target-backend", "strict", "--device", "mps"], KanjinetError, "mps: ONNX files run on cpu or cuda"),
        (["--image-size", "-1"], SystemExit, "2"),
        (["--pooling-type", "mean"], SystemExit, "2"),
        (["--target-backend", "tensorrt"], SystemExit, "2"),
    ],
)
def test_silly_options_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    error: type[BaseException] | tuple[type[BaseException], ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(Path("m.pth"), "1.0", 32)
    before = (tmp_path / "m.pth").read_bytes()
    with pytest.raises(error, match=message):
        run_main(monkeypatch, "--model-path", "m.pth", *options)
    assert [each.name for each in tmp_path.iterdir()] == ["m.pth"]
    assert (tmp_path / "m.pth").read_bytes() == before


def test_failed_check_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    export_as_is = convert_to_onnx.export_network

    def export_damaged(*args: object) -> onnx_export.Export:
        export = export_as_is(*args)
        tensor = next(each for each in export.model.graph.initializer if each.dims == [3036])
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.01), tensor.name))
        return export

    monkeypatch.setattr(convert_to_onnx, "export_network", export_damaged)
    with pytest.raises(KanjinetError, match="differ from PyTorch"):
        run_main(monkeypatch, "--model-path", checkpoint, "--target-backend", "strict", "--data-dir", tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize("backend", BACKENDS_OF_TEST)
def test_quantized_file_is_small_and_reads_the_same_in_both_engines(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    network = PRETRAINED_PATH.with_name("kanji_model_etl9g_64x64_3036classes.safetensors")
    shutil.copy(network, tmp_path / "m.safetensors")
    options = ("--quantize", "int8", "--data-dir", workplace / "dataset")
    run_main(monkeypatch, "--model-path", tmp_path / "m.safetensors", "--target-backend", backend, *options)
    path = tmp_path / f"kanji_model_etl9g_64x64_3036classes_{backend}_int8.onnx"
    assert path.stat().st_size <= 2.3e6
    model = onnx.load(path)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 13)]
    assert "opset 13" in capsys.readouterr().out
    weights = [each for each in model.graph.initializer if np.prod(each.dims) > 3036]
    assert weights
    assert {each.data_type for each in weights} <= {TensorProto.INT8, TensorProto.UINT8}
    mapping = json.loads(path.with_name(f"{path.stem}_mapping.json").read_text(encoding="utf-8"))
    assert mapping["model_info"]["opset"] == 13
    assert mapping["model_info"]["quantization"].startswith("int8")

    inputs = draw_images(64).numpy()
    expected = compute_logits(load_trained_network(network).model, draw_images(64))
    content, run_in_tract = path.read_bytes(), load_tract(path, (1, 1, 64, 64))
    for run in (lambda image: run_onnxruntime(content, image), run_in_tract):
        found = np.concatenate([run(inputs[i : i + 1]) for i in range(len(inputs))])
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.85


@pytest.mark.parametrize(
    ("backend", "quantization", "most_bytes", "correlation"),
    [
        ("ort-tract", "int8-weights", 2.3e6, 0.99),
        ("strict", "fp16", 4.5e6, 0.9999),
        ("ort-tract", "fp16", 4.5e6, 0.9999),
    ],
)
def test_weights_of_fewer_bits_are_small_and_of_the_backend_s_opset(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    quantization: str,
    most_bytes: float,
    correlation: float,
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth")
    monkeypatch.setitem(spec.MIN_AGREEMENT, quantization, 0.5)  # random weights are more sensitive
    options = ("--target-backend", backend, "--quantize", quantization, "--data-dir", tmp_path)
    run_main(monkeypatch, "--model-path", checkpoint, *options)
    path = tmp_path / f"kanji_model_etl9g_64x64_3036classes_{backend}_{quantization}.onnx"
    assert path.stat().st_size <= most_bytes
    assert read_properties(path)["accuracy_of"] == "the network before it was quantized"
    model = onnx.load(path)
    assert_opset_is_true(model, OPSETS[backend])
    assert {each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)} == {
        TensorProto.FLOAT
    }
    large = [each.data_type for each in model.graph.initializer if np.prod(each.dims) > 3036]
    assert set(large) == {TensorProto.INT8 if quantization == "int8-weights" else TensorProto.FLOAT16}
    inputs = draw_images(64).numpy()
    expected = compute_logits(make_network(), draw_images(64))
    content, run_in_tract = path.read_bytes(), load_tract(path, (1, 1, 64, 64))
    for run in (lambda image: run_onnxruntime(content, image), run_in_tract):
        found = np.concatenate([run(inputs[i : i + 1]) for i in range(len(inputs))])
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > correlation


def test_large_layers_are_divided_where_an_engine_would_not_fold_their_weights() -> None:
    network = make_network("2.1", 32, "fixed_avg")
    divided = split_large_layers(export_network(network, "strict").model)
    sizes = [int(np.prod(each.dims)) for each in divided.graph.initializer]
    assert max(sizes) <= 1_000_000
    assert (
        collections.Counter(node.op_type for node in divided.graph.node)["Gemm"] == 5
    )  # 512 x 1024 and 4 of 1024 x 759
    inputs = draw_images(32)[:1]
    found = run_onnxruntime(divided.SerializeToString(), inputs.numpy())
    assert np.abs(found - compute_logits(network, inputs)).max() < BOUND


def test_a_nearly_dead_activation_does_not_overflow_the_bias() -> None:
    values = helper.make_tensor_value_info
    tensors = {
        "w1": np.full((1, 1, 1, 1), 1e-9, dtype=np.float32),
        "w2": np.full((2, 1, 1, 1), 0.01, dtype=np.float32),
        "b2": np.array([3.0, -5.0], dtype=np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["dead"]),
        helper.make_node("Conv", ["dead", "w2", "b2"], ["biased"]),
        helper.make_node("Flatten", ["biased"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [values("input", TensorProto.FLOAT, ["batch", 1, 1, 1])],
        [values("output", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    inputs = np.linspace(0, 1, 32, dtype=np.float32).reshape(32, 1, 1, 1)
    found = run_onnxruntime(quantize_int8(model, inputs).SerializeToString(), inputs)
    assert np.abs(found - [3.0, -5.0]).max() < 0.05


def test_quantized_file_that_reads_otherwise_is_refused(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth")
    options = ("--target-backend", "strict", "--quantize", "int8", "--data-dir", workplace / "dataset")
    refusal = "the bound is 97.0% equal predictions: use --quantize int8-weights or fp16, or train longer"
    with pytest.raises(KanjinetError, match=refusal):
        run_main(monkeypatch, "--model-path", checkpoint, *options)
    assert [each.name for each in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize(("lost", "is_refused"), [(31, False), (32, True)])
def test_a_loss_beyond_two_tenths_of_a_point_and_chance_is_refused(
    monkeypatch: pytest.MonkeyPatch, lost: int, is_refused: bool
) -> None:
    """Of 10,000 images, 20 may be lost, and of n that change sides another two square roots of n."""
    logits = np.zeros((10_000, 2), np.float32)
    logits[:lost, 1] = 1
    monkeypatch.setattr(convert_to_onnx, "load_held_out_inputs", lambda *_: (None, np.zeros(10_000)))
    monkeypatch.setattr(convert_to_onnx, "run_pytorch", lambda *_: np.zeros((10_000, 2)))
    monkeypatch.setattr(convert_to_onnx, "load_onnxruntime", lambda *_: None)
    monkeypatch.setattr(convert_to_onnx, "run_engine", lambda *_: logits)
    if is_refused:
        with pytest.raises(
            KanjinetError, match=r"0.32% is lost, more than 0.2% and two .* \(0.31%\): leave --quantize out"
        ):
            convert_to_onnx.measure_loss(b"", None, Path(), None, "fp16")
    else:
        assert "99.69% in this file, on 10,000 images" in convert_to_onnx.measure_loss(b"", None, Path(), None, "fp16")


def test_a_safetensors_file_is_exported_as_its_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    (tmp_path / "m.safetensors").write_bytes(serialize_checkpoint(make_checkpoint("1.0", 32)))
    for name in ("m.pth", "m.safetensors"):
        options = ("--onnx-path", tmp_path / f"{name}.onnx", "--target-backend", "strict", "--data-dir", tmp_path)
        run_main(monkeypatch, "--model-path", tmp_path / name, *options)
    assert (tmp_path / "m.pth.onnx").read_bytes() == (tmp_path / "m.safetensors.onnx").read_bytes()


def test_quantization_without_training_images_and_other_devices_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    monkeypatch.setattr(convert_to_onnx, "load_sample_inputs", None)  # it is refused before any work
    for problem, *options in (
        ("no prepared dataset with images of 32 pixels.*or use --quantize int8-weights or fp16", "--quantize", "int8"),
        ("device mps: ONNX files run on cpu or cuda", "--device", "mps"),
    ):
        options += ["--data-dir", tmp_path, "--onnx-path", tmp_path / "x.onnx"]
        with pytest.raises(KanjinetError, match=problem):
            run_main(monkeypatch, "--model-path", checkpoint, *options)
    assert [each.name for each in tmp_path.iterdir()] == ["m.pth"]


def test_batch_norm_is_folded_and_no_weight_is_stored_twice() -> None:
    network = make_network("3.0", 64, "fixed_avg")
    model = export_network(network, "ort-tract").model
    stored = sum(int(np.prod(each.dims)) for each in model.graph.initializer)
    assert stored < sum(each.numel() for each in network.parameters())
    assert collections.Counter(node.op_type for node in model.graph.node)["Gemm"] == 2  # the classifier's two factors


@pytest.mark.parametrize("place", ["weights", "attribute"])
def test_a_file_that_names_another_file_is_refused(tmp_path: Path, place: str) -> None:
    model = make_model([FLATTEN], 12, {})
    tensor = numpy_helper.from_array(np.zeros(1024, dtype=np.float32), "leak")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    if place == "weights":
        model.graph.initializer.append(tensor)
    else:
        model.graph.node.append(helper.make_node("Constant", [], ["leak"], value=tensor))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(KanjinetError, match=r"m\.onnx: its weights lie in another file, '\.\./\.\./etc/passwd'"):
        load_recognizer(tmp_path / "m.onnx")


def test_the_file_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "m.pth", "1.0", 32)
    options = ("--target-backend", "strict", "--onnx-path", tmp_path / "m.onnx", "--data-dir", tmp_path)
    run_main(monkeypatch, "--model-path", checkpoint, *options)
    model = onnx.load(tmp_path / "m.onnx")
    assert model.graph.name == "LightweightKanjiNet"
    assert "1.0" in model.doc_string
    assert "3036" in model.doc_string
    assert "ink 1 on paper 0" in model.graph.input[0].doc_string
    assert "class order" in model.graph.output[0].doc_string
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    properties = read_properties(tmp_path / "m.onnx")
    assert {"model_version", "preprocessing", "class_table_sha256", "accuracy", "license"} <= properties.keys()
    assert "float32 (1, 1, 32, 32)" in properties["input"]
