"""Where a study's files go, and how: whole or not at all, and never outside their folder."""

import io
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:   # matplotlib takes half a second to import, and the first numbers need none of it
    from analysis.figures.sheets import Plate


KINDS = ("svg", "png")   # of a figure's files


def default_folder(source: str, what: str = "fit") -> Path:
    """NAME-fit, or another word, in the working directory: nothing is written beside somebody else's data."""
    name = re.sub(r"[^\w.-]", "_", Path(source.rsplit("/", 1)[-1]).name.split(".")[0])[:100] or "table"
    return Path(f"{name}-{what}")


def prepared(folder: Path) -> Path:
    """The folder, made and known to be writable before hours are spent. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def write_whole(path: Path, content: bytes) -> Path:
    """A reader of path sees the old content or the new, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for its owner alone; reports are for showing.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def cleared(folder: Path, names: set[str]) -> None:
    """Files of these names gone: figures of an earlier run that this one has no results for."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def rendered(plate: "Plate", kind: str) -> bytes:
    """A figure as svg or png, the same bytes for the same figure."""
    buffer = io.BytesIO()
    plate.figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def write_plates(folder: Path, plates: "Iterable[Plate]") -> list[Path]:
    """Each figure in both kinds. Raises OSError."""
    return [write_whole(folder / f"{plate.name}.{kind}", rendered(plate, kind)) for plate in plates for kind in KINDS]
