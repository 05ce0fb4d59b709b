"""`make bench` and `make soak`: figures and endurance of a real `tenantry serve`, over loopback.

In: nothing but a checkout with its development requirements. Out: a table, build/bench.json, exit codes.
May import everything; nothing imports it. Servers, load and measuring are processes of their own.
"""
