"""`observerd status`: asks the daemon on this machine what it is doing."""

import http.client
import json
import ssl
from typing import Any

from observerd.core.lines import one_line
from observerd.keys import Config
from observerd.operations.reading import instant
from observerd.operations.runs import STYLES, span, time_cell
from observerd.operations.screen import Cell, Screen
from observerd.operations.trouble import Trouble

# On this machine: what does not answer by then hangs.
TIMEOUT_S = 5.0
PATH = "/api/v1/status"
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 what is listened on everywhere is asked on loopback
RECENT = 5


def fetch(config: Config) -> dict[str, Any]:
    """What docs/monitoring.md says of /api/v1/status. Raises Trouble."""
    if not config.metrics_listen:
        raise Trouble('metrics_listen is "": the daemon tells nobody what it does')
    host, _, port = config.metrics_listen.rpartition(":")
    host = host.strip("[]")
    at = "localhost" if host in EVERYWHERE else host
    connection = _connection(config, at, int(port))
    try:
        connection.request("GET", PATH, headers={"Host": "localhost"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Trouble(
            f"no daemon answers at {config.metrics_listen} ({error}); systemctl status observerd"
        ) from None
    finally:
        connection.close()
    if answer.status != http.client.OK or not isinstance(told, dict):
        raise Trouble(f"{config.metrics_listen} answers {answer.status}: is it observerd that listens there?")
    return told


def _connection(config: Config, host: str, port: int) -> http.client.HTTPConnection:
    certificate, key = config.metrics_tls_certificate, config.metrics_tls_key
    if not (certificate and key):
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        # The daemon's own certificate is what we expect, whatever name it bears.
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if config.metrics_tls_client_ca:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise Trouble(f"{certificate}: cannot be read: {error}") from None
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def text(told: dict[str, Any], screen: Screen) -> str:
    """What a person wants to know first: state, runs in progress, jobs, what ended last."""
    blocks = [_head(told, screen), _running(told, screen), _jobs(told, screen), _recent(told, screen)]
    return "\n\n".join(block for block in blocks if block)


def _head(told: dict[str, Any], screen: Screen) -> str:
    state = screen.paint(told["state"], "good" if told["healthy"] else "bad")
    slots, idle = told["slots"], told["idle"]
    line = f"{state}, {slots['busy']}/{slots['total']} slots busy, queue {told['queue']} in {told['region']}"
    if idle["for_s"] is not None:
        line += f"\nidle for {span(idle['for_s'])}"
        line += f", leaves at {idle['leaves_at']}" if idle["leaves_at"] else ", and stays"
    if told["fault"]:
        line += f"\n{screen.paint(one_line(told['fault']), 'bad')}"
    process = f"process {told['pid']}, up since {told['started_at']}, version {told['version']}"
    return f"{line}\n{told['host']}, {process}"


def _running(told: dict[str, Any], screen: Screen) -> str:
    rows = [
        (
            each["job"],
            each["run_id"],
            f"{each['attempt']}/{each['attempts'] or '?'}",
            span(each["duration_s"]),
            span(each["usual_s"]),
            span(each["timeout_s"]),
        )
        for each in told["running"]
    ]
    head = ("RUNNING", "RUN", "TRY", "FOR", "USUALLY", "AT MOST")
    return screen.table(head, rows, shrinks="RUNNING") if rows else ""


def _jobs(told: dict[str, Any], screen: Screen) -> str:
    rows = [
        (each["name"], _outcome(each["last_outcome"]), span(each["last_duration_s"]), each["next"])
        for each in told["jobs"]
    ]
    head = ("JOB", "LAST", "TOOK", "NEXT")
    return screen.table(head, rows, shrinks="JOB") if rows else "no job is defined here"


def _recent(told: dict[str, Any], screen: Screen) -> str:
    rows = [
        (
            time_cell(instant(each["ended_at"])),
            each["job"] or "-",
            _outcome(each["outcome"]),
            span(each["duration_s"]),
            each["run_id"] or "-",
            each["reason"] or "",
        )
        for each in told["recent"][:RECENT]
    ]
    head = ("ENDED (UTC)", "JOB", "OUTCOME", "TOOK", "RUN", "WHY")
    return screen.table(head, rows, shrinks="JOB") if rows else ""


def _outcome(outcome: str | None) -> Cell:
    return Cell("-") if outcome is None else Cell(outcome, STYLES.get(outcome, "bad"))
