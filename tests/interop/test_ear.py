"""The instruments themselves: phones that talk without an exchange, an ear that tells tones apart."""

import time

import pytest

from office import tone
from office.baresip import BaresipPhone
from office.phone import PhoneError, PjPhone
from office.tone import CALLEE_HZ, CALLER_HZ


def test_the_ear_tells_a_tone_from_silence_noise_and_another_tone(tmp_path):
    tone.write(tmp_path / "one.wav", CALLER_HZ, 2.0)
    tone.assert_heard(tmp_path / "one.wav", CALLER_HZ)
    tone.assert_silent(tmp_path / "one.wav", CALLEE_HZ)
    with pytest.raises(AssertionError, match="is not heard"):
        tone.assert_heard(tmp_path / "one.wav", CALLEE_HZ)
    with pytest.raises(AssertionError, match="is heard"):
        tone.assert_silent(tmp_path / "one.wav", CALLER_HZ)
    tone.write(tmp_path / "quiet.wav", CALLER_HZ, 2.0, amplitude=0.0)
    with pytest.raises(AssertionError, match="is not heard"):
        tone.assert_heard(tmp_path / "quiet.wav", CALLER_HZ)
    tone.write(tmp_path / "short.wav", CALLER_HZ, 0.2, amplitude=0.0)
    with pytest.raises(AssertionError, match="has only 0.2 s"):
        tone.assert_silent(tmp_path / "short.wav", CALLER_HZ)


def test_two_pjsip_phones_talk_hold_and_part_without_an_exchange(tmp_path):
    with PjPhone("near", tmp_path) as near, PjPhone("far", tmp_path) as far:
        near.local()
        address = far.local()
        near.tone(CALLER_HZ)
        far.tone(CALLEE_HZ)
        out = near.call(f"sip:{address}")
        call = far.incoming()
        call.ring()
        out.wait_state("early")
        call.answer()
        out.wait_up()
        call.wait_up()
        tone.wait_heard(out, tmp_path / "near.wav", CALLEE_HZ)
        tone.wait_heard(call, tmp_path / "far.wav", CALLER_HZ)
        out.hold()
        call.wait_media("remote_hold")
        call.record(tmp_path / "held.wav")
        time.sleep(1.5)
        tone.assert_silent(tmp_path / "held.wav", CALLER_HZ)
        call.hangup()
        assert out.wait_end() == 200


def test_a_wait_for_what_does_not_happen_fails_and_says_what_was_seen(tmp_path):
    with PjPhone("alone", tmp_path) as phone:
        phone.local()
        with pytest.raises(PhoneError, match="alone: no incoming call within 0.3 s"):
            phone.incoming(within=0.3)
        call = phone.call("sip:127.0.0.1:9")
        with pytest.raises(PhoneError, match="the call ended with|no call state"):
            call.wait_up(within=5.0)


def test_baresip_and_pjsip_talk_without_an_exchange(tmp_path):
    with PjPhone("near", tmp_path) as near:
        address = near.local()
        near.tone(CALLER_HZ)
        with BaresipPhone("far", tmp_path, "1002", "no-registrar", address, CALLEE_HZ) as far:
            far.dial(f"sip:phone@{address}")
            call = near.incoming()
            call.answer()
            call.wait_up()
            far.wait("CALL_ESTABLISHED")
            tone.wait_heard(call, tmp_path / "near.wav", CALLEE_HZ)
            far.wait_heard(CALLER_HZ)
            far.hangup()
            assert call.wait_end() == 200
