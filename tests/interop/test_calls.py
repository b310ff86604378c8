"""Calls as people make them, each with its record."""

import itertools

import pytest

from office import tone
from office.config import settings
from office.tone import CALLEE_HZ, CALLER_HZ

RECORD_KEYS = {
    "call_id", "from_extension", "to_extension", "start_time", "answer_time", "end_time", "disposition", "duration",
    "billsec", "recording_file",
}


def pair(office, near="udp", far="udp", **more):
    """Two registered phones, 1101 and 1102, each with a tone of its own."""
    return office.phone("1101", near, CALLER_HZ, **more), office.phone("1102", far, CALLEE_HZ)


def connect(caller, callee, to="1102"):
    """An answered call: the caller's and the callee's end of it."""
    out = caller.call(to)
    call = callee.incoming()
    call.ring()
    out.wait_state("early")
    call.answer()
    out.wait_up()
    call.wait_up()
    return out, call


def hear_each_other(office, out, call):
    tone.wait_heard(out, office.recording("caller"), CALLEE_HZ)
    tone.wait_heard(call, office.recording("callee"), CALLER_HZ)


def wait_listed(office, state):
    """The only call is listed in that state."""
    office.api.wait(office.api.calls, lambda a: len(a) == 1 and a[0].endswith(f": 1101 -> 1102 ({state})"), state, 2.0)


def the_record(office, disposition, cause, caller="1101", callee="1102"):
    """The only CDR, checked for what every record has."""
    (record,) = office.api.wait_cdrs(1)
    assert RECORD_KEYS <= set(record)
    assert (record["from_extension"], record["to_extension"]) == (caller, callee)
    assert (record["disposition"], record["hangup_cause"]) == (disposition, cause)
    assert record["duration"] >= record["billsec"] >= 0
    assert (record["answer_time"] is None) == (disposition != "answered")
    return record


@pytest.mark.parametrize("near, far", list(itertools.product(["udp", "tcp", "tls"], repeat=2)))
def test_two_phones_hear_each_other_and_the_caller_hangs_up(office, near, far):
    caller, callee = pair(office, near, far)
    out, call = connect(caller, callee)
    wait_listed(office, "connected")
    assert office.api.status()["active_calls"] == 1
    hear_each_other(office, out, call)
    out.hangup()
    assert call.wait_end() == 200
    record = the_record(office, "answered", "normal")
    assert record["billsec"] >= 1
    office.api.wait_idle()


def test_the_callee_hangs_up_and_calls_back(office):
    first, second = pair(office)
    out, call = connect(first, second)
    hear_each_other(office, out, call)
    call.hangup()
    assert out.wait_end() == 200
    the_record(office, "answered", "normal")
    back, call = connect(second, first, "1101")
    tone.wait_heard(back, office.recording("caller"), CALLER_HZ)
    back.hangup()
    assert call.wait_end() == 200
    assert [r["from_extension"] for r in office.api.wait_cdrs(2)] == ["1101", "1102"]


def test_a_ringing_call_is_listed_and_the_caller_cancels_it(office):
    caller, callee = pair(office)
    out = caller.call("1102")
    call = callee.incoming()
    call.ring()
    out.wait_state("early")
    wait_listed(office, "ringing")
    out.hangup()
    assert out.wait_end() == 487
    assert call.wait_end() == 487
    the_record(office, "cancelled", "cancelled")


@pytest.mark.parametrize(
    "code, disposition, cause",
    [(486, "busy", "busy"), (603, "failed", "declined"), (480, "no_answer", "no_answer")],
)
def test_the_callee_refuses(office, code, disposition, cause):
    caller, callee = pair(office)
    out = caller.call("1102")
    call = callee.incoming()
    call.ring()
    call.hangup(code)
    assert out.wait_end() == code
    record = the_record(office, disposition, cause)
    assert record["billsec"] == 0


def test_nobody_answers(make_office):
    office = make_office(settings(ring_timeout=3))
    caller, callee = pair(office)
    out = caller.call("1102")
    call = callee.incoming()
    call.ring()
    assert out.wait_end() == 480
    assert call.wait_end() == 487
    record = the_record(office, "no_answer", "no_answer")
    assert 2.5 <= record["duration"] <= 6


def test_an_extension_without_a_phone_is_480(office):
    caller = office.phone("1101")
    office.extension("1102")
    assert caller.call("1102").wait_end() == 480
    the_record(office, "failed", "not_registered")


def test_an_unknown_number_is_404(office):
    caller = office.phone("1101")
    assert caller.call("1999").wait_end() == 404
    assert caller.call("5551234").wait_end() == 404


def test_a_feature_of_a_later_version_is_501_with_a_reason(office):
    caller = office.phone("1101")
    assert caller.call("2000").wait_end() == 501
    (refusal,) = caller.received("SIP/2.0 501")
    assert "Reason:" in refusal or "Warning:" in refusal


