"""Train a LightweightKanjiNet on the prepared dataset.

Reads:  dataset/ (from prepare_etl9g_dataset.py)
Writes: best_kanji_model.pth, best_model_info.json; after every epoch training_progress.json, training_curves.png,
        training_state.pth
Run:    python train_etl9g_model.py --data-dir dataset --epochs 30 --batch-size 64
        python train_etl9g_model.py --epochs 2 --batch-size 32 --sample-limit 15000     (a quick smoke run)

        torchrun --nproc-per-node 2 train_etl9g_model.py --batch-size 128     (on two GPUs)

Ctrl-C saves and stops; a crash loses two minutes at most. The same command with --resume goes on.
"""

from kanjinet.cli import fraction, make_parser, positive_float, positive_int, run_script, seed_number, show_path

import argparse
import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import torch
from tqdm import tqdm

from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.dataset import DatasetInfo, read_dataset_info
from kanjinet.data.etl_records import SAMPLE_NOTE
from kanjinet.data.resources import usable_cores
from kanjinet.errors import KanjinetError
from kanjinet.model import MODEL_VERSIONS, POOLING_TYPES, LightweightKanjiNet, count_parameters
from kanjinet.storage.checkpoint import Checkpoint
from kanjinet.storage.files import check_output_folder, make_folder, sha256_of_file
from kanjinet.storage.locks import lock_folder
from kanjinet.storage.model_card import FITTED, INIT_FROM, INITIALIZATIONS, SPLITS, TrainingOptions, merge_sources
from kanjinet.storage.onnx_file import DEVICE_HELP, DEVICES
from kanjinet.synth.fonts import find_fonts, hash_fonts
from kanjinet.synth.handwriting import GENERATOR_VERSION
from kanjinet.synth.writers import DEFAULT_DIFFICULTY
from kanjinet.training.allocator import keep_freed_memory, measure_memory_gib
from kanjinet.training.calibration import describe_calibration
from kanjinet.training.device import describe_device, explain_device_errors
from kanjinet.training.distributed import ProcessGroup, choose_training_device, join_process_group, speak_once
from kanjinet.training.history import open_tensorboard
from kanjinet.training.initialization import initialize_network, load_initial_network
from kanjinet.training.recipe import LONG_TRAINING_IMAGES, choose_initialization, make_config
from kanjinet.training.rejection import describe_rejection
from kanjinet.training.resume import STATE_NAME, Interrupted, can_resume
from kanjinet.training.run import OUTPUT_NAMES, PREVIOUS_NAME, EpochResult, TrainingRun
from kanjinet.training.samples import Parts, open_parts
from kanjinet.training.trainer import Progress, Trainer

