"""Write producer/index.py into observerd.yaml, as its inline code: python cloudformation/embed.py."""

import re
from pathlib import Path
from textwrap import indent

HERE = Path(__file__).parent
TEMPLATE = HERE / "observerd.yaml"
SOURCE = HERE / "producer" / "index.py"
# A block of YAML: its first line, then all that is blank or stands further in.
INLINE = re.compile(r"^(?P<opening> {8}ZipFile: \|.*\n)(?: {10}.*\n|\n)+", re.MULTILINE)


def embedded(template: str, source: str) -> str:
    """The template with the source as its inline code."""
    code = indent(source, " " * 10)
    return INLINE.sub(lambda found: f"{found['opening']}{code}\n", template)


if __name__ == "__main__":
    TEMPLATE.write_text(embedded(TEMPLATE.read_text(), SOURCE.read_text()))
