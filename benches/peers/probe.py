"""A stop-watch for call set-up: SIPp's clock ticks in milliseconds, this one doesn't.

Caller and callee are two sockets of one thread, so one clock sees both. One call after another at a fixed rate; the
time is from the first INVITE (which is challenged) to the 200 at the caller, the callee answering at once.
"""

import threading
import time

from office import sip


class Probe(threading.Thread):
    def __init__(self, server, caller, callee, password, rate, seconds):
        super().__init__(daemon=True)
        self.server, self.caller, self.callee, self.password = server, caller, callee, password
        self.rate, self.seconds = rate, seconds
        self.times, self.failed = [], 0
        self.near, self.far = sip.Socket(), sip.Socket()
        answer = sip.register(self.far, server, callee, password(callee))
        if answer.status != 200:
            raise SystemExit(f"the probe's phone {callee} can't register at {server}: {answer.first}")

    def run(self):
        start = time.monotonic()
        for number in range(int(self.rate * self.seconds)):
            time.sleep(max(0.0, start + number / self.rate - time.monotonic()))
            took = self.one()
            if took is None:
                self.failed += 1
            else:
                self.times.append(took)
        self.near.close()
        self.far.close()

    def one(self):
        """Seconds a set-up took, or None. The call is taken down before returning."""
        near, far, server = self.near, self.far, self.server
        credentials = sip.Credentials(self.caller, self.password(self.caller))
        uri, call_id = f"sip:{self.callee}@{server}", sip.unique()
        me, them = f"<sip:{self.caller}@{server}>;tag={sip.unique()}", f"<{uri}>"
        contact = f"Contact: <sip:{self.caller}@{near.address}>"
        body = sip.SDP.format(port=40000)

        def invite(cseq, branch):
            headers = [contact, *credentials.header("INVITE", uri)]
            return sip.request("INVITE", uri, near.address, me, them, call_id, cseq, headers, body, branch)

        def receive(sock, wanted):
            while message := sock.receive(2.0):
                if wanted(message):
                    return message
            return None

        branch = "z9hG4bK" + sip.unique()
        first, began = invite(1, branch), time.perf_counter()
        near.send(first, server)
        answer = receive(near, lambda m: m.call_id == call_id and m.status and m.status >= 200)
        if answer is None or not credentials.challenged(answer):
            return None
        to = answer.get("to")
        near.send(sip.request("ACK", uri, near.address, me, to, call_id, 1, branch=branch), server)
        near.send(invite(2, "z9hG4bK" + sip.unique()), server)
        # A B2BUA's Call-ID is another one: the next new INVITE is ours, calls are made one at a time.
        called = receive(far, lambda m: m.method == "INVITE")
        if called is None:
            return None
        reply = [f"Contact: <sip:{self.callee}@{far.address}>"]
        far.send(sip.response(called, 200, "OK", sip.unique(), reply, body), server)
        answer = receive(near, lambda m: m.call_id == call_id and m.status and m.status >= 200 and m.cseq[0] == 2)
        took = time.perf_counter() - began
        if answer is None or answer.status != 200:
            return None
        routes = [f"Route: {route}" for route in reversed(answer.all("record-route"))]
        target, to = answer.contact_uri(), answer.get("to")
        near.send(sip.request("ACK", target, near.address, me, to, call_id, 2, routes), server)
        receive(far, lambda m: m.method == "ACK")
        near.send(sip.request("BYE", target, near.address, me, to, call_id, 3, routes), server)
        if bye := receive(far, lambda m: m.method == "BYE"):
            far.send(sip.response(bye, 200, "OK"), server)
        return took if receive(near, lambda m: m.call_id == call_id and m.cseq == (3, "BYE")) else None


def percentile(times, share):
    """The value below which `share` of the times lie; milliseconds. NaN of none."""
    if not times:
        return float("nan")
    ordered = sorted(times)
    return 1000.0 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
