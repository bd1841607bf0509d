"""The pieces of a page that needs nothing else: style, tables, images within the page; well-formed as XML too."""

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kanjinet.evaluation.charts import STYLE as CHART_STYLE
from kanjinet.evaluation.charts import Chart, draw_key
from kanjinet.evaluation.image_grid import encode_png
from kanjinet.storage.files import replace_on_success

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = (
    """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --quiet: #5d636a; --line: #dadde1; --panel: #f5f6f8;
  --right: #1a7f37; --wrong: #b8202a; --s0: #0b62c4; --s1: #b4540a; --s2: #1a7f37; --s3: #8e3fa8; --s4: #9b1c4a;
  --s5: #4b5563; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e6e8ea; --quiet: #9aa1a9; --line: #363b41; --panel: #1f2226; --right: #4cc26a;
    --wrong: #ff7b80; --s0: #6db3ff; --s1: #f2a35e; --s2: #4cc26a; --s3: #d29bea; --s4: #ff8fb4; --s5: #aab4c0; }
  .cell img { filter: invert(1); }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 70rem;
  margin: 0 auto; padding: 1rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.5rem; border-top: 1px solid var(--line); padding-top: 1.25rem;
  overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 0.25rem; overflow-wrap: anywhere; }
p { max-width: 48rem; margin: 0.4rem 0; }
figcaption, caption, summary, .quiet { color: var(--quiet); font-size: 0.875rem; }
figure { margin: 0.5rem 0; min-width: 0; }
.note { background: var(--panel); border-left: 4px solid var(--s1); padding: 0.5rem 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.75rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.25rem; }
th, td { text-align: right; padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { font-weight: 600; }
thead th { white-space: normal; vertical-align: bottom; }
.left, th:first-child { text-align: left; }
.models { font-size: 0.9375rem; }
.models tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
td small { display: block; color: var(--quiet); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0.5rem 2rem; }
.legend { list-style: none; padding: 0; margin: 0.25rem 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem;
  font-size: 0.875rem; }
.cells { display: flex; flex-wrap: wrap; gap: 0.4rem; }
td .cells { flex-wrap: nowrap; }
.cell { margin: 0; width: 66px; text-align: center; }
.cell img { display: block; width: 64px; height: 64px; border: 1px solid var(--line); }
.cell figcaption { line-height: 1.35; white-space: nowrap; }
.kanji { font-size: 1.25em; }
.is-right { color: var(--right); }
.is-wrong { color: var(--wrong); }
"""
    + CHART_STYLE
)


def write_page(path: Path, title: str, sections: Sequence[str]) -> None:
    """Write a page of a title, already escaped, and sections of markup."""
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )
    with replace_on_success(path) as file:
        file.write(page.encode("utf-8"))


def make_text(content: str) -> str:
    """Any string, such as a file's name, as text or as an attribute's value of the page."""
    return escape(_NOT_IN_XML.sub("\ufffd", content))


def make_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    """A table of markup; the first cell of each row names the row, the columns in `left` are not numbers."""
    names = "".join(f'<th scope="col"{_align(column, left)}>{name}</th>' for column, name in enumerate(head))
    lines = []
    for row in rows:
        cells = "".join(f"<td{_align(column, left)}>{cell}</td>" for column, cell in enumerate(row[1:], start=1))
        lines.append(f'<tr><th scope="row">{row[0]}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _align(column: int, left: Sequence[int]) -> str:
    return ' class="left"' if column in left else ""


def make_figure(chart: Chart, legend: Sequence[tuple[int, str]], caption: str, table: str = "") -> str:
    """A chart with its legend (series, name), a caption, and the same figures as a table to open."""
    entries = "".join(f"<li>{draw_key(series)} {name}</li>" for series, name in legend)
    keys = f'<ul class="legend">{entries}</ul>' if entries else ""
    figures = f"<details><summary>The same in figures</summary>{table}</details>" if table else ""
    return f"<figure>{chart.to_svg()}{keys}<figcaption>{caption}</figcaption>{figures}</figure>"


def make_cell(image: npt.NDArray[np.uint8], words: str, caption: str = "", origin: str = "") -> str:
    """An image (S, S) uint8, bright ink on 0, as dark ink on white.

    Args:
        image: the image.
        words: what it shows, for those who do not see it; text.
        caption: below it; markup.
        origin: shown while pointed at; text.
    """
    data = base64.b64encode(encode_png(255 - image)).decode("ascii")
    title = f' title="{make_text(origin)}"' if origin else ""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure class="cell"{title}><img src="data:image/png;base64,{data}" alt="{make_text(words)}" '
        f'width="64" height="64" loading="lazy"/>{below}</figure>'
    )
