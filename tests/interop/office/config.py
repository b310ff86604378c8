"""Settings that tests change, as the text of a configuration file."""

KEYS = {
    "ring_timeout": ("calls", "ring_timeout"),
    "grace": ("calls", "drain_grace"),
    "session_expires": ("session", "expires"),
    "max_contacts": ("registration", "max_contacts"),
    "algorithms": ("auth", "algorithms"),
    "max_calls": ("calls", "max"),
    "trusted": ("guard", "trusted"),
    "scanners": ("guard", "scanners"),
}


def settings(**values):
    """`settings(ring_timeout=3, grace=1)`: what is not named keeps its default."""
    sections = {}
    for name, value in values.items():
        section, key = KEYS[name]
        sections.setdefault(section, []).append(f"  {key}: {value}\n")
    return "".join(f"{section}:\n{''.join(lines)}" for section, lines in sections.items())
