"""A light SIP load with a memory: registrations and calls, and what the daemon said to each.

Independent of the product. A model of each extension's contacts is kept from the received 200s alone; an operation whose
answer never came is uncertain, and either outcome is right.
"""

import asyncio
import collections
import random

from office import sip

PASSWORD = "Kill-test-{}-secret"
REGISTRANTS = [str(number) for number in range(1200, 1300)]
CALLERS = [str(number) for number in range(1300, 1360)]
CALLEES = [str(number) for number in range(1360, 1380)]
# Contacts an extension has at once in the model; the daemon's limit is 10.
CONTACTS = 6
ANSWER_WITHIN = 3.0


class Endpoint(asyncio.DatagramProtocol):
    """One UDP socket: responses go to who waits for their transaction, requests to `on_request`."""

    def __init__(self, server):
        host, port = server.rsplit(":", 1)
        self.server, self.peer = server, (host, int(port))
        self.waiting = {}
        self.on_request = None

    @classmethod
    async def open(cls, server):
        loop = asyncio.get_running_loop()
        _, self = await loop.create_datagram_endpoint(lambda: cls(server), local_addr=("127.0.0.1", 0))
        return self

    def connection_made(self, transport):
        self.transport = transport
        self.address = "127.0.0.1:%d" % transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, source):
        if len(data) < 20:
            return
        message = sip.Message(data)
        if message.status is None:
            if self.on_request:
                self.on_request(message)
            return
        queue = self.waiting.get((message.call_id, *message.cseq))
        if queue is not None:
            queue.put_nowait(message)

    def error_received(self, error):
        """The daemon is dead at the moment: what was sent stays unanswered."""

    def send(self, data):
        self.transport.sendto(data, self.peer)

    async def ask(self, data, call_id, cseq, method, seen=None):
        """Sends a request, again after 0.5 s and 1.5 s; the final answer, or None when there is none in time."""
        queue = self.waiting[(call_id, cseq, method)] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        start, resend = loop.time(), [0.0, 0.5, 1.5]
        try:
            while (now := loop.time() - start) < ANSWER_WITHIN:
                if resend and now >= resend[0]:
                    resend.pop(0)
                    self.send(data)
                try:
                    until = min(resend[0] if resend else ANSWER_WITHIN, ANSWER_WITHIN) - now
                    answer = await asyncio.wait_for(queue.get(), max(0.01, until))
                except TimeoutError:
                    continue
                if seen:
                    seen(answer)
                if answer.status >= 200:
                    return answer
                resend = []
            return None
        finally:
            del self.waiting[(call_id, cseq, method)]


class Registrant:
    """One extension whose contacts come and go, one REGISTER at a time."""

    def __init__(self, endpoint, number):
        self.endpoint, self.number = endpoint, number
        self.credentials = sip.Credentials(number, PASSWORD.format(number))
        self.call_id, self.cseq, self.serial = sip.unique(), 0, 0
        self.bound, self.uncertain = set(), set()
        self.lock = asyncio.Lock()

    async def register(self, headers):
        """The final answer to a REGISTER, credentials included; None if there was none."""
        uri, aor = f"sip:{self.endpoint.server}", f"<sip:{self.number}@{self.endpoint.server}>"
        for _ in range(3):
            self.cseq += 1
            sender = f"{aor};tag={sip.unique()}"
            fields = [*headers, *self.credentials.header("REGISTER", uri)]
            data = sip.request("REGISTER", uri, self.endpoint.address, sender, aor, self.call_id, self.cseq, fields)
            answer = await self.endpoint.ask(data, self.call_id, self.cseq, "REGISTER")
            if answer is None or answer.status != 401 or not self.credentials.challenged(answer):
                return answer
        return answer

    async def change(self, chance):
        """Adds a contact, refreshes one, or removes one. Returns the status, or None."""
        async with self.lock:
            roll = chance.random()
            if self.bound and (len(self.bound) >= CONTACTS or roll < 0.3):
                contact, expires = chance.choice(sorted(self.bound)), 0
            elif self.bound and roll < 0.5:
                contact, expires = chance.choice(sorted(self.bound)), 3600
            else:
                self.serial += 1
                contact, expires = f"sip:{self.number}-{self.serial}@{self.endpoint.address}", 3600
            # Until its 200 is here, the contact may be there or not.
            was_bound = contact in self.bound
            self.bound.discard(contact)
            self.uncertain.add(contact)
            answer = await self.register([f"Contact: <{contact}>", f"Expires: {expires}"])
            if answer is None:
                return None
            self.uncertain.discard(contact)
            if (expires and answer.status == 200) or (was_bound and answer.status != 200):
                self.bound.add(contact)
            return answer.status

    async def compare(self):
        """What the daemon's binding list (RFC 3261 §10.2.3) and the model disagree about: list of sentences."""
        answer = await self.register([])
        if answer is None or answer.status != 200:
            return [f"{self.number}: the bindings can't be asked for: {answer and answer.first}"]
        there = set()
        for value in answer.all("contact"):
            there |= {part[part.index("<") + 1 : part.index(">")] for part in value.split(",") if "<" in part}
        wrong = [f"{self.number}: {contact} was answered 200 and is gone" for contact in sorted(self.bound - there)]
        wrong += [f"{self.number}: {contact} was removed with a 200 and is there" for contact in
                  sorted(there - self.bound - self.uncertain)]
        # From here on the daemon's word counts for what was uncertain.
        self.bound, self.uncertain = there, set()
        return wrong


