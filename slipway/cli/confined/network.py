"""Cuts this process off from every network: a network namespace of its own, in which no interface is up, or else a
filter of system calls that refuses sockets.

Files, pipes and the sockets that are already open keep working. Must run before the process has a second thread.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Final

from slipway.cli.confined.socket_filter import PROCESSORS, refuse_sockets
from slipway.cli.confined.system import NEW_NETWORK, NEW_USER, unshare

_SELF: Final = Path("/proc/self")


def cut_network() -> str:
    """Leave the network, and return "", or the reason why the system does not allow it."""
    if sys.platform != "linux":
        return "only Linux has network namespaces"
    try:
        leave_network()
    except OSError as error:
        refusal = f"the system refuses a network namespace ({error.strerror})"
    else:
        return ""
    if platform.machine() not in PROCESSORS:
        return refusal
    try:
        refuse_sockets()
    except OSError as error:
        return f"{refusal} and a filter of system calls ({error.strerror})"
    return ""


def leave_network() -> None:
    """Move to a network namespace without interfaces; raise OSError if the system refuses."""
    if os.geteuid() == 0:
        unshare(NEW_NETWORK)  # a user namespace would take root's access to the files of others
        return
    user, group = os.geteuid(), os.getegid()
    unshare(NEW_USER | NEW_NETWORK)
    (_SELF / "setgroups").write_text("deny")  # user and group stay what they were (user_namespaces(7))
    (_SELF / "uid_map").write_text(f"{user} {user} 1")
    (_SELF / "gid_map").write_text(f"{group} {group} 1")
