"""Merge the tables of several drivers, each of which ran a shard of the grid, into one.

    python -m sweeps.merge results.parquet shard-1.parquet shard-2.parquet ...

The shards' sweeps may still run; a later merge into the same table brings what came since.
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sweeps.merge", description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the table to make or to add to: a path, s3://… or gs://…")
    parser.add_argument("shard", nargs="+", help="tables to merge; their tuning trials and failures come along")
    args = parser.parse_args(argv)
    from sweeps.store.files import StoreError  # after parsing: Arrow takes a while to import
    from sweeps.store.merging import merge
    try:
        print(merge(args.out, args.shard))
    except StoreError as error:
        print(f"merge: {error}", file=sys.stderr)
        sys.exit(2)
    print(args.out)


if __name__ == "__main__":
    main()
