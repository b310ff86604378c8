"""Phones and daemons that go without a word: nothing is left behind."""

import signal
import time

import pytest

from office import tone
from office.config import settings
from office.tone import CALLEE_HZ, CALLER_HZ
from test_calls import connect, hear_each_other, pair

# RFC 4028 §4: no session interval may be smaller.
SESSION = 90


@pytest.mark.timeout(240)
def test_a_phone_killed_in_mid_call_ends_it_within_the_session_timer(make_office):
    """Two calls side by side: in one the caller dies, in the other the callee."""
    office = make_office(settings(session_expires=SESSION))
    survivors = []
    for dies, (near, far) in {"caller": ("1101", "1102"), "callee": ("1103", "1104")}.items():
        caller, callee = office.phone(near, tone=CALLER_HZ), office.phone(far, tone=CALLEE_HZ)
        out, call = connect(caller, callee, far)
        hear_each_other(office, out, call)
        dead, alive = (caller, call) if dies == "caller" else (callee, out)
        dead.vanish()
        survivors.append((alive, time.monotonic()))
    for alive, since in survivors:
        alive.wait_end(within=SESSION + 35)
        took = time.monotonic() - since
        assert took <= SESSION + 5, f"the call ended only after {took:.0f} s"
    for record in office.api.wait_cdrs(2):
        assert record["disposition"] == "answered"
        assert record["billsec"] <= SESSION + 10
    office.api.wait_idle()


def test_a_killed_tcp_phone_is_not_rung_again(office):
    caller = office.phone("1101")
    callee = office.phone("1102", "tcp")
    callee.vanish()
    office.wait_registered("1102", False)
    assert caller.call("1102").wait_end(within=5.0) == 480


def test_ctrl_c_ends_running_calls_and_writes_their_records(make_office):
    office = make_office(settings(grace=1))
    caller, callee = pair(office)
    out, call = connect(caller, callee)
    hear_each_other(office, out, call)
    office.daemon.signal(signal.SIGINT)
    out.wait_end()
    call.wait_end()
    assert office.daemon.process.wait(20) == 0
    office.daemon.start()
    (record,) = office.api.wait_cdrs(1)
    assert record["disposition"] == "answered"
    assert record["billsec"] >= 1


def test_while_draining_there_are_no_new_calls_and_running_ones_go_on(make_office):
    office = make_office(settings(grace=8))
    caller, callee = pair(office)
    third = office.phone("1103")
    out, call = connect(caller, callee)
    office.daemon.signal(signal.SIGINT)
    refused = third.call("1102").wait_end()
    assert refused in (480, 503)
    tone.wait_heard(out, office.recording("caller"), CALLEE_HZ)
    out.hangup()
    assert call.wait_end() == 200
    # With no call left there is nothing to wait for.
    assert office.daemon.process.wait(5) == 0


def test_a_second_ctrl_c_ends_at_once(make_office):
    office = make_office(settings(grace=60))
    caller, callee = pair(office)
    connect(caller, callee)
    office.daemon.signal(signal.SIGINT)
    time.sleep(0.5)
    assert office.daemon.process.poll() is None
    office.daemon.signal(signal.SIGINT)
    office.daemon.process.wait(5)
    office.daemon.start()
    (record,) = office.api.wait_cdrs(1)
    assert record["hangup_cause"] == "restart"


def test_after_a_crash_every_call_has_a_record(office):
    caller, callee = pair(office)
    out, call = connect(caller, callee)
    office.daemon.kill()
    office.daemon.start()
    (record,) = office.api.wait_cdrs(1)
    assert (record["from_extension"], record["to_extension"]) == ("1101", "1102")
    assert record["hangup_cause"] == "restart"
    # The phones were not told; they are known again and can talk.
    out.hangup()
    out.wait_end()
    call.hangup()
    call.wait_end()
    connect(caller, callee)[0].hangup()
