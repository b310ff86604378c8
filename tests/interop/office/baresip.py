"""A baresip phone: a second, unrelated SIP stack. Commanded over its ctrl_tcp module (netstrings with JSON)."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import queue

from . import tone
from .net import quiet_ports
from .phone import PATIENCE, PhoneError

MODULES = ("account", "menu", "ctrl_tcp", "g711", "aufile", "aubridge", "sndfile")


def module_path():
    """Where Debian keeps baresip's modules."""
    for path in ("/usr/lib/baresip/modules", *map(str, pathlib.Path("/usr/lib").glob("*/baresip/modules"))):
        if pathlib.Path(path, "ctrl_tcp.so").exists():
            return path
    raise FileNotFoundError("baresip's modules are not installed: apt-get install baresip-core")


CONFIG = """\
sip_listen 127.0.0.1:{sip_port}
sip_trans_def {transport}
call_local_timeout 120
call_max_calls 4
audio_source aufile,{said}
audio_player aubridge,nothing
snd_path {directory}
audio_alert aufile,{directory}/alert.wav
audio_level no
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp_port}-{rtp_end}
net_interface 127.0.0.1
module_path {modules}
ctrl_tcp_listen 127.0.0.1:{control_port}
"""


class BaresipPhone:
    """Registers as soon as it runs (an event, REGISTER_OK or REGISTER_FAIL). Says one tone; its `sndfile` filter writes down what it hears."""

    def __init__(self, name, directory, user, password, server, hz, transport="udp", answer="manual"):
        self.name = name
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        self.said = self.directory / "said.wav"
        tone.write(self.said, hz, 60.0)
        control_port, rtp_port = quiet_ports(), quiet_ports()
        text = CONFIG.format(
            sip_port=quiet_ports(), transport=transport, said=self.said, directory=self.directory,
            rtp_port=rtp_port, rtp_end=rtp_port + 3, modules=module_path(), control_port=control_port,
        )
        text += "".join(f"module{'_app' if m in ('account', 'menu', 'ctrl_tcp') else ''} {m}.so\n" for m in MODULES)
        (self.directory / "config").write_text(text)
        (self.directory / "accounts").write_text("")
        (self.directory / "contacts").write_text("")
        self.server = server
        self.log = open(self.directory / "baresip.log", "wb")
        environment = {**os.environ, "HOME": str(self.directory)}
        command = ["baresip", "-f", str(self.directory)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment)
        self.events = queue.Queue()
        self.waiting = []
        self.control = self._connect(control_port)
        threading.Thread(target=self._read, daemon=True).start()
        # Only now, so that the outcome of the registration is an event somebody listens to.
        account = f"<sip:{user}@{server};transport={transport}>;auth_user={user};auth_pass={password}"
        self.command("uanew", account + f";answermode={answer};audio_codecs=PCMU,PCMA;regint=300")

    def _connect(self, port):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), 1.0)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise PhoneError(f"{self.name}: baresip does not start; see {self.log.name}") from None
                time.sleep(0.05)

    def _read(self):
        self.control.settimeout(None)
        data = b""
        try:
            while chunk := self.control.recv(65536):
                data += chunk
                while b":" in data:
                    length, rest = data.split(b":", 1)
                    if len(rest) <= int(length):
                        break
                    self.events.put(json.loads(rest[: int(length)]))
                    data = rest[int(length) + 1 :]
        except OSError:
            pass

    def command(self, name, parameters=""):
        body = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self.control.sendall(b"%d:%s," % (len(body), body))

    def wait(self, kind, within=PATIENCE):
        """The first event of that type, such as REGISTER_OK, CALL_INCOMING, CALL_ESTABLISHED, CALL_CLOSED."""
        deadline = time.monotonic() + within
        while True:
            for at, event in enumerate(self.waiting):
                if event.get("type") == kind:
                    return self.waiting.pop(at)
            try:
                self.waiting.append(self.events.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                seen = [e.get("type") for e in self.waiting]
                raise PhoneError(f"{self.name}: no {kind} within {within:g} s; seen {seen}; see {self.log.name}") from None

    def dial(self, to):
        self.command("dial", to if to.startswith("sip:") else f"sip:{to}@{self.server}")

    def accept(self):
        self.command("accept")

    def hangup(self):
        self.command("hangup")

    def hold(self):
        self.command("hold")

    def resume(self):
        self.command("resume")

    def heard(self, seconds):
        """The end of what it heard last: each new offer/answer starts a new file."""
        files = sorted(self.directory.glob("dump-*-dec.wav"), key=lambda file: file.stat().st_mtime)
        return tone.read(files[-1], seconds) if files else ([], 8000)

    def wait_heard(self, hz, within=10.0):
        deadline = time.monotonic() + within
        while True:
            samples, rate = self.heard(1.0)
            if len(samples) > rate * 0.9 and tone.hears(samples, rate, hz):
                return
            assert time.monotonic() < deadline, f"{self.name}: {hz} Hz was not heard: {tone.describe(samples, rate)}"
            time.sleep(0.25)

    def vanish(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        if getattr(self, "control", None):
            self.control.close()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
