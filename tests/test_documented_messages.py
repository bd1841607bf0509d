"""docs/troubleshooting.md quotes messages as the code prints them."""

import ast
import re

from tests.conftest import ROOT

OTHERS = {"running scripts is disabled on this system"}  # PowerShell's own
# What stands for a name or a value in a quoted message.
VALUE = re.compile(r"\.\.\.|\b\w+\.py\b|\b\d[\d.]*%?(?: to \d[\d.]*)?|^[\w.]+(?=: )|--[a-z-]+|\bHEIC\b")


def list_messages() -> list[str]:
    """The toolkit's texts: of an f-string the constant parts, with a null character for each value."""
    others = (*ROOT.glob("*.ps1"), *ROOT.glob("web/site/*.html"), *ROOT.glob("web/site/*.js"))
    texts = [path.read_text(encoding="utf-8") for path in others]
    for path in (*ROOT.glob("*.py"), *ROOT.glob("kanjinet/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in parts))
    return texts


def test_quoted_messages_are_printed() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    symptoms = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    quoted = [message for symptom in symptoms for message in re.findall("`([^`]+ [^`]+)`", symptom)]
    assert len(quoted) > 10
    messages = list_messages()

    def is_printed(message: str) -> bool:
        pattern = re.compile(r"[\0\w.%-]*".join(re.escape(part) for part in VALUE.split(message)))
        return any(pattern.search(each) for each in messages)

    found = {each for each in quoted if is_printed(each) or all(map(is_printed, each.split(": ")))}  # problem: remedy
    assert set(quoted) - found == OTHERS
