"""Which faults do several scenarios make? A full disk, and a store that is unwell for a while."""
import os

# One of the objects that every big retrieval reads, and that no row can do without.
SOURCES = r"/data/orders/part-1"
ANY = r"/(data|out)/"


def fill(place, leave_bytes=0):
    """Takes all the room of a file system, but for a rest."""
    ballast = place / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            pass
        size = max(0, file.tell() - leave_bytes)
        os.truncate(ballast, size)
    return ballast


def hiccups(lab, share=0.06, times=12):
    """Every passing fault, seeded, on all requests about data and outputs."""
    for action in ("reset", "lost", "truncate"):
        lab.fault(action, key=ANY, probability=share / 2, times=times)
    for status in (503, 500):
        lab.fault("status", status=status, key=ANY, probability=share, times=times)
    lab.fault("delay", key=ANY, probability=share, times=times, seconds=0.7)
    lab.fault("slow", operation="GetObject", key=ANY, probability=share, times=times, bytes_per_second=400_000)
