"""Completions for bash, zsh and fish: the commands, their options, files, and the names of jobs."""

from collections.abc import Iterable

from parsers import Argument, Command

# The names of the defined jobs; nothing where the configuration cannot be read.
JOBS = "observerd jobs 2>/dev/null | awk 'NR > 1 { print $1 }'"


def bash(commands: Iterable[Command]) -> str:
    known = list(commands)
    return f"""\
# bash completion of observerd, generated from its parser
_observerd() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local word command= flags= words= files=
    # --option=value comes as three words.
    [ "$current" != = ] || current=
    [ "$previous" != = ] || previous=${{COMP_WORDS[COMP_CWORD-2]}}
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in
            {"|".join(each.name for each in known)}) command=$word; break ;;
        esac
    done
    case "$command $previous" in
{_lines(8, (_bash_option(each, option) for each in known for option in each.options if option.metavar))}
        " "*) flags="{_names(known)} --help --version" ;;
{_lines(8, map(_bash_command, known))}
    esac
    [[ $current != -* ]] || words= files=
    [ -n "$words$files" ] || words=$flags
    [ -z "$files" ] || compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen $files -W "$words" -- "$current")
}}
_observerd_jobs() {{ {JOBS}; }}
complete -F _observerd observerd
"""


def _bash_option(command: Command, option: Argument) -> str:
    patterns = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
    return f"{patterns}) {_bash_values(option) or ':'} ;;"


def _bash_command(command: Command) -> str:
    flags = " ".join(flag for option in command.options for flag in option.flags if flag.startswith("--"))
    values = "".join(f"; {values}" for values in map(_bash_values, command.positionals) if values)
    return f'"{command.name} "*) flags="{flags}"{values} ;;'


def _bash_values(argument: Argument) -> str:
    if argument.is_path:
        return "files=-f"
    words = "$(_observerd_jobs)" if argument.is_job else " ".join(argument.choices)
    return f'words+=" {words}"' if words else ""


def zsh(commands: Iterable[Command]) -> str:
    known = list(commands)
    return f"""\
#compdef observerd
# zsh completion of observerd, generated from its parser
_observerd_jobs() {{ local -a jobs; jobs=(${{(f)"$({JOBS})"}}); compadd -a jobs }}
_observerd() {{
    local -a commands
    commands=(
{_lines(8, (_zsh_quoted(f"{each.name}:{each.summary}") for each in known))}
    )
    if (( CURRENT == 2 )); then
        _describe -t commands command commands
        _arguments '--help[show help]' '--version[show the version]'
        return
    fi
    local command=$words[2]
    shift words; (( CURRENT-- ))
    case $command in
{_lines(8, map(_zsh_command, known))}
    esac
}}
_observerd "$@"
"""


def _zsh_command(command: Command) -> str:
    return f"{command.name}) _arguments {' '.join(_zsh_arguments(command))} ;;"


def _zsh_arguments(command: Command) -> Iterable[str]:
    for option in command.options:
        text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
        value = f":{option.metavar}:{_zsh_values(option)}" if option.metavar else ""
        # One of its flags excludes the others.
        yield from (_zsh_quoted(f"({' '.join(option.flags)}){flag}[{text}]{value}") for flag in option.flags)
    for each in command.positionals:
        times = {"*": "*", "+": "*", "?": ":"}.get(str(each.nargs), "")
        yield _zsh_quoted(f"{times}:{each.metavar.lower()}:{_zsh_values(each)}")


def _zsh_values(argument: Argument) -> str:
    if argument.is_path:
        return "_files"
    if argument.is_job:
        return "_observerd_jobs"
    return f"({' '.join(argument.choices)})" if argument.choices else " "


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(commands: Iterable[Command]) -> str:
    known = list(commands)
    jobs = JOBS.replace("'", '"').replace("$1", "\\$1")
    return f"""\
# fish completion of observerd, generated from its parser
set -l commands {_names(known)}
function __observerd_jobs; {jobs}; end
complete -c observerd -f
complete -c observerd -n "not __fish_seen_subcommand_from $commands" -l help -d 'show help'
complete -c observerd -n "not __fish_seen_subcommand_from $commands" -l version -d 'show the version'
{_lines(0, (line for each in known for line in _fish_command(each)))}
"""


def _fish_command(command: Command) -> Iterable[str]:
    yield _fish('"not __fish_seen_subcommand_from $commands"', f" -a {command.name}", command.summary)
    here = f"'__fish_seen_subcommand_from {command.name}'"
    for option in command.options:
        dashes = (f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
        # -x: no files either.
        value = "" if not option.metavar else " -r" if option.is_path else " -x"
        yield _fish(here, f" {' '.join(dashes)}{value}{_fish_values(option)}", option.help)
    for each in command.positionals:
        if values := _fish_values(each):
            yield _fish(here, values, each.help)


def _fish_values(argument: Argument) -> str:
    if argument.is_path:
        return " -F"
    if argument.is_job:
        return " -a '(__observerd_jobs)'"
    return f" -a '{' '.join(argument.choices)}'" if argument.choices else ""


def _fish(condition: str, what: str, text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c observerd -n {condition}{what} -d '{quoted}'"


def _names(commands: Iterable[Command]) -> str:
    return " ".join(each.name for each in commands)


def _lines(indent: int, lines: Iterable[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)
