"""Hold and resume: who is held hears nothing, and both talk again afterwards."""

import time

import pytest

from office import tone
from office.tone import CALLEE_HZ, CALLER_HZ
from test_calls import connect, hear_each_other, pair, wait_listed


def hears_nothing(office, call, hz, seconds=1.0):
    """What was on its way has passed; a new recording has silence only."""
    time.sleep(0.3)
    path = office.recording("held")
    call.record(path)
    time.sleep(seconds + 0.6)
    tone.assert_silent(path, hz, seconds)
    call.stop_recording()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_caller_holds_and_resumes(office, transport):
    caller, callee = pair(office, transport)
    out, call = connect(caller, callee)
    hear_each_other(office, out, call)
    out.hold()
    call.wait_media("remote_hold")
    wait_listed(office, "hold")
    hears_nothing(office, call, CALLER_HZ)
    out.resume()
    call.wait_media("active")
    out.wait_media("active")
    hear_each_other(office, out, call)
    wait_listed(office, "connected")
    out.hangup()
    assert call.wait_end() == 200


def test_the_callee_holds_and_resumes(office):
    caller, callee = pair(office, "udp", "tcp")
    out, call = connect(caller, callee)
    hear_each_other(office, out, call)
    call.hold()
    out.wait_media("remote_hold")
    hears_nothing(office, out, CALLEE_HZ)
    call.resume()
    out.wait_media("active")
    hear_each_other(office, out, call)
    call.hangup()
    assert out.wait_end() == 200


def test_both_hold_each_other_and_resume_in_turn(office):
    caller, callee = pair(office)
    out, call = connect(caller, callee)
    hear_each_other(office, out, call)
    # Between the steps each re-INVITE gets its ACK: PJSIP starts none while one is going on.
    for step in (out.hold, call.hold, out.resume, call.resume):
        step()
        time.sleep(0.5)
    tone.wait_heard(out, office.recording("caller"), CALLEE_HZ)
    tone.wait_heard(call, office.recording("callee"), CALLER_HZ)
    out.hangup()
    assert call.wait_end() == 200


def test_who_is_held_can_hang_up(office):
    caller, callee = pair(office)
    out, call = connect(caller, callee)
    out.hold()
    call.wait_media("remote_hold")
    call.hangup()
    assert out.wait_end() == 200
    assert office.api.wait_cdrs(1)[0]["disposition"] == "answered"


def test_baresip_holds_and_resumes(office):
    baresip = office.baresip("1101", CALLER_HZ)
    pjsip = office.phone("1102", tone=CALLEE_HZ)
    baresip.dial("1102")
    call = pjsip.incoming()
    call.answer()
    baresip.wait("CALL_ESTABLISHED")
    tone.wait_heard(call, office.recording("pjsip"), CALLER_HZ)
    baresip.hold()
    call.wait_media("remote_hold")
    hears_nothing(office, call, CALLER_HZ)
    baresip.resume()
    call.wait_media("active")
    tone.wait_heard(call, office.recording("pjsip"), CALLER_HZ)
    baresip.wait_heard(CALLEE_HZ)
    call.hangup()
    baresip.wait("CALL_CLOSED")
