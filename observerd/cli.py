"""Arguments in, exit status out. A subcommand imports what it needs when it runs: `run` must start fast."""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from observerd import __version__

if TYPE_CHECKING:
    from observerd.config import Loaded
    from observerd.schedules import show

CONFIG_FILE = Path("/etc/observerd/observerd.toml")
PIDFILE = Path("/run/observerd.pid")
SCHEDULES_FILE = Path("/etc/observerd/schedules.toml")
# Of years or runs: enough for any use, and an answer within minutes.
MOST = 1_000

# sysexits.h
EX_OK, EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 0, 64, 65, 66, 69, 75, 78
# 128 + SIGINT, as shells have it.
EX_INTERRUPTED = 130

EPILOG = """\
exit status (sysexits.h):
  0   done: idle, drained, or told to stop     69  AWS does not do what it was asked
  1   stopped with jobs that would not end     70  an error of observerd's own
      `doctor`, `prove`, `dlq`: not all well   77  not allowed; `doctor`: not all could be looked at
  64  wrong usage                              75  not now: pidfile held, AWS or machine is busy
  65  a payload or time that cannot be read    78  configuration: files, queue missing or denied
  66  no such run, dead letter, stack or file 130  interrupted
  `exec` exits as its job does; 128 + n when signal n ended it, 127 when it could not be started.

configuration: /etc/observerd/observerd.toml, conf.d/*.toml and jobs.d/*.toml beside it, then OBSERVERD_*
in the environment, then options. `observerd show-config` tells where each value comes from.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    # Half of a start is imports that create nothing cyclic. Put back on once the daemon serves.
    gc.disable()
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EX_OK
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    except _Complaint as complaint:
        print(f"observerd: {complaint}", file=sys.stderr)
        return complaint.status


class _Complaint(Exception):
    """What a person is told in one line (or one a fault) before a non-zero exit."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> "None":  # type: ignore[override]
        self.exit(EX_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="observerd",
        description="Highly available cron on AWS: takes jobs from an SQS queue and runs them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"observerd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(_command(commands, "run", _run, "serve the queue until idle or told to stop"))
    _add_exec(_command(commands, "exec", _exec, "run one job now, without SQS"))
    _add_send(_operation(commands, "send", "put one run of a job on the queue, and ask for a worker"))
    text = "have the daemon take nothing more, finish its jobs and leave"
    _add_drain(_command_without_config(commands, _drain, "drain", text))
    _add_terminate(
        _command(commands, "terminate", _terminate, "end this instance as exit_action has it, from outside")
    )
    check = _command(commands, "check-config", _check_config, "read the configuration and name every fault")
    check.add_argument("--quiet", action="store_true", help="say nothing if there is no fault")
    check.add_argument(
        "--jobs-only", action="store_true", help="jobs.d alone, as an image build has no queue"
    )
    for name, action, text in (
        ("show-config", _show_config, "print each value and where it comes from"),
        ("jobs", _jobs, "list the jobs that are defined"),
    ):
        _command(commands, name, action, text).add_argument("--json", action="store_true", help="as JSON")
    _add_operations(commands)
    _add_schedules(commands)
    _add_simulate(
        _command(commands, "simulate", _simulate, "play the seed's design and ours in virtual time")
    )
    return parser


def _add_operations(commands: "argparse._SubParsersAction[_Parser]") -> None:
    """The subcommands that look at a stack from outside; `operations.command` has their work."""
    what = "RUN, JOB@TIME (2026-11-23T18:00Z), JOB for its last run, or a message's id"
    runs = _operation(commands, "runs", "list what became of runs, also of those that never were")
    runs.add_argument("--job", metavar="JOB", help="of this job alone")
    runs.add_argument("--outcome", metavar="LIST", help="such as failed,timeout,missed,waiting,unsent")
    why = _operation(commands, "why", "show one run's way, hop by hop, and what to look at next")
    logs = _operation(commands, "logs", "print what a run printed")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until it has ended")
    logs.add_argument("--attempt", type=_whole, metavar="N", help="default: the last that was started")
    _operation(commands, "doctor", "look for what is wrong with a stack, and say how to mend it")
    status = _command(
        commands,
        "status",
        lambda arguments: _operate("status", arguments),
        "ask this machine's daemon what it does",
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    _add_dlq(_operation(commands, "dlq", "list and show dead letters, run them again, or drop them"))
    runs.add_argument("--since", metavar="WHEN", help="36h, 7d or 2026-11-23T18:00; default: 24h")
    for parser in (why, logs):
        parser.add_argument("run", metavar="RUN", help=what)
        parser.add_argument("--since", metavar="WHEN", help="how far back to look for it; default: 14d")


def _add_dlq(parser: _Parser) -> None:
    parser.add_argument("action", choices=("list", "show", "retry", "drop"), help="what to do with them")
    parser.add_argument(
        "which", nargs="*", metavar="RUN", help="a run's id, a message's (6 letters do) or a job"
    )
    parser.add_argument("--all", action="store_true", help="all that it means; without RUN, every one")
    parser.add_argument("--yes", action="store_true", help="drop without asking")


def _operation(commands: "argparse._SubParsersAction[_Parser]", name: str, text: str) -> _Parser:
    parser = _command(commands, name, lambda arguments: _operate(name, arguments), text)
    parser.add_argument("--stack", metavar="NAME", help="default: as configured, or OBSERVERD_STACK")
    parser.add_argument("--region", metavar="REGION", help="default: as configured, or AWS_REGION")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _add_schedules(commands: "argparse._SubParsersAction[_Parser]") -> None:
    """The subcommands that have nothing to do with the daemon's configuration."""
    adding = _import_crontab, "import-crontab", "turn crontabs into jobs.d and schedules.toml, and prove it"
    _add_import(_command_without_config(commands, *adding))
    render = _command_without_config(
        commands, _render_schedules, "render-schedules", "make a CloudFormation template of schedules.toml"
    )
    prove = _command_without_config(
        commands,
        _prove,
        "prove",
        "compare each crontab line of schedules.toml with its EventBridge expressions",
    )
    for parser in (render, prove):
        parser.add_argument(
            "schedules", nargs="?", type=Path, metavar="FILE", help=f"default: {SCHEDULES_FILE}"
        )
    render.add_argument("--out", type=Path, metavar="DIR", help="write schedules-N.json there, not to stdout")
    prove.add_argument(
        "--years", type=_years, metavar="N", help="so many years, not 1,000 runs and the coming clock changes"
    )
    coming = _command_without_config(commands, _next, "next", "say when jobs start next")
    coming.add_argument("job", nargs="?", metavar="JOB")
    coming.add_argument(
        "-n", type=_whole, default=10, metavar="N", dest="number", help="how many; default: 10"
    )
    coming.add_argument("--schedules", type=Path, metavar="FILE", help=f"default: {SCHEDULES_FILE}")
    explain = _command_without_config(
        commands, _explain, "explain", "put a crontab line's times or an EventBridge expression into words"
    )
    explain.add_argument("expression", metavar="EXPR", help="'*/7 * * * *' or 'cron(0 9 ? * MON-FRI *)'")
    explain.add_argument("--timezone", metavar="TZ", help="IANA name; default: UTC")
    for parser in (prove, coming, explain):
        parser.add_argument("--json", action="store_true", help="as JSON")


def _command_without_config(
    commands: "argparse._SubParsersAction[_Parser]", action: object, name: str, text: str
) -> _Parser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=action)
    return parser


def _add_import(parser: _Parser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="crontabs, or directories of them; - reads standard input"
    )
    parser.add_argument(
        "--system", action="store_true",
        help="lines have a user column; so those of /etc/crontab and /etc/cron.d are always read",
    )  # fmt: skip
    parser.add_argument(
        "--user", metavar="U",
        help="whose crontab it is; default: who owns it in /var/spool/cron, else who runs this",
    )  # fmt: skip
    parser.add_argument(
        "--timezone", metavar="TZ", help="what cron goes by where no CRON_TZ is set; default: this machine's"
    )
    parser.add_argument(
        "--clock-changes", choices=("cron", "eventbridge"), default="cron",
        help="the nights when clocks change: as cron runs them (default), or as EventBridge Scheduler does",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where to write; default: this directory"
    )


def _whole(text: str, most: int = MOST) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most}: {text!r}")
    return int(text)


