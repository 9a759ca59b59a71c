/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lexer and parser of xl.cfg(5). One pass over the text, one token ahead. Bounds: nesting, items of a list, settings of a
 * file; the text's own length bounds the rest. A later setting of a name replaces an earlier one, "+=" appends to it.
 */
#include "lib/xlcfg_syntax.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NESTING_MAX 4
#define ITEMS_MAX 1024
#define SETTINGS_MAX 512
#define WARNINGS_MAX 64

enum token_kind { T_END, T_NEWLINE, T_SEMICOLON, T_NAME, T_STRING, T_NUMBER, T_ASSIGN, T_APPEND, T_OPEN, T_CLOSE, T_COMMA };

struct token {
	enum token_kind kind;
	unsigned line, column;
	const char *start;	/* into the text; of a string: after the quote */
	size_t len;
};

struct parser {
	struct xlcfg_file *file;
	const char *pos, *end, *line_start;
	unsigned line;
	unsigned depth;		/* of brackets: newlines inside are white space */
	struct token token;
};

/* Values of the file stand in messages: one line stays one line, and no terminal obeys them. */
static void line_clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

int xlcfg_error(struct xlcfg_file *file, unsigned line, unsigned column, int rc, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	if (file->report->error[0])
		return rc;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	line_clean(text);
	if (line)
		snprintf(file->report->error, sizeof(file->report->error), "%s:%u:%u: %s", file->name, line, column, text);
	else
		snprintf(file->report->error, sizeof(file->report->error), "%s: %s", file->name, text);
	return rc;
}

void xlcfg_warn(struct xlcfg_file *file, unsigned line, unsigned column, const char *fmt, ...)
{
	struct xlcfg_report *report = file->report;
	char text[768], *full;
	char **more;
	va_list ap;

	if (report->n_warnings >= WARNINGS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	line_clean(text);
	more = realloc(report->warnings, (report->n_warnings + 1) * sizeof(*more));
	if (!more)
		return;
	report->warnings = more;
	if (asprintf(&full, "%s:%u:%u: warning: %s", file->name, line, column, text) < 0)
		return;
	report->warnings[report->n_warnings++] = full;
}

static const char want_value[] = "a string, a number or '['";

/* ---- tokens ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c)
{
	return is_name_start(c) || is_digit(c) || c == '-';
}

static unsigned column_of(const struct parser *p, const char *at)
{
	return (unsigned)(at - p->line_start) + 1;
}

static void newline_take(struct parser *p)
{
	p->pos++;
	p->line++;
	p->line_start = p->pos;
}

/* Blanks, comments, a backslash before the line's end, and inside brackets the line's end itself. */
static void blanks_skip(struct parser *p)
{
	while (p->pos < p->end) {
		if (*p->pos == ' ' || *p->pos == '\t' || *p->pos == '\r') {
			p->pos++;
		} else if (*p->pos == '#') {
			while (p->pos < p->end && *p->pos != '\n')
				p->pos++;
		} else if (*p->pos == '\n' && p->depth) {
			newline_take(p);
		} else if (*p->pos == '\\' && p->pos + 1 < p->end && p->pos[1] == '\n') {
			p->pos++;
			newline_take(p);
		} else {
			break;
		}
	}
}

static int string_take(struct parser *p, struct token *t)
{
	char quote = *p->pos;

	t->kind = T_STRING;
	t->start = ++p->pos;
	while (p->pos < p->end && *p->pos != quote && *p->pos != '\n' && *p->pos != '\0') {
		if (*p->pos == '\\' && p->pos + 1 < p->end && p->pos[1] != '\n')
			p->pos++;
		p->pos++;
	}
	if (p->pos >= p->end || *p->pos != quote)
		return xlcfg_error(p->file, t->line, t->column, -EINVAL,
				   "syntax error: this string has no closing %c on its line", quote);
	t->len = (size_t)(p->pos++ - t->start);
	return 0;
}

static int mark_take(struct parser *p, struct token *t)
{
	static const struct { char c; enum token_kind kind; } marks[] = {
		{ '=', T_ASSIGN }, { '[', T_OPEN }, { ']', T_CLOSE }, { ',', T_COMMA }, { ';', T_SEMICOLON },
	};
	size_t i;

	if (*p->pos == '+' && p->pos + 1 < p->end && p->pos[1] == '=') {
		t->kind = T_APPEND;
		t->len = 2;
		p->pos += 2;
		return 0;
	}
	for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		if (*p->pos != marks[i].c)
			continue;
		t->kind = marks[i].kind;
		t->len = 1;
		p->pos++;
		return 0;
	}
	if (*p->pos > ' ' && *p->pos < 0x7f)
		return xlcfg_error(p->file, t->line, t->column, -EINVAL, "syntax error: the character '%c' has no place here%s", *p->pos,
				   *p->pos == '(' ? "; a list is written in [ ]" : "; put text in quotes");
	return xlcfg_error(p->file, t->line, t->column, -EINVAL, "syntax error: the byte 0x%02x has no place outside quotes",
			   (unsigned char)*p->pos);
}

