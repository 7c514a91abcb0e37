/* SPDX-License-Identifier: Apache-2.0 */
/* A program of an operating system: what may have started it, and what it tells people. */
#include <stdio.h>
#include <string.h>

#include "sdk/private.h"

const struct transport *const postern_fn_transports[] = { &postern_fn_process, &postern_fn_machine,
							  NULL };

int pfn_main(const struct pfn_conf *conf)
{
	struct pfn *p;
	int err = pfn_open(conf, &p);

	if (!err) {
		err = pfn_run(p);
		pfn_close(p);
	}
	if (err == -ENOTCONN)
		fprintf(stderr, "%s: a storage function: `postern function add NAME run=...` "
			"or a machine of `vm run function=NAME` starts it\n",
			conf->name ? conf->name : "?");
	else if (err == -EPROTONOSUPPORT)
		fprintf(stderr, "%s: built for version %u of storage functions, the library has %u, and "
			"posternd has others\n", conf->name ? conf->name : "?", conf->abi, PFN_ABI);
	else if (err)
		fprintf(stderr, "%s: %s\n", conf->name ? conf->name : "?", strerror(-err));
	return err ? 1 : 0;
}
