/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bounded mutation run over a target's seeds: reproducible (argument 1 is the random seed, 2 the number of inputs), so that a
 * failure is a number. Best under --enable-asan --enable-ubsan.
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 8192

static uint64_t state;

static uint32_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static size_t mutate(uint8_t *data, size_t len, const struct fuzz_seed *other)
{
	size_t at = len ? next_random() % len : 0, n = 1 + next_random() % 16;

	switch (next_random() % 6) {
	case 0:			/* a bit */
		if (len)
			data[at] ^= (uint8_t)(1u << (next_random() % 8));
		return len;
	case 1:			/* a byte */
		if (len)
			data[at] = (uint8_t)next_random();
		return len;
	case 2:			/* cut out */
		n = n > len - at ? len - at : n;
		memmove(data + at, data + at + n, len - at - n);
		return len - n;
	case 3:			/* double a piece */
		n = n > len - at ? len - at : n;
		if (len + n > INPUT_MAX)
			return len;
		memmove(data + at + n, data + at, len - at);
		return len + n;
	case 4:			/* a piece of another seed */
		if (!other->len || len + n > INPUT_MAX || n > other->len)
			return len;
		memmove(data + at + n, data + at, len - at);
		memcpy(data + at, (const uint8_t *)other->data + next_random() % (other->len - n + 1), n);
		return len + n;
	default:		/* truncate */
		return next_random() % 8 ? len : at;
	}
}

int main(int argc, char **argv)
{
	unsigned long inputs = argc > 2 ? strtoul(argv[2], NULL, 0) : 20000, i;
	static uint8_t data[INPUT_MAX];
	size_t seeds = 0, len;

	state = 0x9e3779b97f4a7c15u ^ (argc > 1 ? strtoul(argv[1], NULL, 0) : 1);
	while (fuzz_seeds[seeds].data)
		seeds++;
	for (i = 0; i < inputs; i++) {
		const struct fuzz_seed *seed = &fuzz_seeds[next_random() % seeds];
		unsigned rounds = i < seeds ? 0 : 1 + next_random() % 8;

		len = seed->len > INPUT_MAX ? INPUT_MAX : seed->len;
		memcpy(data, seed->data, len);
		while (rounds--)
			len = mutate(data, len, &fuzz_seeds[next_random() % seeds]);
		if (LLVMFuzzerTestOneInput(data, len)) {
			fprintf(stderr, "input %lu failed:\n", i);
			fwrite(data, 1, len, stderr);
			return 1;
		}
	}
	return 0;
}
