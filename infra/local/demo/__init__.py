"""`make demo`: one session from its POST to its signed end report, watched by a client that knows only HTTP."""
