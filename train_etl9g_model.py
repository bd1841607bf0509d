"""Train a LightweightKanjiNet on the prepared dataset.

Reads:  dataset/ (from prepare_etl9g_dataset.py)
Writes: best_kanji_model.pth, best_model_info.json; after every epoch training_progress.json, training_curves.png,
        training_state.pth
Run:    python train_etl9g_model.py --data-dir dataset --epochs 30 --batch-size 64
        python train_etl9g_model.py --epochs 2 --batch-size 32 --sample-limit 15000     (a quick smoke run)

        torchrun --nproc-per-node 2 train_etl9g_model.py --batch-size 128     (on two GPUs)

Ctrl-C saves and stops; a crash loses two minutes at most. The same command with --resume goes on.
"""

import argparse
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from tqdm import tqdm

from kanjinet.cli import (
    make_parser,
    positive_float,
    positive_int,
    run_script,
    seed_number,
    share,
    show_path,
)
from kanjinet.contract import IMAGE_SIZES
from kanjinet.data.dataset import DatasetInfo, read_dataset_info, read_images, read_labels
from kanjinet.data.etl9g import SAMPLE_NOTE
from kanjinet.data.splits import PARTS, SPLITS, choose_samples, split_samples
from kanjinet.errors import KanjinetError
from kanjinet.model import (
    DEFAULT_VERSION,
    MODEL_VERSIONS,
    POOLING_TYPES,
    LightweightKanjiNet,
    ModelConfig,
    count_parameters,
)
from kanjinet.storage.checkpoint import CHECKPOINT_NAME, Checkpoint, hash_tensors, load_checkpoint, save_checkpoint
from kanjinet.storage.files import make_folder, replace_on_success, sha256_of_file, write_json
from kanjinet.storage.locks import lock_folder
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.synth.handwriting import GENERATOR_VERSION
from kanjinet.synth.online import FreshSets, FreshWriters, hire_fresh_writers
from kanjinet.synth.writers import DEFAULT_DIFFICULTY
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.calibration import calibrate, describe_temperature
from kanjinet.training.curves import CURVES_NAME, draw_curves
from kanjinet.training.distributed import ProcessGroup, choose_device, join_process_group
from kanjinet.training.history import PROGRESS_NAME, write_progress
from kanjinet.training.initialization import start_network
from kanjinet.training.resume import (
    STATE_NAME,
    Run,
    SavedAndInterrupted,
    StateFile,
    list_state_paths,
    load_newest_state,
)
from kanjinet.training.trainer import (
    EpochResult,
    Evaluation,
    Samples,
    Trainer,
    evaluate,
    peak_learning_rate,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["LightweightKanjiNet", "main"]

INFO_NAME = "best_model_info.json"
PREVIOUS_NAME = "best_kanji_model_previous.pth"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python train_etl9g_model.py --epochs 2 --batch-size 32 --sample-limit 15000")
    parser.add_argument("--data-dir", type=Path, default=Path("dataset"), help="the prepared dataset")
    parser.add_argument("--output-dir", type=Path, default=Path(), help="folder for the files this stage writes")
    parser.add_argument("--epochs", type=positive_int, default=30, help="passes over the training images")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="images a step")
    parser.add_argument(
        "--learning-rate",
        type=positive_float,
        default=0.001,
        help="base rate; the schedule's peak is 4 times it, scaled by sqrt(batch size / 64)",
    )
    parser.add_argument("--sample-limit", type=positive_int, help="use only so many images, even over the classes")
    parser.add_argument("--image-size", type=int, choices=IMAGE_SIZES, help="must be the dataset's (default: it is)")
    parser.add_argument("--model-version", choices=MODEL_VERSIONS, default=DEFAULT_VERSION, help="network")
    parser.add_argument(
        "--init-from", type=Path, help="start from this trained network, .pth or .safetensors, instead of from scratch"
    )
    parser.add_argument("--pooling-type", choices=POOLING_TYPES, default="adaptive_avg", help="global pooling")
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="random",
        help="random: 70/15/15 by class; writers: the same by data set, so unseen writers; etl9: test on the first and "
        "last 20 of the 200 data sets",
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of subset, split, weights, order, variation")
    parser.add_argument("--patience", type=positive_int, default=10, help="epochs without progress before it stops")
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="also write the curves for TensorBoard")
    parser.add_argument(
        "--hiragana-repeats",
        type=positive_int,
        default=1,
        help="show each hiragana so many times an epoch: more of them are read then, and fewer kanji",
    )
    parser.add_argument(
        "--fresh-sets",
        type=positive_int,
        help="besides the dataset's, show so many sets of 3,036 characters by simulated writers, new ones every epoch",
    )
    parser.add_argument(
        "--fresh-difficulty",
        type=share,
        help=f"of these writers, 0 = copybook ... 1 = hasty (default: {DEFAULT_DIFFICULTY})",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile network and variation first, about a minute: for long trainings on a GPU; slower on 2 CPU cores",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run with the same options")
    args = parser.parse_args()
    if args.batch_size < 2:
        parser.error("argument --batch-size: 1: expected at least 2, batch normalization needs a batch")
    if args.fresh_sets and args.fresh_difficulty is None:
        args.fresh_difficulty = DEFAULT_DIFFICULTY
    elif args.fresh_difficulty is not None and not args.fresh_sets:
        parser.error(f"argument --fresh-difficulty: {args.fresh_difficulty}: give --fresh-sets too")
    return args


