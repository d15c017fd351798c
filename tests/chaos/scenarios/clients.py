"""What if clients go away, change their mind, or come back later?

A job belongs to its scheduler: it goes on without the command that began it, unless somebody says stop. Then work
stops on the executors within seconds, and nothing is left in the output.
"""
import signal
import time

from client import shards_in
from dataset import check
from processes import until
from scenario import scenario

IDLE_SECONDS_MAX = 6
IDLE_WINDOW_SECONDS = 3
# Heartbeats and health pages, of a debug build on a busy machine.
IDLE_CPU_SHARE_MAX = 0.15


def _watched(lab, cluster, output, id):
    """A client that follows a job which is in the middle of its shards; and the fault that keeps it there."""
    client = lab.client(cluster)
    # An upload whose id is known: what was begun can be aborted.
    held = lab.fault("hold", operation="UploadPart", key=r"/out/", skip=2, times=1)
    watching = client.start(*cluster.world.retrieve("spine", output), "--request-id", id, "--output-format", "json")
    check(held.wait(60), "no executor came to its third part in 60 s")
    check(watching.is_alive(), "the client does not follow its job")
    return client, watching, held


@scenario(120, "ci", "s3")
def client_killed_while_watching(lab):
    """SIGKILL of the command that follows a job: the job goes on; the same command again follows the same job."""
    cluster = lab.shared("s3")
    output, id = cluster.world.output(), f"watched-{lab.seed}-{time.time_ns()}"
    client, watching, held = _watched(lab, cluster, output, id)
    watching.kill()
    again = client.start(*cluster.world.retrieve("spine", output), "--request-id", id, "--output-format", "json")
    time.sleep(1)
    check(client.job(id)["state"] == "running", "the job stopped with its client")
    held.release()
    manifest = again.wait(90).expect(0).json()["manifest"]
    check(manifest["request_id"] == id, f"the second command got the dataset of {manifest['request_id']}")
    lab.note(**cluster.world.check_dataset(output))
    return "exact dataset"


@scenario(120, "ci", "s3")
def client_interrupted_cancels(lab):
    """SIGINT of a command without a terminal cancels its job: 7, uploads aborted, nothing left."""
    cluster = lab.shared("s3")
    output, id = cluster.world.output(), f"interrupted-{lab.seed}-{time.time_ns()}"
    client, watching, held = _watched(lab, cluster, output, id)
    watching.signal(signal.SIGINT)
    time.sleep(1)
    held.release()
    watching.wait(60).expect(7)
    check(client.job(id)["state"] == "cancelled", "the job was not cancelled")
    until(lambda: not output.pending_uploads(), 20, "all uploads of the cancelled job are aborted", 0.3)
    lab.note(**cluster.world.check_nothing(output))
    return "exit 7, nothing left"


@scenario(90, "ci", "s3")
def detached_and_watched_later(lab):
    """`--detach`, then `jobs watch` from elsewhere: the exit code is the job's; the same request again is the same dataset."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    job = client.submit(output, "small", id=f"detached-{lab.seed}-{time.time_ns()}")
    client.run("jobs", "watch", job, seconds=60).expect(0)
    lab.note(**cluster.world.check_dataset(output, "small"))
    arguments = [*cluster.world.retrieve("small", output), "--output-format", "json"]
    again = client.run(*arguments, "--request-id", job).expect(0).json()
    check(again["manifest"]["request_id"] == job, "the same request again made another dataset")
    client.run(*arguments).expect(9)
    client.run("jobs", "watch", "no-such-job-at-all").expect(4)
    return "exact dataset, 9 for another request, 4 for no job"


@scenario(120, "ci", "local")
def cancelled_while_computing(lab):
    """`jobs cancel` in the middle of computing: the executors are idle within seconds, nothing is left."""
    cluster = lab.shared("local")
    client, output = lab.client(cluster), cluster.world.output()
    job = client.submit(output)
    client.until(job, lambda job: shards_in(job, "running") >= 1, 60, "a shard runs")
    client.cancel(job, 30).expect(0)
    began = time.monotonic()
    seen = client.job(job)
    check(seen["state"] == "cancelled", f"the job {seen['state']} although it was cancelled in its middle")

    def cpu():
        return sum(service.cpu_seconds() for service in cluster.executors.values())

    def idle():
        before = cpu()
        time.sleep(IDLE_WINDOW_SECONDS)
        return cpu() - before < IDLE_CPU_SHARE_MAX * IDLE_WINDOW_SECONDS * len(cluster.executors)

    until(idle, IDLE_SECONDS_MAX, "the executors are idle after the job was cancelled", 0)
    lab.note(idle_after=round(time.monotonic() - began, 1), **cluster.world.check_nothing(output))
    return "cancelled, idle, nothing left"


@scenario(120, "ci", "s3")
def cancelled_while_the_store_hangs(lab):
    """`jobs cancel` while every upload hangs: it does not wait for the store, and uploads are aborted when that is back."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    held = lab.fault("hold", operation="UploadPart", key=r"/out/")
    job = client.submit(output)
    check(held.wait(60), "no executor came to its first part in 60 s")
    client.cancel(job, 45).expect(0)
    check(client.job(job)["state"] == "cancelled", "the job is not cancelled")
    held.release()
    until(lambda: not output.pending_uploads(), 30, "all uploads of the cancelled job are aborted", 0.3)
    lab.note(**cluster.world.check_nothing(output))
    # Its slots are free again.
    again = cluster.world.output()
    client.succeed(client.submit(again, "small"), 60)
    cluster.world.check_dataset(again, "small")
    return "cancelled, nothing left"


@scenario(120, "ci", "s3")
def cancelled_while_an_upload_begins(lab):
    """`jobs cancel` while the store has not yet said the id of an upload: once it has, the upload is aborted."""
    cluster = lab.shared("s3")
    client, output = lab.client(cluster), cluster.world.output()
    held = lab.fault("hold", operation="CreateUpload", key=r"/out/", skip=2, times=1)
    job = client.submit(output)
    check(held.wait(60), "no executor came to its third part in 60 s")
    client.cancel(job, 45).expect(0)
    held.release()
    check(client.job(job)["state"] == "cancelled", "the job is not cancelled")
    lab.note(**cluster.world.check_nothing(output))
    return "cancelled, nothing left"


@scenario(120, "s3")
def cancelled_while_committing(lab):
    """`jobs cancel` after the intent: too late, the dataset comes; before it: no dataset. Never something between."""
    cluster = lab.shared("s3")
    client = lab.client(cluster)
    for key, wanted in ((r"/_backsight/intent\.json$", {"cancelled", "succeeded"}), (r"/_backsight/manifest\.json$", {"succeeded"})):
        output = cluster.world.output()
        held = lab.fault("hold", operation="PutObject", key=key, times=1)
        job = client.submit(output, "small")
        check(held.wait(60), f"the commit never came to `{key}`")
        client.run("jobs", "cancel", job, "--no-wait").expect(0)
        held.release()
        ended = client.finish(job, 60)
        check(ended["state"] in wanted, f"cancelled at `{key}` the job {ended['state']}, expected {wanted}")
        if ended["state"] == "succeeded":
            cluster.world.check_dataset(output, "small")
        else:
            cluster.world.check_nothing(output)
    return "a dataset, or nothing"
