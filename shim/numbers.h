/* SPDX-License-Identifier: MIT
 *
 * Numbers of system calls that the headers of the oldest supported system lack; the same on all machines
 * since 2019.
 */
#ifndef SHIM_NUMBERS_H
#define SHIM_NUMBERS_H

enum {
    NR_io_uring_setup = 425,
    NR_open_tree = 428,
    NR_move_mount = 429,
    NR_fsconfig = 431,
    NR_fspick = 433,
    NR_close_range = 436,
    NR_openat2 = 437,
    NR_faccessat2 = 439,
    NR_mount_setattr = 442,
    NR_fchmodat2 = 452,
    NR_setxattrat = 463,
    NR_getxattrat = 464,
    NR_listxattrat = 465,
    NR_removexattrat = 466,
    NR_open_tree_attr = 467,
    NR_file_getattr = 468,
    NR_file_setattr = 469,
};

#endif
