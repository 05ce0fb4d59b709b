"""Expressions as rules in the wild have them, over Cloudflare's own fields; and such as nobody should accept."""

from __future__ import annotations

from typing import Final

_LINES: Final = r"""
ssl
not ssl
!ssl
! ssl
not not ssl
(ssl)
((ssl) or (not ssl))
ssl and(cf.client.bot)
ssl&&cf.client.bot
ssl||cf.client.bot^^ssl
not(ssl)
http.host eq "www.example.com"
http.host=="www.example.com"
http.host == "www.example.com" and not http.cookie contains "beta"
http.host ne "www.example.com" and http.host != "example.com"
http.host lt "m"
http.host >= "m"
lower(http.host) == "www.example.com"
lower (http.host) eq "a"
http.request.uri.path eq "/articles/2008/"
http.request.uri.path contains "/articles/"
http.request.uri.path matches "^/articles/200[7-8]/$"
http.request.uri.path ~ "^/articles/200[7-8]/$"
http.request.uri.path matches r"/api/login\.aspx$"
http.request.uri.path matches "/autodiscover\.(xml|src)$"
http.request.uri.path matches "a\"b"
http.request.uri.path matches r#"a"b"#
http.request.uri.path matches r##"a"#b"##
http.request.uri.path matches "[\"']"
http.request.uri.path matches "["]"
http.request.uri.path wildcard "/articles/*"
http.request.uri.path strict wildcard "/AdminTeam/*"
http.request.full_uri wildcard "https://example.com/a/*"
http.request.full_uri wildcard "*.example.com/*" or http.request.full_uri wildcard "example.com/*"
http.request.full_uri wildcard r"https://example.com/\*/*"
http.host wildcard "a\\*b"
http.host wildcard ""
http.host matches "[[:alpha:]]"
http.host matches "[\[\&&]"
http.host matches "(?P<n>a)(?<m>b)"
http.host matches "(?s-i:a.b){2,5}"
http.host matches "\b\/[\d\-]+\.\w{3}\z"
http.host matches "é"
http.host in {"example.com" "example.net"}
http.host in {"a""b"}
http.host in{"a"}
http.host in {}
not http.host in {"example.com"}
ip.src eq 203.0.113.7
ip.src ne 203.0.113.0
ip.src == 2001:db8::1
ip.src lt 203.0.113.7
ip.src in {203.0.113.0 203.0.113.1}
ip.src in {203.0.113.0/24 2001:db8::/32}
ip.src in {198.51.100.1 198.51.100.3..198.51.100.7 192.0.2.0/24 2001:db8::/32}
ip.src in {2001:db8::1..2001:db8::ff}
ip.src in {0.0.0.0/0 ::/0}
(ip.src in $office_network)
ip.src in $cf.malware
ip.src.asnum in $asns
http.host in $hosts
ip.src.asnum in {12345 54321 11111}
ip.src.country in {"CN" "TH" "US"}
ip.src.country eq "PT" or ip.src.is_in_european_union
cf.edge.server_port in {80 443}
not cf.edge.server_port in {80 443 8000..8009}
cf.waf.score lt 10
cf.waf.score le 20
cf.waf.score gt 25
cf.waf.score ge 60
cf.waf.score eq 0x1f
cf.waf.score eq -5
cf.waf.score in {-5..5}
cf.waf.score & 3
cf.waf.score bitwise_and 0xff
cf.waf.score<5
cf.waf.score ge -9223372036854775808
cf.waf.score.class eq "attack"
http.host eq "a" and http.host eq "b" or http.host eq "c" xor http.host eq "d"
(http.host eq "a" and http.host eq "b") or not (http.host eq "c" xor http.host eq "d")
http.host eq "a" && http.host eq "b" || http.host eq "c" ^^ http.host eq "d"
http.host eq "\x41\101\"\\"
http.host eq "é"
http.host eq ""
http.host eq r"a\nb"
http.host eq r#"a"b"#
http.host eq "# no comment"
http.request.headers["accept"][0] == "application/json"
http.request.headers[ "accept" ][ 0 ] eq "a"
http.request.headers["x"][0x1] eq "a"
http.request.headers.names[0] == "Content-Type"
any(http.request.headers["accept"][*] == "application/json")
any(http.request.headers.names[*] == "Content-Type")
any(lower(http.request.headers.names[*])[*] == "content-type")
all(http.request.headers["content-type"][*] == "application/json")
all(http.request.headers["x"][*] in {"a" "b"})
any(http.request.headers[*][*] contains "a")
any(http.request.headers["x"][*] matches "^a")
any(http.request.headers["x"][*] wildcard "a*")
any(not http.request.headers["x"][*] eq "a")
any((http.request.headers["x"][*] eq "a" and http.request.headers["x"][*] ne "b"))
any((http.request.headers["x"][*] eq "a" or not http.request.headers["x"][*] ne "b"))
all((http.request.headers["x"][*] eq "a" xor http.request.headers["y"][*] ne "b"))
any(http.request.headers["x"][*] in $hosts)
not any(http.request.headers["x"][*] eq "a")
any(http.request.body.multipart.names[*][*] eq "a")
any(http.request.body.multipart.names[0][*] eq "a")
any(url_decode(http.request.body.form.values[*])[*] contains "an xss attack")
any(decode_base64(http.request.headers["client_id"][*])[*] eq "123abc")
any(cf.bot_management.detection_ids[*] in {33554817 50331651})
any(cf.bot_management.detection_ids[*] eq 5)
cf.bot_management.detection_ids[0] eq 5
cf.llm.prompt.custom_topic_categories["a"] lt 30
any(cf.llm.prompt.custom_topic_categories[*] lt 30)
all(len(http.request.uri.args["filter"][*])[*] in {3 4})
all(not len(http.request.uri.args["filter"][*])[*] in {3 4})
len(http.request.uri.args["filter"][1]) eq 4
len(http.host) gt 5
any(len(http.request.headers.names[*])[*] gt 5)
starts_with(http.request.uri.path, "/blog")
starts_with(http.host,"a")
starts_with(lower(http.host), "a") and ssl
starts_with(http.host, http.cookie)
not starts_with(http.request.uri.path, "/blog")
ends_with(http.request.uri.path, ".html")
any(starts_with(http.request.headers.names[*], "x-"))
any(ends_with(lower(http.request.headers.names[*])[*], "x-"))
upper(http.host) eq "A"
lower(upper(http.host)) eq "a"
concat(http.host, http.request.uri.path) eq "example.com/a"
concat("a", http.host) eq "ab"
concat(http.request.headers.names, http.request.headers.values)[0] eq "a"
substring(http.host, 0, 3) eq "www"
substring(http.request.body.raw, 2, 5) eq "dfg"
url_decode(http.request.uri.path) matches "^/a b"
remove_bytes(http.host, "\x2e\x77") eq "cloudflarecom"
remove_bytes(lower(http.host), ".") eq "a"
lookup_json_string(http.request.body.raw, "company") == "cloudflare"
lookup_json_integer(http.request.body.raw, "version") eq 2
to_string(cf.waf.score) eq "5"
cidr(ip.src, 24, 24) eq 113.10.0.0
cidr6(ip.src, 24) eq 2001::
cidr(ip.src, 24, 64) in {113.10.0.0 2001:db8::/32}
cidr(cidr6(ip.src, 64), 24, 64) eq ::
decode_base64(http.cookie) eq "a"
encode_base64(http.cookie) eq "a"
encode_base64(http.cookie, "up") eq "a"
encode_base64(sha256(http.host)) eq "a"
sha256(http.host) eq "a"
sha512(http.host) eq "a"
split(http.request.headers["x-categories"][0], ",", 64)[0] eq "a"
any(split(http.cookie, "; ", 64)[*] eq "a=b")
join(http.request.headers.names, ",") contains "x-"
has_key(http.request.headers, "a")
has_value(http.request.headers.names, "a")
(http.host eq "api.example.com" and http.request.uri.path eq "/api/v2/auth")
(http.host matches "^(www|store|blog)\.example\.com" and http.request.uri.path contains "wp-login.php")
(http.host eq "a" or ip.src.country in {"CN" "TH"} or ip.src.asnum in {12345}) and not ip.src in {11.22.33.0/24}
http.request.method in {"POST" "PUT"} and http.request.uri.path matches "(?i)^/admin"
http.user_agent contains "curl" or http.user_agent eq ""
http.referer eq "" and http.request.method eq "POST"
not http.request.version in {"HTTP/2" "HTTP/3"}
http.x_forwarded_for ne "" and cf.threat_score gt 14
any(http.request.uri.args["search"][*] contains "red+apples")
any(http.request.cookies["app"][*] eq "test")
any(http.request.uri.args.names[*] matches "^utm_")
http.request.body.size gt 1024 and not http.request.body.truncated
http.request.body.mime eq "image/jpeg"
http.request.timestamp.sec gt 1483228800
http.request.uri.query contains "q=a&b=c"
raw.http.request.uri.path contains ".."
http.response.code in {400..499 500}
cf.tls_client_auth.cert_verified and not cf.tls_client_auth.cert_revoked
cf.tls_version eq "TLSv1.2" and not cf.bot_management.verified_bot
cf.bot_management.score le 30 and not cf.bot_management.static_resource
any(http.request.jwt.claims.iat.sec["a"][*] lt 1700000000)
any(http.request.jwt.claims.aud.values[*] in {"a" "b"})
"""

