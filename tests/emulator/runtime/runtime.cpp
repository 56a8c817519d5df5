// The emulator's runtime, one translation unit: what is not instrumented, and is linked to each kernel library. A part
// may use what stands above it.
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "shared_names.h"

// By its name the variables in here are told from the kernels' shared arrays.
namespace runtime {
#include "outcome.h"
#include "fibers.h"
#include "registers.h"
#include "ordering.h"
#include "shared_memory.h"
#include "banks.h"
#include "arrays.h"
#include "global_memory.h"
#include "memory.h"
#include "warps.h"
#include "barriers.h"
#include "copies.h"
#include "tensor_cores.h"
#include "warpgroups.h"
#include "launch.h"
}
