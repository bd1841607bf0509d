"""The processes that train one network together: one a GPU or a machine, started by torchrun; usually there is one."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from kanjinet.errors import KanjinetError
from kanjinet.training.device import choose_device

Value = TypeVar("Value")
_LAUNCHED = "TORCHELASTIC_RUN_ID"  # set by torchrun


@dataclass(frozen=True)
class ProcessGroup:
    """Represents this process's place among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the sum over all processes, which must all call it."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    def any(self, is_so: bool, device: torch.device) -> bool:
        """Returns whether it is so in any process; all must call it."""
        return bool(self.sum(torch.tensor(float(is_so), device=device)).item()) if self.size > 1 else is_so

    def broadcast(self, value: Value) -> Value:
        """Returns the first process's value in all of them."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def broadcast_tensor(self, values: torch.Tensor, source: int) -> None:
        """Overwrites `values` with those of the process of rank `source`; all must call it."""
        if self.size > 1:
            dist.broadcast(values, source)

    def wait(self) -> None:
        """Waits for all processes."""
        if self.size > 1:
            dist.barrier()


ALONE = ProcessGroup()


@contextlib.contextmanager
def join_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Joins the group that torchrun's environment names (nccl for GPUs, gloo for CPUs), if any."""
    if _LAUNCHED not in os.environ:
        yield ALONE
        return
    is_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if is_gpu else "gloo", device_id=device if is_gpu else None)
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # with gloo, PyTorch 2.14 sometimes aborts a process that leaves before the other is ready to
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def speak_once(group: ProcessGroup) -> Iterator[None]:
    """Lets only the first process print."""
    with contextlib.ExitStack() as stack:
        if not group.is_first:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


def choose_training_device(name: str) -> torch.device:
    """Returns the device of this name, one of DEVICES; of several CUDA devices this process's own.

    Raises:
        KanjinetError: PyTorch cannot use it here, or not in as many processes as torchrun started.
    """
    device, is_launched = choose_device(name), _LAUNCHED in os.environ
    if device.type == "mps" and is_launched:
        if name == "mps":
            raise KanjinetError("--device mps: torchrun's processes cannot share Apple's GPU", "train without torchrun")
        return torch.device("cpu")
    if device.type != "cuda":
        return device
    rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if rank >= count:
        raise KanjinetError(
            f"torchrun: {rank + 1} processes or more on this machine, and {count} of its GPUs can be used",
            f"start {count} with --nproc-per-node, or choose --device cpu",
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device
