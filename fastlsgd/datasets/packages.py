"""Packages that carry the known sets: found without importing them, or fetched into the cache folder."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class DatasetNotInstalled(ImportError):  # noqa: N818 - the public name says what is the matter
    """Raised by `load` for a known set whose files are not on this machine; the message has the command."""


class Package(NamedTuple):
    """Where files come from; `version` is what `install` asks pip and npm for."""

    client: str  # "pip", "pip-source" (no wheel), "npm", "apt-get" or "bundled"
    requires: tuple  # distribution names
    version: str
    files: tuple  # paths inside the package
    licence: str

    @property
    def folder(self):
        """Name of the package's folder in the cache folder."""
        return f"{self.requires[0]}-{self.version}" if self.version else self.requires[0]

    @property
    def title(self):
        """Name and registry, for people."""
        registry = {"npm": " (npm)", "apt-get": " (Debian)", "bundled": ""}.get(self.client, " (PyPI)")
        more = f" and {len(self.requires) - 1} more" if len(self.requires) > 1 else ""
        return self.requires[0] + more + registry

    @property
    def command(self):
        """The client's command that gets the package, as a list of str."""
        pinned = f"{self.requires[0]}=={self.version}"
        return {
            "pip": ["pip", "download", "--no-deps", "--only-binary", ":all:", pinned],
            "pip-source": ["pip", "install", "--no-deps", pinned],
            "npm": ["npm", "pack", "--ignore-scripts", pinned.replace("==", "@")],
            "apt-get": ["apt-get", "download", *self.requires],
        }[self.client]


def cache_folder(cache):
    """Return the folder given, else FASTLSGD_DATA, else ``fastlsgd`` in the user's cache folder, as a Path."""
    cache = cache or os.environ.get("FASTLSGD_DATA")
    if not cache:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fastlsgd"
    return Path(cache).expanduser().absolute()


def locate(package, cache):
    """Return the path of each file, or None: in the installed package first, then in the cache folder."""
    roots = [cache_folder(cache) / package.folder]
    if package.client == "apt-get":
        roots.insert(0, Path("/"))
    elif package.client.startswith("pip"):
        roots[:0] = _installed_roots(package)
    return [next((root / f for root in roots if (root / f).is_file()), None) for f in package.files]


def _installed_roots(package):
    """Return the folders that may hold an installed package, without importing it."""
    distribution = _distribution(package)
    roots = [] if distribution is None else [Path(str(distribution.locate_file("")))]
    # A development install has its metadata in another place than its files.
    spec = importlib.util.find_spec(package.files[0].split("/")[0])
    if spec is not None and spec.submodule_search_locations:
        roots += [Path(folder).parent for folder in spec.submodule_search_locations]
    return roots


def _distribution(package):
    from importlib import metadata  # 20 ms, which `import fastlsgd` need not spend

    try:
        return metadata.distribution(package.requires[0])
    except metadata.PackageNotFoundError:
        return None


def find(name, package, cache):
    """Return (paths, source sentence) of a known set."""
    paths, in_cache = locate(package, cache), cache_folder(cache)
    if not all(paths):
        raise DatasetNotInstalled(
            f"data set {name!r} is not installed; run: fastlsgd data {name} "
            f"(it runs: {' '.join(package.command)}, and keeps the files in {in_cache})"
        )
    version = package.version or "as in Debian 12"
    if package.client == "bundled" or (package.client.startswith("pip") and in_cache not in paths[0].parents):
        version = getattr(_distribution(package), "version", "of an unknown version")
    files = ", ".join(package.files) or f"data set {name}"
    return paths, f"{package.title} {version}, {files}, {package.licence}."


def is_installed(package, cache):
    """Return whether `find` would find every file."""
    if package.client == "bundled":
        return importlib.util.find_spec("sklearn") is not None
    return all(locate(package, cache))


def install(package, cache):
    """Fetch a package and move the needed files into the cache folder; return their folder."""
    folder = cache_folder(cache) / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    # A temporary folder beside the target: os.replace is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as tmp:
        root = _fetch(package, Path(tmp))
        for file in package.files:
            # resolve: a link must not lead us to a file outside of the package.
            if not (root / file).is_file() or not (root / file).resolve().is_relative_to(root.resolve()):
                raise RuntimeError(f"{package.title} does not hold {file}; its layout has changed")
        for file in package.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(root / file, folder / file)
    return folder


def _run(command, folder):
    """Run a client in a folder; its last lines are the error message."""
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", check=False)  # fmt: skip
    except FileNotFoundError as error:
        raise RuntimeError(
            f"{command[0]} is not on this machine; it is needed to run: {' '.join(command)}"
        ) from error
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-6:]
        raise RuntimeError("\n".join([f"{' '.join(command)} failed with exit code {done.returncode}:", *lines]))


def _fetch(package, folder):
    """Run the client in an empty folder; return the folder in which the package's files now lie."""
    root, command = folder / "unpacked", package.command
    root.mkdir()
    if package.client.startswith("pip"):
        command = [sys.executable, "-m", *command]
    if package.client == "pip-source":
        _run([*command, "--no-compile", "--target", str(root)], folder)
        return root
    _run(command, folder)
    archives = [path for path in sorted(folder.iterdir()) if path.is_file()]
    for archive in archives:
        if package.client == "apt-get":
            _run(["dpkg-deb", "-x", archive.name, str(root)], folder)
        else:
            _unpack(archive, package.files, root)
    return root


def _unpack(archive, files, root):
    """Copy files out of a wheel or tarball; refuse an archive of which any member points out of its folder.

    Contents are copied to paths that we choose: no link, mode or path of the archive reaches the disk.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _refuse_unsafe(archive, opened.namelist())
            for file in set(files) & set(opened.namelist()):
                _copy(opened.open(file), root / file)
        return
    with tarfile.open(archive) as opened:
        members = {member.name: member for member in opened.getmembers()}
        _refuse_unsafe(archive, members)
        for file in set(files) & set(members):
            if not members[file].isfile():
                raise ValueError(f"{archive.name} holds {file} as a link or device, not as a file; refused")
            _copy(opened.extractfile(members[file]), root / file)


def _refuse_unsafe(archive, members):
    for name in members:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name[:3]:
            raise ValueError(f"{archive.name} holds the unsafe path {name!r}; nothing was unpacked")


def _copy(source, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
