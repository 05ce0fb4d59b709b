"""How a replica is, for who watches the host: `/readyz`, metrics, `tenantry doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """Of one file on this machine."""

    file: str
    #: The last entry that this machine has, and the last that the log was seen to have.
    seq: int
    head_seq: int
    #: How long this machine has not been known to hold all that the log has; 0 while it is.
    lag_s: float
    #: How long the database has not answered; None while it does.
    away_s: float | None
    #: Why nothing is applied though the database answers: another release's schema, or a fault; "" when nothing.
    stopped: str
    applied: int
    conflicts: int
    loaded: int

    @property
    def current(self) -> bool:
        return self.away_s is None and not self.stopped and self.seq >= self.head_seq

    def shown(self) -> dict[str, object]:
        return {
            "file": self.file,
            "seq": self.seq,
            "log_seq": self.head_seq,
            "lag_s": round(self.lag_s, 3),
            "away_s": None if self.away_s is None else round(self.away_s, 3),
            "stopped": self.stopped,
        }
