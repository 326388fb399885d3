"""observerd as the contender: its configuration and its command line."""

import json
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SLOTS = 8
# A daemon that is root runs its jobs as somebody else: this is how it is deployed.
OTHER_USER = "nobody"


def observerd(
    directory: Path,
    queue_url: str,
    jobs: Mapping[str, Sequence[str]],
    *,
    slots: int = SLOTS,
    user: str | None = None,
    log_group: str = "",
    **more: str,
) -> tuple[str, ...]:
    """The command line of a daemon that serves the queue and knows these jobs. Writes its configuration.

    user is whom the jobs run as; None: whom the daemon runs as. more are further settings.
    """
    settings = {
        "queue_url": queue_url,
        "slots": slots,
        "exit_action": "stay",
        "metrics_listen": "127.0.0.1:0",
        "default_user": user or pwd.getpwuid(os.geteuid()).pw_name,
        "log_group": log_group,
        **more,
    }
    config = directory / "observerd.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    (directory / "jobs.d").mkdir(exist_ok=True)
    # JSON's strings and lists are TOML's too.
    tables = (f"[job.{name}]\ncommand = {json.dumps(list(argv))}\n" for name, argv in jobs.items())
    (directory / "jobs.d" / "jobs.toml").write_text("".join(tables))
    return (sys.executable, "-m", "observerd", "run", "--config", str(config))


def can_switch_user() -> bool:
    return os.geteuid() == 0 and any(entry.pw_name == OTHER_USER for entry in pwd.getpwall())


def messages(job: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """So many of them for that job, as bench.sqs takes them."""
    return [(json.dumps({"v": 1, "job": job}), {})] * count
