"""The store in an object store: a mock S3 on loopback, spoken to as the real one would be."""

import io
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from worlds.store_cases import PROVENANCE, TASK, failure, result, sweep

from sweeps.store import bucket as objects
from sweeps.store.store import StoreError, open_store, read_store

server = pytest.importorskip("moto.server", reason="needs moto[server], a mock S3")
boto3 = pytest.importorskip("boto3", reason="needs boto3, which comes with moto[server]")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def endpoint():
    mock = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    mock.start()
    yield "http://{}:{}".format(*mock.get_host_and_port())
    mock.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch):
    """A bucket of its own, reached as on a user's machine: by the environment."""
    for name, value in dict(AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                            AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true").items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint)
    name = f"b{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return Bucket(name, client)


class Bucket:
    def __init__(self, name, client):
        self.name, self.client = name, client

    def keys(self):
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(item["Key"] for item in found if not item["Key"].endswith("/"))

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def table(self, key):
        return pq.read_table(io.BytesIO(self.get(key)))


@pytest.fixture
def hasty(monkeypatch):
    """Leases that are renewed, and missed, ten times as fast."""
    monkeypatch.setattr(objects, "BEAT_SECONDS", 0.5)
    monkeypatch.setattr(objects, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(objects.ObjectPlace, "sync_seconds", 0.2)


def opened(uri, **options):
    return open_store(uri, **{"task": TASK, "provenance": PROVENANCE, "fingerprint": "f"} | options)


def read(uri):
    return read_store(uri, task=TASK)


@pytest.mark.parametrize("address", ["{uri}", "{uri}?endpoint_override={endpoint}&scheme=http&region=us-east-1"])
def test_a_sweep_in_a_bucket_leaves_the_files_of_a_local_one(bucket, hasty, endpoint, tmp_path, monkeypatch, address):
    uri = address.format(uri=f"s3://{bucket.name}/runs/results.parquet", endpoint=endpoint.removeprefix("http://"))
    if "?" in address:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
    with opened(uri) as keeping:
        assert bucket.table("runs/results.parquet").num_rows == 0
        sweep(keeping, 100)
    with opened(tmp_path / "results.parquet") as keeping:
        sweep(keeping, 100)
    names = [f"results{sheet}.parquet" for sheet in ("", ".failures", ".tuning")]
    assert bucket.keys() == sorted(f"runs/{name}" for name in names)
    for name in names:
        assert bucket.get(f"runs/{name}") == (tmp_path / name).read_bytes()
    with opened(uri) as keeping:
        assert len(keeping.results) == 100 and len(keeping.tuning) == 34


def test_rows_reach_the_bucket_while_the_sweep_runs_and_outlive_sigkill(bucket, hasty):
    """Rows are acknowledged within two syncs of coming in, not when the table is folded."""
    uri, dice, told = f"s3://{bucket.name}/results.parquet", random.Random(1), set()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-m", "worlds.store_cases", uri, "0.02"], env=environment,
                                   stdout=subprocess.PIPE, text=True)
        seen = []
        for line in process.stdout:
            seen.append((time.monotonic(), line))
            if line != "open\n" and seen[-1][0] - seen[0][0] > 6 + dice.uniform(0, 1):
                process.send_signal(signal.SIGKILL)
                break
        process.communicate()
        told |= {int(line) for when, line in seen if line != "open\n" and seen[-1][0] - when > 4}
        rows = list(read(uri).results.values())
        assert told and {result(i) for i in told} <= set(rows)
        assert sorted(row.seed for row in rows) == list(range(len(rows)))
    with opened(uri) as keeping:   # the dead process's lease is no obstacle
        keeping.fail(failure(10_000))
    assert bucket.table("results.parquet").num_rows == len(rows)
    assert not [key for key in bucket.keys() if "journal" in key or "lock" in key]


def test_a_second_sweep_is_refused_while_the_lease_is_renewed(bucket, hasty):
    uri = f"s3://{bucket.name}/results.parquet"
    with opened(uri) as keeping:
        keeping.append(result(1))
        with pytest.raises(StoreError, match=f"process {os.getpid()} on "):
            opened(uri)
        keeping.append(result(2))
    assert bucket.table("results.parquet").num_rows == 2


def another_hosts_lease(bucket, key):
    lease = objects.Lease(owner=objects.Owner(pid=1, host="elsewhere", started="2020", command="a sweep"),
                          token="another", domain="another", beat=7)
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=objects._lease_bytes(lease))


