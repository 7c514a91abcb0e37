/* SPDX-License-Identifier: Apache-2.0 */
/* The command `run`: one load, as README.md describes its keys and its answer. */
#pragma once

/* Runs the load that @words tell of, on one of @ndisks disks, and answers. @words are changed. */
void run(char *words, unsigned ndisks);
