"""A driver's way to Ray: a local one of its own, or a cluster that is there already.

Everything that can be wrong with an address, a version or a request for resources is
said here, in one line, before the first trial: Ray itself would wait in silence.
"""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.utils import check_version_info, compute_version_info

from sweeps.running.cluster import Cluster, describe
from sweeps.running.temp_folder import PREFIX, temp_folder

PACKAGES = ("trainers", "sweeps", "analysis")

# Data travels through the object store, once a node; tables and caches not at all.
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.gz", "*.parquet", "*.journal", "*.lock")

# A socket's path may have 107 characters, and Ray puts 70 of them below its temp folder.
_LONGEST_TEMP = 36

# Runs in a process of its own: Ray's client waits 40 s for a port that isn't a head's, or aborts.
_PROBE = """
import json, sys
from ray._raylet import GcsClient
gcs = GcsClient(address=sys.argv[1])
metadata = json.loads(gcs.internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=10))
metadata["node_ids"] = [node.node_id.hex() for node in gcs.get_all_node_info(timeout=10).values()]
print(json.dumps(metadata))
"""


class ConnectError(ValueError):
    """No Ray to run on: one line that says why, and how to mend it."""


@contextmanager
def connect(address: str | None, *, cpus: int | None = None, cpus_per_trial: float = 1.0,
            gpus_per_trial: float = 0.0, packages: Sequence[str] = PACKAGES,
            timeout_s: float = 20.0) -> Iterator[Cluster]:
    """Ray for the length of a `with`: a local one (None), or the cluster at "auto" or host:port.

    A local Ray has `cpus` slots (None: every core), asks for its user's token and leaves nothing
    behind. A cluster stays up; its workers import the driver's own version of `packages`, whatever
    is installed there. Raises ConnectError.
    """
    if ray.is_initialized():
        raise ConnectError("this process is connected to a Ray already: leave that one first (ray.shutdown())")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with ExitStack() as stack:
        head = None if address is None else _find_head(address, timeout_s)
        folder = stack.enter_context(temp_folder(_short_parent()))
        where = {"address": head} if head else _own_ray(cpus, folder)
        if head is None:
            stack.enter_context(_on_loopback())
        runtime_env = _runtime_env(packages, folder / "code")
        stack.callback(_leave)
        ray_worker.print_to_stdstream = _unprinted
        try:
            with _sigterm_kept():
                ray.init(**where, runtime_env=runtime_env, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises bare Exceptions, too, where one of its daemons is slow to start
            what = f"the cluster at {head} can't be joined" if head else "no Ray could be started here"
            raise ConnectError(f"{what}: {_one_line(error)}") from error
        cluster = describe(head)
        _check_request(cluster, cpus_per_trial, gpus_per_trial)
        yield cluster


def _find_head(address: str, timeout_s: float) -> str:
    """host:port of a head that this process can drive: it answers, is of our versions, has a node here."""
    if "://" in address:
        raise ConnectError(f"{address}: give the head's host:port (6379 unless it was changed) or auto; from a "
                           "laptop, submit instead: ray job submit --address http://HEAD:8265 --working-dir . -- ...")
    try:
        head = services.canonicalize_bootstrap_address(address)
    except ConnectionError:
        raise ConnectError("no Ray is running on this machine: start one with `ray start --head`, name the "
                           "head's host:port, or leave --address out to run on this machine alone") from None
    except (ValueError, OSError) as error:
        raise ConnectError(f"{address} is no address: give host:port or auto ({_one_line(error)})") from None
    host, _, port = head.rpartition(":")
    if not (port.isdecimal() and 0 < int(port) < 2**16):
        raise ConnectError(f"{address} is no address: give host:port or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=min(timeout_s, 5)).close()
    except OSError as error:
        raise ConnectError(f"nothing answers at {head} ({_one_line(error)}): is the head up, and reachable "
                           "from here? see `ray status` on the head") from None
    if address == "auto":  # as Ray does: to an address that was typed in, the token goes only where it's asked to
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    _check_versions(head, _probe(head, timeout_s))
    return head


def _probe(head: str, timeout_s: float) -> dict:
    """The head's own account of itself: ray_version, python_version, node_ids."""
    try:
        answer = subprocess.run([sys.executable, "-c", _PROBE, head], capture_output=True, text=True,
                                timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ConnectError(f"what listens at {head} is no Ray head: give the head's own port (6379 unless it was "
                           "changed), not the dashboard's (8265) or the client's (10001)") from None
    if answer.returncode == 0:
        return json.loads(answer.stdout.splitlines()[-1])
    reason = _one_line((answer.stderr.strip().splitlines() or ["it said nothing"])[-1])
    if "auth" in answer.stderr.lower() and "token" in answer.stderr.lower():
        raise ConnectError(f"the cluster at {head} wants its token: set RAY_AUTH_MODE=token, and have the head's "
                           "~/.ray/auth_token here, too")
    raise ConnectError(f"the Ray head at {head} did not answer: {reason}")


def _check_versions(head: str, theirs: dict) -> None:
    ours = compute_version_info()
    try:
        check_version_info(theirs, head)
    except RuntimeError:
        raise ConnectError(f"the cluster at {head} runs Ray {theirs['ray_version']} on Python "
                           f"{theirs['python_version']}, this process Ray {ours[0]} on Python {ours[1]}: "
                           "install the cluster's versions here, or ours there") from None
    if not set(services.find_node_ids()) & set(theirs["node_ids"]):
        raise ConnectError(f"this machine is no node of the cluster at {head}: run on the head, or submit: "
                           "ray job submit --address http://HEAD:8265 --working-dir . -- python ...")


def _check_request(cluster: Cluster, cpus: float, gpus: float) -> None:
    if cluster.max_slots(cpus=cpus, gpus=gpus) > 0:
        return
    where = "the cluster" if cluster.address else "this machine"
    if gpus and not any(host.gpus for host in (*cluster.hosts, *cluster.coming)):
        raise ConnectError(f"{gpus:g} GPU a trial, but {where} has none ({cluster.nodes} nodes, {cluster.cpus:g} CPUs): "
                           "leave --gpus-per-trial out, or join a cluster that has GPUs")
    most = ", ".join(f"{host.cpus:g} CPUs + {host.gpus:g} GPUs" for host in sorted(set(cluster.hosts), key=str))
    raise ConnectError(f"no node holds a trial of {cpus:g} CPUs + {gpus:g} GPUs (nodes: {most}): ask for less a trial")


def _own_ray(cpus: int | None, temp: Path) -> dict:
    """Arguments of a local Ray that a stranger can neither reach nor be mistaken for."""
    return {"address": "local", "num_cpus": cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(temp),
            # Ray's own memory monitor ends the whole sweep when it kills one trial; the kernel's kill costs one retry
            "_system_config": {"memory_monitor_refresh_ms": 0}}


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have Ray listen on 127.0.0.1 alone, as it does where it holds clusters to be impossible (macOS, Windows).

    Elsewhere it takes an address that others can reach, whatever it is told, and listens on all interfaces.
    The variable is for its daemons; this process has read it already.
    """
    name, clusters = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    told = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        del os.environ[name]
        if told is not None:
            os.environ[name] = told


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray's start puts a handler of its own on SIGTERM, one that ends the process with a status of Ray's choice."""
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as end:  # of that handler, which ends with the signal's number, or of another of Ray's with 1
        raise KeyboardInterrupt from end
    finally:
        _handle_sigterm(ours)


def _handle_sigterm(handler: object) -> None:
    # Else Ray's is the better one: the default would leave its daemons to find out for themselves.
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _leave() -> None:
    """ray.shutdown, whose core gives SIGTERM back to the kernel behind Python's back: the next one would end this
    process before its table is closed. Ours comes back before Ray waits for its daemons, which takes a second."""
    ours, node = signal.getsignal(signal.SIGTERM), ray_worker._global_node
    if node is not None:
        end = node.kill_all_processes

        def end_heard(*args: object, **options: object) -> None:
            _handle_sigterm(ours)
            end(*args, **options)

        node.kill_all_processes = end_heard
    try:
        ray.shutdown()
    finally:
        _handle_sigterm(ours)


def _runtime_env(packages: Sequence[str], folder: Path) -> dict:
    """Ships the driver's version of the packages, unless a submitted job brought them along."""
    # Sets are walked in the order of hashes, which Python else draws anew for every process.
    always = {"env_vars": {"PYTHONHASHSEED": "0"}}
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if "working_dir" in job:
        return always
    for package in packages:
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise ConnectError(f"{package} is no package that this Python can import: pip install -e . in the checkout")
        shutil.copytree(found.submodule_search_locations[0], folder / package, ignore=_NOT_CODE)
    return {"working_dir": str(folder), **always}


def _short_parent() -> Path:
    """Where the driver's folder goes: the temp folder, unless its path leaves too little for Ray's."""
    parent = Path(tempfile.gettempdir())
    return parent if len(str(parent)) <= _LONGEST_TEMP - len(PREFIX) - 8 else Path("/tmp")


def _unprinted(*_: object, **__: object) -> None:
    """In place of Ray's own printer, which takes ten lines for a worker's death: the dispatcher tells it in one."""


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
