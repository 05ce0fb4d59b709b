"""Why a request may leave or not: one enum with stable names, used in errors, metrics and audit alike.

A name, once published, keeps its meaning; new ones may come.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    # The URL: what two parsers could read differently is refused.
    URL_TOO_LONG = "url.too_long"
    URL_MALFORMED = "url.malformed"
    URL_SCHEME = "url.scheme"
    URL_CONTROL_BYTE = "url.control_byte"
    URL_BACKSLASH = "url.backslash"
    URL_USERINFO = "url.userinfo"
    URL_PORT = "url.port"
    URL_HOST = "url.host"
    URL_MIXED_SCRIPT = "url.mixed_script"
    URL_IP_SPELLING = "url.ip_spelling"
    URL_ZONE_ID = "url.zone_id"
    URL_PATH = "url.path"
    # The request beside its URL.
    REQUEST_METHOD = "request.method"
    REQUEST_UPGRADE = "request.upgrade"
    REQUEST_HOST_OVERRIDE = "request.host_override"
    REQUEST_HEADER = "request.header"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_BODY = "request.body"
    REQUEST_LOOP = "request.loop"
    # The policy.
    POLICY_RULE_ALLOW = "policy.rule_allow"
    POLICY_RULE_DENY = "policy.rule_deny"
    POLICY_DEFAULT_DENY = "policy.default_deny"
    POLICY_OPEN = "policy.open"
    POLICY_REPORT_WOULD_DENY = "policy.report_would_deny"
    # What the rule or the tenant's quotas bound.
    LIMIT_RATE = "limit.rate"
    LIMIT_QUOTA_REQUESTS = "limit.quota_requests"
    LIMIT_QUOTA_BYTES = "limit.quota_bytes"
    LIMIT_QUOTA_CONNECTIONS = "limit.quota_connections"
    LIMIT_HOST = "limit.host"
    REDIRECT_LIMIT = "redirect.limit"
    REDIRECT_DOWNGRADE = "redirect.downgrade"
    # What the rule names, and what may not be used as it is.
    SECRET_MISSING = "secret.missing"
    SECRET_PLAINTEXT = "secret.plaintext"
    TLS_MATERIAL_MISSING = "tls.material_missing"
    # The address: one for each AddressClass that is not allowed.
    ADDRESS_SELF_CONNECTION = "address.self_connection"
    ADDRESS_THIS_HOST = "address.this_host"
    ADDRESS_METADATA_SERVICE = "address.metadata_service"
    ADDRESS_UNSPECIFIED = "address.unspecified"
    ADDRESS_LOOPBACK = "address.loopback"
    ADDRESS_PRIVATE = "address.private"
    ADDRESS_SHARED = "address.shared"
    ADDRESS_LINK_LOCAL = "address.link_local"
    ADDRESS_UNIQUE_LOCAL = "address.unique_local"
    ADDRESS_SITE_LOCAL = "address.site_local"
    ADDRESS_DOCUMENTATION = "address.documentation"
    ADDRESS_BENCHMARKING = "address.benchmarking"
    ADDRESS_MULTICAST = "address.multicast"
    ADDRESS_RESERVED = "address.reserved"
    ADDRESS_PROTOCOL = "address.protocol"
    ADDRESS_ORCHID = "address.orchid"
    ADDRESS_IPV6_EMBEDDED = "address.ipv6_embedded"
    ADDRESS_UNALLOCATED = "address.unallocated"
    ADDRESS_NOT_CLASSIFIED = "address.not_classified"
    # Faults: nobody refused, it did not work.
    RESOLVE_NOT_FOUND = "resolve.not_found"
    RESOLVE_FAILED = "resolve.failed"
    RESOLVE_TIMEOUT = "resolve.timeout"
    CONNECT_FAILED = "connect.failed"
    CONNECT_TIMEOUT = "connect.timeout"
    TLS_FAILED = "tls.failed"
    PROXY_FAILED = "proxy.failed"
    UPSTREAM_FAILED = "upstream.failed"
    UPSTREAM_TIMEOUT = "upstream.timeout"
    RESPONSE_TOO_LARGE = "response.too_large"
    CANCELLED = "cancelled"
    INTERNAL = "internal"
