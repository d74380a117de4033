"""Names of GPUs, and one process at a time on each; the lock needs no GPU."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.runtime import gpus
from tasks.runtime.gpus import find_gpu, list_visible_gpus, lock_gpu, needs_gpu
from tasks.runtime.stopping import STOP, Stopped

# Holds a GPU until it is killed.
HOLDER = """
import sys, time
from tasks.runtime.gpus import lock_gpu
with lock_gpu("cuda:1"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Locks of these tests alone, and three GPUs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5,GPU-1f/2")
    monkeypatch.setattr(gpus, "LOOK_EVERY_SEC", 0.05)


def test_a_device_is_the_gpu_that_the_process_sees_there() -> None:
    assert list_visible_gpus() == ["3", "5", "GPU-1f/2"]
    assert [find_gpu(name) for name in ("cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:7")] == [
        *("3", "3", "5", "GPU-1f/2", "7")
    ]
    assert [needs_gpu(name) for name in ("cuda", "cuda:1", "cpu", "mps")] == [
        *(True, True, False, False)
    ]


def test_torch_is_not_imported_to_count_the_gpus_of_a_machine_without_a_driver() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    code = (
        "import sys; from tasks.runtime.gpus import list_visible_gpus; gpus = list_visible_gpus(); "
        "counted = 'torch' in sys.modules; import torch; "
        "print(len(gpus) == torch.cuda.device_count(), counted)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", str(gpus.has_driver())]


def test_a_gpu_that_somebody_is_on_is_waited_for_and_another_is_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with lock_gpu("cuda"), lock_gpu("cuda:2"):
            pass
        entered = threading.Event()

        def enter() -> None:
            with lock_gpu("cuda:1"):
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered.wait(0.5)
        holder.kill()  # its lock ends with it
        assert entered.wait(10)
        waiting.join()


def test_two_threads_of_a_process_are_not_on_one_gpu_either() -> None:
    inside, most = [], []

    def work() -> None:
        with lock_gpu("cuda:2"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.1)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_who_is_asked_to_stop_waits_no_longer() -> None:
    stopped = threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped), lock_gpu("cuda"):
            pass
        stopped.set()

    with lock_gpu("cuda"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        try:
            assert not stopped.wait(0.2)
            STOP.set()
            assert stopped.wait(10)
        finally:
            STOP.clear()
            waiting.join()


def test_on_a_cpu_nothing_is_locked() -> None:
    with lock_gpu("cpu"), lock_gpu("cpu"):
        pass
