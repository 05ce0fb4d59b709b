/* JavaScript values ↔ MessagePack, without a step in between.
 *
 * What is read comes from the host, yet its lengths are checked like anybody's: what it says of a tenant's data is
 * the tenant's. What is written may be a proxy or have getters, so that code of the tenant's runs in the middle: a
 * writer is never shared.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* Items of an array that need no memory of their own while it is read. */
#define FEW 16

/* -- writing -------------------------------------------------------------------------------------------------- */

void writer_free(Writer *writer)
{
    free(writer->bytes);
    writer->bytes = NULL;
    writer->size = writer->room = 0;
}

static uint8_t *room_for(JSContext *ctx, Writer *writer, size_t size)
{
    if (size > writer->most || writer->size > writer->most - size) {
        JS_ThrowRangeError(ctx, "too large: more than %u bytes", (unsigned)writer->most);
        return NULL;
    }
    if (writer->size + size > writer->room) {
        size_t room = writer->room ? writer->room * 2 : 256;
        while (room < writer->size + size)
            room *= 2;
        uint8_t *bytes = realloc(writer->bytes, room);
        if (!bytes) {
            JS_ThrowOutOfMemory(ctx);
            return NULL;
        }
        writer->bytes = bytes;
        writer->room = room;
    }
    uint8_t *at = writer->bytes + writer->size;
    writer->size += size;
    return at;
}

bool write_raw(JSContext *ctx, Writer *writer, const void *bytes, size_t size)
{
    uint8_t *at = room_for(ctx, writer, size);
    if (at && size)
        memcpy(at, bytes, size);
    return at != NULL;
}

static bool write_byte(JSContext *ctx, Writer *writer, uint8_t byte)
{
    return write_raw(ctx, writer, &byte, 1);
}

/* A first byte, and `width` bytes of a number in big-endian order. */
static bool write_head(JSContext *ctx, Writer *writer, uint8_t first, uint64_t number, int width)
{
    uint8_t *at = room_for(ctx, writer, 1 + width);
    if (!at)
        return false;
    *at++ = first;
    while (width--)
        *at++ = (uint8_t)(number >> (8 * width));
    return true;
}

bool write_array(JSContext *ctx, Writer *writer, uint32_t count)
{
    writer->values += count;
    if (count < 16)
        return write_byte(ctx, writer, 0x90 | count);
    return count < 65536 ? write_head(ctx, writer, 0xdc, count, 2) : write_head(ctx, writer, 0xdd, count, 4);
}

bool write_map(JSContext *ctx, Writer *writer, uint32_t count)
{
    writer->values += count;
    if (count < 16)
        return write_byte(ctx, writer, 0x80 | count);
    return count < 65536 ? write_head(ctx, writer, 0xde, count, 2) : write_head(ctx, writer, 0xdf, count, 4);
}

static bool write_text_head(JSContext *ctx, Writer *writer, size_t size)
{
    if (size < 32)
        return write_byte(ctx, writer, 0xa0 | size);
    if (size < 256)
        return write_head(ctx, writer, 0xd9, size, 1);
    return size < 65536 ? write_head(ctx, writer, 0xda, size, 2) : write_head(ctx, writer, 0xdb, size, 4);
}

bool write_text(JSContext *ctx, Writer *writer, const char *text)
{
    size_t size = strlen(text);
    return write_text_head(ctx, writer, size) && write_raw(ctx, writer, text, size);
}

bool write_bytes(JSContext *ctx, Writer *writer, const uint8_t *bytes, size_t size)
{
    bool ok = size < 256     ? write_head(ctx, writer, 0xc4, size, 1)
              : size < 65536 ? write_head(ctx, writer, 0xc5, size, 2)
                             : write_head(ctx, writer, 0xc6, size, 4);
    return ok && write_raw(ctx, writer, bytes, size);
}

bool write_uint(JSContext *ctx, Writer *writer, uint64_t number)
{
    if (number < 128)
        return write_byte(ctx, writer, (uint8_t)number);
    if (number < 256)
        return write_head(ctx, writer, 0xcc, number, 1);
    if (number < 65536)
        return write_head(ctx, writer, 0xcd, number, 2);
    return number <= UINT32_MAX ? write_head(ctx, writer, 0xce, number, 4) : write_head(ctx, writer, 0xcf, number, 8);
}

