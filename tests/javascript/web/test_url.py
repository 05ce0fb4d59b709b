"""URL and URLSearchParams, as the URL Standard has them: parsing is ada's, what is around it is ours."""

from __future__ import annotations

import json

import pytest

from tests.javascript.web.told import told

#: (what is parsed, against which base or none, its href or null: it is no URL)
PARSED = [
    ("http://EXAMPLE.com:80/a/./b/../c?d#e", None, "http://example.com/a/c?d#e"),
    ("https://example.com:443", None, "https://example.com/"),
    ("https://example.com:444", None, "https://example.com:444/"),
    ("  http://a/ \n", None, "http://a/"),
    ("ht\ntp://a/b\tc", None, "http://a/bc"),  # tabs and ends of lines are taken out
    ("http:\\\\a\\b", None, "http://a/b"),
    ("http:a", "http://b/c/d", "http://b/c/a"),
    ("//x/y", "https://b/c", "https://x/y"),
    ("../../..", "http://b/c/d", "http://b/"),
    ("?q", "http://b/c?d#e", "http://b/c?q"),
    ("", "http://b/c?d#e", "http://b/c?d"),
    ("x", "mailto:someone", None),  # an opaque path has nothing to be relative to
    ("#f", "mailto:someone", "mailto:someone#f"),
    # Percent-encoding: another set for each part.
    ("http://a/ä b\"<>`{}'^|", None, "http://a/%C3%A4%20b%22%3C%3E%60%7B%7D'%5E|"),
    ("http://a/?ä b\"<>`{}'", None, "http://a/?%C3%A4%20b%22%3C%3E`{}%27"),
    ("http://a/#ä b\"<>`{}'", None, "http://a/#%C3%A4%20b%22%3C%3E%60{}'"),
    ("foo://a/?'", None, "foo://a/?'"),  # a special URL's query alone has the apostrophe encoded
    ("http://a/%zz%2", None, "http://a/%zz%2"),
    ("http://a/%2e%2E/b", None, "http://a/b"),
    ("http://u:p@ss@a/", None, "http://u:p%40ss@a/"),
    ("http://a/\ud800", None, "http://a/%EF%BF%BD"),  # half a surrogate pair
    # Hosts.
    ("http://Bücher.example/", None, "http://xn--bcher-kva.example/"),
    ("http://faß.de/", None, "http://xn--fa-hia.de/"),  # IDNA 2008: not fass.de
    ("http://日本語。jp/", None, "http://xn--wgv71a119e.jp/"),
    ("http://ＧＯ.com/", None, "http://go.com/"),
    (
        "http://XN--a/",
        None,
        "http://xn--a/",
    ),  # no Punycode, but ASCII: since 2026 that is let through, as browsers do
    ("http://a\u00adb/", None, "http://ab/"),
    ("http://\u0627a/", None, None),  # right-to-left and left-to-right in one label
    ("http://a b/", None, None),
    ("http://a%00b/", None, None),
    ("http://a%41/", None, "http://aa/"),
    ("http://%31%32%37.1/", None, "http://127.0.0.1/"),
    ("http://0x7f.1/", None, "http://127.0.0.1/"),
    ("http://256.0.0.1/", None, None),
    ("http://1.2.3.4.5/", None, None),
    ("http://[::0:0:1]/", None, "http://[::1]/"),
    ("http://[1::2::3]/", None, None),
    ("http://[::ffff:1.2.3.4]/", None, "http://[::ffff:102:304]/"),
    ("http://a:65536/", None, None),
    ("http://a:x/", None, None),
    ("http://", None, None),
    ("/a", None, None),
    ("", None, None),
    # Schemes that are not special.
    ("data:text/plain,a b ", None, "data:text/plain,a b"),
    ("javascript:alert(1)", None, "javascript:alert(1)"),
    ("foo:/../a/./b", None, "foo:/a/b"),
    ("foo://Ä/", None, "foo://%C3%84/"),
    ("foo:///p", None, "foo:///p"),
    ("file:///C|/x", None, "file:///C:/x"),
    ("file://localhost/x", None, "file:///x"),
    ("blob:https://a/b", None, "blob:https://a/b"),
]