def _years(text: str) -> int:
    # As far ahead as the rules of time zones mean anything.
    return _whole(text, 30)


def _command(
    commands: "argparse._SubParsersAction[_Parser]", name: str, action: object, text: str
) -> _Parser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(command=action)
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"default: {CONFIG_FILE}")
    return parser


def _add_run(parser: _Parser) -> None:
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--once", action="store_true", help="take one message, or find none, and leave")
    until.add_argument("--drain", action="store_true", help="leave when the queue is empty")
    parser.add_argument(
        "--shadow", dest="executor", action="store_const", const="shadow",
        help="do everything but the jobs' commands, beside a cron that still runs them",
    )  # fmt: skip
    parser.add_argument("--queue-url", metavar="URL", help="instead of the configured queue")
    parser.add_argument("--slots", metavar="N", help="how many jobs may run at once")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    parser.add_argument("--daemonize", action="store_true", help="go to the background (not under systemd)")
    _add_pidfile(parser, "locked while the daemon runs")
    parser.add_argument(
        "--log-file", type=Path, default=Path("/var/log/observerd.log"), metavar="FILE",
        help="where --daemonize sends the log; default: %(default)s",
    )  # fmt: skip


def _add_simulate(parser: _Parser) -> None:
    parser.add_argument("--design", choices=("seed", "observerd"), help="default: both, side by side")
    parser.add_argument("--crontab", type=Path, metavar="FILE", help="default: each seed makes up its own")
    parser.add_argument(
        "--days", type=float, default=1.0, metavar="N", help="of schedules; default: %(default)g"
    )
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="histories; default: %(default)d")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="default: %(default)d")
    parser.add_argument(
        "--faults",
        default="none",
        metavar="KINDS",
        help="none, all, outside, or names: crash,hang, all,-spot",
    )
    parser.add_argument(
        "--job-time", default="2m", metavar="TIME", help="median of a run; default: %(default)s"
    )
    parser.add_argument(
        "--figure", action="append", default=[], metavar="NAME=VALUE", help="change a figure of AWS's"
    )
    parser.add_argument("--figures", action="store_true", help="list the figures, each with its source")
    parser.add_argument("--timeline", action="store_true", help="print the first seed's history")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: FILE.svg or FILE.html")


