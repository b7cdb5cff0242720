"""A connection to Ray, and a worker's share of its machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from pixelwise.errors import MissingExtraError, PixelwiseError, UsageError
from pixelwise.inference.engines import available_cores
from pixelwise.io.remote import first_line

_ANSWER = 5.0  # s to wait for an address
_CORES_FREE = 5.0  # s to wait for the cores of a worker that is just ending


@contextlib.contextmanager
def cluster(address: str | None, workers: int | None, cores: int) -> Iterator[int]:
    """A connection to Ray; yields the number of workers. What was started here is stopped at the end."""
    # Read when ray is imported. It reports nothing home, and never packs the working folder.
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError:
        raise MissingExtraError("prediction on Ray", "ray") from None

    if ray.is_initialized():
        yield _count_workers(workers, cores)
        return
    if address:
        _check_address(address)
    local: dict[str, Any] = {}
    if not address:
        count = workers or max(1, available_cores() // cores)
        local = {"num_cpus": count * cores, "include_dashboard": False}
    try:
        with _hushed():
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:  # Ray ends the process when it gives up
        ray.shutdown()
        if not address:
            raise PixelwiseError(f"Ray cannot be started here: {first_line(error)}") from None
        raise _no_answer(address, first_line(error)) from None
    try:
        yield _count_workers(workers, cores)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Drop what native code writes to stderr: Ray says there that it was told to say less."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


QUIET_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def _count_workers(workers: int | None, cores: int) -> int:
    """As many as were asked for, or as fit; UsageError when not even one does."""
    import ray

    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = sum(size // cores for size in sizes)
    if most == 0:
        raise UsageError(
            f"a worker of {cores} cores fits on no machine of the cluster, the largest of which "
            f"has {max(sizes, default=0)}; ask for fewer cores"
        )
    return min(workers or most, most)


def _check_address(address: str) -> None:
    """Raise UsageError for an address that cannot be right, within seconds: Ray would try for minutes."""
    if address.startswith("ray://"):
        raise UsageError(
            f"--ray {address}: Ray Data does not work through the Ray client; run this on a machine of the "
            "cluster with --ray auto, or hand it in with 'ray job submit -- pixelwise predict ... --ray auto'"
        )
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        try:
            found = canonicalize_bootstrap_address("auto") or ""  # what $RAY_ADDRESS says, or what runs here
        except ConnectionError:
            raise UsageError(
                "--ray auto: this machine is in no Ray cluster; start one: ray start --head"
            ) from None
        if not found.startswith("ray://"):
            _connect(found, address)
        return
    _connect(address, address)


def _connect(found: str, address: str) -> None:
    host, _, port = found.rpartition(":")
    if not (host and port.isdigit()):
        raise UsageError(f"--ray {address}: expected HOST:PORT or auto, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, first_line(error)) from None


def _no_answer(address: str, reason: str) -> UsageError:
    return UsageError(
        f"--ray {address}: no Ray cluster answers there ({reason}); check host and port "
        "(6379 unless changed), that 'ray start --head' was run there, and that both sides have the same Ray "
        "and RAY_AUTH_MODE"
    )


@contextlib.contextmanager
def quiet_data() -> Iterator[None]:
    """Ray Data's options for what is defined within: no progress bars, no lines about plans."""
    from ray.data import DataContext

    with warnings.catch_warnings():  # copying reads options that are deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with DataContext.current(context), warnings.catch_warnings():
        # Ray 2.60 deprecates max_task_retries, and has nothing yet that takes its place.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        yield


def claim_cores(count: int) -> list[socket.socket]:
    """Bind this process to ``count`` cores of its machine that no other worker has claimed.

    Ray counts cores but hands out no particular ones, and engines bind their threads to the first that they
    see: without this, the workers of one machine would crowd on the same ones. A claim is an abstract Unix
    socket, which ends with the process however that ends. When too few are free, or where the system cannot
    bind, the process keeps all.

    Returns
    -------
    list
        The claims; they last for as long as they are held.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    end = time.monotonic() + _CORES_FREE
    while True:
        claims: dict[int, socket.socket] = {}
        for core in sorted(os.sched_getaffinity(0)):
            if len(claims) == count:
                break
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0pixelwise-core-{core}")
            except OSError:
                claim.close()
            else:
                claims[core] = claim
        if len(claims) == count:
            # An affinity is a thread's, and Ray has started some already.
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(thread), claims)
            return list(claims.values())
        for claim in claims.values():
            claim.close()
        if time.monotonic() > end:
            return []
        time.sleep(0.1)
