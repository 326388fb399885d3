"""The machines of an Auto Scaling group: a directory and a real daemon for every emulated instance.

Where an instance appears, it boots: a copy of the image, the files of its own user data, `observerd run`.
Where the group has let one go, it is switched off: at once when its lifecycle action is complete, or when the
hook's time is over.
"""

import base64
import contextlib
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml  # type: ignore[import-untyped]  # No stubs are locked.
from botocore.exceptions import BotoCoreError, ClientError

from demo.cloud import Cloud
from demo.events import Booted, Broke, Called, CapacityChanged, Event, Launched, Left, Said

CONFIGURATION = Path("etc/observerd")
# The template's hook waits 300 s for a daemon that does not complete it. Nobody watches a demo for so long.
HOOK_S = 20.0
# Between TERM and KILL: a job that is told to end, and the last lines of output.
OFF_S = 8.0
# botocore gives an instance's metadata service one second. The emulator shares two cores with all the rest.
PATIENT = {"AWS_METADATA_SERVICE_TIMEOUT": "5", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "3"}


class Image:
    """The AMI: what every machine has before its user data is read."""

    def __init__(self, root: Path, jobs: Mapping[str, str]) -> None:
        """Lay it out below root. The texts of jobs.d come by file name."""
        self.root = root
        self.configuration = root / CONFIGURATION
        for directory in ("conf.d", "jobs.d"):
            path = self.configuration / directory
            path.mkdir(parents=True)
            path.chmod(0o755)  # observerd reads nothing that others may write, whatever the umask was.
        write(self.configuration / "observerd.toml", "# All that there is to say is in conf.d.\n")
        for name, text in jobs.items():
            write(self.configuration / "jobs.d" / name, text, 0o600)  # It has the keys of the emulated AWS.


class Fleet:
    """`with Fleet(…):` watches the group and runs its machines; at the end none of them runs any more.

    settings, by key, go into conf.d/90-demo.toml of every machine that boots from now on.
    """

    def __init__(
        self, cloud: Cloud, group: str, image: Image, settings: Mapping[str, Any], hook_s: float = HOOK_S
    ) -> None:
        self.settings = dict(settings)
        self.image = image
        self._hook_s = hook_s
        self._cloud = cloud
        self._group = group
        self._auto_scaling = cloud.client("autoscaling")
        self._ec2 = cloud.client("ec2")
        self._machines: dict[str, Machine] = {}
        self._capacity = self._describe()["DesiredCapacity"]
        self._off_at: dict[str, float] = {}
        self._inbox: queue.SimpleQueue[Called | None] = queue.SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        self._cloud.listen(self._hear)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inbox.put(None)
        self._watcher.join()
        for machine in self._machines.values():
            machine.hurry()
        for machine in self._machines.values():
            machine.switch_off()

    def _hear(self, event: Event) -> None:
        # Nothing but a call changes the group, so nothing need be looked at in between.
        if isinstance(event, Called) and event.service == "autoscaling" and "Describe" not in event.action:
            self._inbox.put(event)

    def _watch(self) -> None:
        try:
            while (call := self._next_call()) is not None:
                self._look(call)
        except (ClientError, BotoCoreError, OSError) as error:
            self._cloud.tell(Broke(f"the group cannot be watched any more: {error}"))

    def _next_call(self) -> Called | None:
        while True:
            soonest = min(self._off_at.values(), default=None)
            patience_s = None if soonest is None else max(0.0, soonest - time.monotonic())
            with contextlib.suppress(queue.Empty):
                return self._inbox.get(timeout=patience_s)
            self._switch_off_overdue()

    def _look(self, call: Called) -> None:
        group = self._describe()
        if group["DesiredCapacity"] != self._capacity:
            before, self._capacity = self._capacity, group["DesiredCapacity"]
            self._cloud.tell(CapacityChanged(before, self._capacity))
        members = {each["InstanceId"]: each["AvailabilityZone"] for each in group["Instances"]}
        for instance_id in members.keys() - self._machines.keys():
            self._boot(instance_id, members[instance_id])
        for instance_id in self._machines.keys() - members.keys():
            self._off_at.setdefault(instance_id, time.monotonic() + self._hook_s)
        if call.action == "CompleteLifecycleAction" and call.parameters.get("InstanceId") in self._off_at:
            self._off_at[call.parameters["InstanceId"]] = time.monotonic() + OFF_S

    def _describe(self) -> dict[str, Any]:
        answer = self._auto_scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self._group])
        group: dict[str, Any] = answer["AutoScalingGroups"][0]
        return group

    def _boot(self, instance_id: str, zone: str) -> None:
        self._cloud.tell(Launched(instance_id, zone))
        answer = self._ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        user_data = base64.b64decode(answer["UserData"]["Value"]).decode()
        root = self._cloud.directory / instance_id
        shutil.copytree(self.image.root, root)
        run_user_data(user_data, root)
        write(root / CONFIGURATION / "conf.d" / "90-demo.toml", toml(self.settings))
        machine = Machine(instance_id, root, self._environment(instance_id), self._cloud.tell)
        self._machines[instance_id] = machine
        self._cloud.tell(Booted(instance_id, machine.pid))
        machine.listen()

    def _environment(self, instance_id: str) -> dict[str, str]:
        """No keys in it: as on EC2, the daemon gets them from its instance's metadata."""
        here = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self._cloud.imds(instance_id), **PATIENT}
        return {**self._cloud.base_environment, **self._cloud.environment(), **here}

    def _switch_off_overdue(self) -> None:
        for instance_id in [each for each, at in self._off_at.items() if at <= time.monotonic()]:
            del self._off_at[instance_id]
            self._machines.pop(instance_id).switch_off()


