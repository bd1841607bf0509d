"""The processes that train one network together: one a GPU or a machine, started by torchrun; usually there is one."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

Value = TypeVar("Value")


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place among those that train together.

    Attributes:
        rank: 0 for the one that writes files and prints.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, which must all call it."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    def any(self, is_so: bool, device: torch.device) -> bool:
        """Whether it is so in any process; all must call it."""
        return bool(self.sum(torch.tensor(float(is_so), device=device)).item()) if self.size > 1 else is_so

    def share(self, value: Value) -> Value:
        """The first process's value, for all of them."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def send(self, values: torch.Tensor, owner: int) -> None:
        """Overwrite `values` with those of the process of rank `owner`; all must call it."""
        if self.size > 1:
            dist.broadcast(values, owner)

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = ProcessGroup()


@contextlib.contextmanager
def join_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """The group that torchrun's environment names (nccl for GPUs, gloo for CPUs), or without torchrun this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    is_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if is_gpu else "gloo", device_id=device if is_gpu else None)
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # with gloo, PyTorch 2.14 sometimes aborts a process that leaves before the other is ready to
    finally:
        dist.destroy_process_group()


def choose_device() -> torch.device:
    """The CUDA device of this process, the first one where it is alone, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
