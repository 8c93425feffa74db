"""A real `ray up` of cluster/onprem.yaml: hosts of our own in network namespaces, sshd in each.

A head, two workers and the laptop that brings them up share a bridge that leads nowhere else.
Each has its own processes, home, /tmp, /run, shared memory and name, and none sees the checkout:
what a node runs came to it by rsync or through Ray.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
ONPREM = ROOT / "cluster" / "onprem.yaml"

# Of the block kept for documentation: nobody's, should a packet ever get out.
ADDRESS = {"laptop": "198.51.100.1", "head": "198.51.100.10", "w1": "198.51.100.11", "w2": "198.51.100.12"}

pytestmark = [pytest.mark.slow, pytest.mark.netns]


def missing() -> str:
    """Why no hosts can be made here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if tools := [tool for tool in ("ip", "unshare", "sshd", "ssh-keygen", "rsync") if shutil.which(tool) is None]:
        return f"needs {', '.join(tools)} (iproute2, util-linux, openssh-server, rsync)"
    if find_spec("aiohttp_cors") is None:
        return "needs ray[default], which the cluster installs"
    probe = f"lab-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return f"no network namespace may be made here: {made.stderr.strip()}" if made.returncode else ""


# Makes the inside of a host, then waits as its first process; all its mounts end with it. The environment comes back
# last: where the checkout, or this Python's environment, lies below the temp folder, the host's own /tmp has hidden it.
INIT = """
set -e
mount --make-rprivate /
hostname {name}
mount --bind {prefix} {folder}/venv
mount -t tmpfs tmpfs {root}
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/tmp /tmp
mkdir -p {prefix}
mount --bind {folder}/venv {prefix}
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir /run/sshd
export HOME={folder}/home
cd $HOME
exec {command}
"""

SSHD = """
Port 22
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/home/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
"""


@dataclass(frozen=True)
class Host:
    """A machine of ours: a network namespace and, while it is up, the first process of the rest."""

    name: str
    namespace: str
    folder: Path
    init: list[subprocess.Popen]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def boot(self) -> None:
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir(mode=0o1777)
        command = "sleep infinity" if self.name == "laptop" else f"{shutil.which('sshd')} -D -e -f {self.folder}/sshd_config"
        script = INIT.format(name=self.name, folder=self.folder, root=ROOT, prefix=sys.prefix, command=command)
        log = (self.folder / "log").open("a")
        self.init.append(subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork",
             "--kill-child", "--mount-proc", "bash", "-c", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def power_off(self) -> None:
        """Everything that runs on it dies at once, as when the plug is pulled."""
        for init in self.init:
            children = Path(f"/proc/{init.pid}/task/{init.pid}/children")
            for child in children.read_text().split() if children.exists() else []:
                os.kill(int(child), signal.SIGKILL)  # the namespace's process 1: the kernel ends the rest
            init.kill()
            init.wait()
        self.init.clear()

    def processes(self) -> list[str]:
        """Command lines of all that runs on the host."""
        [init] = self.init
        space = os.readlink(f"/proc/{init.pid}/ns/pid_for_children")
        lines = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "ns/pid") == space:
                    lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return lines


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def wire(hosts: list[Host], switch: str) -> None:
    """One bridge in a namespace of its own, a cable to each host, and a default route to nobody:
    without one Ray takes 127.0.0.1 for its address."""
    ip("netns", "add", switch)
    ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    ip("-n", switch, "link", "set", "bridge", "up")
    for host in hosts:
        ip("netns", "add", host.namespace)
        ip("-n", switch, "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        ip("-n", switch, "link", "set", host.name, "master", "bridge", "up")
        ip("-n", host.namespace, "link", "set", "lo", "up")
        ip("-n", host.namespace, "addr", "add", f"{ADDRESS[host.name]}/24", "dev", "eth0")
        ip("-n", host.namespace, "link", "set", "eth0", "up")
        ip("-n", host.namespace, "route", "add", "default", "via", "198.51.100.254")


def furnish(host: Host, key: Path) -> None:
    """A home with our key, and an environment that has every dependency and not the project."""
    for part in ("venv", "home/.ssh", "home/.config/pip"):
        (host.folder / part).mkdir(parents=True)
    lines = Path("/etc/passwd").read_text().splitlines()
    (host.folder / "passwd").write_text("\n".join(
        f"root:x:0:0:root:{host.home}:/bin/bash" if line.startswith("root:") else line for line in lines) + "\n")
    shutil.copy(f"{key}.pub", host.home / ".ssh" / "authorized_keys")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host.folder / "host_key")], check=True)
    (host.folder / "sshd_config").write_text(SSHD.format(address=ADDRESS[host.name], folder=host.folder))
    environment = host.home / "lab-env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    [site] = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    (environment / "bin" / "ray").write_text(
        f"#!{environment}/bin/python\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n")
    (environment / "bin" / "ray").chmod(0o755)
    # no registry is in reach: all that the project asks for must be there, and pip finds that it is
    (host.home / ".config/pip/pip.conf").write_text("[global]\nno-index = true\nno-build-isolation = false\n")


