/* SPDX-License-Identifier: MIT
 *
 * Every change with every system call failing once, with whiteouts as OCI layers have them: see fault_run.c.
 */
#include "fault_run.h"

int main(void)
{
    return fault_main("");
}
