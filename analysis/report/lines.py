"""A table of text, aligned for a terminal."""

from dataclasses import dataclass
from itertools import zip_longest
from textwrap import wrap

WIDTH = 100      # columns of a terminal that most have
NARROWEST = 6    # of a table's column, however many there are


@dataclass(frozen=True)
class Lines:
    """A table of text: the first column names the rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""   # what its words mean, for the report

    def __str__(self) -> str:
        """Aligned for a terminal."""
        return self.aligned(WIDTH)

    def aligned(self, width: int) -> str:
        """Rows of text; the widest columns are wrapped until a row fits the width."""
        cells = [self.header, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > NARROWEST:
            widths[widths.index(max(widths))] -= 1
        lines = []
        for row in cells:
            wrapped = [_wrapped(text, w) for text, w in zip(row, widths, strict=True)]
            lines += ["  ".join(text.ljust(w) for text, w in zip(parts, widths, strict=True)).rstrip()
                      for parts in zip_longest(*wrapped, fillvalue="")]
        return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """The text itself where it fits, indented as it is."""
    return [text] if len(text) <= width else wrap(text, width) or [""]
