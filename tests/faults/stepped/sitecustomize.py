"""Python imports this at its start where the directory is on its path: then the process's wall clock can be stepped.

The eight bytes of the file that FAULTS_CLOCK names are a float, the seconds by which `time.time`, `time.time_ns` and
`time.clock_gettime` are off from now on. The monotonic clock stays what it is, as when somebody sets the clock of a
machine. It reaches what is written in Python; not `datetime.now`, which the program does not ask, and not what C
libraries ask the kernel for.
"""

import mmap
import os
import struct
import time

_PATH = os.environ.get("FAULTS_CLOCK")

if _PATH:
    with open(_PATH, "rb") as _file:
        _held = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
    _time, _time_ns, _clock_gettime = time.time, time.time_ns, time.clock_gettime

    def _offset_s() -> float:
        (offset_s,) = struct.unpack("d", _held[:8])
        return float(offset_s)

    time.time = lambda: _time() + _offset_s()
    time.time_ns = lambda: _time_ns() + int(_offset_s() * 1e9)
    time.clock_gettime = lambda clock: _clock_gettime(clock) + (_offset_s() if clock == time.CLOCK_REALTIME else 0.0)
