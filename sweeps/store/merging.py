"""Several tables of one task made into one: each driver's shard of a grid, say."""

from collections.abc import Mapping
from typing import NamedTuple

from sweeps.store.files import StoreError
from sweeps.store.recovery import Snapshot, place_of
from sweeps.store.rows import Kind, NotOurTable, TableKind, differing, kind_of
from sweeps.store.store import Store, open_store, read_store
from trainers.mnist.cell import Result


def merge(out: str, shards: list[str]) -> str:
    """Bring every row of the shards into out, and say how many there are now.

    Raises StoreError, before anything is written, where a shard is no table, where the shards or
    out differ in columns or fingerprint, and where two of them hold one identity with rows that
    differ in more than timings.
    """
    if place_of(out).path in [place_of(shard).path for shard in shards]:
        raise StoreError(f"{out} is both the result and a part: give another name for the result")
    kind = _kind(shards[0])
    found = {shard: read_store(shard, task=kind) for shard in shards}
    fingerprint = _only_fingerprint(found)
    results = _union({shard: part.results for shard, part in found.items()})
    tuning = _union({shard: part.tuning for shard, part in found.items()})
    failures = sorted((f for part in found.values() for f in part.failures.values()), key=lambda f: f.time)
    provenance = {"command": ["sweeps.merge", out, *shards],
                  "merged": {shard: part.runs for shard, part in found.items()}}
    with open_store(out, provenance=provenance, fingerprint=fingerprint, task=kind) as store:
        _union({out: store.results, "the shards": results})
        _union({out: store.tuning, "the shards": tuning})
        for row in results.values():
            store.append(row)
        for row in tuning.values():
            store.append_tuning(row)
        for failure in failures:
            store.fail(failure)
        return _summary(store, found)


def _kind(shard: str) -> Kind:
    """Of the shard's own task: tables of every task can be merged, if all hold the same columns."""
    place = place_of(shard)
    data = place.read(place.path)
    if data is None:
        raise StoreError(f"{shard} does not exist: give the table of a sweep")
    try:
        return kind_of(data, known=[TableKind(Result, "mnist")])
    except NotOurTable as error:
        raise StoreError(f"{shard} is no sweep's table: {error}") from error


def _only_fingerprint(found: dict[str, Snapshot]) -> str | None:
    shards = {part.fingerprint: shard for shard, part in found.items() if part.fingerprint is not None}
    if len(shards) > 1:
        (_, one), (_, other), *_ = shards.items()
        raise StoreError(f"{one} and {other} come from different versions of the training code or data: "
                         "merge only tables of one version")
    return next(iter(shards), None)


def _union(parts: dict[str, Mapping[NamedTuple, object]]) -> dict[NamedTuple, object]:
    """All rows, equal ones once. Raises StoreError where two of one identity differ."""
    rows: dict[NamedTuple, object] = {}
    source: dict[NamedTuple, str] = {}
    for name, part in parts.items():
        for key, row in part.items():
            names = differing(rows.setdefault(key, row), row)
            if names:
                raise StoreError(f"{key} is both in {source[key]} and in {name} and differs in {', '.join(names)}: "
                                 "the same run must give the same row, so leave one of the two tables out")
            source.setdefault(key, name)
    return rows


def _summary(store: Store, found: dict[str, Snapshot]) -> str:
    notices = [f"{shard}: {notice}\n" for shard, part in found.items() for notice in part.notices]
    return "".join(notices) + (f"{len(found)} tables merged: now {len(store.results)} results, "
                               f"{len(store.tuning)} tuning trials, {len(store.failures)} failures")
