"""Whether another program has a file open for writing: a question only a lease can answer.

An editor that writes in place may have opened the old file before a swap and write into
it after. A read lease (Linux, `fcntl(2)`) is granted only while nobody has the file open
for writing, so a granted lease on a file whose name nobody knows proves that it is at rest.
"""

from __future__ import annotations

import errno
import fcntl
import signal
import sys
import time

_WAIT_S = 0.005
_WAIT_TRIES = 40


def is_at_rest(descriptor: int) -> bool:
    """Wait up to 0.2 s for all writers of the open file to go; whether they went.

    True as well where the system or the file system knows no leases: then nobody can tell.
    """
    for _ in range(_WAIT_TRIES):
        if not _has_writer(descriptor):
            return True
        time.sleep(_WAIT_S)
    return False


def _has_writer(descriptor: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        # Should somebody open the file for writing while the lease is held, the kernel
        # signals us: SIGURG is ignored by default, SIGIO would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
