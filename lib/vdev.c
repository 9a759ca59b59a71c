/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual disk names to numbers and back. The encoding is a guest ABI (xen-vbd-interface(7)): majors 202 (xvd), 8 (sd),
 * 3 and 22 (hd) with their classic minors, and bit 28 for xvd disks or partitions past fifteen.
 */
#include "lib/vdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VDEV_EXTENDED (1u << 28)

struct vdev_class {
	const char *prefix;
	uint32_t max_disk, max_part;
};

static const struct vdev_class vdev_classes[] = {
	{ "xvd", (1u << 20) - 1, 255 },
	{ "sd", 15, 15 },
	{ "hd", 3, 63 },
};

/* "a" is 0, "z" 25, "aa" 26. */
static int letters_to_disk(const char **p, uint32_t max, uint32_t *ret_disk)
{
	uint32_t n = 0;

	if (**p < 'a' || **p > 'z')
		return -EINVAL;
	for (; **p >= 'a' && **p <= 'z'; (*p)++) {
		n = n * 26 + (uint32_t)(**p - 'a') + 1;
		if (n - 1 > max)
			return -EINVAL;
	}
	*ret_disk = n - 1;
	return 0;
}

static int digits_to_number(const char **p, uint32_t max, uint32_t *ret_number)
{
	uint32_t n = 0;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		n = n * 10 + (uint32_t)(**p - '0');
		if (n > max)
			return -EINVAL;
	}
	*ret_number = n;
	return 0;
}

static uint32_t xvd_devid(uint32_t disk, uint32_t part)
{
	if (disk < 16 && part < 16)
		return 202u << 8 | disk << 4 | part;
	return VDEV_EXTENDED | disk << 8 | part;
}

static int class_to_devid(const struct vdev_class *class, const char *rest, uint32_t *ret_devid)
{
	uint32_t disk, part = 0;

	if (letters_to_disk(&rest, class->max_disk, &disk))
		return -EINVAL;
	if (*rest && (*rest == '0' || digits_to_number(&rest, class->max_part, &part) || *rest))
		return -EINVAL;
	if (class == &vdev_classes[0])
		*ret_devid = xvd_devid(disk, part);
	else if (class == &vdev_classes[1])
		*ret_devid = 8u << 8 | disk << 4 | part;
	else
		*ret_devid = (disk < 2 ? 3u : 22u) << 8 | (disk & 1) << 6 | part;
	return 0;
}

static int number_to_devid(const char *s, uint32_t *ret_devid)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(s, &end, 0);
	if (errno || *end || n == 0 || n >= 1u << 29)
		return -EINVAL;
	*ret_devid = (uint32_t)n;
	return 0;
}

/* "d2p3": disk 2, partition 3 of the xvd numbering. */
static int pair_to_devid(const char *s, uint32_t *ret_devid)
{
	uint32_t disk, part = 0;

	if (digits_to_number(&s, (1u << 20) - 1, &disk))
		return -EINVAL;
	if (*s == 'p') {
		s++;
		if (digits_to_number(&s, 255, &part))
			return -EINVAL;
	}
	if (*s)
		return -EINVAL;
	*ret_devid = xvd_devid(disk, part);
	return 0;
}

int vdev_to_devid(const char *vdev, uint32_t *ret_devid)
{
	size_t i;

	for (i = 0; i < sizeof(vdev_classes) / sizeof(vdev_classes[0]); i++) {
		size_t len = strlen(vdev_classes[i].prefix);

		if (strncmp(vdev, vdev_classes[i].prefix, len) == 0)
			return class_to_devid(&vdev_classes[i], vdev + len, ret_devid);
	}
	if (vdev[0] >= '0' && vdev[0] <= '9')
		return number_to_devid(vdev, ret_devid);
	if (vdev[0] == 'd')
		return pair_to_devid(vdev + 1, ret_devid);
	return -EINVAL;
}

static void disk_to_letters(uint32_t disk, char letters[8])
{
	char tmp[8];
	int n = 0, i;

	for (disk++; disk && n < 7; disk = (disk - 1) / 26)
		tmp[n++] = (char)('a' + (disk - 1) % 26);
	for (i = 0; i < n; i++)
		letters[i] = tmp[n - 1 - i];
	letters[n] = '\0';
}

int vdev_from_devid(uint32_t devid, char *buf, size_t size)
{
	const char *prefix = "xvd";
	char letters[8];
	uint32_t disk, part;
	int n;

	if (devid & VDEV_EXTENDED) {
		disk = (devid & (VDEV_EXTENDED - 1)) >> 8;
		part = devid & 255;
	} else if (devid >> 8 == 202 || devid >> 8 == 8) {
		prefix = devid >> 8 == 8 ? "sd" : "xvd";
		disk = (devid & 255) >> 4;
		part = devid & 15;
	} else if (devid >> 8 == 3 || devid >> 8 == 22) {
		prefix = "hd";
		disk = ((devid & 255) >> 6 & 1) + (devid >> 8 == 22 ? 2 : 0);
		part = devid & 63;
	} else {
		return -EINVAL;
	}
	disk_to_letters(disk, letters);
	if (part)
		n = snprintf(buf, size, "%s%s%u", prefix, letters, part);
	else
		n = snprintf(buf, size, "%s%s", prefix, letters);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
