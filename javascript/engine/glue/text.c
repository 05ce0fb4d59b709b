/* Text ↔ bytes: UTF-8 as the Encoding Standard has it, and Latin-1, in which HTTP says its headers. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

const char *text_of(JSContext *ctx, size_t *size, JSValueConst value)
{
    char *text = (char *)JS_ToCStringLen(ctx, size, value);
    if (!text)
        return NULL;
    /* QuickJS writes half a surrogate pair as three bytes; so has U+FFFD. */
    for (size_t i = 0; i + 2 < *size; i++) {
        if ((uint8_t)text[i] == 0xed && (uint8_t)text[i + 1] >= 0xa0) {
            memcpy(text + i, "\xef\xbf\xbd", 3);
            i += 2;
        }
    }
    return text;
}

const uint8_t *bytes_of(JSContext *ctx, size_t *size, JSValueConst value)
{
    if (JS_IsArrayBuffer(value)) {
        const uint8_t *bytes = JS_GetArrayBuffer(ctx, size, value);
        if (bytes || JS_HasException(ctx))
            return bytes;
        *size = 0;
        return (const uint8_t *)"";
    }
    if (JS_GetTypedArrayType(value) < 0) {
        JS_ThrowTypeError(ctx, "an ArrayBuffer or a typed array is expected");
        return NULL;
    }
    size_t offset, length, whole;
    JSValue buffer = JS_GetTypedArrayBuffer(ctx, value, &offset, &length, NULL);
    if (JS_IsException(buffer))
        return NULL;
    const uint8_t *bytes = JS_GetArrayBuffer(ctx, &whole, buffer);
    JS_FreeValue(ctx, buffer); /* the view keeps it */
    *size = length;
    if (bytes)
        return bytes + offset;
    if (length == 0) {
        if (JS_HasException(ctx))
            JS_FreeValue(ctx, JS_GetException(ctx));
        return (const uint8_t *)"";
    }
    return NULL;
}

/* How many bytes a well-formed character has that begins here; 0: none does, and `*bad` bytes are to be replaced. */
static size_t character(const uint8_t *at, const uint8_t *end, size_t *bad)
{
    uint8_t first = *at, low = 0x80, high = 0xbf;
    size_t size;
    *bad = 1;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        size = 2;
    else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        if (first == 0xe0)
            low = 0xa0;
        if (first == 0xed)
            high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        if (first == 0xf0)
            low = 0x90;
        if (first == 0xf4)
            high = 0x8f;
    } else
        return 0;
    for (size_t i = 1; i < size; i++) {
        if (at + i == end || at[i] < low || at[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
        *bad = i + 1;
    }
    return size;
}

/* utf8Encode(text) → Uint8Array */
static JSValue utf8_encode(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size;
    const char *text = text_of(ctx, &size, argv[0]);
    if (!text)
        return JS_EXCEPTION;
    JSValue bytes = JS_NewUint8ArrayCopy(ctx, (const uint8_t *)text, size);
    JS_FreeCString(ctx, text);
    return bytes;
}

/* The text of bytes in which `count` sequences are no UTF-8. */
static JSValue replaced(JSContext *ctx, const uint8_t *bytes, size_t size, size_t count)
{
    const uint8_t *end = bytes + size;
    size_t bad;
    char *whole = js_malloc(ctx, size + 3 * count), *to = whole;
    if (!whole)
        return JS_EXCEPTION;
    for (const uint8_t *at = bytes; at < end;) {
        size_t good = character(at, end, &bad);
        memcpy(to, good ? (const char *)at : "\xef\xbf\xbd", good ? good : 3);
        to += good ? good : 3;
        at += good ? good : bad;
    }
    JSValue text = JS_NewStringLen(ctx, whole, (size_t)(to - whole));
    js_free(ctx, whole);
    return text;
}

/* Sequences that are no UTF-8. */
static size_t count_bad(const uint8_t *bytes, size_t size)
{
    const uint8_t *end = bytes + size;
    size_t count = 0, bad;
    for (const uint8_t *at = bytes; at < end;) {
        size_t good = character(at, end, &bad);
        count += good == 0;
        at += good ? good : bad;
    }
    return count;
}

JSValue text_from_utf8(JSContext *ctx, const uint8_t *bytes, size_t size)
{
    size_t count = count_bad(bytes, size);
    return count ? replaced(ctx, bytes, size, count) : JS_NewStringLen(ctx, (const char *)bytes, size);
}

/* utf8Decode(bytes, fatal) → string; what is no UTF-8 becomes U+FFFD, or throws. */
static JSValue utf8_decode(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value;
    size_t size;
    const uint8_t *bytes = bytes_of(ctx, &size, argv[0]);
    if (!bytes)
        return JS_EXCEPTION;
    if (argc > 1 && JS_ToBool(ctx, argv[1]) && count_bad(bytes, size))
        return JS_ThrowTypeError(ctx, "The encoded data was not valid for encoding utf-8");
    return text_from_utf8(ctx, bytes, size);
}

/* latin1Decode(bytes) → string of one character a byte */
static JSValue latin1_decode(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size;
    const uint8_t *bytes = bytes_of(ctx, &size, argv[0]);
    if (!bytes)
        return JS_EXCEPTION;
    char *wide = js_malloc(ctx, 2 * size + 1), *to = wide;
    if (!wide)
        return JS_EXCEPTION;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < 0x80)
            *to++ = (char)bytes[i];
        else {
            *to++ = (char)(0xc0 | bytes[i] >> 6);
            *to++ = (char)(0x80 | (bytes[i] & 0x3f));
        }
    }
    JSValue text = JS_NewStringLen(ctx, wide, (size_t)(to - wide));
    js_free(ctx, wide);
    return text;
}

