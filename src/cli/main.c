/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include "mep/types.h"
int main(void) { puts(mep_version()); return 0; }
