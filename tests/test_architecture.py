"""Who may import what. A lower room never names a higher one, and each third-party package has one room."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "observerd"

# From the ground up: a room may import from its own floor and from those below.
FLOORS = (
    ("core",),
    ("bell", "clock", "console", "gathering", "kinds", "logs", "signals", "status", "systemd"),
    ("keys",),
    ("aws", "config", "instance", "metadata", "metrics"),
    ("sqs", "warden", "emf", "cloudwatch_logs", "logstream"),
    ("crew", "joblog", "lasting", "notices", "process"),
    ("executors",),
    ("receiver", "runner", "journal", "record", "herald", "reload", "web"),
    ("service",),
    ("assembly", "background", "by_hand", "commands", "outside", "schedules", "simulation"),
    ("operations",),
    ("cli",),
    ("__main__",),
)

THIRD_PARTY = {
    "attrs": {"config", "keys"},
    "cattrs": {"config"},
    "boto3": {"aws"},
    "botocore": {"aws", "cloudwatch_logs", "herald", "instance", "sqs"},
    "cronsim": {"schedules"},
    "daemon": {"background"},
    "ec2_metadata": {"metadata"},
    "mypy_boto3_autoscaling": {"aws", "instance"},
    "mypy_boto3_logs": {"aws"},
    "mypy_boto3_sqs": {"aws", "sqs"},
    "prometheus_client": {"metrics"},
    "urllib3": {"herald", "metadata"},
    "watchtower": {"cloudwatch_logs", "logstream"},
}

# The core takes the time as an argument and answers with values.
CORE_STDLIB = {
    "collections",
    "codecs",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "json",
    "re",
    "reprlib",
    "types",
    "typing",
    "math",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Every module that the file imports, wherever in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "observerd":
                yield from (f"observerd.{alias.name}" for alias in node.names)
            else:
                yield node.module


def floor(room):
    (found,) = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return found


def test_every_file_has_a_floor():
    rooms = {room_of(path) for path in FILES} - {"__init__"}

    assert rooms == {room for rooms in FLOORS for room in rooms}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_go_downward(path):
    if room_of(path) == "__init__":
        return
    for name in imports(path):
        if name.startswith("observerd.") and name != "observerd.__version__":
            room = name.split(".")[1]
            assert floor(room) <= floor(room_of(path)), f"{path.name} imports {name} from above"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_third_party_package_has_its_room(path):
    for name in imports(path):
        package = name.split(".")[0]
        if package != "observerd" and package not in sys.stdlib_module_names:
            assert room_of(path) in THIRD_PARTY.get(package, set()), f"{path.name} imports {package}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_touches_nothing(path):
    packages = {name.split(".")[0] for name in imports(path)} - {"observerd"}

    assert packages <= CORE_STDLIB


def test_no_two_rooms_of_one_floor_import_each_other():
    arrows = {
        (room_of(path), name.split(".")[1])
        for path in FILES
        for name in imports(path)
        if name.startswith("observerd.") and name != "observerd.__version__"
    }
    assert [] == sorted((a, b) for a, b in arrows if a < b and (b, a) in arrows)


def test_what_the_first_receive_does_not_need_is_not_imported_before_it():
    script = "import sys, observerd.assembly; print(*sys.modules)"
    loaded = subprocess.run(
        (sys.executable, "-c", script), cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    ).stdout.split()

    assert "observerd.receiver" in loaded
    late = (
        "watchtower",
        "prometheus_client",
        "daemon",
        "ec2_metadata",
        "observerd.journal",
        "observerd.status",
        "observerd.web",
        "observerd.metadata",
        "observerd.runner",
    )
    assert [] == [name for name in late if name in loaded]
