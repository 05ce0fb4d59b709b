/* URL (URL Standard), on ada. Its `searchParams` are the prelude's (../prelude/src/web/url.js). */
#include <stdlib.h>
#include <string.h>

#include "ada_c.h"
#include "engine.h"

typedef struct {
    ada_url url;
    JSValue params; /* its URLSearchParams, once somebody has asked for it */
} Url;

static JSClassID url_class;
static JSValue url_constructor, make_params;

static void url_finalize(JSRuntime *rt, JSValueConst value)
{
    Url *url = JS_GetOpaque(value, url_class);
    if (!url)
        return;
    ada_free(url->url);
    JS_FreeValueRT(rt, url->params);
    js_free_rt(rt, url);
}

static void url_mark(JSRuntime *rt, JSValueConst value, JS_MarkFunc *mark)
{
    Url *url = JS_GetOpaque(value, url_class);
    if (url)
        JS_MarkValue(rt, url->params, mark);
}

static const JSClassDef url_definition = {"URL", .finalizer = url_finalize, .gc_mark = url_mark};

static Url *url_of(JSContext *ctx, JSValueConst value)
{
    return JS_GetOpaque2(ctx, value, url_class);
}

/* ada ends the instance where memory ends; this makes it an error of JavaScript's. Percent-encoding makes three bytes
 * of one, and a string that grows is there twice. */
static bool has_room(JSContext *ctx, size_t added, size_t held)
{
    if (added < 4096 && held < 4096)
        return true;
    uint64_t need = 12 * (uint64_t)added + 3 * (uint64_t)held;
    void *volatile room = need < SIZE_MAX ? malloc((size_t)need) : NULL; /* volatile: or none is asked for */
    if (!room) {
        JS_ThrowOutOfMemory(ctx);
        return false;
    }
    free(room);
    return true;
}

typedef struct {
    const char *text, *base; /* base: NULL when there is none */
    size_t size, base_size;
} Input;

static void input_free(JSContext *ctx, Input *input)
{
    if (input->text)
        JS_FreeCString(ctx, input->text);
    if (input->base)
        JS_FreeCString(ctx, input->base);
}

/* (text, base | undefined); false with an exception pending. */
static bool input_read(JSContext *ctx, Input *input, int argc, JSValueConst *argv)
{
    memset(input, 0, sizeof *input);
    if (argc < 1) {
        JS_ThrowTypeError(ctx, "URL: 1 argument is needed, 0 are given");
        return false;
    }
    input->text = text_of(ctx, &input->size, argv[0]);
    if (!input->text)
        return false;
    if (argc > 1 && !JS_IsUndefined(argv[1]))
        input->base = text_of(ctx, &input->base_size, argv[1]);
    if ((argc > 1 && !JS_IsUndefined(argv[1]) && !input->base) || !has_room(ctx, input->size, 4 * input->base_size)) {
        input_free(ctx, input);
        return false;
    }
    return true;
}

/* NULL: it is no URL. */
static ada_url parse(const Input *input)
{
    ada_url url = input->base ? ada_parse_with_base(input->text, input->size, input->base, input->base_size)
                              : ada_parse(input->text, input->size);
    if (ada_is_valid(url))
        return url;
    ada_free(url);
    return NULL;
}

static JSValue throw_invalid(JSContext *ctx, const char *text)
{
    return JS_ThrowTypeError(ctx, "Invalid URL: %.200s", text);
}

/* Takes `parsed`. */
static JSValue url_new(JSContext *ctx, JSValueConst constructor, ada_url parsed)
{
    JSValue value = JS_EXCEPTION;
    Url *url = js_malloc(ctx, sizeof *url);
    if (url && JS_VALUE_GET_PTR(constructor) == JS_VALUE_GET_PTR(url_constructor))
        value = JS_NewObjectClass(ctx, url_class);
    else if (url) { /* a class that extends it */
        JSValue prototype = JS_GetPropertyStr(ctx, constructor, "prototype");
        if (!JS_IsException(prototype))
            value = JS_NewObjectProtoClass(ctx, prototype, url_class);
        JS_FreeValue(ctx, prototype);
    }
    if (JS_IsException(value)) {
        js_free(ctx, url);
        ada_free(parsed);
        return value;
    }
    url->url = parsed;
    url->params = JS_UNDEFINED;
    JS_SetOpaque(value, url);
    return value;
}

