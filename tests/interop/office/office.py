"""An office: one daemon, its extensions, and the phones of a test; all of them end with it."""

import contextlib
import pathlib

from .baresip import BaresipPhone
from .daemon import Daemon
from .phone import PjPhone


def password(number):
    return f"Office-{number}-secret"


class Office:
    """`commands` are strowger commands carried out before the start, each a list of arguments."""

    def __init__(self, directory, commands=(), **daemon):
        self.directory = pathlib.Path(directory)
        self.daemon = Daemon(self.directory / "daemon", **daemon)
        self.api = self.daemon.api
        self.stack = contextlib.ExitStack()
        self.phones = 0

        for command in commands:
            self.daemon.run(*command)

    def start(self):
        self.daemon.start()
        self.have, self.ready = set(self.api.extensions()), set()

    def close(self, check):
        """Ends phones, then the daemon; in between it is checked, if so wished, that nothing is left over."""
        self.stack.close()
        try:
            if check:
                self.check()
        finally:
            self.daemon.stop()

    def check(self):
        """What holds after every test: no call left over, nothing went wrong inside."""
        if self.daemon.process.poll() is not None:
            return
        self.api.wait_idle(within=45.0)
        complaints = self.daemon.complaints()
        assert not complaints, f"the daemon complained: {complaints[:5]}"

    def extension(self, number):
        """Makes sure that the extension exists with the password the tests use. Only once: a new password would end
        its registrations."""
        if number in self.ready:
            return
        if number in self.have:
            self.api.ask("PUT", f"/api/extensions/{number}", {"password": password(number)})
        else:
            self.api.add_extension(number, password(number))
        self.ready.add(number)

    def wait_registered(self, number, registered):
        """What the API says follows the phone's own knowledge by a moment."""
        question = lambda: self.api.extensions()[number]["registered"]  # noqa: E731
        self.api.wait(question, lambda answer: answer is registered, f"{number} registered: {registered}", 3.0)

    def server(self, transport):
        return {"udp": self.daemon.sip_udp, "tcp": self.daemon.sip_tcp, "tls": self.daemon.sip_tls}[transport]

    def name(self, number):
        self.phones += 1
        return f"{number}-{self.phones}"

    def fresh(self, transport="udp", **more):
        """A phone that is not registered yet."""
        return self.stack.enter_context(PjPhone(self.name("phone"), self.directory, transport, **more))

    def phone(self, number, transport="udp", tone=0, codecs=("PCMU", "PCMA"), **more):
        """A registered PJSIP phone of the extension that says `tone`."""
        self.extension(number)
        phone = self.stack.enter_context(PjPhone(self.name(number), self.directory, transport, codecs))
        phone.tone(tone)
        code = phone.register(number, password(number), self.server(transport), **more)
        assert code == 200, f"{phone.name} was refused with {code}"
        return phone

    def baresip(self, number, hz, transport="udp", answer="manual"):
        self.extension(number)
        server = self.server(transport)
        phone = BaresipPhone(self.name(number), self.directory, number, password(number), server, hz, transport, answer)
        self.stack.enter_context(phone)
        phone.wait("REGISTER_OK")
        return phone

    def recording(self, name):
        """A path for a recording, new each time."""
        self.phones += 1
        return self.directory / f"{name}-{self.phones}.wav"
