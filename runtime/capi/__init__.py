"""The wasmtime C API by ctypes: the only package that holds C pointers.

Comes in: int, bytes, str. Goes out: the same, and frozen dataclasses; no pointer leaves. May import: model,
and alone in the project `ctypes` and `wasmtime`. Bound against the C headers of wasmtime 50.

Three words are used for pointers here: *owned* (this object deletes it, once), *borrowed until …*, and
*consumed by …* (C takes it over).
"""
