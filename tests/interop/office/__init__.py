"""What the tests with real phones are made of: the daemon, the phones, SIPp, and an ear for tones."""
