/* SPDX-License-Identifier: MIT
 *
 * Every change with every system call failing once, with whiteouts as Linux overlayfs has them: see fault_run.c.
 */
#include "fault_run.h"

int main(void)
{
    return fault_main(",whiteout=kernel");
}
