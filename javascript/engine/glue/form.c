/* application/x-www-form-urlencoded (URL Standard §5): text ↔ a list of names and values. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Of `size` bytes, which are overwritten: none needs more than it had. */
static JSValue decoded(JSContext *ctx, char *text, size_t size)
{
    size_t to = 0;
    for (size_t i = 0; i < size; i++) {
        int high = text[i] == '%' && i + 2 < size ? hex_digit((uint8_t)text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit((uint8_t)text[i + 2]) : -1;
        if (low >= 0) {
            text[to++] = (char)(high << 4 | low);
            i += 2;
        } else
            text[to++] = text[i] == '+' ? ' ' : text[i];
    }
    return text_from_utf8(ctx, (const uint8_t *)text, to);
}

static bool add_pair(JSContext *ctx, JSValueConst list, uint32_t at, char *text, size_t size)
{
    char *equals = memchr(text, '=', size);
    size_t name_size = equals ? (size_t)(equals - text) : size;
    JSValue pair[2] = {decoded(ctx, text, name_size), JS_UNDEFINED};
    pair[1] = equals ? decoded(ctx, equals + 1, size - name_size - 1) : JS_NewStringLen(ctx, "", 0);
    if (JS_IsException(pair[0]) || JS_IsException(pair[1])) {
        JS_FreeValue(ctx, pair[0]);
        JS_FreeValue(ctx, pair[1]);
        return false;
    }
    JSValue item = JS_NewArrayFrom(ctx, 2, pair);
    return !JS_IsException(item) && JS_DefinePropertyValueUint32(ctx, list, at, item, JS_PROP_C_W_E) >= 0;
}

/* formList(text) → [[name, value]…] */
static JSValue form_list(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    size_t size;
    uint32_t count = 0;
    const char *given = text_of(ctx, &size, argv[0]);
    if (!given)
        return JS_EXCEPTION;
    char *text = js_strndup(ctx, given, size); /* `given` may be the string's own bytes */
    JS_FreeCString(ctx, given);
    JSValue list = text ? JS_NewArray(ctx) : JS_EXCEPTION;
    bool ok = !JS_IsException(list);
    for (char *at = text, *end = text + size; ok && at < end;) {
        char *ampersand = memchr(at, '&', (size_t)(end - at)), *stop = ampersand ? ampersand : end;
        if (stop > at)
            ok = add_pair(ctx, list, count++, at, (size_t)(stop - at));
        at = stop + 1;
    }
    js_free(ctx, text);
    if (ok)
        return list;
    JS_FreeValue(ctx, list);
    return JS_EXCEPTION;
}

static bool is_plain(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '*' || c == '-' || c == '.' || c == '_';
}

static bool encode(JSContext *ctx, Writer *out, JSValueConst value)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t size;
    const char *text = text_of(ctx, &size, value);
    bool ok = text != NULL;
    for (size_t i = 0, plain; ok && i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        for (plain = i; plain < size && is_plain((uint8_t)text[plain]); plain++)
            ;
        if (plain > i) {
            ok = write_raw(ctx, out, text + i, plain - i);
            i = plain - 1;
        } else
            ok = c == ' ' ? write_raw(ctx, out, "+", 1)
                          : write_raw(ctx, out, (char[]){'%', digits[c >> 4], digits[c & 15]}, 3);
    }
    if (text)
        JS_FreeCString(ctx, text);
    return ok;
}

/* Writes the item `at` of a list of pairs. */
static bool encode_pair(JSContext *ctx, Writer *out, JSValueConst list, uint32_t at)
{
    JSValue pair = JS_GetPropertyUint32(ctx, list, at);
    JSValue name = JS_GetPropertyUint32(ctx, pair, 0), value = JS_GetPropertyUint32(ctx, pair, 1);
    bool ok = (at == 0 || write_raw(ctx, out, "&", 1)) && encode(ctx, out, name) && write_raw(ctx, out, "=", 1) &&
              encode(ctx, out, value);
    JS_FreeValue(ctx, value);
    JS_FreeValue(ctx, name);
    JS_FreeValue(ctx, pair);
    return ok;
}

/* formText(list) → text */
static JSValue form_text(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    Writer out = {.most = SIZE_MAX};
    int64_t count;
    bool ok = JS_GetLength(ctx, argv[0], &count) == 0;
    for (uint32_t i = 0; ok && i < (uint32_t)count; i++)
        ok = encode_pair(ctx, &out, argv[0], i);
    JSValue text = ok ? JS_NewStringLen(ctx, out.bytes ? (const char *)out.bytes : "", out.size) : JS_EXCEPTION;
    writer_free(&out);
    return text;
}

void form_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("formList", 1, form_list),
        JS_CFUNC_DEF("formText", 1, form_text),
    };
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}
