"""Build of the compiled module: Cython's border and the C floors beside it.

Everything else about the package stands in pyproject.toml.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, CompileError, ExecError, PlatformError

C_SOURCES = [
    "isa.c",
    "isa_baseline.c",
    "isa_avx2.c",
    "isa_avx512.c",
    "moments.c",
    "passes.c",
    "replicates.c",
    "team.c",
]
HEADERS = [
    "arith.h",
    "batch_body.h",
    "draw.h",
    "isa_body.h",
    "kernels.h",
    "losses.h",
    "margins.h",
    "mean_body.h",
    "moments.h",
    "normals.h",
    "parts.h",
    "pass_body.h",
    "replicates.h",
    "row_body.h",
    "scales.h",
    "sparse_average.h",
    "sparse_body.h",
    "sparse_pass.h",
    "stream.h",
    "stream_body.h",
    "team.h",
    "visits.h",
    "words.h",
    "worker_body.h",
]

# No contraction and no fast-math: the same bits on every processor. The other two
# only say that nobody reads errno or traps; they change no result.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]
HARDENED = ["-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"] if sys.platform.startswith("linux") else []
LINK = ["-Wl,-z,relro,-z,now"] if sys.platform.startswith("linux") else []
if os.environ.get("FASTLSGD_SANITIZE"):  # address,undefined | thread: see .ci/sanitizers
    # Lines for the reports, but no variables, and no way back from a report: in less than half the time.
    sanitize = [f"-fsanitize={os.environ['FASTLSGD_SANITIZE']}", "-fno-omit-frame-pointer", "-g1", "-O1"]
    sanitize += ["-fno-sanitize-recover=undefined"]
    # Python's own flags may have -fwrapv, which makes overflow defined and so not looked for.
    FLAGS, HARDENED, LINK = [*FLAGS, *sanitize, "-fno-wrapv", "-DFL_SEEDED_FAULTS"], [], sanitize


class BuildExt(build_ext):
    """build_ext with sources side by side, and one sentence on what is missing when there is no compiler."""

    def build_extension(self, ext):
        one_by_one = self.compiler.compile

        def side_by_side(sources, **options):
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                parts = list(pool.map(lambda source: one_by_one([source], **options), sources))
            return [name for part in parts for name in part]

        self.compiler.compile = side_by_side
        try:
            super().build_extension(ext)
        except (CCompilerError, CompileError, ExecError, PlatformError, FileNotFoundError) as error:
            sys.exit(
                "fastlsgd needs a C11 compiler and the Python headers (Debian: apt-get install gcc python3-dev; "
                f"macOS: xcode-select --install), and compiling {ext.name} failed: {str(error).splitlines()[-1]}"
            )


kernels = Extension(
    "fastlsgd._kernels",
    sources=["src/_kernels.pyx", *(f"src/{name}" for name in C_SOURCES)],
    depends=["fastlsgd/_kernels.pxd", *(f"src/{name}" for name in HEADERS)],
    include_dirs=["src"],
    extra_compile_args=FLAGS + HARDENED,
    extra_link_args=LINK,
)
kernels.cython_include_dirs = ["."]  # finds fastlsgd/_kernels.pxd
kernels.cython_directives = {
    "language_level": 3,
    "boundscheck": bool(os.environ.get("FASTLSGD_BOUNDSCHECK")),
    "wraparound": False,
    "cdivision": True,
    "embedsignature": True,
}

setup(ext_modules=[kernels], cmdclass={"build_ext": BuildExt})
