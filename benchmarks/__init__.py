"""One script per claim of this project, run as ``python -m benchmarks NAME``."""
