// Precisions of the operands of convolutions below float32 (inference), and the instructions that multiply them.
#ifndef VERSEMI_CPU_DOT_PRODUCTS_H
#define VERSEMI_CPU_DOT_PRODUCTS_H

#include "context.h"

namespace versemi {

// What makes the products, best last. `portable` needs nothing beyond the instruction set that a kernel is compiled for:
// operands rounded to bfloat16 but kept as floats, or int8 kept in pairs of 16 bits.
enum class dot_path { portable, avx_vnni, avx512_vnni, avx512_bf16, amx };

// The path that kernels of an instruction set take in this context: the best that the processor and the system give, as far as
// the environment variable VERSEMI_DOT allows: `amx` (all), `vector` (no tiles), `portable`. Asks the system for the tiles the
// first time.
dot_path choose_dot_path(const versemi_context* context, const char* instruction_set);
const char* name_of(dot_path path);

}  // namespace versemi

#endif