static JSValue construct(JSContext *ctx, JSValueConst constructor, int argc, JSValueConst *argv)
{
    Input input;
    if (!input_read(ctx, &input, argc, argv))
        return JS_EXCEPTION;
    ada_url parsed = parse(&input);
    JSValue value = parsed ? url_new(ctx, constructor, parsed) : throw_invalid(ctx, input.text);
    input_free(ctx, &input);
    return value;
}

/* URL.parse(text, base) → a URL, or null */
static JSValue url_parse(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value;
    Input input;
    if (!input_read(ctx, &input, argc, argv))
        return JS_EXCEPTION;
    ada_url parsed = parse(&input);
    input_free(ctx, &input);
    return parsed ? url_new(ctx, url_constructor, parsed) : JS_NULL;
}

/* URL.canParse(text, base) */
static JSValue url_can_parse(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value;
    Input input;
    if (!input_read(ctx, &input, argc, argv))
        return JS_EXCEPTION;
    bool can = input.base ? ada_can_parse_with_base(input.text, input.size, input.base, input.base_size)
                          : ada_can_parse(input.text, input.size);
    input_free(ctx, &input);
    return JS_NewBool(ctx, can);
}

/* -- its parts ------------------------------------------------------------------------------------------------ */

enum { HREF, PROTOCOL, USERNAME, PASSWORD, HOST, HOSTNAME, PORT, PATHNAME, SEARCH, HASH };

static ada_string part_of(ada_url url, int part)
{
    switch (part) {
    case PROTOCOL: return ada_get_protocol(url);
    case USERNAME: return ada_get_username(url);
    case PASSWORD: return ada_get_password(url);
    case HOST: return ada_get_host(url);
    case HOSTNAME: return ada_get_hostname(url);
    case PORT: return ada_get_port(url);
    case PATHNAME: return ada_get_pathname(url);
    case SEARCH: return ada_get_search(url);
    case HASH: return ada_get_hash(url);
    default: return ada_get_href(url);
    }
}

static JSValue get_part(JSContext *ctx, JSValueConst this_value, int part)
{
    Url *url = url_of(ctx, this_value);
    if (!url)
        return JS_EXCEPTION;
    ada_string text = part_of(url->url, part);
    return JS_NewStringLen(ctx, text.data, text.length);
}

/* toString() and toJSON() */
static JSValue show(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)argc, (void)argv;
    return get_part(ctx, this_value, HREF);
}

/* What is no value for a part changes nothing, but for `href`, which throws. */
static bool change_part(ada_url url, int part, const char *text, size_t size)
{
    switch (part) {
    case PROTOCOL: ada_set_protocol(url, text, size); break;
    case USERNAME: ada_set_username(url, text, size); break;
    case PASSWORD: ada_set_password(url, text, size); break;
    case HOST: ada_set_host(url, text, size); break;
    case HOSTNAME: ada_set_hostname(url, text, size); break;
    case PORT: ada_set_port(url, text, size); break;
    case PATHNAME: ada_set_pathname(url, text, size); break;
    case SEARCH: ada_set_search(url, text, size); break;
    case HASH: ada_set_hash(url, text, size); break;
    default: return ada_set_href(url, text, size);
    }
    return true;
}

static JSValue set_part(JSContext *ctx, JSValueConst this_value, JSValueConst value, int part)
{
    Url *url = url_of(ctx, this_value);
    size_t size;
    const char *text = url ? text_of(ctx, &size, value) : NULL;
    if (!text)
        return JS_EXCEPTION;
    JSValue result = JS_UNDEFINED;
    if (!has_room(ctx, size, ada_get_href(url->url).length))
        result = JS_EXCEPTION;
    else if (!change_part(url->url, part, text, size))
        result = throw_invalid(ctx, text);
    JS_FreeCString(ctx, text);
    return result;
}

