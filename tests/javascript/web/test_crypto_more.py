"""Beyond what one operation carries, and the rest of Cloudflare's table: DigestStream, AES-KW, X25519."""

from __future__ import annotations

import hashlib
import hmac

from tests.javascript.harness import handler, tenant
from tests.javascript.web.told import told

_HEX = "const hex = (b) => new Uint8Array(b).toHex(), un = (h) => Uint8Array.fromHex(h), utf = (t) => new TextEncoder().encode(t);"
_MUCH = "const much = new Uint8Array(2_500_000).fill(7);"
MUCH = bytes([7]) * 2_500_000


async def test_a_digest_stream_hashes_what_is_written() -> None:
    body = f"""{_HEX}
        const stream = new crypto.DigestStream('SHA-256'), writer = stream.getWriter();
        await writer.write(utf('a')); await writer.write('b'); await writer.write(utf('c').buffer);
        await writer.close();
        const piped = new crypto.DigestStream({{ name: 'md5' }});
        await new Blob(['abc']).stream().pipeTo(piped);
        return [hex(await stream.digest), Number(stream.bytesWritten), typeof stream.bytesWritten, hex(await piped.digest), stream instanceof WritableStream];"""
    abc = hashlib.sha256(b"abc").hexdigest()
    assert await told(body) == [abc, 3, "bigint", "900150983cd24fb0d6963f7d28e17f72", True]


async def test_a_digest_stream_holds_little_of_what_is_long() -> None:
    source = handler(f"""{_HEX}
        const stream = new crypto.DigestStream('SHA-1'), writer = stream.getWriter(), piece = new Uint8Array(10_000).fill(7);
        for (let i = 0; i < 250; i++) await writer.write(piece);
        await writer.close();
        return new Response(hex(await stream.digest));""")
    answer = await tenant(source).get()
    assert answer.text == hashlib.sha1(MUCH, usedforsecurity=False).hexdigest()
    assert answer.operations < 20


async def test_what_a_digest_stream_can_not_take_is_its_error() -> None:
    body = """
        const stream = new crypto.DigestStream('SHA-1'), writer = stream.getWriter();
        writer.closed.catch(() => {});
        await writer.write(1).catch(() => {});
        const left = new crypto.DigestStream('SHA-1');
        await left.abort(new RangeError('why'));
        return [await thrown(() => stream.digest), await thrown(() => left.digest), await thrown(() => new crypto.DigestStream('HMAC'))];"""
    wrong, aborted, none = await told(body)
    assert wrong.startswith("TypeError")
    assert aborted == "RangeError: why"
    assert none.startswith("NotSupportedError")


async def test_digests_and_macs_are_of_any_size() -> None:
    body = f"""{_HEX}{_MUCH}
        const key = await crypto.subtle.importKey('raw', utf('k'), {{ name: 'HMAC', hash: 'SHA-256' }}, false, ['sign', 'verify']);
        const mac = await crypto.subtle.sign('HMAC', key, much);
        const right = await crypto.subtle.verify('HMAC', key, mac, much);
        much[9] = 0;
        return [hex(mac), right, await crypto.subtle.verify('HMAC', key, mac, much)];"""
    assert await told(body) == [hmac.new(b"k", MUCH, "sha256").hexdigest(), True, False]
    digest = f"{_HEX}{_MUCH} return hex(await crypto.subtle.digest('SHA-512', much));"
    assert await told(digest) == hashlib.sha512(MUCH).hexdigest()


async def test_what_is_encrypted_has_a_bound_that_is_named() -> None:
    body = f"""{_MUCH}
        const key = await crypto.subtle.generateKey({{ name: 'AES-GCM', length: 128 }}, false, ['encrypt']);
        return thrown(() => crypto.subtle.encrypt({{ name: 'AES-GCM', iv: new Uint8Array(12) }}, key, much));"""
    assert (await told(body)).startswith("OperationError: ")


