import * as jose from "jose";
import { examples, thrownBy } from "./examples.js";

const secret = new TextEncoder().encode("cc7e0d44fd473002f1c42167459001140ec6389b7353f8088f4d9a95f2f596f2");

// RFC 7515, A.3: ES256.
const RFC_KEY = {
  kty: "EC",
  crv: "P-256",
  x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
  y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
};
const RFC_JWS =
  "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

const token = (claims) =>
  new jose.SignJWT(claims).setProtectedHeader({ alg: "HS256" }).setIssuedAt().setIssuer("urn:example:issuer").setAudience("urn:example:audience").setExpirationTime("2h").sign(secret);

async function signedAndVerified(alg, options) {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, options);
  const signed = await new jose.SignJWT({ a: 1 }).setProtectedHeader({ alg }).sign(privateKey);
  const { payload, protectedHeader } = await jose.jwtVerify(signed, publicKey);
  return [payload.a, protectedHeader.alg];
}

async function encrypted(alg, enc, key, open = key) {
  const sealed = await new jose.CompactEncrypt(new TextEncoder().encode("a plain text")).setProtectedHeader({ alg, enc }).encrypt(key);
  return new TextDecoder().decode((await jose.compactDecrypt(sealed, open)).plaintext);
}

export default examples([
  ["a token is signed and verified", async () => {
    const { payload } = await jose.jwtVerify(await token({ "urn:example:claim": true }), secret, { issuer: "urn:example:issuer", audience: "urn:example:audience" });
    return [payload["urn:example:claim"], payload.exp - payload.iat];
  }, [true, 7200]],
  ["another audience is refused", async () => (await thrownBy(async () => jose.jwtVerify(await token({}), secret, { audience: "another" }))), 'JWTClaimValidationFailed: unexpected "aud" claim value'],
  ["another secret is refused", async () => (await thrownBy(async () => jose.jwtVerify(await token({}), new Uint8Array(32)))), "JWSSignatureVerificationFailed: signature verification failed"],
  ["a token that has expired is refused", async () => {
    const old = await new jose.SignJWT({}).setProtectedHeader({ alg: "HS256" }).setExpirationTime(1).sign(secret);
    return thrownBy(() => jose.jwtVerify(old, secret));
  }, 'JWTExpired: "exp" claim timestamp check failed'],
  ["ES256, the RFC's own example", async () => {
    const { payload } = await jose.compactVerify(RFC_JWS, await jose.importJWK(RFC_KEY, "ES256"));
    return JSON.parse(new TextDecoder().decode(payload)).iss;
  }, "joe"],
  ["decoding without a key", () => [jose.decodeJwt(RFC_JWS).exp, jose.decodeProtectedHeader(RFC_JWS).alg], [1300819380, "ES256"]],
  ["ES256", () => signedAndVerified("ES256"), [1, "ES256"]],
  ["EdDSA", () => signedAndVerified("EdDSA"), [1, "EdDSA"]],
  ["RS256", () => signedAndVerified("RS256"), [1, "RS256"]],
  ["PS256", () => signedAndVerified("PS256"), [1, "PS256"]],
  ["a key among several, found by its id", async () => {
    const { publicKey, privateKey } = await jose.generateKeyPair("ES256", { extractable: true });
    const keys = jose.createLocalJWKSet({ keys: [{ ...RFC_KEY, kid: "other", alg: "ES256" }, { ...(await jose.exportJWK(publicKey)), kid: "mine", alg: "ES256" }] });
    const signed = await new jose.SignJWT({ sub: "joe" }).setProtectedHeader({ alg: "ES256", kid: "mine" }).sign(privateKey);
    return (await jose.jwtVerify(signed, keys)).payload.sub;
  }, "joe"],
  ["keys to PEM and back", async () => {
    const { privateKey } = await jose.generateKeyPair("ES256", { extractable: true });
    const pem = await jose.exportPKCS8(privateKey);
    const again = await jose.importPKCS8(pem, "ES256");
    return [pem.startsWith("-----BEGIN PRIVATE KEY-----\n"), again.type, again.algorithm.namedCurve];
  }, [true, "private", "P-256"]],
  ["thumbprint, of RFC 7638's kind", () => jose.calculateJwkThumbprint(RFC_KEY), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"],
  ["encryption with a shared key", () => encrypted("dir", "A256GCM", crypto.getRandomValues(new Uint8Array(32))), "a plain text"],
  ["encryption with CBC and HMAC", () => encrypted("dir", "A128CBC-HS256", crypto.getRandomValues(new Uint8Array(32))), "a plain text"],
  ["encryption to an RSA key", async () => {
    const { publicKey, privateKey } = await jose.generateKeyPair("RSA-OAEP-256");
    return encrypted("RSA-OAEP-256", "A256GCM", publicKey, privateKey);
  }, "a plain text"],
  ["encryption to a key of a curve", async () => {
    const { publicKey, privateKey } = await jose.generateKeyPair("ECDH-ES");
    return encrypted("ECDH-ES", "A256GCM", publicKey, privateKey);
  }, "a plain text"],
]);
