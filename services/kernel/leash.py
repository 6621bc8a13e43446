"""A child process that cannot outlive its parent.

`leashed(command)` wraps a command in a tiny launcher (this same file, run as a script) that asks the
Linux kernel to kill it when its parent ends, `prctl(PR_SET_PDEATHSIG)`, and then becomes the command by
`exec`: same process id, same open files, nothing left in between. Even `kill -9` of the parent leaves no
orphan.

The kernel means the *thread* that started the child: start leashed children from a thread that lives as
long as they should, the main thread as a rule. A launcher instead of `preexec_fn`, because code between
fork and exec can deadlock in a program with threads.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str | os.PathLike[str]]) -> list[str]:
    """`command` (its first word a path to the program), wrapped so that it dies with the calling process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *(os.fspath(word) for word in command)]


def main(arguments: Sequence[str]) -> None:
    """Put on the leash, then become the command: `PARENT_PID PROGRAM [ARGUMENT ...]`."""
    parent, program = int(arguments[0]), arguments[1]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # the parent ended before the leash was on
        raise SystemExit(1)
    os.execv(program, list(arguments[1:]))  # noqa: S606 - becoming the command is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
