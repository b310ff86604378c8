"""Settings that tests change, as the text of a configuration file."""


def settings(ring_timeout=None, session_expires=None, tenants=None):
    raise NotImplementedError