static JSValue get_origin(JSContext *ctx, JSValueConst this_value)
{
    Url *url = url_of(ctx, this_value);
    if (!url)
        return JS_EXCEPTION;
    ada_owned_string origin = ada_get_origin(url->url);
    JSValue text = JS_NewStringLen(ctx, origin.data, origin.length);
    ada_free_owned_string(origin);
    return text;
}

static JSValue get_params(JSContext *ctx, JSValueConst this_value)
{
    Url *url = url_of(ctx, this_value);
    if (!url)
        return JS_EXCEPTION;
    if (JS_IsUndefined(url->params)) {
        JSValue made = JS_Call(ctx, make_params, JS_UNDEFINED, 1, &this_value);
        if (JS_IsException(made))
            return made;
        url->params = made;
    }
    return JS_DupValue(ctx, url->params);
}

/* -- for the prelude ------------------------------------------------------------------------------------------ */

/* urlParams(make): `make(url)` gives a URL its URLSearchParams */
static JSValue set_make_params(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value, (void)argc;
    make_params = JS_DupValue(ctx, argv[0]);
    return JS_UNDEFINED;
}

/* urlQuery(url) → its query with the `?`, or ''; urlQuery(url, text) changes it: what a tenant made of the accessors
 * does not matter here */
static JSValue url_query(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    (void)this_value;
    return argc > 1 ? set_part(ctx, argv[0], argv[1], SEARCH) : get_part(ctx, argv[0], SEARCH);
}

void url_define(JSContext *ctx, JSValueConst host)
{
    static const JSCFunctionListEntry parts[] = {
        JS_CGETSET_MAGIC_DEF("href", get_part, set_part, HREF),
        JS_CGETSET_DEF("origin", get_origin, NULL),
        JS_CGETSET_MAGIC_DEF("protocol", get_part, set_part, PROTOCOL),
        JS_CGETSET_MAGIC_DEF("username", get_part, set_part, USERNAME),
        JS_CGETSET_MAGIC_DEF("password", get_part, set_part, PASSWORD),
        JS_CGETSET_MAGIC_DEF("host", get_part, set_part, HOST),
        JS_CGETSET_MAGIC_DEF("hostname", get_part, set_part, HOSTNAME),
        JS_CGETSET_MAGIC_DEF("port", get_part, set_part, PORT),
        JS_CGETSET_MAGIC_DEF("pathname", get_part, set_part, PATHNAME),
        JS_CGETSET_MAGIC_DEF("search", get_part, set_part, SEARCH),
        JS_CGETSET_DEF("searchParams", get_params, NULL),
        JS_CGETSET_MAGIC_DEF("hash", get_part, set_part, HASH),
        JS_CFUNC_DEF("toString", 0, show),
        JS_CFUNC_DEF("toJSON", 0, show),
    };
    static const JSCFunctionListEntry statics[] = {
        JS_CFUNC_DEF("canParse", 1, url_can_parse),
        JS_CFUNC_DEF("parse", 1, url_parse),
    };
    static const JSCFunctionListEntry functions[] = {
        JS_CFUNC_DEF("urlParams", 1, set_make_params),
        JS_CFUNC_DEF("urlQuery", 1, url_query),
    };
    JS_NewClassID(engine_runtime, &url_class);
    JS_NewClass(engine_runtime, url_class, &url_definition);
    JSValue prototype = JS_NewObject(ctx);
    JS_SetPropertyFunctionList(ctx, prototype, parts, sizeof parts / sizeof *parts);
    url_constructor = JS_NewCFunction2(ctx, construct, "URL", 1, JS_CFUNC_constructor, 0);
    JS_SetPropertyFunctionList(ctx, url_constructor, statics, sizeof statics / sizeof *statics);
    JS_SetConstructor(ctx, url_constructor, prototype);
    JS_SetClassProto(ctx, url_class, prototype);
    make_params = JS_UNDEFINED;
    JS_SetPropertyStr(ctx, host, "URL", JS_DupValue(ctx, url_constructor));
    JS_SetPropertyFunctionList(ctx, host, functions, sizeof functions / sizeof *functions);
}
