/* SPDX-License-Identifier: Apache-2.0 */
/* posternd: options, then one of its two processes. The keeper starts the worker from itself. */
#include "base/fd.h"
#include "bin/options.h"
#include "bin/worker.h"
#include "keeper/keeper.h"

int main(int argc, char **argv)
{
	static struct options o;
	int done = options_parse(argc, argv, &o);

	if (done)
		return done < 0;
	if (o.worker_link)
		return worker_run(&o);

	struct keeper_config cfg = {
		.control_path = o.control,
		.control_group = o.control_group,
		.state_dir = o.state,
		.program = "/proc/self/exe",
		.argv = argv,
		.hand_over_fd = o.fd,
		.one_life = o.fd >= 0,
	};

	return keeper_run(&cfg);
}
