"""Commands run in a fork of a process that has imported everything, where one is kept.

`wca` hands such a process (`flows.server.forks`) what a command is made of: its words, environment,
folder and the files of its input and output. The process forks, the fork runs the command, and this
process passes signals on and ends as the fork does. Whatever is unusual: the command runs here.
`wca` imports this before anything else, so it imports little.
"""

import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from flows.server.private import find_socket_folder, list_settings_files, read_keep_sec

SOCKET = "commands.sock"  # beside the sockets of Prefect's servers
ANSWER_SEC = 3.0  # the process may be loading an encoder
NUMBER_BYTES = 8
GO = b"\1"
ROOT = Path(__file__).resolve().parents[2]
# Variables that are read when they are needed, or by shells and terminals alone. Any other may have
# been read by an import: where it differs, the process is replaced.
READ_WHEN_NEEDED = {
    *("_", "PWD", "OLDPWD", "SHLVL", "PS1", "PATH", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT"),
    *("COLUMNS", "LINES", "TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "WINDOWID", "DISPLAY"),
    "MFLAGS",
}
READ_WHEN_NEEDED_PREFIXES = (
    *("OPENAI_", "MAKE", "PYENV_", "_PYENV_", "SSH_", "TMUX", "TERM_", "VSCODE_", "VTE_"),
    *("GNOME_TERMINAL_", "KONSOLE_"),
)
# Of Linux's: a process in other ones sees other files, users or networks.
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def forward_command() -> None:
    """End this process as a command in a fork of the kept process ends; return where there is none.

    A signal that ends or stops a command goes to the fork. If this process is killed, the fork is
    sent SIGHUP.
    """
    if not _can_share():
        return
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ANSWER_SEC)
        connection.connect(str(find_socket_folder() / SOCKET))
        if read_peer_user(connection) != os.geteuid():
            return
        request = _pack_request()
        length = len(request).to_bytes(NUMBER_BYTES)
        socket.send_fds(connection, [length], [0, 1, 2])
        connection.sendall(request)
        fork = int.from_bytes(connection.recv(NUMBER_BYTES))
        if not fork:  # the process has other code or settings, and ends
            return
        _pass_signals_to(os.pidfd_open(fork))
        connection.sendall(GO)
    except OSError:
        return
    connection.settimeout(None)
    _end_like(connection)


def _end_like(connection: socket.socket) -> NoReturn:
    """Wait for the status of the fork, and end with it."""
    with suppress(OSError):
        if status := connection.recv(1):
            os._exit(status[0])
    os.kill(os.getpid(), signal.SIGKILL)  # as the fork was
    raise SystemExit(128 + signal.SIGKILL)


def keep_process(environment: Mapping[str, str]) -> None:
    """Start the process that later commands are forks of, unless there is one.

    environment: of this process before it changed it.
    """
    if not _can_share():
        return
    # a command that is forwarded does not need them
    import subprocess  # noqa: PLC0415

    from flows.server.encoders import describe_encoder  # noqa: PLC0415

    with suppress(OSError):
        subprocess.Popen(  # noqa: S603 - this project's own program
            # -P: modules are not looked for in the folder in which the command is given
            (sys.executable, "-P", "-m", "flows.server.forks", describe_encoder()),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _can_share() -> bool:
    """Whether this command may run in a fork: on Linux an ordinary `wca`, except `wca ui`."""
    is_plain = sys.orig_argv[1:2] in (["-m"], sys.argv[:1])  # no options of Python's own
    with suppress(ValueError):
        return (
            sys.platform == "linux"
            and is_plain
            and sys.argv[1:2] != ["ui"]  # stays for hours
            and read_keep_sec() > 0
        )
    return False


def read_peer_user(connection: socket.socket) -> int:
    """The user of the process at the other end of a connection."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    user: int = struct.unpack("3i", credentials)[1]
    return user


def describe_process() -> bytes:
    """All that decides what imports make, and what forks inherit; alike commands have the same."""
    import resource  # noqa: PLC0415 - not on Windows

    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name not in READ_WHEN_NEEDED and not name.startswith(READ_WHEN_NEEDED_PREFIXES)
    ]
    # a package that is installed or removed changes the folder
    libraries = [path for path in sys.path if Path(path).name.endswith("-packages")]
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    facts = [
        *(sys.executable, str(ROOT), *variables),
        *(f"{path} {os.stat(path).st_mtime_ns}" for path in libraries),  # noqa: PTH116 - strings
        *_list_files(ROOT / "flows"),
        *_list_files(ROOT / "tasks"),
        *(f"{file} {file.stat().st_mtime_ns}" for file in _list_used_settings()),
        *(str(resource.getrlimit(getattr(resource, name))) for name in limits),
        f"{sorted(os.sched_getaffinity(0))} {os.nice(0)} {os.getgroups()} {os.getegid()}",
        *(os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES),  # noqa: PTH115
        Path("/proc/self/cgroup").read_text(encoding="utf-8"),
    ]
    return os.fsencode("\n".join(facts))


def _list_used_settings() -> list[Path]:
    """The files that configure Prefect; this project's own is about servers alone."""
    return [
        file
        for file in list_settings_files()
        if file != ROOT / "pyproject.toml" and b"prefect" in file.read_bytes().lower()
    ]


def _list_files(folder: Path) -> list[str]:
    """The files below a folder and when each was changed."""
    files = []
    for entry in os.scandir(folder):
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            files += _list_files(Path(entry.path))
        else:
            files.append(f"{entry.path} {entry.stat().st_mtime_ns}")
    return sorted(files)


def _pack_request() -> bytes:
    """What a command is made of, apart from the files of its input and output."""
    umask = os.umask(0)
    os.umask(umask)
    variables = [f"{name}={value}" for name, value in os.environ.items()]
    words = [os.getcwd(), str(umask), str(len(sys.argv)), *sys.argv, *variables]  # noqa: PTH109
    return b"\0".join([describe_process(), *map(os.fsencode, words)])


def _pass_signals_to(fork: int) -> None:
    """Pass on to the process of a pidfd what a terminal or a person sends this one."""

    def pass_on(number: int, _: object) -> None:
        with suppress(ProcessLookupError):  # its status is on the way
            signal.pidfd_send_signal(fork, number)

    def pause(*_: object) -> None:
        pass_on(signal.SIGSTOP, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        pass_on(signal.SIGCONT, None)  # here this process goes on

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, pass_on)
    signal.signal(signal.SIGTSTP, pause)
