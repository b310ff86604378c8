"""An extension with several phones: all ring, one answers, the others stop and know why."""

import pytest

from office import tone
from office.tone import CALLEE_HZ, CALLER_HZ


def ring_all(office, transports=("udp", "tcp", "udp")):
    caller = office.phone("1101", tone=CALLER_HZ)
    phones = [office.phone("1102", transport, tone=CALLEE_HZ) for transport in transports]
    out = caller.call("1102")
    calls = [phone.incoming() for phone in phones]
    for call in calls:
        call.ring()
    out.wait_state("early")
    return out, phones, calls


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_three_phones_ring_one_answers_and_the_others_stop(office, winner):
    out, phones, calls = ring_all(office)
    calls[winner].answer()
    out.wait_up()
    calls[winner].wait_up()
    for at, call in enumerate(calls):
        if at == winner:
            continue
        assert call.wait_end() == 487
        cancel = phones[at].received("CANCEL")[0]
        reason = next(line for line in cancel.splitlines() if line.lower().startswith("reason:"))
        assert "200" in reason and "completed elsewhere" in reason.lower()
    tone.wait_heard(out, office.recording("caller"), CALLEE_HZ)
    tone.wait_heard(calls[winner], office.recording("callee"), CALLER_HZ)
    out.hangup()
    assert calls[winner].wait_end() == 200
    (record,) = office.api.wait_cdrs(1)
    assert record["disposition"] == "answered"


def test_one_of_three_is_busy_and_another_answers(office):
    out, phones, calls = ring_all(office)
    calls[0].hangup(486)
    calls[1].answer()
    out.wait_up()
    assert calls[2].wait_end() == 487
    out.hangup()
    assert calls[1].wait_end() == 200


def test_one_declines_and_all_stop(office):
    """603 is for the person, not for the phone (RFC 3261 §21.6.2)."""
    out, phones, calls = ring_all(office)
    calls[0].hangup(603)
    assert out.wait_end() == 603
    assert [call.wait_end() for call in calls[1:]] == [487, 487]


def test_all_of_three_are_busy(office):
    out, phones, calls = ring_all(office)
    for call in calls:
        call.hangup(486)
    assert out.wait_end() == 486
    (record,) = office.api.wait_cdrs(1)
    assert record["disposition"] == "busy"


def test_the_caller_cancels_and_all_stop(office):
    out, phones, calls = ring_all(office)
    out.hangup()
    assert out.wait_end() == 487
    assert [call.wait_end() for call in calls] == [487, 487, 487]
    for phone in phones:
        cancel = phone.received("CANCEL")[0]
        assert "completed elsewhere" not in cancel.lower()
