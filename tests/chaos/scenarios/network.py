"""What if the network between scheduler and executors breaks, for a moment, for long, or on one side only?

Scheduler and executors stand in network namespaces of their own; data, spool and outputs are on the shared disk.
`short` breaks heal within the executor timeout, `long` ones after it.
"""
import time

from client import ENDED, retries, shards_in, story
from dataset import check, is_committed
from scenario import scenario

TIMEOUT_SECONDS = 5


def _cluster(lab):
    network = lab.network()
    return network, lab.own("local", network=network, options={"--executor-timeout": f"{TIMEOUT_SECONDS}s"})


def _break(lab, harm, seconds, deadline=120):
    """Breaks something while shards run, for so long, and wants the exact dataset."""
    network, cluster = _cluster(lab)
    client, output = lab.client(cluster), cluster.world.output()
    job = client.submit(output)
    client.until(job, lambda job: shards_in(job, "running") >= 1, 60, "a shard runs")
    time.sleep(lab.dice.uniform(0, 1))
    harm(network)
    time.sleep(seconds)
    network.heal()
    ended = client.succeed(job, deadline)
    lab.note(retries=retries(ended), **cluster.world.check_dataset(output))
    # Both work again: a job needs whoever is left.
    again = cluster.world.output()
    cluster["executor-b"].kill()
    client.succeed(client.submit(again, "small"), 90)
    cluster.world.check_dataset(again, "small")
    return "exact dataset, executor of use again"


@scenario(180, "ci", "net")
def executor_cut_off_shortly(lab):
    """The cable of an executor is pulled for two seconds."""
    return _break(lab, lambda network: network.cut("executor-a"), 2)


@scenario(240, "ci", "net")
def executor_cut_off_for_long(lab):
    """The cable of an executor is pulled for longer than the executor timeout; then it comes back and is of use again."""
    return _break(lab, lambda network: network.cut("executor-a"), TIMEOUT_SECONDS + 7)


@scenario(240, "net")
def executor_not_heard_by_scheduler(lab):
    """Frames between scheduler and executor vanish, without a reset, for long."""
    return _break(lab, lambda network: network.mute("scheduler", "executor-a"), TIMEOUT_SECONDS + 10)


@scenario(240, "ci", "net")
def executors_do_not_hear_each_other(lab):
    """Frames between the executors vanish for some seconds; both are known to be alive, and shuffles wait or are done again."""
    return _break(lab, lambda network: network.mute("executor-a", "executor-b"), 6)


@scenario(300, "net")
def executors_never_hear_each_other(lab):
    """The executors cannot reach each other for good: the job ends in time, with the exact dataset or with 6 and nothing."""
    network, cluster = _cluster(lab)
    client, output = lab.client(cluster), cluster.world.output()
    network.mute("executor-a", "executor-b")
    job = client.submit(output)
    deadline = time.monotonic() + 240
    ended = client.finish(job, deadline - time.monotonic())
    network.heal()
    if ended["state"] == "succeeded":
        lab.note(retries=retries(ended), **cluster.world.check_dataset(output))
        return "exact dataset"
    check(ended["failure"]["exit_status"] == 6, f"a broken network ended the job with:\n{story(ended)}")
    lab.note(retries=retries(ended), **cluster.world.check_nothing(output))
    return "exit 6, nothing left"


@scenario(240, "net")
def everybody_cut_off(lab):
    """All cables are pulled for long: the job waits and then ends exact."""

    def harm(network):
        for name in ("executor-a", "executor-b"):
            network.cut(name)

    return _break(lab, harm, TIMEOUT_SECONDS + 5, 150)


@scenario(300, "net")
def network_breaks_at_random(lab):
    """Cuts and silences at random, seeded, while three jobs run: each ends with the exact dataset, or with 6 and nothing."""
    network, cluster = _cluster(lab)
    client, world = lab.client(cluster), cluster.world
    outputs = [world.output() for _ in range(3)]
    jobs = [client.submit(output) for output in outputs]
    breaks, deadline = 0, time.monotonic() + 60
    while time.monotonic() < deadline and any(client.job(job)["state"] not in ENDED for job in jobs):
        one, other = lab.dice.sample(["scheduler", "executor-a", "executor-b"], 2)
        if lab.dice.random() < 0.5:
            network.cut(lab.dice.choice(["executor-a", "executor-b"]))
        else:
            network.mute(one, other)
        time.sleep(lab.dice.choice([0.5, 2, 4, 9]))
        network.heal()
        breaks += 1
        time.sleep(lab.dice.uniform(2, 6))
    exact = 0
    for job, output in zip(jobs, outputs):
        ended = client.finish(job, 120)
        if ended["state"] == "succeeded":
            world.check_dataset(output)
            exact += 1
        else:
            check(ended["failure"]["exit_status"] == 6 and not is_committed(output), f"{story(ended)}")
            world.check_nothing(output)
    lab.note(breaks=breaks, exact=exact)
    return f"{exact} of {len(jobs)} exact"