static int token_next(struct parser *p)
{
	struct token *t = &p->token;

	blanks_skip(p);
	memset(t, 0, sizeof(*t));
	t->line = p->line;
	t->column = column_of(p, p->pos);
	t->start = p->pos;
	if (p->pos >= p->end) {
		t->kind = T_END;
		return 0;
	}
	if (*p->pos == '\n') {
		t->kind = T_NEWLINE;
		newline_take(p);
		return 0;
	}
	if (*p->pos == '"' || *p->pos == '\'')
		return string_take(p, t);
	if (!is_name_start(*p->pos) && !is_digit(*p->pos))
		return mark_take(p, t);
	t->kind = is_digit(*p->pos) ? T_NUMBER : T_NAME;
	while (p->pos < p->end && is_name(*p->pos))
		p->pos++;
	t->len = (size_t)(p->pos - t->start);
	return 0;
}

static int unexpected(struct parser *p, const char *wanted)
{
	const struct token *t = &p->token;
	char found[64];

	if (t->kind == T_END)
		snprintf(found, sizeof(found), "the file ends");
	else if (t->kind == T_NEWLINE)
		snprintf(found, sizeof(found), "the line ends");
	else if (t->kind == T_STRING)
		snprintf(found, sizeof(found), "there is a string");
	else
		snprintf(found, sizeof(found), "there is '%.*s'", (int)(t->len > 40 ? 40 : t->len), t->start);
	return xlcfg_error(p->file, t->line, t->column, -EINVAL, "syntax error: %s where %s belongs%s", found, wanted,
			   t->kind == T_NAME && wanted == want_value ? "; put text in quotes" : "");
}

/* ---- values ---- */

static void value_done(struct xlcfg_value *v)
{
	size_t i;

	for (i = 0; i < v->n_items; i++)
		value_done(&v->items[i]);
	free(v->items);
	free(v->text);
	memset(v, 0, sizeof(*v));
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One escape after its backslash: the usual letters, \xHH, \ooo; any other character stands for itself. */
static char escape_take(const char **s, const char *end)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	const char *at = strchr(from, **s);
	int n = 0, i;

	if (**s && at) {
		(*s)++;
		return to[at - from];
	}
	if (**s == 'x' && *s + 2 < end && hex_digit((*s)[1]) >= 0 && hex_digit((*s)[2]) >= 0) {
		n = hex_digit((*s)[1]) * 16 + hex_digit((*s)[2]);
		*s += 3;
		return (char)n;
	}
	if (**s >= '0' && **s <= '7') {
		for (i = 0; i < 3 && *s < end && **s >= '0' && **s <= '7'; i++)
			n = n * 8 + (*(*s)++ - '0');
		return (char)n;
	}
	return *(*s)++;
}

