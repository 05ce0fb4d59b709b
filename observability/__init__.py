"""What an operator and a tenant can see of what happened: counters, access lines, guests' log lines.

Comes in: `model.observer` records, snapshots of other processes. Goes out: Prometheus text, JSON lines, log
lines by script. May import: `model`, `storage`. Nothing here waits or raises on a request's way.
"""
