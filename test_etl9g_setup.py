"""Show the prepared dataset before training: statistics, an image of samples, the mapping, the networks.

Reads:  dataset/ (from prepare_etl9g_dataset.py)
Writes: dataset_samples.png (random samples, each above its label in print; no window opens)
Run:    python test_etl9g_setup.py --data-dir dataset --test-model
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
import shlex
from pathlib import Path

import numpy as np

from kanjinet.classes import SCRIPTS
from kanjinet.data.dataset import (
    CHARACTER_MAPPING_NAME,
    DatasetInfo,
    Labels,
    read_dataset_info,
    read_images,
    read_labels,
)
from kanjinet.data.etl_records import DATABASES, SAMPLE_NOTE
from kanjinet.errors import KanjinetError, brief
from kanjinet.evaluation.image_grid import draw_image_grid
from kanjinet.storage.files import check_output_file, make_folder, read_json
from kanjinet.storage.png import write_png

IMAGE_NAME = "dataset_samples.png"
IMAGES, COLUMNS = 96, 16
SAMPLES = 2000  # images that are checked


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python test_etl9g_setup.py --data-dir dataset --test-model")
    parser.add_argument("--data-dir", type=Path, default=Path("dataset"), help="the prepared dataset")
    parser.add_argument("--picture", type=Path, help=f"where to write the image (default: {IMAGE_NAME} in --data-dir)")
    parser.add_argument("--test-model", action="store_true", help="also build each network and run an image through it")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    image_path = args.picture or args.data_dir / IMAGE_NAME
    check_output_file(image_path, "--picture")
    info = read_dataset_info(args.data_dir)
    labels = read_labels(info)
    print_statistics(info, labels)
    check_mapping(info)
    draw_samples(info, labels, image_path)
    if args.test_model:
        check_networks(info)
    print(f"next       python train_etl9g_model.py --data-dir {shlex.quote(show_path(info.folder))}")


def print_statistics(info: DatasetInfo, labels: Labels) -> None:
    character_set = info.character_set
    per_class = np.bincount(labels.classes, minlength=character_set.num_classes)
    of_scripts = ((int(per_class[character_set.is_of(script)].sum()), script) for script in SCRIPTS)
    print(f"dataset    {show_path(info.folder)}{f' ({SAMPLE_NOTE})' if info.synthetic else ''}")
    size = f"{info.image_size} x {info.image_size}"
    print(f"images     {len(labels):,} of {size}, uint8, preprocessing {info.preprocessing}")
    print(f"           {', '.join(f'{count:,} {script}' for count, script in of_scripts if count)}")
    found = f"{np.count_nonzero(per_class):,} of {character_set.num_classes:,}"
    print(f"classes    {found}, {per_class.min()} to {per_class.max()} images each")
    of = f"{info.database}'s {sum(len(DATABASES[each].labels) for each in info.databases)}"
    print(f"data sets  {len(np.unique(labels.data_sets))} of {of}, in {len(info.chunks)} chunks")


def check_mapping(info: DatasetInfo) -> None:
    """Compares character_mapping.json with the class table; shows one class that everybody can look up."""
    path = info.folder / CHARACTER_MAPPING_NAME
    remedy = "run prepare_etl9g_dataset.py again"
    mapping = read_json(path, remedy)
    if not isinstance(mapping, dict):
        raise KanjinetError(f"{path}: not a mapping of classes to characters", remedy)
    for index, entry in info.character_set.describe_classes().items():
        if (found := mapping.get(index)) != entry:
            expected = f"{entry['character']} (JIS {entry['jis_code']})"
            raise KanjinetError(f"{path}: class {index} is {brief(found)}, expected {expected}", remedy)
    ta = info.character_set.class_of_character["田"]
    print(f"mapping    {len(mapping):,} characters; 田 is class {ta:,}, JIS {mapping[str(ta)]['jis_code']}")


def draw_samples(info: DatasetInfo, labels: Labels, path: Path) -> None:
    """Writes an image of random samples in class order; refuses a dataset half of whose samples are empty."""
    random = np.random.default_rng(0)
    chosen = random.choice(len(labels), min(SAMPLES, len(labels)), replace=False)
    images = read_images(info, chosen)
    ink = images.mean(axis=(1, 2)) / 255
    empty = int(np.count_nonzero(ink == 0))
    if 2 * empty >= len(images):
        raise KanjinetError(f"{info.folder}: {empty:,} of {len(images):,} images are empty", "check the ETL9G files")
    print(f"ink        {ink.mean():.1%} of an image on average; {empty:,} of {len(images):,} are empty")
    shown = np.sort(random.choice(len(chosen), min(IMAGES, len(chosen)), replace=False))
    classes = labels.classes[chosen]
    shown = shown[np.argsort(classes[shown], kind="stable")]
    names = [info.character_set.characters[index] for index in classes[shown].tolist()]
    make_folder(path.parent)
    write_png(path, draw_image_grid(list(images[shown]), names, COLUMNS))
    print(f"image      {show_path(path)}: {len(shown)} samples, each above its label in print")


def check_networks(info: DatasetInfo) -> None:
    """Builds every version for this dataset's images and runs one through it."""
    import torch

    from kanjinet.model import DEFAULT_VERSION, MODEL_VERSIONS, LightweightKanjiNet, ModelConfig, count_parameters
    from kanjinet.training.validation import predict_logits

    image, num_classes = (
        torch.from_numpy(read_images(info, np.zeros(1, dtype=np.int64))),
        info.character_set.num_classes,
    )
    for version in MODEL_VERSIONS:
        network = LightweightKanjiNet(ModelConfig.preset(version, info.image_size, num_classes=num_classes))
        logits = predict_logits(network, image)
        if logits.shape != (1, num_classes) or not bool(torch.isfinite(logits).all()):
            raise KanjinetError(
                f"network {version} gives {tuple(logits.shape)}, expected (1, {num_classes}) finite logits"
            )
        parameters = count_parameters(network)
        default = "  (default)" if version == DEFAULT_VERSION else ""
        print(f"network    {version}: {parameters:9,} parameters, {parameters * 4 / 1e6:5.1f} MB as float32{default}")


if __name__ == "__main__":
    run_script(main)
