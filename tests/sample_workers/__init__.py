"""Tests of the sample workers and their SDKs."""
