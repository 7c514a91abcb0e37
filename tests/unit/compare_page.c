/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the page of a report made by hand: compare_page kvm|tcg. For tests/system/page. */
#include "compare_canned.h"

int main(int argc, char **argv)
{
	static struct compare_report r;

	if (argc > 1 && !strcmp(argv[1], "tcg"))
		canned_untimed(&r);
	else
		canned_report(&r);
	compare_html(&r, stdout);
	return 0;
}
