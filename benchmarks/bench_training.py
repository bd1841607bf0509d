"""Images a second in training: the toolkit's loop against a plain one, on the machine at hand.

Reads:  nothing; the images are random, as the arithmetic does not depend on them
Writes: a table
Run:    python benchmarks/bench_training.py --seconds 20

The plain loop is the one that most projects have: a Dataset that gives one image at a time, torchvision's transforms,
a DataLoader with workers, Adam, float32, and the loss read after every step.
"""

import common  # noqa: F401  (puts the toolkit on the path)
from kanjinet.cli import make_parser, positive_float, positive_int, run_script

import argparse
import contextlib
import itertools
import platform
import time
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kanjinet.classes import NUM_CLASSES
from kanjinet.data.resources import usable_cores
from kanjinet.errors import KanjinetError
from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet, ModelConfig
from kanjinet.storage.model_card import TrainingOptions
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.device import choose_device
from kanjinet.training.recipe import make_config
from kanjinet.training.samples import TrainingSamples
from kanjinet.training.trainer import Trainer

SIZE = 64  # pixels
NO_AUGMENTATION = Augmentation(**{field.name: 0 for field in fields(Augmentation) if field.name != "elastic_points"})
WARM_UP_FRACTION = 0.25  # of a turn's seconds, after its first step and before the clock starts

OnStep = Callable[[int], None]  # called with a step's images; raises when the turn is over
Loop = Callable[[OnStep], None]  # trains on where its last turn ended
Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class TurnOver(Exception):
    """Raised when a loop's turn is over."""


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/bench_training.py --seconds 20 --batch-sizes 64 256")
    parser.add_argument("--seconds", type=positive_float, default=20.0, help="for each line of the table")
    parser.add_argument("--turns", type=positive_int, default=8, help="into which these seconds are divided")
    parser.add_argument("--images", type=positive_int, default=20_000, help="in the training set")
    parser.add_argument(
        "--batch-sizes", type=positive_int, nargs="+", default=[TrainingOptions.batch_size], help="images a step"
    )
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, default=["2.1", "3.0"], help="networks")
    parser.add_argument("--compile", action="store_true", help="also compiled")
    parser.add_argument("--loader-workers", type=int, default=usable_cores(), help="processes of the plain loop")
    return parser.parse_args()


class PlainDataset(Dataset[tuple[torch.Tensor, int]]):
    """Gives one image at a time, augmented as torchvision can."""

    def __init__(self, images: Images, labels: Labels, *, augments: bool) -> None:
        try:
            from torchvision.transforms import v2
        except (ImportError, RuntimeError) as error:  # RuntimeError: one that was built for another PyTorch
            raise KanjinetError(
                f"the plain loop needs torchvision ({error})", "install it from the index that PyTorch came from"
            ) from error
        affine = v2.RandomAffine(degrees=8, translate=(0.04, 0.04), scale=(0.88, 1.12), shear=(-8, 8, -8, 8))
        elastic = v2.ElasticTransform(alpha=8.0, sigma=5.0)
        augment = [affine, elastic] if augments else []
        self.transform = v2.Compose([v2.ToImage(), *augment, v2.ToDtype(torch.float32, scale=True)])
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def make_plain_loop(version: str, dataset: PlainDataset, batch_size: int, workers: int) -> Loop:
    device = choose_device("auto")
    model = LightweightKanjiNet(ModelConfig.preset(version, SIZE)).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=TrainingOptions.learning_rate)
    loader = DataLoader(
        dataset,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def run(on_step: OnStep) -> None:
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
            on_step(len(inputs))

    return run


def make_toolkit_loop(samples: TrainingSamples, options: TrainingOptions, augmentation: Augmentation) -> Loop:
    torch.manual_seed(0)
    model = LightweightKanjiNet(make_config(options)).to(samples.labels.device)
    trainer = Trainer(model, samples, options, augmentation)
    epochs = itertools.count()

    def run(on_step: OnStep) -> None:
        while True:
            epoch = trainer.position["epoch"] if trainer.position else next(epochs)
            trainer.train_epoch(epoch, between_steps=lambda: on_step(options.batch_size))

    return run


def time_turn(loop: Loop, seconds: float) -> float:
    """Measures the images a second of one turn of a loop, after a warm-up."""
    warm_up_ends = start = images_per_s = float("nan")
    counted = 0

    def on_step(images: int) -> None:
        nonlocal warm_up_ends, start, counted, images_per_s
        now = time.perf_counter()
        if np.isnan(warm_up_ends):  # the first step, in which a network may be compiled, is over
            warm_up_ends = now + WARM_UP_FRACTION * seconds
        if np.isnan(start):
            start = wait_for_device() if now >= warm_up_ends else start
            return
        counted += images
        if now - start >= seconds:
            images_per_s = counted / (wait_for_device() - start)
            raise TurnOver

    with contextlib.suppress(TurnOver):
        loop(on_step)
    return images_per_s


def wait_for_device() -> float:
    """Waits for the work that a GPU has under way; returns the time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def make_loops(
    version: str, batch_size: int, images: Images, labels: Labels, args: argparse.Namespace
) -> dict[str, Loop]:
    """Makes all loops of one network, the baseline first."""
    device = choose_device("auto")
    samples = TrainingSamples(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))
    loops = {}
    for name, augments in (("plain", True), ("plain without augmentation", False)):
        dataset = PlainDataset(images, labels, augments=augments)
        loops[name] = make_plain_loop(version, dataset, batch_size, args.loader_workers)
    for is_compiled in (False, True)[: 1 + args.compile]:
        options = TrainingOptions(
            epochs=1_000_000, batch_size=batch_size, model_version=version, image_size=SIZE, compile=is_compiled
        )
        for kind, augmentation in (("", Augmentation()), (" without augmentation", NO_AUGMENTATION)):
            name = f"toolkit{', compiled' if is_compiled else ''}{kind}"
            loops[name] = make_toolkit_loop(samples, options, augmentation)
    return loops


def main() -> None:
    """Times each loop with each network, in turns: a machine that others use too is not always as fast."""
    keep_freed_memory()
    args = parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.images, SIZE, SIZE), dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, args.images)
    device = choose_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    print(f"{device.type} ({name}), {usable_cores()} cores, {versions}")
    print(f"medians of {args.turns} turns\n{'loop':40}{'network':>8}{'batch':>7}{'images/s':>12}{'ratio':>8}")
    for batch_size in args.batch_sizes:
        for version in args.versions:
            loops = make_loops(version, batch_size, images, labels, args)
            seconds = args.seconds / args.turns
            speeds = np.array([[time_turn(loop, seconds) for loop in loops.values()] for _ in range(args.turns)])
            ratios = speeds / speeds[:, :1]
            for name, speed, ratio in zip(loops, np.median(speeds, 0), np.median(ratios, 0), strict=True):
                print(f"{name:40}{version:>8}{batch_size:7}{speed:12,.0f}{ratio:7.2f}x", flush=True)
    print(f"memory of this process at the end: {psutil.Process().memory_info().rss / 1e6:,.0f} MB")


if __name__ == "__main__":
    run_script(main)
