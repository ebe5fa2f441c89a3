/* SPDX-License-Identifier: MIT
 *
 * A look at a file when every descriptor is in use: exec needs none, so it must not fail for want of one.
 */
#ifndef SHIM_SPARE_H
#define SHIM_SPARE_H

/* Call function(argument) in a child that shares our memory but has a table of descriptors of its own, with one free
 * (not dirfd's number); what it returns, or -EMFILE or -ENOMEM where there can be no child.  The function may use about
 * 16 KiB of stack. Async-signal-safe. */
int shim_with_descriptor(int dirfd, int (*function)(void *argument), void *argument);

#endif
