"""The logs of one machine: what agents print, and what Atoll says of sessions, in memory."""
