#include "check.h"

#include "../cpu/context.h"
#include "versemi/kernel_checks.h"

namespace versemi {

versemi_status check_call(int32_t op, const versemi_buffer* buffers, int32_t buffer_count, const double* attributes,
                          int32_t attribute_count, int64_t* elements) {
  call_check call(buffers, buffer_count, attributes, attribute_count, elements);
  if (!check_row(op, call)) return failure(VERSEMI_INVALID_ARGUMENT, "op code %d is not in the kernel table", op);
  return call.finish();
}

bool writes_anything(int32_t op, const int64_t* elements, int32_t buffer_count) {
  for (int32_t i = describe_op(op)->inputs(buffer_count); i < buffer_count; i++)
    if (elements[i] > 0) return true;
  return false;
}

versemi_status check_attributes(int32_t op, const double* attributes, int32_t attribute_count) {
  return check_call(op, nullptr, -1, attributes, attribute_count);
}

}  // namespace versemi
