"""An ear: which tones are in a recording (Goertzel's algorithm)."""

import math
import struct
import time
import wave

# Tones that share no harmonics, all inside G.711's band.
CALLER_HZ = 440
CALLEE_HZ = 1040
OTHERS_HZ = (620, 1480, 2230)


def read(path, seconds=None):
    """Samples (-1..1) and rate of a mono 16-bit WAV; with `seconds`, only that much of the end.

    The length is taken from the file's size: a recorder that still runs, or was killed, has not written it yet.
    """
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 44:
        return [], 8000
    rate = struct.unpack_from("<I", data, 24)[0]
    start = data.find(b"data") + 8
    raw = data[start : start + (len(data) - start) // 2 * 2]
    samples = [s / 32768.0 for (s,) in struct.iter_unpack("<h", raw)]
    return (samples[-int(seconds * rate) :] if seconds else samples), rate


def level(samples, rate, hz):
    """Mean power of the tone, relative to a full-scale sine (0 dB), in dB; -120 for nothing."""
    if not samples:
        return -120.0
    omega = 2.0 * math.pi * hz / rate
    coefficient = 2.0 * math.cos(omega)
    s1 = s2 = 0.0
    for sample in samples:
        s1, s2 = sample + coefficient * s1 - s2, s1
    power = (s1 * s1 + s2 * s2 - coefficient * s1 * s2) / (len(samples) / 2.0) ** 2
    return 10.0 * math.log10(power) if power > 1e-12 else -120.0


def hears(samples, rate, hz, others=None):
    """Whether the tone is there: louder than -40 dB and 20 dB above every other tone of the tests."""
    others = others if others is not None else [o for o in (CALLER_HZ, CALLEE_HZ, *OTHERS_HZ) if o != hz]
    loud = level(samples, rate, hz)
    return loud > -40.0 and all(loud > level(samples, rate, other) + 20.0 for other in others)


def describe(samples, rate):
    tones = (CALLER_HZ, CALLEE_HZ, *OTHERS_HZ)
    return ", ".join(f"{hz} Hz {level(samples, rate, hz):.0f} dB" for hz in tones) + f", {len(samples) / rate:.1f} s"


def assert_heard(path, hz, seconds=1.0, others=None):
    samples, rate = read(path, seconds)
    assert hears(samples, rate, hz, others), f"{hz} Hz is not heard in {path}: {describe(samples, rate)}"


def assert_silent(path, hz, seconds=1.0):
    """The recording ran for so long, and the tone is not in its end."""
    samples, rate = read(path, seconds)
    assert len(samples) > 0.9 * seconds * rate, f"{path} has only {len(samples) / rate:.1f} s"
    found = level(samples, rate, hz)
    assert found < -50.0, f"{hz} Hz is heard in {path}: {describe(samples, rate)}"


def wait_heard(call, path, hz, within=10.0, others=None):
    """Records the call until the last second of it has the tone."""
    call.record(path)
    deadline = time.monotonic() + within
    while True:
        time.sleep(0.25)
        samples, rate = read(path, 1.0)
        if len(samples) >= rate * 0.9 and hears(samples, rate, hz, others):
            call.stop_recording()
            return
        assert time.monotonic() < deadline, f"{hz} Hz was not heard within {within:g} s: {describe(samples, rate)}"


def write(path, hz, seconds, rate=8000, amplitude=0.3):
    """A WAV of one tone, what a player says into a call."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        step = 2.0 * math.pi * hz / rate
        count = int(seconds * rate)
        out.writeframes(b"".join(struct.pack("<h", int(32767 * amplitude * math.sin(step * n))) for n in range(count)))