/* latin1Encode(text) → Uint8Array, or null where a character is beyond U+00FF */
static JSValue latin1_encode(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size, count = 0;
    const char *text = text_of(ctx, &size, argv[0]);
    if (!text)
        return JS_EXCEPTION;
    uint8_t *bytes = js_malloc(ctx, size + 1);
    bool fits = bytes != NULL;
    for (size_t i = 0; fits && i < size; i++) {
        uint8_t first = (uint8_t)text[i];
        if (first < 0x80)
            bytes[count++] = first;
        else if (first <= 0xc3)
            bytes[count++] = (uint8_t)(first << 6 | ((uint8_t)text[++i] & 0x3f));
        else
            fits = false;
    }
    JSValue result = !bytes ? JS_EXCEPTION : fits ? JS_NewUint8ArrayCopy(ctx, bytes, count) : JS_NULL;
    js_free(ctx, bytes);
    JS_FreeCString(ctx, text);
    return result;
}

/* headerName(text) → it in lower case, or null where it is no token (RFC 9110 §5.6.2) */
static JSValue header_name(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    static const char marks[] = "!#$%&'*+-.^_`|~";
    size_t size;
    bool has_upper = false;
    char *text = (char *)JS_ToCStringLen(ctx, &size, argv[0]);
    if (!text)
        return JS_EXCEPTION;
    bool ok = size > 0;
    for (size_t i = 0; ok && i < size; i++) {
        char c = text[i];
        bool is_upper = c >= 'A' && c <= 'Z';
        has_upper |= is_upper;
        ok = is_upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr(marks, c));
    }
    JSValue name = JS_NULL;
    if (ok && !has_upper && JS_IsString(argv[0]))
        name = JS_DupValue(ctx, argv[0]);
    else if (ok) {
        char *lower = js_strndup(ctx, text, size);
        for (size_t i = 0; lower && i < size; i++)
            if (lower[i] >= 'A' && lower[i] <= 'Z')
                lower[i] += 'a' - 'A';
        name = lower ? JS_NewStringLen(ctx, lower, size) : JS_EXCEPTION;
        js_free(ctx, lower);
    }
    JS_FreeCString(ctx, text);
    return name;
}

static bool is_blank(char c)
{
    return c == '\t' || c == '\n' || c == '\r' || c == ' ';
}

/* headerValue(text) → it without blanks around it, or null where it is none: beyond U+00FF, NUL, an end of line */
static JSValue header_value(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size, start = 0;
    const char *text = JS_ToCStringLen(ctx, &size, argv[0]);
    if (!text)
        return JS_EXCEPTION;
    size_t end = size;
    while (start < end && is_blank(text[start]))
        start++;
    while (end > start && is_blank(text[end - 1]))
        end--;
    bool ok = true;
    for (size_t i = start; ok && i < end; i++) {
        uint8_t c = (uint8_t)text[i];
        ok = c && c != '\n' && c != '\r' && c <= 0xc3; /* U+00FF is c3 bf; what follows is 80 to bf */
    }
    JSValue value = !ok                            ? JS_NULL
                    : end - start == size && JS_IsString(argv[0]) ? JS_DupValue(ctx, argv[0])
                                                   : JS_NewStringLen(ctx, text + start, end - start);
    JS_FreeCString(ctx, text);
    return value;
}

/* isAscii(text) */
static JSValue is_ascii(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size;
    const char *text = JS_ToCStringLen(ctx, &size, argv[0]);
    if (!text)
        return JS_EXCEPTION;
    bool ascii = true;
    for (size_t i = 0; ascii && i < size; i++)
        ascii = (uint8_t)text[i] < 0x80;
    JS_FreeCString(ctx, text);
    return JS_NewBool(ctx, ascii);
}

/* clone(value) → a copy of everything that hangs on it, rings included; throws where a part can't be copied */
static JSValue clone(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size;
    uint8_t *bytes = JS_WriteObject(ctx, &size, argv[0], JS_WRITE_OBJ_REFERENCE);
    if (!bytes)
        return JS_EXCEPTION;
    JSValue copy = JS_ReadObject(ctx, bytes, size, JS_READ_OBJ_REFERENCE);
    js_free(ctx, bytes);
    return copy;
}

void text_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("utf8Encode", 1, utf8_encode),     JS_CFUNC_DEF("utf8Decode", 2, utf8_decode),
        JS_CFUNC_DEF("latin1Encode", 1, latin1_encode), JS_CFUNC_DEF("latin1Decode", 1, latin1_decode),
        JS_CFUNC_DEF("headerName", 1, header_name),     JS_CFUNC_DEF("headerValue", 1, header_value),
        JS_CFUNC_DEF("isAscii", 1, is_ascii),           JS_CFUNC_DEF("clone", 1, clone),
    };
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}
