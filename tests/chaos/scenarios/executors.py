"""What if executors die, stand still or leave while a job needs them?

The phase is hit by a request that the store's proxy holds: an executor that reads a source is in the map stage, one
that sends a part of an upload is in the reduce stage. So the kill comes at the same place whatever the machine's speed.
"""
import time

from client import retries
from dataset import check
from processes import until
from scenario import scenario

# Below `_backsight/` or `_SUCCESS`: what the commit writes, in order.
FIRST_OF_COMMIT = r"/_backsight/(registry\.pb\.next|intent\.json)$"
ANY_EXECUTOR = r"executor-.*"
MAP = {"operation": "GetObject", "key": r"/data/(stats|orders)/"}
REDUCE = {"operation": "CreateUpload|UploadPart", "key": r"/out/"}


def _kill_while_held(lab, held, what):
    cluster = lab.shared("s3")
    client, world, output = lab.client(cluster), cluster.world, cluster.world.output()
    rule = lab.fault("hold", via=ANY_EXECUTOR, skip=lab.dice.randrange(3), times=1, **held)
    job = client.submit(output)
    check(rule.wait(60), f"no executor came to the {what} stage in 60 s")
    cluster[rule.hit_via].kill()
    rule.release(drop=True)
    ended = client.succeed(job, 90)
    lab.note(retries=retries(ended), **world.check_dataset(output))
    return "exact dataset"


@scenario(150, "ci", "s3")
def executor_killed_in_map_stage(lab):
    """SIGKILL of an executor that reads a source: does the other one finish the job?"""
    return _kill_while_held(lab, MAP, "map")


@scenario(150, "ci", "s3")
def executor_killed_in_reduce_stage(lab):
    """SIGKILL of an executor that writes a part: is every row there once?"""
    return _kill_while_held(lab, REDUCE, "reduce")


@scenario(120, "ci", "s3")
def executors_killed_before_commit(lab):
    """All tasks have succeeded, all executors are gone: the commit needs none of them."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    rule = lab.fault("hold", operation="PutObject", key=FIRST_OF_COMMIT, times=1)
    job = client.submit(output)
    check(rule.wait(90), "the commit did not begin in 90 s")
    for service in cluster.executors.values():
        service.kill()
    rule.release()
    ended = client.succeed(job, 60)
    check(retries(ended) == 0, f"shards were retrieved again although all were done: {retries(ended)} attempts more")
    lab.note(**cluster.world.check_dataset(output))
    return "exact dataset, no attempt more"


@scenario(150, "ci", "s3")
def executor_stands_still_and_comes_back(lab):
    """SIGSTOP for longer than the executor timeout, then SIGCONT: its late results change nothing, and it works again."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    rule = lab.fault("hold", via=ANY_EXECUTOR, times=1, **REDUCE)
    job = client.submit(output)
    check(rule.wait(60), "no executor came to the reduce stage in 60 s")
    victim = cluster[rule.hit_via]
    victim.stop()
    rule.release()
    time.sleep(9)
    victim.go_on()
    ended = client.succeed(job, 90)
    lab.note(retries=retries(ended), **cluster.world.check_dataset(output))
    # It is of use again: the other one leaves, and the next job has nobody else.
    next(service for service in cluster.executors.values() if service is not victim).kill()
    again = cluster.world.output()
    client.succeed(client.submit(again, "small"), 60)
    cluster.world.check_dataset(again, "small")
    return "exact dataset, executor of use again"


@scenario(150, "ci", "s3")
def executor_drains(lab):
    """SIGTERM of an executor in the middle of a job: it leaves in good order and no work is lost with it."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    rule = lab.fault("hold", via=ANY_EXECUTOR, times=1, **REDUCE)
    job = client.submit(output)
    check(rule.wait(60), "no executor came to the reduce stage in 60 s")
    victim = cluster[rule.hit_via]
    victim.ask_to_end()
    time.sleep(1)
    check(victim.is_alive(), f"{victim.name} left although it had a task")
    rule.release()
    ended = client.succeed(job, 90)
    check(retries(ended) == 0, f"the drain cost {retries(ended)} attempts")
    lab.note(**cluster.world.check_dataset(output))
    code = victim.wait_end(30)
    check(code == 0, f"{victim.name} ended with {code} after its drain")
    return "exact dataset, no attempt more, exit 0"


@scenario(150, "ci", "s3")
def all_executors_lost_and_one_comes_back(lab):
    """Nobody is left to work: the job waits, and goes on with the first who comes."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    rule = lab.fault("hold", operation="UploadPart", key=r"/out/", skip=2, times=1)
    job = client.submit(output)
    check(rule.wait(60), "no executor came to its third part in 60 s")
    for service in cluster.executors.values():
        service.kill()
    rule.release(drop=True)
    time.sleep(8)
    state = client.job(job)["state"]
    check(state == "running", f"with no executor for 8 s the job is {state}")
    cluster["executor-b"].start()
    ended = client.succeed(job, 90)
    lab.note(retries=retries(ended), **cluster.world.check_dataset(output))
    return "exact dataset"


@scenario(240, "local")
def executors_killed_again_and_again(lab):
    """On the local disk an executor is killed and started again at random moments: every job ends with the exact rows."""
    cluster = lab.own("local", options={"--shard-attempts-max": "12"})
    client, world = lab.client(cluster), cluster.world
    outputs = [world.output() for _ in range(2)]
    jobs = [client.submit(output) for output in outputs]
    kills, deadline = 0, time.monotonic() + 180
    while any(client.job(job)["state"] not in ("succeeded", "failed", "cancelled") for job in jobs):
        check(time.monotonic() < deadline, f"after {kills} kills and 180 s the jobs have not ended")
        # Each life is long enough for a shard to be done now and then.
        time.sleep(lab.dice.uniform(4, 9))
        victim = cluster[lab.dice.choice(["executor-a", "executor-b"])]
        victim.kill()
        kills += 1
        time.sleep(lab.dice.uniform(0, 1))
        victim.start()
    for job, output in zip(jobs, outputs):
        client.succeed(job, 1)
        world.check_dataset(output)
    lab.note(kills=kills)
    return "exact datasets"


@scenario(60, "ci", "s3")
def executor_ends_when_idle(lab):
    """SIGTERM of an executor without work: it is gone at once, and a new one takes its place."""
    cluster = lab.shared("s3")
    began = time.monotonic()
    cluster["executor-b"].end(10)
    lab.note(seconds=round(time.monotonic() - began, 1))
    cluster["executor-b"].start()
    client, output = lab.client(cluster), cluster.world.output()
    client.succeed(client.submit(output, "small"), 40)
    cluster.world.check_dataset(output, "small")
    until(lambda: cluster.work_bytes() < 256 << 10, 20, "the work dirs are empty after the job")
    return "gone in time"