def main() -> None:
    """Train, alone or as one of torchrun's processes, of which the first prints and writes."""
    keep_freed_memory()
    args = parse_args()
    device = choose_device()
    with join_process_group(device) as group, contextlib.ExitStack() as stack:
        if args.batch_size % group.size:
            raise KanjinetError(
                f"--batch-size {args.batch_size}: cannot be divided among {group.size} processes",
                f"use a multiple of {group.size}",
            )
        if not group.is_first:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            train(args, device, group, stack)
        except torch.OutOfMemoryError as error:
            raise KanjinetError(
                f"--batch-size {args.batch_size}: the GPU has too little memory",
                "use a smaller one, the learning rate "
                "follows by itself, or where the images alone are too many, a smaller --sample-limit",
            ) from error


def train(args: argparse.Namespace, device: torch.device, group: ProcessGroup, stack: contextlib.ExitStack) -> None:
    """Load, train epoch by epoch, then calibrate and test the best weights; `stack` closes what was opened."""
    started = time.perf_counter()
    info = read_dataset_info(args.data_dir)
    check_image_size(args.image_size, info)
    config = ModelConfig.preset(args.model_version, info.image_size, args.pooling_type)
    is_resumed = group.share(args.resume and any(path.is_file() for path in list_state_paths(args.output_dir)))
    # The start's weights are in an interrupted run's state.
    start = load_start(args.init_from, config, info, args) if args.init_from and not is_resumed else None
    fresh = None
    if args.fresh_sets:
        fresh = stack.enter_context(hire_fresh_writers(describe_fresh_sets(args, info), group))
    parts = load_parts(info, device, limit=args.sample_limit, split=args.split, seed=args.seed, fresh=fresh)
    if args.batch_size > len(parts["train"]):
        raise KanjinetError(f"--batch-size {args.batch_size}: only {len(parts['train'])} training images", "use fewer")
    output_dir = make_folder(args.output_dir)
    options = collect_options(args, info) | {"init_from_sha256": sha256_of_file(args.init_from) if start else None}
    augmentation = Augmentation()
    if start is None and not is_resumed:
        if fresh:
            fresh.fill(0, parts["train"].images)
        start = start_network(config, parts["train"], args.seed, augmentation)
    model = LightweightKanjiNet(config) if start is None else start
    trainer = Trainer(
        model=model.to(device),
        samples=parts["train"],
        batch_size=args.batch_size,
        epochs=args.epochs,
        peak_rate=peak_learning_rate(args.learning_rate, args.batch_size),
        seed=args.seed,
        augmentation=augmentation,
        group=group,
        compiles=args.compile,
        hiragana_repeats=args.hiragana_repeats,
        fresh=fresh,
    )
    print_plan(trainer, parts, info, args.split, args.init_from)
    print(f"ready      after {time.perf_counter() - started:.1f} s, {measure_memory_gib():.1f} GiB", flush=True)
    with lock_folder(output_dir, "train_etl9g_model.py") if group.is_first else contextlib.nullcontext():
        run = start_or_resume(trainer, output_dir, options, resume=args.resume)
        state_file = StateFile(output_dir, options, trainer, run)
        board = open_board(args.tensorboard) if args.tensorboard and group.is_first else None
        try:
            with state_file.watch():
                while run.epochs_done < args.epochs and not run.is_stuck(args.patience):
                    train_one_epoch(state_file, parts["validation"], info, board)
        except SavedAndInterrupted:
            print(f"saved      {show_path(output_dir / STATE_NAME)}: the same command with --resume goes on here")
            raise
        if run.epochs_done < args.epochs:
            print(f"stopped    no better validation accuracy for {args.patience} epochs")
        if group.is_first:
            report_best(output_dir, parts, run, device)
        group.wait()


