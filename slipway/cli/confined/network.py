"""Cuts this process off from every network: a network namespace of its own, in which no interface is up.

Files, pipes and the sockets that are already open keep working. Must run before the process has a second thread.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from slipway.cli.confined.system import NEW_NETWORK, NEW_USER, unshare

_SELF: Final = Path("/proc/self")


def cut_network() -> str:
    """Leave the network, and return "", or the reason why the system does not allow it."""
    if sys.platform != "linux":
        return "only Linux has network namespaces"
    try:
        if os.geteuid() == 0:
            unshare(NEW_NETWORK)  # a user namespace would take root's access to the files of others
        else:
            _unshare_as_user()
    except OSError as error:
        return f"the system refuses a network namespace ({error.strerror})"
    return ""


def _unshare_as_user() -> None:
    """Leave the network through a user namespace that maps the user and group to themselves (user_namespaces(7))."""
    user, group = os.geteuid(), os.getegid()
    unshare(NEW_USER | NEW_NETWORK)
    (_SELF / "setgroups").write_text("deny")
    (_SELF / "uid_map").write_text(f"{user} {user} 1")
    (_SELF / "gid_map").write_text(f"{group} {group} 1")