def test_the_lease_of_a_host_that_is_gone_is_taken_over(bucket, hasty):
    another_hosts_lease(bucket, "results.parquet.lock")
    with opened(f"s3://{bucket.name}/results.parquet") as keeping:
        keeping.append(result(1))
    assert bucket.table("results.parquet").num_rows == 1


def test_a_sweep_that_lost_its_lease_writes_nothing_more(bucket, hasty):
    """A suspended laptop wakes up after another driver took over: its rows must not replace the other's."""
    uri = f"s3://{bucket.name}/results.parquet"
    with pytest.raises(StoreError, match="taken over by another sweep: process 1 on elsewhere"):
        with opened(uri) as keeping:
            another_hosts_lease(bucket, "results.parquet.lock")
            before = bucket.get("results.parquet")
            keeping.append(result(1))
            keeping._keeper.join(timeout=30)
            keeping.append(result(2))
    assert bucket.get("results.parquet") == before
    assert b"another" in bucket.get("results.parquet.lock")


def test_an_outage_is_waited_out(bucket, hasty, monkeypatch):
    """A minute without network must not end a sweep of days."""
    uri, real = f"s3://{bucket.name}/results.parquet", objects.ObjectPlace._put
    with opened(uri) as keeping:
        with monkeypatch.context() as patch:
            def fail(place, path, data):
                with objects._told(uri):
                    raise OSError("AWS Error NETWORK_CONNECTION")
            patch.setattr(objects.ObjectPlace, "_put", fail)
            for i in range(200):
                keeping.append(result(i))
            time.sleep(0.6)
            assert not read(uri).results
            keeping.append(result(200))
        assert objects.ObjectPlace._put is real
        keeping.flush()
        assert len(read(uri).results) == 201
    assert bucket.table("results.parquet").num_rows == 201


def test_what_is_put_for_a_row_is_bounded(bucket, hasty, monkeypatch):
    """A journal of one object, put anew every two seconds, would cost O(n^2) bytes."""
    put, real = [], objects.ObjectPlace._put
    monkeypatch.setattr(objects.ObjectPlace, "_put",
                        lambda place, path, data: (put.append((path, len(data))), real(place, path, data)))
    with opened(f"s3://{bucket.name}/results.parquet") as keeping:
        for i in range(400):
            keeping.append(result(i))
            if i % 5 == 0:
                keeping.flush()
    assert max(size for path, size in put if ".journal/" in path) <= objects.SEGMENT_BYTES + 2_000


def test_ctrl_c_in_the_middle_of_an_upload_leaves_a_whole_table(bucket, hasty):
    """A stream that an exception leaves is closed: it would put an empty object over the table."""
    dice, interrupted = random.Random(3), 0

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with opened(f"s3://{bucket.name}/results.parquet") as keeping:
            for i in range(60):
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.001, 0.02))
                    keeping.append(result(i))
                    keeping.compact()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupted += 1
                assert bucket.table("results.parquet").num_rows <= i + 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupted > 10
    assert set(read(f"s3://{bucket.name}/results.parquet").results.values()) == {result(i) for i in range(60)}


@pytest.mark.parametrize("key", ["absent-bucket/results.parquet", "{bucket}/table.csv"])
def test_what_cannot_be_used_is_one_line(bucket, hasty, key):
    bucket.client.put_object(Bucket=bucket.name, Key="table.csv", Body=b"width,seed\n1,2\n")
    with pytest.raises(StoreError) as refusal:
        opened("s3://" + key.format(bucket=bucket.name))
    assert "\n" not in str(refusal.value) and "--out" in str(refusal.value)
    assert bucket.get("table.csv") == b"width,seed\n1,2\n"
    assert bucket.keys() == ["table.csv"]


def test_shards_in_a_bucket_merge_into_a_local_table(bucket, hasty, tmp_path):
    for k in range(2):
        with opened(f"s3://{bucket.name}/{k}.parquet") as keeping:
            keeping.append(result(k))
    run = subprocess.run([sys.executable, "-m", "sweeps.merge", str(tmp_path / "all.parquet"),
                          f"s3://{bucket.name}/0.parquet", f"s3://{bucket.name}/1.parquet"],
                         cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert pq.read_table(tmp_path / "all.parquet").num_rows == 2
