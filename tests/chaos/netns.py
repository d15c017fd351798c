"""What if the network between services breaks? Each in a network namespace of its own, on a bridge in one more.

All private addresses live inside these namespaces, none in the machine's own. Ways to break a link:

    cut(node)            the cable is pulled: the bridge's end of the node's link goes down
    mute(one, other)     frames between two nodes vanish without a word, both ways; each still reaches everybody else

`mute` points the neighbour entry of the other at an address that nobody has, so it needs no firewall; connections
that stand see pure silence, as behind a dead switch. `heal` undoes all. Needs root and `ip`.
"""
import atexit
import os
import shutil
import subprocess
from dataclasses import dataclass

NOBODY = "02:00:00:00:00:ff"


class NotPermitted(Exception):
    """This machine does not let us make namespaces."""


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise NotPermitted(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Node:
    """A namespace with one address on the bridge."""

    name: str
    namespace: str
    address: str
    cable: str

    def prefix(self):
        """What a command is started with to run in here. `ip` becomes the command: the process id stays."""
        return ["ip", "netns", "exec", self.namespace]


class Network:
    """A bridge and its nodes."""

    def __init__(self, names):
        self.hub = f"chaos-{os.getpid()}-hub"
        self._namespaces, self._nodes, self._muted = [], {}, set()
        atexit.register(self.remove)
        if not shutil.which("ip"):
            raise NotPermitted("there is no `ip` command")
        self._namespace(self.hub)
        ip("-n", self.hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.hub, "link", "set", "bridge", "up")
        for number, name in enumerate(names, start=11):
            self._add(name, number)

    def _namespace(self, name):
        ip("netns", "add", name)
        self._namespaces.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def _add(self, name, number):
        namespace, cable = f"chaos-{os.getpid()}-{number}", f"cable{number}"
        self._namespace(namespace)
        ip("-n", self.hub, "link", "add", cable, "type", "veth", "peer", "name", "net", "netns", namespace)
        ip("-n", self.hub, "link", "set", cable, "master", "bridge", "up")
        node = Node(name, namespace, f"10.77.0.{number}", cable)
        ip("-n", namespace, "address", "add", f"{node.address}/24", "dev", "net")
        ip("-n", namespace, "link", "set", "net", "up")
        self._nodes[name] = node

    def node(self, name):
        return self._nodes[name]

    def cut(self, name):
        ip("-n", self.hub, "link", "set", self._nodes[name].cable, "down")

    def mute(self, one, other):
        for here, there in ((one, other), (other, one)):
            here, there = self._nodes[here], self._nodes[there]
            ip("-n", here.namespace, "neighbour", "replace", there.address, "lladdr", NOBODY, "dev", "net", "nud", "permanent")
            self._muted.add((here, there))

    def heal(self):
        for node in self._nodes.values():
            ip("-n", self.hub, "link", "set", node.cable, "up")
        for here, there in self._muted:
            ip("-n", here.namespace, "neighbour", "delete", there.address, "dev", "net")
        self._muted.clear()

    def remove(self):
        for name in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        self._namespaces, self._nodes = [], {}