static bool write_int(JSContext *ctx, Writer *writer, int64_t number)
{
    if (number >= 0)
        return write_uint(ctx, writer, (uint64_t)number);
    if (number >= -32)
        return write_byte(ctx, writer, (uint8_t)number);
    return number >= INT32_MIN ? write_head(ctx, writer, 0xd2, (uint32_t)number, 4)
                               : write_head(ctx, writer, 0xd3, (uint64_t)number, 8);
}

static bool write_number(JSContext *ctx, Writer *writer, double number)
{
    /* A whole number is an integer wherever both sides have it exactly: statuses, ids, JSON. */
    if (number >= -9007199254740991.0 && number <= 9007199254740991.0 && number == (double)(int64_t)number)
        return write_int(ctx, writer, (int64_t)number);
    uint64_t bits;
    memcpy(&bits, &number, 8);
    return write_head(ctx, writer, 0xcb, bits, 8);
}

static bool write_string(JSContext *ctx, Writer *writer, JSValueConst value)
{
    size_t size;
    const char *text = text_of(ctx, &size, value);
    if (!text)
        return false;
    bool ok = write_text_head(ctx, writer, size) && write_raw(ctx, writer, text, size);
    JS_FreeCString(ctx, text);
    return ok;
}

static bool write_items(JSContext *ctx, Writer *writer, JSValueConst array, int depth)
{
    int64_t count;
    if (JS_GetLength(ctx, array, &count) < 0)
        return false;
    if (count < 0 || (uint64_t)count > writer->most) { /* each item has a byte */
        JS_ThrowRangeError(ctx, "too large: an array of %lld items", (long long)count);
        return false;
    }
    if (!write_array(ctx, writer, (uint32_t)count))
        return false;
    for (int64_t i = 0; i < count; i++) {
        JSValue item = JS_GetPropertyInt64(ctx, array, i);
        bool ok = !JS_IsException(item) && write_value(ctx, writer, item, depth);
        JS_FreeValue(ctx, item);
        if (!ok)
            return false;
    }
    return true;
}

