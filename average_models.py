"""Average the weights of two trained networks, one of which was initialized with the other.

Their average recognizes unknown writers and pens better than either (Wortsman et al., "Robust fine-tuning of zero-shot
models", 2022); not so that of two networks that were trained from scratch.

Reads:  two trained networks, .pth or .safetensors, and dataset/, on whose held-out parts the average is calibrated
        and measured
Writes: averaged_kanji_model.pth
Run:    python average_models.py start.safetensors best_kanji_model.pth --data-dir dataset
"""

from kanjinet.cli import fraction, make_parser, run_script, show_path

import argparse
import copy
from dataclasses import replace
from pathlib import Path

from kanjinet.data.dataset import read_dataset_info
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.errors import KanjinetError
from kanjinet.model import LightweightKanjiNet
from kanjinet.storage.checkpoint import Checkpoint, save_checkpoint
from kanjinet.storage.files import check_output_file, make_folder, sha256_of_file
from kanjinet.storage.model_card import Averaging, merge_sources
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.training.calibration import calibrate, describe_calibration
from kanjinet.training.held_out import load_held_out
from kanjinet.training.rejection import describe_rejection, fit_rejection
from kanjinet.training.validation import measure_parts


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser(__doc__, "python average_models.py start.safetensors best_kanji_model.pth")
    parser.add_argument("models", type=Path, nargs=2, help="a network, and one that was trained from it")
    parser.add_argument("--data-dir", type=Path, default=Path("dataset"), help="the second one's dataset")
    parser.add_argument("--weight", type=fraction, default=0.5, help="of the second one, 0-1; the first has the rest")
    parser.add_argument("--output", type=Path, default=Path("averaged_kanji_model.pth"), help="the file to write")
    return parser.parse_args()


def main() -> None:
    """Averages, calibrates, measures, writes."""
    args = parse_args()
    check_output_file(args.output, "--output", ".pth")
    first, second = (load_trained_network(path) for path in args.models)
    if (first.config, first.character_set, first.card.preprocessing) != (
        second.config,
        second.character_set,
        second.card.preprocessing,
    ):
        raise KanjinetError(
            f"{args.models[1]}: another configuration, preprocessing or character set than {args.models[0]}",
            "give one that was trained from it with --init-from",
        )
    info = read_dataset_info(args.data_dir)
    if info.sha256 != second.card.options.dataset_sha256:
        raise KanjinetError(
            f"{info.folder}: {args.models[1]} was trained on another dataset", "name that with --data-dir"
        )
    averaged = average(first.model, second.model, args.weight)
    validation, test = load_held_out(info, second)
    calibration = calibrate(averaged, validation, test)
    rejection = fit_rejection(averaged, validation, second.card.options, info.preprocessing, info.character_set)
    card = replace(
        second.card,
        sources=merge_sources(first.card.sources, second.card.sources),
        averaging=Averaging(tuple(sha256_of_file(path) for path in args.models), (1 - args.weight, args.weight)),
        calibration=calibration,
        rejection=rejection,
        best_epoch=None,
        metrics=measure_parts(averaged, validation, test),
    )
    make_folder(args.output.parent)
    save_checkpoint(args.output, Checkpoint(averaged, card, second.character_set))
    tested, note = card.metrics["test"], f" ({SAMPLE_NOTE})" if info.synthetic else ""
    print(f"test       top-1 {tested.top1:.2%} of {tested.samples:,} images{note}")
    print(f"calibrated {describe_calibration(calibration)}")
    if rejection:
        print(f"rejection  {describe_rejection(rejection)}")
    print(f"written    {show_path(args.output)}")


def average(first: LightweightKanjiNet, second: LightweightKanjiNet, weight: float) -> LightweightKanjiNet:
    """Averages all weights and batch normalization's statistics; `weight` is the second network's."""
    averaged = copy.deepcopy(second)
    other = first.state_dict()
    averaged.load_state_dict(
        {
            name: other[name].lerp(tensor, weight) if tensor.is_floating_point() else tensor
            for name, tensor in second.state_dict().items()
        }
    )
    return averaged


if __name__ == "__main__":
    run_script(main)
