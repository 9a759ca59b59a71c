/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conf.c - see conf.h. */
#include "lib/conf.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/atomic_file.h"
#include "lib/paths.h"

#define CONF_MAX_BYTES (256 * 1024)

struct entry { char *key, *value; };
struct conf { struct entry *e; size_t n; };

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

static int conf_add(struct conf *c, const char *key, const char *value)
{
	struct entry *e = realloc(c->e, (c->n + 1) * sizeof(*e));

	if (!e)
		return -ENOMEM;
	c->e = e;
	e[c->n] = (struct entry){ strdup(key), strdup(value) };
	if (!e[c->n].key || !e[c->n].value) {
		free(e[c->n].key);
		free(e[c->n].value);
		return -ENOMEM;
	}
	c->n++;
	return 0;
}

static int conf_parse_line(struct conf *c, char *line, const char *path, unsigned nr, struct err *err)
{
	char *hash = strchr(line, '#'), *eq, *key, *value;
	size_t n;

	if (hash)
		*hash = '\0';
	line = trim(line);
	if (!*line)
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return err_set(err, -EINVAL, "%s:%u: expected 'key = value'", path, nr);
	*eq = '\0';
	key = trim(line);
	value = trim(eq + 1);
	n = strlen(value);
	if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
		value[n - 1] = '\0';
		value++;
	}
	if (!*key)
		return err_set(err, -EINVAL, "%s:%u: no key before '='", path, nr);
	return conf_add(c, key, value);
}

int conf_load(const char *name, struct conf **ret, struct err *err)
{
	struct conf *c = calloc(1, sizeof(*c));
	char path[PATH_MAX], *text = NULL, *save = NULL;
	unsigned nr = 0;
	int rc;

	if (!c)
		return -ENOMEM;
	rc = path_join(path, sizeof(path), path_conf(), "%s", name);
	if (rc == 0)
		rc = atomic_file_read(path, CONF_MAX_BYTES, &text, NULL);
	if (rc == -ENOENT) {
		*ret = c;
		return 0;
	}
	if (rc < 0) {
		conf_free(c);
		return err_set(err, rc, "%s: %s", path, strerror(-rc));
	}
	save = text;
	for (char *line; rc == 0 && (line = strsep(&save, "\n")) != NULL; )
		rc = conf_parse_line(c, line, path, ++nr, err);
	free(text);
	if (rc < 0) {
		conf_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++) {
		free(c->e[i].key);
		free(c->e[i].value);
	}
	free(c->e);
	free(c);
}

const char *conf_get(const struct conf *c, const char *key, const char *dflt)
{
	for (size_t i = c->n; i-- > 0; )
		if (strcmp(c->e[i].key, key) == 0)
			return c->e[i].value;
	return dflt;
}

long long conf_get_int(const struct conf *c, const char *key, long long dflt)
{
	const char *s = conf_get(c, key, NULL);
	char *end;
	long long v;

	if (!s)
		return dflt;
	errno = 0;
	v = strtoll(s, &end, 0);
	return errno || *end || end == s ? dflt : v;
}

int conf_exists(const char *name)
{
	char path[PATH_MAX];

	return path_join(path, sizeof(path), path_conf(), "%s", name) == 0 && access(path, F_OK) == 0;
}
