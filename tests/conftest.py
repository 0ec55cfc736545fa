"""For every test."""

from __future__ import annotations

import signal

# A job started in the background has Ctrl-C switched off, and hands that on to what it starts; the tests that
# interrupt a run need it on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