def _add_exec(parser: _Parser) -> None:
    parser.add_argument("job", metavar="JOB")
    _add_what(parser)


def _add_send(parser: _Parser) -> None:
    parser.add_argument("job", metavar="JOB")
    parser.add_argument("--queue-url", metavar="URL", help="instead of the configured queue")
    _add_what(parser)


def _add_drain(parser: _Parser) -> None:
    parser.add_argument("--wait", metavar="TIME", help="until it has left, for so long at most: 90s, 1h")
    _add_pidfile(parser, "that of a daemon in the background")


def _add_terminate(parser: _Parser) -> None:
    parser.add_argument(
        "--reason", metavar="TEXT", default="by hand", help="for the log; default: %(default)s"
    )
    _add_pidfile(parser, "that of a daemon in the background")


def _add_pidfile(parser: _Parser, text: str) -> None:
    parser.add_argument(
        "--pidfile", type=Path, default=PIDFILE, metavar="FILE", help=f"{text}; default: %(default)s"
    )


def _add_what(parser: _Parser) -> None:
    parser.add_argument("--scheduled-time", metavar="TIME", help="ISO 8601 with a zone; default: now")
    parser.add_argument("--payload", metavar="JSON", help="handed to the job; - reads standard input")


def _run(arguments: argparse.Namespace) -> int:
    flags = {name: getattr(arguments, name) for name in ("queue_url", "slots", "log_level", "executor")}
    loaded = _load(arguments, flags, need_queue=True)
    reread = _reader(arguments, flags)
    if arguments.daemonize:
        return _run_in_background(arguments, loaded, reread)
    return _serve(arguments, loaded, reread)


def _reader(arguments: argparse.Namespace, flags: dict[str, str | None]) -> "Callable[[], Loaded]":
    """What reads the same files again, from wherever the daemon is by then."""
    from observerd.config import load  # noqa: PLC0415

    file = arguments.config.absolute() if arguments.config else None
    return lambda: load(file, os.environ, flags, need_queue=True)


def _run_in_background(
    arguments: argparse.Namespace, loaded: "Loaded", reread: "Callable[[], Loaded]"
) -> int:
    from observerd.background import AlreadyRunning, detached  # noqa: PLC0415

    try:
        with detached(arguments.pidfile, arguments.log_file):
            return _serve(arguments, loaded, reread)
    except AlreadyRunning as fault:
        raise _Complaint(EX_TEMPFAIL, str(fault)) from None
    except OSError as error:
        raise _Complaint(EX_CONFIG, f"{error.filename}: {error.strerror}") from None


