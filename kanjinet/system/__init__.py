"""The machine, its packages, and the preflight checks: standard library only."""
