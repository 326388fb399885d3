"""Puts the daemon together, in the order that gets its first receive out soonest.

An instance was started because a message waits. So nothing that the first receive does not need is imported
or built before it is on its way; what follows is put together while it travels.
"""

import contextlib
import gc
import logging
import os
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from observerd import clock
from observerd.aws import Clients, is_ec2
from observerd.config import Loaded
from observerd.core.consumer import EX_OK, IDLE, ON_REQUEST, Consumer, Limits
from observerd.core.events import Count, Event, Exit, Extend, GiveUp, Hold, Poll, Protect, Release, Reload
from observerd.core.job import Job, time_to_end_s
from observerd.crew import Hand
from observerd.executors import choice
from observerd.keys import Config
from observerd.receiver import counted, receive_or_release
from observerd.reload import Reloading
from observerd.service import Crew, Service, Witness
from observerd.sqs import NoDeadLetterQueue, Queue, SqsFault, is_fifo
from observerd.systemd import Notifier

if TYPE_CHECKING:
    from observerd.executors import Executor
    from observerd.herald import Herald
    from observerd.joblog import JobLogs
    from observerd.metadata import Imds, Metadata
    from observerd.metrics import Metrics
    from observerd.record import Record
    from observerd.status import Board
    from observerd.web.report import About

log = logging.getLogger(__name__)

# The first request is made up in a twentieth of this, or something is wrong that a wait does not mend.
FIRST_SEND_S = 1.0
# How long to try to complete the lifecycle hook. After that its own timeout does.
COMPLETE_S = 10.0
# SQS gives at most ten messages at once (SQS API Reference, ReceiveMessage).
RECEIVE_AT_MOST = 10


def run(loaded: Loaded, reread: Callable[[], Loaded], *, once: bool, drain: bool) -> Exit:
    """Serve the queue until there is a reason to leave. Raises aws.Unusable, aws.Unanswered and
    choice.Unsuitable.

    reread loads the configuration again, when that is asked for.
    """
    reload = Reloading(loaded, reread)
    config = reload.loaded.config
    requests = Requests()
    clients = Clients(config.queue_url, config.region, requests)
    messages = Queue(
        config.queue_url, config.visibility_timeout_s, clients.poller(), config.dead_letter_queue_url
    )
    notifier = Notifier(os.environ)
    gives_up = not (once or drain) and _gives_up(config)
    limits = limits_of(config, reload.loaded.jobs, gives_up=gives_up, once=once, drain=drain)
    consumer = Consumer(limits, clock.now(), jitter=random.random())  # noqa: S311 jitter
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    service = Service(consumer, inbox, notifier, config.queue_url.rsplit("/", 1)[1])
    service.listen_for_signals()
    receiver: Hand[Poll | Release] = Hand(
        "receiver", lambda order: receive_or_release(messages, order), inbox
    )
    service.first_poll(receiver)
    # The imports to come would take turns with it on the interpreter.
    requests.first.wait(FIRST_SEND_S)
    leaving = _serve(reload, clients, requests, messages, service, consumer, inbox, receiver)
    of_its_own = leaving in (Exit(EX_OK, IDLE), Exit(EX_OK, ON_REQUEST)) and not (once or drain)
    if of_its_own and config.exit_action == "poweroff":
        _power_off()
    return leaving