/* Own enumerable properties, without those that JSON leaves out too: undefined ones and functions. */
static bool write_properties(JSContext *ctx, Writer *writer, JSValueConst object, int depth)
{
    JSPropertyEnum *names;
    uint32_t count, written = 0;
    if (JS_GetOwnPropertyNames(ctx, &names, &count, object, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0)
        return false;
    size_t head = writer->size;
    bool ok = write_head(ctx, writer, 0xdf, 0, 4); /* the count is known at the end */
    for (uint32_t i = 0; ok && i < count; i++) {
        JSValue value = JS_GetProperty(ctx, object, names[i].atom);
        if (JS_IsException(value)) {
            ok = false;
            break;
        }
        if (!JS_IsUndefined(value) && !JS_IsFunction(ctx, value)) {
            JSValue name = JS_AtomToString(ctx, names[i].atom);
            ok = !JS_IsException(name) && write_string(ctx, writer, name) && write_value(ctx, writer, value, depth);
            JS_FreeValue(ctx, name);
            written++;
        }
        JS_FreeValue(ctx, value);
    }
    JS_FreePropertyEnum(ctx, names, count);
    if (!ok)
        return false;
    writer->values += written;
    for (int i = 0; i < 4; i++)
        writer->bytes[head + 1 + i] = (uint8_t)(written >> (24 - 8 * i));
    return true;
}

bool write_value(JSContext *ctx, Writer *writer, JSValueConst value, int depth)
{
    switch (JS_VALUE_GET_NORM_TAG(value)) {
    case JS_TAG_UNDEFINED:
    case JS_TAG_NULL:
        return write_byte(ctx, writer, 0xc0);
    case JS_TAG_BOOL:
        return write_byte(ctx, writer, JS_VALUE_GET_BOOL(value) ? 0xc3 : 0xc2);
    case JS_TAG_INT:
        return write_int(ctx, writer, JS_VALUE_GET_INT(value));
    case JS_TAG_FLOAT64:
        return write_number(ctx, writer, JS_VALUE_GET_FLOAT64(value));
    case JS_TAG_STRING:
        return write_string(ctx, writer, value);
    case JS_TAG_OBJECT:
        break;
    default:
        if (JS_IsString(value)) /* a rope */
            return write_string(ctx, writer, value);
        JS_ThrowTypeError(ctx, "a %s can't be handed to the platform", JS_IsSymbol(value) ? "symbol" : "BigInt");
        return false;
    }
    if (depth == 0) {
        JS_ThrowRangeError(ctx, "nested too deep to be handed to the platform");
        return false;
    }
    if (JS_IsArrayBuffer(value) || JS_GetTypedArrayType(value) >= 0) {
        size_t size;
        const uint8_t *bytes = bytes_of(ctx, &size, value);
        return bytes && write_bytes(ctx, writer, bytes, size);
    }
    if (JS_IsFunction(ctx, value)) {
        JS_ThrowTypeError(ctx, "a function can't be handed to the platform");
        return false;
    }
    return JS_IsArray(value) ? write_items(ctx, writer, value, depth - 1)
                             : write_properties(ctx, writer, value, depth - 1);
}

/* -- reading -------------------------------------------------------------------------------------------------- */

static size_t left_of(const Reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* A number of `width` bytes, which stands after the byte that was read. */
static bool read_be(Reader *reader, int width, uint64_t *number)
{
    if (left_of(reader) < (size_t)width)
        return false;
    *number = 0;
    while (width--)
        *number = *number << 8 | *reader->at++;
    return true;
}

static bool read_count(Reader *reader, uint8_t small, uint8_t mask, uint8_t first16, uint32_t *count)
{
    uint64_t number;
    if (reader->at == reader->end)
        return false;
    uint8_t first = *reader->at;
    if ((first & (uint8_t)~mask) == small) {
        reader->at++;
        *count = first & mask;
        return true;
    }
    if (first != first16 && first != first16 + 1)
        return false;
    reader->at++;
    if (!read_be(reader, first == first16 ? 2 : 4, &number))
        return false;
    *count = (uint32_t)number;
    return true;
}

bool read_array(Reader *reader, uint32_t *count)
{
    /* Each item has a byte: so no length is believed that what follows could not hold. */
    return read_count(reader, 0x90, 0x0f, 0xdc, count) && *count <= left_of(reader);
}

bool read_map(Reader *reader, uint32_t *count)
{
    return read_count(reader, 0x80, 0x0f, 0xde, count) && *count <= left_of(reader) / 2;
}

bool read_uint(Reader *reader, uint32_t *number)
{
    uint64_t wide;
    if (reader->at == reader->end)
        return false;
    uint8_t first = *reader->at++;
    if (first < 0x80) {
        *number = first;
        return true;
    }
    if (first < 0xcc || first > 0xcf || !read_be(reader, 1 << (first - 0xcc), &wide) || wide > UINT32_MAX)
        return false;
    *number = (uint32_t)wide;
    return true;
}

bool read_span(Reader *reader, const uint8_t **bytes, size_t *size)
{
    uint64_t length;
    if (reader->at == reader->end)
        return false;
    uint8_t first = *reader->at++;
    if ((first & 0xe0) == 0xa0)
        length = first & 0x1f;
    else if (first >= 0xd9 && first <= 0xdb) {
        if (!read_be(reader, 1 << (first - 0xd9), &length))
            return false;
    } else if (first >= 0xc4 && first <= 0xc6) {
        if (!read_be(reader, 1 << (first - 0xc4), &length))
            return false;
    } else
        return false;
    if (length > left_of(reader))
        return false;
    *bytes = reader->at;
    *size = (size_t)length;
    reader->at += length;
    return true;
}

bool span_is(const uint8_t *bytes, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(bytes, text, size) == 0;
}

static JSValue broken(JSContext *ctx)
{
    return JS_ThrowInternalError(ctx, "the host's bytes are no MessagePack");
}

static JSValue read_items(JSContext *ctx, Reader *reader, int depth)
{
    JSValue few[FEW], *items = few;
    uint32_t count, have = 0;
    if (!read_array(reader, &count))
        return broken(ctx);
    if (count > FEW && !(items = js_malloc(ctx, count * sizeof *items)))
        return JS_EXCEPTION;
    while (have < count) {
        JSValue item = read_value(ctx, reader, depth);
        if (JS_IsException(item))
            break;
        items[have++] = item;
    }
    JSValue array = JS_EXCEPTION;
    if (have == count)
        array = JS_NewArrayFrom(ctx, (int)count, items); /* it takes them, whatever it answers */
    else
        while (have)
            JS_FreeValue(ctx, items[--have]);
    if (items != few)
        js_free(ctx, items);
    return array;
}

/* JS_NewAtomLen takes bytes for characters where there is such a name already. */
static JSAtom read_name(JSContext *ctx, const uint8_t *name, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (name[i] < 0x80)
            continue;
        JSValue text = JS_NewStringLen(ctx, (const char *)name, size);
        JSAtom atom = JS_IsException(text) ? JS_ATOM_NULL : JS_ValueToAtom(ctx, text);
        JS_FreeValue(ctx, text);
        return atom;
    }
    return JS_NewAtomLen(ctx, (const char *)name, size);
}

/* Defined, not set: a key `__proto__` is a property like any other. */
static JSValue read_properties(JSContext *ctx, Reader *reader, int depth)
{
    uint32_t count;
    if (!read_map(reader, &count))
        return broken(ctx);
    JSValue object = JS_NewObject(ctx);
    for (uint32_t i = 0; i < count && !JS_IsException(object); i++) {
        const uint8_t *name;
        size_t size;
        JSValue value = JS_EXCEPTION;
        JSAtom atom = JS_ATOM_NULL;
        if (!read_span(reader, &name, &size))
            broken(ctx);
        else {
            atom = read_name(ctx, name, size);
            if (atom != JS_ATOM_NULL)
                value = read_value(ctx, reader, depth);
        }
        if (JS_IsException(value) || engine_add_property(ctx, object, atom, value) < 0) {
            JS_FreeValue(ctx, object);
            object = JS_EXCEPTION;
        }
        JS_FreeAtom(ctx, atom);
    }
    return object;
}

static JSValue read_float(JSContext *ctx, Reader *reader, int width)
{
    uint64_t bits;
    if (!read_be(reader, width, &bits))
        return broken(ctx);
    double number;
    if (width == 4) {
        uint32_t narrow_bits = (uint32_t)bits;
        float narrow;
        memcpy(&narrow, &narrow_bits, 4);
        number = narrow;
    } else
        memcpy(&number, &bits, 8);
    return JS_NewFloat64(ctx, number);
}

static JSValue read_integer(JSContext *ctx, Reader *reader, uint8_t first)
{
    uint64_t number;
    int width = 1 << (first & 3);
    if (!read_be(reader, width, &number))
        return broken(ctx);
    if (first >= 0xd0) { /* signed */
        int shift = 64 - 8 * width;
        return JS_NewInt64(ctx, (int64_t)(number << shift) >> shift);
    }
    return number <= INT64_MAX ? JS_NewInt64(ctx, (int64_t)number) : JS_NewFloat64(ctx, (double)number);
}

JSValue read_value(JSContext *ctx, Reader *reader, int depth)
{
    if (reader->at == reader->end)
        return broken(ctx);
    uint8_t first = *reader->at;
    bool is_text = (first & 0xe0) == 0xa0 || (first >= 0xd9 && first <= 0xdb);
    if (is_text || (first >= 0xc4 && first <= 0xc6)) {
        const uint8_t *bytes;
        size_t size;
        if (!read_span(reader, &bytes, &size))
            return broken(ctx);
        return is_text ? JS_NewStringLen(ctx, (const char *)bytes, size) : JS_NewUint8ArrayCopy(ctx, bytes, size);
    }
    bool is_array = (first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd;
    if (is_array || (first & 0xf0) == 0x80 || first == 0xde || first == 0xdf) {
        if (depth == 0)
            return broken(ctx);
        return is_array ? read_items(ctx, reader, depth - 1) : read_properties(ctx, reader, depth - 1);
    }
    reader->at++;
    if (first < 0x80)
        return JS_NewInt32(ctx, first);
    if (first >= 0xe0)
        return JS_NewInt32(ctx, (int8_t)first);
    switch (first) {
    case 0xc0:
        return JS_NULL;
    case 0xc2:
        return JS_FALSE;
    case 0xc3:
        return JS_TRUE;
    case 0xca:
        return read_float(ctx, reader, 4);
    case 0xcb:
        return read_float(ctx, reader, 8);
    default:
        return first >= 0xcc && first <= 0xd3 ? read_integer(ctx, reader, first) : broken(ctx);
    }
}
