"""A driver's way to Ray, against real Ray processes: one node, several, none, and another version's."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from worlds.sweep_cases import real_cluster

from sweeps.running.cluster import Cluster, Host, coming_hosts, describe
from sweeps.running.connect import ConnectError, connect
from sweeps.running.temp_folder import remove

ROOT = Path(__file__).resolve().parents[2]


# ---- capacity: pure ----

@pytest.mark.parametrize(("host", "cpus", "gpus", "slots"), [
    (Host(8, 1), 1, 0.2, 5),
    (Host(4, 1), 1, 0.2, 4),        # CPUs run out first
    (Host(8, 2), 1, 0.4, 4),        # two on each GPU, not five on two
    (Host(8, 1), 0.5, 1 / 3, 3),    # three thirds make a whole
    (Host(8, 1), 1, 0, 8),
    (Host(0, 0), 1, 0, 0),          # the head of a cloud cluster
    (Host(64, 8), 4, 2, 4),
    (Host(8, 0), 1, 1, 0),
])
def test_slots_of_a_host(host, cpus, gpus, slots):
    assert host.slots(cpus=cpus, gpus=gpus) == slots


@given(gpus=st.integers(1, 8), share=st.integers(1, 40))
def test_a_gpu_cut_in_equal_shares_holds_as_many_trials_as_shares(gpus, share):
    """Catches 0.1 x 10 != 1 in floating point."""
    assert Host(10_000, gpus).slots(cpus=1, gpus=1 / share) == gpus * share


def ray_up(**workers: tuple[int, dict]) -> dict:
    types = {name: {"max_workers": most, "resources": resources} for name, (most, resources) in workers.items()}
    return {"max_workers": 4, "head_node_type": "head",
            "available_node_types": {"head": {"resources": {"CPU": 0}, "max_workers": 0}, **types}}


def test_nodes_to_come_are_the_allowed_less_those_alive():
    head, gpu, cpu = Host(0, 0), Host(8, 1), Host(16, 0)
    config = ray_up(gpu=(3, {"CPU": 8, "GPU": 1}))
    assert coming_hosts(config, [head]) == (gpu,) * 3
    assert coming_hosts(config, [head, gpu]) == (gpu,) * 2
    assert coming_hosts(config, [head, gpu, gpu, gpu]) == ()
    both = ray_up(gpu=(3, {"CPU": 8, "GPU": 1}), cpu=(9, {"CPU": 16}))
    assert coming_hosts(both, [head]) == (cpu, gpu, gpu, gpu), "max_workers of the whole cluster caps the sum"
    assert coming_hosts(ray_up(local=(4, {})), [head]) is None, "the shape of an on-premises worker is unknown"
    assert coming_hosts(ray_up(local=(4, {})), [cpu] * 5) == (), "and of no matter once all are there"


def test_a_cluster_that_may_grow_has_room_for_a_gpu_that_is_not_there_yet():
    cluster = Cluster("head:6379", (Host(0, 0),), (Host(8, 1), Host(8, 1)))
    assert (cluster.nodes, cluster.gpus, cluster.grows) == (1, 0, True)
    assert cluster.slots(cpus=1, gpus=0.5) == 0
    assert cluster.max_slots(cpus=1, gpus=0.5) == 4


# ---- addresses that lead nowhere ----

@pytest.mark.parametrize(("address", "says"), [
    ("ray://127.0.0.1:10001", "ray job submit"),
    ("http://127.0.0.1:8265", "ray job submit"),
    ("127.0.0.1", "host:port"),
    ("127.0.0.1:port", "127.0.0.1:port"),
    ("no-such-host.invalid:6379", "no-such-host.invalid"),
])
def test_an_address_of_the_wrong_kind_is_refused(address, says):
    with pytest.raises(ConnectError, match=says), connect(address):
        pass


def test_a_port_where_nothing_listens_is_refused_at_once():
    """Ray itself waits 40 s and more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match="nothing answers"), connect(f"127.0.0.1:{port}", timeout_s=1e9):
        pass


def test_a_port_of_another_kind_of_server_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.2", 0))  # Ray takes 127.0.0.1 for another of the machine's addresses
        other.listen()
        with pytest.raises(ConnectError, match="no Ray head"), connect("127.0.0.2:%d" % other.getsockname()[1],
                                                                       timeout_s=2):
            pass


