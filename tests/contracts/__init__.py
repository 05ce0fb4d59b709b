"""One suite a protocol, run on the public in-memory fake and on the real thing alike."""
