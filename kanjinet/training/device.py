"""The device that computes: a GPU of NVIDIA, AMD or Apple, or the CPU."""

import contextlib
from collections.abc import Iterator

import torch

from kanjinet.errors import KanjinetError, first_line


def choose_device(name: str) -> torch.device:
    """Returns the device of this name, one of DEVICES; for auto the fastest that is there.

    Raises:
        KanjinetError: PyTorch cannot use it here.
    """
    is_there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [each for each in is_there if is_there[each]]
    if name == "auto":
        return torch.device(there[0])
    if name not in there:
        problem = f"device {name}: PyTorch {torch.__version__} cannot use it here"
        raise KanjinetError(problem, f"choose auto or {' or '.join(there)} with --device")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Returns a device's name for people; PyTorch calls AMD's GPUs cuda too."""
    if device.type == "cuda":
        return f"{'ROCm' if torch.version.hip else 'cuda'} ({torch.cuda.get_device_name(device)})"
    return "mps (Apple's GPU)" if device.type == "mps" else f"{device.type} ({torch.get_num_threads()} threads)"


def choose_memory_format(device: torch.device) -> torch.memory_format:
    """Returns how images lie in memory: channels last, but where PyTorch's kernels for that have failed."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def choose_algebra_device(device: torch.device) -> torch.device:
    """Returns where a device's linear algebra and resampling are computed: Apple's GPU lacks some of both."""
    return torch.device("cpu") if device.type == "mps" else device


@contextlib.contextmanager
def explain_device_errors(device: torch.device, setting: str, remedy: str) -> Iterator[None]:
    """Turns what PyTorch raises of a GPU that lacks an operation, or memory for a setting, into one line.

    Raises:
        KanjinetError: in place of it.
    """
    try:
        yield
    except NotImplementedError as error:
        if device.type == "cpu":
            raise
        raise KanjinetError(f"device {device.type}: {first_line(error)}", "choose --device cpu") from error
    except RuntimeError as error:
        is_apple_s = device.type == "mps" and ("out of memory" in str(error) or "buffer size" in str(error))
        if not is_apple_s and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise KanjinetError(f"{setting}: the GPU has too little memory", remedy) from error
