"""Strings of the facts and the bytes they stand for."""

from __future__ import annotations


def as_bytes(value: str) -> bytes:
    """The bytes that a string of the facts stands for."""
    return value.encode("utf-8", "surrogateescape")


def as_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def lower(value: str) -> str:
    return value.lower() if value.isascii() else as_text(as_bytes(value).lower())
