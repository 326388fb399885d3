"""Write the tables of parameters into docs/cloudformation.md: python -m cloudformation.document."""

import re
from typing import Any

from cloudformation.template import HERE, load

DOCUMENT = HERE.parent / "docs" / "cloudformation.md"
TABLE = re.compile(r"(<!-- parameters of (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documented(text: str) -> str:
    """The document with its tables made anew from the templates."""
    return TABLE.sub(lambda found: f"{found[1]}{_table(load(found[2])['Parameters'])}{found[3]}", text)


def _table(parameters: dict[str, Any]) -> str:
    rows = [f"| {name} | {_default(it)} | {it['Description']} |\n" for name, it in parameters.items()]
    return "| parameter | default | what it is |\n| --- | --- | --- |\n" + "".join(rows)


def _default(parameter: dict[str, Any]) -> str:
    default = str(parameter.get("Default", "**required**"))
    return f"`{default}`" if default and "Default" in parameter else default


if __name__ == "__main__":
    DOCUMENT.write_text(documented(DOCUMENT.read_text()))
