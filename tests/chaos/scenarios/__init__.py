"""Which scenarios are there? Importing this registers all of them, one file for each thing that may break."""
# In this order they run: what needs no cluster first.
from . import embedded, executors, schedulers, storage, clients, disks, network, load

__all__ = ["clients", "disks", "embedded", "executors", "load", "network", "schedulers", "storage"]
