"""What the compiled accelerator brings: two hosts on one core, of which one has only ctypes, take turns."""

from __future__ import annotations

from benchmarks import proc
from benchmarks.figures import Figure
from benchmarks.host import BenchFailed, BenchHost, sample
from benchmarks.load import LoadGenerator, get
from benchmarks.throughput import compare, ratio_figure


def accelerator() -> list[Figure]:
    cores = proc.cores()
    if len(cores) < 2:
        raise BenchFailed("throughput needs two cores: one for the servers, one for the load")
    *others, core = cores
    figures = []
    with (
        BenchHost(workers=1, options=("--accelerator", "on")) as short,
        BenchHost(workers=1, options=("--accelerator", "off")) as reference,
        LoadGenerator(set(others)) as load,
    ):
        sides = {"short": short, "reference": reference}
        for host in sides.values():
            for pid in (host.pid, *host.process_ids("cli.control_process")):
                proc.pin(pid, set(others))
            proc.pin(host.worker_pid, {core})
            host.deploy("hello", sample("hello"), "hello.localhost")
            pages = host.make_kv("pages", "reader")
            host.deploy("reader", sample("kv_read"), "reader.localhost", kv={"STORE": pages})
            host.put_kv(pages, "/greeting", b"Hello from KV!\n")
        for work, request, goal in (
            ("hello", get("hello.localhost"), 1.15),
            ("hello with one KV read", get("reader.localhost", "/greeting"), 1.1),
        ):
            for name, host in sides.items():  # only now: connections that wait are closed
                load.connect(f"{work}, {name}", host.port, [request])
            pairs = compare(
                load, (f"{work}, short", short.worker_pid), (f"{work}, reference", reference.worker_pid)
            )
            figures.append(ratio_figure(f"{work}, with the accelerator", "with ctypes alone", pairs, goal))
    return figures
