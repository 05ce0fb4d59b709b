"""crypto.subtle: vectors of the standards, and round trips of every kind of key."""

from __future__ import annotations

import pytest

from tests.javascript.harness import handler, tenant
from tests.javascript.web.told import told

_HEX = "const hex = (b) => new Uint8Array(b).toHex(), un = (h) => Uint8Array.fromHex(h), utf = (t) => new TextEncoder().encode(t);"


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("SHA-1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("sha-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("MD5", "900150983cd24fb0d6963f7d28e17f72"),
    ],
)  # FIPS 180-4, RFC 1321
async def test_digest_of_abc(name: str, digest: str) -> None:
    assert (
        await told(f"{_HEX} return hex(await crypto.subtle.digest({{ name: {name!r} }}, utf('abc')));")
        == digest
    )


async def test_a_short_digest_is_one_crossing() -> None:
    source = handler("return new Response(await crypto.subtle.digest('SHA-256', new Uint8Array(1000)));")
    answer = await tenant(source).get()
    assert (len(answer.body), answer.operations, answer.calls) == (32, 1, 1)


async def test_hmac_signs_and_verifies() -> None:
    body = f"""{_HEX}
        const key = await crypto.subtle.importKey('raw', utf('Jefe'), {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['sign', 'verify']);
        const mac = await crypto.subtle.sign('HMAC', key, utf('what do ya want for nothing?'));
        return [hex(mac), await crypto.subtle.verify('HMAC', key, mac, utf('what do ya want for nothing?')), await crypto.subtle.verify('HMAC', key, mac, utf('x')),
                await crypto.subtle.exportKey('jwk', key), key.algorithm, key.usages, String(key)];"""
    assert await told(body) == [
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", True, False,  # RFC 4231, case 2
        {"kty": "oct", "k": "SmVmZQ", "alg": "HS256", "key_ops": ["sign", "verify"], "ext": True},
        {"name": "HMAC", "hash": {"name": "SHA-256"}, "length": 32}, ["sign", "verify"], "[object CryptoKey]",
    ]  # fmt: skip


async def test_aes_gcm_encrypts_as_the_standard_does() -> None:
    # Test case 4 of the GCM specification.
    body = f"""{_HEX}
        const key = await crypto.subtle.importKey('raw', un('feffe9928665731c6d6a8f9467308308'), 'AES-GCM', false, ['encrypt', 'decrypt']);
        const algorithm = {{ name: 'AES-GCM', iv: un('cafebabefacedbaddecaf888'), additionalData: un('feedfacedeadbeeffeedfacedeadbeefabaddad2') }};
        const text = un('d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39');
        const sealed = await crypto.subtle.encrypt(algorithm, key, text);
        const short = await crypto.subtle.encrypt({{ ...algorithm, tagLength: 96 }}, key, text);
        const bad = new Uint8Array(sealed.slice(0)); bad[3] ^= 1;
        return [hex(sealed).slice(-32), hex(await crypto.subtle.decrypt(algorithm, key, sealed)) === hex(text),
                short.byteLength, hex(await crypto.subtle.decrypt({{ ...algorithm, tagLength: 96 }}, key, short)) === hex(text),
                (await thrown(() => crypto.subtle.decrypt(algorithm, key, bad))).slice(0, 33), await thrown(() => crypto.subtle.exportKey('raw', key))];"""
    assert await told(body) == [
        "5bc94fbc3221a5db94fae95ae7121a47", True, 72, True, "OperationError: Decryption failed",
        "InvalidAccessError: This key is not extractable.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "algorithm",
    [
        "{ name: 'AES-CBC', iv: new Uint8Array(16) }",
        "{ name: 'AES-CTR', counter: new Uint8Array(16), length: 64 }",
    ],
)
async def test_other_modes_of_aes_go_there_and_back(algorithm: str) -> None:
    body = f"""{_HEX}
        const algorithm = {algorithm};
        const key = await crypto.subtle.generateKey({{ name: algorithm.name, length: 256 }}, true, ['encrypt', 'decrypt']);
        const sealed = await crypto.subtle.encrypt(algorithm, key, utf('text'));
        return [new TextDecoder().decode(await crypto.subtle.decrypt(algorithm, key, sealed)), key.algorithm.length];"""
    assert await told(body) == ["text", 256]


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ("{ name: 'ECDSA', namedCurve: 'P-256' }", "{ name: 'ECDSA', hash: 'SHA-256' }"),
        ("{ name: 'ECDSA', namedCurve: 'P-384' }", "{ name: 'ECDSA', hash: { name: 'SHA-384' } }"),
        ("{ name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' }", "'RSASSA-PKCS1-v1_5'"),
        ("{ name: 'RSA-PSS', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-512' }", "{ name: 'RSA-PSS', saltLength: 64 }"),
        ("'Ed25519'", "'Ed25519'"),
    ],
)  # fmt: skip
async def test_a_pair_signs_and_survives_every_format(made: str, used: str) -> None:
    body = f"""{_HEX}
        const s = crypto.subtle, pair = await s.generateKey({made}, true, ['sign', 'verify']), algorithm = {made};
        const signature = await s.sign({used}, pair.privateKey, utf('data'));
        const out = [];
        for (const format of ['spki', 'jwk', ...(algorithm.modulusLength ? [] : ['raw'])]) {{
            const key = await s.importKey(format, await s.exportKey(format, pair.publicKey), algorithm, true, ['verify']);
            out.push(await s.verify({used}, key, signature, utf('data')), await s.verify({used}, key, signature, utf('datum')));
        }}
        for (const format of ['pkcs8', 'jwk']) {{
            const key = await s.importKey(format, await s.exportKey(format, pair.privateKey), algorithm, false, ['sign']);
            out.push(await s.verify({used}, pair.publicKey, await s.sign({used}, key, utf('again')), utf('again')));
        }}
        return [[...new Set(out.filter((_, i) => i % 2 === 0))], out[1], pair.publicKey.algorithm.modulusLength ?? 0];"""
    source = handler(f"return Response.json(await (async () => {{ {body} }})());")
    # An RSA key takes more CPU time than an event usually has.
    answer = await tenant(source, limits={"cpu_ms": 30_000}).get()
    assert answer.error is None
    assert answer.text in ("[[true],false,2048]", "[[true],false,0]")


