"""What if there are many jobs: is one lost, does one project starve another, does the scheduler grow?

Small jobs of several projects are queued by several clients at once, with and without a scheduler that dies meanwhile.
"""
import threading
import time

from client import ENDED, story
from dataset import Wrong, check
from scenario import PROJECTS, scenario

CLIENTS = 3
# A debug build with its caches warm: what jobs leave behind in the scheduler, not what it needs at all.
GROWTH_BYTES_EACH_MAX = 256 << 10


def submit_all(lab, cluster, count, label):
    """Queues so many jobs, from several clients at once. Ids with their outputs."""
    outputs = {f"{label}-{number:04}-{lab.seed}-{time.time_ns()}": cluster.world.output(label) for number in range(count)}
    todo, troubles, lock = list(outputs.items()), [], threading.Lock()

    def work(place):
        while True:
            with lock:
                if not todo or troubles:
                    return
                id, output = todo.pop()
                priority = lab.dice.choice([None, 0, 5, -5])
            try:
                client = lab.client(cluster, PROJECTS[hash(id) % len(PROJECTS)])
                client.submit(output, "small", id=id, priority=priority)
            except Exception as trouble:
                with lock:
                    troubles.append(trouble)

    workers = [threading.Thread(target=work, args=(place,)) for place in range(CLIENTS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if troubles:
        raise troubles[0]
    return outputs


def all_ended(client, ids, seconds):
    """Waits until all jobs have ended; each must be known and have succeeded."""
    deadline = time.monotonic() + seconds
    while True:
        jobs = {job["id"]: job for job in client.jobs()}
        lost = set(ids) - set(jobs)
        check(not lost, f"{len(lost)} jobs were accepted and are not known: {sorted(lost)[:3]}")
        open_jobs = [id for id in ids if jobs[id]["state"] not in ENDED]
        if not open_jobs:
            break
        if time.monotonic() > deadline:
            raise Wrong(f"{len(open_jobs)} of {len(ids)} jobs have not ended in {seconds:g} s: {story(jobs[open_jobs[0]])}")
        time.sleep(0.5)
    bad = [jobs[id] for id in ids if jobs[id]["state"] != "succeeded"]
    check(not bad, f"{len(bad)} of {len(ids)} jobs did not succeed: {bad and story(bad[0])}")


def check_all(lab, cluster, outputs):
    for output in outputs.values():
        cluster.world.check_dataset(output, "small")
        output.remove()


@scenario(240, "ci", "local")
def many_small_jobs(lab):
    """60 jobs of four projects at once: none is lost, all are exact, and the scheduler does not grow with them."""
    cluster = lab.own("local")
    client = lab.client(cluster)
    first = submit_all(lab, cluster, 20, "warm")
    all_ended(client, first, 80)
    before = cluster.scheduler.rss_bytes()
    second = submit_all(lab, cluster, 40, "more")
    all_ended(client, second, 120)
    growth = cluster.scheduler.rss_bytes() - before
    lab.note(growth_kib=growth >> 10, **cluster.readings())
    check(growth <= GROWTH_BYTES_EACH_MAX * 40, f"the scheduler grew by {growth >> 10} KiB over 40 small jobs")
    check_all(lab, cluster, {**first, **second})
    return "60 exact datasets"


@scenario(900, "local")
def two_hundred_jobs_and_a_dying_scheduler(lab):
    """200 jobs are queued while the scheduler is killed now and then: what was accepted is known for ever and ends exact."""
    cluster = lab.own("local", options={"--jobs-running-max": "4"})
    client = lab.client(cluster)
    ended = threading.Event()
    queued = {}

    def submit():
        try:
            queued.update(submit_all(lab, cluster, 200, "many"))
        finally:
            ended.set()

    submitter = threading.Thread(target=submit)
    submitter.start()
    kills = 0
    while not ended.wait(lab.dice.uniform(6, 12)):
        cluster.scheduler.kill()
        kills += 1
        time.sleep(lab.dice.uniform(0, 1.5))
        cluster.scheduler.start()
    submitter.join()
    check(len(queued) == 200, f"only {len(queued)} of 200 jobs were accepted by a scheduler that came back each time")
    all_ended(client, queued, 600)
    check_all(lab, cluster, queued)
    lab.note(kills=kills, **cluster.readings())
    return "200 exact datasets"


@scenario(1500, "local")
def scheduler_memory_is_flat(lab):
    """1,000 small jobs in five rounds: after the first two, the scheduler grows no more."""
    cluster = lab.own("local", options={"--finished-jobs-kept": "50"})
    client, sizes = lab.client(cluster), []
    for round_number in range(5):
        outputs = submit_all(lab, cluster, 200, f"round-{round_number}")
        deadline = time.monotonic() + 280
        # Finished jobs are forgotten after fifty: what counts is that nothing is open and every dataset is there.
        while any(job["state"] not in ENDED for job in client.jobs()):
            check(time.monotonic() < deadline, "the jobs of a round have not ended in 280 s")
            time.sleep(0.5)
        check_all(lab, cluster, outputs)
        sizes.append(cluster.scheduler.rss_bytes())
    lab.note(rounds_mib=[size >> 20 for size in sizes], **cluster.readings())
    check(sizes[4] - sizes[1] <= 16 << 20, f"the last 600 jobs cost {sizes[4] - sizes[1] >> 20} MiB")
    return "flat"
