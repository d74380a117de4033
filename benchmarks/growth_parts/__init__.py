"""The parts of `benchmarks/growth.py`: stages, synthetic inputs, and the fit of an exponent."""
