"""The module ABI `tenantry_v1` and WASI preview 1: docs/guest-abi.md is the contract.

`codec` is pure; `host_calls` and `wasi` run on the guest's stack; `session` answers what the guest asked.
"""
