"""What the blocks of code in the pages print: `python docs/_outputs.py docs/tour.md` writes it.

Each block runs by itself. What it prints stands below it in a block of text, which the tests hold.
"""

import contextlib
import io
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def run(code, name):
    """Return what a block of code prints, run in an empty namespace."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def with_output(page):
    """Return the text of a page, each block of code followed by what it prints."""

    def fill(match):
        found = run(match[1], page.name).rstrip()
        return f"```python\n{match[1]}```\n" + (f"```text\n{found}\n```\n" if found else "")

    return BLOCK.sub(fill, page.read_text())


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_output(path))
