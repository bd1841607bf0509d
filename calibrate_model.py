"""Calibrate a trained network's probabilities by temperature scaling, on the held-out images of a training.

train_etl9g_model.py and average_models.py do so by themselves; this is for networks of earlier versions, and for other
images than those of the training. All logits are divided by one number, so no prediction changes.

Reads:  a trained network, .pth or .safetensors, and dataset/
Writes: calibrated_kanji_model.pth
Run:    python calibrate_model.py --model-path best_kanji_model.pth --data-dir dataset
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
from dataclasses import replace
from pathlib import Path

from kanjinet.data.dataset import read_dataset_info
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.storage.checkpoint import CHECKPOINT_NAME, save_checkpoint
from kanjinet.storage.files import check_output_file, make_folder
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.training.calibration import calibrate, describe_calibration
from kanjinet.training.held_out import load_held_out
from kanjinet.training.rejection import describe_rejection, fit_rejection
from kanjinet.training.validation import measure_parts


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser(__doc__, "python calibrate_model.py --model-path best_kanji_model.pth")
    parser.add_argument("--model-path", type=Path, default=Path(CHECKPOINT_NAME), help="the network")
    parser.add_argument("--data-dir", type=Path, default=Path("dataset"), help="the prepared dataset")
    parser.add_argument("--output", type=Path, default=Path("calibrated_kanji_model.pth"), help="the file to write")
    return parser.parse_args()


def main() -> None:
    """Loads, calibrates, writes."""
    args = parse_args()
    check_output_file(args.output, "--output", ".pth")
    checkpoint = load_trained_network(args.model_path)
    info = read_dataset_info(args.data_dir)
    earlier = checkpoint.card.calibration.value if checkpoint.card.calibration else 1.0
    held_out = load_held_out(info, checkpoint)
    found = calibrate(checkpoint.model, *held_out)
    if info.sha256 == checkpoint.card.options.dataset_sha256:
        metrics = measure_parts(checkpoint.model, *held_out)
    else:  # predictions, and so accuracies, are as before; the loss on its own dataset is not known
        metrics = {part: replace(each, loss=None) for part, each in checkpoint.card.metrics.items()}
    calibration = replace(found, value=earlier * found.value)
    rejection = fit_rejection(
        checkpoint.model, held_out[0], checkpoint.card.options, info.preprocessing, info.character_set
    )
    checkpoint.card = replace(checkpoint.card, calibration=calibration, rejection=rejection, metrics=metrics)
    make_folder(args.output.parent)
    save_checkpoint(args.output, checkpoint)
    print(f"calibrated {describe_calibration(found)}{f' ({SAMPLE_NOTE})' if info.synthetic else ''}")
    if rejection:
        print(f"rejection  {describe_rejection(rejection)}")
    print(f"written    {show_path(args.output)}")


if __name__ == "__main__":
    run_script(main)
