// The table of the device: the rows of all families, by op.
#include <map>
#include <vector>

#include "core/kernel.h"

namespace versemi {
namespace cuda {

const kernel* const* rows_of(std::int32_t op, std::int32_t* count) {
  static const std::map<std::int32_t, std::vector<const kernel*>> table = [] {
    std::map<std::int32_t, std::vector<const kernel*>> rows;
#define VERSEMI_CUDA_ADD(name)                                            \
  {                                                                       \
    const kernel_rows family = name##_kernels();                          \
    for (std::int32_t i = 0; i < family.count; i++)                       \
      rows[family.rows[i].op].push_back(&family.rows[i]);                 \
  }
    VERSEMI_CUDA_FAMILIES(VERSEMI_CUDA_ADD)
#undef VERSEMI_CUDA_ADD
    return rows;
  }();
  const auto found = table.find(op);
  *count = found == table.end() ? 0 : static_cast<std::int32_t>(found->second.size());
  return *count == 0 ? nullptr : found->second.data();
}

}  // namespace cuda
}  // namespace versemi