class Calls:
    """Calls between two sockets; remembers what became visible of each."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        far.on_request = self.on_request
        self.credentials = {number: sip.Credentials(number, PASSWORD.format(number)) for number in CALLERS}
        self.busy = set()
        # (caller, callee) -> number of calls of which the callee saw an INVITE, and of which an answer arrived.
        self.rang, self.answered = collections.Counter(), collections.Counter()
        # Calls that the daemon may have begun: sent with credentials.
        self.tried = collections.Counter()
        self.seen_invites = set()

    def on_request(self, message):
        """The called phones: ring and answer at once, agree to everything else."""
        if message.method == "INVITE":
            if message.call_id not in self.seen_invites:
                self.seen_invites.add(message.call_id)
                self.rang[self.pair(message)] += 1
            contact = [f"Contact: <{message.uri}>"]
            tag = "t" + message.call_id[:8]
            self.far.send(sip.response(message, 180, "Ringing", tag, contact))
            self.far.send(sip.response(message, 200, "OK", tag, contact, sip.SDP.format(port=40002)))
        elif message.method != "ACK":
            self.far.send(sip.response(message, 200, "OK"))

    def pair(self, invite):
        sender, uri = invite.get("from"), invite.uri
        return sender.split("sip:", 1)[1].split("@")[0], uri.split("sip:", 1)[1].split("@")[0]

    async def register(self):
        """The callees are at home at our socket, once: later restarts must remember them."""
        for number in CALLEES:
            phone = Registrant(self.far, number)
            contact = f"sip:{number}@{self.far.address}"
            answer = await phone.register([f"Contact: <{contact}>", "Expires: 7200"])
            assert answer is not None and answer.status == 200, f"{number} can't register: {answer and answer.first}"

    async def one(self, caller, callee, held):
        """One call; a caller makes one at a time. Returns the final status, or None."""
        if caller in self.busy:
            return 0
        self.busy.add(caller)
        try:
            return await self.place(caller, callee, held)
        finally:
            self.busy.discard(caller)

    async def place(self, caller, callee, held):
        near, credentials = self.near, self.credentials[caller]
        uri, call_id = f"sip:{callee}@{near.server}", sip.unique()
        me, them = f"<sip:{caller}@{near.server}>;tag={sip.unique()}", f"<{uri}>"
        for cseq in (1, 2, 3):
            branch = "z9hG4bK" + sip.unique()
            headers = [f"Contact: <sip:{caller}@{near.address}>", *credentials.header("INVITE", uri)]
            body = sip.SDP.format(port=40000)
            data = sip.request("INVITE", uri, near.address, me, them, call_id, cseq, headers, body, branch)
            if credentials.challenge:
                self.tried[(caller, callee)] += 1
            answer = await near.ask(data, call_id, cseq, "INVITE")
            if answer is None:
                return None
            if answer.status >= 300:
                ack = sip.request("ACK", uri, near.address, me, answer.get("to"), call_id, cseq, branch=branch)
                near.send(ack)
            if answer.status not in (401, 407) or not credentials.challenged(answer):
                break
        if answer.status != 200:
            return answer.status
        self.answered[(caller, callee)] += 1
        routes = [f"Route: {route}" for route in reversed(answer.all("record-route"))]
        target, to = answer.contact_uri(), answer.get("to")
        near.send(sip.request("ACK", target, near.address, me, to, call_id, cseq, routes))
        await asyncio.sleep(held)
        bye = sip.request("BYE", target, near.address, me, to, call_id, cseq + 1, routes)
        await near.ask(bye, call_id, cseq + 1, "BYE")
        return 200


class Load:
    """The whole load at its rates, until stopped."""

    def __init__(self, server, seed, registrations=50, calls=10):
        self.server, self.chance = server, random.Random(seed)
        self.rates = registrations, calls
        self.statuses = {"REGISTER": collections.Counter(), "INVITE": collections.Counter()}
        self.tasks = set()

    async def open(self):
        home = await Endpoint.open(self.server)
        self.registrants = [Registrant(home, number) for number in REGISTRANTS]
        self.calls = Calls(await Endpoint.open(self.server), await Endpoint.open(self.server))
        await self.calls.register()

    async def run(self, seconds):
        """The load for so long. What is under way at the end goes on: the daemon dies in its midst."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await asyncio.gather(
            self.pace(self.rates[0], end, self.registration), self.pace(self.rates[1], end, self.call)
        )

    async def settle(self):
        """Everything under way has its answer or has given up."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def pace(self, rate, end, start):
        """Starts at random moments, `rate` a second on average."""
        loop = asyncio.get_running_loop()
        moment = loop.time()
        while (moment := moment + self.chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, moment - loop.time()))
            task = asyncio.create_task(start())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        await asyncio.sleep(max(0.0, end - loop.time()))

    async def registration(self):
        status = await self.chance.choice(self.registrants).change(self.chance)
        self.statuses["REGISTER"][status] += 1

    async def call(self):
        held = self.chance.uniform(0.05, 3.0)
        status = await self.calls.one(self.chance.choice(CALLERS), self.chance.choice(CALLEES), held)
        self.statuses["INVITE"][status] += 1

    async def compare_bindings(self):
        wrong = []
        for registrant in self.registrants:
            wrong += await registrant.compare()
        return wrong
