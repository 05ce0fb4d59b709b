"""Web-platform-tests inside the guest: what the standards' own tests say of the engine, and what is expected of each."""
