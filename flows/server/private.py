"""What commands share on this machine: a folder that only its user can open.

`wca` imports this before anything else, so it imports little.
"""

import os
import stat
import zlib
from pathlib import Path

KEEP_VARIABLE = "WCA_KEEP_SERVER_SEC"  # 0: nothing outlives a command
KEEP_SEC = 300.0
# Files of the folder in which a command is given that may configure Prefect.
CONFIGURATIONS = ("prefect.toml", "pyproject.toml", ".env")
# A Unix socket's path has at most 107 bytes; the longest name of a socket here is this.
MOST_FOLDER_BYTES = 107 - len("/0123456789abcdef.sock")


def read_keep_sec() -> float:
    """How long servers and processes are kept after the last command that needed them, seconds."""
    return float(os.environ.get(KEEP_VARIABLE) or KEEP_SEC)


def list_settings_files() -> list[Path]:
    """The files that may hold settings of Prefect, in its folder and in that of the command."""
    files = (find_home() / "profiles.toml", *(Path.cwd() / name for name in CONFIGURATIONS))
    return [file for file in files if file.is_file()]


def find_home() -> Path:
    """Prefect's folder, found without Prefect, which takes a second to import."""
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()


def find_socket_folder() -> Path:
    """The folder of sockets: in Prefect's, or one of its own in /tmp where the path is too long."""
    folder = find_home() / "wca" / "server"
    if len(os.fsencode(folder)) <= MOST_FOLDER_BYTES:
        return folder
    # commands must find it, so its name is no secret: whose it is is looked at before it is used
    return Path(f"/tmp/.wca-{os.geteuid()}-{zlib.crc32(os.fsencode(folder.absolute())):08x}")  # noqa: S108


def make_private_folder() -> Path:
    """Make the folder of sockets; OSError unless it is this user's alone."""
    folder = find_socket_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{folder} is not this user's alone")
    return folder


def prepare_environment() -> None:
    """Set what libraries read when a command imports them, unless a person has set it."""
    defaults = {
        # The command prints results itself; Prefect's log lines go to its server and the UI.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        # pydantic would search every installed package for plugins: a tenth of the time of --help
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
