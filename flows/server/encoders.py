"""The encoder that the process keeps which commands are forks of: that of the last command."""

import gc
import sys
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 10**9  # of weights, which stay in memory for some minutes


def describe_encoder() -> str:
    """The encoder that this process has loaded as JSON; empty where none is to be kept.

    Kept are encoders of a CPU whose weights lie in a file or folder that is named, or in
    photo-lite's: for others open_clip may ask the network.
    """
    from tasks.embed.names import LOCAL_DIR_PREFIX

    encoders = sys.modules.get("tasks.embed.encoder")  # an import here would take seconds
    last = encoders and encoders.last_encoder()
    if not last:
        return ""
    source, size = last
    is_local = source.is_file or source.model_name.startswith(LOCAL_DIR_PREFIX)
    is_kept = is_local and source.device == "cpu" and size <= MOST_BYTES
    return str(source.model_dump_json()) if is_kept else ""


def keep_encoder(description: str) -> bool:
    """Load an encoder in place of the one that this process has loaded, without threads.

    It is not loaded where its weights are not found, or others by now: a path of the command's
    folder is none of this process's. False where a library has started threads all the same: forks
    of this process would wait for them for ever.
    """
    import torch
    from threadpoolctl import ThreadpoolController

    from tasks.embed.encoder import last_encoder, load_encoder, unload_encoder
    from tasks.embed.identity import EncoderSource
    from tasks.embed.sources import resolve_encoder

    before = _count_threads()
    torch.get_num_threads()  # which torch decides when it is first needed
    # as many kinds as libraries have; a command that loads the encoder reports it
    openmp = ThreadpoolController().select(user_api="openmp")
    with suppress(Exception), openmp.limit(limits=1):
        source = EncoderSource.model_validate_json(description)
        identity = source.identity
        if resolve_encoder(source.name, identity.precision, source.device) == source:
            if last_encoder():
                gc.unfreeze()
                unload_encoder()
                gc.collect()
            load_encoder(source)
            gc.freeze()
    return _count_threads() <= before


def _count_threads() -> int:
    """The threads of this process and its libraries, but for that of jemalloc, which forks."""
    names = [file.read_text() for file in Path("/proc/self/task").glob("*/comm")]
    return sum("jemalloc" not in name for name in names)
