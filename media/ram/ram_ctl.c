/* SPDX-License-Identifier: Apache-2.0 */
#include "media/ram/ram_ctl.h"

#include <string.h>

#include "base/parse.h"
#include "core/keep.h"
#include "media/ram/ram.h"

#define KEPT "data" /* in the medium's scope */

static const struct ctl_param ram_params[] = {
	{ .name = "hugepages", .type = CTL_BOOL, .value = "off",
	  .help = "Use reserved 2 MiB pages (vm.nr_hugepages)" },
	{ 0 },
};

static int refuse(int code, const struct ram_conf *c, struct ctl_error *err)
{
	char size[16];

	format_size(c->size_b, size);
	if (code == -EINVAL)
		return ctl_fail(err, code, "bad_value", "size",
				"a multiple of 512 bytes is needed: memory has no size of its own");
	if (c->hugepages && code == -ENOMEM)
		return ctl_fail(err, code, "no_hugepages", "hugepages",
				"fewer than %s of 2 MiB pages are free; reserve them (sysctl "
				"vm.nr_hugepages=%llu) or leave hugepages off",
				size, (unsigned long long)((c->size_b + 2 * MIB - 1) / (2 * MIB)));
	if (c->hugepages)
		return ctl_fail(err, code, "no_hugepages", "hugepages",
				"this kernel gives no hugepages: %s; leave hugepages off",
				strerror(-code));
	return ctl_fail(err, code, "no_memory", "size", "%s of memory: %s", size, strerror(-code));
}

static int open_ram(const json_t *params, const struct media_want *want, struct media **ret,
		    struct ctl_error *err)
{
	struct ram_conf c = { .size_b = want->size_b, .hugepages = ctl_bool(params, "hugepages"),
			      .readonly = want->readonly };
	int kept = want->restored ? keep_get(want->keep, KEPT) : -1;

	if (want->restored && kept < 0)
		return ctl_fail(err, -ENODATA, "data_lost", "medium",
				"its data was in memory and ended with the process that served it; "
				"`disk reopen NAME` starts it empty");
	int code = kept < 0 ? ram_open(&c, ret) : ram_reopen(&c, kept, ret);

	if (code)
		return refuse(code, &c, err);
	code = kept < 0 ? keep_put(want->keep, KEPT, ram_fd(*ret)) : 0;
	if (!code)
		return 0;
	(*ret)->ops->close(*ret);
	return ctl_fail(err, code, "not_kept", NULL, "the keeper cannot hold its memory: %s",
			strerror(-code));
}

static int resize_ram(struct media *m, uint64_t size_b, struct ctl_error *err)
{
	struct ram_conf c = { .size_b = size_b, .hugepages = ram_hugepages(m) };
	char limit[16];
	int code = ram_resize(m, size_b);

	if (code == -EINVAL && size_b < m->caps.size_b)
		return ctl_fail(err, code, "bad_value", "size", "a ram disk does not shrink");
	if (code == -E2BIG)
		return ctl_fail(err, code, "out_of_range", "size",
				"this ram disk can grow to %s; create a new one for more",
				format_size(ram_max_b(m), limit));
	return code ? refuse(code, &c, err) : 0;
}

static void show_ram(const struct media *m, json_t *into)
{
	json_object_set_new(into, "hugepages", json_boolean(ram_hugepages(m)));
	json_object_set_new(into, "used_b", json_integer((json_int_t)ram_used_b(m)));
}

const struct media_kind ram_kind = {
	.ctl = { .name = "ram", .help = "Keep the data in memory; gone when posternd stops",
		 .params = ram_params },
	.open = open_ram,
	.resize = resize_ram,
	.show = show_ram,
};
