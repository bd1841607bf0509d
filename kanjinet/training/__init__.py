"""The training of a network: initialization, augmentation, loop, resuming, calibration."""
