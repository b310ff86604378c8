"""The daemon under test: the built binary, on the loopback, with a data directory of its own, ended by its pid."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from .api import Api
from .net import free_port, rtp_range

ROOT = pathlib.Path(__file__).resolve().parents[3]


class DaemonError(AssertionError):
    """The daemon did not start or end as it must; the text has the end of its log."""


def binary(profile="debug"):
    """The strowger to test: STROWGER_BIN, else what cargo built."""
    if chosen := os.environ.get("STROWGER_BIN"):
        return pathlib.Path(chosen)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    path = target / profile / "strowger"
    if not path.exists():
        raise DaemonError(f"{path} is not there: build it first (scripts/test does), or set STROWGER_BIN")
    return path


class Daemon:
    """`start`, `stop`, `kill` and `start` again: addresses and data directory stay the same."""

    def __init__(self, directory, config="", rtp_ports=None, profile="debug", arguments=()):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data = self.directory / "data"
        self.log = self.directory / "daemon.log"
        self.binary = binary(profile)
        self.sip_udp = f"127.0.0.1:{free_port()}"
        self.sip_tcp = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
        self.sip_tls = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
        self.http = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
        self.rtp_ports = rtp_ports or rtp_range()
        self.config = self.directory / "config.yml"
        self.config.write_text(config or "{}\n")
        self.arguments = list(arguments)
        self.api = Api(self.http)
        self.process = None

    def command(self):
        return [
            str(self.binary), "run", "--config", str(self.config), "--data-dir", str(self.data),
            "--sip-listen", f"udp:{self.sip_udp}", "--sip-listen", f"tcp:{self.sip_tcp}",
            "--sip-listen", f"tls:{self.sip_tls}", "--http-listen", self.http, "--rtp-ports", self.rtp_ports, *self.arguments,
        ]

    def start(self, within=20.0):
        offset = self.log.stat().st_size if self.log.exists() else 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STROWGER_")}
        with open(self.log, "ab") as log:
            command = self.command()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + within
        while True:
            try:
                self.api.status()
                return self
            except OSError:
                pass
            if self.process.poll() is not None:
                raise DaemonError(f"the daemon ended with {self.process.returncode}:\n{self.text()[offset:][-3000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise DaemonError(f"the daemon does not answer within {within:g} s:\n{self.text()[offset:][-3000:]}")
            time.sleep(0.02)

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def passwords(self):
        """The table a first start prints: extension to password."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.text())
        return dict(re.findall(r"^\s*(1\d{3})\s+\1\s+(\S{8,})\s*$", plain, re.MULTILINE))

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, within=20.0):
        """Asks it to end and waits; returns its exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process and self.process.returncode
        self.signal(signal.SIGINT)
        # A second Ctrl-C: running calls are not waited for.
        try:
            return self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGINT)
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DaemonError(f"the daemon did not end within {within:g} s:\n{self.text()[-3000:]}") from None

    def kill(self):
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def run(self, *arguments, check=True):
        """Runs a strowger command with this data directory, such as `extensions list`."""
        command = [str(self.binary), *arguments, "--config", str(self.config), "--data-dir", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)

    def complaints(self):
        """Lines of the log that say something went wrong inside."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.text())
        return [line for line in plain.splitlines() if re.search(r"\bERROR\b|panicked", line)]

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()