#: (URL, which part, what it is set to, href afterwards)
CHANGED = [
    ("http://a/b?c#d", "protocol", "https:", "https://a/b?c#d"),
    ("http://a/", "protocol", "foo", "http://a/"),  # special ones stay special
    ("http://a/", "username", "u@", "http://u%40@a/"),
    ("http://a/", "password", "p:", "http://:p%3A@a/"),
    ("http://a:1/", "host", "ä.b:2", "http://xn--4ca.b:2/"),
    ("http://a:1/", "hostname", "c", "http://c:1/"),
    ("http://a:1/", "hostname", "c:2", "http://a:1/"),
    ("http://a/", "port", "8080x", "http://a:8080/"),
    ("http://a:1/", "port", "", "http://a/"),
    ("http://a:1/", "port", "65536", "http://a:1/"),
    ("http://a/b", "pathname", "c?d#e", "http://a/c%3Fd%23e"),
    ("http://a/b", "search", "c#d", "http://a/b?c%23d"),
    ("http://a/b?c", "search", "", "http://a/b"),
    ("http://a/b", "hash", "ä", "http://a/b#%C3%A4"),
    ("mailto:x", "host", "a", "mailto:x"),
    ("mailto:x", "pathname", "y", "mailto:x"),
    ("http://a/", "href", "foo:bar", "foo:bar"),
]


async def test_a_url_is_parsed_as_the_standard_says() -> None:
    rows = json.dumps([[url, base] for url, base, _ in PARSED])
    body = f"""
        return {rows}.map(([url, base]) => {{
          const parsed = URL.parse(url, base ?? undefined);
          if (URL.canParse(url, base ?? undefined) !== (parsed !== null)) return 'canParse says otherwise';
          if (parsed === null) return null;
          return new URL(parsed.href).href === parsed.href ? parsed.href : 'its href is another URL';
        }});"""
    found = await told(body)
    assert dict(zip([row[:2] for row in PARSED], found, strict=True)) == {row[:2]: row[2] for row in PARSED}


async def test_each_part_can_be_changed_and_what_is_none_of_it_changes_nothing() -> None:
    rows = json.dumps([row[:3] for row in CHANGED])
    body = f"return {rows}.map(([url, part, value]) => {{ const u = new URL(url); u[part] = value; return u.href; }});"
    found = await told(body)
    assert dict(zip([row[:3] for row in CHANGED], found, strict=True)) == {row[:3]: row[3] for row in CHANGED}


async def test_a_url_has_all_its_parts() -> None:
    body = """
        const u = new URL('http://u:p@bücher.example:81/a/b?c=d#e'), parts = {};
        for (const name in u) if (typeof u[name] === 'string') parts[name] = u[name];
        return [parts, JSON.stringify({ u }), `${u}`, Object.prototype.toString.call(u), u.searchParams === u.searchParams];"""
    href = "http://u:p@xn--bcher-kva.example:81/a/b?c=d#e"
    assert await told(body) == [
        {
            "href": href,
            "origin": "http://xn--bcher-kva.example:81",
            "protocol": "http:",
            "username": "u",
            "password": "p",
            "host": "xn--bcher-kva.example:81",
            "hostname": "xn--bcher-kva.example",
            "port": "81",
            "pathname": "/a/b",
            "search": "?c=d",
            "hash": "#e",
        },
        json.dumps({"u": href}, separators=(",", ":")),
        href,
        "[object URL]",
        True,
    ]


async def test_origins() -> None:
    body = "return ['https://a:443/', 'blob:https://a/b', 'data:,x', 'file:///x', 'foo://a'].map((u) => new URL(u).origin);"
    assert await told(body) == ["https://a", "https://a", "null", "null", "null"]


async def test_what_is_no_url_throws_and_names_it() -> None:
    body = """
        const u = new URL('http://a/');
        return [await thrown(() => new URL('nonsense')), await thrown(() => { u.href = '/x'; }), u.href,
          await thrown(() => new URL()), await thrown(() => URL('http://a/')), await thrown(() => new URL(Symbol())),
          await thrown(() => Object.getOwnPropertyDescriptor(URL.prototype, 'href').get.call({}))];"""
    errors = await told(body)
    assert errors[:3] == ["TypeError: Invalid URL: nonsense", "TypeError: Invalid URL: /x", "http://a/"]
    assert all(error.startswith("TypeError: ") for error in errors[3:])


async def test_a_class_that_extends_url_is_one() -> None:
    body = """
        class Mine extends URL { get search() { return 'mine'; } twice() { return this.pathname.repeat(2); } }
        const m = new Mine('http://a/b?c=d');
        m.searchParams.append('e', 'f');
        return [m instanceof Mine, m.twice(), m.searchParams.get('c'), m.href];"""
    assert await told(body) == [True, "/b/b", "d", "http://a/b?c=d&e=f"]


