/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pki.c - see pki.h.  Certificates follow RFC 5280: random 127-bit serials, key identifiers, critical basic constraints. */
#include "lib/pki.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "lib/atomic_file.h"
#include "lib/paths.h"

#define DAYS_VALID 3650
#define PEM_MAX (1 << 20)
#define DAY_S (24 * 3600L)

static int pki_path(char *path, size_t size, const char *name)
{
	return path_join(path, size, path_conf(), "pki/%s", name);
}

/* OpenSSL's own reason, for messages where nothing better is known. */
static const char *ssl_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *s = ERR_reason_error_string(e);

	return s ? s : "no reason given";
}

static int check_name(const char *node, struct err *err)
{
	size_t n = strlen(node);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)node[i]) && node[i] != '-' && (node[i] != '.' || i == 0))
			return err_set(err, -EINVAL, "'%s' is no node name: letters, digits, '-' and '.' only", node);
	if (n == 0 || n > PKI_NAME_MAX)
		return err_set(err, -EINVAL, "a node name has 1 to %d characters", PKI_NAME_MAX);
	return 0;
}

/* --- PEM files ------------------------------------------------------------------------------------------------------ */

static BIO *pem_open(const char *path, struct err *err)
{
	char *text = NULL;
	size_t n = 0;
	BIO *bio = NULL;
	int rc = atomic_file_read(path, PEM_MAX, &text, &n);

	if (rc < 0) {
		err_set(err, rc, "%s: %s%s", path, strerror(-rc), rc == -ENOENT ? "; see haven cert" : "");
		return NULL;
	}
	bio = BIO_new(BIO_s_mem());
	if (!bio || BIO_write(bio, text, (int)n) != (int)n) {
		err_set(err, -ENOMEM, "%s: out of memory", path);
		BIO_free(bio);
		bio = NULL;
	}
	OPENSSL_cleanse(text, n);
	free(text);
	return bio;
}

static X509 *cert_load(const char *path, struct err *err)
{
	BIO *bio = pem_open(path, err);
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	if (bio && !x)
		err_set(err, -EINVAL, "%s: not a certificate in PEM form", path);
	BIO_free(bio);
	return x;
}

static EVP_PKEY *key_load(const char *path, struct err *err)
{
	BIO *bio = pem_open(path, err);
	EVP_PKEY *k = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	if (bio && !k)
		err_set(err, -EINVAL, "%s: not a private key in PEM form", path);
	BIO_free(bio);
	return k;
}

static X509_CRL *crl_load(const char *path, struct err *err)
{
	BIO *bio = pem_open(path, err);
	X509_CRL *c = bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;

	if (bio && !c)
		err_set(err, -EINVAL, "%s: not a revocation list in PEM form", path);
	BIO_free(bio);
	return c;
}

/* Writes what the BIO gathered; ok: the PEM_write before it. */
static int bio_save(BIO *bio, int ok, const char *path, unsigned mode, struct err *err)
{
	char *p = NULL;
	long n = bio ? BIO_get_mem_data(bio, &p) : 0;
	int rc = ok && n > 0 ? atomic_file_write(path, p, (size_t)n, mode) : -ENOMEM;

	if (n > 0)
		OPENSSL_cleanse(p, (size_t)n);
	BIO_free(bio);
	return rc < 0 ? err_set(err, rc, "%s: cannot write it: %s", path, strerror(-rc)) : 0;
}

static int cert_save(X509 *x, const char *path, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return bio_save(bio, bio && PEM_write_bio_X509(bio, x), path, 0644, err);
}

static int key_save(EVP_PKEY *k, const char *path, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return bio_save(bio, bio && PEM_write_bio_PKCS8PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL), path, 0600, err);
}

static int crl_save(X509_CRL *c, const char *path, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return bio_save(bio, bio && PEM_write_bio_X509_CRL(bio, c), path, 0644, err);
}

static int copy_file(const char *from, const char *to, unsigned mode, struct err *err)
{
	char *text = NULL;
	size_t n = 0;
	int rc = atomic_file_read(from, PEM_MAX, &text, &n);

	if (rc < 0)
		return err_set(err, rc, "%s: %s", from, strerror(-rc));
	rc = atomic_file_write(to, text, n, mode);
	OPENSSL_cleanse(text, n);
	free(text);
	return rc < 0 ? err_set(err, rc, "%s: cannot write it: %s", to, strerror(-rc)) : 0;
}

/* --- certificates --------------------------------------------------------------------------------------------------- */

