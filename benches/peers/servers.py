"""The servers under load, each started fresh for a round, with the same users 1000-1999."""

import os
import pathlib
import signal
import subprocess
import time

from office import daemon
from office.net import free_port

HERE = pathlib.Path(__file__).resolve().parent
USERS = range(1000, 2000)


def password(user):
    return f"password-{user}"


def modules():
    for path in sorted(pathlib.Path("/usr/lib").glob("*/kamailio/modules")):
        return str(path) + "/"
    raise SystemExit("Kamailio is not installed: apt-get install kamailio")


class Kamailio:
    """Debian's Kamailio with kamailio.cfg; two UDP workers for two cores."""

    name = "kamailio"

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        command = ["kamailio", "-f", str(HERE / "kamailio.cfg"), "-DD", "-m", "1024", "-M", "16", "-L", modules()]
        command += ["-A", f"LISTEN_PORT={self.port}", "-A", f"CHILDREN={os.cpu_count() or 2}"]
        command += ["-Y", str(self.directory), "-P", str(self.directory / "pid")]
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid
        time.sleep(1.5)
        if self.process.poll() is not None:
            raise SystemExit("Kamailio does not start:\n" + (self.directory / "log").read_text()[-2000:])
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


class Strowger:
    """The release build, its configuration as shipped but for a wide RTP range: every call has a relay."""

    name = "strowger"

    def __init__(self, directory, config=""):
        self.daemon = daemon.Daemon(directory, config=config, rtp_ports="10000-31999", profile="release")
        self.address = self.daemon.sip_udp

    def start(self):
        self.daemon.start(60.0)
        self.pid = self.daemon.pid
        have = self.daemon.api.extensions()
        for user in USERS:
            if str(user) in have:
                self.daemon.api.ask("PUT", f"/api/extensions/{user}", {"password": password(user)})
            else:
                self.daemon.api.add_extension(str(user), password(user))
        return self

    def stop(self):
        self.daemon.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


SERVERS = {"kamailio": Kamailio, "strowger": Strowger}