async def test_search_params_and_their_url_show_each_other() -> None:
    body = """
        const u = new URL('http://a/?x=1&x=2&y=%20+%2B'), p = u.searchParams, seen = [[...p]];
        p.append('z', 'ä&='); seen.push(u.href);
        p.delete('x', '1'); seen.push(u.search);
        p.set('x', '9'); p.sort(); seen.push(u.search);
        u.search = '?only=this'; seen.push([...p], p.size);
        u.href = 'http://b/?q=%ff'; seen.push(p.get('q'), p.has('only'));
        p.delete('q'); seen.push(u.href);
        return seen;"""
    assert await told(body) == [
        [["x", "1"], ["x", "2"], ["y", "  +"]],
        "http://a/?x=1&x=2&y=++%2B&z=%C3%A4%26%3D",
        "?x=2&y=++%2B&z=%C3%A4%26%3D",
        "?x=9&y=++%2B&z=%C3%A4%26%3D",
        [["only", "this"]],
        1,
        "\ufffd",
        False,
        "http://b/",
    ]


async def test_search_params_are_made_of_text_of_pairs_and_of_records() -> None:
    body = """
        return [
          ['?a=b&&=c&d&e==f&%61=%zz+%', undefined, null, [['a', 'b'], new Set(['c', 'd'])], { a: 1, b: [2, 3] },
            new URLSearchParams('x=y'), { '\\ud800': 1, '\\ufffd': 2 }].map((init) => [...new URLSearchParams(init)]),
          await thrown(() => new URLSearchParams([['a']])), await thrown(() => new URLSearchParams([1])),
          await thrown(() => new URLSearchParams({ [Symbol('s')]: 1 })), await thrown(() => new URLSearchParams().append('a')),
          String(new URLSearchParams([['a b', '*-._~é\\ud800']])),
        ];"""
    made, *errors, text = await told(body)
    assert made == [
        [["a", "b"], ["", "c"], ["d", ""], ["e", "=f"], ["a", "%zz %"]],
        [],
        [["null", ""]],
        [["a", "b"], ["c", "d"]],
        [["a", "1"], ["b", "2,3"]],
        [["x", "y"]],
        [["\ufffd", "2"]],
    ]
    assert all(error.startswith("TypeError: ") for error in errors)
    assert text == "a+b=*-._%7E%C3%A9%EF%BF%BD"


async def test_search_params_can_be_changed_while_they_are_gone_through() -> None:
    body = """
        const u = new URL('http://a/?a=1&b=2&c=3'), seen = [];
        for (const [name] of u.searchParams) { seen.push(name); if (name === 'a') u.searchParams.delete('a'); if (name === 'c') u.search += '&d=4'; }
        const walk = u.searchParams.keys();
        const iterator = Object.getPrototypeOf(walk);
        return [seen, Object.prototype.toString.call(walk), walk[Symbol.iterator]() === walk, Object.keys(iterator), [...u.searchParams.values()]];"""
    assert await told(body) == [
        ["a", "c", "d"],
        "[object URLSearchParams Iterator]",
        True,
        ["next"],
        ["2", "3", "4"],
    ]


@pytest.mark.parametrize(
    "make",
    [
        "'http://a/' + '\\u00e4'.repeat(n)",
        "'http://a/' + '../'.repeat(n / 3)",
        "'http://a/?' + '&a'.repeat(n / 2)",
        "'http://' + 'a.'.repeat(n / 2)",
        "'http://' + 'ä'.repeat(n)",
        "'http://' + '@'.repeat(n)",
        "'x:' + '\\\\t'.repeat(n)",
        "'http://[' + ':'.repeat(n)",
    ],
)
async def test_a_megabyte_of_anything_is_parsed_or_refused(make: str) -> None:
    body = f"""
        const n = 1 << 20, text = {make}, u = URL.parse(text);
        if (u === null) return 'refused';
        u.hash = 'x'; u.search = text;
        return u.searchParams.size > 0 && u.href.endsWith('#x') ? 'parsed' : 'wrong';"""
    assert await told(body) in ("parsed", "refused")


async def test_a_url_that_the_memory_does_not_hold_is_an_error_that_can_be_caught() -> None:
    body = """
        const text = 'http://a/' + 'x'.repeat(12 << 20), u = new URL('http://a/');
        return [await thrown(() => new URL(text)), await thrown(() => { u.hash = text; }), await thrown(() => URL.parse('/', text)), u.href];"""
    *errors, href = await told(body)
    assert [error.split(": ")[0] for error in errors] == ["InternalError"] * 3
    assert href == "http://a/"
