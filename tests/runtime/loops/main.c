/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

int main(void) {
  if (!guard_works()) {
    report("registers are not watched");
  }
  test_loops();
  test_loops8();
  print(failures() > 0u ? "\nfailed\n" : "\npassed\n");
  return failures() > 0u;
}