class Requests:
    """Hears of every request to AWS, from before there is anything to count it with."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self._lock = threading.Lock()
        self._early: list[tuple[str, str, str, float]] = []
        self._count: Callable[[str, str, str, float], None] | None = None

    def sent(self, _service: str, _operation: str) -> None:
        self.first.set()

    def answered(self, service: str, operation: str, outcome: str, took_s: float) -> None:
        with self._lock:
            if self._count is None:
                self._early.append((service, operation, outcome, took_s))
            else:
                self._count(service, operation, outcome, took_s)

    def count_with(self, count: Callable[[str, str, str, float], None]) -> None:
        """From now on, and with what has been answered already."""
        with self._lock:
            self._count = count
            for each in self._early:
                count(*each)


def limits_of(config: Config, jobs: Mapping[str, Job], *, gives_up: bool, once: bool, drain: bool) -> Limits:
    idle_timeout_s = 0.0 if drain else config.idle_timeout_s
    return Limits(
        slots=config.slots,
        receive_at_most=1 if is_fifo(config.queue_url) else RECEIVE_AT_MOST,
        visibility_timeout_s=config.visibility_timeout_s,
        idle_timeout_s=None if config.exit_action == "stay" and not drain else idle_timeout_s,
        drain_timeout_s=config.drain_timeout_s,
        grace_s=time_to_end_s(jobs.values()),
        max_uptime_s=config.max_uptime_s,
        gives_up=gives_up,
        hooked=config.lifecycle_hook is not None,
        protects=gives_up,
        once=once,
    )


def _gives_up(config: Config) -> bool:
    return config.exit_action == "terminate" or (config.exit_action == "auto" and is_ec2(os.environ))


def _serve(
    reload: Reloading,
    clients: Clients,
    requests: Requests,
    messages: Queue,
    service: Service,
    consumer: Consumer,
    inbox: "queue.SimpleQueue[Event]",
    receiver: "Hand[Poll | Release]",
) -> Exit:
    """All that may wait until the first receive is under way."""
    from observerd.emf import Emf  # noqa: PLC0415
    from observerd.instance import Instance  # noqa: PLC0415
    from observerd.joblog import JobLogs  # noqa: PLC0415
    from observerd.journal import Journal  # noqa: PLC0415
    from observerd.logs import LineHandler, Output  # noqa: PLC0415
    from observerd.metadata import Imds  # noqa: PLC0415
    from observerd.record import STREAM_PREFIX, Record  # noqa: PLC0415
    from observerd.runner import Runner  # noqa: PLC0415
    from observerd.status import Board  # noqa: PLC0415

    loaded = reload.loaded
    config = loaded.config
    # Twice: as many messages as there are slots may wait to be settled beside those whose jobs run.
    settler, extender = clients.settler(2 * config.slots), clients.extender(config.visibility_timeout_s)
    messages.equip(settler, extender, config.slots)
    executor = choice.make(config, _common_environment(config, clients.region))
    output = Output(sys.stdout)
    logs = JobLogs(
        clients.logs,
        config.log_group,
        journal=lambda line: output.write(f"{line}\n"),
        flush_timeout_s=config.flush_timeout_s,
    )
    worker = _worker()
    # No job's name begins with an underscore.
    own_stream = logs.open(f"_observerd/{worker}", journalled=True)
    events = logs.open_record(f"{STREAM_PREFIX}{worker}")
    record = Record(events.line, worker, Emf(config.stack, config.cloudwatch_metrics))
    if config.log_group:
        logging.getLogger("observerd").addHandler(LineHandler(own_stream.line))
    board = Board(loaded.jobs, consumer, clock.now())
    metrics = _metrics(loaded, clients.region, logs, board)
    requests.count_with(metrics.aws_answered)
    herald = _herald(loaded, clients, worker, metrics)
    metadata = Imds(os.environ)
    instance = Instance(clients.auto_scaling, metadata, config.auto_scaling_group, config.lifecycle_hook)
    heartbeat: Hand[Extend] = Hand("heartbeat", lambda order: messages.extend(order.leases), inbox)
    leaver: Hand[Count | GiveUp | Hold | Protect] = Hand(
        "leaver",
        lambda order: counted(messages) if isinstance(order, Count) else instance.carry_out(order),
        inbox,
    )
    reloader: Hand[Reload] = Hand("reloader", reload.carry_out, inbox)
    runner = Runner(messages, executor, logs, loaded.jobs, inbox.put)
    # Both on threads of their own: no run waits for them.
    about = _about(config, clients.region)
    threading.Thread(target=_serve_web, args=(config, metrics, board, about), name="web", daemon=True).start()
    _say_what_is_served(loaded, gives_up=consumer.limits.gives_up)
    # SQS may not answer.
    threading.Thread(target=_find_dead_letter_queue, args=(messages,), daemon=True).start()
    threading.Thread(target=_say_who_is_up, args=(record, metadata), daemon=True).start()
    _watch(metadata, inbox)
    gc.enable()
    try:
        # Without a log group there is nobody to read the record.
        witnesses: list[Witness] = [Journal(metrics), herald, *([record] if config.log_group else [])]
        leaving = service.run(Crew(receiver, heartbeat, leaver, reloader, runner), witnesses, board)
    finally:
        _leave_metrics(metrics, config)
        _close(herald, logs, executor, config.flush_timeout_s)
    if consumer.ending and (fault := instance.complete(COMPLETE_S)):
        log.warning("lifecycle action not completed", extra={"fault": fault})
    return leaving


def _metrics(loaded: Loaded, region: str, logs: "JobLogs", board: "Board") -> "Metrics":
    from observerd.metrics import Metrics  # noqa: PLC0415

    config = loaded.config
    metrics = Metrics(loaded.jobs, config.slots)
    metrics.loaded(well=True)
    metrics.work_on(config.queue_url.rsplit("/", 1)[1], region, config.executor)
    metrics.watch_logs(lambda: logs.buffered_bytes, lambda: logs.is_down)
    metrics.show(lambda: board.status)
    return metrics


def _power_off() -> None:
    from observerd.outside import power_off  # noqa: PLC0415

    if fault := power_off():
        log.error("machine not powered off", extra={"fault": fault})


def _herald(loaded: Loaded, clients: Clients, worker: str, metrics: "Metrics") -> "Herald":
    from observerd.herald import Herald, Memory, Monitor, Topic  # noqa: PLC0415
    from observerd.notices import Scene  # noqa: PLC0415

    config = loaded.config
    scene = Scene(config.stack, clients.region, config.queue_url, config.log_group, worker)
    publish = Topic(clients.topic, config.notify_topic).publish if config.notify_topic else None
    has_failed = Memory(clients.logs, config.log_group).has_failed
    # A monitor's check is the job's that cron still runs: a rehearsal must not answer for it.
    ping = (lambda _: None) if config.executor == "shadow" else Monitor().ping
    return Herald(loaded.jobs, scene, publish, ping, has_failed, metrics.noticed)


def _close(herald: "Herald", logs: "JobLogs", executor: "Executor", timeout_s: float) -> None:
    """Within twice the time: what the one says of notices not sent is a line for the other."""
    herald.close(timeout_s)
    logs.close(timeout_s)
    executor.close()


def _common_environment(config: Config, region: str) -> dict[str, str]:
    return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, **config.job_environment}


def _worker() -> str:
    """A name for this daemon's life, as a part of a log stream's."""
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return f"{socket.gethostname()}/{started}-{os.getpid()}"


def _watch(metadata: "Imds", inbox: "queue.SimpleQueue[Event]") -> None:
    from observerd.metadata import Watch  # noqa: PLC0415

    if is_ec2(os.environ):
        threading.Thread(target=Watch(metadata).run, args=(inbox.put,), name="watch", daemon=True).start()


def _say_who_is_up(record: "Record", metadata: "Metadata") -> None:
    from observerd.metadata import NoMetadata  # noqa: PLC0415
    from observerd.record import boot_and_start  # noqa: PLC0415

    instance_id = launched_at = None
    if is_ec2(os.environ):
        with contextlib.suppress(NoMetadata):
            instance_id = metadata.instance_id()
            launched_at = metadata.launched_at()
    record.up(*boot_and_start(), instance_id, launched_at)


def _serve_web(config: Config, metrics: "Metrics", board: "Board", about: "About") -> None:
    from observerd.web.server import Server, TlsFiles  # noqa: PLC0415
    from observerd.web.site import Site  # noqa: PLC0415

    metrics.start_at_zero()
    listen, certificate, key = config.metrics_listen, config.metrics_tls_certificate, config.metrics_tls_key
    if not listen:
        return
    tls = TlsFiles(certificate, key, config.metrics_tls_client_ca) if certificate and key else None
    host = listen.rpartition(":")[0]
    site = Site(metrics, board, about, frozenset({host.lower(), *config.metrics_hosts.lower().split()}))
    try:
        server = Server(listen, tls, site.answer)
    except OSError as error:
        # Blind is bad, but a worker that does not work is worse.
        log.error("metrics not served", extra={"listen": listen, "fault": str(error)})  # noqa: TRY400 one line
    else:
        log.info("metrics served", extra={"address": f"{host}:{server.port}"})


def _leave_metrics(metrics: "Metrics", config: Config) -> None:
    if config.metrics_textfile_directory or config.metrics_push_url:
        from observerd.lasting import leave  # noqa: PLC0415

        leave(metrics, config.metrics_textfile_directory, config.metrics_push_url, config.stack)


def _about(config: Config, region: str) -> "About":
    from observerd.web.report import About  # noqa: PLC0415

    return About(
        host=socket.gethostname(),
        pid=os.getpid(),
        queue=config.queue_url.rsplit("/", 1)[1],
        region=region,
        executor=config.executor,
        log_group=config.log_group,
        started_at=time.time(),
        shows_output=config.status_output == "show",
    )


def _say_what_is_served(loaded: Loaded, *, gives_up: bool) -> None:
    for warning in (*loaded.warnings, *choice.unkept(loaded)):
        log.warning("configuration", extra={"warning": warning})
    config = loaded.config
    if gives_up and config.lifecycle_hook is None:
        log.warning("no lifecycle_hook: this instance may end before it has looked for a last message")
    log.info(
        "serving", extra={"queue": config.queue_url, "jobs": len(loaded.jobs), "executor": config.executor}
    )


def _find_dead_letter_queue(messages: Queue) -> None:
    try:
        messages.dead_letter_url()
    except NoDeadLetterQueue as fault:
        log.warning("no dead-letter queue: exhausted messages stay", extra={"detail": str(fault)})
    except SqsFault as fault:
        log.warning("dead-letter queue not known yet", extra={"detail": str(fault)})
