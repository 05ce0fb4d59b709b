"""What the outbound package promises: nothing leaves that was not allowed, and it is on record."""