def test_auto_where_no_ray_runs_is_refused(tmp_path):
    """In a process namespace of its own: on this machine somebody else's Ray may run."""
    script = "from sweeps.running.connect import connect\nwith connect('auto'): pass"
    inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a process namespace")
    ran = subprocess.run(inside, capture_output=True, text=True, cwd=ROOT,
                         env={**os.environ, "RAY_TMPDIR": str(tmp_path), "RAY_ADDRESS": ""})
    assert "no Ray is running on this machine" in ran.stderr.splitlines()[-1]


# ---- a Ray of our own ----

@pytest.fixture
def own_tmp():
    """A /tmp that no other driver on this machine uses; short, for a socket's path is."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


DRIVER = """
import json, os, sys
from sweeps.running.connect import connect
import ray, psutil   # the latter comes with Ray
with connect(None, cpus=2) as cluster:
    @ray.remote
    def where():
        import trainers.mnist.cell, sweeps.running.connect
        data = [name for _, _, names in os.walk(os.path.dirname(trainers.__file__)) for name in names if ".gz" in name]
        return trainers.mnist.cell.__file__, sweeps.running.connect.__file__, os.getcwd(), data
    found = ray.get(where.remote())
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = []
    for process in ours:
        try:
            listening += [c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"]
        except psutil.NoSuchProcess:   # a spare worker, ending
            pass
    print(json.dumps([cluster.nodes, cluster.cpus, cluster.gpus, cluster.slots(cpus=1), listening, found]))
    {end}
"""


def drive(folder: Path, tmp: Path, end: str) -> subprocess.CompletedProcess:
    """A driver that starts in another folder, with a module there that would shadow the library's."""
    (folder / "queue.py").write_text("raise ImportError('the folder that a driver starts in shadows a library')")
    return subprocess.run([sys.executable, "-P", "-c", DRIVER.replace("{end}", end)], capture_output=True, text=True,
                          cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp)})


def test_a_local_ray_serves_quietly_and_leaves_nothing_behind_even_of_a_killed_one(tmp_path, own_tmp):
    killed = drive(tmp_path, own_tmp, "sys.stdout.flush(); os.kill(os.getpid(), 9)")
    assert killed.returncode == -9, killed.stderr
    assert list(own_tmp.glob("sll-*")), "the case is void if a killed driver leaves nothing"
    ran = drive(tmp_path, own_tmp, "pass")
    assert (ran.returncode, ran.stderr) == (0, "")
    nodes, cpus, gpus, slots, listening, (cell, connect_, folder, data) = json.loads(ran.stdout)
    assert (nodes, cpus, slots) == (1, 2, 2)
    assert Path(cell).is_relative_to(folder) and Path(connect_).is_relative_to(folder)
    assert len(listening) > 4 and {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}, "others can reach it"
    assert data == [], "data goes through the object store, not with the code"
    assert not list(own_tmp.glob("sll-*"))


def test_sigterm_is_heard_while_and_after_ray_leaves(own_tmp):
    """Ray's core gives the signal back to the kernel: a second one would kill a sweep that is closing its table."""
    script = ("import os, signal\nfrom sweeps.running.connect import connect\nheard = []\n"
              "signal.signal(signal.SIGTERM, lambda *_: heard.append(1))\n"
              "with connect(None, cpus=1):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
              "os.kill(os.getpid(), signal.SIGTERM)\nprint(len(heard))")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "TMPDIR": str(own_tmp)})
    assert (ran.returncode, ran.stdout) == (0, "2\n"), ran.stderr


# ---- a cluster ----

@pytest.fixture(scope="module")
def cluster():
    with real_cluster(num_cpus=0) as cluster:
        cluster.add_node(num_cpus=2, num_gpus=0)
        cluster.wait_for_nodes()
        yield cluster


@contextmanager
def one_node_more(cluster, **resources):
    node = cluster.add_node(**resources)
    cluster.wait_for_nodes()
    yield
    cluster.remove_node(node)