def _serve(arguments: argparse.Namespace, loaded: "Loaded", reread: "Callable[[], Loaded]") -> int:
    from observerd import assembly  # noqa: PLC0415
    from observerd.aws import Unanswered, Unusable  # noqa: PLC0415
    from observerd.executors.choice import Unsuitable  # noqa: PLC0415
    from observerd.logs import set_up  # noqa: PLC0415

    try:
        set_up(loaded.config.log_level, loaded.config.log_format, os.environ)
        return assembly.run(loaded, reread, once=arguments.once, drain=arguments.drain).status
    except (Unusable, Unsuitable) as fault:
        raise _Complaint(EX_CONFIG, str(fault)) from None
    except Unanswered as fault:
        raise _Complaint(EX_TEMPFAIL, str(fault)) from None
    except RuntimeError as error:
        # threading has no error of its own for it. Nothing of ours raises this once the daemon serves.
        if "start new thread" not in str(error):
            raise
        text = "no thread can be started: the limit of tasks or processes is reached, or memory is short"
        raise _Complaint(EX_TEMPFAIL, f"{text} (see TasksMax= of the unit, ulimit -u, free)") from None


def _exec(arguments: argparse.Namespace) -> int:
    from observerd.by_hand import BadRequest, execute  # noqa: PLC0415
    from observerd.executors.choice import Unsuitable  # noqa: PLC0415

    loaded = _load(arguments, {}, need_queue=False)
    try:
        return execute(loaded, arguments.job, arguments.scheduled_time, _payload(arguments))
    except Unsuitable as fault:
        raise _Complaint(EX_CONFIG, str(fault)) from None
    except BadRequest as fault:
        raise _Complaint(EX_DATAERR, str(fault)) from None


def _drain(arguments: argparse.Namespace) -> int:
    from observerd.core.units import duration_s  # noqa: PLC0415
    from observerd.outside import NotDone, drain  # noqa: PLC0415

    try:
        wait_s = None if arguments.wait is None else duration_s(arguments.wait)
        print(drain(arguments.pidfile, wait_s))
    except ValueError:
        raise _Complaint(EX_USAGE, f"--wait: not a duration: {arguments.wait!r} (write 90s, 15m)") from None
    except NotDone as fault:
        raise _Complaint(fault.status, str(fault)) from None
    return EX_OK


def _terminate(arguments: argparse.Namespace) -> int:
    from observerd.config import BadConfig, load  # noqa: PLC0415
    from observerd.outside import NotDone, terminate  # noqa: PLC0415

    try:
        config = load(arguments.config, os.environ, {}, need_queue=False).config
    except BadConfig as bad:
        # A fault may be why nobody serves here; what it leaves readable is enough to leave by.
        print("observerd: " + "\nobserverd: ".join(bad.faults), file=sys.stderr)
        config = bad.config
    try:
        print(terminate(config, arguments.reason, arguments.pidfile))
    except NotDone as fault:
        raise _Complaint(fault.status, str(fault)) from None
    return EX_OK


def _payload(arguments: argparse.Namespace) -> str | None:
    given: str | None = arguments.payload
    return sys.stdin.read() if given == "-" else given


def _check_config(arguments: argparse.Namespace) -> int:
    from observerd.commands import check_config  # noqa: PLC0415

    text = check_config(_load(arguments, {}, need_queue=False, jobs_only=arguments.jobs_only))
    if not arguments.quiet:
        print(text)
    return EX_OK


def _show_config(arguments: argparse.Namespace) -> int:
    from observerd.commands import show_config  # noqa: PLC0415

    print(show_config(_load(arguments, {}, need_queue=False), as_json=arguments.json))
    return EX_OK


def _jobs(arguments: argparse.Namespace) -> int:
    from observerd.commands import jobs  # noqa: PLC0415

    width = os.get_terminal_size().columns if sys.stdout.isatty() else None
    print(jobs(_load(arguments, {}, need_queue=False), as_json=arguments.json, width=width))
    return EX_OK


def _operate(name: str, arguments: argparse.Namespace) -> int:
    from observerd.operations import command  # noqa: PLC0415
    from observerd.operations.trouble import Trouble  # noqa: PLC0415

    flags = {"queue_url": getattr(arguments, "queue_url", None)}
    config = _load(arguments, flags, need_queue=False).config
    try:
        return command.run(name, arguments, config)
    except Trouble as fault:
        raise _Complaint(fault.status, str(fault)) from None