def open_board(folder: Path) -> "SummaryWriter":
    """What writes TensorBoard's files into a folder."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise KanjinetError("--tensorboard: TensorBoard is missing", "python -m pip install tensorboard") from error
    return SummaryWriter(str(make_folder(folder)))


def check_image_size(image_size: int | None, info: DatasetInfo) -> None:
    """Refuse an --image-size that the dataset does not have."""
    if image_size not in (None, info.image_size):
        raise KanjinetError(
            f"--image-size {image_size}: {info.folder} holds images of {info.image_size} x {info.image_size}",
            f"run prepare_etl9g_dataset.py --size {image_size} --output-dir another_folder first",
        )


def load_parts(
    info: DatasetInfo,
    device: torch.device,
    *,
    limit: int | None,
    split: str,
    seed: int,
    fresh: FreshWriters | None = None,
) -> dict[str, Samples]:
    """Training, validation and test samples, on the device as uint8; training's end with room for fresh ones."""
    labels = read_labels(info.folder, info.chunks)
    indices = split_samples(labels, choose_samples(labels.classes, limit, seed), split, seed)
    names = ("validation", "test", "train")
    everything = np.concatenate([indices[name] for name in names])
    fresh_classes = fresh.classes if fresh else torch.zeros(0, dtype=torch.int64)
    images = torch.from_numpy(read_images(info, everything, spare=len(fresh_classes))).to(device)
    classes = torch.cat([torch.from_numpy(labels.classes[everything].astype(np.int64)), fresh_classes]).to(device)
    sizes = [len(indices["validation"]), len(indices["test"]), len(indices["train"]) + len(fresh_classes)]
    return {
        name: Samples(part_images, part_classes)
        for name, part_images, part_classes in zip(names, images.split(sizes), classes.split(sizes), strict=True)
    }


def describe_fresh_sets(args: argparse.Namespace, info: DatasetInfo) -> FreshSets:
    """What simulated writers are to write for each epoch, prepared as the dataset was."""
    return FreshSets(
        sets=args.fresh_sets,
        difficulty=args.fresh_difficulty,
        seed=args.seed,
        epochs=args.epochs,
        image_size=info.image_size,
        preprocessing=info.preprocessing,
    )


def load_start(path: Path, config: ModelConfig, info: DatasetInfo, args: argparse.Namespace) -> LightweightKanjiNet:
    """The network of --init-from, which must be of the configuration and the preprocessing of this training."""
    checkpoint = load_trained_network(path)
    for name, found in checkpoint.config.to_dict().items():
        if found != config.to_dict()[name]:
            raise KanjinetError(
                f"{path}: --init-from: a network with {name} {found}, this training is of one with "
                f"{config.to_dict()[name]}",
                "give the options that it was trained with, or another file",
            )
    if checkpoint.preprocessing != info.preprocessing:
        raise KanjinetError(
            f"{path}: --init-from: trained on images preprocessed by {checkpoint.preprocessing}, {info.folder} holds "
            f"those of {info.preprocessing}",
            "prepare the dataset with the same --preprocess",
        )
    same_images = {"split": args.split, "seed": args.seed, "sample_limit": args.sample_limit}
    if checkpoint.dataset_sha256 == info.sha256 and any(
        checkpoint.training.get(name) != value for name, value in same_images.items()
    ):
        print(
            f"note       images of this run's test may be among those that {show_path(path)} was trained on: same "
            "dataset, other split, seed or sample limit"
        )
    return checkpoint.model


def collect_options(args: argparse.Namespace, info: DatasetInfo) -> dict[str, Any]:
    """What determines the weights: stored with them, and compared on --resume."""
    return {
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "sample_limit": args.sample_limit,
        "model_version": args.model_version,
        "image_size": info.image_size,
        "pooling_type": args.pooling_type,
        "split": args.split,
        "seed": args.seed,
        "hiragana_repeats": args.hiragana_repeats,
        "fresh_sets": args.fresh_sets,
        "fresh_difficulty": args.fresh_difficulty,
        "fresh_writers": GENERATOR_VERSION if args.fresh_sets else None,
        "compile": args.compile,
        "dataset_sha256": info.sha256,
    }


