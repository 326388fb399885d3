"""Completions for bash, zsh and fish: the commands, their options, files, and the names of jobs."""

from collections.abc import Iterable

from parsers import Command, Option

# The names of the defined jobs; nothing where the configuration cannot be read.
JOBS = "observerd jobs 2>/dev/null | awk 'NR > 1 { print $1 }'"


def bash(commands: Iterable[Command]) -> str:
    known = list(commands)
    return f"""\
# bash completion of observerd, generated from its parser
_observerd() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command= word
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$command $word" in
{_lines(16, (f'"{_in_bash(each.name)}") command="{each.name}" ;;' for each in known))}
        esac
    done
    case "$command $previous" in
{_lines(12, (line for each in known for line in _bash_values(each)))}
    esac
    case "$command" in
        "") COMPREPLY=($(compgen -W "{_top(known)} --help --version" -- "$current")) ;;
{_lines(12, map(_bash_words, known))}
    esac
}}
complete -F _observerd observerd
"""


def _in_bash(name: str) -> str:
    """The command so far, and the word that makes it this one."""
    return name if " " in name else f" {name}"


def _bash_values(command: Command) -> Iterable[str]:
    for option in command.options:
        if option.metavar:
            pattern = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
            yield f"{pattern}) {_bash_value(option)}; return ;;"


def _bash_value(option: Option) -> str:
    if option.is_path:
        return 'COMPREPLY=($(compgen -f -- "$current"))'
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$current"))'
    return "COMPREPLY=()"


def _bash_words(command: Command) -> str:
    words = [flag for option in command.options for flag in option.flags if flag.startswith("--")]
    words += [*command.below, *(choice for each in command.positionals for choice in each.choices)]
    jobs = f" $({JOBS})" if _takes_job(command) else ""
    files = " -f" if _takes_file(command) else ""
    return f'"{command.name}") COMPREPLY=($(compgen{files} -W "{" ".join(words)}{jobs}" -- "$current")) ;;'


def zsh(commands: Iterable[Command]) -> str:
    known = list(commands)
    top = (f"{_zsh_quoted(f'{each.name}:{each.summary}')}" for each in known if " " not in each.name)
    return f"""\
#compdef observerd
# zsh completion of observerd, generated from its parser
_observerd_jobs() {{ local -a jobs; jobs=(${{(f)"$({JOBS})"}}); compadd -a jobs }}
_observerd() {{
    local -a commands
    commands=(
{_lines(8, top)}
    )
    if (( CURRENT == 2 )); then
        _describe -t commands command commands
        _arguments '--help[show help]' '--version[show the version]'
        return
    fi
    local command=$words[2]
    shift words; (( CURRENT-- ))
    case $command in
{_lines(8, (_zsh_command(each, known) for each in known if " " not in each.name))}
    esac
}}
_observerd "$@"
"""


def _zsh_command(command: Command, known: list[Command]) -> str:
    specs = [_zsh_option(option) for option in command.options]
    if command.below:
        specs.append(f"'1:command:({' '.join(command.below)})'")
        options = (
            option for each in known if each.name.startswith(f"{command.name} ") for option in each.options
        )
        specs += [_zsh_option(option) for option in options]
    specs += [_zsh_positional(each.metavar, each.choices) for each in command.positionals]
    return f"{command.name}) _arguments {' '.join(dict.fromkeys(specs))} ;;"


def _zsh_option(option: Option) -> str:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = f":{option.metavar}:{_zsh_values(option)}" if option.metavar else ""
    return _zsh_quoted(f"{option.flags[-1]}[{text}]{value}")


def _zsh_values(option: Option) -> str:
    return "_files" if option.is_path else f"({' '.join(option.choices)})" if option.choices else " "


def _zsh_positional(metavar: str, choices: tuple[str, ...]) -> str:
    if metavar == "JOB":
        return "':job:_observerd_jobs'"
    return f"':{metavar.lower()}:({' '.join(choices)})'" if choices else f"':{metavar.lower()}:_files'"


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(commands: Iterable[Command]) -> str:
    known = list(commands)
    top = _top(known)
    head = [
        "# fish completion of observerd, generated from its parser",
        "complete -c observerd -f",
        f"complete -c observerd -n 'not __fish_seen_subcommand_from {top}' -l help -d 'show help'",
        f"complete -c observerd -n 'not __fish_seen_subcommand_from {top}' -l version -d 'show the version'",
    ]
    return "\n".join([*head, *(line for each in known for line in _fish_command(each, top))]) + "\n"


def _fish_command(command: Command, top: str) -> Iterable[str]:
    *above, word = command.name.split()
    seen = " ; and ".join(f"__fish_seen_subcommand_from {each}" for each in above)
    yield _fish(seen or f"not __fish_seen_subcommand_from {top}", f"-a {word}", command.summary)
    here = " ; and ".join(f"__fish_seen_subcommand_from {each}" for each in command.name.split())
    for option in command.options:
        yield _fish(here, _fish_option(option), option.help)
    if _takes_job(command):
        yield _fish(here, f"-a '({JOBS.replace(chr(39), chr(34)).replace('$1', chr(92) + '$1')})'", "job")
    for each in command.positionals:
        if each.choices:
            yield _fish(here, f"-a '{' '.join(each.choices)}'", each.metavar.lower())
    if _takes_file(command):
        yield f"complete -c observerd -n '{here}' -F"


def _fish_option(option: Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    if not option.metavar:
        return flags
    values = f" -a '{' '.join(option.choices)}'" if option.choices else ""
    return f"{flags} -r{' -F' if option.is_path else ''}{values}"


def _fish(condition: str, what: str, text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c observerd -n '{condition}' {what} -d '{quoted}'"


def _takes_job(command: Command) -> bool:
    return any(each.metavar == "JOB" for each in command.positionals)


def _takes_file(command: Command) -> bool:
    return any(each.metavar != "JOB" and not each.choices for each in command.positionals)


def _top(commands: Iterable[Command]) -> str:
    return " ".join(each.name for each in commands if " " not in each.name)


def _lines(indent: int, lines: Iterable[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)