def test_a_cluster_is_joined_and_runs_the_drivers_version_on_every_node(cluster, tmp_path, monkeypatch):
    """The nodes have another version of the package on their path; the driver's must win, from any folder."""
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / "driven"
    stale.mkdir()
    (stale / "__init__.py").write_text("VERSION = 'the driver'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import driven
    with (one_node_more(cluster, num_cpus=2, num_gpus=1),
          connect(cluster.address, gpus_per_trial=0.5, packages=("trainers", "driven")) as joined):
        (stale / "__init__.py").write_text("VERSION = 'what lies about on the node'\n")
        assert (joined.nodes, joined.cpus, joined.gpus) == (3, 4, 1)
        assert joined.slots(cpus=1, gpus=0.5) == 2

        @ray.remote
        def version():
            import driven as there

            import trainers.mnist.cell
            return there.VERSION, ray.get_runtime_context().get_node_id(), trainers.mnist.cell.__file__
        workers = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        seen = ray.get([version.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in workers])
        assert {text for text, _, _ in seen} == {driven.VERSION} == {"the driver"}
        assert [node for _, node, _ in seen] == workers and len(workers) == 2
        assert not any(path.startswith(str(ROOT)) for _, _, path in seen)


def test_nodes_that_come_and_go_are_counted(cluster):
    with connect(cluster.address) as joined:
        with one_node_more(cluster, num_cpus=3):
            assert describe(joined.address).cpus == joined.cpus + 3
        assert describe(joined.address).cpus == joined.cpus


@pytest.mark.parametrize(("request_", "says"), [
    ({"gpus_per_trial": 0.2}, "has none.*--gpus-per-trial"),
    ({"cpus_per_trial": 3.0}, "no node holds a trial"),
])
def test_a_trial_that_no_node_can_hold_is_refused(cluster, request_, says):
    """Ray lets such a trial wait for ever, in silence."""
    with pytest.raises(ConnectError, match=says), connect(cluster.address, **request_):
        pass
    assert not ray.is_initialized()


def test_inside_a_submitted_job_the_jobs_own_folder_stays(cluster, monkeypatch):
    """Ray refuses a second working_dir, and the job's is what the user sent."""
    with connect(cluster.address):
        shipped = ray.get_runtime_context().runtime_env["working_dir"]
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"working_dir": shipped}}))
    with connect(cluster.address):
        assert ray.get_runtime_context().runtime_env["working_dir"] == shipped
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"env_vars": {"A": "1"}}}))
    with connect(cluster.address):
        assert set(ray.get_runtime_context().runtime_env) >= {"env_vars", "working_dir"}


def test_a_cluster_of_another_version_is_refused(cluster):
    from ray._raylet import GcsClient
    gcs = GcsClient(address=cluster.address)
    ours = gcs.internal_kv_get(b"CLUSTER_METADATA", b"cluster")
    try:
        for theirs in ({"ray_version": "2.40.0"}, {"python_version": "3.9.1"}):
            gcs.internal_kv_put(b"CLUSTER_METADATA", json.dumps({**json.loads(ours), **theirs}).encode(), True, b"cluster")
            with pytest.raises(ConnectError, match=next(iter(theirs.values()))), connect(cluster.address):
                pass
    finally:
        gcs.internal_kv_put(b"CLUSTER_METADATA", ours, True, b"cluster")


def test_a_folder_that_is_still_written_to_is_removed_or_left_with_its_lock(tmp_path):
    """What a dead driver's daemons write after the lock is gone, nobody would ever find."""
    folder, stop = tmp_path / "sll-x", threading.Event()
    (folder / "session").mkdir(parents=True)
    (folder / "driver.lock").touch()
    (folder / "link").symlink_to(tmp_path)

    def write() -> None:
        while not stop.wait(0.0005):
            with suppress(OSError):
                (folder / "session").mkdir(exist_ok=True)
                (folder / "session" / f"{time.monotonic_ns()}.log").touch()

    daemon = threading.Thread(target=write)
    daemon.start()
    try:
        for _ in range(20):
            if folder.exists():
                remove(folder, patience_s=0.0)
            assert not folder.exists() or (folder / "driver.lock").exists()
    finally:
        stop.set()
        daemon.join()
    if folder.exists():
        remove(folder, patience_s=3.0)
    assert not folder.exists() and tmp_path.exists()
