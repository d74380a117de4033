"""The process and its machine: threads, memory, GPUs, stopping, progress, errors."""
