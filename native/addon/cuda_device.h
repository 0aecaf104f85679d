// The CUDA device of native/cuda as a device of the addon, where the addon was built with it.
#ifndef VERSEMI_ADDON_CUDA_DEVICE_H
#define VERSEMI_ADDON_CUDA_DEVICE_H

#include <memory>
#include <string>

#include "device.h"

namespace versemi {

struct cuda_settings {
  std::string precision;  // bfloat16, tf32, float32; "": bfloat16
  bool exact = false;     // float32, whatever the precision
  std::string forbidden_rows;  // see row_filter
  int64_t memory_limit_bytes = 0;
  bool poison = false;
  bool blocking = false;
};

// Why this addon has no CUDA device on this machine and what to do about it; "" where it has one.
std::string cuda_unavailable();
// Architectures that the kernels were compiled for, "emulated", or "none".
const char* cuda_architectures();
// nullptr with the reason in `reason`.
std::unique_ptr<device> make_cuda_device(const cuda_settings& settings, std::string* reason);

}  // namespace versemi

#endif