WRITTEN: Final = [
    *_LINES.strip().split("\n"),
    "ssl\nand cf.client.bot\r\nor not ssl",
    "  ssl  ",
    'http.host eq "two\nlines"',
]

BROKEN: Final = r"""
or ssl
ssl or
ssl and or ssl
ssl ssl
not
()
(ssl
ssl)
ssl eq true
ssl == 1
ssl in {true}
true
"a" eq http.host
http.host
http.host eq
http.host eq 5
http.host eq abc
http.host eq 'a'
http.host eq "a
http.host eq "a\n"
http.host eq "\x4"
http.host eq "\400"
http.host = "a"
http.host === "a"
http.host eq "a" AND ssl
http.host EQ "a"
http.host eq "a" "b"
http.host not in {"a"}
http.host not eq "a"
http.host in "a"
http.host in {"a", "b"}
http.host in {"a" 5}
http.host in {"a"
http.host in {5}
http.host in $
http.host in $Office
http.host in $.a
http.host in $a.
http.host contains 5
http.host contains {"a" "b"}
http.host contains "a" "b"
http.host & 5
http.host matches "("
http.host matches "[a"
http.host matches "(?=a)"
http.host matches "(a)\1"
http.host matches 5
http.host wildcard "a**b"
http.host wildcard "a\*b"
http.host wildcard r"a\qb"
http.host wildcard 5
http.host strict  wildcard "a"
http.host strict "a"
http.host starts_with "a"
http.host[0] eq "a"
http.host["a"] eq "a"
http.host[*] eq "a"
http.hostname eq "a"
http eq "a"
.http.host eq "a"
http..host eq "a"
ip.src eq "203.0.113.7"
ip.src eq 203.0.113.0/24
ip.src eq 203.0.113.256
ip.src in {203.0.113.7/24}
ip.src in {203.0.113.0/33}
ip.src in {203.0.113.9..203.0.113.1}
ip.src in {203.0.113.9..::1}
ip.src in {203.0.113.0/24, 10.0.0.0/8}
ip.src contains "203"
ip.src matches "203"
ip.src & 5
cf.waf.score eq "5"
cf.waf.score eq 5.5
cf.waf.score eq 09
cf.waf.score eq 0x
cf.waf.score eq 9223372036854775808
cf.waf.score eq -9223372036854775809
cf.waf.score in {5..1}
cf.waf.score in {1 .. 5}
cf.waf.score in {1,2}
cf.waf.score contains 5
cf.waf.score eq
cf.waf.score 5
http.request.headers eq "a"
http.request.headers["x"] eq "a"
http.request.headers["x"][*] eq "a"
http.request.headers[0] eq "a"
http.request.headers["x"]["y"] eq "a"
http.request.headers["x"][-1] eq "a"
http.request.headers[r"x"][0] eq "a"
http.request.headers[x][0] eq "a"
http.request.headers["x][0] eq "a"
http.request.headers["x"[0] eq "a"
http.request.headers.names["x"] eq "a"
http.request.headers.names[*] eq "a"
http.request.headers.names eq "a"
http.request.headers.names[0]
any(http.request.headers[*] eq "a")
any(http.request.headers.names eq "a")
any(http.request.headers.names[*])
any(http.request.headers.names)
any(ssl)
any("a")
any()
any
any(http.request.headers["x"][*] eq "a" and http.request.headers["x"][*] eq "b")
any((http.request.headers["x"][*] eq "a" and ssl))
any(http.request.headers["x"][*] eq "a") and http.request.headers["x"][*] eq "a"
any(lower(http.request.headers.names)[*] eq "a")
any(lower(http.request.headers.names[*]) eq "a")
any(starts_with(http.request.headers.names[*], "a")[*])
any(starts_with(http.host, http.request.headers.names[*]))
lower(http.host)
lower("A") eq "a"
lower() eq "a"
lower(http.host, "a") eq "a"
lower(http.host,) eq "a"
lower(,http.host) eq "a"
lower http.host eq "a"
lower(http.host eq "a"
lower(cf.waf.score) eq "a"
lowercase(http.host) eq "a"
starts_with(http.host)
starts_with(http.host, 5)
starts_with(http.host, "a") eq true
starts_with("abc", "a")
len(cf.waf.score) eq 5
len(http.request.headers) eq 5
substring(http.host) eq "a"
substring(http.host, cf.waf.score) eq "a"
substring(http.host, "a") eq "a"
cidr(ip.src, 24) eq 10.0.0.0
cidr("10.0.0.1", 24, 64) eq 10.0.0.0
concat(http.host, 1) eq "a"
concat(http.host, http.request.headers.names) eq "a"
concat() eq "a"
split(http.host) eq "a"
split(http.host, ",", 5) eq "a"
lookup_json_string(http.host) eq "a"
http.host eq http.host eq "a"
http.host eq (http.cookie)
(http.host) eq "a"
http.host matches "[[]"
http.host matches "[é]"
http.host matches "[\p{Greek}]"
http.host matches "a{,5}"
http.host matches "a{"
http.host matches "\pL"
# comment
ssl # comment
ssl // comment
ssl; ssl
ssl, ssl
ssl ? ssl : ssl
cf.waf.score + 1 eq 5
{ssl}
[ssl]
ssl[0]
$hosts
http.host in $hosts $hosts
""".strip().split("\n")

