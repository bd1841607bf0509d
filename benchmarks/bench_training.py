"""Images a second in training: the toolkit's loop against a plain one, on the machine at hand.

Reads:  nothing; the images are random, as the arithmetic does not depend on them
Writes: a table
Run:    python benchmarks/bench_training.py --seconds 20

The plain loop is the one that most projects have: a Dataset that gives one image at a time, a DataLoader with
workers, Adam, float32, and the loss read after every step.
"""

import argparse
import contextlib
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import psutil
import torch
from short_training import BATCH_SIZE, LEARNING_RATE, NO_AUGMENTATION, SIZE, as_samples
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kanjinet.classes import NUM_CLASSES
from kanjinet.cli import make_parser, positive_float, positive_int, run_script
from kanjinet.model import MODEL_VERSIONS, LightweightKanjiNet, ModelConfig
from kanjinet.training.allocator import keep_freed_memory
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.distributed import choose_device
from kanjinet.training.trainer import Samples, Trainer, peak_learning_rate

WARM_UP_FRACTION = 0.25  # of a turn's seconds, after its first step and before the clock starts

IsOver = Callable[[int], bool]  # told of a step's images: whether the turn is over
Loop = Callable[[IsOver], None]  # trains until its turn is over


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__, "python benchmarks/bench_training.py --seconds 20 --batch-sizes 64 256")
    parser.add_argument("--seconds", type=positive_float, default=20.0, help="for each line of the table")
    parser.add_argument("--turns", type=positive_int, default=8, help="in which the loops share those seconds")
    parser.add_argument("--pictures", type=positive_int, default=20_000, help="in the training set")
    parser.add_argument("--batch-sizes", type=positive_int, nargs="+", default=[BATCH_SIZE], help="images a step")
    parser.add_argument("--versions", nargs="+", choices=MODEL_VERSIONS, default=["2.1", "3.0"], help="networks")
    parser.add_argument("--compile", action="store_true", help="also compiled")
    parser.add_argument("--loader-workers", type=int, default=os.cpu_count(), help="processes of the plain loop")
    return parser.parse_args()


class OneByOne(Dataset[tuple[torch.Tensor, int]]):
    """Images one at a time, as floats."""

    def __init__(self, images: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> None:
        self.images, self.classes = images, classes

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[index].astype(np.float32) / 255).unsqueeze(0), int(self.classes[index])


def run_plain_loop(version: str, dataset: OneByOne, batch: int, workers: int) -> Iterator[int]:
    """Train without end, giving the images of each step."""
    device = choose_device()
    model = LightweightKanjiNet(ModelConfig.preset(version, SIZE)).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loader = DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    while True:
        for inputs, wanted in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs.to(device)), wanted.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
            yield len(inputs)


def make_plain_loop(version: str, dataset: OneByOne, batch: int, workers: int) -> Loop:
    """The plain loop, which goes on where its last turn ended."""
    steps = run_plain_loop(version, dataset, batch, workers)

    def run(is_over: IsOver) -> None:
        for count in steps:
            if is_over(count):
                return

    return run


def make_toolkit_loop(
    version: str, samples: Samples, batch: int, *, augmentation: Augmentation, compiles: bool
) -> Loop:
    """The toolkit's own training loop, which goes on where its last turn ended."""
    device = choose_device()
    torch.manual_seed(0)
    trainer = Trainer(
        model=LightweightKanjiNet(ModelConfig.preset(version, SIZE)).to(device),
        samples=Samples(samples.images.to(device), samples.classes.to(device)),
        batch_size=batch,
        epochs=1_000_000,
        peak_rate=peak_learning_rate(LEARNING_RATE, batch),
        seed=0,
        augmentation=augmentation,
        compiles=compiles,
    )
    epochs = itertools.count()

    def run(is_over: IsOver) -> None:
        def between_steps() -> None:
            if is_over(batch):
                raise _TimeIsUp

        with contextlib.suppress(_TimeIsUp):
            while True:
                epoch = trainer.position["epoch"] if trainer.position else next(epochs)
                trainer.train_epoch(epoch, lambda *_: None, between_steps)

    return run


class _TimeIsUp(Exception):
    pass


def time_turn(loop: Loop, seconds: float) -> float:
    """Images a second of one turn of a loop."""
    clock = _Clock(seconds)
    loop(clock.is_over)
    return clock.images_per_s


class _Clock:
    """Counts images once the warm-up is over; on a GPU it waits for the work that is under way."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.warm_up_ends: float | None = None
        self.start: float | None = None
        self.counted = 0
        self.images_per_s = float("nan")

    def is_over(self, images: int) -> bool:
        """Count a step's images; whether the time is up."""
        now = time.perf_counter()
        if self.warm_up_ends is None:  # the first step, in which a network may be compiled, is over
            self.warm_up_ends = now + WARM_UP_FRACTION * self.seconds
        if self.start is None:
            if now >= self.warm_up_ends:
                self.start = self._wait()
            return False
        self.counted += images
        if now - self.start < self.seconds:
            return False
        self.images_per_s = self.counted / (self._wait() - self.start)
        return True

    @staticmethod
    def _wait() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def describe_machine() -> str:
    """Device, cores, versions."""
    device = choose_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    return f"{device.type} ({name}), {os.cpu_count()} cores, {versions}"


def make_loops(version: str, batch: int, dataset: OneByOne, args: argparse.Namespace) -> dict[str, Loop]:
    """All loops of one network, the baseline first."""
    samples = as_samples(dataset.images, dataset.classes)
    loops = {"plain: Dataset and DataLoader": make_plain_loop(version, dataset, batch, args.loader_workers)}
    for compiles in (False, True)[: 1 + args.compile]:
        for kind, augmentation in (("", Augmentation()), (" without augmentation", NO_AUGMENTATION)):
            loops[f"toolkit{', compiled' if compiles else ''}{kind}"] = make_toolkit_loop(
                version, samples, batch, augmentation=augmentation, compiles=compiles
            )
    return loops


def main() -> None:
    """Time each loop with each network, in turns: a machine that others use too is not always as fast."""
    keep_freed_memory()
    args = parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.pictures, SIZE, SIZE), dtype=np.uint8)
    dataset = OneByOne(images, rng.integers(0, NUM_CLASSES, args.pictures))
    print(describe_machine())
    print(f"medians of {args.turns} turns\n{'loop':40}{'network':>8}{'batch':>7}{'images/s':>12}{'ratio':>8}")
    for batch in args.batch_sizes:
        for version in args.versions:
            loops = make_loops(version, batch, dataset, args)
            seconds = args.seconds / args.turns
            speeds = np.array([[time_turn(loop, seconds) for loop in loops.values()] for _ in range(args.turns)])
            ratios = speeds / speeds[:, :1]
            for name, speed, ratio in zip(loops, np.median(speeds, 0), np.median(ratios, 0), strict=True):
                print(f"{name:40}{version:>8}{batch:7}{speed:12,.0f}{ratio:7.2f}x", flush=True)
    print(f"memory of this process at the end: {psutil.Process().memory_info().rss / 1e6:,.0f} MB")


if __name__ == "__main__":
    run_script(main)
