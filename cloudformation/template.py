"""Templates as plain data: `!Ref X` and the like in their long form, {"Ref": "X"}."""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


class _Loader(yaml.SafeLoader):
    """The loader of YAML that knows the tags of CloudFormation."""


def _intrinsic(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    match node:
        case yaml.ScalarNode():
            value: Any = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            value = loader.construct_mapping(node, deep=True)
    return {name: value.split(".", 1) if tag == "GetAtt" else value}


_Loader.add_multi_constructor("!", _intrinsic)


def load(name: str) -> dict[str, Any]:
    """The template of that file name, parsed."""
    parsed: dict[str, Any] = yaml.load((HERE / name).read_text(), _Loader)  # noqa: S506  It is a SafeLoader.
    return parsed
