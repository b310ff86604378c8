"""Phones come and go: registered, refused, gone again."""

import pytest

from office.config import settings
from office.office import password

TRANSPORTS = ["udp", "tcp", "tls"]


def test_the_table_of_a_first_start_registers_phones(office):
    table = office.daemon.passwords()
    assert sorted(table) == ["1001", "1002", "1003", "1004"]
    assert len(set(table.values())) == 4
    for number in ("1001", "1004"):
        phone = office.fresh()
        assert phone.register(number, table[number], office.daemon.sip_udp) == 200
        office.wait_registered(number, True)
    assert office.api.status()["registered_extensions"] == 2


def test_a_second_start_prints_no_passwords_and_keeps_the_first(office):
    table = office.daemon.passwords()
    offset = len(office.daemon.text())
    assert office.daemon.stop() == 0
    office.daemon.start()
    later = office.daemon.text()[offset:]
    assert not any(secret in later for secret in table.values())
    assert office.fresh().register("1002", table["1002"], office.daemon.sip_udp) == 200


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_phone_registers_and_leaves(office, transport):
    phone = office.phone("1101", transport)
    office.wait_registered("1101", True)
    assert phone.unregister() == 200
    office.wait_registered("1101", False)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_wrong_password_and_an_unknown_user_are_refused_alike(office, transport):
    office.extension("1101")
    wrong = office.fresh(transport).register("1101", "not-the-password", office.server(transport))
    unknown = office.fresh(transport).register("1999", "not-the-password", office.server(transport))
    assert wrong == unknown
    assert wrong in (401, 403)
    assert office.api.status()["registered_extensions"] == 0


@pytest.mark.parametrize("order", ["[SHA-256]", "[SHA-256, MD5]"])
def test_a_phone_that_knows_sha256_uses_it(make_office, order):
    office = make_office(settings(algorithms=order))
    phone = office.phone("1101")
    (challenge, *_) = phone.received("SIP/2.0 401")
    assert "algorithm=SHA-256" in challenge
    assert office.fresh().register("1101", "not-the-password", office.daemon.sip_udp) in (401, 403)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_baresip_registers(office, transport):
    """Debian 12's baresip (1.0) gives up when any of several challenges is not MD5: it gets that one alone."""
    office.baresip("1102", 1040, transport)
    office.wait_registered("1102", True)


def test_a_new_password_ends_the_registration_at_once(office):
    office.phone("1101")
    office.api.ask("PUT", "/api/extensions/1101", {"password": "another-secret-word"})
    office.wait_registered("1101", False)
    assert office.fresh().register("1101", password("1101"), office.daemon.sip_udp) in (401, 403)
    assert office.fresh().register("1101", "another-secret-word", office.daemon.sip_udp) == 200


def test_a_deleted_extension_is_refused(office):
    office.phone("1103")
    office.api.ask("DELETE", "/api/extensions/1103")
    assert "1103" not in office.api.extensions()
    office.have.discard("1103")
    assert office.fresh().register("1103", password("1103"), office.daemon.sip_udp) in (401, 403)


def test_registrations_of_udp_phones_outlive_a_restart(office):
    callee, caller = office.phone("1101"), office.phone("1102")
    assert office.daemon.stop() == 0
    office.daemon.start()
    office.wait_registered("1101", True)
    out = caller.call("1101")
    callee.incoming().answer()
    out.wait_up()
    out.hangup()
    assert out.wait_end() == 200
