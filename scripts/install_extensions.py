"""Install torch_scatter and torch_cluster into the running environment, and make sure that they load.

They are source distributions that need torch to build. Installers cache the wheels that they build by the name of the
source alone, so that a cached wheel no longer loads once torch changes. Here, the cache key also contains torch's
version, installed packages are always imported, and those that fail to import are rebuilt without the cache.
"""

import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch_scatter", "torch_cluster")
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
BYTES_PER_JOB = 2 * 2**30  # the compiler's peak memory for one source file of these packages


def import_errors() -> dict[str, str]:
    """Return the packages that fail to import, with the error; try in new processes, as a wrong build may crash."""
    errors = {}
    for package in PACKAGES:
        command = [sys.executable, "-W", "ignore", "-c", f"import {package}"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            errors[package] = (result.stderr.strip() or f"exit status {result.returncode}").splitlines()[-1]
    return errors


def uv_pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "uv", "pip", *arguments, "--python", sys.executable]
    if subprocess.run(command, env=environment).returncode:
        sys.exit(f"install_extensions: `uv pip {' '.join(arguments)}` failed, see above")


def builds_for_cuda() -> bool:
    """Whether there is a GPU, and a CUDA compiler of the major version that torch was built with."""
    import torch

    if os.environ.get("FORCE_CUDA") == "1":
        return True
    if not torch.cuda.is_available():
        return False
    from torch.utils.cpp_extension import CUDA_HOME

    nvcc = Path(CUDA_HOME or "", "bin", "nvcc")
    release = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout if nvcc.is_file() else ""
    if f"release {str(torch.version.cuda).split('.')[0]}." in release:
        return True
    print(f"No nvcc for CUDA {torch.version.cuda} found (set CUDA_HOME): building for CPU tensors only.", flush=True)
    return False


def build_environment(for_cuda: bool, config: Path) -> dict[str, str]:
    """Return variables for a quick build: all cores, and no debug information, which takes a third of compile time."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    jobs = int(os.environ.get("MAX_JOBS") or max(1, min(os.cpu_count() or 1, memory // BYTES_PER_JOB)))
    if for_cuda:
        jobs = 1  # torch swaps the compiler for each CUDA source, which is not safe across threads
    config.write_text(f"[build_ext]\nparallel = {jobs}\n")
    environment = {**os.environ, "DIST_EXTRA_CONFIG": str(config)}
    environment |= {flags: f"{os.environ.get(flags, '')} -g0" for flags in ("CFLAGS", "CXXFLAGS")}
    return environment | ({} if for_cuda else {"FORCE_ONLY_CPU": "1", "UV_CONCURRENT_BUILDS": "1"})


def install(packages: list[str], *options: str) -> None:
    for_cuda = builds_for_cuda()
    build_key = f"{metadata.version('torch')}-{'cuda' if for_cuda else 'cpu'}"
    for package in packages:  # setup.py ignores this setting, but uv uses it to tell cached builds apart
        options += ("--config-settings-package", f"{package}:torch={build_key}")
    with tempfile.TemporaryDirectory() as folder:
        environment = build_environment(for_cuda, Path(folder, "build.cfg"))
        uv_pip("install", "--no-build-isolation", "-c", str(CONSTRAINTS), *options, *packages, environment=environment)


def main() -> None:
    errors = import_errors()
    if not errors:
        return
    print(f"Installing {' and '.join(errors)}. Unless a built wheel is cached, each is compiled from source once,")
    print("which takes 4-8 minutes on 2 cores.", flush=True)
    uv_pip("uninstall", "--quiet", *errors)
    uv_pip("install", "--quiet", "-c", str(CONSTRAINTS), "scipy", "setuptools")
    install(list(errors))

    errors = import_errors()
    if errors:
        print(*map(": ".join, errors.items()), sep="\n")
        print("The cached wheel does not match this version of torch: building again without the cache.", flush=True)
        install(list(errors), "--no-cache", *(f"--reinstall-package={package}" for package in errors))
        errors = import_errors()
    if errors:
        sys.exit("\n".join(["install_extensions: these still fail to import:", *map(": ".join, errors.items())]))


if __name__ == "__main__":
    main()
