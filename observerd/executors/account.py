"""Whom a job runs as."""

import os
import pwd
from functools import cache

from observerd.core.run import Run


def account_of(run: Run, default_user: str | None) -> pwd.struct_passwd:
    """default_user is whom a job runs as that names no user, where this process is root.

    Raises LookupError with one line for people.
    """
    name = run.job.user or (default_user if os.geteuid() == 0 else None)
    if name is None:
        return _own_entry(os.geteuid())
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"no user {name!r} on this machine (job {run.job.name!r})") from None
    if os.geteuid() not in (0, entry.pw_uid):
        raise LookupError(f"only root can run job {run.job.name!r} as user {name!r}")
    return entry


def login_environment(entry: pwd.struct_passwd) -> dict[str, str]:
    """What a job is told of its account, as cron tells it: whatever shell stands in the passwd file."""
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": "/bin/sh"}


@cache
def _own_entry(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        # A container may run as a number that no passwd file knows.
        return pwd.struct_passwd((str(uid), "x", uid, os.getegid(), "", "/", "/bin/sh"))
