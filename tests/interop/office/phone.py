"""Phones the tests command: each is a process, its events are waited for with a deadline."""

import collections
import json
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

from .net import quiet_ports

HERE = pathlib.Path(__file__).resolve().parent
# A phone on a loaded two-core machine: replies and state changes come within this, or the test fails.
PATIENCE = 15.0


class PhoneError(AssertionError):
    """The phone did not do what the test asked; the text says which phone, what, and what it saw instead."""


class Call:
    """One call as the phone numbers it."""

    def __init__(self, phone, number, remote="", message=""):
        self.phone, self.number, self.remote, self.message = phone, number, remote, message

    def answer(self, code=200):
        self.phone.ask("answer", call=self.number, code=code)

    def ring(self):
        self.answer(180)

    def hangup(self, code=0):
        self.phone.ask("hangup", call=self.number, code=code)

    def hold(self):
        self.phone.ask("hold", call=self.number)

    def resume(self):
        self.phone.ask("resume", call=self.number)

    def dtmf(self, digits):
        self.phone.ask("dtmf", call=self.number, digits=digits)

    def record(self, path):
        self.phone.ask("record", call=self.number, path=str(path))

    def stop_recording(self):
        self.phone.ask("stop_recording", call=self.number)

    def statistics(self):
        return self.phone.ask("statistics", call=self.number)

    def wait_state(self, state, within=PATIENCE):
        """Waits for the state; a call that ends instead fails the test at once."""

        def wanted(event):
            if event.get("event") != "state" or event.get("call") != self.number:
                return False
            if event["state"] == "disconnected" and state != "disconnected":
                raise PhoneError(f"{self.phone.name}: wanted {state}, but the call ended with {event['code']} {event['reason']}")
            return event["state"] == state

        return self.phone.wait(wanted, f"call state {state}", within)

    def wait_up(self, within=PATIENCE):
        self.wait_state("confirmed", within)

    def wait_end(self, within=PATIENCE):
        """The final SIP status of the call."""
        return self.wait_state("disconnected", within)["code"]

    def wait_media(self, media, within=PATIENCE):
        def wanted(event):
            return event.get("event") == "media" and event.get("call") == self.number and event["media"] == media

        return self.phone.wait(wanted, f"media {media}", within)


class PjPhone:
    """A PJSIP phone. Use as a context manager; leaving it ends the process."""

    def __init__(self, name, directory, transport="udp", codecs=("PCMU", "PCMA")):
        self.name = name
        self.log = pathlib.Path(directory) / f"{name}.pjsip.log"
        # Ports of its own: what an exchange still sends to a phone that vanished must not reach another one.
        command = [sys.executable, str(HERE / "pjphone.py"), transport, ",".join(codecs), str(quiet_ports())]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.inbox = queue.Queue()
        self.waiting = collections.deque()
        self.asked = 0
        self.server = None
        threading.Thread(target=self._read, daemon=True).start()
        self.wait(lambda e: e.get("event") == "ready", "start")

    def _read(self):
        for line in self.process.stdout:
            self.inbox.put(json.loads(line))
        self.inbox.put(None)

    def wait(self, wanted, what, within=PATIENCE):
        """The first event, seen or still to come, that `wanted` accepts; it is taken out, the others stay."""
        deadline = time.monotonic() + within
        checked = 0
        while True:
            while checked < len(self.waiting):
                event = self.waiting[checked]
                if wanted(event):
                    del self.waiting[checked]
                    return event
                checked += 1
            try:
                event = self.inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise PhoneError(f"{self.name}: no {what} within {within:g} s; seen: {list(self.waiting)[-8:]}") from None
            if event is None:
                raise PhoneError(f"{self.name}: the phone's process ended while waiting for {what}; see {self.log}")
            self.waiting.append(event)

    def ask(self, do, **arguments):
        self.asked += 1
        number = self.asked
        self.process.stdin.write((json.dumps({"n": number, "do": do, **arguments}) + "\n").encode())
        self.process.stdin.flush()
        reply = self.wait(lambda e: e.get("reply") == number, f"reply to {do}")
        if "error" in reply:
            raise PhoneError(f"{self.name}: {do}: {reply['error']}")
        return reply

    def register(self, user, password, server, wait=True, **more):
        """Registers at `server` (host:port); returns the final status of the registration."""
        self.server = more.get("domain") or server
        self.ask("register", user=user, password=password, server=server, **more)
        return self.wait_registration() if wait else None

    def wait_registration(self, within=PATIENCE):
        return self.wait(lambda e: e.get("event") == "registration", "registration", within)["code"]

    def unregister(self):
        self.ask("unregister")
        return self.wait_registration()

    def local(self):
        """Uses the phone without a registrar; returns its host:port."""
        return self.ask("local")["address"]

    def call(self, to, **more):
        uri = to if to.startswith("sip:") else f"sip:{to}@{self.server}"
        return Call(self, self.ask("call", to=uri, **more)["call"])

    def incoming(self, within=PATIENCE):
        event = self.wait(lambda e: e.get("event") == "incoming", "incoming call", within)
        return Call(self, event["call"], event["remote"], event["message"])

    def no_incoming(self, within):
        """Passes time; fails if a call comes in."""
        try:
            call = self.incoming(within)
        except PhoneError:
            return
        raise PhoneError(f"{self.name}: an unexpected call from {call.remote}")

    def tone(self, hz):
        self.ask("tone", hz=hz)

    def message(self, to, body):
        self.ask("message", to=f"sip:{to}@{self.server}", body=body)

    def received(self, start):
        """The SIP messages this phone received whose first line begins with `start`."""
        text = self.log.read_text(errors="replace").replace("\r\n", "\n")
        messages = re.findall(r"\.RX \d+ bytes [^\n]*:\n(.*?)\n--end msg--", text, re.DOTALL)
        return [message for message in messages if message.startswith(start)]

    def vanish(self):
        """SIGKILL: the phone says nothing to anybody any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
