"""What a cluster offers to trials: the nodes alive, and those that an autoscaler may add."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
import yaml

_BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # `ray up` leaves its YAML there, on the head alone


@dataclass(frozen=True)
class Host:
    """What one node offers to trials."""

    cpus: float
    gpus: float

    def slots(self, *, cpus: float, gpus: float) -> int:
        """How many trials of that request the node holds when it is empty.

        A share of a GPU must fit on one GPU: of 0.4, two fit on each and not five on two.
        """
        if not cpus and not gpus:
            raise ValueError("a trial must ask for some CPU or GPU")
        # Ray counts resources in steps of 1e-4, so 3 x 0.3333 fits where 3 x 1/3 may not
        by_cpu = [int(self.cpus / cpus + 1e-6)] if cpus else []
        if not gpus:
            return by_cpu[0]
        by_gpu = int(self.gpus) * int(1 / gpus + 1e-6) if gpus < 1 else int(self.gpus / gpus + 1e-6)
        return min([*by_cpu, by_gpu])


@dataclass(frozen=True)
class Cluster:
    """What a driver has joined: the nodes alive, and those that an autoscaler may add."""

    address: str | None                     # host:port of the head; None for a local Ray of our own
    hosts: tuple[Host, ...]                 # alive now
    coming: tuple[Host, ...] | None = ()    # may yet be added; None where only the operator knows

    @property
    def nodes(self) -> int:
        return len(self.hosts)

    @property
    def cpus(self) -> float:
        return sum(host.cpus for host in self.hosts)

    @property
    def gpus(self) -> float:
        return sum(host.gpus for host in self.hosts)

    @property
    def grows(self) -> bool:
        return self.coming is None or len(self.coming) > 0

    def slots(self, *, cpus: float, gpus: float = 0.0) -> int:
        """Trials of that request that run at once on the nodes alive; 0 where none fits yet."""
        return sum(host.slots(cpus=cpus, gpus=gpus) for host in self.hosts)

    def max_slots(self, *, cpus: float, gpus: float = 0.0) -> float:
        """The same once an autoscaler has added all the nodes that it may; inf where nobody here knows."""
        if self.coming is None:
            return math.inf
        return self.slots(cpus=cpus, gpus=gpus) + sum(host.slots(cpus=cpus, gpus=gpus) for host in self.coming)


def describe(address: str | None) -> Cluster:
    """The cluster as it is now; for a driver that is connected."""
    hosts = tuple(Host(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
                  for node in ray.nodes() if node["Alive"])
    if address is None:
        return Cluster(None, hosts)
    if "RAY_USAGE_STATS_KUBERAY_IN_USE" in os.environ:  # Kubernetes knows the worker groups, Ray doesn't
        return Cluster(address, hosts, None)
    bootstrap = _BOOTSTRAP.expanduser()
    coming = coming_hosts(yaml.safe_load(bootstrap.read_text()), hosts) if bootstrap.is_file() else ()
    return Cluster(address, hosts, coming)


def coming_hosts(ray_up: dict, alive: Sequence[Host]) -> tuple[Host, ...] | None:
    """The nodes that a `ray up` YAML lets the autoscaler add to those alive; None if it names no shapes.

    A node alive is told from others of its type by its shape alone.
    """
    room = ray_up.get("max_workers", 2) - (len(alive) - 1)
    coming: list[Host] = []
    for node_type in ray_up["available_node_types"].values():
        most, resources = node_type.get("max_workers", room), node_type.get("resources") or {}
        if min(most, room) <= 0:
            continue
        if not {"CPU", "GPU"} & resources.keys():
            return None
        host = Host(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))
        coming += [host] * (most - alive.count(host))
    return tuple(sorted(coming, key=lambda host: (host.gpus, host.cpus))[-room:]) if room > 0 else ()
