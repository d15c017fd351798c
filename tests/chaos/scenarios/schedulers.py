"""What if the scheduler dies, in each state a job can be in, or two of them want one output?

On S3 the step is hit by a request that the proxy holds: before it is passed on (`hold`: the store never sees it), or
after it was done (`hold_answer`: the store has it, the scheduler never learns). On the local disk the files are polled.
"""
import threading
import time

from client import retries, shards_in, story
from dataset import check
from processes import until
from scenario import scenario

OWN = r"/_backsight/"
# name: what the proxy holds, and whether the store may have done it.
STEPS = {
    "claim not sent": dict(action="hold", operation="PutObject", key=OWN + r"claim$"),
    "claim done": dict(action="hold_answer", operation="PutObject", key=OWN + r"claim$"),
    "intent not sent": dict(action="hold", operation="PutObject", key=OWN + r"intent\.json$"),
    "intent done": dict(action="hold_answer", operation="PutObject", key=OWN + r"intent\.json$"),
    "part not revealed": dict(action="hold", operation="CompleteUpload", key=r"/out/"),
    "part revealed": dict(action="hold_answer", operation="CompleteUpload", key=r"/out/"),
    "manifest not sent": dict(action="hold", operation="PutObject", key=OWN + r"manifest\.json$"),
    "manifest done": dict(action="hold_answer", operation="PutObject", key=OWN + r"manifest\.json$"),
    "_SUCCESS not sent": dict(action="hold", operation="PutObject", key=r"/_SUCCESS$"),
    "_SUCCESS done": dict(action="hold_answer", operation="PutObject", key=r"/_SUCCESS$"),
    "intent not removed": dict(action="hold", operation="DeleteObjects?", key=OWN + r"intent\.json$"),
}
# The others are hit in longer runs.
STEPS_IN_CI = ("claim done", "intent not sent", "intent done", "part revealed", "manifest done", "_SUCCESS not sent")


def _die_at(lab, cluster, step, spine):
    """One job whose scheduler dies at a step and comes back."""
    client, output = lab.client(cluster), cluster.world.output(step.replace(" ", "-").strip("_").lower())
    rule = lab.fault(times=1, **STEPS[step])
    job = client.submit(output, spine)
    check(rule.wait(60), f"`{step}`: the scheduler never came there in 60 s")
    cluster.scheduler.kill()
    rule.release(drop=True)
    cluster.scheduler.start()
    ended = client.succeed(job, 60)
    facts = cluster.world.check_dataset(output, spine)
    if STEPS[step]["key"] not in (OWN + r"claim$",):
        # All shards were done before: the restart may cost a commit, never a shard.
        check(retries(ended) == 0, f"`{step}`: {retries(ended)} shards were retrieved again:\n{story(ended)}")
    return facts["uploads_pending"]


@scenario(240, "ci", "s3")
def scheduler_killed_at_commit_steps(lab):
    """SIGKILL and restart at the steps of the commit: is there always exactly one dataset, with nothing beside it?"""
    cluster = lab.shared("s3")
    pending = {step: _die_at(lab, cluster, step, "small") for step in STEPS_IN_CI}
    lab.note(steps=len(pending), uploads_pending=sum(pending.values()))
    return "exact datasets"


@scenario(600, "s3")
def scheduler_killed_at_every_commit_step_of_many_shards(lab):
    """The same at each step, with many shards and the n-th request of a kind."""
    cluster = lab.shared("s3")
    pending = {step: _die_at(lab, cluster, step, "spine") for step in STEPS}
    lab.note(steps=len(pending), uploads_pending=sum(pending.values()))
    return "exact datasets"


