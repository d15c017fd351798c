"""What if S3 answers slowly, wrongly, twice or not at all, for a while or for good?

Faults for a while must not be seen in the dataset: the job goes on, or ends with 6 and leaves nothing. Faults for good
must end the job soon, with the code of their kind and the name of the object.
"""
import time

from client import retries, story
from dataset import check
from faults import SOURCES, hiccups
from scenario import scenario


@scenario(180, "ci", "s3")
def s3_hiccups_everywhere(lab):
    """503, 500, resets, lost answers, cut and slow bodies, delays, at random in all phases: the dataset is exact."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    hiccups(lab)
    job = client.submit(output)
    ended = client.succeed(job, 150)
    lab.note(retries=retries(ended), **cluster.world.check_dataset(output))
    return "exact dataset"


@scenario(120, "ci", "s3")
def s3_answers_lost_at_commit(lab):
    """Each conditional write and each completion is done, and its answer lost: nobody takes his own write for another's."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    for operation, key in [
        ("PutObject", r"/_backsight/claim$"),
        ("PutObject", r"/_backsight/intent\.json$"),
        ("PutObject", r"/_backsight/manifest\.json$"),
        ("PutObject", r"/_SUCCESS$"),
        ("CompleteUpload", r"/out/"),
        ("CreateUpload", r"/out/"),
        ("UploadPart", r"/out/"),
    ]:
        lab.fault("lost", operation=operation, key=key, times=1)
    ended = client.succeed(client.submit(output, "small"), 90)
    lab.note(retries=retries(ended), **cluster.world.check_dataset(output, "small"))
    return "exact dataset"


@scenario(120, "ci", "s3")
def s3_conflicts_by_mistake(lab):
    """409 ConditionalRequestConflict, as S3 gives it when two conditional writes meet: tried again, not taken for a loss."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    for name in ("claim", r"intent\.json", r"manifest\.json"):
        lab.fault("status", status=409, operation="PutObject", key=rf"/_backsight/{name}$", times=1)
    job = client.submit(output, "small")
    ended = client.finish(job, 90)
    if ended["state"] == "succeeded":
        lab.note(**cluster.world.check_dataset(output, "small"))
        return "exact dataset"
    # A store that says conflict may be believed, as long as nothing is left and the code says so.
    check(ended["failure"]["exit_status"] in (6, 9), f"a conflict of the store ended the job with {story(ended)}")
    lab.note(**cluster.world.check_nothing(output))
    return "conflict, nothing left"


@scenario(150, "ci", "s3")
def s3_away_for_a_while(lab):
    """Nobody answers for eight seconds in the middle of a job: it goes on when the store is back."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    began = lab.fault("hold", operation="UploadPart", key=r"/out/", skip=1, times=1)
    job = client.submit(output)
    check(began.wait(60), "no executor came to its second part in 60 s")
    away = lab.fault("reset", key="")
    began.release()
    time.sleep(8)
    away.release()
    ended = client.succeed(job, 110)
    lab.note(retries=retries(ended), refused=away.hits, **cluster.world.check_dataset(output))
    return "exact dataset"


def _fails_for_good(lab, codes, seconds, spine="spine", **fault):
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    # Only executors meet it: planning has seen the object whole. Each has a listener of its own.
    rules = [lab.fault(via=via, key=SOURCES, operation="GetObject|HeadObject", **fault) for via in cluster.executors]
    began = time.monotonic()
    job = client.submit(output, spine)
    ended = client.finish(job, seconds)
    took = time.monotonic() - began
    check(sum(rule.hits for rule in rules) > 0, "no executor read the object: nothing was tried")
    check(ended["state"] == "failed", f"the job {ended['state']} although `{SOURCES}` cannot be read:\n{story(ended)}")
    watched = client.exit_code(job).expect(*codes)
    said = watched.err + watched.out
    check("orders/part-1.parquet" in said, f"the message does not name the object:\n{said}")
    lab.note(seconds=round(took, 1), retries=retries(ended), **cluster.world.check_nothing(output))
    return f"exit {watched.code}, object named"


@scenario(60, "ci", "s3")
def s3_object_gone(lab):
    """404 for a source that planning has seen: the job ends soon, says which, and leaves nothing."""
    return _fails_for_good(lab, (4, 5), 40, action="status", status=404)


@scenario(60, "ci", "s3")
def s3_access_denied(lab):
    """403 for a source: trying again does not help, and the message says so."""
    return _fails_for_good(lab, (6,), 40, action="status", status=403)


@scenario(60, "ci", "s3")
def s3_object_corrupt(lab):
    """A source whose bytes are not what they were: 5, with its name, and no dataset."""
    return _fails_for_good(lab, (5,), 40, action="corrupt")


@scenario(300, "s3")
def s3_down_for_good(lab):
    """503 for every write of a part: the job ends with 6 after its attempts, and its uploads are aborted as far as the store lets us."""
    cluster = lab.own("s3", options={"--shard-attempts-max": "2"})
    client, output = lab.client(cluster), cluster.world.output()
    rule = lab.fault("status", status=503, operation="UploadPart", key=r"/out/")
    job = client.submit(output, "small")
    ended = client.finish(job, 240)
    check(ended["state"] == "failed" and rule.hits > 1, f"the job {ended['state']} after {rule.hits} refusals")
    client.exit_code(job).expect(6)
    lab.note(retries=retries(ended), **cluster.world.check_nothing(output))
    return "exit 6, nothing left"


@scenario(150, "ci", "s3")
def source_changed_while_read(lab):
    """A source gets other bytes between planning and commit: 5, with its name, and no dataset."""
    cluster = lab.shared("s3")
    client, world, output = lab.client(cluster), cluster.world, cluster.world.output()
    key = world.keys("small")[0]
    before = world.s3.get(key)
    rule = lab.fault("hold", operation="UploadPart", key=r"/out/", times=1)
    job = client.submit(output, "small")
    try:
        check(rule.wait(60), "no executor came to its first part in 60 s")
        world.s3.put(key, before[:4] + b"\0" + before[4:])
        rule.release()
        ended = client.finish(job, 60)
    finally:
        world.s3.put(key, before)
    check(ended["state"] == "failed", f"the job {ended['state']} although its spine changed:\n{story(ended)}")
    watched = client.exit_code(job).expect(5)
    check("small/part-0.parquet" in watched.err, f"the message does not name the object:\n{watched.err}")
    lab.note(**world.check_nothing(output))
    return "exit 5, object named"