__all__ = ["LightweightKanjiNet", "main"]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    default = TrainingOptions()
    parser = make_parser(__doc__, "python train_etl9g_model.py --epochs 2 --batch-size 32 --sample-limit 15000")
    parser.add_argument("--data-dir", type=Path, default=Path("dataset"), help="the prepared dataset")
    parser.add_argument("--output-dir", type=Path, default=Path(), help="folder for the files this stage writes")
    parser.add_argument("--epochs", type=positive_int, default=default.epochs, help="passes over the training images")
    parser.add_argument("--batch-size", type=positive_int, default=default.batch_size, help="images a step")
    rate_help = "base rate; the schedule's peak is a multiple of it, scaled by sqrt(batch size / 64)"
    parser.add_argument("--learning-rate", type=positive_float, default=default.learning_rate, help=rate_help)
    parser.add_argument("--sample-limit", type=positive_int, help="images to use, even over the classes (default: all)")
    parser.add_argument("--image-size", type=int, choices=IMAGE_SIZES, help="must be the dataset's (default: it is)")
    parser.add_argument("--model-version", choices=MODEL_VERSIONS, default=default.model_version, help="network")
    init_help = (
        "of the weights: fitted to the training images, or random, as the published versions began (default: fitted; "
        f"where 1.0-2.1 are shown {LONG_TRAINING_IMAGES:,} images or more, published)"
    )
    initial = parser.add_mutually_exclusive_group()
    initial.add_argument("--initialization", choices=INITIALIZATIONS, help=init_help)
    init_from_help = "trained network to initialize with, .pth or .safetensors (default: none)"
    initial.add_argument("--init-from", type=Path, help=init_from_help)
    parser.add_argument("--pooling-type", choices=POOLING_TYPES, default=default.pooling_type, help="global pooling")
    split_help = (
        "random: 70/15/15 by class; writers: the same by data set, so unseen writers; etl9: test on the first and last "
        "20 of the 200 data sets"
    )
    parser.add_argument("--split", choices=SPLITS, default=default.split, help=split_help)
    parser.add_argument("--seed", type=seed_number, default=default.seed, help="of subset, split, weights and training")
    parser.add_argument("--patience", type=positive_int, default=10, help="epochs without improvement before it stops")
    parser.add_argument("--device", choices=DEVICES, default="auto", help=f"what to train on; {DEVICE_HELP}")
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="for TensorBoard's curves (default: none)")
    repeats_help = "show all but kanji so many times an epoch: more of them are recognized then, and fewer kanji"
    parser.add_argument("--hiragana-repeats", type=positive_int, default=default.hiragana_repeats, help=repeats_help)
    sets_help = "generated sets of all characters besides the dataset's, new ones every epoch (default: none)"
    parser.add_argument("--fresh-sets", type=positive_int, help=sets_help)
    parser.add_argument("--fresh-kana", type=positive_int, help="sets of as many of all but kanji (default: none)")
    parser.add_argument("--fresh-others", type=positive_int, help="sets of images of none of them (default: none)")
    difficulty_help = f"of their simulated writers, 0 = neat ... 1 = hasty (default: {DEFAULT_DIFFICULTY})"
    parser.add_argument("--fresh-difficulty", type=fraction, help=difficulty_help)
    fonts_help = "folder of handwriting fonts that write half of their sheets (default: none)"
    parser.add_argument("--fresh-fonts", type=Path, metavar="FOLDER", help=fonts_help)
    compile_help = "compile network and augmentation first, a minute: for long trainings on a GPU; slower on 2 cores"
    parser.add_argument("--compile", action="store_true", help=compile_help)
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run with the same options")
    args = parser.parse_args()
    if args.batch_size < 2:
        parser.error("argument --batch-size: 1: expected at least 2, batch normalization needs a batch")
    for option, value in (("--fresh-difficulty", args.fresh_difficulty), ("--fresh-fonts", args.fresh_fonts)):
        if value is not None and not (args.fresh_sets or args.fresh_kana or args.fresh_others):
            parser.error(f"argument {option}: {value}: give --fresh-sets, --fresh-kana or --fresh-others too")
    return args


def main() -> None:
    """Trains, alone or as one of torchrun's processes, of which the first prints and writes."""
    keep_freed_memory()
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))  # a container's quota PyTorch does not know
    args = parse_args()
    device = choose_training_device(args.device)
    setting = f"--batch-size {args.batch_size}"
    remedy = "use a smaller one, the learning rate follows by itself, or with too many images a smaller --sample-limit"
    with join_process_group(device) as group, speak_once(group), explain_device_errors(device, setting, remedy):
        if args.batch_size % group.size:
            problem = f"{setting}: cannot be divided among {group.size} processes"
            raise KanjinetError(problem, f"use a multiple of {group.size}")
        train(args, device, group)


def train(args: argparse.Namespace, device: torch.device, group: ProcessGroup) -> None:
    """Loads, trains epoch by epoch, then calibrates and tests the best weights."""
    started = time.perf_counter()
    check_output_folder(args.output_dir, "--output-dir")
    check_output_folder(args.tensorboard, "--tensorboard")
    info = read_dataset_info(args.data_dir)
    options = collect_options(args, info)
    is_resumed = args.resume and can_resume(args.output_dir, group)
    if is_resumed and args.init_from:
        options = replace(options, init_from_sha256="")  # the state knows it
    init_from = None if is_resumed else args.init_from  # an interrupted run's weights are in its state
    fonts = find_fonts(args.fresh_fonts, info.character_set) if args.fresh_fonts else ()
    options = replace(options, fresh_fonts_sha256=hash_fonts(fonts))
    sources = merge_sources(info.sources, (font.source for font in fonts))
    config, checkpoint = make_config(options, info.character_set.num_classes), None
    if init_from:
        checkpoint = load_checkpoint_to_train(init_from, options, info)
        sources = merge_sources(sources, checkpoint.card.sources)
        options = replace(options, init_from_sha256=sha256_of_file(init_from))
    with open_parts(info, options, device, group, fonts) as parts:
        if args.batch_size > len(parts.train):
            raise KanjinetError(f"--batch-size {args.batch_size}: only {len(parts.train)} training images", "use fewer")
        model = LightweightKanjiNet(config) if is_resumed else initialize_network(options, parts.train, checkpoint)
        trainer = Trainer(model.to(device), parts.train, options, group=group)
        print_plan(
            trainer,
            parts,
            info,
            init_from,
            knows_all=bool(checkpoint and checkpoint.character_set == info.character_set),
        )
        print(f"ready      after {time.perf_counter() - started:.1f} s, {measure_memory_gib():.1f} GiB", flush=True)
        folder = make_folder(args.output_dir)
        with lock_folder(folder, "train_etl9g_model.py") if group.is_first else contextlib.nullcontext():
            run = TrainingRun(trainer, parts, info, folder, sources)
            if args.resume:
                resume(run)
            train_epochs(run, args)
            if group.is_first:
                finish(run)
            group.wait()