def test_a_caller_with_a_wrong_password_reaches_nobody(office):
    callee = office.phone("1102")
    office.extension("1101")
    intruder = office.fresh()
    assert intruder.register("1101", "not-the-password", office.daemon.sip_udp) in (401, 403)
    assert intruder.call("1102").wait_end() in (401, 403, 407)
    callee.no_incoming(within=0.5)


def test_a_phone_cannot_call_as_somebody_else(office):
    """What the callee sees is the authenticated extension, whatever the caller's From says."""
    callee = office.phone("1102")
    caller = office.phone("1101")
    out = caller.call("1102")
    call = callee.incoming()
    assert "1101" in call.remote
    assert "1101" in next(line for line in call.message.splitlines() if line.lower().startswith("p-asserted-identity"))
    out.hangup()
    out.wait_end()


def test_early_media_is_heard_before_the_answer(office):
    caller, callee = pair(office)
    out = caller.call("1102")
    call = callee.incoming()
    call.answer(183)
    out.wait_state("early")
    tone.wait_heard(out, office.recording("early"), CALLEE_HZ)
    call.answer()
    out.wait_up()
    hear_each_other(office, out, call)
    out.hangup()
    assert call.wait_end() == 200
    the_record(office, "answered", "normal")


def test_a_call_without_an_offer_gets_one(office):
    """Late offer: the INVITE has no SDP, the 200 offers, the ACK answers (RFC 3261 §13.2.1)."""
    caller, callee = pair(office)
    out = caller.call("1102", late_offer=True)
    call = callee.incoming()
    call.ring()
    call.answer()
    out.wait_up()
    call.wait_up()
    hear_each_other(office, out, call)
    call.hangup()
    assert out.wait_end() == 200
    the_record(office, "answered", "normal")


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_phones_agree_on_the_only_common_codec(office, codec):
    caller = office.phone("1101", tone=CALLER_HZ, codecs=(codec,))
    callee = office.phone("1102", tone=CALLEE_HZ)
    out, call = connect(caller, callee)
    hear_each_other(office, out, call)
    out.hangup()
    assert call.wait_end() == 200


def test_phones_without_a_common_codec_are_told_so(office):
    caller = office.phone("1101", codecs=("PCMU",))
    office.phone("1102", codecs=("PCMA",))
    assert caller.call("1102").wait_end() in (415, 488)


def test_digits_pass(office):
    caller, callee = pair(office)
    out, call = connect(caller, callee)
    hear_each_other(office, out, call)
    out.dtmf("42#")
    digits = [callee.wait(lambda e: e.get("event") == "dtmf", "digit")["digit"] for _ in range(3)]
    assert "".join(digits) == "42#"
    out.hangup()
    assert call.wait_end() == 200


def test_a_text_message_is_carried(office):
    sender, receiver = pair(office)
    sender.message("1102", "lunch at noon?")
    event = receiver.wait(lambda e: e.get("event") == "message", "message")
    assert event["body"] == "lunch at noon?"
    assert "1101" in event["remote"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_baresip_calls_pjsip_and_back(office, transport):
    baresip = office.baresip("1101", CALLER_HZ, transport)
    pjsip = office.phone("1102", tone=CALLEE_HZ)
    baresip.dial("1102")
    call = pjsip.incoming()
    call.ring()
    call.answer()
    baresip.wait("CALL_ESTABLISHED")
    tone.wait_heard(call, office.recording("pjsip"), CALLER_HZ)
    baresip.wait_heard(CALLEE_HZ)
    baresip.hangup()
    assert call.wait_end() == 200
    the_record(office, "answered", "normal")
    out = pjsip.call("1101")
    baresip.wait("CALL_INCOMING")
    baresip.accept()
    out.wait_up()
    tone.wait_heard(out, office.recording("pjsip"), CALLER_HZ)
    baresip.wait_heard(CALLEE_HZ)
    out.hangup()
    assert [r["from_extension"] for r in office.api.wait_cdrs(2)] == ["1101", "1102"]


def test_three_calls_at_once_do_not_mix(office):
    """Each hears its own partner and nobody else."""
    tones = [440, 620, 1040, 1480, 1720, 2230]
    phones = [office.phone(str(1101 + n), tone=hz) for n, hz in enumerate(tones)]
    calls = [connect(phones[n], phones[n + 1], str(1102 + n)) for n in (0, 2, 4)]
    for at, (out, call) in enumerate(calls):
        near, far = tones[2 * at], tones[2 * at + 1]
        tone.wait_heard(out, office.recording("caller"), far, others=[hz for hz in tones if hz != far])
        tone.wait_heard(call, office.recording("callee"), near, others=[hz for hz in tones if hz != near])
    for out, call in calls:
        out.hangup()
        assert call.wait_end() == 200
    assert {r["disposition"] for r in office.api.wait_cdrs(3)} == {"answered"}

