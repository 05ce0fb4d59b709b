"""Totals that outlive the process which adds them up: a small file, for as long as one `tenantry serve` runs.

What has been shown is on file before it is shown, so no counter goes back when control starts again: worker
processes that live go on sending their own numbers, and those of the dead are in the file.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgpack

from observability.metrics import BY_NAME, GAUGE, Samples
from observability.totals import InvalidSnapshot, Totals, merge, parse_snapshot

_log = logging.getLogger("tenantry.metrics")

_EVERY_S: Final = 5.0


class KeptTotals(Totals):
    """`run` names the run of the host: the numbers of an earlier one are left behind. `absolute` counters of
    this process's own are told anew by whoever counts them, and not kept.
    """

    def __init__(
        self,
        path: Path,
        run: str,
        absolute: frozenset[str] = frozenset(),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._path = path
        self._run = run
        self._absolute = absolute
        self._now_s = now_s
        self._own: Samples = {}
        self._saved_s = now_s()
        self._is_failing = False
        self._load()

    @property
    def processes(self) -> frozenset[str]:
        """Those that were heard of last, and not that they had ended: some may have, meanwhile."""
        return frozenset(self._latest)

    def update(self, process: str, snapshot: object) -> None:
        super().update(process, snapshot)
        if self._now_s() - self._saved_s >= _EVERY_S:
            self._save()

    def ended(self, process: str) -> None:
        super().ended(process)
        self._save()

    def shown(self, own: Samples) -> Samples:
        """All, with this process's `own`, to be shown to somebody."""
        self._own = {key: value for key, value in own.items() if key[0] not in self._absolute}
        self._save()
        return self.merged(own)

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("counters begin anew: %s: %s", self._path, error.strerror)
            return
        try:
            run, ended, own, latest = msgpack.unpackb(data)
            if run != self._run:
                return
            before = merge([parse_snapshot(ended), parse_snapshot(own)])
            processes = {str(name): _counted(parse_snapshot(rows)) for name, rows in latest.items()}
        except (InvalidSnapshot, ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
            _log.warning("counters begin anew: %s is damaged (%s)", self._path, error)
            return
        self._ended, self._latest = _counted(before), processes

    def _save(self) -> None:
        self._saved_s = self._now_s()
        latest = {name: _rows(_counted(samples)) for name, samples in self._latest.items()}
        data = msgpack.packb([self._run, _rows(self._ended), _rows(_counted(self._own)), latest])
        beside = self._path.with_name(f".{self._path.name}")
        try:
            # Without fsync: it is to survive this process, and the run ends with the machine.
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(beside, self._path)
        except OSError as error:
            if not self._is_failing:
                _log.warning("counters may go back when control starts again: %s", error)
            self._is_failing = True
            return
        self._is_failing = False


def _counted(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if BY_NAME[key[0]].kind != GAUGE}


def _rows(samples: Samples) -> list[Iterable[object]]:
    return [(name, values, numbers) for (name, values), numbers in samples.items()]
