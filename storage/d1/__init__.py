"""Tenants' own SQL databases: a SQLite file each, and hostile SQL in it.

In come statements of a tenant's, out come rows and figures. `sql` and `limits` are pure; `sandbox` and `guard` hold a
connection to what is allowed (`open_database`); `connection` runs one request, `quick_reads` says which on the loop;
`files` makes, copies and removes; `store` has threads and bounds. Beside `storage.database`, only this package knows
apsw.
"""
