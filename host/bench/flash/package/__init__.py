"""Package files for updates over the air: their manifest, writing, reading and signing one.

A package has 104 bytes first, then a head in lines of text, the list of its files, and the files, each deflated by
itself, so that a board reads it as a stream.
"""

from bench.flash.package.manifest import Head, Kind, Manifest, PackagedFile, PackageError
from bench.flash.package.reader import Package, read, read_file
from bench.flash.package.writer import application_files, write

__all__ = [
    "Head",
    "Kind",
    "Manifest",
    "Package",
    "PackageError",
    "PackagedFile",
    "application_files",
    "read",
    "read_file",
    "write",
]
