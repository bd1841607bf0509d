"""Training steps that a GPU replays from a CUDA graph, so that Python need not launch hundreds of kernels each time.

A step of a small network on a small batch takes a GPU less time than it takes Python to launch its kernels.
"""

from collections.abc import Callable

import torch

_WARM_UP_STEPS = 3  # in which libraries choose their kernels and take their memory


class RecordedStep:
    """Runs a step as it is a few times, then records it, and from then on replays it; each call is one real step.

    Its argument, on the GPU, has the same shape in every call. All else that the step reads and writes must stay in the
    same memory, and nothing in it may ask the device for a value. Random numbers follow the seed that is set before
    each call.
    """

    def __init__(self, step: Callable[[torch.Tensor], None], optimizer: torch.optim.Optimizer) -> None:
        """Gives the optimizer's groups learning rates that a recording can read: tensors, to be filled."""
        self._step, self._optimizer = step, optimizer
        self._stream = torch.cuda.Stream()
        self._steps_made = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._argument = torch.empty(0)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=self._stream.device)
            group["capturable"] = False

    def __call__(self, argument: torch.Tensor) -> None:
        if self._steps_made < _WARM_UP_STEPS:
            self._steps_made += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self._step(argument)
            torch.cuda.current_stream().wait_stream(self._stream)
            return
        if self._graph is None:
            self._graph = self._record(argument)
        self._argument.copy_(argument)
        self._graph.replay()

    def _record(self, argument: torch.Tensor) -> torch.cuda.CUDAGraph:
        for group in self._optimizer.param_groups:
            group["capturable"] = True  # without this it refuses to be recorded
        self._argument = argument.clone()
        self._optimizer.zero_grad(set_to_none=True)  # gradients are to lie in the recording's memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(self._argument)
        return graph
