"""What every exported model file has in common: its name, and what it says about itself."""

import json
from pathlib import Path
from typing import Any

from kanjinet.classes import CHARACTERS, CLASS_TABLE_SHA256, NUM_CLASSES
from kanjinet.contract import CONTRACTS, check_preprocessing
from kanjinet.errors import KanjinetError
from kanjinet.model import count_parameters
from kanjinet.storage.checkpoint import Checkpoint

LICENSE_SYNTHETIC = "MIT (toolkit); trained on synthetic characters drawn from KanjiVG, CC BY-SA 3.0"
LICENSE_ETL9G = "MIT (toolkit); trained on the ETL Character Database (ETL9G, AIST), whose terms of use apply"
LICENSE_BOTH = f"{LICENSE_ETL9G}, and on synthetic characters drawn from KanjiVG, CC BY-SA 3.0"
ACCURACIES = ("validation", "test")  # of what a checkpoint remembers of its training


def default_export_path(model_path: Path, image_size: int, ending: str) -> Path:
    """Beside the checkpoint: kanji_model_etl9g_64x64_3036classes_tract.onnx for the ending "_tract.onnx"."""
    return model_path.with_name(f"kanji_model_etl9g_{image_size}x{image_size}_{NUM_CLASSES}classes{ending}")


def check_export_path(path: Path, suffix: str, option: str) -> None:
    """Refuse an output name that another kind of file would have, such as the checkpoint's own.

    Raises:
        KanjinetError: `path` does not end in `suffix`.
    """
    if path.suffix.lower() != suffix:
        raise KanjinetError(f"{option} {path}", f"choose a name that ends in {suffix}")


def describe_model(checkpoint: Checkpoint, where: Path) -> dict[str, str]:
    """What a file with a checkpoint's network says about it: text only, structures as JSON.

    Raises:
        KanjinetError: with `where`, when the checkpoint names a preprocessing that is not known.
    """
    check_preprocessing(checkpoint.preprocessing, str(where))
    config = checkpoint.config
    return {
        "model_version": config.version,
        "config": _to_json(config.to_dict()),
        "image_size": str(config.image_size),
        "pooling_type": config.pooling_type,
        "parameters": str(count_parameters(checkpoint.model)),
        "num_classes": str(NUM_CLASSES),
        "class_table": CHARACTERS,
        "class_table_sha256": CLASS_TABLE_SHA256,
        "preprocessing": checkpoint.preprocessing,
        "preprocessing_contract": CONTRACTS[checkpoint.preprocessing],
        "accuracy": _to_json({name: checkpoint.training[name] for name in ACCURACIES if name in checkpoint.training}),
        "training": _to_json(checkpoint.training),
        "synthetic": _to_json(checkpoint.synthetic),
        "dataset_sha256": checkpoint.dataset_sha256,
        "environment": _to_json(checkpoint.environment),
        "license": _name_license(checkpoint),
    }


def _name_license(checkpoint: Checkpoint) -> str:
    if checkpoint.synthetic:
        return LICENSE_SYNTHETIC
    return LICENSE_BOTH if checkpoint.training.get("fresh_sets") else LICENSE_ETL9G


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
