"""What is a scenario, what does it get to work with, and what must hold after every one of them?

A scenario is a function of a `Lab`, with a name, tags and a deadline. It makes faults and says what must come out of
it; it returns a word on how it went, or raises: `Wrong` is a failure, `Skip` is said loudly. Clusters and worlds are
shared where the scenario leaves them as it found them; `Lab.settle` proves that it did.
"""
import random
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from client import ENDED, Client, story
from dataset import check
from netns import Network, NotPermitted
from processes import Cluster, kill_all, until
from s3client import S3Error
from s3proxy import Proxy, Rule
from world import Size, World

PROJECTS = ("chaos", "fraud", "pricing", "search")
WORK_BYTES_LEFT_MAX = 256 << 10
SHRINK_SECONDS_MAX = 30
SCENARIOS = {}


class Skip(Exception):
    """It cannot be tried here, and why."""


@dataclass(frozen=True)
class Scenario:
    name: str
    run: object
    seconds_max: int
    tags: frozenset
    question: str


def scenario(seconds, *tags):
    """Registers a function: its name with dashes, its docstring as the question it answers.

    Tags: `ci` runs in every check; `s3`, `local`, `net` and `embedded` name what it needs.
    """

    def register(function):
        name = function.__name__.replace("_", "-")
        assert name not in SCENARIOS, name
        question = " ".join(function.__doc__.split())
        SCENARIOS[name] = Scenario(name, function, seconds, frozenset(tags), question)
        return function

    return register


@dataclass
class Lab:
    """Worlds, clusters and the store's proxy, made when they are first asked for."""

    folder: Path
    backsight: Path
    s3: object = None
    seed: int = 1
    size: Size = Size()
    dice: random.Random = None
    notes: list = field(default_factory=list)
    _worlds: dict = field(default_factory=dict)
    _shared: dict = field(default_factory=dict)
    _own: list = field(default_factory=list)
    _mounts: list = field(default_factory=list)
    _networks: list = field(default_factory=list)
    _proxy: Proxy = None
    _count: int = 0

    def begin(self, seed):
        """A scenario starts."""
        self.seed, self.dice, self.notes = seed, random.Random(seed), []

    def note(self, **facts):
        self.notes += [f"{name}={value}" for name, value in facts.items()]

    def world(self, kind):
        if kind == "s3" and not self.s3:
            raise Skip("no S3 store: start it with .ci/seaweedfs.py around the command")
        if kind not in self._worlds:
            began = time.monotonic()
            folder = self._new_folder(f"world-{kind}")
            # Data of one seed for all scenarios: what changes with the scenario's seed are the faults.
            world = World(folder, self.backsight, 1, self.s3 if kind == "s3" else None, self.size, PROJECTS)
            self._worlds[kind] = world.build()
            print(f"  (world on {kind} built in {time.monotonic() - began:.0f} s)", flush=True)
        return self._worlds[kind]

    @property
    def proxy(self):
        if self._proxy is None:
            self._proxy = Proxy(self.s3.endpoint)
        return self._proxy

    def fault(self, action, **details):
        """A rule at the store's proxy, until the scenario ends."""
        return self.proxy.add(Rule(action, seed=self.dice.random(), **details))

    def shared(self, kind):
        """A running cluster of two executors, whole again."""
        cluster = self._shared.get(kind)
        if cluster is None:
            world = self.world(kind)
            cluster = Cluster(self._new_folder(f"cluster-{kind}"), world, self.proxy if kind == "s3" else None)
            # Known before it is ready, so that it is shown and ended when it never is.
            self._shared[kind] = cluster
            cluster.start()
        cluster.restore()
        return cluster

    def own(self, kind, executors=("executor-a", "executor-b"), options=None, executor_options=None, network=None):
        """A cluster for this scenario alone."""
        proxy = self.proxy if kind == "s3" else None
        cluster = Cluster(self._new_folder(f"own-{kind}"), self.world(kind), proxy, network, options, executor_options)
        self._own.append(cluster)
        return cluster.start(executors)

    def network(self, names=("scheduler", "executor-a", "executor-b")):
        try:
            network = Network(names)
        except NotPermitted as reason:
            raise Skip(f"no network namespaces: {reason}") from None
        self._networks.append(network)
        return network

    def client(self, cluster, project=None):
        namespace = cluster.network.node("scheduler") if cluster.network else None
        return Client(cluster.world, cluster.url, namespace, project)

    def small_disk(self, mebibytes=8):
        """A file system of its own, so small that it fills up."""
        place = self._new_folder("small-disk")
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Skip(f"no small file system: {done.stderr.strip()}")
        self._mounts.append(place)
        return place

    def _new_folder(self, name):
        self._count += 1
        return self.folder / f"{self._count:03}-{name}"

    def clusters(self):
        return [*self._shared.values(), *self._own]

    def settle(self):
        """What must hold after every scenario: jobs ended, work dirs small, everything alive or able to live again."""
        for cluster in self.clusters():
            if cluster.scheduler is None:
                continue
            cluster.restore()
            client = self.client(cluster)
            open_jobs = [job for job in client.jobs() if job["state"] not in ENDED]
            for job in open_jobs:
                client.cancel(job["id"])
            check(not open_jobs, f"{len(open_jobs)} jobs have not ended: " + "\n".join(story(job) for job in open_jobs[:3]))
            until(
                lambda: cluster.work_bytes() <= WORK_BYTES_LEFT_MAX,
                SHRINK_SECONDS_MAX,
                f"the work dirs shrink below {WORK_BYTES_LEFT_MAX >> 10} KiB; they hold {cluster.readings()}",
                0.2,
            )
        if self._proxy:
            problems, self._proxy.problems = self._proxy.problems, []
            check(not problems, f"the proxy itself failed: {problems[:3]}")

    def heal(self):
        """Ends all faults, whatever the scenario has come to."""
        if self._proxy:
            hits = [f"{action}:{count}" for action, count in self._proxy.clear()]
            if hits:
                self.note(faults=" ".join(hits))
        for network in self._networks:
            network.heal()

    def end_own(self, kill=False):
        """Ends what the scenario had for itself; in good order everything ends on SIGTERM."""
        own, self._own = self._own, []
        try:
            for cluster in own:
                if not kill:
                    cluster.end()
        finally:
            for cluster in own:
                cluster.kill()
            for network in self._networks:
                network.remove()
            for place in self._mounts:
                subprocess.run(["umount", "-l", str(place)], capture_output=True)
            self._networks, self._mounts = [], []

    def drop_shared(self):
        """After a failure nobody knows what state they are in."""
        for cluster in self._shared.values():
            cluster.kill()
        self._shared = {}

    def end(self):
        """The end of the run: shared clusters end on SIGTERM as well."""
        for cluster in self._shared.values():
            cluster.restore()
            cluster.check_metrics()
            cluster.end()

    def remove(self, keep):
        self.end_own(kill=True)
        self.drop_shared()
        kill_all()
        for world in self._worlds.values():
            try:
                world.remove()
            except (OSError, S3Error) as gone:
                # At an end by a signal the store may have ended before.
                print(f"the store keeps the world: {gone}", flush=True)
        if self._proxy:
            self._proxy.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def tail(self, lines=40):
        return "\n".join(cluster.tail(lines) for cluster in self.clusters())