@dataclass(frozen=True)
class Site:
    """The hosts, and the laptop's way to them."""

    hosts: dict[str, Host]
    folder: Path

    def start(self, *command: str, out: Path | None = None) -> subprocess.Popen:
        """Runs a command on the laptop, in the staged checkout."""
        laptop = self.hosts["laptop"]
        [init] = laptop.init
        [child] = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()
        environment = {"HOME": str(laptop.home), "PATH": f"{laptop.home}/lab-env/bin:{os.environ['PATH']}",
                       "RAY_USAGE_STATS_ENABLED": "0", "TERM": "dumb", "LANG": "C.UTF-8"}
        stream = out.open("w") if out else subprocess.PIPE
        return subprocess.Popen(["nsenter", "--target", child, "--mount", "--net", "--uts", "--ipc", "--pid",
                                 f"--wd={laptop.home}/lab", *command], env=environment, text=True,
                                stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def run(self, *command: str, timeout: float = 600) -> str:
        process = self.start(*command)
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{shlex.join(command)}: no end in {timeout} s\n{process.communicate()[0]}") from None
        assert process.returncode == 0, f"{shlex.join(command)}: {process.returncode}\n{out}"
        return out

    def on_head(self, command: str, timeout: float = 600) -> str:
        return self.run("ray", "exec", "onprem.yaml", command, timeout=timeout)

    def all_up(self) -> bool:
        """Whether every host but the laptop is a node of the cluster; asks Ray, which is dear, only if that may be."""
        hosts = [host for host in self.hosts.values() if host.name != "laptop"]
        started = all(any("raylet/raylet" in line for line in host.processes()) for host in hosts)
        return started and self.nodes() == {ADDRESS[host.name] for host in hosts}

    def nodes(self) -> set[str]:
        """Addresses of the nodes alive."""
        ask = "import json, ray; ray.init('auto', logging_level='ERROR', log_to_driver=False); " \
              "print('NODES', json.dumps([n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']]))"
        return set(json.loads(last(self.on_head(f"python -c {shlex.quote(ask)}"), "NODES")))


def last(text: str, word: str) -> str:
    """What follows a word on the last line that begins with it."""
    return [line for line in text.splitlines() if line.startswith(word)][-1].removeprefix(word)


def wait_for(what: str, happened: Callable[[], bool], timeout: float) -> None:
    """The limits are for a machine that others use, too: ten times what it takes on an idle one."""
    deadline = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not in {timeout} s"
        time.sleep(5)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if reason := missing():
        pytest.skip(reason)
    tag = f"lab{os.getpid()}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/var/tmp")))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
        hosts = {name: Host(name, f"{tag}-{name}", folder / name, []) for name in ADDRESS}
        for namespace in (f"{tag}-switch", *(host.namespace for host in hosts.values())):
            stack.callback(subprocess.run, ["ip", "netns", "del", namespace], capture_output=True)
        wire(list(hosts.values()), f"{tag}-switch")
        for host in hosts.values():
            furnish(host, folder / "key")
            stack.callback(host.power_off)
            host.boot()
        stage(hosts["laptop"].home, folder / "key")
        yield Site(hosts, folder)


