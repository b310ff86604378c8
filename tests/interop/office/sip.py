"""Just enough SIP for a load generator and a stop-watch: messages as text, digest (MD5), one UDP socket.

Independent of the product on purpose. Knows UDP without retransmission timers of its own: the loopback loses nothing
that the receiver's buffer takes, and a caller that needs retransmissions does them.
"""

import hashlib
import itertools
import os
import re
import socket

LONG = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type"}
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
)
_numbers = itertools.count(1)
_run = os.urandom(4).hex()


def unique():
    """A token nobody used before."""
    return f"{_run}{next(_numbers):x}"


class Message:
    """A received message: first line, header fields by lower-case long name (lists, in order), body."""

    def __init__(self, data):
        head, _, self.body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.first = lines[0]
        self.fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.fields.setdefault(LONG.get(name, name), []).append(value.strip())
        parts = self.first.split(" ", 2)
        self.status = int(parts[1]) if parts[0] == "SIP/2.0" else None
        self.method = None if self.status else parts[0]
        self.uri = None if self.status else parts[1]

    def get(self, name):
        return self.fields.get(name, [""])[0]

    def all(self, name):
        return self.fields.get(name, [])

    @property
    def call_id(self):
        return self.get("call-id")

    @property
    def cseq(self):
        number, method = self.get("cseq").split()
        return int(number), method

    def contact_uri(self):
        """The URI of the first Contact."""
        match = re.search(r"<([^>]+)>", self.get("contact"))
        return match.group(1) if match else self.get("contact").split(";")[0]


def request(method, uri, via, sender, to, call_id, cseq, headers=(), body="", branch=None):
    branch = branch or "z9hG4bK" + unique()
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {via};branch={branch};rport",
        "Max-Forwards: 70",
        f"From: {sender}",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
        *headers,
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def response(to, status, reason, tag="", headers=(), body=""):
    """Answers the request `to`; Record-Route is copied (RFC 3261 §12.1.1)."""
    lines = [f"SIP/2.0 {status} {reason}"]
    lines += [f"Via: {value}" for value in to.all("via")]
    lines += [f"Record-Route: {value}" for value in to.all("record-route")]
    lines.append(f"From: {to.get('from')}")
    target = to.get("to")
    lines.append(f"To: {target}" if not tag or ";tag=" in target else f"To: {target};tag={tag}")
    lines += [f"Call-ID: {to.call_id}", f"CSeq: {to.get('cseq')}", *headers]
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Credentials:
    """One user's digest answers; a nonce may be used again with the next `nc` (RFC 7616 §3.4)."""

    def __init__(self, user, password):
        self.user, self.password = user, password
        self.challenge, self.count = {}, 0

    def challenged(self, message):
        """Takes the MD5 challenge of a 401 or 407; returns whether there was one."""
        for value in message.all("www-authenticate") + message.all("proxy-authenticate"):
            fields = dict((k.lower(), a or b) for k, a, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', value))
            if fields.get("algorithm", "MD5").upper() == "MD5":
                self.challenge, self.count = fields, 0
                self.name = "Authorization" if message.status == 401 else "Proxy-Authorization"
                return True
        return False

    def header(self, method, uri):
        """The next answer as a list of one header line; empty before the first challenge."""
        c = self.challenge
        if not c:
            return []
        self.count += 1
        nc, cnonce = f"{self.count:08x}", "0a4f113b"
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()  # noqa: E731
        ha1, ha2 = md5(f"{self.user}:{c['realm']}:{self.password}"), md5(f"{method}:{uri}")
        text = f'{self.name}: Digest username="{self.user}", realm="{c["realm"]}", nonce="{c["nonce"]}", uri="{uri}"'
        if "qop" in c:
            answer = md5(f"{ha1}:{c['nonce']}:{nc}:{cnonce}:auth:{ha2}")
            text += f', qop=auth, nc={nc}, cnonce="{cnonce}"'
        else:
            answer = md5(f"{ha1}:{c['nonce']}:{ha2}")
        text += f', response="{answer}", algorithm=MD5'
        if "opaque" in c:
            text += f', opaque="{c["opaque"]}"'
        return [text]


class Socket:
    """A UDP socket on the loopback with a big buffer."""

    def __init__(self, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def send(self, data, server):
        host, port = server.rsplit(":", 1)
        self.socket.sendto(data, (host, int(port)))

    def receive(self, within):
        """The next message, or None."""
        self.socket.settimeout(within)
        while True:
            try:
                data, self.source = self.socket.recvfrom(65535)
            except TimeoutError:
                return None
            except ConnectionRefusedError:
                continue
            if len(data) > 20:
                return Message(data)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def register(sock, server, user, password, expires=3600, within=5.0):
    """Registers the socket's address; returns the 200 or the refusal."""
    credentials = Credentials(user, password)
    uri, aor, call_id = f"sip:{server}", f"<sip:{user}@{server}>", unique()
    for cseq in (1, 2):
        headers = [f"Contact: <sip:{user}@{sock.address}>", f"Expires: {expires}", *credentials.header("REGISTER", uri)]
        data = request("REGISTER", uri, sock.address, f"{aor};tag={unique()}", aor, call_id, cseq, headers)
        sock.send(data, server)
        while True:
            answer = sock.receive(within)
            if answer is None:
                raise AssertionError(f"no answer to REGISTER of {user} at {server} within {within:g} s")
            if answer.call_id == call_id and answer.status >= 200:
                break
        if answer.status != 401 or not credentials.challenged(answer):
            return answer
    return answer
