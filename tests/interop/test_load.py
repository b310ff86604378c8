"""Two hundred talking calls for a minute: none fails, no packet is lost by us, and everything is given back."""

import random
import time

import pytest

from office import proc, sockets
from office.net import free_port
from office.office import password
from office.sipp import SCENARIOS, Sipp, credentials, users

CALLS, SECONDS, PER_SECOND = 200, 60, 50
CALLERS = [str(number) for number in range(1200, 1200 + CALLS)]
CALLEE = "1101"
MIB = 2**20


def register_callee(office, port):
    rows = users(office.directory / "callee.csv", [(CALLEE, credentials(CALLEE, password(CALLEE)))])
    with Sipp(office.directory, SCENARIOS / "register.xml", port, office.daemon.sip_udp, rows, calls=1, timeout=20) as sipp:
        assert sipp.wait()[:2] == (1, 0), sipp.errors()


def talk(office, port, seconds, watch=None):
    """All callers call and talk for so long; returns the packets the kernel dropped at the echoing side."""
    voice = office.directory / "talk.ul"
    voice.write_bytes(random.Random(1).randbytes(8000))
    rows = [(number, credentials(number, password(number)), CALLEE) for number in CALLERS]
    inject = users(office.directory / "callers.csv", rows)
    echo = Sipp(office.directory, SCENARIOS / "echo.xml", port, rtp_port=free_port(), timeout=seconds + 90, extra=["-rtp_echo"])
    with echo:
        time.sleep(0.3)
        caller = Sipp(
            office.directory, SCENARIOS / "talker.xml", free_port(), office.daemon.sip_udp, inject, calls=CALLS, rate=25,
            limit=CALLS, hold_ms=seconds * 1000, files=[voice], timeout=seconds + 60,
        )
        with caller:
            while caller.process.poll() is None:
                if watch:
                    watch(echo.process.pid)
                time.sleep(1.0)
            done, failed, _ = caller.wait()
            assert (done, failed) == (CALLS, 0), caller.errors()


def rtp(office):
    samples = office.api.metrics()
    names = ("received", "sent", "dropped", "lost")
    return {name: samples[f"strowger_rtp_{name}_packets_total"] for name in names}


@pytest.mark.timeout(420)
def test_two_hundred_calls_talk_for_a_minute(office):
    for number in (CALLEE, *CALLERS):
        office.extension(number)
    pid, port = office.daemon.pid, free_port()
    register_callee(office, port)
    # The first calls fill pools and caches once; from there on nothing may grow.
    talk(office, port, 3)
    office.api.wait_idle()
    before, warm = rtp(office), holdings(office)

    ours, theirs, most = {}, {}, 0

    def watch(echo):
        nonlocal most
        ours.update(sockets.drops(pid))
        theirs.update(sockets.drops(echo))
        most = max(most, office.api.status()["active_calls"])

    dropped_before = sum(sockets.drops(pid).values())
    talk(office, port, SECONDS, watch)
    office.api.wait_idle()
    assert most == CALLS

    records = [r for r in office.api.wait(lambda: office.api.cdr(2 * CALLS), lambda a: len(a) == 2 * CALLS, "all CDRs")]
    assert {r["disposition"] for r in records} == {"answered"}
    assert all(r["billsec"] >= SECONDS for r in records[CALLS:])

    after = rtp(office)
    moved = {name: after[name] - before[name] for name in before}
    said = CALLS * SECONDS * PER_SECOND
    # Each packet of a caller comes in twice: from the caller and, echoed, from the callee.
    assert moved["received"] >= 2 * said * 0.98, moved
    lost_by_kernel = sum(ours.values()) - dropped_before
    assert lost_by_kernel == 0, f"{lost_by_kernel} packets were not read in time from our sockets"
    assert moved["received"] == moved["sent"], f"received but not passed on: {moved}"
    # A gap in what we received is the echo's, which the kernel counted at its socket.
    assert moved["lost"] <= sum(theirs.values()), (moved, theirs)

    # Ports rest for 30 s before they are anybody's again.
    end = office.api.wait(lambda: holdings(office), lambda h: h["open_files"] <= warm["open_files"] + 4, "ports given back", 40.0)
    grown = end["memory"] - warm["memory"]
    assert grown < 4 * MIB, f"memory grew by {grown / MIB:.1f} MiB: {warm} {end}"


def holdings(office):
    """Open files, and memory without the traces of past calls (kept on purpose, within a bound)."""
    samples = office.api.metrics()
    memory = proc.rss_bytes(office.daemon.pid) - samples["strowger_trace_bytes"]
    return {"memory": memory, "open_files": proc.open_files(office.daemon.pid)}
