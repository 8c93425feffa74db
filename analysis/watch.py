"""Watch a sweep while it runs: python analysis/watch.py results.parquet

Serves a page on this machine alone (or writes one): the grid's places done, begun, failed and to come, the loss so far, the
frontier and the exponents as they come. Reads the sweep's files, and nothing else of it.
"""

import argparse
import os
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python analysis/watch.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("table", type=Path, metavar="TABLE", help="the sweep's --out, say results.parquet")
    parser.add_argument("--out", type=Path, metavar="PAGE", help="write one page there and end, in place of serving it")
    parser.add_argument("--port", type=int, default=0, help="on loopback (default: any that is free)")
    parser.add_argument("--every", type=float, default=10.0, metavar="S", help="seconds between two looks (10)")
    args = parser.parse_args(argv)
    if not (args.every >= 1 and 0 <= args.port < 65_536):
        parser.error("--every takes 1 second or more, --port 0 to 65535")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if hasattr(os, "nice"):
        os.nice(10)   # a sweep beside it comes first
    from analysis.report.output import write_whole
    from analysis.table.files import BadTable
    from analysis.table.formats.sheet import path_text
    from analysis.watching.server import Watch, served

    watch = Watch(args.table, every=None if args.out else args.every)
    try:
        if args.out is None:
            served(watch, port=args.port, tell=lambda address: print(
                f"watching {path_text(args.table)} at {address} (Ctrl-C ends it)", flush=True))
        else:
            write_whole(args.out, watch.look().encode())
            print(path_text(args.out))
    except BadTable as why:
        print(f"watch.py: {why}", file=sys.stderr)
        return 2
    except OSError as why:
        print(f"watch.py: {why.strerror or why}: give another {'--out' if args.out else '--port'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
