"""For every test."""

from __future__ import annotations

import os
import signal

import pytest

# A job started in the background has Ctrl-C switched off, and hands that on to what it starts; the tests that
# interrupt a run need it on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Other programs' scripts: kept to be read and run by hand, not collected (importing one would run it).
collect_ignore_glob = ["reference/*"]


@pytest.fixture(scope="module", autouse=True)
def own_results():
    """What notebooks share among themselves (see the Makefile) is not for tests: each counts for itself."""
    shelf = os.environ.pop("COLLECTLAB_SHELF", None)
    yield
    if shelf is not None:
        os.environ["COLLECTLAB_SHELF"] = shelf
