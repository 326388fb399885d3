"""A limit of processes for one worker, as `tasks_max` of its unit or a full process table would be."""

import os
import resource
from contextlib import suppress
from pathlib import Path

# As cgroup v1 mounts it, and as v2 has it where the controller is handed down.
_MOUNTS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))


class ProcessLimit:
    """Until lift(), a process and its children start no other. Raises OSError where that cannot be had."""

    def __init__(self, pid):
        self._pid = pid
        self._group = None
        if os.geteuid() == 0:
            self._impose()
        else:
            # Which root is exempt from (setrlimit(2)).
            self._set(1)

    def lift(self):
        if self._group is None:
            with suppress(ProcessLookupError):
                self._set(resource.prlimit(self._pid, resource.RLIMIT_NPROC)[1])
            return
        (self._group / "pids.max").write_text("max")
        for pid in (self._group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (self._group.parent / "cgroup.procs").write_text(pid)
        # A process that has just died is in it for a moment yet.
        with suppress(OSError):
            self._group.rmdir()

    def _impose(self):
        mount = next((each for each in _MOUNTS if (each / "cgroup.procs").exists()), _MOUNTS[0])
        group = mount / f"observerd-chaos-{self._pid}"
        group.mkdir(exist_ok=True)
        self._group = group
        (group / "cgroup.procs").write_text(str(self._pid))
        (group / "pids.max").write_text("1")

    def _set(self, soft):
        _, hard = resource.prlimit(self._pid, resource.RLIMIT_NPROC)
        resource.prlimit(self._pid, resource.RLIMIT_NPROC, (soft, hard))
