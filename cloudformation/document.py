"""Write the tables of parameters into docs/cloudformation.md and those of rights into docs/security.md:
python -m cloudformation.document."""

import re
from collections.abc import Iterator
from typing import Any

from cloudformation.template import HERE, load

DOCUMENT = HERE.parent / "docs" / "cloudformation.md"
SECURITY = HERE.parent / "docs" / "security.md"
TABLE = re.compile(r"(<!-- (parameters|rights) of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documented(text: str) -> str:
    """The document with its tables made anew from the templates."""

    def made(found: re.Match[str]) -> str:
        template = load(found[3])
        table = _table(template["Parameters"]) if found[2] == "parameters" else _rights(template["Resources"])
        return f"{found[1]}{table}{found[4]}"

    return TABLE.sub(made, text)


def _rights(resources: dict[str, Any]) -> str:
    rows = [
        f"| {role} | {', '.join(map(_code, _list(it['Action'])))} | {_targets(it['Resource'])} |\n"
        for name, resource in resources.items()
        for role, document in _policies(name, resource)
        for it in document["Statement"]
    ]
    return "| who | may | on |\n| --- | --- | --- |\n" + "".join(rows)


def _policies(name: str, resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each policy that gives a role rights, with the role's name."""
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::IAM::Role":
        yield from ((name, each["PolicyDocument"]) for each in properties.get("Policies", ()))
    if resource["Type"] == "AWS::IAM::Policy":
        yield from ((role["Ref"], properties["PolicyDocument"]) for role in properties["Roles"])


def _targets(resource: Any) -> str:
    return ", ".join(_code(name) for each in _list(resource) for name in _named(each))


def _named(value: Any) -> Iterator[str]:
    match value:
        case {"Fn::GetAtt": [name, _]} | {"Ref": name}:
            if name != "AWS::NoValue":
                yield name
        case {"Fn::Sub": text}:
            # Partition, region and account go without saying.
            yield re.sub(r"^arn:\S*?:::|^arn:\S*}:", "", text)
        case {"Fn::If": [_, *ways]}:
            yield from (name for way in ways for name in _named(way))
        case _:
            yield str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _code(text: str) -> str:
    return f"`{text}`"


def _table(parameters: dict[str, Any]) -> str:
    rows = [f"| {name} | {_default(it)} | {it['Description']} |\n" for name, it in parameters.items()]
    return "| parameter | default | what it is |\n| --- | --- | --- |\n" + "".join(rows)


def _default(parameter: dict[str, Any]) -> str:
    default = str(parameter.get("Default", "**required**"))
    return f"`{default}`" if default and "Default" in parameter else default


if __name__ == "__main__":
    for document in (DOCUMENT, SECURITY):
        document.write_text(documented(document.read_text()))