async def test_keys_are_derived_as_the_standards_say() -> None:
    body = f"""{_HEX}
        const s = crypto.subtle;
        const password = await s.importKey('raw', utf('password'), 'PBKDF2', false, ['deriveBits', 'deriveKey']);
        const pbkdf2 = {{ name: 'PBKDF2', hash: 'SHA-1', salt: utf('salt'), iterations: 4096 }};
        const secret = await s.importKey('raw', un('0b'.repeat(22)), 'HKDF', false, ['deriveBits']);
        const hkdf = {{ name: 'HKDF', hash: 'SHA-256', salt: un('000102030405060708090a0b0c'), info: un('f0f1f2f3f4f5f6f7f8f9') }};
        const key = await s.deriveKey(pbkdf2, password, {{ name: 'AES-GCM', length: 256 }}, true, ['encrypt']);
        const [one, other] = [await s.generateKey({{ name: 'ECDH', namedCurve: 'P-256' }}, false, ['deriveBits']), await s.generateKey({{ name: 'ECDH', namedCurve: 'P-256' }}, false, ['deriveBits'])];
        const agreed = [await s.deriveBits({{ name: 'ECDH', public: other.publicKey }}, one.privateKey, 256), await s.deriveBits({{ name: 'ECDH', public: one.publicKey }}, other.privateKey, 256)];
        return [hex(await s.deriveBits(pbkdf2, password, 160)), hex(await s.deriveBits(hkdf, secret, 336)), key.algorithm, hex(agreed[0]) === hex(agreed[1]),
                await thrown(() => s.deriveBits({{ ...pbkdf2, iterations: 100001 }}, password, 160))];"""
    assert (
        await told(body)
        == [
            "4b007901b765489abead49d926f721d065a429c1",  # RFC 6070
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",  # RFC 5869, case 1
            {"name": "AES-GCM", "length": 256},
            True,
            "NotSupportedError: Pbkdf2 failed: iteration counts above 100000 are not supported (requested 100001).",
        ]
    )


async def test_a_wrapped_key_comes_back() -> None:
    body = f"""{_HEX}
        const s = crypto.subtle, algorithm = {{ name: 'AES-GCM', iv: new Uint8Array(12) }};
        const outer = await s.generateKey({{ name: 'AES-GCM', length: 128 }}, false, ['wrapKey', 'unwrapKey']);
        const inner = await s.generateKey({{ name: 'HMAC', hash: 'SHA-256' }}, true, ['sign']);
        const wrapped = await s.wrapKey('jwk', inner, outer, algorithm);
        const back = await s.unwrapKey('jwk', wrapped, outer, algorithm, {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['sign']);
        return hex(await s.exportKey('raw', back)) === hex(await s.exportKey('raw', inner));"""
    assert await told(body) is True


async def test_wrong_uses_are_refused_by_name() -> None:
    body = f"""{_HEX}
        const s = crypto.subtle;
        const key = await s.importKey('raw', utf('k'), {{ name: 'HMAC', hash: 'SHA-256' }}, false, ['sign']);
        return [await thrown(() => s.verify('HMAC', key, utf('m'), utf('d'))), await thrown(() => s.sign('ECDSA', key, utf('d'))),
                await thrown(() => s.importKey('raw', utf('k'), 'AES-GCM', false, ['encrypt'])), await thrown(() => s.digest('SHA-3', utf('x'))),
                (await thrown(() => s.importKey('spki', utf('nonsense'), {{ name: 'ECDSA', namedCurve: 'P-256' }}, false, ['verify']))).slice(0, 9),
                await thrown(() => s.importKey('raw', utf('k'), {{ name: 'HMAC', hash: 'SHA-256' }}, false, ['encrypt'])),
                (await thrown(() => s.digest('HMAC', utf('x')))).slice(0, 17),
                s.timingSafeEqual(utf('a'), utf('a')), s.timingSafeEqual(utf('a'), utf('b')), await thrown(() => s.timingSafeEqual(utf('a'), utf('ab')))];"""
    assert await told(body) == [
        'InvalidAccessError: This key\'s usages do not include "verify".',
        "InvalidAccessError: This key is one of HMAC, not of ECDSA.",
        "DataError: AES-GCM: a key of 8 bits; 128, 192 and 256 are right.",
        'NotSupportedError: Unrecognized or unimplemented algorithm: "SHA-3".',
        "DataError",
        'SyntaxError: A key of HMAC can\'t be used for "encrypt"; sign, verify are right.',
        "NotSupportedError", True, False, "TypeError: Input buffers must have the same byte length",
    ]  # fmt: skip


async def test_what_the_host_computes_counts_against_the_limit() -> None:
    body = """
        const key = await crypto.subtle.importKey('raw', new Uint8Array(8), 'PBKDF2', false, ['deriveBits']);
        let done = 0;
        for (; done < 100; done++) await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-512', salt: new Uint8Array(8), iterations: 100000 }, key, 512);
        return new Response('done');"""
    answer = await tenant(handler(body), limits={"cpu_ms": 200}).get()
    assert answer.error is not None
    assert "CPU time of what the host computes" in answer.error
    assert answer.operations < 10