def _import_crontab(arguments: argparse.Namespace) -> int:
    from observerd.operations.screen import Progress  # noqa: PLC0415
    from observerd.schedules import show  # noqa: PLC0415

    crontabs = [_crontab(name) for given in arguments.files for name in _files(given)]

    def answer() -> show.Answer:
        with Progress("proving") as progress:
            return show.import_crontabs(
                crontabs,
                system=arguments.system,
                user=arguments.user,
                timezone=arguments.timezone,
                like_cron=arguments.clock_changes == "cron",
                out=arguments.out,
                now=show.now_utc(),
                progress=progress.at,
            )

    return _answered(answer)


def _files(name: str) -> list[str]:
    """The file itself, or the files of a directory such as /etc/cron.d."""
    path = Path(name)
    return sorted(str(each) for each in path.iterdir() if each.is_file()) if path.is_dir() else [name]


def _crontab(name: str) -> tuple[str, str]:
    """Its name and text, whose lines end as they do in the file; a byte that is no UTF-8 as a surrogate."""
    try:
        found = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise _Complaint(EX_NOINPUT, f"{name}: {error.strerror}") from None
    return "standard input" if name == "-" else name, found.decode("utf-8", "surrogateescape")


def _render_schedules(arguments: argparse.Namespace) -> int:
    from observerd.schedules import show  # noqa: PLC0415

    file = arguments.schedules or SCHEDULES_FILE
    return _answered(lambda: show.render(file, arguments.out, show.now_utc()))


def _prove(arguments: argparse.Namespace) -> int:
    from observerd.schedules import show  # noqa: PLC0415

    file = arguments.schedules or SCHEDULES_FILE
    return _answered(lambda: show.prove(file, arguments.years, show.now_utc()), as_json=arguments.json)


def _next(arguments: argparse.Namespace) -> int:
    from observerd.schedules import show  # noqa: PLC0415

    file = arguments.schedules or SCHEDULES_FILE
    return _answered(
        lambda: show.next_runs(file, arguments.job, arguments.number, show.now_utc()), as_json=arguments.json
    )


def _explain(arguments: argparse.Namespace) -> int:
    from observerd.schedules import show  # noqa: PLC0415

    return _answered(
        lambda: show.explain(arguments.expression, arguments.timezone, show.now_utc()), as_json=arguments.json
    )


def _answered(answer: "Callable[[], show.Answer]", *, as_json: bool = False) -> int:
    """Print what a command about schedules answers; its exit status."""
    from observerd.config import BadConfig  # noqa: PLC0415
    from observerd.operations import screen  # noqa: PLC0415
    from observerd.schedules.show import NotPossible  # noqa: PLC0415

    try:
        answered = answer()
    except BadConfig as bad:
        raise _Complaint(EX_CONFIG, "\nobserverd: ".join(bad.faults)) from None
    except NotPossible as fault:
        raise _Complaint(fault.status, str(fault)) from None
    print(screen.as_json(answered.value) if as_json else answered.text)
    return answered.status


def _simulate(arguments: argparse.Namespace) -> int:
    from observerd.simulation import command  # noqa: PLC0415
    from observerd.simulation.figures import Figures, changed, table  # noqa: PLC0415

    try:
        figures = changed(Figures(), arguments.figure)
        if arguments.figures:
            print(table(figures))
            return EX_OK
        setting = command.setting_of(
            design=arguments.design,
            crontab=arguments.crontab,
            days=arguments.days,
            seeds=range(arguments.first_seed, arguments.first_seed + arguments.seeds),
            faults=arguments.faults,
            job_time=arguments.job_time,
            figures=figures,
        )
        return command.simulate(setting, arguments.plot, timeline=arguments.timeline)
    except (command.BadRequest, ValueError) as fault:
        raise _Complaint(EX_USAGE, "\nobserverd: ".join(str(fault).splitlines())) from None


def _load(
    arguments: argparse.Namespace,
    flags: dict[str, str | None],
    *,
    need_queue: bool,
    jobs_only: bool = False,
) -> "Loaded":
    from observerd.config import BadConfig, load  # noqa: PLC0415

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return load(arguments.config, os.environ, given, need_queue=need_queue, jobs_only=jobs_only)
    except BadConfig as bad:
        raise _Complaint(EX_CONFIG, "\nobserverd: ".join(bad.faults)) from None
