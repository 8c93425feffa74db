"""A sweep over several nodes, one lost and one gained on the way: issue 5's promise, on real Ray nodes of this machine."""

from pathlib import Path

from worlds.sweep_cases import Log, NewCells, PlacedMnist, assert_same_rows, digits, nodes_seen, real_cluster, trained

from sweeps.running.connect import connect
from sweeps.running.ray_tune import Trials, run_jobs
from sweeps.store.store import open_store, read_store
from trainers.mnist.task import TASK

MOST = 3000  # cells; the sweep ends long before, once every node has run some; a busy machine takes a minute to bring one up


class UntilSeen(NewCells):
    """Source: until a condition on the nodes that ran its cells holds."""

    def __init__(self, notes: Path, enough):
        super().__init__()
        self.notes, self._enough = notes, enough

    def exhausted(self):
        return self._enough(nodes_seen(self.notes)) or len(self.jobs) >= MOST


class Operator(Log):
    """Pulls a node's plug once every node has run a cell, and brings up another then."""

    def __init__(self, cluster, notes, victim):
        super().__init__()
        self.cluster, self.notes, self.victim, self.newcomer = cluster, notes, victim, None

    def started(self, job):
        super().started(job)
        if self.newcomer is None and len(nodes_seen(self.notes)) == 3:
            self.victim.kill_raylet()   # SIGKILL: nobody says goodbye, and its workers end with it
            self.newcomer = self.cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)


def test_cells_run_on_every_node_also_on_one_that_comes_late_and_a_node_may_die(tmp_path):
    """Each cell once, and the table is the one that this process alone would have made."""
    images, notes = digits(), tmp_path / "notes"
    notes.mkdir()
    with real_cluster(num_cpus=0) as ray_cluster:
        nodes = [ray_cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(3)]
        with connect(ray_cluster.address) as cluster, \
                open_store(tmp_path / "r.parquet", task=TASK, provenance={}, fingerprint=TASK.fingerprint(images)) as store:
            operator = Operator(ray_cluster, notes, nodes[1])
            source = UntilSeen(notes, lambda seen: operator.newcomer is not None and operator.newcomer.node_id in seen)
            outcome = run_jobs(source, task=PlacedMnist(notes, seconds=0.2), data=images, store=store, cluster=cluster, watcher=operator,
                               trials=Trials())
    assert nodes_seen(notes) == {node.node_id for node in [*nodes, operator.newcomer]}
    assert (outcome.finished, outcome.failed, outcome.interrupted) == (len(source.jobs), 0, False)
    assert len(source.jobs) < MOST, "the node that came late stood idle"
    assert_same_rows(read_store(tmp_path / "r.parquet", task=TASK).results, trained(TASK, source.cells, images))
