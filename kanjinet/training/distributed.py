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
    """Returns this process's CUDA device, the first one where it is alone, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
