// Which kernels this processor gets. A family is a file NAME.isa.cpp that defines, in versemi::VERSEMI_ISA, the function
// `kernel_rows NAME_kernels()`; it is compiled once per instruction set. To add a family, add the file and its name below.
#ifndef VERSEMI_CPU_DISPATCH_H
#define VERSEMI_CPU_DISPATCH_H

#include "versemi/kernel_table.h"

// One line per family.
#define VERSEMI_KERNEL_FAMILIES(FAMILY) \
  FAMILY(conv3d)                        \
  FAMILY(conv3d_grad_weight)            \
  FAMILY(norm)                          \
  FAMILY(head)                          \
  FAMILY(loss)                          \
  FAMILY(optimizer)                     \
  FAMILY(elementwise)                   \
  FAMILY(reduce)                        \
  FAMILY(matmul)                        \
  FAMILY(layout)                        \
  FAMILY(patches)

namespace versemi {

struct kernel_rows {
  const versemi_kernel* rows;
  int32_t count;
};

#define VERSEMI_DECLARE_FAMILY(name) kernel_rows name##_kernels();
#if defined(VERSEMI_WIDE_SETS)  // set by CMake where it builds them
namespace avx512 {
VERSEMI_KERNEL_FAMILIES(VERSEMI_DECLARE_FAMILY)
}
namespace avx2 {
VERSEMI_KERNEL_FAMILIES(VERSEMI_DECLARE_FAMILY)
}
#endif
namespace baseline {
VERSEMI_KERNEL_FAMILIES(VERSEMI_DECLARE_FAMILY)
}
#undef VERSEMI_DECLARE_FAMILY

// Names of the instruction sets that are compiled in and that this processor has, best first; ends with nullptr.
const char* const* available_instruction_sets();

// The table for one instruction set of that list; nullptr for any other name. Rows of one op stand together.
const versemi_kernel* kernels_for(const char* instruction_set, int32_t* count);

// The instruction set in use: the best, or what the environment variable VERSEMI_ISA (avx512, avx2, baseline) allows.
const char* instruction_set();

}  // namespace versemi

extern "C" {
// The table of this processor; lives as long as the program.
const versemi_kernel* versemi_cpu_kernels(int32_t* count);
}

#endif
