"""What if a disk is full: an executor's work dir, the scheduler's state or spool?

A small tmpfs stands for the disk. A limit that was reached is 10, said clearly; what was there before goes on, and
when there is room again so does the work.
"""
import time
from client import ENDED, retries, story
from dataset import check, is_committed
from faults import fill
from processes import until
from scenario import scenario


@scenario(150, "ci", "local")
def work_dirs_full(lab):
    """No executor has room for a shuffle: the job ends with 10, nothing is left, and there is work again when there is room."""
    cluster = lab.own("local", executors=(), options={"--shard-bytes": "1GiB", "--shard-attempts-max": "2"})
    places = {name: lab.small_disk(2) for name in ("executor-a", "executor-b")}
    for name, place in places.items():
        cluster.add_executor(name, work=place)
    ballasts = [fill(place, 128 << 10) for place in places.values()]
    client, output = lab.client(cluster), cluster.world.output()
    job = client.submit(output)
    ended = client.finish(job, 90)
    check(ended["state"] == "failed", f"the job {ended['state']} with full work dirs:\n{story(ended)}")
    client.exit_code(job).expect(10)
    lab.note(**cluster.world.check_nothing(output))
    for ballast in ballasts:
        ballast.unlink()
    # Executors remove what the failed job left with their next call to the scheduler, a second later.
    time.sleep(3)
    again = cluster.world.output()
    client.succeed(client.submit(again, "small"), 60)
    cluster.world.check_dataset(again, "small")
    return "exit 10, nothing left, works again"


@scenario(180, "ci", "local")
def one_work_dir_full(lab):
    """One executor has no room, the other has: what failed on the one is done on the other, and the dataset is exact."""
    cluster = lab.own("local", executors=("executor-a",))
    place = lab.small_disk(2)
    cluster.add_executor("executor-b", work=place)
    ballast = fill(place)
    client, output = lab.client(cluster), cluster.world.output()
    ended = client.succeed(client.submit(output), 150)
    ballast.unlink()
    lab.note(retries=retries(ended), **cluster.world.check_dataset(output))
    return "exact dataset"


@scenario(150, "ci", "local")
def scheduler_state_full(lab):
    """The disk of the scheduler's state fills up: new jobs are refused by name, old ones are not lost, and all goes on with room."""
    cluster = lab.own("local", executors=())
    cluster.end()
    place = lab.small_disk(4)
    cluster.state = place
    cluster.start(("executor-a", "executor-b"))
    client, world = lab.client(cluster), cluster.world
    kept = world.output()
    first = client.submit(kept, "small")
    client.succeed(first, 60)
    ballast = fill(place)
    refused = client.run(*world.retrieve("small", world.output()), "--detach", seconds=60)
    if refused.code == 0:
        # There was a page left in the file: the job is durable then, and must end in time once there is room.
        lab.note(accepted=True)
    else:
        check(refused.code in (6, 10), f"a full state refused a job with {refused.code}: {refused.err}")
        check(refused.err.strip(), "the refusal says nothing")
    check(client.job(first)["state"] == "succeeded", "a job that had succeeded did not stay so")
    ballast.unlink()
    cluster.restore()
    again = world.output()
    client.succeed(client.submit(again, "small"), 90)
    world.check_dataset(again, "small")
    world.check_dataset(kept, "small")
    until(lambda: all(job["state"] in ENDED for job in client.jobs()), 60, "every job has ended", 0.3)
    return f"refused with {refused.code}, works again"


@scenario(120, "ci", "local")
def scheduler_spool_full(lab):
    """The spool has no room for a spine that is handed over: the command says 10, and later ones work."""
    cluster = lab.own("local", executors=())
    cluster.end()
    place = lab.small_disk(4)
    cluster.spool = place
    cluster.start(("executor-a",))
    client, world = lab.client(cluster), cluster.world
    ballast = fill(place)
    output = world.output()
    refused = client.run(*world.retrieve("spine", output), "--detach", seconds=60).expect(10)
    check("spine" in refused.err or "space" in refused.err or "spool" in refused.err, f"the refusal does not say why: {refused.err}")
    check(not is_committed(output), "a refused retrieval has a dataset")
    ballast.unlink()
    # The half that was handed over is not taken for the spine.
    again = world.output()
    client.succeed(client.submit(again), 90)
    world.check_dataset(again)
    return f"refused with {refused.code}, works again"