# What we take and the oracle refuses, or the other way round: expression, whether we take it, why.
DIFFERENT: Final = [
    # Documented by Cloudflare, and unknown to the oracle's table of functions
    ('len(http.request.headers.names) gt 5', True, "len counts the items of an array"),
    ('len(http.request.uri.args["filter"]) >= 0', True, "len counts the items of an array"),
    ("substring(http.host, -3) eq \"com\"", True, "the end is optional"),
    ('to_string(ssl) eq "true"', True, "to_string takes booleans and addresses"),
    ('to_string(ip.src) eq "203.0.113.7"', True, "to_string takes booleans and addresses"),
    ('url_decode(http.host, "ru") eq "a"', True, "url_decode takes options"),
    ('lookup_json_string(http.host, "a", 0, "b") eq "c"', True, "a path has any number of keys"),
    ('encode_base64("hello world") eq "a"', True, "literals can be encoded"),
    ('encode_base64(sha256("my-token")) eq "a"', True, "literals can be hashed"),
    ("lookup_json_string(http.host, 0) eq \"a\"", True, "a key is a name or a position"),
    ('split(http.host, ",", 129)[0] eq "a"', False, "the limit is 1 to 128"),
    ('split(http.host, "", 5)[0] eq "a"', False, "the separator is not empty"),
    ('encode_base64(http.host, "x") eq "a"', False, "flags are u and p"),
    ("cidr(ip.src, 0, 64) eq ::", False, "bits are 1 to 32 and 1 to 128"),
    ("cidr6(ip.src, 129) eq ::", False, "bits are 1 to 128"),
    # Where we are wider
    ("has_value(http.request.headers.names, http.host)", True, "the value looked for may be another field's"),
    ("has_value(cf.bot_management.detection_ids, 5)", True, "integers too"),
    ('has_key(cf.llm.prompt.custom_topic_categories, "a")', True, "maps of anything"),
    ("join(http.request.headers.names, http.host) eq \"a\"", True, "the separator may be a field"),
    (r'http.request.headers["\xff"][0] eq "b"', True, "keys are bytes"),
    ('http.request.headers["a"][4294967296] eq "b"', True, "positions that no array reaches are missing"),
    ("ssl\tand ssl", True, "a tab is a space"),
    ('http.request.headers ["x"][0] eq "a"', True, "a space may stand before ["),
    ("any(lower((http.request.headers.names[*]))[*] eq \"a\")", True, "parentheses change nothing around a value"),
    # Where we are narrower: what has two readings, or what hides a slip
    ("notssl", False, "words end where letters end"),
    ("cf.waf.score eq5", False, "words end where letters end"),
    ("ssl andssl", False, "words end where letters end"),
    ("cf.waf.score eq 5or ssl", False, "words end where letters end"),
    ("cf.waf.score eq 010", False, "eight there; a leading zero is refused"),
    ("cf.waf.score in {007}", False, "a leading zero is refused"),
    ("http.host eq 61:62:63", False, "bytes are written in quotes, with escapes"),
    ("ip.src in {10.0.0/24}", False, "an IPv4 address has four numbers"),
    ("ip.src in {10.0.0}", False, "an IPv4 address has four numbers"),
    ("http.host eq http.cookie", False, "a field is compared with a literal"),
    ('any(not http.request.headers["x"][*] eq "a" and http.request.headers["x"][*] eq "b")', False,
     "and, or, xor within any() stand in parentheses"),
    ("", False, "an empty expression says nothing"),
    # RE2 and Rust's regex crate: where RE2 would read something else, we refuse
    (r'http.host matches "[a-z&&[^x]]"', False, "RE2 has no operators in classes, and would read characters"),
    (r'http.host matches "[\w--b]"', False, "likewise"),
    (r'http.host matches "[a~~b]"', False, "likewise"),
    (r'http.host matches "\<a\>"', False, "edges of a word there, characters to RE2"),
    (r'http.host matches "\b{start}a"', False, "an edge there, characters to RE2"),
    (r'http.host matches "\x{e9}"', False, "a character there, a byte to RE2"),
    (r'http.host matches "(?i)é"', False, "RE2 would fold single bytes"),
    (r'http.host matches "(?u)\p{Hangul}+"', False, "no (?u): RE2 reads bytes here"),
    (r'http.host matches "\u00e9"', False, "RE2 has no \\u"),
    ('http.host matches "a{1001}"', False, "RE2 repeats up to 1,000 times"),
    ('http.host matches "a**"', False, "RE2 repeats no repetition"),
    (r'http.host matches "(?x) a # b"', False, "RE2 has no (?x)"),
    (r'http.host matches "\Qa.b\E"', True, "RE2 has \\Q…\\E"),
    (r'http.host matches "\C"', True, "RE2 has \\C for a byte"),
    (r'http.host matches "\07"', True, "RE2 has octal escapes"),
    # Functions that are none of Cloudflare's documented ones, or rewrite, or take secrets or chance
    ('regex_replace(http.host, "a", "b") eq "a"', False, "it rewrites"),
    ('wildcard_replace(http.host, "a*", "b${1}") eq "a"', False, "it rewrites"),
    ('remove_query_args(http.request.uri.query, "a") eq "a"', False, "it rewrites"),
    ('uuidv4(cf.random_seed) eq "a"', False, "chance"),
    ('contains(http.host, "a")', False, "not documented"),
    ('coalesce(http.host, "a") eq "a"', False, "not documented"),
    ('trim(http.host) eq "a"', False, "not documented"),
    ('ip_in_range(ip.src, "1.0.0.0/8")', False, "not documented"),
]  # fmt: skip