def stage(laptop: Path, key: Path) -> None:
    """The laptop's checkout, token and key; of the YAML only what it says is ours to DECIDE is changed."""
    lab = laptop / "lab"
    shutil.copytree(ROOT, lab, ignore=shutil.ignore_patterns(".*", "results", "__pycache__", "*.egg-info", "tests"))
    text = ONPREM.read_text()
    for there, here in {"192.0.2.10": ADDRESS["head"], "[192.0.2.11, 192.0.2.12]": f"[{ADDRESS['w1']}, {ADDRESS['w2']}]",
                        "ssh_user: lab": "ssh_user: root"}.items():
        assert there in text
        text = text.replace(there, here)
    (lab / "onprem.yaml").write_text(text)
    shutil.copy(key, laptop / ".ssh" / "id_ed25519")
    (laptop / ".ray").mkdir()
    (laptop / ".ray" / "auth_token").write_text("5" * 64)
    (laptop / ".ray" / "auth_token").chmod(0o600)


# What the workers of each node import: a task a node, bound to it, since Ray promises of a spread only that it tries.
WHENCE = """
import json
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from sweeps.running.connect import connect

with connect("auto") as cluster:
    @ray.remote(num_cpus=1)
    def whence():
        import trainers.mnist.cell
        return ray.util.get_node_ip_address(), trainers.mnist.cell.VERSION
    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
    print("DONE", json.dumps(ray.get([whence.options(scheduling_strategy=node).remote() for node in there])))
"""


def trials(host: Host) -> list[str]:
    """Processes of the host in which a trial runs."""
    return [line for line in host.processes() if line.startswith("ray::") and "Trainable" in line]


def test_ray_up_a_sweep_that_loses_a_worker_a_job_and_ray_down(site):
    laptop, head, w1, w2 = site.hosts.values()
    site.run("ray", "up", "-y", "onprem.yaml", "--no-config-cache", timeout=900)
    wait_for("head and both workers", site.all_up, timeout=900)

    cells = 2 * 2 * 2 * 15  # the preset's widths, fractions and dropouts, and 15 seeds
    log = site.folder / "sweep.log"
    sweep = site.start("ray", "exec", "onprem.yaml", "cd ~/lab && mkdir results && python sweeps/mnist_grid.py --address auto "
                       "--preset smoke --seeds 15 --lr 0.003 --out results/smoke.parquet", out=log)
    busy: set[str] = set()

    def all_train() -> bool:
        busy.update(host.name for host in (head, w1, w2) if trials(host))
        assert sweep.poll() is None, log.read_text()
        return len(busy) == 3
    wait_for("cells on every node", all_train, timeout=600)
    w2.power_off()
    time.sleep(10)
    w2.boot()
    assert sweep.wait(timeout=1500) == 0, log.read_text()
    wait_for("the killed worker", site.all_up, timeout=900)
    site.run("ray", "rsync-down", "onprem.yaml", f"{head.home}/lab/results/", f"{laptop.home}/fetched/")
    table = pq.read_table(laptop.home / "fetched" / "smoke.parquet").to_pandas()
    assert len(table) == len(table[["width", "fraction", "dropout", "seed"]].drop_duplicates()) == cells

    # the laptop's code has moved on since `ray up`: a submitted job runs the laptop's, on every node
    with (laptop.home / "lab" / "trainers" / "mnist" / "cell.py").open("a") as module:
        module.write("\nVERSION = 'the laptop\\'s'\n")
    (laptop.home / "lab" / "whence.py").write_text(WHENCE)
    dashboard = site.start("ray", "dashboard", "onprem.yaml", out=site.folder / "dashboard.log")
    try:
        reached = "import socket; print('OPEN', socket.socket().connect_ex(('127.0.0.1', 8265)))"
        wait_for("the dashboard", lambda: last(site.run("python", "-c", reached), "OPEN").strip() == "0", timeout=120)
        job = site.run("env", "RAY_AUTH_MODE=token", "ray", "job", "submit", "--address", "http://127.0.0.1:8265",
                       "--working-dir", ".", "--", "python", "whence.py")
    finally:
        dashboard.kill()
        dashboard.wait()
    assert dict(json.loads(last(job, "DONE"))) == {ADDRESS[host.name]: "the laptop's" for host in (head, w1, w2)}

    site.run("ray", "down", "-y", "onprem.yaml")
    def left() -> dict[str, list[str]]:
        return {host.name: lines for host in (head, w1, w2)
                if (lines := [line for line in host.processes() if "raylet" in line or "gcs_server" in line])}

    # a local provider can't end its workers: they end by themselves a minute after their head is gone
    wait_for("the end of Ray on every host", lambda: not left(), timeout=300)