def train_epochs(run: TrainingRun, args: argparse.Namespace) -> None:
    """Trains until all epochs are done, patience is at its end, or the user stops the run."""
    write_board = open_tensorboard(args.tensorboard) if args.tensorboard and run.trainer.group.is_first else None
    try:
        with run.state_file.handle_signals():
            while not run.is_over(args.patience):
                with show_progress(run) as report:
                    result = run.train_epoch(report)
                print_epoch(result, run)
                if write_board:
                    write_board(result.entry)
    except Interrupted:
        print(f"saved      {show_path(run.folder / STATE_NAME)}: the same command with --resume goes on here")
        raise
    if run.record.epochs_done < args.epochs:
        print(f"stopped    no better validation accuracy for {args.patience} epochs")


def collect_options(args: argparse.Namespace, info: DatasetInfo) -> TrainingOptions:
    """Collects what determines the weights, and refuses an --image-size that the dataset does not have."""
    if args.image_size not in (None, info.image_size):
        raise KanjinetError(
            f"--image-size {args.image_size}: {info.folder} holds images of {info.image_size} x {info.image_size}",
            f"run prepare_etl9g_dataset.py --size {args.image_size} --output-dir another_folder first",
        )
    chosen = {field.name: getattr(args, field.name) for field in fields(TrainingOptions) if field.name in args}
    chosen |= {"image_size": info.image_size, "dataset_sha256": info.sha256}
    chosen["initialization"] = INIT_FROM if args.init_from else args.initialization or FITTED
    if args.fresh_sets or args.fresh_kana or args.fresh_others:
        chosen["fresh_writers"] = GENERATOR_VERSION
        chosen["fresh_difficulty"] = DEFAULT_DIFFICULTY if args.fresh_difficulty is None else args.fresh_difficulty
    options = TrainingOptions(**chosen)
    if args.initialization or args.init_from:
        return options
    return replace(options, initialization=choose_initialization(options, info.num_samples))


def load_checkpoint_to_train(path: Path, options: TrainingOptions, info: DatasetInfo) -> Checkpoint:
    """Loads the network of --init-from, and says where its training may have seen this one's test images."""
    checkpoint = load_initial_network(path, options, info)
    trained = checkpoint.card.options
    if trained.dataset_sha256 == info.sha256 and any(
        getattr(trained, name) != getattr(options, name) for name in ("split", "seed", "sample_limit")
    ):
        print(
            f"note       images of this run's test may be among those that {show_path(path)} was trained on: same "
            "dataset, other split, seed or sample limit"
        )
    return checkpoint


