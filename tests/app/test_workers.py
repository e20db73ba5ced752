"""Worker processes are ended by their parent, wherever they are."""

import subprocess
import sys

CODE = """
import ctypes, os, signal, threading, time
from dlngeo.app.workers import _heed_the_parent

def spend(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

_heed_the_parent()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
ctypes.CFUNCTYPE(None)(lambda: spend(0.6))()
spend(5)
print("still here")
"""


def test_a_callback_that_swallows_the_end_is_asked_again():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