static int string_value(struct parser *p, struct xlcfg_value *v)
{
	const char *s = p->token.start, *end = s + p->token.len;
	char *out;
	json_t *probe;

	v->text = out = malloc(p->token.len + 1);
	if (!out)
		return -ENOMEM;
	while (s < end) {
		if (*s != '\\') {
			*out++ = *s++;
			continue;
		}
		s++;
		*out = escape_take(&s, end);
		if (!*out++)
			return xlcfg_error(p->file, v->line, v->column, -EINVAL, "a string cannot hold a zero byte");
	}
	*out = '\0';
	probe = json_string(v->text);
	if (!probe)
		return xlcfg_error(p->file, v->line, v->column, -EINVAL, "this string is not valid UTF-8");
	json_decref(probe);
	return 0;
}

static int value_parse(struct parser *p, struct xlcfg_value *v);

static int list_item(struct parser *p, struct xlcfg_value *list, size_t *room)
{
	struct xlcfg_value *more;
	int rc;

	if (list->n_items >= ITEMS_MAX)
		return xlcfg_error(p->file, p->token.line, p->token.column, -E2BIG, "a list has at most %d items", ITEMS_MAX);
	if (list->n_items == *room) {
		*room = *room ? *room * 2 : 4;
		more = realloc(list->items, *room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		list->items = more;
	}
	memset(&list->items[list->n_items], 0, sizeof(list->items[0]));
	rc = value_parse(p, &list->items[list->n_items++]);
	return rc;
}

static int list_parse(struct parser *p, struct xlcfg_value *v)
{
	size_t room = 0;
	int rc;

	if (p->depth >= NESTING_MAX)
		return xlcfg_error(p->file, v->line, v->column, -E2BIG, "lists nest at most %d deep", NESTING_MAX);
	p->depth++;
	rc = token_next(p);
	while (rc == 0 && p->token.kind != T_CLOSE) {
		rc = list_item(p, v, &room);
		if (rc < 0 || p->token.kind == T_CLOSE)
			break;
		if (p->token.kind != T_COMMA)
			return unexpected(p, "',' or ']'");
		rc = token_next(p);
	}
	if (rc < 0)
		return rc;
	p->depth--;
	return token_next(p);
}

/* Leaves the token after the value as the current one. */
static int value_parse(struct parser *p, struct xlcfg_value *v)
{
	int rc;

	v->line = p->token.line;
	v->column = p->token.column;
	switch (p->token.kind) {
	case T_STRING:
		v->kind = XLCFG_STRING;
		rc = string_value(p, v);
		return rc < 0 ? rc : token_next(p);
	case T_NUMBER:
		v->kind = XLCFG_NUMBER;
		v->text = strndup(p->token.start, p->token.len);
		return v->text ? token_next(p) : -ENOMEM;
	case T_OPEN:
		v->kind = XLCFG_LIST;
		return list_parse(p, v);
	default:
		return unexpected(p, want_value);
	}
}

/* ---- settings ---- */

static int list_append(struct xlcfg_value *old, struct xlcfg_value *add)
{
	struct xlcfg_value *items;

	if (old->n_items + add->n_items > ITEMS_MAX)
		return -E2BIG;
	if (!add->n_items)
		return 0;
	items = realloc(old->items, (old->n_items + add->n_items) * sizeof(*items));
	if (!items)
		return -ENOMEM;
	memcpy(items + old->n_items, add->items, add->n_items * sizeof(*items));
	old->items = items;
	old->n_items += add->n_items;
	free(add->items);
	memset(add, 0, sizeof(*add));
	return 0;
}

static int value_append(struct parser *p, struct xlcfg_setting *old, struct xlcfg_setting *add)
{
	char *joined;

	if (old->value.kind != add->value.kind || add->value.kind == XLCFG_NUMBER)
		return xlcfg_error(p->file, add->line, add->column, -EINVAL,
				   "%s: += joins a list to a list or a string to a string", add->name);
	if (add->value.kind == XLCFG_LIST)
		return list_append(&old->value, &add->value);
	if (asprintf(&joined, "%s%s", old->value.text, add->value.text) < 0)
		return -ENOMEM;
	free(old->value.text);
	old->value.text = joined;
	return 0;
}

static void setting_done(struct xlcfg_setting *s)
{
	free(s->name);
	value_done(&s->value);
}

static struct xlcfg_setting *setting_find(struct xlcfg_file *file, const char *name)
{
	size_t i;

	for (i = 0; i < file->n_settings; i++)
		if (strcmp(file->settings[i].name, name) == 0)
			return &file->settings[i];
	return NULL;
}

/* Takes what `s` holds, on success and on failure. */
static int setting_store(struct parser *p, struct xlcfg_setting *s, bool append)
{
	struct xlcfg_setting *old = setting_find(p->file, s->name), *more;
	int rc = 0;

	if (old && append) {
		rc = value_append(p, old, s);
		setting_done(s);
	} else if (old) {
		xlcfg_warn(p->file, s->line, s->column, "%s is set again; line %u no longer counts", s->name, old->line);
		setting_done(old);
		*old = *s;
	} else if (p->file->n_settings >= SETTINGS_MAX) {
		rc = xlcfg_error(p->file, s->line, s->column, -E2BIG, "a file has at most %d settings", SETTINGS_MAX);
		setting_done(s);
	} else {
		more = realloc(p->file->settings, (p->file->n_settings + 1) * sizeof(*more));
		if (!more) {
			setting_done(s);
			return -ENOMEM;
		}
		p->file->settings = more;
		more[p->file->n_settings++] = *s;
	}
	return rc;
}

static int setting_parse(struct parser *p)
{
	struct xlcfg_setting s = { .line = p->token.line, .column = p->token.column };
	bool append;
	int rc;

	if (p->token.kind != T_NAME)
		return unexpected(p, "the name of a setting");
	s.name = strndup(p->token.start, p->token.len);
	if (!s.name)
		return -ENOMEM;
	rc = token_next(p);
	if (rc < 0)
		goto out;
	append = p->token.kind == T_APPEND;
	if (!append && p->token.kind != T_ASSIGN) {
		rc = unexpected(p, "'='");
		goto out;
	}
	rc = token_next(p);
	if (rc == 0)
		rc = value_parse(p, &s.value);
	if (rc == 0 && p->token.kind != T_NEWLINE && p->token.kind != T_SEMICOLON && p->token.kind != T_END)
		rc = unexpected(p, "the end of the line");
	if (rc == 0)
		return setting_store(p, &s, append);
out:
	setting_done(&s);
	return rc;
}

int xlcfg_syntax_parse(struct xlcfg_file *file, const char *text, size_t len)
{
	struct parser p = { .file = file, .pos = text, .end = text + len, .line_start = text, .line = 1 };
	int rc;

	if (len > XLCFG_FILE_MAX)
		return xlcfg_error(file, 0, 0, -E2BIG, "an xl.cfg has at most %u bytes", XLCFG_FILE_MAX);
	rc = token_next(&p);
	while (rc == 0 && p.token.kind != T_END) {
		if (p.token.kind != T_NEWLINE && p.token.kind != T_SEMICOLON)
			rc = setting_parse(&p);
		if (rc == 0 && p.token.kind != T_END)
			rc = token_next(&p);
	}
	if (rc == -ENOMEM)
		xlcfg_error(file, 0, 0, rc, "out of memory");
	return rc;
}

void xlcfg_file_done(struct xlcfg_file *file)
{
	size_t i;

	for (i = 0; i < file->n_settings; i++)
		setting_done(&file->settings[i]);
	free(file->settings);
	file->settings = NULL;
	file->n_settings = 0;
}
