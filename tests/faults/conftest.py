"""What the tests of faults share: one server that forks a process for every run, and inputs for all stages."""

from collections.abc import Iterator

import pytest
import torch

from tests.faults.server import start_server
from tests.faults.stages import IMPORTED_LATER, SCRIPTS, Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with start_server((*SCRIPTS, *IMPORTED_LATER)) as server:
        made = Workshop(server, tmp_path_factory.mktemp("faults").resolve())
        made.make_inputs()
        yield made
    torch.set_num_threads(threads)
