"""Two hundred talking calls for a minute: none fails, no packet is lost by us, and everything is given back."""

import random
import time

import pytest

from office import proc, sockets
from office.net import free_port, rtp_range
from office.office import password
from office.sipp import SCENARIOS, Sipp, credentials, users

CALLS, SECONDS, PER_SECOND = 200, 60, 50
CALLERS = [str(number) for number in range(1200, 1200 + CALLS)]
CALLEE = "1101"
MIB = 2**20
# Port pairs: two a call and hardly more, so that all but a few must come back before the next load.
PAIRS = 2 * CALLS + 20
# For how long a port is nobody's after a call, seconds.
REST = 30


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
def test_two_hundred_calls_talk_for_a_minute(make_office):
    low = int(rtp_range().split("-")[0])
    office = make_office(rtp_ports=f"{low}-{low + 2 * PAIRS - 1}")
    for number in (CALLEE, *CALLERS):
        office.extension(number)
    pid, port = office.daemon.pid, free_port()
    register_callee(office, port)
    # The first calls open all ports and fill what is filled once; from there on nothing may grow.
    talk(office, port, 3)
    office.api.wait_idle()
    time.sleep(REST + 2)
    before, warm = rtp(office), holdings(office)

    ours, theirs, most = sockets.drops(pid), {}, 0
    dropped_before = sum(ours.values())

    def watch(echo):
        nonlocal most
        ours.update(sockets.drops(pid))
        theirs.update(sockets.drops(echo))
        most = max(most, office.api.status()["active_calls"])

    talk(office, port, SECONDS, watch)
    office.api.wait_idle()
    assert most == CALLS

    records = office.api.wait(lambda: office.api.cdr(2 * CALLS), lambda a: len(a) == 2 * CALLS, "all CDRs")
    assert {r["disposition"] for r in records} == {"answered"}
    assert all(r["billsec"] >= SECONDS for r in records[CALLS:])

    after = rtp(office)
    moved = {name: after[name] - before[name] for name in before}
    said = CALLS * SECONDS * PER_SECOND
    # Each packet of a caller comes in twice: from the caller and, echoed, from the callee.
    assert moved["received"] >= 2 * said * 0.98, moved
    unread = sum(ours.values()) - dropped_before
    assert unread == 0, f"{unread} packets were not read in time from our sockets"
    assert moved["received"] == moved["sent"], f"received but not passed on: {moved}"
    # A gap in what we received is the echo's, which the kernel counted at its socket.
    assert moved["lost"] <= sum(theirs.values()), (moved, theirs)

    # Memory is where it was, and the ports are: another load finds them all.
    time.sleep(REST + 2)
    end = holdings(office)
    assert end["open_files"] <= warm["open_files"] + 4, (warm, end)
    grown = end["memory"] - warm["memory"]
    assert grown < 4 * MIB, f"memory grew by {grown / MIB:.1f} MiB: {warm} {end}"
    talk(office, port, 1)


def holdings(office):
    """Open files, and memory without the traces of past calls (kept on purpose, within a bound)."""
    samples = office.api.metrics()
    memory = proc.rss_bytes(office.daemon.pid) - samples["strowger_trace_bytes"]
    return {"memory": memory, "open_files": proc.open_files(office.daemon.pid)}
