// What every op needs of its buffers, stated once: attributes and buffers are checked here before any kernel runs, so
// that a wrong call is an error with a sentence and never a fault in a kernel. The order of attributes and buffers is
// that of src/tfjs/table/kernel-table.ts.
#ifndef VERSEMI_ADDON_BUFFER_SIZES_H
#define VERSEMI_ADDON_BUFFER_SIZES_H

#include <cstdint>

#include "versemi/kernel_table.h"

namespace versemi {

// VERSEMI_OK, or VERSEMI_INVALID_ARGUMENT naming the attribute or buffer, what it must be and what it is. `elements`, where
// given, gets how many float32 the op needs of each buffer.
versemi_status check_call(int32_t op, const versemi_buffer* buffers, int32_t buffer_count, const double* attributes,
                          int32_t attribute_count, int64_t* elements = nullptr);

// The same for the attributes alone.
versemi_status check_attributes(int32_t op, const double* attributes, int32_t attribute_count);

}  // namespace versemi

#endif
