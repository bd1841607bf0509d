"""The faults: what is done to a stage, and how that must end. Each function is one trial, which is right or raises."""

import contextlib
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kanjinet.synth.kanjivg import find_kanjivg_folder
from tests.faults.damage import damage
from tests.faults.injector import READING, WRITING, Fault
from tests.faults.stages import OUT, STAGES, FaultError, Workshop

TrialFunction = Callable[[Workshop, str, random.Random], int]  # returns how many faults struck
MAX_KILLS = 3  # of one run, one after the other, before it may finish
CLOCK_JUMPS_S = (0.0, -40 * 365 * 86400.0, 86400.0, -3600.0)
IMPOSSIBLE_TIMES_S = (0, 4102444800)  # 1970 and 2100


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        part: of the campaign.
        name: what is done, for the table.
        run: the trial.
        stages: those to which it is done.
    """

    part: str
    name: str
    run: TrialFunction
    stages: tuple[str, ...]


def count_operations(workshop: Workshop, stage: str, place: str = OUT) -> int:
    """How many file operations the busiest process of a stage makes on its output folder, or reads on an input."""
    if place == OUT:
        workshop.undisturbed(stage)
        log = workshop.log_of(stage)
    else:
        log = workshop.folder / f"operations of {stage} on {place.replace('/', ' ')}"
    if not log.exists():
        with workshop.trial(stage) as trial:
            fault = Fault(str(workshop.inputs / place), operations=READING, log=str(log))
            trial.expect_success(trial.run(fault=fault))
    return max(Counter(line.split()[0] for line in log.read_text(encoding="utf-8").splitlines()).values())


def time_stage(workshop: Workshop, stage: str) -> float:
    """Seconds that an undisturbed run takes."""
    workshop.undisturbed(stage)
    return workshop.seconds[stage]


def kill_at_operation(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """SIGKILL before a file operation, or in the middle of a write."""
    at = rng.randint(1, count_operations(workshop, stage))
    with workshop.trial(stage) as trial:
        outcome = trial.run(fault=Fault(str(trial.out), "kill", at))
        if outcome.status != -9:
            raise FaultError(f"{stage}: not killed at operation {at}: {outcome}")
        trial.finish()
    return 1


def kill_at_moment(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """SIGKILL after a random time."""
    with workshop.trial(stage) as trial:
        outcome = trial.run(kill_after_s=rng.uniform(0, time_stage(workshop, stage)))
        trial.finish()
    return int(outcome.status == -9)  # it may have been quicker


def kill_again_and_again(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """SIGKILL after a random time, MAX_KILLS times, to the run and its reruns."""
    with workshop.trial(stage) as trial:
        kills = 0
        for number in range(MAX_KILLS):
            kill_after_s = rng.uniform(0, time_stage(workshop, stage))
            kills += trial.run(kill_after_s=kill_after_s, is_rerun=number > 0).status == -9
        trial.finish()
    return kills


def kill_worker(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """SIGKILL for a worker process alone, as when memory runs out, where it writes or reads."""
    with workshop.trial(stage) as trial:
        place = find_kanjivg_folder() if stage == "sample" else trial.out  # sample's workers do not touch its output
        fault = Fault(str(place), "kill worker", 1, (*WRITING, *READING))
        trial.expect_refusal(trial.run(fault=fault))
        trial.finish()
    return 1


def fail_operation(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """One file operation fails: the disk is full, or defect, once or from then on."""
    at, is_lasting = rng.randint(1, count_operations(workshop, stage)), rng.random() < 0.5
    with workshop.trial(stage) as trial:
        outcome = trial.run(fault=Fault(str(trial.out), rng.choice(["ENOSPC", "EIO"]), at, lasting=is_lasting))
        if outcome.status:
            trial.expect_refusal(outcome, OUT)
        else:  # a folder that could not be made was there already
            trial.expect_same_result()
        if not is_lasting and (left := [*trial.out.rglob("*.part")]):
            raise FaultError(f"{stage}: {left} left after operation {at} had failed: {outcome.stderr}")
        trial.finish()
    return 1


def turn_read_only(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """From some file operation on, all of the output folder is read-only, as after a disk error."""
    at = rng.randint(1, count_operations(workshop, stage))
    with workshop.trial(stage) as trial:
        outcome = trial.run(fault=Fault(str(trial.out), "EROFS", at, lasting=True))
        trial.expect_refusal(outcome, OUT)
        trial.finish()
    return 1


def remove_folder(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """The output folder is removed before some file operation."""
    at = rng.randint(1, count_operations(workshop, stage))
    with workshop.trial(stage) as trial:
        outcome = trial.run(fault=Fault(str(trial.out), "vanish", at))
        if outcome.status:  # it may be made again at once, or removed after the last file was written
            trial.expect_refusal(outcome, OUT)
        trial.restore()
        trial.finish()
    return 1


def put_file_in_place_of_folder(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """A file stands where the output folder should be."""
    with workshop.trial(stage) as trial:
        shutil.rmtree(trial.out)
        trial.out.touch()
        trial.expect_refusal(trial.run(), OUT)
        trial.out.unlink()
        trial.restore()
        trial.finish()
    return 1


def fill_file_system(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """The output folder is a small tmpfs, on which the kernel itself runs out of space."""
    whole = sum(path.stat().st_size for path in workshop.undisturbed(stage).iterdir())
    with workshop.trial(stage) as trial:
        with mounted(trial.out, "-t", "tmpfs", "-o", f"size={rng.randint(4096, max(8192, whole // 2))}", "tmpfs"):
            with contextlib.suppress(OSError):
                trial.restore()
            trial.expect_refusal(trial.run(), OUT)
        trial.restore()
        trial.finish()
    return 1


def mount_read_only(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """The output folder is mounted read-only by the kernel."""
    with workshop.trial(stage) as trial:
        with mounted(trial.out, "-t", "tmpfs", "-o", "ro", "tmpfs"):
            trial.expect_refusal(trial.run(), OUT)
        trial.finish()
    return 1


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something at a folder; only root may."""
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount file systems."""
    place = folder / "mount here"
    place.mkdir(exist_ok=True)
    try:
        with mounted(place, "-t", "tmpfs", "tmpfs"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def fail_read(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """A read of an input fails, as on a defect disk."""
    place = rng.choice(STAGES[stage].reads)
    at = rng.randint(1, count_operations(workshop, stage, place))
    with workshop.trial(stage) as trial:
        outcome = trial.run(fault=Fault(str(workshop.inputs / place), "EIO", at, READING))
        trial.expect_refusal(outcome, Path(place).name)
        trial.finish()
    return 1


def shrink_input(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """Another process cuts an input in half between two reads of it."""
    place = rng.choice(STAGES[stage].reads)
    at = rng.randint(1, count_operations(workshop, stage, place))
    with workshop.trial(stage) as trial:
        inputs = trial.copy_inputs()
        outcome = trial.run(inputs=inputs, fault=Fault(str(inputs / place), "shrink", at, READING))
        if outcome.status:
            trial.expect_refusal(outcome, Path(place).name)
        trial.finish()
    return 1


def damage_input(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """An input has bytes flipped, is cut, emptied, or replaced by another kind of file."""
    place = rng.choice(STAGES[stage].reads)
    with workshop.trial(stage) as trial:
        inputs = trial.copy_inputs()
        damage(inputs / place, rng)
        outcome = trial.run(inputs=inputs)
        if outcome.status:
            trial.expect_refusal(outcome, Path(place).name, "dataset")
        else:
            trial.expect_same_result()
        trial.finish()
    return 1


def damage_result(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """A file of a finished result is damaged; the stage, run again, puts it right."""
    with workshop.trial(stage) as trial:
        shutil.copytree(workshop.undisturbed(stage), trial.out, dirs_exist_ok=True)
        damage(rng.choice(sorted(trial.out.iterdir())), rng)
        trial.expect_success(workshop.server.run(trial.job(is_rerun=True)))
        trial.expect_same_result()
    return 1


def damage_state(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """The last state of an interrupted training is damaged; it goes on from the one before."""
    with workshop.trial(stage) as trial:
        at = rng.randint(count_operations(workshop, stage) // 2, count_operations(workshop, stage))
        trial.run(fault=Fault(str(trial.out), "kill", at))
        newest = min(trial.out.glob("training_state*.pth"), key=lambda path: len(path.name))
        damage(newest, rng)
        trial.expect_success(workshop.server.run(trial.job(is_rerun=True)))
        trial.expect_same_result()
    return 1


def run_two(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """Two runs in one folder: each ends right or is refused, and at least one ends right."""
    with workshop.trial(stage) as trial:
        delay_s = rng.uniform(0, 0.5 * time_stage(workshop, stage))
        outcomes = workshop.server.run_together([trial.job(), trial.job(delay_s=delay_s)])
        for outcome in outcomes:
            if outcome.status:
                trial.expect_refusal(outcome, OUT)
            trial.expect_whole_files(outcome)
        if all(outcome.status for outcome in outcomes):
            raise FaultError(f"{stage}: both of two runs were refused: {outcomes[0].stderr}")
        trial.expect_same_result()
    return 1


def turn_clock(workshop: Workshop, stage: str, rng: random.Random) -> int:
    """The clock jumps at every look at it, and the inputs are of 1970 and 2100."""
    with workshop.trial(stage) as trial:
        inputs = trial.copy_inputs()
        for path in inputs.rglob("*"):
            os.utime(path, (rng.choice(IMPOSSIBLE_TIMES_S),) * 2)
        jumps = tuple(rng.choice(CLOCK_JUMPS_S) for _ in range(7))
        trial.expect_success(trial.run(inputs=inputs, fault=Fault(str(trial.out), clock_jumps_s=jumps)))
        trial.expect_same_result()
    return 1


EVERY = tuple(STAGES)
RESUMABLE = ("sample", "prepare", "train")
READERS = tuple(stage for stage, described in STAGES.items() if described.reads)
KINDS = (
    Kind("kills", "SIGKILL at a file operation", kill_at_operation, EVERY),
    Kind("kills", "SIGKILL at a moment", kill_at_moment, ("sample", "prepare", "train", "onnx", "safetensors")),
    Kind("kills", f"SIGKILL {MAX_KILLS} times in a row", kill_again_and_again, RESUMABLE),
    Kind("kills", "SIGKILL of a worker", kill_worker, ("sample", "prepare")),
    Kind("disk", "ENOSPC or EIO at a file operation", fail_operation, EVERY),
    Kind("disk", "read-only from a file operation on", turn_read_only, EVERY),
    Kind("disk", "output folder removed meanwhile", remove_folder, EVERY),
    Kind("disk", "a file in place of the output folder", put_file_in_place_of_folder, EVERY),
    Kind("mounts", "a full tmpfs (kernel's ENOSPC)", fill_file_system, EVERY),
    Kind("mounts", "a read-only mount (kernel's EROFS)", mount_read_only, EVERY),
    Kind("inputs", "EIO at a read", fail_read, READERS),
    Kind("inputs", "input cut in half while it is read", shrink_input, READERS),
    Kind("inputs", "damaged input", damage_input, ("train", "onnx", "safetensors", "evaluate")),
    Kind("results", "damaged result, stage run again", damage_result, ("prepare", "onnx", "safetensors", "mapping")),
    Kind("results", "damaged state, training resumed", damage_state, ("train",)),
    Kind("pairs", "two runs in one folder", run_two, EVERY),
    Kind("clock", "clock jumps, files of 1970 and 2100", turn_clock, EVERY),
)


@dataclass
class Row:
    """How trials of one kind ended: faults that struck, trials, and how some went wrong."""

    struck: int = 0
    trials: int = 0
    wrong: list[str] = field(default_factory=list)


def run_trials(kind: Kind, workshop: Workshop, stage: str, seed: int, count: int) -> Row:
    """So many trials of a kind at a stage, each from a seed of its own."""
    row = Row()
    for number in range(count):
        row.trials += 1
        try:
            row.struck += kind.run(workshop, stage, random.Random(f"{seed} {kind.name} {stage} {number}"))
        except FaultError as error:
            row.wrong.append(f"{kind.name}, {stage}, trial {number}: {error}")
    return row
