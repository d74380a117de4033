"""A device whose memory others take, and two processes on one device."""

import multiprocessing
import sys
import time
from itertools import pairwise
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu_parts.bench import ALMOST_NONE, Bench
from tasks.embed.encoder import Encoder
from tasks.embed.identity import EncoderSource
from tasks.embed.precision import cosine_errors
from tasks.embed.sources import native_precision
from tasks.runtime.gpus import lock_gpu, needs_gpu

SECONDS_TO_START = 40  # a process, which imports torch and open_clip
TURNS = 3


def measure_memory(bench: Bench) -> None:
    """Take the device's memory away until a batch does not fit, and embed it all the same."""
    if not needs_gpu(bench.device):
        bench.rows.append({"what": "not measured: a batch on a CPU does not follow the memory"})
        return
    for architecture in ("ViT-B-32", "ViT-L-14"):
        _measure_memory_of(bench, architecture)


def _measure_memory_of(bench: Bench, architecture: str) -> None:
    cuda, device = torch.cuda, torch.device(bench.device)
    encoder = bench.encoder(architecture, "fp16")
    chosen = encoder.batch_size
    pixels = torch.randint(0, 256, (chosen, *encoder.size_px, 3), dtype=torch.uint8)
    cuda.empty_cache()
    cuda.reset_peak_memory_stats(device)
    before = cuda.memory_allocated(device)
    expected = encoder.encode_images(pixels, chosen).numpy()
    needed = cuda.max_memory_allocated(device) - before
    cuda.empty_cache()
    free, total = cuda.mem_get_info(device)
    # a third of what the batch takes stays: it must be halved twice
    taken = torch.empty(max(0, free - needed // 3), dtype=torch.uint8, device=device)
    try:
        rows = encoder.encode_images(pixels, chosen).numpy()
        fitting = encoder._max_batch
        encoder._max_batch = sys.maxsize
        del encoder.batch_size  # it is chosen anew
        proposed = encoder.batch_size
        encoder.encode_images(pixels[:proposed], proposed)
    finally:
        del taken
        cuda.empty_cache()
    error = float(cosine_errors(rows, expected).max())
    bench.check(
        error <= ALMOST_NONE, f"{architecture} in halved batches: 1 - cosine is {error:.1e}, not 0"
    )
    bench.check(fitting < chosen, f"{architecture}: {chosen} views fit where memory is for a third")
    bench.check(
        proposed < chosen, f"{architecture}: a batch of {proposed} is chosen in little memory"
    )
    bench.rows.append(
        {
            "encoder": architecture,
            "batch chosen": chosen,
            "MB that it takes": needed / 1e6,
            "share of the device": f"{needed / total:.1%}",
            "with a third of that: halved to": fitting,
            "chosen": proposed,
            "1 - cosine, maximum": error,
        }
    )


def take_turns(
    encoder: Encoder, locked: str, pixels: torch.Tensor
) -> tuple[list[tuple[float, float]], NDArray[np.float32]]:
    """Embed `TURNS` times, each while holding the lock of a device: when, and the last rows."""
    turns, rows = [], torch.empty(0)
    for _ in range(TURNS):
        with lock_gpu(locked):
            started = time.monotonic()  # of the machine, the same for all processes
            rows = encoder.encode_images(pixels, len(pixels))
            time.sleep(0.05)  # two without the lock would overlap
            turns.append((started, time.monotonic()))
    return turns, rows.numpy()


def serve_turns(pipe: Connection, source: EncoderSource, locked: str, pixels: torch.Tensor) -> None:
    """In a process of its own: load the encoder, say so, and take turns when told to."""
    encoder = Encoder(source)
    encoder.encode_images(pixels[:1], 1)
    pipe.send("ready")
    pipe.recv()
    pipe.send(take_turns(encoder, locked, pixels))


def measure_processes(bench: Bench) -> None:
    """Embed in this process and in another, which the GPU's lock lets work one after the other.

    On a CPU, which needs no lock, they take that of a GPU all the same.
    """
    source = bench.source("ViT-B-32", native_precision(bench.device))
    encoder, locked = Encoder(source), bench.device if needs_gpu(bench.device) else "cuda"
    shape = (bench.sizes.views, *encoder.size_px, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=serve_turns, args=(other, source, locked, pixels), daemon=True)
    process.start()
    other.close()  # or a process that fails would be waited for
    try:
        if not pipe.poll(SECONDS_TO_START):
            raise RuntimeError(f"a process did not start in {SECONDS_TO_START} s")
        pipe.recv()
        pipe.send("start")
        first, rows = take_turns(encoder, locked, pixels)
        second, others = pipe.recv()
    finally:
        process.terminate()
        process.join()
    turns = sorted([*first, *second])
    is_apart = all(a[1] <= b[0] for a, b in pairwise(turns))
    error = float(cosine_errors(rows, others).max())
    bench.check(len(turns) == 2 * TURNS, f"{len(turns)} turns instead of {2 * TURNS}")
    bench.check(is_apart, "two processes computed on one device at the same time")
    bench.check(error <= ALMOST_NONE, f"two processes' embeddings differ by 1 - cosine {error:.1e}")
    busy = sum(end - start for start, end in turns)
    bench.rows.append(
        {
            "turns": len(turns),
            "at once": "never" if is_apart else "yes",
            "1 - cosine, maximum": error,
            "seconds of a turn": busy / len(turns),
            "from one to the next": (turns[-1][1] - turns[0][0] - busy) / (len(turns) - 1),
        }
    )
