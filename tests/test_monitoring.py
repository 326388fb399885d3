"""Rules, dashboard and runbook: they name what exists, ring when they should, and say what to do."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from observerd.cli import _parser
from tests.test_metrics import shown_metrics

ROOT = Path(__file__).parent.parent
MONITORING = ROOT / "monitoring"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
# What Prometheus makes of a histogram.
SUFFIXES = ("", "_bucket", "_sum", "_count")


def promtool(*arguments):
    return subprocess.run(
        ("promtool", *arguments), cwd=MONITORING, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "rules.yaml", "alerts.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "tests.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(arguments):
    answer = promtool(*arguments)

    assert answer.returncode == 0, answer.stdout + answer.stderr


def rules(name):
    return [
        rule for group in yaml.safe_load((MONITORING / name).read_text())["groups"] for rule in group["rules"]
    ]


def alerts():
    return {rule["alert"]: rule for rule in rules("alerts.yaml")}


def panels():
    return json.loads((MONITORING / "dashboard.json").read_text())["panels"]


def expressions():
    yield from (rule["expr"] for name in ("rules.yaml", "alerts.yaml") for rule in rules(name))
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def existing():
    """Each series of ours and the labels that it has, Prometheus' own aside."""
    found = {}
    metrics = shown_metrics()
    for collector in metrics.registry._collector_to_names:
        for family in getattr(collector, "describe", collector.collect)():
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            for suffix in ("_total",) if family.type == "counter" else SUFFIXES:
                found[family.name + suffix] = {*labels, "le", "stack", "instance"}
    return found


def test_every_metric_named_exists_with_the_labels_asked_for():
    there, recorded = existing(), {rule["record"] for rule in rules("rules.yaml")}
    selectors = [
        found
        for expression in expressions()
        for found in re.findall(r"((?:\w+:)?observerd_\w+(?::\w+)?)(?:\{([^}]*)\})?", expression)
    ]
    assert len(selectors) > 40
    for name, matchers in selectors:
        assert name in recorded or name in there, name
        if name in there:
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= there[name], (name, matchers)


def test_every_outcome_and_result_named_is_one_that_is_counted():
    sample = {
        (labels, value)
        for family in shown_metrics().registry.collect()
        for each in family.samples
        for labels, value in each.labels.items()
    }
    for expression in expressions():
        for label, values in re.findall(r'(outcome|result|state|answer)=~?"([^"]*)"', expression):
            for value in values.split("|"):
                assert (label, value) in sample, f"{label}={value} in {expression}"


def test_every_rule_recorded_is_read():
    said = " ".join(expressions())
    for rule in rules("rules.yaml"):
        assert said.count(rule["record"]) > 0, rule["record"]


def test_every_alert_is_tested_both_ways():
    """A rule that never rings, or always does, is one that nobody needs."""
    rings, silent = set(), set()
    for test in yaml.safe_load((MONITORING / "tests.yaml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            (rings if case["exp_alerts"] else silent).add(case["alertname"])

    assert set(alerts()) == rings == silent


def headings():
    return re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)


def stack_alarms():
    found = set()
    for path in (ROOT / "cloudformation").glob("*.yaml"):
        found |= set(
            re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm$", path.read_text(), re.MULTILINE)
        )
    return found


def test_every_alarm_has_its_section_and_every_section_its_alarm():
    assert {"WakeAlarm", "StalledAlarm", "MissedAlarm"} <= stack_alarms()

    assert sorted({*alerts(), *stack_alarms()}) == sorted(headings())


def test_every_section_says_what_it_means_what_to_look_at_and_what_to_paste():
    for section in RUNBOOK.split("\n### ")[1:]:
        name, _, text = section.partition("\n")
        for part in ("**Means.**", "**Look.**", "**Do.**"):
            assert part in text, f"{name} has no {part}"
        assert "```sh" in text, f"{name} has nothing to paste"


def test_every_alert_leads_to_its_section():
    for name, rule in alerts().items():
        assert f"docs/runbook.md#{name.lower()}" == rule["annotations"]["runbook_url"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def commands_of_ours(text):
    """Each `observerd …` of the blocks to paste."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^observerd (.*?)(?: [|>].*)?$", block.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_every_command_to_paste_is_understood(page):
    for command in commands_of_ours(page.read_text()):
        try:
            _parser().parse_args(shlex.split(command))
        except SystemExit:
            pytest.fail(f"{page.name}: observerd {command}")


def test_the_runbook_has_commands_to_paste():
    assert len(list(commands_of_ours(RUNBOOK))) > 20
    # With a queue's URL in the environment they would look for no stack, and find no log group.
    assert "OBSERVERD_QUEUE_URL" not in RUNBOOK


def test_the_scrape_configuration_finds_workers_by_the_templates_tags():
    template = (ROOT / "cloudformation" / "observerd.yaml").read_text()
    assert "{Key: observerd, Value: worker}" in template
    assert "{Key: observerd:stack," in template

    for config in yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]:
        [found] = config["ec2_sd_configs"]
        assert {"name": "tag:observerd", "values": ["worker"]} in found["filters"]
        # Prometheus writes what is no letter, digit or underscore in a tag's name as _.
        labels = {rule["target_label"]: rule["source_labels"] for rule in config["relabel_configs"]}
        assert ["__meta_ec2_tag_observerd_stack"] == labels["stack"]


def test_the_dashboards_panels_do_not_overlap():
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