static int cert_add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX ctx;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	return ok;
}

static int cert_set_serial(X509 *x)
{
	BIGNUM *bn = BN_new();
	int ok = bn && BN_rand(bn, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));

	BN_free(bn);
	return ok;
}

/* A certificate without its extensions and signature; NULL when memory is out. */
static X509 *cert_new(const char *cn, EVP_PKEY *key, X509 *issuer)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_NAME_new();

	if (!x || !name || !X509_set_version(x, X509_VERSION_3) || !cert_set_serial(x) ||
	    /* a day of grace for nodes whose clocks differ */
	    !X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S) || !X509_gmtime_adj(X509_getm_notAfter(x), DAYS_VALID * DAY_S) ||
	    !X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Haven", -1, -1, 0) ||
	    !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) ||
	    !X509_set_subject_name(x, name) || !X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name) ||
	    !X509_set_pubkey(x, key)) {
		X509_free(x);
		x = NULL;
	}
	X509_NAME_free(name);
	return x;
}

static X509 *make_ca(const char *cluster, EVP_PKEY *key)
{
	char cn[64];
	X509 *x;

	snprintf(cn, sizeof(cn), "%.40s cluster CA", cluster);
	x = cert_new(cn, key, NULL);
	if (x && (!cert_add_ext(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
		  !cert_add_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") ||
		  !cert_add_ext(x, x, NID_subject_key_identifier, "hash") || !X509_sign(x, key, EVP_sha256()))) {
		X509_free(x);
		x = NULL;
	}
	return x;
}

static X509 *make_node(const char *node, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key)
{
	char san[PKI_NAME_MAX + 8];
	X509 *x = cert_new(node, key, ca);

	snprintf(san, sizeof(san), "DNS:%s", node);
	if (x && (!cert_add_ext(x, ca, NID_basic_constraints, "critical,CA:FALSE") ||
		  !cert_add_ext(x, ca, NID_key_usage, "critical,digitalSignature") ||
		  !cert_add_ext(x, ca, NID_ext_key_usage, "serverAuth,clientAuth") ||
		  !cert_add_ext(x, ca, NID_subject_alt_name, san) ||
		  !cert_add_ext(x, ca, NID_subject_key_identifier, "hash") ||
		  !cert_add_ext(x, ca, NID_authority_key_identifier, "keyid:always") || !X509_sign(x, ca_key, EVP_sha256()))) {
		X509_free(x);
		x = NULL;
	}
	return x;
}

/* Dates and signature of a revocation list whose entries are complete. */
static int crl_finish(X509_CRL *c, X509 *ca, EVP_PKEY *ca_key)
{
	ASN1_TIME *now = ASN1_TIME_adj(NULL, time(NULL), 0, -DAY_S), *next = ASN1_TIME_adj(NULL, time(NULL), DAYS_VALID, 0);
	int ok = now && next && X509_CRL_set_version(c, X509_CRL_VERSION_2) &&
		 X509_CRL_set_issuer_name(c, X509_get_subject_name(ca)) && X509_CRL_set1_lastUpdate(c, now) &&
		 X509_CRL_set1_nextUpdate(c, next) && X509_CRL_sort(c) && X509_CRL_sign(c, ca_key, EVP_sha256());

	ASN1_TIME_free(now);
	ASN1_TIME_free(next);
	return ok;
}

static char *serial_text(const ASN1_INTEGER *serial)
{
	BIGNUM *bn = ASN1_INTEGER_to_BN(serial, NULL);
	char *s = bn ? BN_bn2hex(bn) : NULL;

	BN_free(bn);
	return s;
}

static int ca_load(X509 **ret_cert, EVP_PKEY **ret_key, struct err *err)
{
	char crt[PATH_MAX], key[PATH_MAX];
	X509 *x;
	EVP_PKEY *k;

	if (pki_path(crt, sizeof(crt), "ca.crt") < 0 || pki_path(key, sizeof(key), "ca.key") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	if (access(crt, F_OK) < 0)
		return err_set(err, -ENOENT, "%s: there is no cluster CA; make one with: haven cert init", crt);
	if (access(key, F_OK) < 0)
		return err_set(err, -ENOENT, "%s: the CA's key is not on this node; run this where haven cert init ran", key);
	x = cert_load(crt, err);
	k = x ? key_load(key, err) : NULL;
	if (!k) {
		X509_free(x);
		return err->code;
	}
	*ret_cert = x;
	*ret_key = k;
	return 0;
}

/* --- index: "SERIAL NODE" a line ------------------------------------------------------------------------------------- */

static int index_append(const char *serial, const char *node, struct err *err)
{
	char path[PATH_MAX], *old = NULL, *all = NULL;
	int rc = pki_path(path, sizeof(path), "index");

	if (rc == 0)
		rc = atomic_file_read(path, PEM_MAX, &old, NULL);
	if (rc == -ENOENT)
		rc = 0;
	if (rc == 0 && asprintf(&all, "%s%s %s\n", old ? old : "", serial, node) < 0)
		rc = -ENOMEM;
	if (rc == 0)
		rc = atomic_file_write(path, all, strlen(all), 0644);
	free(old);
	free(all);
	return rc < 0 ? err_set(err, rc, "%s: %s", path, strerror(-rc)) : 0;
}

typedef int (*index_fn)(const char *serial, const char *node, void *arg);

/* Calls fn for each line; stops at its first negative result, which it returns.  No index: nothing was issued. */
static int index_each(index_fn fn, void *arg)
{
	char path[PATH_MAX], *text = NULL, *save, *line;
	int rc = pki_path(path, sizeof(path), "index");

	if (rc == 0)
		rc = atomic_file_read(path, PEM_MAX, &text, NULL);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	save = text;
	while (rc == 0 && (line = strsep(&save, "\n")) != NULL) {
		char *node = strchr(line, ' ');

		if (!node)
			continue;
		*node++ = '\0';
		rc = fn(line, node, arg);
	}
	free(text);
	return rc;
}

/* --- the operations -------------------------------------------------------------------------------------------------- */

int pki_init(const char *cluster, struct err *err)
{
	char dir[PATH_MAX], crt[PATH_MAX], key[PATH_MAX], crl[PATH_MAX];
	EVP_PKEY *k = NULL;
	X509 *x = NULL;
	X509_CRL *c = NULL;
	int rc;

	if (path_join(dir, sizeof(dir), path_conf(), "pki") < 0 || pki_path(crt, sizeof(crt), "ca.crt") < 0 ||
	    pki_path(key, sizeof(key), "ca.key") < 0 || pki_path(crl, sizeof(crl), "crl.pem") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	if (access(crt, F_OK) == 0 || access(key, F_OK) == 0)
		return err_set(err, -EEXIST, "%s: this cluster has a CA already; issue certificates with: haven cert issue NODE", crt);
	rc = path_mkdirs(dir, 0700);
	if (rc < 0)
		return err_set(err, rc, "%s: cannot make it: %s", dir, strerror(-rc));
	rc = err_set(err, -EIO, "cannot make the CA: %s", ssl_reason());
	k = EVP_EC_gen("P-256");
	x = k ? make_ca(cluster, k) : NULL;
	c = X509_CRL_new();
	if (!x || !c || !crl_finish(c, x, k))
		goto out;
	/* the certificate last: where it stands, all of it stands */
	rc = key_save(k, key, err);
	if (rc == 0)
		rc = crl_save(c, crl, err);
	if (rc == 0)
		rc = cert_save(x, crt, err);
out:
	X509_CRL_free(c);
	X509_free(x);
	EVP_PKEY_free(k);
	return rc;
}

static int issue_save(const char *dir, X509 *x, EVP_PKEY *k, struct err *err)
{
	static const char *const copied[] = { "ca.crt", "crl.pem" };
	char from[PATH_MAX], to[PATH_MAX];
	int rc = path_mkdirs(dir, 0700);

	if (rc < 0)
		return err_set(err, rc, "%s: cannot make it: %s", dir, strerror(-rc));
	for (size_t i = 0; i < 2 && rc == 0; i++) {
		rc = pki_path(from, sizeof(from), copied[i]);
		if (rc == 0)
			rc = path_join(to, sizeof(to), dir, "%s", copied[i]);
		if (rc == 0 && access(from, F_OK) == 0)
			rc = copy_file(from, to, 0644, err);
	}
	if (rc == 0)
		rc = path_join(to, sizeof(to), dir, "node.key");
	if (rc == 0)
		rc = key_save(k, to, err);
	if (rc == 0)
		rc = path_join(to, sizeof(to), dir, "node.crt");
	if (rc == 0)
		rc = cert_save(x, to, err);
	return rc;
}

/* The same pair as this host's own. */
static int issue_install(X509 *x, EVP_PKEY *k, struct err *err)
{
	char crt[PATH_MAX], key[PATH_MAX];
	int rc;

	if (pki_path(crt, sizeof(crt), "node.crt") < 0 || pki_path(key, sizeof(key), "node.key") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	rc = key_save(k, key, err);
	return rc == 0 ? cert_save(x, crt, err) : rc;
}

int pki_issue(const char *node, const char *out_dir, struct err *err)
{
	char dir[PATH_MAX], host[256] = "", *serial = NULL;
	EVP_PKEY *ca_key = NULL, *k = NULL;
	X509 *ca = NULL, *x = NULL;
	struct err local = { 0 };
	int rc;

	err = err ? err : &local;
	rc = check_name(node, err);
	if (rc == 0)
		rc = ca_load(&ca, &ca_key, err);
	if (rc < 0)
		return rc;
	if (out_dir)
		rc = path_join(dir, sizeof(dir), out_dir, "%s", "");
	else
		rc = path_join(dir, sizeof(dir), path_conf(), "pki/issued/%s", node);
	k = EVP_EC_gen("P-256");
	x = k ? make_node(node, k, ca, ca_key) : NULL;
	serial = x ? serial_text(X509_get0_serialNumber(x)) : NULL;
	if (rc < 0 || !serial) {
		rc = err_set(err, -EIO, "%s: cannot make the certificate: %s", node, ssl_reason());
		goto out;
	}
	/* on record before it exists, so that everything that exists can be revoked */
	rc = index_append(serial, node, err);
	if (rc == 0)
		rc = issue_save(dir, x, k, err);
	if (rc == 0 && gethostname(host, sizeof(host) - 1) == 0 && strcmp(host, node) == 0)
		rc = issue_install(x, k, err);
out:
	OPENSSL_free(serial);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(k);
	EVP_PKEY_free(ca_key);
	return rc;
}

struct revoke_walk { X509_CRL *crl; const char *node; unsigned found; };

static int revoke_one(const char *serial, const char *node, void *arg)
{
	struct revoke_walk *w = arg;
	X509_REVOKED *rev = NULL, *have = NULL;
	ASN1_INTEGER *num = NULL;
	ASN1_TIME *now = NULL;
	BIGNUM *bn = NULL;
	int rc = -ENOMEM;

	if (strcmp(node, w->node) != 0)
		return 0;
	w->found++;
	if (!BN_hex2bn(&bn, serial))
		return -EINVAL;
	num = BN_to_ASN1_INTEGER(bn, NULL);
	rev = X509_REVOKED_new();
	now = ASN1_TIME_adj(NULL, time(NULL), 0, 0);
	if (!num || !rev || !now)
		goto out;
	rc = 0;
	if (X509_CRL_get0_by_serial(w->crl, &have, num))
		goto out;
	if (!X509_REVOKED_set_serialNumber(rev, num) || !X509_REVOKED_set_revocationDate(rev, now) || !X509_CRL_add0_revoked(w->crl, rev))
		rc = -ENOMEM;
	else
		rev = NULL;
out:
	X509_REVOKED_free(rev);
	ASN1_TIME_free(now);
	ASN1_INTEGER_free(num);
	BN_free(bn);
	return rc;
}

int pki_revoke(const char *node, struct err *err)
{
	char path[PATH_MAX];
	EVP_PKEY *ca_key = NULL;
	X509 *ca = NULL;
	struct err local = { 0 };
	struct revoke_walk w = { .node = node };
	int rc;

	err = err ? err : &local;
	rc = ca_load(&ca, &ca_key, err);
	if (rc < 0)
		return rc;
	rc = pki_path(path, sizeof(path), "crl.pem");
	w.crl = rc == 0 ? crl_load(path, err) : NULL;
	if (!w.crl) {
		rc = rc < 0 ? rc : err->code;
		goto out;
	}
	rc = index_each(revoke_one, &w);
	if (rc < 0)
		rc = err_set(err, rc, "%s: cannot revoke its certificates: %s", node, strerror(-rc));
	else if (!w.found)
		rc = err_set(err, -ENOENT, "%s: this CA issued no certificate to that node; haven cert show lists them", node);
	else if (!crl_finish(w.crl, ca, ca_key))
		rc = err_set(err, -EIO, "%s: cannot sign the revocation list: %s", path, ssl_reason());
	else
		rc = crl_save(w.crl, path, err);
out:
	X509_CRL_free(w.crl);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	return rc;
}

/* --- showing --------------------------------------------------------------------------------------------------------- */

static json_t *json_date(const ASN1_TIME *t)
{
	char s[32] = "?";
	struct tm tm;

	if (t && ASN1_TIME_to_tm(t, &tm))
		strftime(s, sizeof(s), "%Y-%m-%d", &tm);
	return json_string(s);
}

static int cert_name(X509 *x, char *name, size_t size)
{
	return X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, (int)size) > 0 ? 0 : -EINVAL;
}

static json_t *json_serial(const ASN1_INTEGER *n)
{
	char *s = serial_text(n);
	json_t *j = json_string(s ? s : "?");

	OPENSSL_free(s);
	return j;
}

static json_t *show_ca(X509 *x)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	char name[128] = "", hex[2 * EVP_MAX_MD_SIZE + 1] = "", key[PATH_MAX];
	unsigned n = 0;

	cert_name(x, name, sizeof(name));
	if (X509_digest(x, EVP_sha256(), md, &n))
		for (unsigned i = 0; i < n; i++)
			snprintf(hex + 2 * i, 3, "%02x", md[i]);
	return json_pack("{s:s, s:o, s:s, s:b}", "name", name, "expires", json_date(X509_get0_notAfter(x)), "sha256", hex,
			 "key_here", pki_path(key, sizeof(key), "ca.key") == 0 && access(key, F_OK) == 0);
}

static json_t *show_crl(X509_CRL *c)
{
	STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(c);
	json_t *list = json_array();

	for (int i = 0; all && i < sk_X509_REVOKED_num(all); i++)
		json_array_append_new(list, json_serial(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(all, i))));
	return json_pack("{s:o, s:o}", "revoked", list, "next_update", json_date(X509_CRL_get0_nextUpdate(c)));
}

static int show_issued(const char *serial, const char *node, void *arg)
{
	json_t *show = arg, *revoked = json_object_get(json_object_get(show, "crl"), "revoked"), *r;
	bool is = false;
	size_t i;

	json_array_foreach(revoked, i, r)
		is |= strcmp(json_string_value(r), serial) == 0;
	return json_array_append_new(json_object_get(show, "issued"),
				     json_pack("{s:s, s:s, s:b}", "serial", serial, "node", node, "revoked", is)) ? -ENOMEM : 0;
}

int pki_show(json_t **ret, struct err *err)
{
	char path[PATH_MAX], name[128] = "";
	struct err ignored = { 0 }, local = { 0 };
	json_t *show;
	X509_CRL *c;
	X509 *x;

	err = err ? err : &local;
	if (pki_path(path, sizeof(path), "ca.crt") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	x = cert_load(path, err);
	if (!x)
		return err->code;
	show = json_pack("{s:o, s:[]}", "ca", show_ca(x), "issued");
	X509_free(x);
	x = pki_path(path, sizeof(path), "node.crt") == 0 ? cert_load(path, &ignored) : NULL;
	if (x && cert_name(x, name, sizeof(name)) == 0)
		json_object_set_new(show, "node", json_pack("{s:s, s:o, s:o}", "name", name, "serial",
				    json_serial(X509_get0_serialNumber(x)), "expires", json_date(X509_get0_notAfter(x))));
	X509_free(x);
	c = pki_path(path, sizeof(path), "crl.pem") == 0 ? crl_load(path, &ignored) : NULL;
	if (c)
		json_object_set_new(show, "crl", show_crl(c));
	X509_CRL_free(c);
	index_each(show_issued, show);
	*ret = show;
	return 0;
}

int pki_identity(char *name, size_t size, int *ret_days, struct err *err)
{
	char path[PATH_MAX];
	struct err local = { 0 };
	int rc, days = 0, secs = 0;
	X509 *x;

	err = err ? err : &local;
	if (pki_path(path, sizeof(path), "node.crt") < 0)
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path_conf());
	if (access(path, F_OK) < 0)
		return err_set(err, -ENOENT, "%s: this node has no certificate; on the node with the CA: haven cert issue NODE, "
			       "then copy its files here", path);
	x = cert_load(path, err);
	if (!x)
		return err->code;
	rc = cert_name(x, name, size);
	if (rc < 0)
		err_set(err, rc, "%s: the certificate names no node; issue it with haven cert", path);
	else if (ret_days && ASN1_TIME_diff(&days, &secs, NULL, X509_get0_notAfter(x)))
		*ret_days = days < 0 || secs < 0 ? (days ? days : -1) : days;
	X509_free(x);
	return rc;
}