async def test_aes_kw_wraps_as_the_standard_does() -> None:
    # RFC 3394 §4.1
    body = f"""{_HEX}
        const wrapping = await crypto.subtle.importKey('raw', un('000102030405060708090a0b0c0d0e0f'), 'AES-KW', false, ['wrapKey', 'unwrapKey']);
        const key = await crypto.subtle.importKey('raw', un('00112233445566778899aabbccddeeff'), 'AES-GCM', true, ['encrypt']);
        const wrapped = await crypto.subtle.wrapKey('raw', key, wrapping, 'AES-KW');
        const again = await crypto.subtle.unwrapKey('raw', wrapped, wrapping, 'AES-KW', 'AES-GCM', true, ['encrypt']);
        new Uint8Array(wrapped)[0] ^= 1;
        const made = await crypto.subtle.generateKey({{ name: 'AES-KW', length: 256 }}, true, ['wrapKey']);
        return [hex(wrapped).slice(2), hex(await crypto.subtle.exportKey('raw', again)), (await crypto.subtle.exportKey('jwk', made)).alg,
          (await thrown(() => crypto.subtle.unwrapKey('raw', wrapped, wrapping, 'AES-KW', 'AES-GCM', true, ['encrypt']))).split(':')[0],
          (await thrown(() => crypto.subtle.generateKey({{ name: 'AES-KW', length: 256 }}, true, ['encrypt']))).split(':')[0],
          (await thrown(() => crypto.subtle.encrypt('AES-KW', wrapping, new Uint8Array(16)))).split(':')[0]];"""
    assert await told(body) == [
        "a68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
        "00112233445566778899aabbccddeeff",
        "A256KW",
        "OperationError",
        "SyntaxError",
        "InvalidAccessError",
    ]


async def test_x25519_agrees_as_the_standard_does() -> None:
    # RFC 7748 §6.1: Bob's key, and what Alice publishes.
    body = f"""{_HEX}
        const b64 = (h) => un(h).toBase64({{ alphabet: 'base64url', omitPadding: true }});
        const jwk = {{ kty: 'OKP', crv: 'X25519', d: b64('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'),
          x: b64('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f') }};
        const own = await crypto.subtle.importKey('jwk', jwk, {{ name: 'X25519' }}, false, ['deriveBits']);
        const theirs = await crypto.subtle.importKey('raw', un('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'), 'X25519', true, []);
        return hex(await crypto.subtle.deriveBits({{ name: 'X25519', public: theirs }}, own, 256));"""
    assert await told(body) == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


async def test_x25519_keys_go_there_and_back() -> None:
    body = f"""{_HEX}
        const pair = () => crypto.subtle.generateKey('X25519', true, ['deriveBits', 'deriveKey']);
        const [one, other] = await Promise.all([pair(), pair()]);
        const secret = async (own, theirs, bits) => hex(await crypto.subtle.deriveBits({{ name: 'X25519', public: theirs.publicKey }}, own.privateKey, bits));
        const again = await crypto.subtle.importKey('raw', await crypto.subtle.exportKey('raw', one.publicKey), 'X25519', true, []);
        const jwk = await crypto.subtle.exportKey('jwk', one.privateKey);
        const own = await crypto.subtle.importKey('jwk', jwk, 'X25519', false, ['deriveBits']);
        const whole = await secret(one, other, null);
        const key = await crypto.subtle.deriveKey({{ name: 'X25519', public: other.publicKey }}, one.privateKey, {{ name: 'AES-GCM', length: 128 }}, true, ['encrypt']);
        const ed = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
        return [whole.length, whole === await secret(other, {{ publicKey: again }}, 256), whole === await secret({{ privateKey: own }}, other, null), jwk.crv,
          whole.startsWith(hex(await crypto.subtle.exportKey('raw', key))), (await secret(one, other, 64)).length,
          (await thrown(() => secret(one, ed))).split(':')[0], (await thrown(() => crypto.subtle.importKey('raw', new Uint8Array(5), 'X25519', true, []))).split(':')[0],
          (await thrown(() => crypto.subtle.deriveBits({{ name: 'X25519', public: one.privateKey }}, one.privateKey, 256))).split(':')[0]];"""
    assert await told(body) == [
        *(64, True, True, "X25519", True, 16),
        *("InvalidAccessError", "DataError", "InvalidAccessError"),
    ]
