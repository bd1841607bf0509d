"""Convert a checkpoint to a SafeTensors file that says in its header how to use it.

Reads:  best_kanji_model.pth
Writes: kanji_model_etl9g_64x64_3036classes.safetensors
Run:    python convert_to_safetensors.py --verify
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
from pathlib import Path

import torch

from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.errors import KanjinetError
from kanjinet.export.sample_inputs import make_random_inputs
from kanjinet.model import count_parameters
from kanjinet.storage.checkpoint import CHECKPOINT_NAME, Checkpoint, load_checkpoint
from kanjinet.storage.files import check_output_file, make_folder, replace_on_success
from kanjinet.storage.model_card import default_export_path
from kanjinet.storage.safetensors_file import compare_tensors, load_safetensors, serialize_checkpoint

NUM_INPUTS = 16
OUTPUT_BOUND = 1e-5  # equal weights give equal logits; where tensors lie in memory may change the order of a sum


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python convert_to_safetensors.py --model-path best_kanji_model.pth --verify")
    parser.add_argument("--model-path", type=Path, default=Path(CHECKPOINT_NAME), help="the checkpoint")
    parser.add_argument(
        "--output-path",
        type=Path,
        help="the file to write (default: kanji_model_etl9g_...safetensors, beside --model-path)",
    )
    parser.add_argument("--verify", action="store_true", help="reload the file, compare every tensor and the outputs")
    return parser.parse_args()


def main() -> None:
    """Loads the checkpoint, writes the file, and compares it where asked."""
    args = parse_args()
    checkpoint = load_checkpoint(args.model_path)
    path = args.output_path or default_export_path(
        args.model_path, checkpoint.character_set, checkpoint.config.image_size, ".safetensors"
    )
    check_output_file(path, "--output-path", ".safetensors")
    content = serialize_checkpoint(checkpoint)
    make_folder(path.parent)
    with replace_on_success(path) as file:
        file.write(content)
        file.flush()
        verdict = verify(checkpoint, Path(file.name)) if args.verify else "no (add --verify)"
    config = checkpoint.config
    note = f" ({SAMPLE_NOTE})" if checkpoint.card.synthetic else ""
    print(
        f"network      {config.version}, {config.image_size} x {config.image_size}, {config.pooling_type}, "
        f"{count_parameters(checkpoint.model):,} parameters{note}"
    )
    print(f"verified     {verdict}")
    print(f"written      {show_path(path)}, {len(content) / 1e6:.2f} MB")


def verify(checkpoint: Checkpoint, path: Path) -> str:
    """Rebuilds the network from the file alone and compares it; says what was compared."""
    reloaded = load_safetensors(path)
    if reloaded.config != checkpoint.config:
        raise KanjinetError(f"{path}: its configuration differs after reloading")
    count = compare_tensors(checkpoint.model, reloaded.model)
    inputs = torch.from_numpy(make_random_inputs(NUM_INPUTS, checkpoint.config.image_size))
    with torch.inference_mode():
        difference = float((checkpoint.model(inputs) - reloaded.model(inputs)).abs().max())
    if not difference <= OUTPUT_BOUND:  # "not <=" also catches NaN
        raise KanjinetError(f"{path}: logits differ by {difference:.2g} after reloading, the bound is {OUTPUT_BOUND:g}")
    return f"{count} tensors equal bit by bit; logits of {NUM_INPUTS} random images differ by {difference:.2g}"


if __name__ == "__main__":
    run_script(main)