def print_plan(
    trainer: Trainer, parts: dict[str, Samples], info: DatasetInfo, split: str, init_from: Path | None
) -> None:
    """What is about to be trained, on what, and where."""
    config = trainer.model.config
    name = torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else f"{os.cpu_count()} cores"
    counts = ", ".join(f"{len(parts[part]):,} {part}" for part in PARTS)
    fresh = f", {len(trainer.fresh.classes):,} of training's are new in every epoch" if trainer.fresh else ""
    note = f" ({SAMPLE_NOTE})" if info.synthetic else ""
    lowest = min(group["rate_fraction"] for group in trainer.optimizer.param_groups)
    classifier = f" ({lowest * trainer.peak_rate:.2e} for the classifier)" if lowest < 1 else ""
    print(f"data       {info.folder}: {counts} images{fresh}, split {split}{note}")
    print(
        f"network    version {config.version}, {count_parameters(trainer.model):,} parameters, "
        f"{config.image_size} x {config.image_size}, {config.pooling_type}"
        f"{f', started from {show_path(init_from)}' if init_from else ''}"
    )
    print(
        f"recipe     {trainer.epochs} epochs of {trainer.steps_per_epoch} steps of {trainer.batch_size}, AdamW, "
        f"peak learning rate {trainer.peak_rate:.2e}{classifier}, label smoothing {trainer.label_smoothing}"
    )
    print(f"device     {trainer.device.type} ({name})")


def measure_memory_gib() -> float:
    """What this process has in memory now."""
    return psutil.Process().memory_info().rss / 2**30


def start_or_resume(trainer: Trainer, output_dir: Path, options: dict[str, Any], *, resume: bool) -> Run:
    """A new run, or the interrupted one with its weights, optimizer and history."""
    found = None
    if resume:
        wanted = {name: value for name, value in options.items() if name != "init_from_sha256"}
        found = trainer.group.share(load_newest_state(output_dir, wanted) if trainer.group.is_first else None)
        if found is None:
            print(f"resumed    no {show_path(output_dir / STATE_NAME)} of an earlier run: starting at the beginning")
    if found is None:
        return Run(history=[])
    state, path = found
    options["init_from_sha256"] = state["options"].get("init_from_sha256")
    trainer.load_state(state["trainer"])
    run = Run(**state["run"])
    steps = f" and {trainer.position['step']} steps" if trainer.position else ""
    older = "" if path.name == STATE_NAME else f", from {show_path(path)}, because {STATE_NAME} is missing or damaged"
    print(
        f"resumed    after epoch {run.epochs_done}{steps}, best so far {run.best_accuracy:.2%} in epoch "
        f"{run.best_epoch}{older}"
    )
    return run


def keep_earlier_model(output_dir: Path, first_best: LightweightKanjiNet) -> None:
    """Give the best weights of an earlier run another name before this run's first ones take theirs.

    A run that was killed before it could save that they are written finds its own ones, which are no earlier run's.
    """
    best = output_dir / CHECKPOINT_NAME
    if best.is_file() and not has_weights(best, first_best):
        best.replace(output_dir / PREVIOUS_NAME)
        print(f"kept       the earlier {CHECKPOINT_NAME} as {PREVIOUS_NAME}")


def has_weights(path: Path, model: LightweightKanjiNet) -> bool:
    """Whether a checkpoint holds these very weights."""
    try:
        found = load_checkpoint(path).model
    except KanjinetError:
        return False
    return hash_tensors(found.state_dict()) == hash_tensors(model.state_dict())


