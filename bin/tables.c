/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/tables.h"

#include "bin/status.h"
#include "disk/balance_ctl.h"
#include "disk/disk_ctl.h"
#include "disk/place_ctl.h"
#include "disk/poller_ctl.h"
#include "front/vhost_blk/vhost_blk_ctl.h"
#include "function/delay/delay_ctl.h"
#include "function/error/error_ctl.h"
#include "function/limit/limit_ctl.h"
#include "function/log/log_ctl.h"
#include "function/remote/remote_ctl.h"
#include "media/file/file_ctl.h"
#include "media/null/null_ctl.h"
#include "media/ram/ram_ctl.h"

static const struct ctl_kind *const media[] = {
	&file_kind.ctl,
	&ram_kind.ctl,
	&null_kind.ctl,
	NULL,
};

static const struct ctl_kind *const functions[] = {
	&limit_function_kind.ctl,
	&log_function_kind.ctl,
	&delay_function_kind.ctl,
	&error_function_kind.ctl,
	&remote_function_kind.ctl,
	NULL,
};

static const struct ctl_kind *const fronts[] = {
	&vhost_blk_kind.ctl,
	NULL,
};

static const struct ctl_kind_set sets[] = {
	{ "medium", media },
	{ "function", functions },
	{ "front", fronts },
	{ 0 },
};

static const struct ctl_cmd *const commands[] = {
	disk_cmds,
	queue_cmds,
	poller_cmds,
	balance_cmds,
	remote_cmds,
	status_cmds,
	NULL,
};

const struct ctl_tables posternd_tables = { .cmds = commands, .sets = sets };
