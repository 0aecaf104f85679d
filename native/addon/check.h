// Whether a call fits the kernel table: the one check of attributes and buffers on this side of the boundary.
#ifndef VERSEMI_ADDON_CHECK_H
#define VERSEMI_ADDON_CHECK_H

#include <cstdint>

#include "versemi/device_abi.h"

namespace versemi {

// elements (or nullptr): gets what each buffer must hold, float32.
versemi_status check_call(int32_t op, const versemi_buffer* buffers, int32_t buffer_count, const double* attributes,
                          int32_t attribute_count, int64_t* elements = nullptr);

// Whether a call that fits its row writes any element. One that does not need not run, and kernels may count on sizes that are
// not 0: loops over other axes would be as long as the attributes say. elements: as check_call leaves them.
bool writes_anything(int32_t op, const int64_t* elements, int32_t buffer_count);

// The attributes alone.
versemi_status check_attributes(int32_t op, const double* attributes, int32_t attribute_count);

}  // namespace versemi

#endif