class Machine:
    """The daemon of one instance."""

    def __init__(
        self, instance_id: str, root: Path, environment: Mapping[str, str], tell: Callable[[Event], None]
    ) -> None:
        self._instance_id = instance_id
        self._tell = tell
        self._told = False
        self._log = root / "daemon.log"
        self._reader = threading.Thread(target=self._read, name=instance_id, daemon=True)
        observerd = Path(sys.executable).with_name("observerd")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [observerd, "run", "--config", root / CONFIGURATION / "observerd.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def listen(self) -> None:
        """Tell what the daemon says, and that it has left, from now on."""
        self._reader.start()

    def hurry(self) -> None:
        """The second TERM skips the drain (the jobs are told to end)."""
        if self._process.poll() is None:
            self._told = True
            self._process.terminate()
            time.sleep(0.05)  # Two signals at once are one to the kernel.
            self._process.terminate()

    def switch_off(self) -> None:
        """Blocks until the daemon is gone: OFF_S at most, and then the time to die."""
        if self._process.poll() is None:
            if not self._told:
                self._told = True
                self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(OFF_S)
            self._process.kill()
        # Bounded: what the daemon may have left behind could still hold its standard error.
        self._reader.join(OFF_S)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines, self._log.open("ab", buffering=0) as log:
            for line in lines:
                log.write(line)
                self._tell(self._said(line))
        self._tell(Left(self._instance_id, self._process.wait(), self._told))

    def _said(self, line: bytes) -> Said:
        text = line.decode(errors="replace").rstrip("\n")
        try:
            facts = json.loads(text)
            return Said(self._instance_id, facts.pop("message"), facts)
        except (ValueError, AttributeError, KeyError):
            # A complaint before the log was set up, or a traceback.
            return Said(self._instance_id, text)


def run_user_data(user_data: str, root: Path) -> None:
    """Do what cloud-init would: write the files that the user data names, below root."""
    for each in yaml.safe_load(user_data)["write_files"]:
        write(root / each["path"].lstrip("/"), each["content"], int(each.get("permissions", "0644"), 8))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def toml(settings: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in settings.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    # TOML's strings and numbers are written as JSON's.
    return json.dumps(value)
