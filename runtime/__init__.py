"""One guest, one event, inside limits.

In: the bytes of a worker, an event (a request, a batch of messages, a cron tick), limits, and what the guest
is lent, as protocols of `model.capabilities`. Out: the worker's response, what the event used, and how it
ended. This package knows no HTTP server, no database and no network; it may import only `model`.
"""
