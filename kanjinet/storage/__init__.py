"""What is kept in files: checkpoints, SafeTensors, model cards; atomic writes, locks, limits on untrusted files."""
