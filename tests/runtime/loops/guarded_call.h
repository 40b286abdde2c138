/* SPDX-License-Identifier: Apache-2.0 */
/* Assembly may forget to restore a register. On Arm, `guarded` gives a function that calls `loop` with its own arguments and
 * notices when a register that belongs to the caller has changed. */
#ifndef LUTRA_TESTS_GUARDED_CALL_H
#define LUTRA_TESTS_GUARDED_CALL_H

typedef void (*function)(void);

function guarded(function loop);

/* A register that the last loop did not restore, or NULL. */
const char *changed_register(void);

/* 1 if a loop that restores nothing is noticed. */
int guard_works(void);

#endif
