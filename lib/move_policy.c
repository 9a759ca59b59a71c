/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_policy.c - see move_policy.h. */
#include "lib/move_policy.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARSE_MAX 512

static const char *const converge_words[] = { [MOVE_CONVERGE_NO] = "no", [MOVE_CONVERGE_THROTTLE] = "throttle",
					      [MOVE_CONVERGE_POSTCOPY] = "postcopy", NULL };

static const struct row {
	const char *name, *option;
	size_t offset;
	int64_t dflt, min, max;
	const char *const *words;        /* NULL: a number */
} rows[] = {
	{ "target_downtime_ms", "target-downtime", offsetof(struct move_policy, target_downtime_ms), 30, 1, 3600000, NULL },
	{ "max_downtime_ms", "max-downtime", offsetof(struct move_policy, max_downtime_ms), 300, 1, 3600000, NULL },
	{ "bandwidth_mbs", "bandwidth", offsetof(struct move_policy, bandwidth_mbs), 0, 0, 1000000, NULL },
	{ "connections", "connections", offsetof(struct move_policy, connections), 0, 0, 8, NULL },
	{ "deadline_s", "deadline", offsetof(struct move_policy, deadline_s), 300, 1, 86400, NULL },
	{ "reconnect_s", "reconnect", offsetof(struct move_policy, reconnect_s), 30, 0, 600, NULL },
	{ "converge", "converge", offsetof(struct move_policy, converge), MOVE_CONVERGE_THROTTLE, 0, 0, converge_words },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int64_t *field(struct move_policy *p, const struct row *r)
{
	return (int64_t *)(void *)((char *)p + r->offset);
}

void move_policy_default(struct move_policy *p)
{
	for (size_t i = 0; i < ROWS; i++)
		*field(p, &rows[i]) = rows[i].dflt;
}

static int word_number(const struct row *r, const char *text, int64_t *ret, struct err *err)
{
	for (int64_t i = 0; r->words[i]; i++)
		if (strcmp(r->words[i], text) == 0) {
			*ret = i;
			return 0;
		}
	return err_set(err, -EINVAL, "%s: '%.40s' is none; write throttle, postcopy or no", r->name, text);
}

static int in_range(const struct row *r, double value, int64_t *ret, struct err *err)
{
	if (!(value >= (double)r->min && value <= (double)r->max))
		return err_set(err, -EINVAL, "%s: %g is not between %lld and %lld", r->name, value, (long long)r->min, (long long)r->max);
	*ret = (int64_t)value;
	return 0;
}

static int from_text(const struct row *r, const char *text, int64_t *ret, struct err *err)
{
	char *end;
	double value;

	if (r->words)
		return word_number(r, text, ret, err);
	value = strtod(text, &end);
	if (end == text || *end)
		return err_set(err, -EINVAL, "%s: '%.40s' is not a number", r->name, text);
	return in_range(r, value, ret, err);
}

static int set_row(json_t *options, const struct row *r, const char *text, struct err *err)
{
	int64_t value;
	int rc = from_text(r, text, &value, err);

	if (rc < 0)
		return rc;
	return json_object_set_new(options, r->name, r->words ? json_string(text) : json_integer(value)) ? -ENOMEM : 0;
}

int move_policy_set(json_t *options, const char *name, const char *text, struct err *err)
{
	for (size_t i = 0; i < ROWS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return set_row(options, &rows[i], text, err);
	return err_set(err, -EINVAL, "%.40s: no option of a move; there are target_downtime_ms, max_downtime_ms, bandwidth_mbs, connections, "
		       "deadline_s, reconnect_s and converge", name);
}

int move_policy_parse(const char *text, json_t **ret_options, struct err *err)
{
	char copy[PARSE_MAX], *rest = copy, *item, *eq;
	json_t *options = json_object();
	int rc = 0;

	if (!options || (size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		rc = err_set(err, options ? -E2BIG : -ENOMEM, "too long");
	while (rc == 0 && (item = strsep(&rest, ",")) != NULL) {
		item += strspn(item, " \t");
		eq = strchr(item, '=');
		if (!eq) {
			rc = *item ? err_set(err, -EINVAL, "'%.40s': write NAME=VALUE,...", item) : 0;
			continue;
		}
		*eq = '\0';
		rc = move_policy_set(options, item, eq + 1, err);
	}
	if (rc < 0)
		json_decref(options);
	else
		*ret_options = options;
	return rc;
}

int move_policy_argument(json_t *options, int argc, char **argv, int *i, struct err *err)
{
	const char *word = argv[*i];
	int rc;

	if (strncmp(word, "--", 2) != 0)
		return 0;
	for (size_t k = 0; k < ROWS; k++) {
		size_t n = strlen(rows[k].option);
		const char *value = word + 2 + n;

		if (strncmp(word + 2, rows[k].option, n) != 0 || (*value && *value != '='))
			continue;
		if (!*value && *i + 1 >= argc)
			return err_set(err, -EINVAL, "%s needs a value", word);
		rc = set_row(options, &rows[k], *value ? value + 1 : argv[++*i], err);
		return rc < 0 ? rc : 1;
	}
	return 0;
}

static int apply_row(struct move_policy *p, const struct row *r, const json_t *v, struct err *err)
{
	if (r->words && json_is_string(v))
		return word_number(r, json_string_value(v), field(p, r), err);
	if (!r->words && json_is_number(v))
		return in_range(r, json_number_value(v), field(p, r), err);
	return err_set(err, -EINVAL, "%s: a %s is needed", r->name, r->words ? "string" : "number");
}

int move_policy_apply(struct move_policy *p, const json_t *options, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ROWS; i++) {
		const json_t *v = json_object_get(options, rows[i].name);

		if (v && !json_is_null(v))
			rc = apply_row(p, &rows[i], v, err);
	}
	return rc;
}

int move_policy_conf(struct move_policy *p, const struct conf *conf, struct err *err)
{
	char key[64];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ROWS; i++) {
		const char *text;

		snprintf(key, sizeof(key), "migration_%s", rows[i].name);
		text = conf_get(conf, key, NULL);
		if (text)
			rc = from_text(&rows[i], text, field(p, &rows[i]), err);
	}
	return rc < 0 ? err_prefix(err, "haven.conf, %s", key) : 0;
}

unsigned move_connections_default(int64_t memory_kib, unsigned processors)
{
	int64_t n = memory_kib >> 20;

	n = n > processors ? processors : n;
	return n < 1 ? 1 : n > 4 ? 4 : (unsigned)n;
}

static double number(const json_t *progress, const char *key)
{
	return json_number_value(json_object_get(progress, key));
}

/* Appends to buf, which holds n octets of size; what it holds then. */
__attribute__((format(printf, 4, 5)))
static size_t add(char *buf, size_t size, size_t n, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = n < size ? vsnprintf(buf + n, size - n, fmt, ap) : 0;
	va_end(ap);
	return n + (r > 0 ? (size_t)r : 0);
}

/* Before a round's end has told how fast the guest writes it is the least that it takes. */
static size_t add_eta(char *buf, size_t size, size_t n, const json_t *progress)
{
	const char *about = json_object_get(progress, "converges") || json_object_get(progress, "owed_mib") ? "about" : "at least";
	double eta = number(progress, "eta_s");

	if (eta < 0)
		return n;
	if (eta < 1)
		return add(buf, size, n, ", less than a second left");
	return add(buf, size, n, ", %s %.0f s left", about, eta);
}

void move_line(const json_t *progress, char *buf, size_t size)
{
	const char *phase = json_string_value(json_object_get(progress, "phase"));
	bool owed = phase && strcmp(phase, "postcopy") == 0, rounds = phase && strcmp(phase, "precopy") == 0;
	size_t n = 0;

	if (size)
		buf[0] = '\0';
	if (phase && strcmp(phase, "waiting") == 0) {
		add(buf, size, n, "waiting, %.0f moves go before it", number(progress, "waiting_for"));
		return;
	}
	/* whole ones that are done: 100 is said by the end alone */
	n = add(buf, size, n, "%s, %d %%", phase ? phase : "?", (int)number(progress, "percent"));
	if (!owed)
		n = add(buf, size, n, ", round %.0f", number(progress, "rounds"));
	n = add(buf, size, n, ", %.1f MiB sent", number(progress, "bytes_sent") / 1048576);
	if (json_object_get(progress, "rate_mbs"))
		n = add(buf, size, n, " at %.0f MB/s", number(progress, "rate_mbs"));
	if (owed)
		n = add(buf, size, n, ", %.0f MiB owed", number(progress, "owed_mib"));
	else if (json_object_get(progress, "dirty_rate_mbs"))
		n = add(buf, size, n, ", dirtied at %.0f MB/s", number(progress, "dirty_rate_mbs"));
	if (number(progress, "throttle_percent") > 0)
		n = add(buf, size, n, ", guest slowed by %.4g %%", number(progress, "throttle_percent"));
	if (rounds && json_is_false(json_object_get(progress, "converges")))
		add(buf, size, n, ", will not converge at this rate");
	else if (rounds || owed)
		add_eta(buf, size, n, progress);
}