def print_plan(trainer: Trainer, parts: Parts, info: DatasetInfo, init_from: Path | None, *, knows_all: bool) -> None:
    """Prints what is about to be trained, on what, and where; `knows_all`: it began with all characters trained."""
    config, options = trainer.model.config, trainer.options
    counts = f"{len(parts.train):,} train, {len(parts.validation):,} validation, {len(parts.test):,} test images"
    generated = parts.train.num_generated
    others = f", {parts.train.num_others:,} of them of none of the characters" if parts.train.num_others else ""
    new = f", {generated:,} of training's are new in every epoch{others}" if generated else ""
    note = f" ({SAMPLE_NOTE})" if info.synthetic else ""
    print(f"data       {info.folder}: {counts}{new}, split {options.split}{note}")
    if parts.num_untrained and not knows_all:
        remedy = f"use --sample-limit {size} or more" if (size := parts.sensible_limit) else "prepare more ETL9G files"
        print(f"note       {parts.num_untrained:,} held-out images are of characters that are not trained: {remedy}")
    print(
        f"network    version {config.version}, {count_parameters(trainer.model):,} parameters, "
        f"{config.image_size} x {config.image_size}, {config.pooling_type}, "
        f"{f'initialized with {show_path(init_from)}' if init_from else f'initialization {options.initialization}'}"
    )
    rate = trainer.peak_rate * min(group["lr_scale"] for group in trainer.optimizer.param_groups)
    classifier = f" ({rate:.2e} for the classifier)" if rate < trainer.peak_rate else ""
    print(
        f"recipe     {options.epochs} epochs of {trainer.steps_per_epoch} steps of {options.batch_size}, AdamW, "
        f"peak learning rate {trainer.peak_rate:.2e}{classifier}, label smoothing {trainer.step.label_smoothing}"
    )
    print(f"device     {describe_device(trainer.device)}")


def resume(run: TrainingRun) -> None:
    """Continues the interrupted run, and prints from where."""
    path = run.state_file.load()
    if path is None:
        print(f"resumed    no {show_path(run.folder / STATE_NAME)} of an earlier run: starting at the beginning")
        return
    record, position = run.record, run.trainer.position
    steps = f" and {position['step']} steps" if position else ""
    older = "" if path.name == STATE_NAME else f", from {show_path(path)}, because {STATE_NAME} is missing or damaged"
    best = f"best so far {record.best_accuracy:.2%} in epoch {record.best_epoch}"
    best = best if record.best_epoch else "no epoch finished yet"
    print(f"resumed    after epoch {record.epochs_done}{steps}, {best}{older}")


@contextlib.contextmanager
def show_progress(run: TrainingRun) -> Iterator[Callable[[Progress], None]]:
    """Shows a bar of the epoch, and before it of the samples that are generated for it, where a person watches."""
    epoch = run.record.epochs_done + 1
    with tqdm(leave=False, disable=None if run.trainer.group.is_first else True) as bar:

        def report(progress: Progress) -> None:
            if bar.total != progress.total or progress.done < bar.n:
                bar.reset(progress.total)
            bar.set_description(f"epoch {epoch}" if progress.metrics else f"generating {epoch}", refresh=False)
            if metrics := progress.metrics:
                values = {"loss": f"{metrics.loss:.3f}", "acc": f"{metrics.accuracy:.2%}"}
                bar.set_postfix(**values, lr=f"{metrics.learning_rate:.1e}", refresh=False)
            bar.update(progress.done - bar.n)

        yield report


def print_epoch(result: EpochResult, run: TrainingRun) -> None:
    """Prints the line of an epoch."""
    if result.kept_previous:
        print(f"kept       the earlier {OUTPUT_NAMES[0]} as {PREVIOUS_NAME}")
    entry = result.entry
    print(
        f"epoch {entry['epoch']:3d}/{run.trainer.options.epochs}  loss {entry['train_loss']:6.3f}  "
        f"train {entry['train_accuracy']:7.2%}  val loss {entry['validation_loss']:6.3f}  "
        f"val {entry['validation_accuracy']:7.2%}  lr {entry['learning_rate']:.1e}  {entry['elapsed_s']:6.1f} s  "
        f"{result.images_per_s:7,.0f} images/s  {measure_memory_gib():4.1f} GiB{'  best' if result.is_best else ''}",
        flush=True,
    )


def finish(run: TrainingRun) -> None:
    """Calibrates and tests the best weights, and prints the result."""
    card = run.finish().card
    tested, note = card.metrics["test"], f" ({SAMPLE_NOTE})" if card.synthetic else ""
    accuracies = f"top-1 {tested.top1:.2%}  top-3 {tested.top3:.2%}  top-5 {tested.top5:.2%}"
    path = show_path(run.folder / OUTPUT_NAMES[0])
    print(f"test       {accuracies}  of {tested.samples:,} images, weights of epoch {run.record.best_epoch}{note}")
    assert card.calibration is not None
    print(f"calibrated {describe_calibration(card.calibration)}")
    if card.rejection:
        print(f"rejection  {describe_rejection(card.rejection)}")
    print(f"written    {path}, {', '.join(OUTPUT_NAMES[1:])}")
    print(f"next       python convert_to_onnx.py --model-path {shlex.quote(path)}")


if __name__ == "__main__":
    run_script(main)
