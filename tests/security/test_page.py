"""docs/security.md: every attack has a test that there is, and its table of rights is the templates'."""

import ast
import re
from pathlib import Path

import pytest

from cloudformation.document import SECURITY, documented
from cloudformation.template import HERE, load

ROOT = Path(__file__).parents[2]
PAGE = SECURITY.read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_attack_has_a_test(file, name):
    tree = ast.parse((ROOT / file).read_text())

    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


def test_every_test_of_an_attack_is_in_the_table():
    ours = {
        (f"tests/security/{file.name}", node.name)
        for file in Path(__file__).parent.glob("test_[js]*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }

    assert {each for each in ours if "supply_chain" not in each[0]} <= set(NAMED)


def test_the_tables_of_rights_are_those_of_the_templates():
    """python -m cloudformation.document makes them."""
    assert documented(PAGE) == PAGE
    with_rights = {
        template.name
        for template in HERE.glob("*.yaml")
        if any(it["Type"].startswith("AWS::IAM::") for it in load(template.name)["Resources"].values())
    }
    assert with_rights == set(re.findall(r"<!-- rights of (\S+) -->", PAGE))
    assert all(f"`{action}`" in PAGE for action in ("sqs:DeleteMessage", "lambda:InvokeFunction"))
