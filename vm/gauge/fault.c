/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/json.h"
#include "vm/gauge/machine.h"

void gauge_fault(uint64_t vector, uint64_t code, uint64_t at, uint64_t address)
{
	json_begin();
	json_text("event", "fatal");
	json_text("why", "an exception of the processor");
	json_number("vector", vector);
	json_hex("code", code);
	json_hex("at", at);
	json_hex("address", address);
	json_end();
	machine_off();
}
