"""What a child's signs of life say of it, and what is to be done about a child without any.

A child beats from a thread of its own, so a task that is merely long, or waits for a lock that
nobody gives back, beats on: it is busy, and that is all that can be known. Beats stop when the
process is stopped, when C code keeps the interpreter's lock, when the kernel holds the process,
and when the machine has no time for it.
"""

from __future__ import annotations

from ..types import Health, UnhealthyPolicy

#: Missing beats that are not yet worth a word: the machine may be slow.
MISSED = 3
#: Part of a CPU from which on a process counts as computing.
_COMPUTES = 0.25


def judge(silent: float, interval: float, limit: float) -> Health:
    """A child that has been silent for so many seconds.

    Arguments:
        interval: seconds between two beats.
        limit: seconds of silence that make it unhealthy, if they are more than some beats.
    """
    missed = MISSED * interval
    if silent > max(limit, missed):
        return Health.UNHEALTHY
    return Health.SUSPECT if silent > missed else Health.HEALTHY


def must_end(policy: UnhealthyPolicy, *, running: bool) -> bool:
    """Whether an unhealthy child is killed and replaced.

    One without a task always is: it would take the next one, and nothing is lost with it.
    """
    return policy is UnhealthyPolicy.KILL or not running


def diagnose(state: str, cpu: float, seconds: float) -> str:
    """Why a child does not beat, as far as it can be known.

    Arguments:
        state: the letter that ``/proc`` has for the process; "" where it is not known.
        cpu: seconds of CPU time since the last beat.
        seconds: those that have passed since then.
    """
    computes = seconds > 0 and cpu >= _COMPUTES * seconds
    match state:
        case "":
            return "its state is not known"
        case "T" | "t":
            what = "stopped, by a signal or a debugger"
        case "D":
            what = "in the kernel's hands, where it mostly waits for a disk or a file server"
        case _ if computes:
            what = "computes in C code that keeps the interpreter's lock"
        case "R":
            what = "ready to run, and the machine has no time for it"
        case _:
            what = "waits in C code that keeps the interpreter's lock"
    return f"{what} (state {state}, {cpu:.2f} s of CPU time in the last {seconds:.1f} s)"
