// Why a machine has no CUDA device that this build can use, in words that say what to do. The runtime is linked statically and
// looks for the driver when it is first called: a machine without one gets here and not into a loader's error.
#include <cstdio>

#include "device/formats.h"
#include "device/session.h"

#if defined(VERSEMI_CUDA_EMULATED)
#define VERSEMI_CUDA_ARCHITECTURES "emulated"
#endif

namespace versemi {
namespace cuda {
namespace {

// The first with matrix instructions for bfloat16 and with asynchronous copies: A100.
constexpr int least_capability = 80;

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

}  // namespace

const char* architectures() { return VERSEMI_CUDA_ARCHITECTURES; }

std::string unavailable_reason(int* device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return "no NVIDIA driver is installed on this machine. Install the driver of the GPU and start again.";
    if (error == cudaErrorInsufficientDriver)
      return "the NVIDIA driver is too old: it serves CUDA " + version(driver) + ", and this build needs " + version(runtime) +
             ". Update the driver.";
    if (error == cudaErrorNoDevice || count == 0)
      return "the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES empty, or the GPU not passed into this container?).";
    return std::string("the CUDA runtime says: ") + cudaGetErrorString(error) + ".";
  }
  std::string found;
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    if (properties.major * 10 + properties.minor >= least_capability) {
      if (cudaSetDevice(i) != cudaSuccess) {
        cudaGetLastError();
        return std::string("the GPU ") + properties.name + " cannot be used (another process may hold it exclusively).";
      }
      if (kernels_load() != cudaSuccess) {
        cudaGetLastError();
        return std::string("the addon was built for GPUs of architecture " VERSEMI_CUDA_ARCHITECTURES ", and the ") +
               properties.name + " is " + std::to_string(properties.major) + std::to_string(properties.minor) +
               ". Build it on this machine: VERSEMI_BUILD_ADDON=1 node node_modules/versemi/native/install.mjs (in a clone: npm "
               "run install).";
      }
      if (device != nullptr) *device = i;
      return "";
    }
    found += std::string(found.empty() ? "" : ", ") + properties.name + " with " + std::to_string(properties.major) + "." +
             std::to_string(properties.minor);
  }
  return "it needs a GPU of compute capability 8.0 or newer (A100, RTX 30 and later); found " + found + ".";
}

}  // namespace cuda
}  // namespace versemi