def train_one_epoch(
    state_file: StateFile, validation: Samples, info: DatasetInfo, board: "SummaryWriter | None"
) -> None:
    """Train and validate; keep the weights if they are the best; write history, curves and state."""
    trainer, run = state_file.trainer, state_file.run
    start = time.perf_counter()
    epoch = run.epochs_done
    steps_before = trainer.position["step"] if trainer.position else 0
    is_silent = None if trainer.group.is_first else True
    with tqdm(total=trainer.steps_per_epoch, desc=f"epoch {epoch + 1}", leave=False, disable=is_silent) as bar:

        def report(steps: int, loss: float, accuracy: float, rate: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", acc=f"{accuracy:.2%}", lr=f"{rate:.1e}", refresh=False)
            bar.update(steps - bar.n)

        result = trainer.train_epoch(epoch, report, state_file.between_steps)
    images_per_s = (trainer.steps_per_epoch - steps_before) * trainer.batch_size / (time.perf_counter() - start)
    validated = evaluate(trainer.model, validation, trainer.group)
    elapsed_s = time.perf_counter() - start
    is_best = validated.top[1] > run.best_accuracy
    run.history.append(describe_epoch(epoch + 1, result, validated, elapsed_s))
    if is_best:
        is_first_best = run.best_epoch == 0
        run.best_accuracy, run.best_epoch = validated.top[1], epoch + 1
        if trainer.group.is_first:
            keep_best(state_file, validated, info, is_first_best=is_first_best)
    if trainer.group.is_first:
        write_history(state_file, info, board)
    state_file.save()
    print(
        f"epoch {epoch + 1:3d}/{trainer.epochs}  loss {result.loss:6.3f}  train {result.accuracy:7.2%}  "
        f"val loss {validated.loss:6.3f}  val {validated.top[1]:7.2%}  lr {result.learning_rate:.1e}  "
        f"{elapsed_s:6.1f} s  {images_per_s:7,.0f} images/s  "
        f"{measure_memory_gib():4.1f} GiB{'  best' if is_best else ''}",
        flush=True,
    )


def keep_best(state_file: StateFile, validated: Evaluation, info: DatasetInfo, *, is_first_best: bool) -> None:
    """Write the weights, which are the best so far."""
    if is_first_best:
        keep_earlier_model(state_file.folder, state_file.trainer.model)
    training = {**state_file.options, "best_epoch": state_file.run.best_epoch, "validation": validated.to_dict()}
    save_checkpoint(
        state_file.folder / CHECKPOINT_NAME,
        Checkpoint(state_file.trainer.model, info.preprocessing, info.synthetic, training, info.sha256),
    )


def write_history(state_file: StateFile, info: DatasetInfo, board: "SummaryWriter | None") -> None:
    """The epochs so far, as JSON, as an image, and for TensorBoard where it was asked for."""
    history, folder = state_file.run.history, state_file.folder
    write_progress(folder / PROGRESS_NAME, state_file.options, history, synthetic=info.synthetic)
    with replace_on_success(folder / CURVES_NAME) as file:
        file.write(draw_curves(history, synthetic=info.synthetic))
    if board:
        for name, value in history[-1].items():
            if name != "epoch":
                board.add_scalar(name, value, history[-1]["epoch"])
        board.flush()


def describe_epoch(epoch: int, result: EpochResult, validated: Evaluation, elapsed_s: float) -> dict[str, Any]:
    """One entry of training_progress.json; accuracies are shares, 0-1."""
    return {
        "epoch": epoch,
        "train_loss": result.loss,
        "train_accuracy": result.accuracy,
        "validation_loss": validated.loss,
        "validation_accuracy": validated.top[1],
        "learning_rate": result.learning_rate,
        "elapsed_s": round(elapsed_s, 3),
    }


def report_best(output_dir: Path, parts: dict[str, Samples], run: Run, device: torch.device) -> None:
    """Calibrate and test the best weights, read back from their file, and write the result beside and into it."""
    path = output_dir / CHECKPOINT_NAME
    checkpoint = load_checkpoint(path)
    model = checkpoint.model.to(device).to(memory_format=torch.channels_last)
    if "temperature" not in checkpoint.training:  # else the run had ended before, and is resumed
        checkpoint.training["temperature"] = calibrate(model, parts["validation"], parts["test"])
    tested = evaluate(model, parts["test"])
    checkpoint.training["test"] = tested.to_dict()
    save_checkpoint(path, checkpoint)
    write_json(
        output_dir / INFO_NAME,
        {
            "model_version": checkpoint.config.version,
            "parameters": count_parameters(checkpoint.model),
            "image_size": checkpoint.config.image_size,
            "pooling_type": checkpoint.config.pooling_type,
            "num_classes": checkpoint.config.num_classes,
            "preprocessing": checkpoint.preprocessing,
            "synthetic": checkpoint.synthetic,
            "best_epoch": run.best_epoch,
            "validation_accuracy": run.best_accuracy,
            "test": tested.to_dict(),
            "temperature": checkpoint.training["temperature"],
            "training": checkpoint.training,
            "environment": checkpoint.environment,
        },
    )
    note = f" ({SAMPLE_NOTE})" if checkpoint.synthetic else ""
    shares = "  ".join(f"top-{k} {share:.2%}" for k, share in tested.top.items())
    print(f"test       {shares}  of {tested.samples:,} images, weights of epoch {run.best_epoch}{note}")
    print(f"calibrated {describe_temperature(checkpoint.training['temperature'])}")
    print(f"written    {show_path(path)}, {PROGRESS_NAME}, {CURVES_NAME}, {INFO_NAME}, {STATE_NAME}")
    print(f"next       python convert_to_onnx.py --model-path {show_path(path)}")


if __name__ == "__main__":
    run_script(main)
