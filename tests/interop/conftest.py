"""Fixtures: an office for each test, with a real daemon."""

import pytest

from office.office import Office


@pytest.fixture
def make_office(tmp_path):
    """Starts an office with settings of its own; ends it with the test."""
    offices = []

    def make(config="", **more):
        office = Office(tmp_path / f"office-{len(offices)}", config=config, **more)
        office.__enter__()
        offices.append(office)
        return office

    yield make
    for office in offices:
        office.__exit__(None)


@pytest.fixture
def office(make_office):
    """An office with the settings a first start has."""
    return make_office()
