"""Found by every Python whose PYTHONPATH holds this folder: arms the fault that the environment names."""

from tests.faults.injector import arm_from_environment

arm_from_environment()