@scenario(120, "ci", "s3")
def scheduler_killed_while_planning(lab):
    """SIGKILL while it looks at the files: the job is planned again after the restart."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    held = dict(via="scheduler", operation="GetObject|HeadObject|List", key=r"/data/", times=1)
    rule = lab.fault("hold", skip=lab.dice.randrange(4), **held)
    job = client.submit(output)
    check(rule.wait(30), "the scheduler read no file to plan with in 30 s")
    state = client.job(job)["state"]
    check(state in ("queued", "planning"), f"while the scheduler reads footers the job is {state}")
    cluster.scheduler.kill()
    rule.release(drop=True)
    cluster.scheduler.start()
    client.succeed(job, 90)
    lab.note(**cluster.world.check_dataset(output))
    return "exact dataset"


def _restart_in_the_middle(lab, end):
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    job = client.submit(output)
    # The store is slow for the last shards, so that there is a middle.
    rule = lab.fault("hold", operation="CreateUpload", key=r"/out/", skip=4, times=1)
    check(rule.wait(60), "no executor came to its fifth part in 60 s")
    seen = client.until(job, lambda job: shards_in(job, "done") >= 1, 60, "one shard is done")
    done = {shard["number"]: shard["attempts"] for shard in seen["shards"] if shard["state"] == "done"}
    check(len(done) < len(seen["shards"]), f"all {len(done)} shards were done already: too few to test with")
    end(cluster.scheduler)
    rule.release()
    time.sleep(lab.dice.uniform(0, 2))
    cluster.scheduler.start()
    ended = client.succeed(job, 90)
    lab.note(**cluster.world.check_dataset(output))
    after = {shard["number"]: shard["attempts"] for shard in ended["shards"]}
    again = {number for number, attempts in done.items() if after[number] != attempts}
    check(not again, f"shards {sorted(again)} were done before the restart and were retrieved again:\n{story(ended)}")
    lab.note(shards=len(after), kept=len(done))
    return "exact dataset, done shards kept"


@scenario(150, "ci", "s3")
def scheduler_killed_while_shards_run(lab):
    """SIGKILL in the middle of the shards: those that are done are not retrieved again."""
    return _restart_in_the_middle(lab, lambda scheduler: scheduler.kill())


@scenario(150, "ci", "s3")
def scheduler_ends_while_shards_run(lab):
    """SIGTERM in the middle of the shards: it ends in time, and the next one goes on."""
    return _restart_in_the_middle(lab, lambda scheduler: scheduler.end(20))


@scenario(180, "ci", "local")
def scheduler_killed_as_files_appear(lab):
    """On the local disk, SIGKILL as soon as claim, staged part, intent, manifest or _SUCCESS is seen."""
    cluster = lab.shared("local")
    client, world = lab.client(cluster), cluster.world
    for name in ("claim", "staging", "intent.json", "manifest.json", "_SUCCESS"):
        output = world.output(name)
        path = output.folder / name if name == "_SUCCESS" else output.folder / "_backsight" / name
        job = client.submit(output, "small")
        # No pause: these files live for milliseconds. One that was missed is as good: a later step was hit.
        ended = output.folder / "_SUCCESS"
        until(lambda: path.exists() or ended.exists(), 30, f"`{name}` appears in the output", pause=0)
        cluster.scheduler.kill()
        cluster.scheduler.start()
        client.succeed(job, 60)
        world.check_dataset(output, "small")
    return "exact datasets"


@scenario(120, "ci", "s3")
def scheduler_away_while_the_client_watches(lab):
    """The scheduler is killed and is away for some seconds under a client that follows a job: the client gets its dataset."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    rule = lab.fault("hold", operation="CreateUpload", key=r"/out/", skip=1, times=1)
    watching = client.start(*cluster.world.retrieve("spine", output), "--output-format", "json")
    check(rule.wait(60), "no executor came to its second part in 60 s")
    cluster.scheduler.kill()
    rule.release()
    time.sleep(5)
    cluster.scheduler.start()
    outcome = watching.wait(100).expect(0)
    check(outcome.json()["manifest"]["rows"] == cluster.world.size.spine_rows, "the client was shown another manifest")
    lab.note(**cluster.world.check_dataset(output))
    return "exact dataset"


@scenario(150, "ci", "s3")
def two_schedulers_one_output(lab):
    """Two schedulers, each with an executor and a state of its own, are asked for one output at once: one wins, the other says 9."""
    first = lab.own("s3", executors=("executor-a",))
    second = lab.own("s3", executors=("executor-b",))
    output = first.world.output()
    barrier, outcomes = threading.Barrier(2), []

    def ask(cluster):
        client = lab.client(cluster)
        barrier.wait(30)
        outcomes.append(client.run(*cluster.world.retrieve("small", output), "--output-format", "json", seconds=60))

    askers = [threading.Thread(target=ask, args=(cluster,)) for cluster in (first, second)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(90)
    codes = sorted(outcome.code for outcome in outcomes)
    errors = [outcome.err[-800:] for outcome in outcomes if outcome.code]
    check(codes == [0, 9], f"the two ended with {codes}: {errors}")
    check(output.uri in errors[0], f"the conflict does not name the output: {errors[0]}")
    lab.note(**first.world.check_dataset(output, "small"))
    return "one dataset, one conflict"
