"""The daemon's REST API, as an administrator's script would use it."""

import json
import time
import urllib.error
import urllib.request


class ApiError(AssertionError):
    def __init__(self, method, path, status, body):
        super().__init__(f"{method} {path}: {status} {body}")
        self.status, self.body = status, body


class Api:
    def __init__(self, address):
        self.address = address
        # The loopback is no place for a proxy, whatever the environment says.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def text(self, path, within=5.0):
        with self.opener.open(f"http://{self.address}{path}", timeout=within) as reply:
            return reply.read().decode()

    def ask(self, method, path, body=None, within=10.0):
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"http://{self.address}{path}", data, headers, method=method)
        try:
            with self.opener.open(request, timeout=within) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise ApiError(method, path, error.code, error.read().decode(errors="replace")) from None

    def status(self):
        return self.ask("GET", "/api/status")

    def calls(self):
        return self.ask("GET", "/api/calls")

    def cdr(self, limit=100):
        return self.ask("GET", f"/api/cdr?limit={limit}")

    def extensions(self):
        return {e["number"]: e for e in self.ask("GET", "/api/extensions")}

    def add_extension(self, number, password, name=None, allow_external=False):
        body = {"number": number, "name": name or f"Extension {number}", "email": "", "password": password}
        return self.ask("POST", "/api/extensions", {**body, "allow_external": allow_external})

    def metrics(self):
        """The samples of /metrics: name with labels, as written, to number."""
        samples = {}
        for line in self.text("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def wait(self, question, wanted, what, within=10.0):
        """Asks until the answer is as wanted; returns it."""
        deadline = time.monotonic() + within
        while True:
            answer = question()
            if wanted(answer):
                return answer
            assert time.monotonic() < deadline, f"{what}: not within {within:g} s; last answer: {answer}"
            time.sleep(0.05)

    def wait_idle(self, within=10.0):
        """No call is left: neither in the status nor in the list."""
        self.wait(lambda: (self.status()["active_calls"], self.calls()), lambda a: a == (0, []), "all calls ended", within)

    def wait_cdrs(self, count, within=10.0):
        """The records of all calls so far, oldest first, as soon as there are `count` of ended calls."""
        records = self.wait(self.cdr, lambda a: len([r for r in a if r["end_time"]]) >= count, f"{count} CDRs", within)
        assert len(records) == count, f"{len(records)} CDRs instead of {count}: {records}"
        return records
