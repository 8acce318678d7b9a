"""The Java libraries inside TorchServe's wheel.

They are packed into one jar, without the files that would name them. A library is found by the paths of its classes,
its version by a file of the jar that holds it. If no file does, the version stays unknown.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tools.problem import Problem


@dataclass(frozen=True)
class Library:
    """A library as Maven names it.

    Attributes:
        group: group in Maven.
        artifact: name in Maven.
        classes: beginnings of its classes' paths, separated by spaces.
        file: file of the jar that holds the version; empty: none does.
        pattern: regular expression that finds the version in that file.
    """

    group: str
    artifact: str
    classes: str
    file: str = ""
    pattern: bytes = b""

    @property
    def paths(self) -> tuple[str, ...]:
        """Beginnings of its classes' paths."""
        return tuple(self.classes.split())


_VERSION = rb"\x01\x00.([0-9]+\.[0-9]+(?:\.[0-9]+)?)"
"""A text constant in a class file: its kind, its length in two bytes, the text."""
_SAYS = "META-INF/DEPENDENCIES"

LIBRARIES = [
    Library("io.netty", "netty-all", "io/netty/", "META-INF/io.netty.versions.properties", rb"common\.version=(\S+)"),
    Library("io.grpc", "grpc-netty-shaded", "io/grpc/", "io/grpc/internal/GrpcUtil.class", _VERSION),
    Library("org.apache.logging.log4j", "log4j-core", "org/apache/logging/", _SAYS, rb":log4j-core:jar:(\S+)"),
    Library("com.google.code.gson", "gson", "com/google/gson/", "com/google/gson/Gson.class", rb"GSON ([\d.]+\d)"),
    Library("com.google.protobuf", "protobuf-java", "com/google/protobuf/"),
    Library(
        "com.google.api.grpc",
        "proto-google-common-protos",
        "com/google/api/ com/google/cloud/ com/google/geo/ com/google/logging/ com/google/longrunning/ com/google/rpc/ "
        "com/google/type/",
    ),
    Library("com.google.guava", "guava", "com/google/common/ com/google/thirdparty/"),
    Library("com.google.errorprone", "error_prone_annotations", "com/google/errorprone/"),
    Library("com.google.j2objc", "j2objc-annotations", "com/google/j2objc/"),
    Library("com.google.code.findbugs", "jsr305", "javax/annotation/"),
    Library("com.google.android", "annotations", "android/"),
    Library("org.checkerframework", "checker-qual", "org/checkerframework/"),
    Library("org.codehaus.mojo", "animal-sniffer-annotations", "org/codehaus/mojo/"),
    Library("io.perfmark", "perfmark-api", "io/perfmark/"),
    Library("io.prometheus", "simpleclient", "io/prometheus/"),
    Library("org.yaml", "snakeyaml", "org/yaml/"),
    Library("commons-cli", "commons-cli", "org/apache/commons/cli/"),
    Library("commons-io", "commons-io", "org/apache/commons/io/"),
    Library("org.apache.commons", "commons-compress", "org/apache/commons/compress/"),
    Library("com.lmax", "disruptor", "com/lmax/"),
    Library("org.slf4j", "slf4j-api", "org/slf4j/"),
    Library(
        "org.codehaus.groovy",
        "groovy-all",
        "groovy/ groovyjarjar org/codehaus/groovy/ org/apache/groovy/",
        "META-INF/groovy-release-info.properties",
        rb"ImplementationVersion=(\S+)",
    ),
    Library("org.apache.ant", "ant", "org/apache/tools/", "org/apache/tools/ant/version.txt", rb"VERSION=(\S+)"),
    Library("info.picocli", "picocli", "picocli/", "picocli/CommandLine.class", _VERSION),
    Library("com.thoughtworks.qdox", "qdox", "com/thoughtworks/"),
    Library("com.github.javaparser", "javaparser-core", "com/github/javaparser/"),
    Library("jline", "jline", "jline/ org/fusesource/"),
    Library("junit", "junit", "junit/ org/junit/", "junit/runner/Version.class", _VERSION),
    Library("org.hamcrest", "hamcrest-core", "org/hamcrest/"),
    Library("org.opentest4j", "opentest4j", "org/opentest4j/"),
    Library("org.testng", "testng", "org/testng/"),
    Library("com.beust", "jcommander", "com/beust/"),
    Library(
        "org.webjars",
        "jquery",
        "META-INF/resources/webjars/jquery/",
        "META-INF/resources/webjars/jquery/3.5.1/jquery.js",
        rb"Library v(\S+)",
    ),
]

KNOWN = ("org/pytorch/", *(path for each in LIBRARIES for path in each.paths))


def libraries(jar: Path) -> list[tuple[Library, str | None]]:
    """Returns the libraries in TorchServe's jar, each with its version; None: the jar does not hold the version.

    Args:
        jar: TorchServe's jar.

    Raises:
        Problem: the jar holds classes of an unknown library, or lacks a known library or its version.
    """
    with zipfile.ZipFile(jar) as packed:
        files = [name.removeprefix("META-INF/versions/9/") for name in packed.namelist()]
        classes = [file for file in files if file.endswith(".class") and file != "module-info.class"]
        unknown = [file for file in classes if not file.startswith(KNOWN)]
        gone = [each.artifact for each in LIBRARIES if not any(file.startswith(each.paths) for file in files)]
        if unknown or gone:
            raise Problem(f"tools/bundled.py does not fit {jar.name}: unknown {unknown[:5]}, not there {gone}")
        return [(each, _version(packed, each)) for each in LIBRARIES]


def _version(packed: zipfile.ZipFile, library: Library) -> str | None:
    if not library.file:
        return None
    found = re.search(library.pattern, packed.read(library.file), re.DOTALL)
    if not found:
        raise Problem(f"{library.file} tells no version of {library.artifact} any more")
    return found[1].decode()
